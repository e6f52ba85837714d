"""Signals and updates that people may send with any data, or none: none of it stops a run or is dropped unseen.

The SDK alone logs and drops a signal whose data it cannot decode. Where the number of values is not the handler's, or a
value is bytes, it fails the workflow task again and again: the run is blocked for ever.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast, get_args

from pydantic import TypeAdapter, ValidationError
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.workflow import UpdateMethodMultiParam

from workflows.patches import EMPTY_SIGNALS
from workflows.run_details import RunDetails

Handler = TypeVar("Handler", bound=Callable[..., None])

INVALID_DATA = "invalid_data"
"""The type of the error with which an update is refused whose data is not what its handler takes."""

_EMPTY = (b"", b"null", b"{}")
_LONGEST_PROBLEM = 500


def checked_signal(*, description: str, without_data: object = None) -> Callable[[Handler], Handler]:
    """Register a method of a RunDetails as the signal of its name; it takes one message, or nothing.

    `without_data` is the message that a signal without data stands for. Where there is none, and where the data cannot
    be decoded, the run stays as it is, and the signal is noted in its details and log.
    """

    def register(handler: Handler) -> Handler:
        _self, *parameters = inspect.signature(handler).parameters.values()

        @wraps(handler)
        def receive(self: RunDetails, *data: object) -> None:
            try:
                messages = [_decoded(data, parameter.annotation) or _required(without_data) for parameter in parameters]
            except Exception as error:  # noqa: BLE001 - whatever the data is, the run goes on
                self.note(f"The signal {handler.__name__} was ignored: {_problem(error)}")
            else:
                handler(self, *messages)

        # The SDK hands over one value undecoded where the signature asks for a RawValue.
        _declare(receive, RawValue)
        return cast("Handler", workflow.signal(name=handler.__name__, description=description)(receive))

    return register


def update_of(
    signal: Callable[..., None], refuses: Callable[[Any, Any], None] | None = None
) -> UpdateMethodMultiParam[..., None]:
    """Return the update with the name and the effect of a checked signal, which it needs a third of the writes for.

    Temporal writes a signal, the start of its task and the end of that, but an update only with the end of its task.
    `refuses` is a method that raises an ApplicationError for a message that changes nothing: of a refused update
    nothing is written.
    """
    handler: Callable[..., None] = inspect.unwrap(signal)
    _self, parameter = inspect.signature(handler).parameters.values()

    def receive(self: object, *data: object) -> None:
        handler(self, *data)

    _declare(receive, parameter.annotation)
    name = handler.__name__
    update = workflow.update(name=name, description="As the signal of this name, with an answer")(receive)
    update.validator(one(parameter.annotation, refuses))
    return update


def one(kind: object, then: Callable[[Any, Any], None] | None = None) -> Callable[..., None]:
    """Return the validator of an update that takes one message of this kind: the sender of anything else is told.

    `then` is a method that checks the message.
    """
    of = kind if isinstance(kind, type) else get_args(kind)[0]  # of an Annotated one, by which the SDK does not decode
    checked: TypeAdapter[Any] | None = None if of is kind else TypeAdapter(cast("Any", kind))

    def check(self: object, *data: object) -> None:
        if len(data) != 1 or not isinstance(data[0], of):
            raise ApplicationError(f"the data must be one {of.__name__}", type=INVALID_DATA)
        if checked is not None:
            try:
                checked.validate_python(data[0])
            except ValidationError as error:
                raise ApplicationError(_problem(error), type=INVALID_DATA) from error
        if then is not None:
            then(self, data[0])

    _declare(check, kind)  # the SDK requires the signature of the update
    return check


def _declare(method: Callable[..., None], kind: object) -> None:
    """Let the SDK see a method that takes one value of this kind, though it takes whatever was sent."""
    names = {"self": inspect.Parameter.empty, "data": kind}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=of) for name, of in names.items()
    ]
    method.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    method.__annotations__ = {"data": kind, "return": None}


def _decoded(data: tuple[object, ...], kind: type) -> object:
    """Return the message, or None for no data. Raises whatever the decoding raises, and ValueError."""
    if not data:
        return None
    if len(data) > 1:
        raise ValueError(f"it has {len(data)} values instead of one")
    payload = data[0].payload if isinstance(data[0], RawValue) else Payload()
    # Where an older release has dropped such a signal, its replay must drop it too.
    if payload.data.strip() in _EMPTY and workflow.patched(EMPTY_SIGNALS):
        return None
    if payload.metadata.get("encoding") != b"json/plain":
        raise ValueError("its data is not JSON")
    message: object = workflow.payload_converter().from_payload(payload, kind)
    return message


def _required(message: object) -> object:
    if message is None:
        raise ValueError("it needs data")
    return message


def _problem(error: Exception) -> str:
    """Return what is wrong with the data, on one line."""
    problem = str(error)
    if isinstance(error, ValidationError):
        each = error.errors(include_url=False, include_context=False, include_input=False)
        problem = "; ".join(f"{'.'.join(map(str, wrong['loc'])) or 'data'}: {wrong['msg']}" for wrong in each)
    return " ".join(problem.split())[:_LONGEST_PROBLEM]
