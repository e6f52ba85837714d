"""How values become payloads: pydantic's JSON, with what it learned of a type kept for the whole process."""

from functools import cache

from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)


@cache
def _converters() -> tuple[EncodingPayloadConverter, ...]:
    pydantic = PydanticJSONPlainPayloadConverter()
    converters = DefaultPayloadConverter.default_encoding_payload_converters
    return tuple(pydantic if isinstance(c, JSONPlainPayloadConverter) else c for c in converters)


class SharedPydanticPayloadConverter(CompositePayloadConverter):
    """`temporalio.contrib.pydantic` with one cache of type adapters for the process.

    The SDK makes a payload converter for every workflow run; with a cache of its own each would compile the adapters
    of every message anew: about 4 ms of the worker's CPU a hold, and twice the memory of an open hold.
    """

    def __init__(self) -> None:
        super().__init__(*_converters())


data_converter = DataConverter(payload_converter_class=SharedPydanticPayloadConverter)
"""What every client of ours uses; the payloads are the same as those of `pydantic_data_converter`."""
