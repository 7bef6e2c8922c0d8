"""Logs to standard error: JSON lines, or a readable form on a terminal, with secrets masked.

The program logs through structlog; what libraries log through the standard library takes the same way, and so do
exceptions that nobody has caught. A secret is known by its look, by the name before it, or because it was named here
(`keep_secret`). A line that cannot be written (a full disk, a closed pipe) is lost: work never stops for its log.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_MASK = "***"
_DEEPEST = 4  # containers within containers; what lies deeper is left out

_LEAST_CHARACTERS = 8  # of a secret that is looked for everywhere: a shorter one would mask half of all words

_SECRET_KEY = re.compile(
    r"(?:password|passwd|passphrase|secret|token|authorization|credentials?|signature|external_?id"
    r"|(?:access|api|private)[_-]?key)$",
    re.IGNORECASE,
)
_NAMES = "password|passwd|passphrase|secret|token|signature|credential|external_?id|secret_?access_?key"
_QUOTED = r""""(?:[^"\\]|\\+[^\\])*"|'(?:[^'\\]|\\+[^\\])*'"""  # also where a repr doubled the backslashes
_QUOTED_WITHIN = r"""\\+"[^"]*"?|\\+'[^']*'?"""  # in a text that is quoted itself
# bare, in quotes, or in quotes and wrapped, as in b'…' or Secret('…')
_VALUE = rf"""(?:{_QUOTED_WITHIN}|(?:\w*\()?(?:[bru]{{0,2}}(?:{_QUOTED})|[^\s"'&,;{{}}\[\]]+))"""
_SECRETS = re.compile(
    rf"""
      (?P<userinfo>://[^\s:/@?\#]*:)[^\s<>]{{0,2000}}@                           # user:password@ of a URL
    | (?P<access_key>(?-i:AKIA|ASIA))[A-Z0-9]{{12,}}                             # of AWS, for long or a session
    | (?P<header>\bauthorization["']?\s*[:=]\s*)(?:{_QUOTED}|[^\r\n"']+)         # its parameters have spaces
    | (?P<bearer>\bbearer\s+)[^\s"',]+
    | (?P<element>(?:{_NAMES})>)[^<]*                                            # of XML
    | (?P<assigned>(?:{_NAMES})\\*["']?\s*(?:[=:]|%3[AD])\s*){_VALUE}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_kept: list[str] = []  # every form of every known secret, longest first, so that none is masked in part


def configure(*, json_lines: bool, level: str = "INFO") -> None:
    """Set logging up for this process; `level` is a name of the standard library's, in any case.

    Libraries are heard from WARNING on, whatever the level: botocore at DEBUG writes down credentials. What the
    environment calls a password, token or key is kept secret.

    Raises:
        KeyError: for a level that does not exist.

    """
    lowest = logging.getLevelNamesMapping()[level.upper()]
    arriving: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    leaving: list[Processor] = [structlog.processors.format_exc_info, _mask_secrets, _renderer(json_lines=json_lines)]
    structlog.configure(
        processors=arriving + leaving,
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=_StandardError,
        cache_logger_on_first_use=True,
    )
    _route_libraries([structlog.stdlib.add_logger_name, *arriving], leaving, max(lowest, logging.WARNING))
    _route_uncaught()
    keep_secret(value for name, value in os.environ.items() if _SECRET_KEY.search(name))


def keep_secret(texts: Iterable[str]) -> None:
    """Mask these texts wherever they turn up from now on, also as JSON, a repr or a URL writes them."""
    forms = {form for text in texts if len(text) >= _LEAST_CHARACTERS for form in _forms(text)}
    _kept[:] = sorted({*_kept, *forms}, key=len, reverse=True)


def _forms(text: str) -> tuple[str, ...]:
    return text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], quote(text, "")


def redacted(text: str) -> str:
    """The text with everything masked that is known to be a secret or looks like one."""
    for secret in _kept:
        if secret in text:
            text = text.replace(secret, _MASK)
    if not _may_hold_a_secret(text):
        return text
    return _SECRETS.sub(lambda match: f"{match[match.lastgroup or 0]}{_MASK}{'@' if match['userinfo'] else ''}", text)


def _may_hold_a_secret(text: str) -> bool:
    """A search without false negatives, at a tenth of the cost: most texts of most lines are harmless."""
    return any(sign in text for sign in ("=", ":", ">", "%3", "AKIA", "ASIA")) or "bearer" in text.lower()


class _StandardError:
    """Writes lines to what standard error is at that moment."""

    def __init__(self, *_: object) -> None:
        pass

    def write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: closed
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    msg = debug = info = warning = error = critical = exception = write


class _LibraryHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (a library's faulty log call must not reach the work that made it)
            line = f"a record of logger {record.name} could not be formatted"
        _StandardError().write(line)


def _route_libraries(arriving: list[Processor], leaving: list[Processor], level: int) -> None:
    handler = _LibraryHandler(level)  # on the handler too: a library may lower its own logger's level
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=arriving,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *leaving],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)


def _route_uncaught() -> None:
    """What Python would print itself, as it stands, becomes a line like any other."""
    log = structlog.get_logger()

    def uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        log.critical("uncaught", exc_info=(kind, error, traceback))

    def uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
        log.critical("uncaught", thread=hook.thread and hook.thread.name, exc_info=hook.exc_value)

    def unraisable(hook: sys.UnraisableHookArgs) -> None:
        log.error("raised where nobody could catch it", by=repr(hook.object), exc_info=hook.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, unraisable


def _renderer(*, json_lines: bool) -> Processor:
    if json_lines:
        return _as_json
    # Exceptions come as text already: the renderer's own rich form would show local variables, secrets included.
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except (UnicodeEncodeError, OverflowError):  # half a surrogate pair; a number beyond 64 bits
        return json.dumps(event)


def _mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The line as plain data without secrets; time, level and event lead."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {redacted(key): _masked(key, value, 0) for key, value in {**first, **event}.items()}


def _masked(key: str, value: Any, depth: int) -> Any:
    if _SECRET_KEY.search(key) and value is not None:
        return _MASK
    return _plain(value, depth)


def _plain(value: Any, depth: int) -> Any:
    if type(value) is str:
        return redacted(value)
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, dict | list | tuple | set | frozenset) and depth == _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {redacted(str(key)): _masked(str(key), inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth + 1) for inner in value]
    return redacted(_as_text(value))


def _as_text(value: Any) -> str:
    try:
        return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    except Exception:  # noqa: BLE001 (whatever an object's own code does, the line is written)
        return f"<{type(value).__name__} that cannot be printed>"
