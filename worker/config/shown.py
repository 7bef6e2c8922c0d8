"""Settings for people and editors: the effective values with secrets masked, and the JSON Schema."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from worker.config.reading import Loaded, leaves
from worker.config.settings import EMBEDDED, Settings

_MASK = "***"
_SCHEMES = ("postgresql", "postgres")
_HOSTS = re.compile(r"(?:(?:[\w.%-]*|\[[0-9a-fA-F:.%]+\])(?::\d*)?(?:,|$))+")
_DATABASE = re.compile(r"/?[\w.%-]*")
_USER = re.compile(r"[\w.%+-]*")
_HARMLESS_PARAMETERS = frozenset(
    (
        "application_name",
        "connect_timeout",
        "database",
        "dbname",
        "host",
        "port",
        "sslmode",
        "target_session_attrs",
        "user",
    )
)


def show(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(path, value as JSON, source) of every setting; secrets are masked."""
    tree = loaded.settings.model_dump(mode="json")
    tree["database"]["url"] = masked_url(loaded.settings.database.url.get_secret_value())
    return [
        (path, json.dumps(value, ensure_ascii=False), loaded.sources.get(path, "default"))
        for path, value in ((".".join(keys), value) for keys, value in leaves(tree))
    ]


def schema() -> dict[str, Any]:
    """JSON Schema of the config file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


def masked_url(url: str) -> str:
    """A database URL without its password.

    What is not known to be harmless is masked: a password with unescaped characters can make any part of the URL look
    like another one, so a URL that does not read cleanly shows nothing but its scheme.
    """
    if url == EMBEDDED:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return _MASK
    if parts.scheme not in _SCHEMES:
        return _MASK
    user, _, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    reads_cleanly = _USER.fullmatch(name) and _HOSTS.fullmatch(hosts) and _DATABASE.fullmatch(parts.path)
    if not reads_cleanly or parts.fragment or "@" in parts.query:
        return f"{parts.scheme}://{_MASK}"
    credentials = f"{name}{f':{_MASK}' if colon else ''}@" if user else ""
    return f"{parts.scheme}://{credentials}{hosts}{parts.path}{_masked_query(parts)}"


def _masked_query(parts: SplitResult) -> str:
    return f"?{'&'.join(map(_masked_parameter, parts.query.split('&')))}" if parts.query else ""


def _masked_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if not equals:
        return _MASK
    return parameter if name in _HARMLESS_PARAMETERS else f"{name}={_MASK}"
