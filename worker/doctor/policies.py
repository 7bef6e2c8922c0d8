"""What policies let somebody do, as far as their text tells; no I/O.

Source of the rules: the IAM user guide, "Policy evaluation logic", "IAM JSON policy elements: Condition operators" and
"Principal". What is not known here (an operator, a variable, a key whose value cannot be told) leaves it open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

Texts = str | list[str]
_Value = str | bool | int
_Principal = str | dict[str, Texts]


class Decision(Enum):
    """What a request comes to."""

    ALLOWED = "allowed"
    DENIED = "denied"  # by a statement that says so: nothing else can allow it
    NOT_ALLOWED = "not allowed"
    OPEN = "open"


class Request(Struct, frozen=True):
    """Who wants to do what. Keys of the context are in lower case; None stands for a key that the request lacks.

    `resource` is None in a trust policy, `principal` in a policy that belongs to a principal.
    """

    action: str
    resource: str | None
    principal: str | None
    context: Mapping[str, str | None] = {}


class Statement(Struct, frozen=True, rename="pascal"):
    """One statement of a policy."""

    effect: str
    action: Texts | None = None
    not_action: Texts | None = None
    resource: Texts | None = None
    not_resource: Texts | None = None
    principal: _Principal | None = None
    not_principal: _Principal | None = None
    condition: dict[str, dict[str, _Value | list[_Value]]] = {}


class Policy(Struct, frozen=True, rename="pascal"):
    """A document; elements that are not listed change nothing."""

    statement: list[Statement] | Statement

    @property
    def statements(self) -> list[Statement]:
        """All of them; a single one may stand without a list."""
        return [self.statement] if isinstance(self.statement, Statement) else self.statement


def policy_of(document: Any) -> Policy | None:
    """A document as AWS gives it, text or decoded; None for one that cannot be read."""
    try:
        if isinstance(document, str):
            return msgspec.json.decode(document, type=Policy)
        return msgspec.convert(document, Policy)
    except (msgspec.MsgspecError, ValueError):
        return None


def decide(policies: Iterable[Policy | None], request: Request) -> Decision:
    """What the policies come to together; one that cannot be read (None) leaves it open, unless another one denies."""
    met: dict[str, list[bool | None]] = {"Allow": [], "Deny": []}
    for policy in policies:
        if policy is None:
            met["Deny"].append(None)
            met["Allow"].append(None)
        else:
            for statement in policy.statements:
                met.setdefault(statement.effect, []).append(_is_about(statement, request))
    if True in met["Deny"]:
        return Decision.DENIED
    if not {True, None}.intersection(met["Allow"]):
        return Decision.NOT_ALLOWED
    return Decision.OPEN if None in met["Deny"] or True not in met["Allow"] else Decision.ALLOWED


def _is_about(statement: Statement, request: Request) -> bool | None:
    """Whether a statement is about the request; None if that cannot be told."""
    parts = list(_parts(statement, request))
    return False if False in parts else None if None in parts else True


def _parts(statement: Statement, request: Request) -> Iterator[bool | None]:
    yield _is_among(request.action.lower(), _lower(statement.action), _lower(statement.not_action))
    if request.resource is not None:
        yield _is_among(request.resource, statement.resource, statement.not_resource)
    if request.principal is not None:
        yield _is_principal(request.principal, statement)
    for operator, keys in statement.condition.items():
        for key, values in keys.items():
            yield _holds(operator, key, values, request.context)


def _is_among(name: str, patterns: Texts | None, other_than: Texts | None) -> bool | None:
    if patterns is not None:
        return _is_any(name, patterns)
    return None if other_than is None else not _is_any(name, other_than)


def _is_any(name: str, patterns: Texts) -> bool:
    return any(_is_like(pattern, name) for pattern in _listed(patterns))


def _is_like(pattern: str, text: str) -> bool:
    """Whether a text has the form of a pattern, in which * stands for any text and ? for any symbol."""
    expression = "".join({"*": ".*", "?": "."}.get(symbol, re.escape(symbol)) for symbol in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _is_principal(principal: str, statement: Statement) -> bool | None:
    """An account that is named leaves it to its own policies whom it lets do so."""
    if statement.not_principal is not None or statement.principal is None:
        return None
    named = _named(statement.principal)
    if principal in named or "*" in named:
        return True
    accounts = {name.split(":")[4] if name.endswith(":root") else name for name in named}
    return None if accounts.intersection(principal.split(":")[4:5]) else False


def _named(principal: _Principal) -> list[str]:
    if isinstance(principal, str):
        return [principal]
    return [name for names in principal.values() for name in _listed(names)]


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "stringequals": str.__eq__,
    "stringequalsignorecase": lambda wanted, value: wanted.lower() == value.lower(),
    "stringlike": _is_like,
    "arnequals": _is_like,
    "arnlike": _is_like,
    "bool": lambda wanted, value: wanted.lower() == value.lower(),
}
"""Operator -> whether a value is the wanted one; "not" within the operator's name turns it round."""


def _holds(operator: str, key: str, values: _Value | list[_Value], context: Mapping[str, str | None]) -> bool | None:
    """Whether a condition is met; None if that cannot be told."""
    name = operator.lower()
    is_if_exists, name = name.endswith("ifexists"), name.removesuffix("ifexists")
    positive = name.replace("not", "")
    wanted = [str(value) for value in (values if isinstance(values, list) else [values])]
    if key.lower() not in context or positive not in _TESTS or any("${" in text for text in wanted):
        return None
    value = context[key.lower()]
    if value is None:
        return is_if_exists or name != positive
    return any(_TESTS[positive](text, value) for text in wanted) is (name == positive)


def _listed(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _lower(texts: Texts | None) -> Texts | None:
    return None if texts is None else [text.lower() for text in _listed(texts)]
