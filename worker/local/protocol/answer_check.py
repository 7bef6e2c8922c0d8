"""Checks answers against botocore's service models before they are sent, for tests of the service itself.

An operation's output shape is made a type that msgspec decodes answers into. What botocore's own validator refuses is
refused, and so is what it does not look at: upper bounds, enums and patterns. Every entry of every page is checked: a
page of 1,000 takes half a millisecond, of which botocore's validator would make ten.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from msgspec import UNSET, Meta, UnsetType

from worker.local.protocol.shapes import INTEGER_RANGES, anchored

_SCALARS: dict[str, type] = {
    "string": str,
    "blob": bytes,  # Base64 in JSON
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "timestamp": float,
}

_SHARED_ERRORS = frozenset(
    {
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidParameterValueException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "MissingRequiredParameterException",
        "SerializationException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)
"""What any operation may answer though its model does not say so.

https://docs.aws.amazon.com/rekognition/latest/APIReference/CommonErrors.html, and what services answer to a request
that does not have its shape.
"""

_UNDECLARED_ERRORS = frozenset({("ReceiveMessage", "InvalidAttributeName")})
"""(operation, code) that SQS answers though its model declares the code for other operations only."""


def check_answer(operation: OperationModel, body: bytes) -> None:
    """Raise ValueError unless the body has the operation's output shape: known members, their types, within bounds."""
    try:
        _decoder(operation).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{operation.name}: {error}") from None


def check_refusal(operation: OperationModel, code: str) -> None:
    """Raise ValueError unless the code is one of the operation's errors, or one that all operations share."""
    is_shared = code in _SHARED_ERRORS or (operation.name, code) in _UNDECLARED_ERRORS
    if not is_shared and code not in {error.name for error in operation.error_shapes}:
        raise ValueError(f"{operation.name}: {code} is none of its errors")


@cache
def _decoder(operation: OperationModel) -> msgspec.json.Decoder[Any]:
    shape = operation.output_shape
    return msgspec.json.Decoder(_structure(operation.name, {} if shape is None else shape.members, ()))


def _type_of(shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        return _structure(shape.name, shape.members, shape.required_members)
    if isinstance(shape, MapShape):
        return Annotated[dict[_type_of(shape.key), _type_of(shape.value)], _size(shape)]  # type: ignore[misc]  # types made at run time
    if isinstance(shape, ListShape):
        return Annotated[list[_type_of(shape.member)], _size(shape)]  # type: ignore[misc]  # a type made at run time
    return _scalar(shape)


def _structure(name: str, members: Mapping[str, Shape], required: Collection[str]) -> type[msgspec.Struct]:
    """A record of the members and no others; null stands for none of them."""
    fields = [
        (member, _type_of(shape)) if member in required else (member, _type_of(shape) | UnsetType, UNSET)
        for member, shape in members.items()
    ]
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True, gc=False)


def _scalar(shape: Shape) -> Any:
    if "enum" in shape.metadata:
        return Literal[tuple(shape.metadata["enum"])]
    scalar = _SCALARS[shape.type_name]
    if scalar is bool:
        return scalar
    return Annotated[scalar, _range(shape) if scalar in (int, float) else _size(shape)]


def _range(shape: Shape) -> Meta:
    least, most = INTEGER_RANGES.get(shape.type_name, (None, None))
    return Meta(ge=shape.metadata.get("min", least), le=shape.metadata.get("max", most))


def _size(shape: Shape) -> Meta:
    rules = shape.metadata
    pattern = anchored(rules["pattern"]) if "pattern" in rules else None
    return Meta(min_length=rules.get("min"), max_length=rules.get("max"), pattern=pattern)
