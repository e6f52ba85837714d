"""What is wrong with the environment, as data. The text for people is made from it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One environment variable that is missing or invalid. Contains no secret."""

    variable: str
    reason: str
    """For people: what is wrong and what is allowed, without the variable's name and without its value if secret."""
    related: tuple[str, ...] = ()
    """Other variables that the problem depends on, for example the one that makes this one required."""

    def __str__(self) -> str:
        return f"{self.variable}: {self.reason}"


class SettingsError(Exception):
    """The environment has missing or invalid variables. The message has one line for each of `problems`."""

    def __init__(self, *problems: SettingProblem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def check_all(*readers: Callable[[], object]) -> None:
    """Call each reader of settings. Raises one SettingsError with the problems of all, each once."""
    problems: dict[SettingProblem, None] = {}
    for reader in readers:
        try:
            reader()
        except SettingsError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise SettingsError(*problems)


class SettingConflictError(ValueError):
    """Two settings do not fit together. Raised by validators; readers of settings get it as a SettingsError."""

    def __init__(self, variable: str, reason: str, *related: str) -> None:
        super().__init__(reason)
        self.problem = SettingProblem(variable, reason, related)
