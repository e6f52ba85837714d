"""Rules of the code that no linter checks: typed Temporal calls, checked signals, no decision by an error's text."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
FILES = sorted(
    path for name in (*SHIPPED, "dev") for path in ((ROOT / name).rglob("*.py") if "." not in name else [ROOT / name])
)

TEMPORAL_CALLS = frozenset(
    {
        "execute_activity",
        "execute_child_workflow",
        "execute_local_activity",
        "execute_update",
        "execute_update_with_start_workflow",
        "execute_workflow",
        "query",
        "signal",
        "start_activity",
        "start_child_workflow",
        "start_update",
        "start_workflow",
    }
)
READS_TEXT = frozenset({"startswith", "endswith", "find", "index", "partition", "rpartition", "removeprefix"})


def string_named_calls(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of Temporal calls that name their workflow, activity or message by a string."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        first = node.args[0] if node.args else None
        if node.func.attr in TEMPORAL_CALLS and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield node.lineno
        for keyword in node.keywords:
            if keyword.arg == "start_signal" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                yield node.lineno


def unchecked_signals(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of signals that the SDK decodes by itself; an abstract one is checked where it is implemented."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list}
            if "workflow.signal" in names and "abstractmethod" not in names:
                yield node.lineno


def decisions_by_error_text(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that compare, search or cut the text of a caught error."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
            continue
        for node in ast.walk(ast.Module(handler.body, [])):
            compared = isinstance(node, ast.Compare) and any(
                _is_text_of(each, handler.name) for each in (node.left, *node.comparators)
            )
            cut = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in READS_TEXT
                and _is_text_of(node.func.value, handler.name)
            )
            if compared or cut:
                yield node.lineno  # type: ignore[attr-defined]


def _is_text_of(node: ast.AST, error: str) -> bool:
    """Return whether the expression is `str(error)`, `repr(error)`, `error.message`, or a method of one of them."""
    match node:
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]):
            return name == error
        case ast.Attribute(value=ast.Name(id=name), attr="message" | "args"):
            return name == error
        case ast.Call(func=ast.Attribute(value=value)):
            return _is_text_of(value, error)
    return False


def test_every_module_calls_temporal_by_reference_and_decides_by_type() -> None:
    broken = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        for rule in (string_named_calls, unchecked_signals, decisions_by_error_text):
            broken += [f"{path.relative_to(ROOT)}:{line} {rule.__name__}" for line in rule(tree)]
    assert broken == []


def test_the_rules_find_what_they_forbid() -> None:
    by_name = ast.parse('handle.signal("cancel", 1)\nclient.start_workflow(W.run, start_signal="fell")')
    by_text = ast.parse(
        "try:\n    f()\nexcept E as error:\n    if 'gone' in str(error):\n        pass\n    str(error).startswith('a')"
    )
    signals = ast.parse("class W:\n    @workflow.signal(name='x')\n    def fell(self): ...\n")
    assert list(string_named_calls(by_name)) == [1, 2]
    assert list(unchecked_signals(signals)) == [3]
    assert list(decisions_by_error_text(by_text)) == [4, 6]
