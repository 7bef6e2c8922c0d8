"""Every member, bound, pattern and enum of Rekognition's model, walked on the wire; and the check of answers."""

from __future__ import annotations

import base64
import copy
import http.client
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local.conftest import AT_ONCE, Service, finished
from worker.config import Settings, load
from worker.local.accounts import access_key_of, account_of
from worker.local.analysts.analysis import StoredVideo
from worker.local.analysts.synthetic import SyntheticAnalyst
from worker.local.protocol.answer_check import check_answer, check_refusal
from worker.local.protocol.shapes import service_model

REKOGNITION, SQS = service_model("rekognition"), service_model("sqs")
OPERATIONS = ("StartContentModeration", "GetContentModeration")
BUCKET, KEY = "synthetic-edge-cases", "two-and-a-half-pages.mp4"
SENTENCE = "Request has invalid parameters."
REFUSED, UNREADABLE = "InvalidParameterException", "SerializationException"

FULFIL_AND_BREAK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    r"[0-9A-Za-z\.\-_]*": (("a.b", "A-9_"), ("has space", "a/b", "üüü", "abc\n", "\nabc")),
    r"^[a-zA-Z0-9-_]+$": (("a-Z_9",), ("a b", "a.b", "ü", "٣", "abc\n", "a\nb", "a\n\n")),
    r"[a-zA-Z0-9_.\-:+=\/]+": (("a-Z_9.:+=/",), ("a b", "a\\b", "ü", "abc\n", "\nabc")),
    r"(^arn:aws:sns:.*:\w{12}:.+$)": (
        ("arn:aws:sns:us-east-1:123456789012:x", "arn:aws:sns:us-east-1:abcdefghijk_:any thing"),
        (
            "arn:aws:sns:us-east-1:12345678901:x",
            "arn:aws:sns:us-east-1:123456789012:",
            "arn:aws:sqs:us-east-1:123456789012:x",
            "arn:aws:sns:us-east-1:١٢٣٤٥٦٧٨٩٠١٢:x",
            "arn:aws:sns:us-east-1:123456789012:x\n",
            "x\narn:aws:sns:us-east-1:123456789012:x",
            "",
        ),
    ),
    r"arn:aws:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+": (
        ("arn:aws:iam::123456789012:role/x", "arn:aws:iam::123456789012:rolex", "arn:aws:iam::123456789012:role/a/b@c"),
        (
            "arn:aws:iam::12345678901:role/x",
            "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::123456789012:role/x y",
            "arn:aws:iam::123456789012:role/x\n",
            "xarn:aws:iam::123456789012:role/x",
            "",
        ),
    ),
}
"""By the model's pattern: values that fulfil it and values that do not."""

BEYOND_THE_SHAPE = {
    "Video.S3Object.Bucket": {"InvalidS3ObjectException"},
    "Video.S3Object.Name": {"InvalidS3ObjectException"},
    "Video.S3Object.Version": {"InvalidS3ObjectException"},
    "JobId": {"ResourceNotFoundException"},
    "NextToken": {"InvalidPaginationTokenException"},
}
"""What a well-formed but made-up value of these leads to; any other well-formed value leads to success."""

NEEDED_BY_THE_SERVICE = {"Video.S3Object", "Video.S3Object.Bucket", "Video.S3Object.Name"}
"""What the model lets be absent and Rekognition cannot do without."""

JSON_VALUES: dict[str, Any] = {
    "string": "100",
    "number": 7,
    "fraction": 7.5,
    "boolean": True,
    "list": [],
    "object": {},
}
RIGHT_JSON: dict[str, set[str]] = {
    "string": {"string"},
    "integer": {"number"},
    "float": {"number", "fraction"},
    "structure": {"object"},
}


class Probe(msgspec.Struct, frozen=True):
    """A request in which one member has a value; `rule` is what it tries, None stands for absence."""

    path: str
    rule: str
    value: Any
    expected: frozenset[str]


class Answer(msgspec.Struct, frozen=True):
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        return "ok" if self.status == 200 else self.body["__type"]


class Wire:
    """Sends requests that no client would, over one connection."""

    def __init__(self, service: Service) -> None:
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(service.url).netloc, timeout=20)
        self._credential = f"{access_key_of(account_of('main'))}/20260101/us-east-1/rekognition/aws4_request"

    def send(self, operation: str, body: bytes) -> Answer:
        headers = {
            "X-Amz-Target": f"RekognitionService.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self._credential}, SignedHeaders=host, Signature=0",
        }
        self._connection.request("POST", "/", body=body, headers=headers)
        response = self._connection.getresponse()
        content = response.read()
        is_json = "json" in response.headers["Content-Type"]
        return Answer(response.status, dict(response.headers), json.loads(content) if is_json else content)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory, lanes: dict[str, Any]) -> Iterator[Service]:
    local = {"videos": 20, "quota_burst": 1000, **AT_ONCE}
    running = Service(tmp_path_factory.mktemp("model"), lanes=lanes, local=local).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def wire(modelled: Service) -> Iterator[Wire]:
    wire = Wire(modelled)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def requests(modelled: Service) -> dict[str, dict[str, Any]]:
    """A request of each operation that is granted; each probe changes one member of it."""
    stored = {"Bucket": BUCKET, "Name": KEY}
    stored["Version"] = modelled.client("s3").head_object(Bucket=BUCKET, Key=KEY)["VersionId"]
    start = {"Video": {"S3Object": stored}, "NotificationChannel": modelled.channel(), "MinConfidence": 50}
    rekognition = modelled.client("rekognition")
    job_id = rekognition.start_content_moderation(**start)["JobId"]
    finished(rekognition, job_id)
    return {"StartContentModeration": start, "GetContentModeration": {"JobId": job_id}}


def probes(shape: Shape, path: str, *, is_required: bool) -> Iterator[Probe]:
    """All that can be tried with a member."""
    yield from absence(shape, path, is_required=is_required)
    yield from json_types(shape, path)
    yield from bounds(shape, path)
    yield from choices(shape, path)
    if isinstance(shape, StructureShape):
        yield from members(shape, f"{path}.")


def members(shape: StructureShape, prefix: str) -> Iterator[Probe]:
    for name, member in shape.members.items():
        yield from probes(member, prefix + name, is_required=name in shape.required_members)


def good(path: str, rule: str, value: Any) -> Probe:
    return Probe(path, rule, value, frozenset(BEYOND_THE_SHAPE.get(path, {"ok"})))


def bad(path: str, rule: str, value: Any, code: str = REFUSED) -> Probe:
    return Probe(path, rule, value, frozenset({code}))


def absence(_shape: Shape, path: str, *, is_required: bool) -> Iterator[Probe]:
    """Absent and null are the same."""
    expected = REFUSED if is_required or path in NEEDED_BY_THE_SERVICE else "ok"
    for rule in ("required" if is_required else "absent", "null"):
        yield Probe(path, rule, None, frozenset({expected}))


def json_types(shape: Shape, path: str) -> Iterator[Probe]:
    for name, value in JSON_VALUES.items():
        if name not in RIGHT_JSON[shape.type_name]:
            yield bad(path, f"type {name}", value, UNREADABLE)
    if shape.type_name == "integer":
        yield from (bad(path, "type width", value, UNREADABLE) for value in (2**31, -(2**31) - 1, 2**64, 10**30, 7.0))
        yield good(path, "type width", 2**31 - 1)
    if shape.type_name == "float":
        yield from (bad(path, "type width", value) for value in (10**30, 1e39, -(10**30), 2**64))


def bounds(shape: Shape, path: str) -> Iterator[Probe]:
    for rule, outwards in (("min", -1), ("max", 1)):
        if rule not in shape.metadata:
            continue
        bound = shape.metadata[rule]
        if shape.type_name == "string":
            yield good(path, rule, "a" * bound)
            yield bad(path, rule, "a" * (bound + outwards))
            if "pattern" not in shape.metadata:  # what counts is characters, not bytes
                yield good(path, rule, "😀" * bound)
                yield bad(path, rule, "😀" * (bound + outwards))
        else:
            yield good(path, rule, bound)
            yield bad(path, rule, bound + outwards)
        if shape.type_name == "float":
            yield bad(path, rule, bound + outwards * 1e-5)
            yield good(path, rule, float(bound))


def choices(shape: Shape, path: str) -> Iterator[Probe]:
    if "enum" in shape.metadata:
        named = shape.metadata["enum"]
        yield from (good(path, "enum", value) for value in named)
        yield from (bad(path, "enum", value) for value in (named[0].lower(), named[0] + "\n", named[0] + "X", ""))
    if "pattern" in shape.metadata:
        fulfil, break_ = FULFIL_AND_BREAK[shape.metadata["pattern"]]
        least = shape.metadata.get("min", 0)
        yield from (good(path, "pattern", value) for value in fulfil)
        yield from (bad(path, "pattern", value.ljust(least, value[:1] or "x")) for value in break_)


def with_member(request: dict[str, Any], probe: Probe) -> dict[str, Any]:
    """The request with the probe's value at its path, and without a member where the probe is of its absence."""
    changed = copy.deepcopy(request)
    *parents, name = probe.path.split(".")
    at = changed
    for parent in parents:
        at = at.setdefault(parent, {})
    at[name] = probe.value
    if probe.rule in ("required", "absent"):
        del at[name]
    return changed


def walked(operation: str) -> list[Probe]:
    shape = REKOGNITION.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    return list(members(shape, ""))


def rules_of_the_document(operation: str) -> set[tuple[str, str]]:
    """(path, rule) of all that botocore's document says of the operation's requests, read without its classes."""
    document = Loader().load_service_model("rekognition", "service-2")
    shapes = document["shapes"]

    def rules(name: str, path: str) -> Iterator[tuple[str, str]]:
        yield from ((path, rule) for rule in ("min", "max", "pattern", "enum") if rule in shapes[name])
        for member, reference in shapes[name].get("members", {}).items():
            below = f"{path}.{member}".lstrip(".")
            yield below, "required" if member in shapes[name].get("required", ()) else "absent"
            yield from ((below, f"type {value}") for value in wrong_json(shapes[reference["shape"]]["type"]))
            yield from rules(reference["shape"], below)

    return set(rules(document["operations"][operation]["input"]["shape"], ""))


def wrong_json(type_name: str) -> set[str]:
    return set(JSON_VALUES) - RIGHT_JSON[type_name]


@pytest.mark.parametrize(("operation", "count"), [("StartContentModeration", 11), ("GetContentModeration", 5)])
def test_the_walk_leaves_nothing_of_the_model_out(operation: str, count: int) -> None:
    """Each member at each level is tried absent and of every wrong type, each bound, pattern and enum is tried."""
    tried = walked(operation)
    documented = rules_of_the_document(operation)
    assert len({path for path, _ in documented}) == count
    assert documented <= {(probe.path, probe.rule) for probe in tried}
    for path, rule in documented:
        outcomes = {probe.expected == {REFUSED} for probe in tried if (probe.path, probe.rule) == (path, rule)}
        if rule in ("min", "max", "pattern", "enum"):
            assert outcomes == {True, False}, (path, rule)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_requests_are_judged_by_the_model(wire: Wire, requests: dict[str, dict[str, Any]], operation: str) -> None:
    """What the model does not allow is refused by member in the documented form; what it allows is done."""
    declared = {error.name for error in REKOGNITION.operation_model(operation).error_shapes}
    for probe in walked(operation):
        answer = wire.send(operation, json.dumps(with_member(requests[operation], probe)).encode())
        assert answer.code in probe.expected, (probe, answer)
        assert answer.headers["x-amzn-RequestId"]
        if answer.status == 200:
            continue
        assert answer.status == 400, probe
        assert answer.code in declared | {UNREADABLE}, probe
        if answer.code in (REFUSED, UNREADABLE):
            named = "Video.S3Object" if probe.path in NEEDED_BY_THE_SERVICE else probe.path
            assert named in answer.body["Message"], (probe, answer)
        if answer.code == REFUSED:
            assert answer.body["Message"].startswith(SENTENCE), (probe, answer)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unknown_members_are_ignored(wire: Wire, requests: dict[str, dict[str, Any]], operation: str) -> None:
    """A member that the model does not know changes nothing, at whatever level."""

    def with_more(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: with_more(item) for name, item in value.items()} | {"Novel": {"Deep": [1, None]}}

    assert wire.send(operation, json.dumps(with_more(requests[operation])).encode()).code == "ok"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("1e400", UNREADABLE),
        ("-1e400", UNREADABLE),
        ("NaN", UNREADABLE),
        ("Infinity", UNREADABLE),
        ("1" + "0" * 5000, UNREADABLE),
        ("100.00001", REFUSED),
        ("1e2", "ok"),
        ("-0.0", "ok"),
        ("5e-324", "ok"),
    ],
)
def test_numbers_at_the_ends(wire: Wire, requests: dict[str, dict[str, Any]], number: str, code: str) -> None:
    """A number that JSON or a float cannot hold is no number; every spelling of one within bounds is accepted."""
    body = json.dumps(requests["StartContentModeration"] | {"MinConfidence": "?"}).replace('"?"', number)
    assert wire.send("StartContentModeration", body.encode()).code == code


def test_more_than_a_thousand_means_a_thousand(wire: Wire, requests: dict[str, dict[str, Any]]) -> None:
    """MaxResults has no upper bound: all above 1000 mean 1000."""
    for asked, given_ in ((999, 999), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)):
        body = json.dumps(requests["GetContentModeration"] | {"MaxResults": asked}).encode()
        assert len(wire.send("GetContentModeration", body).body["ModerationLabels"]) == given_


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"Action=StartContentModeration",
        b"[]",
        b'"text"',
        b"null",
        b'{"Video": {}',
        b'{"Video": {}} {}',
        b"\xef\xbb\xbf{}",
        b'{"JobTag": "\xff"}',
        b'{"\xff": 1}',
        b'{"JobTag": "\\ud800"}',
        b'{"Novel": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Novel": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 100_000,
        b'{"JobTag": "' + b"a" * (4 * 2**20 - 100) + b'"}',
        b'{"JobTag": "' + b"a" * (4 * 2**20) + b'"}',
    ],
    ids=lambda body: f"{body[:12]!r}-{len(body)}",
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_body_is_answered(wire: Wire, operation: str, body: bytes) -> None:
    """Whatever is sent as a body is refused as the caller's own mistake."""
    answer = wire.send(operation, body)
    assert 400 <= answer.status < 500, answer
    assert answer.headers["x-amzn-RequestId"]
    if answer.status != 413:
        assert answer.code in (UNREADABLE, REFUSED)
        assert answer.body["Message"]


def test_every_service_of_a_test_checks_its_answers(modelled: Service, tmp_path: Path) -> None:
    """Both ways to start a service in tests, by settings and by the environment, switch the check on."""
    assert Settings(**modelled.settings).local.check_answers
    config = tmp_path / "worker.toml"
    config.write_text('[lanes.main]\nregion = "us-east-1"\nendpoint_url = "local"\n')
    assert load(config, os.environ).settings.local.check_answers


def page() -> dict[str, Any]:
    """A page of 1,000 entries."""
    analysis = SyntheticAnalyst(1).analyse(StoredVideo(BUCKET, "one-page.mp4", None, 0, None), 50.0)
    labels = msgspec.json.decode(msgspec.json.encode(analysis.labels))
    return {"JobStatus": "SUCCEEDED", "VideoMetadata": analysis.metadata, "ModerationLabels": labels}


def checked(operation: str, answer: Any) -> None:
    check_answer(REKOGNITION.operation_model(operation), json.dumps(answer).encode())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("Timestamp", "500"),
        ("Timestamp", 500.0),
        ("Timestamp", None),
        ("Timestamp", True),
        ("Novel", 1),
        ("DurationMillis", -1),
        ("ModerationLabel", {"Confidence": 100.5}),
        ("ModerationLabel", {"Confidence": "99"}),
        ("ModerationLabel", {"Level": 1}),
        ("ModerationLabel", []),
        ("ContentTypes", [{"Name": "Animated"}] * 51),
        ("ContentTypes", {}),
    ],
)
def test_one_wrong_entry_of_a_thousand_is_caught(member: str, value: Any) -> None:
    """The last entry of a page is checked like the first."""
    answer = page()
    checked("GetContentModeration", answer)
    answer["ModerationLabels"][999] = answer["ModerationLabels"][999] | {member: value}
    with pytest.raises(ValueError, match="GetContentModeration"):
        checked("GetContentModeration", answer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"Novel": 1},
        {"JobStatus": "DONE"},
        {"JobId": "has space"},
        {"JobId": "a\n"},
        {"JobId": "a" * 65},
        {"NextToken": "a" * 256},
        {"VideoMetadata": {"ColorRange": "NARROW"}},
        {"ModerationLabels": None},
    ],
)
def test_wrong_members_of_an_answer_are_caught(wrong: dict[str, Any]) -> None:
    """Unknown members, and values outside enum, bounds and pattern of the output, are violations."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        checked("GetContentModeration", page() | wrong)


def test_an_operation_without_output_answers_with_nothing() -> None:
    """An answer with members is one too many where the model has none."""
    deletion = SQS.operation_model("DeleteMessage")
    check_answer(deletion, b"{}")
    for body in (b'{"MessageId": "x"}', b"[]", b"", b"null", b"\xff"):
        with pytest.raises(ValueError, match="DeleteMessage"):
            check_answer(deletion, body)


def test_errors_of_other_operations_are_caught() -> None:
    """A refusal's code is one of the operation's own errors or of those that all share."""
    start = REKOGNITION.operation_model("StartContentModeration")
    for error in start.error_shapes:
        check_refusal(start, error.name)
    check_refusal(start, "SerializationException")
    with pytest.raises(ValueError, match="ResourceNotFoundException"):
        check_refusal(start, "ResourceNotFoundException")


JUNK = st.none() | st.booleans() | st.integers(-2, 200) | st.floats(-2, 200) | st.text(max_size=3) | st.just([])
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(codec="utf-8"), max_size=5),
    "blob": st.binary(max_size=5).map(lambda raw: base64.b64encode(raw).decode()),
    "boolean": st.booleans(),
    "integer": st.integers(0, 2**31 - 1),
    "long": st.integers(0, 2**63 - 1),
    "float": st.floats(0, 100),
}


def answers(shape: Shape | None, *, spoiled: bool) -> st.SearchStrategy[Any]:
    """Answers of the shape; spoiled ones have now and then something else in the place of a value, or one more."""
    built = _values(shape, spoiled=spoiled)
    return built | JUNK if spoiled else built


def _values(shape: Shape | None, *, spoiled: bool) -> st.SearchStrategy[Any]:
    if shape is None:
        return st.dictionaries(st.just("Novel"), JUNK, max_size=int(spoiled))
    if isinstance(shape, StructureShape):
        members = {name: answers(member, spoiled=spoiled) for name, member in shape.members.items()}
        needed = {name: members.pop(name) for name in shape.required_members}
        more = {"Novel": JUNK} if spoiled else {}
        return st.fixed_dictionaries(needed, optional=members | more)
    if isinstance(shape, ListShape):
        return st.lists(answers(shape.member, spoiled=spoiled), max_size=2)
    if isinstance(shape, MapShape):
        return st.dictionaries(_values(shape.key, spoiled=False), answers(shape.value, spoiled=spoiled), max_size=2)
    return _scalars(shape)


def _scalars(shape: Shape) -> st.SearchStrategy[Any]:
    if "enum" in shape.metadata:
        return st.sampled_from(shape.metadata["enum"])
    if shape.type_name == "string" and {"min", "pattern"} & shape.metadata.keys():
        return st.text("abc", min_size=shape.metadata.get("min", 1), max_size=8)
    return SCALARS[shape.type_name]


CHECKED = [
    *(REKOGNITION.operation_model(name) for name in OPERATIONS),
    *(
        SQS.operation_model(name)
        for name in ("ReceiveMessage", "SendMessageBatch", "GetQueueAttributes", "DeleteMessage")
    ),
]


@given(st.data())
@settings(deadline=None)
def test_answers_of_the_shape_pass(data: st.DataObject) -> None:
    """Whatever the model allows passes the check."""
    operation = data.draw(st.sampled_from(CHECKED))
    check_answer(operation, json.dumps(data.draw(answers(operation.output_shape, spoiled=False))).encode())


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_what_botocore_refuses_is_refused(data: st.DataObject) -> None:
    """The check is no weaker than botocore's own validator."""
    operation = data.draw(st.sampled_from([operation for operation in CHECKED if operation.output_shape]))
    answer = data.draw(answers(operation.output_shape, spoiled=True))
    if ParamValidator().validate(answer, operation.output_shape).has_errors():
        with pytest.raises(ValueError, match=operation.name):
            check_answer(operation, json.dumps(answer).encode())
