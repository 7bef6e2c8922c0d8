"""Looks at real videos: decodes them with FFmpeg's libraries and scores two frames a second with a small image model.

The model (`model.py`) knows two of the taxonomy's ten top labels:

- NSFW ("not safe for work") is reported as Explicit.
- NSFL ("not safe for life") is reported as Visually Disturbing. The model cannot tell this from Violence, so what
  Rekognition would call Violence is found here under Visually Disturbing.

This is a stand-in that really looks, for machines without AWS; it is no substitute for Rekognition.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import FFmpegError, VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream

from worker.local.analysts.analysis import Analysis, Entry, ModerationLabel, StoredVideo
from worker.local.analysts.model import SIDE_PIXELS, Frame, Model, Probabilities, Score
from worker.local.analysts.taxonomy import TAXONOMY, Label

SAMPLE_EVERY_MS = 500  # Rekognition's own results come about twice a second

_BY_NAME = {label.name: label for label in TAXONOMY}
_COLUMNS = ((1, _BY_NAME["Explicit"]), (0, _BY_NAME["Visually Disturbing"]))

_CODECS = frozenset({"h264", "hevc"})
_FIRST_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"udta", b"junk", b"pict", b"prfl"}
)
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG

# Titles and the like need not be UTF-8: PyAV 18 takes them only if told to, from 19 on it always does.
_ANY_TEXT: dict[str, Any] = {"metadata_errors": "replace"} if av.__version__.startswith("18.") else {}

_UNSUPPORTED = "Unsupported codec/format."  # Rekognition's own words


class OnnxAnalyst:
    """Scores the first frame of every half second; several videos may be analysed in as many threads.

    Accepted are H.264 and HEVC in MP4 and QuickTime files. Rekognition documents H.264 only, but archives hold HEVC
    from telephones, which decodes as well.

    A video that breaks off or has damaged frames is refused as a whole: labels of a part would pass for those of all.
    Memory holds one frame at a time, beside FFmpeg's index of the file, and those that `score` takes ahead.
    """

    def __init__(self, threads: int = 1, score: Score | None = None) -> None:
        """Use `threads` threads for each video, to decode and, without a `score` of another kind, to score.

        Raises:
            UsageError: the model's package is not installed.

        """
        self._threads = threads
        self._score = score or partial(map, Model(threads))

    def duration_ms(self, video: StoredVideo) -> int | None:
        """The length that the container states; None for a file that is no accepted video or states none."""
        try:
            with _opened(video.path) as (container, _):
                return _duration_ms(container)
        except _RefusedError:
            return None

    def analyse(self, video: StoredVideo, min_confidence: float) -> Analysis:
        """Both labels of each sampled frame, as far as they reach `min_confidence` (0 to 100)."""
        samples_ms: list[int] = []
        try:
            with _opened(video.path) as (container, stream):
                stream.codec_context.thread_count = self._threads
                metadata = _metadata(container, stream)
                scored = list(self._score(_noted(_samples(container, stream), samples_ms)))
        except _RefusedError as refused:
            return Analysis(failure=str(refused), metadata=None, labels=[])
        labels = [
            _entry(timestamp_ms, label, confidence)
            for timestamp_ms, probabilities in zip(samples_ms, scored, strict=True)
            for label, confidence in _confidences(probabilities)
            if confidence >= min_confidence
        ]
        return Analysis(failure=None, metadata=metadata, labels=labels, samples_ms=samples_ms)


class _RefusedError(Exception):
    """The video cannot be analysed; the text is the job's StatusMessage."""


@contextmanager
def _opened(path: Path | None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its main video stream, both of an accepted kind."""
    _check_beginning(path)
    try:
        # The demuxer is named, so that no file can make FFmpeg follow a playlist to other files and addresses.
        container = av.open(str(path), format="mov", **_ANY_TEXT)
    except FFmpegError:
        raise _RefusedError("The file is broken or incomplete: its index cannot be read.") from None
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise _RefusedError("The file has no video stream.")
        if getattr(stream.codec_context, "name", None) not in _CODECS:  # None where FFmpeg has no decoder
            raise _RefusedError(_UNSUPPORTED)
        yield container, stream


def _check_beginning(path: Path | None) -> None:
    """Both MP4 and QuickTime files begin with a box: its size, then its type, 4 bytes each (ISO/IEC 14496-12, 4.2)."""
    if path is None:
        raise _RefusedError("There is no file to look at.")
    try:
        with path.open("rb") as file:
            beginning = file.read(8)
    except OSError as error:
        raise _RefusedError(f"The file cannot be read: {error.strerror}.") from None
    if not beginning:
        raise _RefusedError("The file is empty.")
    if beginning[4:] not in _FIRST_BOXES:
        raise _RefusedError(_UNSUPPORTED)


def _metadata(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    """VideoMetadata; what the file does not tell is absent.

    Height and width are those of the stored picture: a rotation for display does not swap them. A range that is not
    told is LIMITED, as H.264 and HEVC define it (video_full_range_flag is inferred to be 0). The rate is a float32, as
    in Rekognition's answers.
    """
    rate = stream.average_rate or stream.guessed_rate
    known = {
        "Codec": stream.codec_context.name,
        "DurationMillis": _duration_ms(container),
        "Format": container.format.long_name,
        "FrameRate": float(np.float32(rate)) if rate else None,
        "FrameHeight": stream.codec_context.height,
        "FrameWidth": stream.codec_context.width,
        "ColorRange": "FULL" if stream.codec_context.color_range == _FULL_RANGE else "LIMITED",
    }
    return {member: value for member, value in known.items() if value is not None}


def _duration_ms(container: InputContainer) -> int | None:
    """The whole file's length, sound included; FFmpeg counts in microseconds."""
    return None if container.duration is None else round(container.duration / 1000)


def _noted(samples: Iterator[tuple[int, Frame]], samples_ms: list[int]) -> Iterator[Frame]:
    """The frames; the time of each is noted when it is taken."""
    for timestamp_ms, frame in samples:
        samples_ms.append(timestamp_ms)
        yield frame


def _samples(container: InputContainer, stream: VideoStream) -> Iterator[tuple[int, Frame]]:
    """(timestamp in ms, frame) of the first frame that begins in each half second; a still is sampled once."""
    frame_ms, due_ms = None, 0
    try:
        for frame in container.decode(stream):
            if frame.pts is None or frame.time_base is None or frame.pts < 0:
                continue  # not on the timeline
            frame_ms = int(frame.pts * frame.time_base * 1000)
            if frame_ms >= due_ms:
                due_ms = (frame_ms // SAMPLE_EVERY_MS + 1) * SAMPLE_EVERY_MS
                yield frame_ms, _pixels(frame)
    except FFmpegError:
        raise _broken(after_ms=frame_ms) from None
    if frame_ms is None or _is_cut_off(container, stream):
        raise _broken(after_ms=frame_ms)


def _pixels(frame: VideoFrame) -> Frame:
    """The frame as the model takes it: squeezed into a square, upright as a player would show it."""
    square = frame.to_ndarray(format="rgb24", width=SIDE_PIXELS, height=SIDE_PIXELS, interpolation="BILINEAR")
    upright = np.rot90(square, round(frame.rotation / 90))
    return np.ascontiguousarray(upright.transpose(2, 0, 1))


def _is_cut_off(container: InputContainer, stream: VideoStream) -> bool:
    """True where the index names bytes beyond the file's end: cut between two frames, FFmpeg reports no error."""
    return any(entry.pos + entry.size > container.size for entry in stream.index_entries)


def _broken(after_ms: int | None) -> _RefusedError:
    if after_ms is None:
        return _RefusedError("The video is broken: not one frame can be read.")
    return _RefusedError(f"The video is broken: no frame can be read after {after_ms} ms.")


def _confidences(probabilities: Probabilities) -> Iterator[tuple[Label, float]]:
    """(label, confidence) in the order of names; a confidence is a float32, as in Rekognition's answers."""
    for column, label in _COLUMNS:
        yield label, float(np.float32(100) * probabilities[column])


def _entry(timestamp_ms: int, label: Label, confidence: float) -> Entry:
    return Entry(timestamp_ms, ModerationLabel(confidence, label.name, label.parent, label.level))
