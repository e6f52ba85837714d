"""Compares existing tables with those a revision creates: statements for missing parts, and differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from migrations.catalog import Column, Table, names_created

_NEVER_ADDED = {("InventoryItem", "quantity")}
"""Not added although it has a default: a table without it does not record stock, and 0 would be wrong."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The statements that adopt the tables, the differences that prevent it, and statements that could fix those."""

    statements: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)

    def refuse(self, place: str, found: str, expected: str, *fixes: str) -> None:
        """Record a difference and the statements that could fix it."""
        self.differences.append(f"{place}: found {found}, expected {expected}")
        self.fixes.extend(fixes)


def quoted(name: str) -> str:
    """Return the name as an SQL identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def compare(expected: dict[str, Table], found: dict[str, Table], tables: Sequence[str], indexes: Sequence[str]) -> Plan:
    """Return how to make the found tables match the expected ones without changing what a column means."""
    plan = Plan()
    plan.statements.extend(statement for name, statement in names_created(tables).items() if name not in found)
    pairs = [(name, expected[name], has) for name, has in found.items()]
    for name, wanted, has in pairs:  # before primary keys, because foreign keys depend on them
        _compare_constraints(plan, name, wanted, has, kinds="ufcx")
    for name, wanted, has in pairs:
        _compare_columns(plan, name, wanted, has)
    for name, wanted, has in pairs:
        _compare_constraints(plan, name, wanted, has, kinds="p")
    for name, table in expected.items():
        _compare_indexes(plan, table, found.get(name, Table()), indexes)
    plan.statements.sort(key=_rank)
    return plan


def _compare_columns(plan: Plan, table: str, expected: Table, found: Table) -> None:
    for name, wanted in expected.columns.items():
        if name in found.columns:
            _compare_column(plan, table, name, wanted, found.columns[name])
        elif (wanted.nullable or wanted.default) and (table, name) not in _NEVER_ADDED:
            plan.statements.append(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(name)} {_definition(wanted)}")
        else:
            plan.refuse(f"{quoted(table)}.{quoted(name)}", "no such column", _definition(wanted))
    for name, has in found.columns.items():
        if name not in expected.columns and not (has.nullable or has.default or has.identity):
            fix = f"ALTER TABLE {quoted(table)} ALTER COLUMN {quoted(name)} DROP NOT NULL"
            plan.refuse(f"{quoted(table)}.{quoted(name)}", _definition(has), "no column that must be given", fix)


def _compare_column(plan: Plan, table: str, name: str, wanted: Column, has: Column) -> None:
    place = f"{quoted(table)}.{quoted(name)}"
    alter = f"ALTER TABLE {quoted(table)} ALTER COLUMN {quoted(name)}"
    if wanted.identity and (has.type != wanted.type or not (has.identity or has.default)):
        recreate = f"DROP COLUMN {quoted(name)}, ADD COLUMN {quoted(name)} {_definition(wanted)} PRIMARY KEY"
        plan.refuse(place, _definition(has), _definition(wanted), f"ALTER TABLE {quoted(table)} {recreate}")
        return
    if has.type != wanted.type:
        plan.refuse(place, has.type, wanted.type, *_type_changes(alter, name, has, wanted))
    if has.nullable != wanted.nullable:
        verb = "DROP" if wanted.nullable else "SET"
        plan.refuse(place, _nullability(has), _nullability(wanted), f"{alter} {verb} NOT NULL")
    if wanted.default and not has.default:
        plan.statements.append(f"{alter} SET DEFAULT {wanted.default}")
    elif wanted.default and has.default != wanted.default:
        set_default = f"{alter} SET DEFAULT {wanted.default}"
        plan.refuse(place, f"default {has.default}", f"default {wanted.default}", set_default)


def _compare_constraints(plan: Plan, table: str, expected: Table, found: Table, kinds: str) -> None:
    alter = f"ALTER TABLE {quoted(table)}"
    unmatched = {name: has for name, has in found.constraints.items() if has.kind in kinds}
    for name, wanted in expected.constraints.items():
        if wanted.kind not in kinds:
            continue
        if same := next((other for other, has in unmatched.items() if has == wanted), None):
            del unmatched[same]
            if same != name:
                plan.statements.append(f"{alter} RENAME CONSTRAINT {quoted(same)} TO {quoted(name)}")
        elif wanted.kind == "p":
            has_name, has = next(iter(unmatched.items()), (None, None))
            unmatched.clear()
            drop = f"DROP CONSTRAINT {quoted(has_name)}, " if has_name else ""
            fix = f"{alter} {drop}ADD CONSTRAINT {quoted(name)} {wanted.definition}"
            plan.refuse(quoted(table), has.definition if has else "no primary key", wanted.definition, fix)
        elif name not in found.constraints:
            plan.statements.append(f"{alter} ADD CONSTRAINT {quoted(name)} {wanted.definition}")
    for name, has in unmatched.items():
        wanted_here = expected.constraints.get(name)
        wanted_words = wanted_here.definition if wanted_here else "no such constraint"
        place = f"{quoted(table)} constraint {quoted(name)}"
        plan.refuse(place, has.definition, wanted_words, f"{alter} DROP CONSTRAINT {quoted(name)}")


def _compare_indexes(plan: Plan, expected: Table, found: Table, indexes: Sequence[str]) -> None:
    unmatched = dict(found.indexes)
    for name, wanted in expected.indexes.items():
        if same := next((other for other, has in unmatched.items() if has == wanted), None):
            del unmatched[same]
            if same != name:
                plan.statements.append(f"ALTER INDEX {quoted(same)} RENAME TO {quoted(name)}")
        elif name not in found.indexes:
            plan.statements.append(next(statement for statement in indexes if f"INDEX {quoted(name)} " in statement))
    for name, has in unmatched.items():
        wanted_here = expected.indexes.get(name)
        if wanted_here or has.startswith("UNIQUE "):
            plan.refuse(f"index {quoted(name)}", has, wanted_here or "no such index", f"DROP INDEX {quoted(name)}")


def _rank(statement: str) -> int:
    """Order tables, columns, constraints, indexes: each may depend on the ones before."""
    if statement.lstrip().startswith("CREATE TABLE"):
        return 0
    if "INDEX" in statement:
        return 3
    return 2 if "CONSTRAINT" in statement else 1


def _type_changes(alter: str, name: str, has: Column, wanted: Column) -> Iterator[str]:
    if has.type.startswith("timestamp") and wanted.type == "timestamp with time zone":
        yield f"{alter} TYPE {wanted.type} USING {quoted(name)} AT TIME ZONE 'UTC'"
    elif wanted.type in ("text", "integer", "jsonb"):
        yield f"{alter} TYPE {wanted.type} USING {quoted(name)}::{wanted.type}"


def _definition(column: Column) -> str:
    default = "GENERATED BY DEFAULT AS IDENTITY" if column.identity else f"DEFAULT {column.default}"
    return " ".join([column.type, _nullability(column), *([default] if column.identity or column.default else [])])


def _nullability(column: Column) -> str:
    return "NULL" if column.nullable else "NOT NULL"
