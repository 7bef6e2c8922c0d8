"""XML as S3 and STS write it."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

Node = str | Iterable[tuple[str, "Node"]]

_CONTROLS = {code: f"&#x{code:X};" for code in range(0x20) if code not in (0x09, 0x0A)}


def document(name: str, content: Node, namespace: str = "") -> bytes:
    """A document of text, or of nested (name, text or children)."""
    attribute = f' xmlns="{namespace}"' if namespace else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}{attribute}>{_inner(content)}</{name}>'.encode()


def _inner(node: Node) -> str:
    if isinstance(node, str):
        return escape(node).translate(_CONTROLS)
    return "".join(f"<{name}>{_inner(child)}</{name}>" for name, child in node)
