"""Requests without the SDK's pipeline, which takes several times as long to prepare one as to send it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiobotocore.credentials import AioCredentials
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from worker.aws.answers import BoundedSession
from worker.aws.signature import Signature, Unsigned


class Requests:
    """Signed requests over the connections of an SDK client, one attempt each.

    Errors are read by the SDK, and told to whoever listens to the client's events. The client itself is there for what
    is seldom asked.
    """

    def __init__(self, client: Any, credentials: AioCredentials, connections: BoundedSession) -> None:
        self.client = client
        self._service = client.meta.service_model
        self._credentials = credentials
        self._connections = connections
        self._user_agent = client.meta.config.user_agent
        self._errors = create_parser(self._service.metadata["protocol"])

    async def send(self, operation: str, url: str, request: Unsigned, signature: Signature) -> Any:
        """The answer, as botocore has it.

        Raises:
            ClientError: what the service said instead.

        """
        credentials = await self._credentials.get_frozen_credentials()
        headers = signature.signed(request, credentials, datetime.now(UTC))
        headers["user-agent"] = self._user_agent
        prepared = AWSPreparedRequest(request.method, url, headers, request.body, stream_output=False)  # type: ignore[arg-type]
        answer = await self._connections.send(prepared)
        if answer.status_code >= 300:
            raise await self._refusal(operation, answer)
        return answer

    async def _refusal(self, operation: str, answer: Any) -> ClientError:
        told = {"status_code": answer.status_code, "headers": answer.headers, "body": await answer.content}
        model = self._service.operation_model(operation)
        parsed = self._errors.parse(told, model.output_shape)
        await self._client_hears(operation, answer, parsed, model)
        return ClientError(parsed, operation)

    async def _client_hears(self, operation: str, answer: Any, parsed: dict[str, Any], model: Any) -> None:
        event = f"after-call.{self._service.service_id.hyphenize()}.{operation}"
        await self.client.meta.events.emit(event, http_response=answer, parsed=parsed, model=model, context={})
