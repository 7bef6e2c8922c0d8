"""Services that stand in for the service's own: an S3 to look objects up in, an SNS to publish to."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aioboto3
import anyio
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from worker.local.accounts import access_key_of
from worker.local.analysts.analysis import StoredVideo
from worker.local.protocol.identity import Caller

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sns import SNSClient


class RemoteClients:
    """Clients of the endpoints, one for each account and region, made when first used and closed together.

    They are signed with made-up keys: credentials of this machine are never sent to such an endpoint.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._session = aioboto3.Session()
        self._clients: dict[tuple[str, Caller], Any] = {}
        self._making = anyio.Lock()

    async def s3(self, owner: Caller, endpoint_url: str) -> S3Client:
        """A client with path-style addresses."""
        return await self._client("s3", owner, endpoint_url)  # type: ignore[no-any-return]  # by its name

    async def sns(self, owner: Caller, endpoint_url: str) -> SNSClient:
        """A client of the topic's account and region."""
        return await self._client("sns", owner, endpoint_url)  # type: ignore[no-any-return]  # by its name

    async def _client(self, service: str, owner: Caller, endpoint_url: str) -> Any:
        async with self._making:
            if (client := self._clients.get((service, owner))) is None:
                client = self._clients[service, owner] = await self._stack.enter_async_context(
                    self._session.client(  # type: ignore[call-overload]  # the service is a variable here
                        service,
                        region_name=owner.region,
                        endpoint_url=endpoint_url,
                        aws_access_key_id=access_key_of(owner.account),
                        aws_secret_access_key="local",  # noqa: S106 (no secret: endpoints of rehearsals check none)
                        config=AioConfig(s3={"addressing_style": "path"}, max_pool_connections=50),
                    )
                )
            return client


class RemoteObjects:
    """Objects of another S3, asked by HeadObject."""

    def __init__(self, clients: RemoteClients, endpoint_url: str) -> None:
        self._clients = clients
        self._endpoint_url = endpoint_url

    async def find(self, caller: Caller, bucket: str, key: str, version_id: str | None) -> StoredVideo | None:
        """The video, or None where the endpoint refuses to show it."""
        client = await self._clients.s3(caller, self._endpoint_url)
        try:
            if version_id is None:
                head = await client.head_object(Bucket=bucket, Key=key)
            else:
                head = await client.head_object(Bucket=bucket, Key=key, VersionId=version_id)
        except ClientError:
            return None
        return StoredVideo(bucket, key, version_id, head["ContentLength"], None)
