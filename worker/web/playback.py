"""The video itself: the browser gets it from S3, by an address that is good for minutes and never written down."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from worker.errors import AwsError
from worker.lane import Lane

GOOD_FOR_SECONDS = 600


class Playback:
    """Signs addresses with the credentials of the lanes that this process owns."""

    def __init__(self, lanes: Callable[[], Mapping[str, Lane]]) -> None:
        self._lanes = lanes

    def obstacle(self, lane: str) -> str | None:
        """Why a lane's videos cannot be played here, None if they can."""
        if lane in self._lanes():
            return None
        return f"this process does not own lane {lane}; open the page of the one that does"

    async def url(self, video: Mapping[str, Any]) -> str | None:
        """Where the video can be read for a while; None where no lane here may read it."""
        if (lane := self._lanes().get(video["lane"])) is None:
            return None
        kind, _ = mimetypes.guess_type(video["key"])
        try:
            return await lane.objects.address(
                video["bucket"],
                video["key"],
                video["version_id"],
                content_type=kind if kind and kind.startswith("video/") else "video/mp4",
                good_for_seconds=GOOD_FOR_SECONDS,
            )
        except AwsError:
            return None  # the lane says in its own words that it is denied

    async def origin(self, video: Mapping[str, Any]) -> str | None:
        """The one place that the page may load the video from."""
        if (url := await self.url(video)) is None:
            return None
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"
