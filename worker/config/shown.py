"""Settings for people and editors: the effective values with secrets masked, and the JSON Schema."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

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
    parts = _clean_parts(url)
    if parts is None:
        scheme = next((scheme for scheme in _SCHEMES if url.startswith(f"{scheme}://")), None)
        return f"{scheme}://{_MASK}" if scheme else _MASK
    user, _, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    credentials = f"{name}{f':{_MASK}' if colon else ''}@" if user else ""
    return f"{parts.scheme}://{credentials}{hosts}{parts.path}{_masked_query(parts)}"


def reads_cleanly(url: str) -> bool:
    """False where a part of a database URL may be a part of its password: what is said of such a part is a secret."""
    return url == EMBEDDED or _clean_parts(url) is not None


def secrets(settings: Settings) -> list[str]:
    """Every text of the settings that must never be shown."""
    url = settings.database.url.get_secret_value()
    external_ids = [lane.external_id for lane in settings.lanes.values() if lane.external_id]
    texts = [secret.get_secret_value() for secret in (settings.worker.http_token, *external_ids)]
    return [text for text in [*texts, *_secrets_in_url(url)] if text]


def _secrets_in_url(url: str) -> list[str]:
    if url == EMBEDDED:
        return []
    parts = _clean_parts(url)
    if parts is None:
        return [url.partition("://")[2]]
    parameters = [parameter.partition("=") for parameter in parts.query.split("&")]
    found = [parts.password or "", *(text for name, _, text in parameters if name not in _HARMLESS_PARAMETERS)]
    return [form for text in found for form in (text, unquote(text))]


def _clean_parts(url: str) -> SplitResult | None:
    """The parts of a database URL, None if they may not be what they look like."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    user, _, hosts = parts.netloc.rpartition("@")
    looks_right = (
        parts.scheme in _SCHEMES
        and _USER.fullmatch(user.partition(":")[0])
        and _HOSTS.fullmatch(hosts)
        and _DATABASE.fullmatch(parts.path)
    )
    return parts if looks_right and not parts.fragment and "@" not in parts.query else None


def _masked_query(parts: SplitResult) -> str:
    return f"?{'&'.join(map(_masked_parameter, parts.query.split('&')))}" if parts.query else ""


def _masked_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if not equals:
        return _MASK
    return parameter if name in _HARMLESS_PARAMETERS else f"{name}={_MASK}"
