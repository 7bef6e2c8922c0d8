"""Clients for one lane, made once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any

import aioboto3
import anyio
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioCredentials,
    AioDeferredRefreshableCredentials,
    create_assume_role_refresher,
)
from aiobotocore.session import AioSession
from botocore.loaders import Loader
from msgspec import Struct, structs

from worker.aws.answers import Connections, translated
from worker.aws.credentials import Found, Read, RenewedCredentials
from worker.aws.quotas import Quotas, read_quotas
from worker.aws.requests import Requests
from worker.config import Lane
from worker.errors import AwsError, UnreadableError, UsageError, Verdict

CONNECT_SECONDS = 5
READ_SECONDS = 30  # longer than the longest long poll
CONNECTIONS = 256
_UNKNOWN = "quotas unknown, those of the configuration are used"
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_MAKING = anyio.CapacityLimiter(1)  # threads that make clients: many of them would crowd the loop out

log = structlog.get_logger()


class Credentials(Struct, frozen=True):
    """Given instead of what the environment, profile or role would give."""

    access_key_id: str
    secret_access_key: str


class Access(Struct, frozen=True):
    """A lane's way into AWS: whatever service, with the lane's credentials."""

    lane: Lane
    credentials: AioCredentials
    session: aioboto3.Session

    def client(self, service: str) -> Any:
        """A client to be entered; each of its calls is tried once."""
        return _client(self.session, service, self.lane)

    async def requests(self, service: str, stack: AsyncExitStack) -> Requests:
        """Requests to a service, open as long as the stack."""
        connections = Connections(service)
        client = await stack.enter_async_context(_client(self.session, service, self.lane, connections))
        return Requests(client, self.credentials, connections.session)


class Clients(Struct, frozen=True):
    """The clients of one lane, and the account that they act in."""

    rekognition: Requests
    sqs: Requests
    s3: Requests
    account_id: str
    quotas: Quotas | None  # None: those of the configuration


@cache
def _loader() -> Loader:
    """Shared by all lanes: reading the service models anew for each would block the loop for a fifth of a second."""
    return Loader(include_default_search_paths=True)


class _LaneSession(AioSession):
    """A session that has read nothing of the SDK's files yet, in the lane's region.

    Its clients take their endpoint from the config file or from AWS, nowhere else; so do those that botocore makes of
    it by itself, to which a profile's role or a web identity is shown.
    """

    def __init__(self, lane: Lane) -> None:
        super().__init__(profile=lane.profile)
        self._lane = lane
        self.register_component("data_loader", _loader())
        self.set_config_variable("region", lane.region)
        self.set_config_variable("ignore_configured_endpoint_urls", True)

    def create_client(self, service_name: str, *args: Any, **options: Any) -> Any:
        """A client to be entered, as botocore makes it."""
        options["endpoint_url"] = endpoint_of(self._lane, service_name)
        options["config"] = _over_our_connections(options.get("config"), service_name)
        return super().create_client(service_name, *args, **options)  # type: ignore[call-overload]


def _over_our_connections(given: Any, service: str) -> Any:
    """The config of a client, also where botocore makes one by itself."""
    if isinstance(getattr(given, "http_session_cls", None), Connections):
        return given
    config: Any = AioConfig().merge(given or AioConfig())
    config.http_session_cls = Connections(service)
    return config


@asynccontextmanager
async def open_clients(lane: Lane, given: Credentials | None = None) -> AsyncIterator[Clients]:
    """Open the lane's clients, and ask whose they are.

    Raises:
        AwsError: if the credentials are refused.
        UsageError: if the profile does not exist.

    """
    async with AsyncExitStack() as stack:
        made = await anyio.to_thread.run_sync(anyio.run, _make, lane, given, stack, limiter=_MAKING)
        access = made.access
        account_id = await _account_of(access.session, lane)
        if isinstance(access.credentials, RenewedCredentials):
            access.credentials.guard = _same_account(lane, account_id)
        quotas = await _quotas_of(access.session, lane)
        yield Clients(made.rekognition, made.sqs, made.s3, account_id, quotas)


class _Made(Struct, frozen=True):
    """What the SDK makes for one lane before anything is called."""

    access: Access
    rekognition: Requests
    sqs: Requests
    s3: Requests


async def _make(lane: Lane, given: Credentials | None, stack: AsyncExitStack) -> _Made:
    """Make the clients of a lane, in a thread: for fifty of them the SDK takes seconds without a pause.

    Raises:
        UsageError: if the profile does not exist.

    """
    access = await _access(lane, given, stack)
    return _Made(access, *[await access.requests(service, stack) for service in ("rekognition", "sqs", "s3")])


@asynccontextmanager
async def open_access(lane: Lane, given: Credentials | None = None) -> AsyncIterator[Access]:
    """Open the lane's way into AWS; nothing is called yet.

    Raises:
        UsageError: if the profile does not exist.

    """
    async with AsyncExitStack() as stack:
        yield await _access(lane, given, stack)


async def bucket_requests(lane: Lane, given: Credentials | None, stack: AsyncExitStack) -> Requests:
    """S3 in a lane's account and region, for looking at sources."""
    access = await _access(lane, given, stack)
    return await access.requests("s3", stack)


async def _access(lane: Lane, given: Credentials | None, stack: AsyncExitStack) -> Access:
    credentials = await _credentials(lane, given, stack)
    return Access(lane, credentials, _session(lane, credentials))


async def _credentials(lane: Lane, given: Credentials | None, stack: AsyncExitStack) -> AioCredentials:
    """The given credentials, or those of the environment, the profile or the lane's role.

    Raises:
        UsageError: if the profile does not exist.

    """
    if given is not None:
        return AioCredentials(given.access_key_id, given.secret_access_key)
    if lane.profile and lane.profile not in _LaneSession(lane).available_profiles:
        raise UsageError(f"the AWS config files have no profile {lane.profile!r}; write one that they have")
    source = RenewedCredentials(lambda: _LaneSession(lane).get_credentials())
    if not lane.role_arn:
        return source
    sts = await stack.enter_async_context(_client(_session(lane, source), "sts", lane))
    return RenewedCredentials(_assumer(sts, lane))


def _assumer(sts: Any, lane: Lane) -> Read:
    """Assumes the lane's role; what it gives is renewed before it expires for as long as the worker runs."""
    request = {"RoleArn": lane.role_arn, "RoleSessionName": "modworker"}
    if lane.external_id:
        request["ExternalId"] = lane.external_id.get_secret_value()

    async def read() -> Found:
        return AioDeferredRefreshableCredentials(create_assume_role_refresher(sts, request), "assume-role")

    return read


def _same_account(lane: Lane, account_id: str) -> Callable[[Found], Awaitable[None]]:
    """Refuses credentials of another account: tokens live per account, and a Start replayed there would pay again."""

    async def guard(found: Found) -> None:
        account = await _account_of(_session(lane, found), lane)
        if account != account_id:
            reason = f"the credentials are of account {account} now, not of {account_id}"
            raise AwsError(Verdict.STOP_LANE, "OtherAccount", reason)

    return guard


def _session(lane: Lane, credentials: Found) -> aioboto3.Session:
    session = _LaneSession(lane)
    vars(session)["_credentials"] = credentials  # botocore offers no other way
    if isinstance(credentials, RenewedCredentials):
        session.register("after-call", credentials.refused)
    return aioboto3.Session(botocore_session=session)


def _client(session: aioboto3.Session, service: str, lane: Lane, connections: Connections | None = None) -> Any:
    """A client that tries each call once."""
    return session.client(
        service,  # type: ignore[call-overload]
        config=AioConfig(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={"addressing_style": "path"} if endpoint_of(lane, "s3") else {},
            user_agent_appid="modworker",
            http_session_cls=connections or Connections(service),  # type: ignore[arg-type]
        ),
    )


def endpoint_of(lane: Lane, service: str) -> str | None:
    """The configured endpoint of a service, None for AWS's own."""
    return getattr(lane.endpoints, service.replace("-", "_"), None) or lane.endpoint_url


def is_asked(lane: Lane, service: str) -> bool:
    """False where other services are redirected and this one is not: nothing is sent to AWS's own then."""
    return not is_redirected(lane) or endpoint_of(lane, service) is not None


def is_redirected(lane: Lane) -> bool:
    """True where at least one service has an address of the operator's."""
    return bool(lane.endpoint_url or any(lane.endpoints.model_dump().values()))


async def _quotas_of(session: aioboto3.Session, lane: Lane) -> Quotas | None:
    """What Service Quotas grants, if the lane asks for that; a refusal is no reason to stop."""
    if lane.quotas != "auto":
        return None
    if not is_asked(lane, "service-quotas"):
        log.warning(_UNKNOWN, reason="endpoints.service_quotas is not configured")
        return None
    try:
        async with _client(session, "service-quotas", lane) as client:
            quotas = await read_quotas(client)
    except AwsError as error:
        log.warning(_UNKNOWN, reason=str(error))
        return None
    log.info("quotas read", **structs.asdict(quotas))
    return quotas


async def _account_of(session: aioboto3.Session, lane: Lane) -> str:
    """The account that the credentials belong to, else the one that owns the topic.

    Where other services are redirected and STS is not, nothing is sent to the real STS; and an endpoint of the
    operator's that does not speak STS is no reason to stop.
    """
    if not is_asked(lane, "sts"):
        return lane.topic_account
    try:
        with translated():
            async with _client(session, "sts", lane) as sts:
                account = str((await sts.get_caller_identity())["Account"])
                if not _ACCOUNT.fullmatch(account):
                    raise UnreadableError(f"{account[:40]!r} is no account")
                return account
    except AwsError as error:
        if is_redirected(lane) and error.verdict is not Verdict.STOP_LANE:
            log.warning("account unknown, the topic's is taken", reason=str(error))
            return lane.topic_account
        raise
