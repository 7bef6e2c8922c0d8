"""Notices, result pages and manifest lines as nobody should send them, made from good ones: the same for the same seed.

Each comes with the name of what is wrong with it, so that a finding can be told.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from worker.aws.answers import LABELS_A_PAGE, LARGEST_PAGE_BYTES
from worker.aws.manifests import LONGEST_LINE_BYTES
from worker.store.pages import MOST_NEW_LABELS

DEEP = 100_000
Tree = dict[str, Any]


class Hostile(Struct, frozen=True):
    """One input; `kind` says what is wrong with it."""

    kind: str
    content: bytes


# Pages

PageMaker = Callable[[random.Random, Tree], Tree | bytes]


def hostile_page(rng: random.Random, true_page: Tree, kind: str | None = None) -> Hostile:
    """A page that cannot be used, made from a true one of a job that SUCCEEDED."""
    kind = kind or rng.choice(sorted(PAGES))
    made = PAGES[kind](rng, copy.deepcopy(true_page))
    return Hostile(kind, made if isinstance(made, bytes) else json.dumps(made).encode())


def _with(change: Callable[[random.Random, Tree], object]) -> PageMaker:
    def make(rng: random.Random, page: Tree) -> Tree:
        change(rng, page)
        return page

    return make


def _written(name: str, by: bytes) -> PageMaker:
    """A page in one of whose labels a member is written as no encoder writes it."""

    def make(_: random.Random, page: Tree) -> bytes:
        _entry(page)["ModerationLabel"][name] = "MARK"
        return json.dumps(page).encode().replace(b'"MARK"', by)

    return make


def _entry(page: Tree) -> Tree:
    """An entry that may be spoilt; a page without any gets one."""
    entries = page["ModerationLabels"] = page.get("ModerationLabels") or [
        {"Timestamp": 0, "ModerationLabel": {"Name": "Weapons", "ParentName": "", "Confidence": 90.0}}
    ]
    entry: Tree = entries[len(entries) // 2]
    return entry


def _label(name: str, *values: Any) -> PageMaker:
    """A page with a label one of whose members has a value that it cannot have."""
    return _with(lambda rng, page: _entry(page)["ModerationLabel"].__setitem__(name, rng.choice(values)))


def _time(*values: Any) -> PageMaker:
    names = ("Timestamp", "StartTimestampMillis", "EndTimestampMillis")
    return _with(lambda rng, page: _entry(page).__setitem__(rng.choice(names), rng.choice(values)))


def _member(name: str, *values: Any) -> PageMaker:
    return _with(lambda rng, page: page.__setitem__(name, rng.choice(values)))


def _metadata(name: str, *values: Any) -> PageMaker:
    return _with(lambda rng, page: page.setdefault("VideoMetadata", {}).__setitem__(name, rng.choice(values)))


def _without(rng: random.Random, page: Tree) -> Tree:
    holder, name = rng.choice(
        [(page, "JobStatus"), (_entry(page), "ModerationLabel"), (_entry(page)["ModerationLabel"], "Name")]
    )
    del holder[name]
    return page


def _cut(rng: random.Random, page: Tree) -> bytes:
    body = json.dumps(page).encode()
    return body[: rng.randrange(len(body))]


def _many(rng: random.Random, page: Tree, count: int) -> list[Tree]:
    start = rng.randrange(10**9)
    entry = _entry(page)
    return [
        entry | {"ModerationLabel": entry["ModerationLabel"] | {"Name": f"Label {start + n}"}} for n in range(count)
    ]


def _of_others(rng: random.Random, page: Tree) -> Tree:
    another = {"S3Object": {"Bucket": "another", "Name": "other.mp4"}}
    page |= rng.choice([{"JobId": "f" * 64}, {"JobTag": "mw1.0"}, {"Video": another}])
    return page


NUMBERS = (float("nan"), float("inf"), -float("inf"))
PAGES: dict[str, PageMaker] = {
    "nothing": lambda _rng, _page: b"",
    "random bytes": lambda rng, _page: b"\xfe" + rng.randbytes(rng.randrange(500)),
    "HTML": lambda _rng, _page: b"<html><body>502 Bad Gateway</body></html>",
    "cut short": _cut,
    "a byte-order mark": lambda _rng, page: b"\xef\xbb\xbf" + json.dumps(page).encode(),
    "more behind it": lambda _rng, page: json.dumps(page).encode() + b"}",
    "no number": _label("Confidence", *NUMBERS),
    "not UTF-8": _written("Name", b'"\xff\xfe"'),
    "half a character in UTF-8": _written("Name", b'"\xed\xa0\x80"'),
    "half a character escaped": _written("Name", b'"\\ud800"'),
    "another form": lambda rng, _page: rng.choice([b"[]", b"null", b'"text"', b"7", b"true", b"[[[[]]]]"]),
    "deep nesting": lambda rng, _page: b'{"JobStatus":"SUCCEEDED","Other":' + rng.choice([b"[", b'{"a":']) * DEEP,
    "deep nesting in labels": lambda _rng, _page: b'{"JobStatus":"SUCCEEDED","ModerationLabels":' + b"[" * DEEP,
    "labels of another type": _member("ModerationLabels", {}, "none", 7, [None], [[]], ["Weapons"], [{}]),
    "status of another type": _member("JobStatus", None, 7, ["SUCCEEDED"], {}, "", "PARTIAL", "succeeded"),
    "time of another type": _time("0", 1.5, [], {}, True),
    "negative time": _time(-1, -(2**31), -(2**63)),
    "absurd time": _time(2**31, 2**63, 2**64, 10**30),
    "number out of range": _written("Confidence", b"1e400"),
    "name of another type": _label("Name", None, 7, [], {}),
    "no name": _label("Name", ""),
    "long name": _label("Name", "x" * 10_000, "é" * 257),
    "long parent": _label("ParentName", "x" * 10_000),
    "absurd confidence": _label("Confidence", -0.1, 100.5, 1e300, "90", None),
    "absurd level": _label("TaxonomyLevel", -1, 101, 2**40, "1"),
    "NUL in a name": _label("Name", "Wea\0pons", "\0"),
    "NUL in a parent": _label("ParentName", "\0"),
    "NUL in the model's version": _member("ModerationModelVersion", "7.0\0"),
    "NUL in the codec": _metadata("Codec", "h264\0"),
    "long model version": _member("ModerationModelVersion", "7" * 10_000),
    "absurd duration": _metadata("DurationMillis", -1, 10**9, 2**62, 2**70, "1000", 1.5),
    "absurd picture": _metadata("FrameHeight", -1, 2**40, "1080"),
    "many kinds of content": _with(
        lambda _rng, page: _entry(page).__setitem__("ContentTypes", [{"Name": "A", "Confidence": 1.0}] * 51)
    ),
    "long kind of content": _with(
        lambda _rng, page: _entry(page).__setitem__("ContentTypes", [{"Name": "A" * 10_000, "Confidence": 1.0}])
    ),
    "too many labels": lambda rng, page: page | {"ModerationLabels": _many(rng, page, LABELS_A_PAGE + 1)},
    "labels that nobody knows": lambda rng, page: page | {"ModerationLabels": _many(rng, page, MOST_NEW_LABELS + 100)},
    "something missing": _without,
    "of others": _of_others,
    "long token": _member("NextToken", "x" * 5_000),
    "token of another type": _member("NextToken", 7, [], {}),
}
"""What is wrong with a page -> how it is made so."""

ENDLESS = "names itself as the next one"
TOO_LARGE = "too large"


def endless_page(true_page: Tree) -> bytes:
    """A page that leads to itself, whatever token it is asked for with."""
    return json.dumps(true_page | {"NextToken": "the-same-for-ever"}).encode()


def too_large_page(true_page: Tree) -> bytes:
    """A true page with more white space than any page has bytes."""
    return json.dumps(true_page).encode() + b" " * LARGEST_PAGE_BYTES


# Notices


def hostile_body(rng: random.Random) -> Hostile:
    """The body of a message that is no notice of a job that anybody here has started."""
    kind = rng.choice(sorted(BODIES))
    made = BODIES[kind](rng)
    return Hostile(kind, (made if isinstance(made, str) else json.dumps(made)).encode("utf-8", "surrogatepass"))


def _notice(rng: random.Random) -> Tree:
    return {
        "JobId": f"{rng.getrandbits(256):064x}",
        "Status": "SUCCEEDED",
        "API": "StartContentModeration",
        "JobTag": f"mw1.{rng.getrandbits(160):040x}",
        "Timestamp": 1_700_000_000_000,
        "Video": {"S3ObjectName": "a.mp4", "S3Bucket": "archive"},
    }


def _envelope(message: object, kind: object = "Notification") -> Tree:
    return {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:AmazonRekognition",
        "Message": message if isinstance(message, str) else json.dumps(message),
        "SubscribeURL": "http://127.0.0.1:1/?Action=ConfirmSubscription",
        "UnsubscribeURL": "http://127.0.0.1:1/?Action=Unsubscribe",
    }


def _nested(rng: random.Random) -> Tree:
    """Envelopes in envelopes: each doubles the backslashes of the one within, so that few of them make megabytes."""
    made = _notice(rng)
    for _ in range(rng.randrange(2, 7)):
        made = _envelope(made)
    return made


def _cut_notice(rng: random.Random) -> str:
    text = json.dumps(_envelope(_notice(rng)))
    return text[: rng.randrange(1, len(text))]


ODD_IDS = ("a\0b", "x" * 65, "a b", "../../etc", "é", "'; drop table job; --", "\ud800", "a\n", "%00", "=cmd|' /C'!A0")

BODIES: dict[str, Callable[[random.Random], Tree | str]] = {
    "nothing": lambda _rng: "",
    "random text": lambda rng: "".join(chr(rng.choice([*range(32, 127), 0xE9, 0x1F600])) for _ in range(200)),
    "no JSON": lambda rng: rng.choice(["hello", "{", "<xml/>", "NaN", "{'JobId': 'a'}", "\ufeff{}"]),
    "cut short": _cut_notice,
    "another form": lambda rng: rng.choice(["[]", "null", "7", '"text"', "[{}]"]),
    "nothing in it": lambda _rng: "{}",
    "deep nesting": lambda rng: rng.choice(["[", '{"a":', '{"Message":']) * 10_000,
    "256 kB": lambda rng: rng.choice(["x", '"', "{"]) * 256_000,
    "256 kB that nobody asked for": lambda rng: _notice(rng) | {"Other": "x" * 256_000},
    "JobId of another type": lambda rng: _notice(rng) | {"JobId": rng.choice([7, ["a"], {}, True, 1.5])},
    "JobId that none is": lambda rng: _notice(rng) | {"JobId": rng.choice(ODD_IDS)},
    "enveloped JobId that none is": lambda rng: _envelope(_notice(rng) | {"JobId": rng.choice(ODD_IDS)}),
    "no JobId": lambda rng: _notice(rng) | {"JobId": rng.choice([None, ""])},
    "JobId of others": _notice,
    "enveloped JobId of others": lambda rng: _envelope(_notice(rng)),
    "envelope in envelope": _nested,
    "empty envelope": lambda rng: _envelope(rng.choice(["", "{}", "null", "[]", "hello"])),
    "subscription": lambda rng: _envelope(
        "confirm", rng.choice(["SubscriptionConfirmation", "UnsubscribeConfirmation"])
    ),
    "type of another type": lambda rng: _envelope(_notice(rng), rng.choice([7, [], {}])),
    "NUL": lambda rng: _notice(rng) | {"API": "\0", "JobId": "\0"},
    "half a character": lambda rng: _notice(rng) | {"API": "\ud800"},
    "doubled keys": lambda rng: json.dumps(_notice(rng))[:-1] + ', "JobId": "\\u0000"}',
    "message of another type": lambda rng: {"Type": "Notification", "Message": rng.choice([7, [], {}, _notice(rng)])},
}
"""What is wrong with a body -> how it is made so."""


def hostile_message(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """(what is wrong with it, a message as botocore gives it): its members may be missing or of any type."""
    hostile = hostile_body(rng)
    text = hostile.content.decode("utf-8", "surrogatepass")
    message: dict[str, Any] = {
        "MessageId": f"{rng.getrandbits(128):032x}",
        "ReceiptHandle": "receipt",
        "Body": text,
        "Attributes": {"ApproximateReceiveCount": rng.choice(["1", "5"])},
    }
    if rng.random() < 0.3:
        member = rng.choice(sorted(message))
        message[member] = rng.choice(
            [None, 7, [], {}, "\0", "many", {"ApproximateReceiveCount": "x"}, "\ud800", "x" * 9999]
        )
    if rng.random() < 0.1:
        del message[rng.choice(sorted(message))]
    return hostile.kind, message


# Manifest lines


class Line(Struct, frozen=True):
    """One line of a manifest and the key that it names, if it names one."""

    kind: str
    content: bytes
    key: str | None


ODD_KEYS = (
    "=cmd|' /C calc'!A0.mp4",
    "+SUM(1+1)*cmd|' /C calc'!A0.mp4",
    "@SUM(A1).mp4",
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "./a/../b.mp4",
    "a//b.mp4",
    "\x1b]0;title\x07\x1b[2J.mp4",
    "\x01\x7f.mp4",
    "a\tb.mp4",
    "%2e%2e%2f%00.mp4",
    "'; drop table video; --.mp4",
    "\u202egpm.4",
    "ﷺ😀.mp4",
    "k" * 1_024,
)
"""Keys that S3 may hold: text, and nothing else."""

BAD_LINES: dict[str, Callable[[random.Random], bytes]] = {
    "no key": lambda _rng: b'{"bucket": "archive"}',
    "no bucket": lambda _rng: b'{"key": "a.mp4"}',
    "no JSON": lambda rng: rng.choice([b"{", b"hello", b"archive,a.mp4", b"\x00", b"=cmd|' /C calc'!A0", b"NaN"]),
    "another form": lambda rng: rng.choice([b"[]", b"null", b"7", b'["archive", "a.mp4"]']),
    "not UTF-8": lambda rng: b'{"bucket": "archive", "key": "\xff' + rng.randbytes(5).replace(b"\n", b"") + b'"}',
    "half a character": lambda _rng: b'{"bucket": "archive", "key": "\\ud800"}',
    "NUL in a key": lambda _rng: b'{"bucket": "archive", "key": "a\\u0000.mp4"}',
    "NUL in a version": lambda _rng: b'{"bucket": "archive", "key": "a.mp4", "version_id": "\\u0000"}',
    "long key": lambda rng: json.dumps({"bucket": "archive", "key": rng.choice("ké") * 1_025}).encode(),
    "long version": lambda _rng: json.dumps({"bucket": "archive", "key": "a", "version_id": "é" * 513}).encode(),
    "long line": lambda _rng: b"x" * (LONGEST_LINE_BYTES + 10),
    "deep nesting": lambda _rng: b"[" * 60_000,
    "odd bucket": lambda rng: json.dumps(
        {"bucket": rng.choice(["", "a", "../..", "a/b", "a b", "\0" * 9, "b" * 256, "=cmd"]), "key": "a"}
    ).encode(),
    "odd number": lambda rng: json.dumps(
        {"bucket": "archive", "key": "a", "size_bytes": rng.choice([-1, 2**63, 10**30, 1.5, "many", []])}
    ).encode(),
    "number out of range": lambda _rng: b'{"bucket": "archive", "key": "a", "duration_ms": 1e400}',
}
"""What is wrong with a line of JSON -> how it is made so."""


def hostile_line(rng: random.Random, number: int) -> Line:
    """A line of a manifest in JSON Lines: one that names no object, or one that names an odd one."""
    if rng.random() < 0.4:
        key = f"{number} {rng.choice(ODD_KEYS)}"[:1_000]
        return Line("odd key", json.dumps({"bucket": "archive", "key": key}).encode(), key)
    kind = rng.choice(sorted(BAD_LINES))
    return Line(kind, BAD_LINES[kind](rng), None)
