"""What is said of videos that are not moderated, and which of them are tried again."""

from __future__ import annotations

import pytest

from tests import videos
from worker.errors import AwsError, Verdict
from worker.model import Object, ResolvedObject
from worker.pipeline.refusals import (
    LARGEST_BYTES,
    failed_afterwards,
    rejected_at_head,
    rejected_at_start,
    source_changed,
)


def found(**changes):
    """An object that Rekognition takes, but for the changes."""
    fine = {"bucket": "archive", "key": "clip.mp4", "version_id": None, "etag": "e1", "size_bytes": 1_000_000}
    return ResolvedObject(**fine | changes)


@pytest.mark.parametrize("message", sorted(set(videos.BAD.values())))
def test_bad_files_are_not_bought_again(message):
    """A file that the local analyst calls bad is not tried again, and its reason is one of few."""
    reason, worth_another = failed_afterwards(message)
    assert not worth_another
    assert not reason.startswith("job failed")
    assert not any(character.isdigit() for character in reason)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("Unsupported codec/format.", "unsupported codec or format"),
        ("UNSUPPORTED FORMAT: webm", "unsupported codec or format"),
        ("The file is empty.", "empty file"),
        ("The file has no video stream.", "no video stream"),
        ("The file is broken or incomplete: its index cannot be read.", "broken or incomplete file"),
        ("The video is broken: no frame can be read after 1160 ms.", "broken or incomplete file"),
        ("The video is broken: not one frame can be read.", "broken or incomplete file"),
        ("There is no file to look at.", "no file behind the object"),
    ],
)
def test_lasting_failure_says_what_it_means(message, meaning):
    """What is wrong with the file itself is said in plain words, whatever the case of AWS's text."""
    assert failed_afterwards(message) == (meaning, False)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("The file cannot be read: No such file or directory.", "unreadable file"),
        (
            "Unable to get object metadata from S3. Check object key, region and/or access permissions.",
            "unreadable object",
        ),
        ("Internal error during analysis", "job failed (Rekognition: Internal error during analysis)"),
    ],
)
def test_failure_that_may_pass_is_worth_another_try(message, meaning):
    """An object that could not be got, and a reason that nobody knows, are worth another try."""
    assert failed_afterwards(message) == (meaning, True)


@pytest.mark.parametrize("message", [None, "", "  \n"])
def test_failure_without_a_reason(message):
    """A job that FAILED without a word is tried again."""
    assert failed_afterwards(message) == ("job failed (Rekognition: no reason given)", True)


def test_endless_reason_is_cut():
    """Of a long StatusMessage the first 300 characters are kept."""
    reason, _ = failed_afterwards("x" * 10_000)
    assert reason == f"job failed (Rekognition: {'x' * 300})"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size_bytes": 0}, "empty: the object has no bytes"),
        ({"size_bytes": 0, "key": "notes.txt"}, "empty: the object has no bytes"),
        ({"size_bytes": LARGEST_BYTES + 10**9}, "too large: 11.7 GB, Rekognition takes 10 GB"),
        ({"storage_class": "GLACIER"}, "archived: storage class GLACIER; restore the object first"),
        ({"storage_class": "DEEP_ARCHIVE"}, "archived: storage class DEEP_ARCHIVE; restore the object first"),
        ({"key": "notes.txt"}, "no video by its name: it does not end in .mp4, .mov, .avi, .m4v"),
        ({"key": "mp4"}, "no video by its name: it does not end in .mp4, .mov, .avi, .m4v"),
    ],
)
def test_head_refuses_what_rekognition_would(changes, reason):
    """HEAD tells at no cost what Rekognition would refuse, and why."""
    assert rejected_at_head(found(**changes)) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size_bytes": 1},
        {"size_bytes": LARGEST_BYTES},
        {"storage_class": "GLACIER_IR"},
        {"storage_class": "INTELLIGENT_TIERING"},
        {"key": "A/ÜBUNG #1 🎬.MOV"},
    ],
)
def test_head_takes_the_rest(changes):
    """Sizes up to the limit, storage classes that can be read at once, and names in any case are taken."""
    assert rejected_at_head(found(**changes)) is None


@pytest.mark.parametrize(
    ("named", "now", "has_changed"),
    [
        ({"etag": "e1"}, {"etag": "e2"}, True),
        ({"etag": '"e1"'}, {"etag": "e1"}, False),
        ({}, {"etag": "e2"}, False),
        ({"etag": "e1"}, {"etag": ""}, False),
        ({"etag": "e1", "version_id": "v1"}, {"etag": "e2"}, False),
    ],
)
def test_source_changed_by_its_etag(named, now, has_changed):
    """An object is another one only if the source named an ETag, no version, and HEAD tells a different one."""
    reason = source_changed(Object("archive", "clip.mp4", **named), found(**now))
    assert (reason is not None) == has_changed


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("404", "gone: the object does not exist"),
        ("NoSuchKey", "gone: the object does not exist"),
        ("NoSuchVersion", "gone: the object's version does not exist"),
        ("InvalidS3ObjectException", "unreadable object: Rekognition cannot get it from S3"),
        ("VideoTooLargeException", "too large: Rekognition takes 10 GB and 6 hours"),
    ],
)
def test_refusal_at_the_start_is_said_in_words(code, reason):
    """A refusal that concerns the object is told in words of its own."""
    assert rejected_at_start(AwsError(Verdict.VIDEO_REJECTED, code, "whatever AWS says")) == reason


def test_unknown_refusal_keeps_the_words_of_aws():
    """A refusal that is not known keeps AWS's code and words."""
    reason = rejected_at_start(AwsError(Verdict.JOB_FAILED, "OddException", "an odd thing"))
    assert reason.startswith("refused: ")
    assert "OddException" in reason
    assert "an odd thing" in reason
