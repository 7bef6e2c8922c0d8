"""Operations of a JSON service without the SDK's pipeline, which takes ten times as long to prepare a request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiobotocore.credentials import AioCredentials
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from worker.aws.answers import BoundedSession
from worker.aws.signature import Signature


class Posts:
    """Signed requests over the connections of an SDK client, to where it would send them, one attempt each.

    Errors are read by the SDK, and told to whoever listens to the client's events.
    """

    def __init__(self, client: Any, credentials: AioCredentials, connections: BoundedSession) -> None:
        service = client.meta.service_model
        self._service = service
        self._target = service.metadata["targetPrefix"]
        self._events = client.meta.events
        self._credentials = credentials
        self._connections = connections
        self._url = client.meta.endpoint_url
        self._signature = Signature(self._url, service.signing_name, client.meta.region_name)
        self._content_type = f"application/x-amz-json-{service.metadata['jsonVersion']}"
        self._user_agent = client.meta.config.user_agent
        self._errors = create_parser(service.metadata["protocol"])

    async def send(self, operation: str, body: bytes) -> bytes:
        """The body of the answer.

        Raises:
            ClientError: what the service said instead.

        """
        headers = self._signature.signed(
            {"content-type": self._content_type, "x-amz-target": f"{self._target}.{operation}"},
            body,
            await self._credentials.get_frozen_credentials(),
            datetime.now(UTC),
        )
        headers["user-agent"] = self._user_agent
        request = AWSPreparedRequest("POST", self._url, headers, body, stream_output=False)  # type: ignore[arg-type]
        answer = await self._connections.send(request)
        if answer.status_code >= 300:
            raise await self._refusal(operation, answer)
        content: bytes = await answer.content
        return content

    async def _refusal(self, operation: str, answer: Any) -> ClientError:
        told = {"status_code": answer.status_code, "headers": answer.headers, "body": await answer.content}
        model = self._service.operation_model(operation)
        parsed = self._errors.parse(told, model.output_shape)
        await self._events.emit(
            f"after-call.{self._service.service_id.hyphenize()}.{operation}",
            http_response=answer,
            parsed=parsed,
            model=model,
            context={},
        )
        return ClientError(parsed, operation)
