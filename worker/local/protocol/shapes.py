"""Checks a request against botocore's service models: members, types, bounds and patterns.

botocore's own validator, which runs in every client, checks neither upper bounds nor patterns; the service does. What
the models' words mean: https://smithy.io/2.0/spec/constraint-traits.html (the length of a string is its number of
Unicode characters) and https://smithy.io/2.0/spec/simple-types.html.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
}


INTEGER_RANGES = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
"""What the models' whole numbers can hold, by type name, both ends included."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a request: the member's path, and whether it is `missing`, of another `type`, or `unfit`."""

    path: str
    kind: str
    demand: str

    def __str__(self) -> str:
        return f"{self.path} {self.demand}"


def service_model(service: str) -> ServiceModel:
    """The model of a service, from botocore: `rekognition` or `sqs`."""
    return ServiceModel(Loader().load_service_model(service, "service-2"))


def input_shape(model: ServiceModel, operation: str) -> Shape:
    """The shape of an operation's requests."""
    shape = model.operation_model(operation).input_shape
    if shape is None:
        raise LookupError(f"{operation} takes no members")
    return shape


def first_fault(shape: Shape, request: Any) -> Fault | None:
    """The first fault of the request, or None. Members that the model does not know are ignored, as AWS does."""
    return next(_faults(shape, request, ""), None)


def _faults(shape: Shape, value: Any, path: str) -> Iterator[Fault]:
    if not _has_type(shape, value):
        yield Fault(path or "The request", "type", f"must be of type {shape.type_name}")
        return
    yield from _bound_faults(shape, value, path)
    if isinstance(shape, StructureShape):
        yield from _member_faults(shape, value, path)
    elif isinstance(shape, ListShape):
        for position, item in enumerate(value):
            yield from _faults(shape.member, item, f"{path}[{position}]")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _faults(shape.value, item, f"{path}.{key}")


def _member_faults(shape: StructureShape, value: dict[str, Any], path: str) -> Iterator[Fault]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield Fault(prefix + name, "missing", "is required")
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from _faults(member, value[name], prefix + name)


def _has_type(shape: Shape, value: Any) -> bool:
    if isinstance(value, bool):
        return bool(shape.type_name == "boolean")
    if not isinstance(value, _PYTHON_TYPES.get(shape.type_name, (object,))):
        return False
    least, most = INTEGER_RANGES.get(shape.type_name, (-math.inf, math.inf))
    return not isinstance(value, int) or least <= value <= most


def _bound_faults(shape: Shape, value: Any, path: str) -> Iterator[Fault]:
    rules = shape.metadata
    is_number = isinstance(value, (int, float))
    size, verb = (value, "be") if is_number else (len(value), "have a length of")
    if "min" in rules and size < rules["min"]:
        yield Fault(path, "unfit", f"must {verb} at least {rules['min']}")
    if "max" in rules and size > rules["max"]:
        yield Fault(path, "unfit", f"must {verb} at most {rules['max']}")
    if "enum" in rules and value not in rules["enum"]:
        yield Fault(path, "unfit", f"must be one of {', '.join(rules['enum'])}")
    if "pattern" in rules and not _pattern(rules["pattern"]).search(value):
        yield Fault(path, "unfit", f"must match {rules['pattern']}")


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(anchored(pattern))


def anchored(pattern: str) -> str:
    """The model's pattern in Python's words: it is to match the whole value, and digits and letters are ASCII's.

    Anchors of its own do not see to that, since Python's `$` lets a newline at the end through.
    """
    return rf"(?a:\A(?:{pattern})\Z)"
