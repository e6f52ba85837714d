"""Secrets from files: `NAME_FILE` names a file that has the value of `NAME`, as containers hand secrets over."""

from collections.abc import Iterable, Mapping
from pathlib import Path


class SecretFileError(Exception):
    """A secret's file cannot be taken. The message has one line for each secret at fault, and no secret."""


def from_files(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the environment with each secret of those names read from its file, where it has one.

    Line ends after the secret are taken off. Raises SecretFileError where both variables are set, or the file cannot
    be read, is empty or is not text.
    """
    given = dict(environment)
    faults = []
    for name in names:
        path = given.pop(f"{name}_FILE", "")
        if path and given.get(name):
            faults.append(f"{name}: is set, and {name}_FILE too; take one of them out")
        elif path:
            try:
                given[name] = _content(path)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                # What is no absolute path may be the secret itself, put into the wrong variable.
                named = f"names {path}, which cannot" if Path(path).is_absolute() else "names no file that can"
                faults.append(f"{name}: {name}_FILE {named} be used: {why}")
    if faults:
        raise SecretFileError("\n".join(faults))
    return given


def _content(path: str) -> str:
    try:
        content = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    if not content.strip():
        raise ValueError("it is empty")
    return content


def is_set(environment: Mapping[str, str], name: str) -> bool:
    """Whether the environment has the secret, in itself or by a file."""
    return bool(environment.get(name) or environment.get(f"{name}_FILE"))
