"""The local moderation service with an archive of long videos, every one of whose result pages is full.

`python -m benchmarks.full_pages PAGES CONFIG` serves until it is told to stop; videos have PAGES pages, give or take 2.
"""

from __future__ import annotations

import random
import signal
import sys
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import anyio

from worker.aws.rekognition import LABELS_A_PAGE
from worker.config import load
from worker.local import service
from worker.local.analysts.analysis import Analysis, ContentType, Entry, ModerationLabel, StoredVideo
from worker.local.analysts.synthetic import SAMPLE_MS, SyntheticAnalyst
from worker.local.analysts.taxonomy import TAXONOMY
from worker.local.moderation import reads

CACHE_BYTES = 2**29  # all pages: what is measured must not wait for them to be made up again
PAGES_MORE_OR_LESS = 2
LABELS_A_SAMPLE = 5
SAMPLES_A_PAGE = LABELS_A_PAGE // LABELS_A_SAMPLE
ANIMATED_ONE_IN = 12
SIGHTS = tuple(combinations(sorted(TAXONOMY[:12], key=lambda label: label.name), LABELS_A_SAMPLE))


class FullPages(SyntheticAnalyst):
    """Sees five labels in every sample of a video, for as many samples as its pages hold."""

    def __init__(self, seed: int, pages: int) -> None:
        super().__init__(seed)
        self._seed = seed
        self._pages = pages

    def duration_ms_of(self, bucket: str, key: str) -> int:  # noqa: ARG002 (an analyst is asked by video)
        """The same for all, so that jobs end in the order of their starts."""
        return duration_ms(self._pages)

    def failure(self, video: StoredVideo) -> str | None:  # noqa: ARG002 (an analyst is asked by video)
        """None fails."""
        return None

    def analyse(self, video: StoredVideo, min_confidence: float) -> Analysis:  # noqa: ARG002 (all are above 50)
        """The same for the same video."""
        draw = self._draw(video.bucket, video.key)
        kinds = (ContentType(_confidence(draw), "Animated"),) if draw.randrange(ANIMATED_ONE_IN) == 0 else ()
        labels = [
            Entry(sample * SAMPLE_MS, ModerationLabel(_confidence(draw), label.name, label.parent, label.level), kinds)
            for sample in range(self._samples(draw))
            for label in draw.choice(SIGHTS)
        ]
        return Analysis(failure=None, metadata=_metadata(duration_ms(self._pages)), labels=labels)

    def _draw(self, bucket: str, key: str) -> random.Random:
        return random.Random(f"{self._seed}/{bucket}/{key}")

    def _samples(self, draw: random.Random) -> int:
        pages = max(1, self._pages + draw.randint(-PAGES_MORE_OR_LESS, PAGES_MORE_OR_LESS))
        return pages * SAMPLES_A_PAGE


def duration_ms(pages: int) -> int:
    """How long a video of at most two pages more runs."""
    return (pages + PAGES_MORE_OR_LESS) * SAMPLES_A_PAGE * SAMPLE_MS


def _confidence(draw: random.Random) -> float:
    """50 to 100, a float32 like AWS's."""
    return 50 + int(draw.random() * 50 * 2**17) / 2**17


def _metadata(duration_ms: int) -> dict[str, Any]:
    return {
        "Codec": "h264",
        "DurationMillis": duration_ms,
        "Format": "QuickTime / MOV",
        "FrameRate": 25.0,
        "FrameHeight": 1080,
        "FrameWidth": 1920,
        "ColorRange": "LIMITED",
    }


async def main() -> None:
    """Serve until SIGTERM."""
    pages, config = sys.argv[1:]
    reads.CACHE_BYTES = CACHE_BYTES
    service.SyntheticAnalyst = partial(FullPages, pages=int(pages))  # the service makes one of its seed
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_sigterm, tasks.cancel_scope)
        await service.serve(load(Path(config)).settings, announce=lambda _: None, settle=lambda *_: None)


async def _cancel_on_sigterm(everything: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            everything.cancel()


if __name__ == "__main__":
    anyio.run(main)
