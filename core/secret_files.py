"""Secrets from files: `NAME_FILE` is the path of a file with the value of `NAME`, as container platforms mount them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from core.setting_errors import SettingProblem, SettingsError


def with_secret_files(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the environment with each named secret read from its file, where one is set.

    Trailing line breaks are removed. Raises SettingsError if both variables are set, or a file cannot be read, is empty
    or is not UTF-8.
    """
    complete = dict(environment)
    problems = []
    for name in names:
        path = complete.pop(f"{name}_FILE", "")
        if path and complete.get(name):
            reason = f"is set, and so is {name}_FILE; set only one of them"
            problems.append(SettingProblem(name, reason, (f"{name}_FILE",)))
        elif path:
            try:
                complete[name] = read_secret(path)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                # A relative path may be the secret itself, set in the wrong variable.
                file = f"names {path}, which cannot" if Path(path).is_absolute() else "names no file that can"
                reason = f"{name}_FILE {file} be used: {why}"
                problems.append(SettingProblem(name, reason, (f"{name}_FILE",)))
    if problems:
        raise SettingsError(*problems)
    return complete


def read_secret(path: str) -> str:
    """Return the content of a secret's file without its last line breaks. Raises OSError and ValueError."""
    try:
        content = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if not content.strip():
        raise ValueError("it is empty")
    return content


def is_set(environment: Mapping[str, str], name: str) -> bool:
    """Whether the secret is set, in its own variable or by a file."""
    return bool(environment.get(name) or environment.get(f"{name}_FILE"))
