"""Reads columns, constraints and indexes of tables from the Postgres catalog, normalized for comparison."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

_COLUMNS = """
SELECT c.relname AS in_table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull AS nullable, pg_get_expr(d.adbin, d.adrelid) AS default_value, a.attidentity <> '' AS identity
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = %(namespace)s::oid AND c.relname = ANY(%(tables)s) AND c.relkind = 'r'
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""

_CONSTRAINTS = """
SELECT c.relname AS in_table, k.conname AS name, k.contype AS kind, pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = %(namespace)s::oid AND c.relname = ANY(%(tables)s) AND c.relkind = 'r'
  AND k.contype IN ('p', 'u', 'f', 'c', 'x')
ORDER BY c.relname, k.conname
"""

_INDEXES = """
SELECT c.relname AS in_table, i.relname AS name, x.indisunique AS is_unique, pg_get_indexdef(x.indexrelid) AS definition
FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
WHERE c.relnamespace = %(namespace)s::oid AND c.relname = ANY(%(tables)s) AND c.relkind = 'r' AND x.indisvalid
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x'))
ORDER BY c.relname, i.relname
"""

_CREATED_TABLE = re.compile(r'CREATE TABLE "(\w+)"')
_FOREIGN_KEY = re.compile(r"FOREIGN KEY \((.+?)\) REFERENCES (.+?)\((.+?)\)(.*)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column. An INSERT may omit it if it is nullable, has a default or is an identity column."""

    type: str
    nullable: bool
    default: str | None
    identity: bool


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint without its name. Kinds: (p)rimary, (u)nique, (f)oreign, (c)heck, e(x)clusion."""

    kind: str
    definition: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table's parts by name. An index is described by uniqueness, method, columns and predicate."""

    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)


def names_created(statements: Sequence[str]) -> dict[str, str]:
    """Return the CREATE TABLE statements by table name."""
    return {match[1]: statement for statement in statements if (match := _CREATED_TABLE.search(statement))}


def tables_present(connection: Connection, names: Sequence[str]) -> dict[str, Table]:
    """Describe the named tables that exist in the connection's schema."""
    return _read(connection, "SELECT current_schema()::regnamespace::oid", names)


def tables_described(connection: Connection, statements: Sequence[str]) -> dict[str, Table]:
    """Describe what the statements create. Creates it in the temporary schema and rolls back."""
    with connection.begin_nested() as savepoint:
        connection.exec_driver_sql("SET LOCAL search_path = pg_temp")
        for statement in statements:
            connection.exec_driver_sql(statement)
        tables = _read(connection, "SELECT pg_my_temp_schema()", list(names_created(statements)))
        savepoint.rollback()
    return tables


def _read(connection: Connection, namespace: str, names: Sequence[str]) -> dict[str, Table]:
    where = {"namespace": connection.exec_driver_sql(namespace).scalar_one(), "tables": list(names)}
    tables: dict[str, Table] = {}
    for row in connection.exec_driver_sql(_COLUMNS, where):
        column = Column(_normalized_type(row.type), row.nullable, _normalized_default(row.default_value), row.identity)
        tables.setdefault(row.in_table, Table()).columns[row.name] = column
    for row in connection.exec_driver_sql(_CONSTRAINTS, where):
        tables[row.in_table].constraints[row.name] = Constraint(row.kind, _normalized_foreign_key(row.definition))
    for row in connection.exec_driver_sql(_INDEXES, where):
        description = row.definition.partition(" USING ")[2]
        tables[row.in_table].indexes[row.name] = f"UNIQUE {description}" if row.is_unique else description
    return tables


def _normalized_type(name: str) -> str:
    """Return one name for types that are equivalent here. Prisma creates timestamptz with a precision."""
    if name == "character varying":
        return "text"
    return re.sub(r"^timestamp\(\d\) with time zone$", "timestamp with time zone", name)


def _normalized_default(expression: str | None) -> str | None:
    return {"CURRENT_TIMESTAMP": "now()", "''::character varying": "''::text"}.get(expression or "", expression)


def _normalized_foreign_key(definition: str) -> str:
    """Return a foreign key with sorted columns and without ON UPDATE CASCADE, because keys never change."""
    if not (match := _FOREIGN_KEY.fullmatch(definition)):
        return definition
    pairs = sorted(zip(match[1].split(", "), match[3].split(", "), strict=True))
    own, other = (", ".join(side) for side in zip(*pairs, strict=True))
    return f"FOREIGN KEY ({own}) REFERENCES {match[2]}({other}){match[4].replace(' ON UPDATE CASCADE', '')}"
