"""A lane while it is examined: what looks need of it, and how they ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
from msgspec import Struct

from worker.aws.answers import translated
from worker.aws.requests import Requests
from worker.aws.session import is_asked
from worker.config import Lane as LaneSettings
from worker.doctor.findings import Finding, not_checked
from worker.errors import PASSING, AwsError, Verdict

T = TypeVar("T")

TRIES = 3  # of a call that was throttled or lost: a worker may be using the quota at this moment
PAUSE_SECONDS = 0.4
_NOT_ASKED = "NotAsked"


class Examined(Struct, frozen=True):
    """A lane that AWS has let in, in `account_id`; `requests` are to the services that it is asked for."""

    name: str
    config: LaneSettings
    is_local: bool
    account_id: str
    requests: Mapping[str, Requests]

    @property
    def queue_arn(self) -> str:
        """The ARN of the lane's queue."""
        return self.arn_of_queue(self.config.queue_url)

    def arn_of_queue(self, url: str) -> str:
        """The ARN of a queue of the lane's region, whose URL ends in account and name."""
        *_, account, name = urlsplit(url).path.split("/")
        partition = self.config.sns_topic_arn.split(":")[1]
        return f"arn:{partition}:sqs:{self.config.region}:{account}:{name}"

    def about(self, part: str) -> str:
        """A subject of findings."""
        return subject(self.name, part)

    async def ask(self, service: str, call: Callable[[Any], Awaitable[T]]) -> T | AwsError:
        """What a call of the SDK's client brings, or the error that it ends in."""
        return await self.ask_as_worker(service, lambda requests: call(requests.client))

    async def ask_as_worker(self, service: str, call: Callable[[Requests], Awaitable[T]]) -> T | AwsError:
        """What a call in the worker's own way brings, or the error that it ends in."""
        if not is_asked(self.config, service):
            key = f"lanes.{self.name}.endpoints.{service.replace('-', '_')}"
            return AwsError(Verdict.STOP_LANE, _NOT_ASKED, f"{key} is not configured")
        return await tried(lambda: call(self.requests[service]))


def subject(lane: str, part: str) -> str:
    """A lane's part, as findings name it."""
    return f"lane {lane}, {part}"


async def tried(call: Callable[[], Awaitable[T]]) -> T | AwsError:
    """What a call brings, or the error that it ends in; tried again after one that passes."""
    for tries_left in reversed(range(TRIES)):
        try:
            with translated():
                return await call()
        except AwsError as error:
            if error.verdict not in PASSING or not tries_left:
                return error
        await anyio.sleep(PAUSE_SECONDS)
    raise AssertionError("unreachable")  # pragma: no cover


def is_denied(seen: object) -> bool:
    """Whether a look ended because the account does not allow it."""
    return isinstance(seen, AwsError) and seen.verdict is Verdict.STOP_LANE


def unanswered(about: str, error: AwsError, permission: str) -> Finding:
    """What the worker itself never asks for could not be seen: that is no fault."""
    if error.code == _NOT_ASKED:
        return not_checked(about, error.message)
    if is_denied(error):
        return not_checked(about, f"looking needs {permission}, which the worker does without ({error.code})")
    return not_checked(about, f"no answer ({str(error).partition(chr(10))[0]})")
