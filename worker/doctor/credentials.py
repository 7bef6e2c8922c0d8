"""Who the lane is for AWS, and whether this machine's clock is AWS's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from msgspec import Struct

from worker.aws.answers import date_of
from worker.aws.session import Access, is_asked, is_redirected
from worker.config import Lane as LaneSettings
from worker.doctor.examined import subject, tried
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.errors import AwsError, Verdict

MOST_SKEW_SECONDS = 120.0  # AWS refuses what was signed five minutes ago, or is signed five minutes ahead
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})


class Identity(Struct, frozen=True):
    """`arn` is "" where STS does not tell; `skew_seconds` is how far this machine is ahead, None where nobody told."""

    account_id: str = ""
    arn: str = ""
    refusal: AwsError | None = None
    skew_seconds: float | None = None


async def look(access: Access) -> Identity:
    """Ask STS who we are; an address of the operator's that does not speak STS is no reason to stop."""
    if not is_asked(access.lane, "sts"):
        return Identity(access.lane.topic_account)
    seen = await tried(lambda: _caller(access))
    if not isinstance(seen, AwsError):
        return Identity(str(seen["Account"]), str(seen["Arn"]), skew_seconds=_skew_seconds(date_of(seen)))
    if is_redirected(access.lane) and seen.verdict is not Verdict.STOP_LANE:
        return Identity(access.lane.topic_account, skew_seconds=_skew_seconds(seen.date))
    return Identity(refusal=seen, skew_seconds=_skew_seconds(seen.date))


async def _caller(access: Access) -> dict[str, Any]:
    async with access.client("sts") as sts:
        answer: dict[str, Any] = await sts.get_caller_identity()
        return answer


def _skew_seconds(date: str) -> float | None:
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):  # no date; one without a zone
        return None


def judge(name: str, lane: LaneSettings, seen: Identity) -> Iterator[Finding]:
    """A clock that is wrong takes the blame for whatever is refused."""
    about_clock, about = subject(name, "clock"), subject(name, "credentials")
    skew_seconds = seen.skew_seconds or 0.0
    if abs(skew_seconds) > MOST_SKEW_SECONDS:
        ahead = "ahead of" if skew_seconds > 0 else "behind"
        said = f"this machine is {abs(skew_seconds):,.0f} s {ahead} AWS, which refuses what is signed 5 minutes off"
        yield fault(about_clock, said, "set the clock, and let NTP keep it")
        if seen.refusal:
            yield not_checked(about, "the clock is wrong")
            return
    elif seen.skew_seconds is None:
        yield not_checked(about_clock, "no answer told AWS's time")
    else:
        yield fine(about_clock, f"{abs(skew_seconds):.0f} s off")
    yield _refused(name, lane, seen.refusal) if seen.refusal else _known(about, seen)


def _known(about: str, seen: Identity) -> Finding:
    if not seen.arn:
        return not_checked(
            about, "STS is not asked where endpoints.sts is not configured; the topic's account is taken"
        )
    return fine(about, f"account {seen.account_id}, {seen.arn}")


def _refused(name: str, lane: LaneSettings, error: AwsError) -> Finding:
    about = subject(name, "credentials")
    if error.code == "NoCredentialsError":
        advice = (
            f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or lanes.{name}.profile, or run where a role is given"
        )
        return fault(about, "there are none", advice)
    if error.code in _EXPIRED:
        return fault(about, f"they have expired ({error})", "renew them")
    if error.code in _DENIED and lane.role_arn:
        said = f"the role {lane.role_arn} cannot be assumed ({error})"
        return fault(about, said, "let its trust policy name who runs the worker, with the lane's external_id")
    if error.verdict is Verdict.RETRY:
        return fault(about, f"AWS's STS does not answer ({error})", "check the network, and HTTPS_PROXY")
    return fault(about, f"AWS refuses them ({error})", "write those of a user or role that exists")
