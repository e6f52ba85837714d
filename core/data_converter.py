"""Converts values to Temporal payloads: pydantic's JSON, with the type adapters cached for the whole process."""

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
def _shared_converters() -> tuple[EncodingPayloadConverter, ...]:
    pydantic = PydanticJSONPlainPayloadConverter()
    converters = DefaultPayloadConverter.default_encoding_payload_converters
    return tuple(pydantic if isinstance(c, JSONPlainPayloadConverter) else c for c in converters)


class SharedPydanticPayloadConverter(CompositePayloadConverter):
    """`temporalio.contrib.pydantic`, with one cache of type adapters for the process.

    The SDK creates a payload converter for every workflow run. With a cache in each, every run would compile the
    adapters of all messages: about 4 ms of CPU per hold, and twice the memory of a cached hold.
    """

    def __init__(self) -> None:
        super().__init__(*_shared_converters())


data_converter = DataConverter(payload_converter_class=SharedPydanticPayloadConverter)
"""For every Temporal client. Its payloads are identical to those of `pydantic_data_converter`."""
