"""Commands whose module is imported when they run, so that `--help` and shell completion start without it."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class LazyCommand(TyperCommand):
    """A command of which only the name and one line of help are known until it is used."""

    def __init__(
        self, name: str, help_line: str, function: str, *, context_settings: Mapping[str, object] | None = None
    ) -> None:
        """Name the function as `module:name`."""
        super().__init__(name, help=help_line, rich_markup_mode=None)
        self._function = function
        self._context_settings = context_settings

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - typer keeps click's types private
        """Import the function and return a context of its command, which click runs, completes or shows the help of."""
        module, _, name = self._function.partition(":")
        app = plain_app(add_completion=False)
        context_settings = dict(self._context_settings) if self._context_settings else None
        app.command(self.name, context_settings=context_settings)(getattr(import_module(module), name))
        return typer.main.get_command(app).make_context(*args, **kwargs)


def group(name: str, help_line: str, *commands: LazyCommand) -> TyperGroup:
    """Return a group that shows its help when no command is named."""
    return TyperGroup(name=name, help=help_line, commands=commands, no_args_is_help=True, rich_markup_mode=None)


def plain_app(**settings: Any) -> typer.Typer:  # noqa: ANN401 - those of typer.Typer
    """Return an app that writes help as plain text: Rich would take longer to import than all else of `--help`."""
    return typer.Typer(rich_markup_mode=None, **settings)
