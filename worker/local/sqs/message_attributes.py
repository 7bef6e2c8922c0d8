"""Message attributes: which are allowed, how large they are, and their digest.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from worker.local.protocol.refusals import ServiceError
from worker.local.sqs.refusals import bad_parameter

Attributes = Mapping[str, Mapping[str, Any]]

_MOST_ATTRIBUTES = 10
_NAME = re.compile(r"(?!\.)(?!.*\.\.)(?!.*\.$)[A-Za-z0-9_.-]{1,256}")
_RESERVED = re.compile(r"(aws|amazon)\.", re.IGNORECASE)
_TYPE = re.compile(r"(String|Number|Binary)(\..+)?")
_LONGEST_TYPE = 256
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_STRING, _BINARY = 1, 2  # how the digest tells the two kinds of values


def checked(attributes: Attributes) -> dict[str, dict[str, str]]:
    """The attributes, each with its type and its one value.

    Raises:
        ServiceError: too many, a bad name, an unknown type, or a value that is missing or not of its type.

    """
    if len(attributes) > _MOST_ATTRIBUTES:
        raise bad_parameter(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{_MOST_ATTRIBUTES}]."
        )
    for name in attributes:
        _check_name(name)
    return {name: _checked_value(name, attribute) for name, attribute in attributes.items()}


def size_bytes(attributes: Attributes) -> int:
    """What the names, types and values add to a message's size; also of attributes that have not been checked."""
    return sum(
        len(name.encode()) + len(attribute["DataType"].encode()) + _value_bytes(attribute)
        for name, attribute in attributes.items()
    )


def md5_of(attributes: Attributes) -> str:
    """The digest that SQS answers with: each attribute's parts, each after its length, in the order of the names."""
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        attribute = attributes[name]
        kind = _BINARY if _is_binary(attribute) else _STRING
        digest.update(_counted(name.encode()) + _counted(attribute["DataType"].encode()))
        digest.update(bytes([kind]) + _counted(_content(attribute)))
    return digest.hexdigest()


def chosen(attributes: Attributes, names: Iterable[str]) -> Attributes:
    """Those that a receive asks for by name, by `prefix.*`, or all by `All` or `.*`."""
    wanted = set(names)
    if wanted & {"All", ".*"}:
        return attributes
    prefixes = tuple(name.removesuffix("*").removesuffix(".") for name in wanted if name.endswith(".*"))
    return {
        name: attribute
        for name, attribute in attributes.items()
        if name in wanted or name.startswith(prefixes or ("\0",))
    }


def _check_name(name: str) -> None:
    if _RESERVED.match(name) or not _NAME.fullmatch(name):
        raise bad_parameter(
            f"The message attribute name '{name}' is invalid. A name is 1 to 256 letters, digits, underscores, hyphens "
            "and single periods within it, and does not begin with AWS. or Amazon."
        )


def _checked_value(name: str, attribute: Mapping[str, Any]) -> dict[str, str]:
    data_type = attribute["DataType"]
    logical = _TYPE.fullmatch(data_type)
    if logical is None or len(data_type) > _LONGEST_TYPE:
        raise bad_parameter(
            f"The message attribute '{name}' has an invalid message attribute type, the set of supported type "
            "prefixes is Binary, Number, and String."
        )
    member = "BinaryValue" if _is_binary(attribute) else "StringValue"
    if set(attribute) & {"StringListValues", "BinaryListValues"}:
        raise bad_parameter("Message attribute list values in SendMessage operation are not supported.")
    if not attribute.get(member):
        kind = member.removesuffix("Value")
        raise bad_parameter(f"Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'.")
    if member == "BinaryValue" and not _is_base64(attribute[member]):
        raise ServiceError("SerializationException", f"The value of message attribute '{name}' is not base64")
    if logical[1] == "Number" and not _NUMBER.fullmatch(attribute[member]):
        raise bad_parameter(f"Can't cast the value of message (user) attribute '{name}' to a number.")
    return {"DataType": data_type, member: attribute[member]}


def _value_bytes(attribute: Mapping[str, Any]) -> int:
    text, base64_text = attribute.get("StringValue") or "", attribute.get("BinaryValue") or ""
    return len(text.encode()) + len(base64_text) * 3 // 4 - base64_text.count("=")


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_binary(attribute: Mapping[str, Any]) -> bool:
    return str(attribute["DataType"]).startswith("Binary")


def _content(attribute: Mapping[str, Any]) -> bytes:
    return base64.b64decode(attribute["BinaryValue"]) if _is_binary(attribute) else attribute["StringValue"].encode()


def _counted(part: bytes) -> bytes:
    return len(part).to_bytes(4) + part
