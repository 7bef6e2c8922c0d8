"""Operations of a JSON service: each a POST to where the SDK would send it."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from worker.aws.requests import Requests
from worker.aws.signature import Signature, Unsigned


class Posts:
    """What is posted to one service in a lane's region."""

    def __init__(self, requests: Requests) -> None:
        about = requests.client.meta
        service = about.service_model
        self._requests = requests
        self._url = about.endpoint_url
        self._path = quote(urlsplit(self._url).path, safe="/~") or "/"
        self._signature = Signature(self._url, service.signing_name, about.region_name)
        self._target = service.metadata["targetPrefix"]
        self._headers = {"content-type": f"application/x-amz-json-{service.metadata['jsonVersion']}"}
        if service.is_query_compatible:  # errors have the codes that they had before the service spoke JSON
            self._headers["x-amzn-query-mode"] = "true"

    async def send(self, operation: str, body: bytes) -> bytes:
        """The body of the answer.

        Raises:
            ClientError: what the service said instead.

        """
        headers = {**self._headers, "x-amz-target": f"{self._target}.{operation}"}
        request = Unsigned("POST", self._path, headers, body=body)
        answer = await self._requests.send(operation, self._url, request, self._signature)
        content: bytes = await answer.content
        return content
