"""Names of signals, which some calls of the SDK take instead of the method."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypedDict

from temporalio import workflow

Parameters = ParamSpec("Parameters")


class StartSignal(TypedDict, total=False):
    """The arguments of `Client.start_workflow` that send a signal with the start; empty, none is sent."""

    start_signal: str
    start_signal_args: Sequence[Any]


def start_signal(
    handler: Callable[Concatenate[Any, Parameters], None], *arguments: Parameters.args, **_: Parameters.kwargs
) -> StartSignal:
    """Return the arguments that send this signal; `handler` is a method marked `@workflow.signal`.

    `start_workflow` takes only the signal's name: this keeps the reference and its arguments typed.
    """
    return {"start_signal": signal_name(handler), "start_signal_args": arguments}


def signal_name(handler: Callable[..., None]) -> str:
    """Return the name of a signal; `handler` is a method marked `@workflow.signal`."""
    return workflow._SignalDefinition.must_name_from_fn_or_str(handler)  # noqa: SLF001 - temporalio has no public way
