"""Clients for one lane, made once, and the one edge where foreign errors become `AwsError`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import aioboto3
import aiohttp
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioDeferredRefreshableCredentials, create_assume_role_refresher
from aiobotocore.session import AioSession
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 (botocore's own, for endpoints that cannot be reached)
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from msgspec import Struct

from worker.config import Lane
from worker.errors import AwsError, UsageError, Verdict, verdict_on

CONNECT_SECONDS = 5
READ_SECONDS = 30  # longer than the longest long poll
CONNECTIONS = 256

log = structlog.get_logger()


class Credentials(Struct, frozen=True):
    """Given instead of what the environment, profile or role would give."""

    access_key_id: str
    secret_access_key: str


class Clients(Struct, frozen=True):
    """The clients of one lane, and the account that they act in."""

    rekognition: Any
    sqs: Any
    s3: Any
    account_id: str


@cache
def _loader() -> Loader:
    """Shared by all lanes: reading the service models anew for each would block the loop for a fifth of a second."""
    return Loader(include_default_search_paths=True)


@asynccontextmanager
async def open_clients(lane: Lane, credentials: Credentials | None = None) -> AsyncIterator[Clients]:
    """Open the lane's clients, one after the other.

    Raises:
        AwsError: if the credentials are refused.
        UsageError: if the profile does not exist.

    """
    async with AsyncExitStack() as stack:
        session = await _session(lane, credentials, stack)
        clients = {
            service: await stack.enter_async_context(_client(session, service, lane))
            for service in ("rekognition", "sqs", "s3")
        }
        yield Clients(**clients, account_id=await _account_of(session, lane))


async def bucket_client(session_lane: Lane, credentials: Credentials | None, stack: AsyncExitStack) -> Any:
    """An S3 client in a lane's account and region, for looking at sources."""
    session = await _session(session_lane, credentials, stack)
    return await stack.enter_async_context(_client(session, "s3", session_lane))


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever a call may raise into an `AwsError` with its verdict."""
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(said.get("Code", "Unknown"))
        raise AwsError(verdict_on(code, status), code, str(said.get("Message", ""))) from None
    except (
        NoCredentialsError,
        PartialCredentialsError,
        CredentialRetrievalError,
        SSOError,
        TokenRetrievalError,
    ) as error:
        raise AwsError(Verdict.STOP_LANE, type(error).__name__, str(error)) from None
    except (
        ConnectionError,
        HTTPClientError,
        aiohttp.ClientError,
        ResponseParserError,
        OSError,
    ) as error:
        raise AwsError(Verdict.RETRY, type(error).__name__, str(error)) from None
    except BotoCoreError as error:
        raise AwsError(Verdict.JOB_FAILED, type(error).__name__, str(error)) from None


async def _session(lane: Lane, credentials: Credentials | None, stack: AsyncExitStack) -> aioboto3.Session:
    botocore_session = AioSession(profile=lane.profile)
    botocore_session.register_component("data_loader", _loader())
    if lane.profile and lane.profile not in botocore_session.available_profiles:
        raise UsageError(f"the AWS config files have no profile {lane.profile!r}; write one that they have")
    session = aioboto3.Session(
        botocore_session=botocore_session,
        region_name=lane.region,
        aws_access_key_id=credentials.access_key_id if credentials else None,
        aws_secret_access_key=credentials.secret_access_key if credentials else None,
    )
    if lane.role_arn:
        assumed = AioSession()
        assumed.register_component("data_loader", _loader())
        vars(assumed)["_credentials"] = await _assumed_role(session, lane, stack)  # botocore offers no other way
        return aioboto3.Session(botocore_session=assumed, region_name=lane.region)
    return session


async def _assumed_role(
    session: aioboto3.Session, lane: Lane, stack: AsyncExitStack
) -> AioDeferredRefreshableCredentials:
    """Credentials of the lane's role, renewed before they expire for as long as the worker runs."""
    sts = await stack.enter_async_context(_client(session, "sts", lane))
    request = {"RoleArn": lane.role_arn, "RoleSessionName": "modworker"}
    if lane.external_id:
        request["ExternalId"] = lane.external_id
    return AioDeferredRefreshableCredentials(create_assume_role_refresher(sts, request), "assume-role")


def _client(session: aioboto3.Session, service: str, lane: Lane) -> Any:
    """A client that tries each call once and takes its endpoint from the config file or from AWS, nowhere else."""
    return session.client(
        service,  # type: ignore[call-overload]
        region_name=lane.region,
        endpoint_url=endpoint_of(lane, service),
        config=AioConfig(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},
            ignore_configured_endpoint_urls=True,
            s3={"addressing_style": "path"} if endpoint_of(lane, "s3") else {},
            user_agent_appid="modworker",
        ),
    )


def endpoint_of(lane: Lane, service: str) -> str | None:
    """The configured endpoint of a service, None for AWS's own."""
    return getattr(lane.endpoints, service, None) or lane.endpoint_url


async def _account_of(session: aioboto3.Session, lane: Lane) -> str:
    """The account that the credentials belong to, else the one that owns the topic.

    Where other services are redirected and STS is not, nothing is sent to the real STS; and an endpoint of the
    operator's that does not speak STS is no reason to stop.
    """
    redirected = lane.endpoint_url or any(lane.endpoints.model_dump().values())
    if redirected and not endpoint_of(lane, "sts"):
        return lane.topic_account
    try:
        with translated():
            async with _client(session, "sts", lane) as sts:
                return str((await sts.get_caller_identity())["Account"])
    except AwsError as error:
        if redirected and error.verdict is not Verdict.STOP_LANE:
            log.warning("account unknown, the topic's is taken", reason=str(error))
            return lane.topic_account
        raise
