"""Requests as no client should send them, made from good ones: the same for the same seed."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from worker.local.sqs import receipts

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")
_PAGES = (
    "/_ledger?summary=1",
    "/_faults",
    "/_folders",
    "/healthz",
    "/_nothing",
    "/_ledger/",
    "//_faults",
    "/_ledger%00",
)
_LARGEST_HEADER_BYTES = 70_000
_BOMB_BYTES = 64 * 2**20
_DEEP = 3_000


class World(msgspec.Struct, frozen=True):
    """What the service has that good requests name."""

    account: str
    region: str
    queue: str  # account/name
    queue_url: str
    topic_arn: str
    role_arn: str
    job_ids: tuple[str, ...]
    next_token: str
    receipt_handle: str
    keys: tuple[str, ...]
    version_id: str
    folder: str
    folder_bucket: str


class Case(msgspec.Struct, frozen=True):
    """Bytes for a connection. `methods` are those of the requests in it that must be answered; none: it is broken.

    After a broken one the client goes away: it closes its side, or where it `resets`, tears the connection.
    """

    kind: str
    payload: bytes
    methods: tuple[str, ...] = ()
    resets: bool = False


def authorization(account: str, region: str) -> str:
    """A header that the service believes."""
    scope = f"LOCAL{account}/20260101/{region}/rekognition/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


def good_calls(world: World) -> dict[str, dict[str, Any]]:
    """A request that every operation with JSON accepts, by X-Amz-Target."""
    queue = {"QueueUrl": world.queue_url}
    attribute = {"DataType": "String", "StringValue": "blue"}
    binary = {"DataType": "Binary.x", "BinaryValue": "AAEC"}
    traced = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    handles = [{"Id": str(place), "ReceiptHandle": world.receipt_handle} for place in range(2)]
    message = {"MessageBody": "hello", "DelaySeconds": 0, "MessageAttributes": {"colour": attribute, "b": binary}}
    return {
        "RekognitionService.StartContentModeration": {
            "Video": {"S3Object": {"Bucket": "synthetic-archive", "Name": world.keys[0], "Version": world.version_id}},
            "MinConfidence": 50,
            "ClientRequestToken": "token-1",
            "NotificationChannel": {"SNSTopicArn": world.topic_arn, "RoleArn": world.role_arn},
            "JobTag": "tag",
        },
        "RekognitionService.GetContentModeration": {
            "JobId": world.job_ids[0],
            "MaxResults": 1000,
            "NextToken": world.next_token,
            "SortBy": "TIMESTAMP",
            "AggregateBy": "TIMESTAMPS",
        },
        "AmazonSQS.CreateQueue": {
            "QueueName": "made",
            "Attributes": {"VisibilityTimeout": "30", "DelaySeconds": "0", "MaximumMessageSize": "262144"},
            "tags": {"colour": "blue"},
        },
        "AmazonSQS.DeleteQueue": queue,
        "AmazonSQS.ListQueues": {"QueueNamePrefix": "m", "MaxResults": 100},
        "AmazonSQS.ListDeadLetterSourceQueues": queue | {"MaxResults": 100},
        "AmazonSQS.GetQueueUrl": {"QueueName": world.queue.partition("/")[2], "QueueOwnerAWSAccountId": world.account},
        "AmazonSQS.GetQueueAttributes": queue | {"AttributeNames": ["All"]},
        "AmazonSQS.SetQueueAttributes": queue | {"Attributes": {"VisibilityTimeout": "30", "DelaySeconds": "0"}},
        "AmazonSQS.PurgeQueue": queue,
        "AmazonSQS.SendMessage": queue | message | {"MessageSystemAttributes": traced},
        "AmazonSQS.SendMessageBatch": queue | {"Entries": [{"Id": str(place)} | message for place in range(3)]},
        "AmazonSQS.ReceiveMessage": queue
        | {
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": 0,
            "VisibilityTimeout": 30,
            "AttributeNames": ["All"],
            "MessageSystemAttributeNames": ["SenderId"],
            "MessageAttributeNames": ["All"],
            "ReceiveRequestAttemptId": "1",
        },
        "AmazonSQS.ChangeMessageVisibility": queue | {"ReceiptHandle": world.receipt_handle, "VisibilityTimeout": 30},
        "AmazonSQS.ChangeMessageVisibilityBatch": queue
        | {"Entries": [handle | {"VisibilityTimeout": 30} for handle in handles]},
        "AmazonSQS.DeleteMessage": queue | {"ReceiptHandle": world.receipt_handle},
        "AmazonSQS.DeleteMessageBatch": queue | {"Entries": handles},
    }


GOOD_PLAN: dict[str, Any] = {
    "seed": 7,
    "calls": [
        {"fault": "error", "code": "SlowDown", "status": 503, "message": "no", "executed": True, "share": 0.5},
        {"fault": "slow", "seconds": 0.5, "operations": ["StartContentModeration"], "skip": 1, "times": 2},
        {"fault": "reset", "executed": True},
        {"fault": "truncated"},
        {"fault": "malformed"},
    ],
    "notices": [
        {"fault": "lost", "keys": ["2024/*.mov"], "accounts": ["123456789012"]},
        {"fault": "doubled", "copies": 3},
        {"fault": "late", "seconds": 5},
        {"fault": "early", "seconds": 0.5, "regions": ["us-east-1"]},
        {"fault": "foreign"},
        {"fault": "unreadable"},
    ],
    "jobs": [{"status": "ERROR", "message": "x", "from_seconds": 0, "until_seconds": 9}],
    "tokens": [{"page": 2}],
    "tenants": [{"share": 0.5}],
}


class Malformed:
    """Draws requests from a seed."""

    def __init__(self, seed: int, world: World) -> None:
        self._draw = random.Random(seed)
        self._world = world
        self._calls = list(good_calls(world).items())
        self._signed = authorization(world.account, world.region)
        self._kinds: dict[Callable[[], Case], int] = {
            self._call: 60,
            self._storage: 20,
            self._form: 4,
            self._page: 3,
            self._identity: 5,
            self._encoded: 2,
            self._pipelined: 2,
            self._broken: 4,
        }

    def cases(self) -> Iterator[Case]:
        """Requests without end; no fault plans among them."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while True:
            for make in self._draw.choices(kinds, weights, k=100):
                yield make()

    def plans(self) -> Iterator[Case]:
        """Fault plans without end. Those that are accepted by chance change later answers."""
        while True:
            body = self._body(GOOD_PLAN)
            yield Case("fault plan", self._request("PUT", "/_faults", {}, body), ("PUT",))

    def _call(self) -> Case:
        target, good = self._draw.choice(self._calls)
        body = self._body(good)
        return Case(target, self._request("POST", "/", {"X-Amz-Target": target}, body), ("POST",))

    def _storage(self) -> Case:
        method = self._draw.choice(("GET", "GET", "GET", "HEAD", "HEAD", *METHODS))
        if method == "POST":
            method = "PUT"
        path, query = self._path(), self._query()
        headers = {self._draw.choice(_S3_HEADERS): self._header_value() for _ in range(self._draw.choice((0, 0, 1, 2)))}
        target = path + ("?" + query if query else "")
        return Case("S3", self._request(method, target, headers, b""), (method,))

    def _form(self) -> Case:
        kind = self._draw.choice(_FORM_TYPES)
        form: list[bytes] = [
            b"Action=GetCallerIdentity&Version=2011-06-15",
            b"Action=" + self._noise(20),
            self._noise(60),
            b"--x\r\nContent-Disposition: form-data; name=Action\r\n\r\nGetCallerIdentity\r\n--x--\r\n",
            b"--x\r\nContent-Disposition: form-data; name=Action\r\n\r\nGet",
            b"--x\r\nContent-Disposition: form-data; name=A\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--x--",
            b"--x\r\n" + self._noise(40) + b"\r\n--x--",
            b"%zz=%ff&" * 40,
            b"a=1&" * 2_000,
        ]
        body = self._draw.choice(form)
        return Case("form", self._request("POST", "/", {"Content-Type": kind}, body), ("POST",))

    def _page(self) -> Case:
        method, path = self._draw.choice(METHODS), self._draw.choice(_PAGES)
        if method == "PUT" and path == "/_faults":
            path = "/_folders"
        wanted = self._draw.choice((self._world.folder, "relative", "/nowhere", "/\0", "/" + "x" * 300, "/\ud800", 1))
        body = self._body({"path": wanted}) if method in {"PUT", "POST"} else b""
        return Case("own page", self._request(method, path, {}, body), (method,))

    def _identity(self) -> Case:
        target, good = self._draw.choice(self._calls)
        scope = f"LOCAL{self._world.account}/20260101/{self._world.region}/s3/aws4_request"
        presigned = self._draw.choice((scope, scope[:-1], "", "/////", self._text()))
        if self._draw.random() < 0.5:
            signed = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": presigned, "X-Amz-Signature": "0"}
            query = "?" + urlencode(signed, errors="surrogatepass")
            return Case("identity", _request("GET", self._path() + query, {}, b""), ("GET",))
        header = self._draw.choice((*_AUTHORIZATIONS, self._signed[: self._draw.randrange(len(self._signed))]))
        headers = {"X-Amz-Target": self._draw.choice((target, target, self._token(), "")), "Authorization": header}
        return Case("identity", _request("POST", "/", headers, _encoded(good)), ("POST",))

    def _encoded(self) -> Case:
        """Bodies that are compressed, or said to be, or come in chunks."""
        target, good = self._draw.choice(self._calls)
        body, encoding = _encoded(good), self._draw.choice(("gzip", "deflate", "br", "zstd", "identity", "x", ""))
        if encoding == "gzip":
            body = self._draw.choice((gzip.compress(body), gzip.compress(body)[:-4], body))
        if self._draw.random() < 0.02:
            body, encoding = _bomb(), "gzip"
        headers = {
            "X-Amz-Target": target,
            "Content-Encoding": encoding,
            "Expect": self._draw.choice(("100-continue", "x")),
        }
        headers = dict(self._draw.sample(sorted(headers.items()), 2)) | {"Authorization": self._signed}
        if self._draw.random() < 0.5:
            return Case("encoded", _request("POST", "/", headers, body), ("POST",))
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        head = _head("POST", "/", headers | {"Transfer-Encoding": "chunked"})
        return Case("encoded", head + chunks, ("POST",))

    def _pipelined(self) -> Case:
        made = [self._draw.choice((self._call, self._storage, self._page))() for _ in range(self._draw.randint(2, 5))]
        methods = tuple(method for case in made for method in case.methods)
        return Case("pipelined", b"".join(case.payload for case in made), methods)

    def _broken(self) -> Case:
        good = self._draw.choice((self._call, self._storage, self._form))().payload
        breaking = self._draw.choice((self._spoilt_bytes, self._spoilt_line, self._spoilt_headers, self._spoilt_body))
        return Case("broken HTTP", breaking(good), resets=self._draw.random() < 0.2)

    def _spoilt_bytes(self, good: bytes) -> bytes:
        return self._garbled(good) if self._draw.random() < 0.8 else self._noise(500)

    def _spoilt_line(self, good: bytes) -> bytes:
        return self._draw.choice(_REQUEST_LINES) + good[good.index(b"\r\n") :]

    def _spoilt_headers(self, good: bytes) -> bytes:
        line, _, rest = good.partition(b"\r\n")
        return line + b"\r\n" + self._draw.choice(_HEADER_LINES) + rest

    def _spoilt_body(self, good: bytes) -> bytes:
        head, _, body = good.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        return b"\r\n".join([*lines, *self._draw.choice(_LENGTHS), b"", body])

    def _request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        return _request(method, target, {"Authorization": self._signed} | headers, body)

    def _path(self) -> str:
        bucket = self._draw.choice((*_BUCKETS, self._world.folder_bucket, self._world.folder_bucket, self._token()))
        keys = (
            *_KEYS,
            *(quote(key, safe="/") for key in self._world.keys),
            "inside.mp4",
            quote(self._text(), safe="", errors="surrogatepass"),
        )
        return f"/{bucket}/{self._draw.choice(keys)}" if self._draw.random() < 0.7 else f"/{bucket}"

    def _query(self) -> str:
        names = self._draw.sample(_S3_PARAMETERS, self._draw.choice((0, 0, 1, 1, 2, 3, 4)))
        pairs = [(name, self._draw.choice((*_S3_VALUES, self._world.version_id, self._token()))) for name in names]
        if self._draw.random() < 0.4:
            pairs.append(("list-type", "2"))
        if self._draw.random() < 0.1:
            return "&".join(
                f"{name}={value}" for name, value in pairs if value.isascii() and value.isprintable()
            ).replace(" ", "")
        return urlencode(pairs, errors="surrogatepass")

    def _header_value(self) -> str:
        return self._draw.choice((*_HEADER_VALUES, f"bytes={self._number()}-{self._number()}"))

    def _body(self, good: dict[str, Any]) -> bytes:
        """The JSON of a request, in which one to three things are not as they should be."""
        tree: Any = json.loads(json.dumps(good))
        for _ in range(self._draw.randint(1, 3)):
            tree = self._mutated(tree)
        text = _encoded(tree, ascii_only=self._draw.random() < 0.7)
        chance = self._draw.random()
        if chance < 0.1:
            return self._garbled(text)
        if chance < 0.15:
            return self._doubled(text, good)
        if chance < 0.17:
            return text.replace(b":", b":" + self._draw.choice((b"[", b'{"a":')) * self._draw.randint(1, _DEEP), 1)
        return text

    def _doubled(self, text: bytes, good: dict[str, Any]) -> bytes:
        """With a member that is there twice."""
        name = self._draw.choice(list(good))
        return text.replace(b"{", b"{" + _encoded(name) + b":" + _encoded(self._leaf()) + b",", 1)

    def _mutated(self, tree: Any) -> Any:
        """The tree with another value in one of its places."""
        if not isinstance(tree, dict | list) or not tree or self._draw.random() < 0.1:
            return self._other(tree)
        place = self._draw.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        chance = self._draw.random()
        if chance < 0.12:
            del tree[place]
        elif chance < 0.2 and isinstance(tree, dict):
            tree[self._draw.choice((self._text(), *tree))] = self._leaf()
        elif chance < 0.2:
            tree *= self._draw.choice((2, 5, 40))
        else:
            tree[place] = self._mutated(tree[place])
        return tree

    def _other(self, value: Any) -> Any:
        if isinstance(value, str) and self._draw.random() < 0.4:
            at = self._draw.randrange(len(value) + 1)
            return value[:at] + self._text() + value[at + self._draw.choice((0, 0, 1, 5)) :]
        return self._leaf()

    def _leaf(self) -> Any:
        return self._draw.choice((self._number, self._text, self._token, self._odd))()

    def _odd(self) -> Any:
        return self._draw.choice((None, True, False, [], {}, [[]], [None], {"": None}, [{}] * 11, {"a": {"b": [1]}}))

    def _number(self) -> int | float:
        return self._draw.choice(_NUMBERS)

    def _token(self) -> str:
        """Something like what the service hands out, or another thing's."""
        world, number = self._world, self._draw.getrandbits(64)
        forged = self._forged_handle(self._draw.choice((0, 1, 2**63 - 1, 2**63, 2**64 - 1, number)))
        return self._draw.choice(
            (
                forged,
                f"{number:016x}" * 4,
                world.next_token[::-1],
                world.job_ids[-1],
                world.receipt_handle,
                world.queue_url + self._draw.choice(("", "x", "/", "\0", "?a", "#a")),
                f"http://{world.queue}",
                "AAAA",
            )
        )

    def _forged_handle(self, number: int) -> str:
        content = number.to_bytes(8) + self._draw.randbytes(16)
        return base64.urlsafe_b64encode(content + receipts._seal(self._world.queue, content)).decode()

    def _text(self) -> str:
        return self._draw.choice(_TEXTS)

    def _garbled(self, data: bytes) -> bytes:
        """With some bytes changed, cut out, put in or doubled."""
        spoilt = bytearray(data)
        for _ in range(self._draw.randint(1, 4)):
            at = self._draw.randrange(len(spoilt) + 1)
            end = at + self._draw.choice((0, 1, 1, 4, 30))
            spoilt[at:end] = self._draw.choice(
                (b"", self._noise(3), b"\0", b"\r\n", b"\xff", bytes(spoilt[at:end] * 2))
            )
        return bytes(spoilt)

    def _noise(self, most: int) -> bytes:
        return self._draw.randbytes(self._draw.randint(1, most))


def _head(method: str, target: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\nHost: service\r\n{lines}\r\n".encode("utf-8", "surrogatepass")


def _request(method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    if body or method in {"POST", "PUT", "PATCH"}:
        headers = headers | {"Content-Length": str(len(body))}
    return _head(method, target, headers) + body


def _encoded(tree: Any, *, ascii_only: bool = True) -> bytes:
    return json.dumps(tree, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(_BOMB_BYTES))


_NUMBERS = (
    *(0, -1, 21, 50, 101, 999, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, -(10**400)),
    *(0.5, -0.0, 1e-320, 1.7e308, 49.999999, 100.00001, float("nan"), float("inf")),
)
_TEXTS = (
    *("", " ", "0", "-1", "99", "1e9", "null", "a" * 300, "a" * 5_000, "é" * 200, "\0", "\x01", "\x7f", "\ufffe"),
    *("\ud800", "\udfff\ud800", "🎬", "../../../../etc/passwd", "%2e%2e%2f", "{0}", "%s%n", "'; DROP TABLE job; --"),
    *(
        "arn:aws:sns:us-east-1:1:AmazonRekognition",
        "arn:aws:iam::000000000000:role/x",
        "a:b",
        ":::::",
        "<&>\"'",
        "\r\n",
    ),
    *(
        "All",
        ".*",
        "FIFO.fifo",
        "NAME",
        "SEGMENTS",
        "٣",
        '{"maxReceiveCount":"0"}',
        '{"deadLetterTargetArn":1}',
        "[]",
        "{",
    ),
)
_BUCKETS = (
    "synthetic-archive",
    "synthetic-archive",
    "synthetic-edge-cases",
    "synthetic-archive-eu-west-1",
    "nothing",
    "",
    "..",
    ".",
)
_KEYS = (
    *(
        "..",
        "../outside.txt",
        "%2e%2e/outside.txt",
        "..%2foutside.txt",
        "a/../../outside.txt",
        "%2e%2e%2f%2e%2e%2fetc/passwd",
    ),
    *(
        ".%2e/outside.txt",
        "..%5coutside.txt",
        "..%00/outside.txt",
        "%ff%fe",
        "%ed%a0%80",
        "%",
        "%zz",
        "%2",
        "%00",
        "//",
        "/",
    ),
    *(
        "a" * 1_100,
        "%C3%A9" * 600,
        "link.txt",
        "link/outside.txt",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "é",
        ";a=b",
        "a%20b+c",
    ),
)
_S3_PARAMETERS = (
    *(
        "prefix",
        "delimiter",
        "max-keys",
        "continuation-token",
        "start-after",
        "encoding-type",
        "versions",
        "key-marker",
    ),
    *("version-id-marker", "versionId", "location", "acl", "uploads", "partNumber", "fetch-owner", "max-buckets", "x"),
    *("response-content-type", "response-expires", "response-content-disposition", "X-Amz-Credential", "list-type"),
)
_S3_VALUES = (
    *(
        "",
        "0",
        "1",
        "2",
        "-1",
        "1000",
        "1001",
        "2147483648",
        "9" * 30,
        "1.5",
        "a",
        "/",
        "//",
        "url",
        "true",
        "null",
        "٣",
    ),
    *(
        "2024/",
        "2024/01/camera-01",
        "2",
        "é",
        "\0",
        "\r\nX: y",
        "\ud800",
        "🎬",
        "..",
        "../",
        "%",
        "MjAyNC8=",
        "=",
        "a" * 2_000,
    ),
)
_S3_HEADERS = (
    *("Range", "Range", "Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"),
    *("x-amz-expected-bucket-owner", "x-amz-checksum-mode", "Content-Type", "Accept-Encoding", "Connection", "Cookie"),
)
_HEADER_VALUES = (
    *(
        "bytes=0-0",
        "bytes=-1",
        "bytes=-0",
        "bytes=5-",
        "bytes=9-2",
        "bytes=a-b",
        "bytes=0-1,4-5",
        "items=0-1",
        "bytes=",
        "",
    ),
    *(
        "bytes=99999999999999999-",
        "bytes=0-99999999999999999999999",
        '"x"',
        "*",
        "W/*",
        "Sun, 22 Nov 2026 00:00:00 GMT",
    ),
    *(
        "Sun, 99 Nov 2026 99:00:00 GMT",
        "0",
        "keep-alive",
        "gzip",
        "text/html; charset=nonsense",
        "é",
        "\x01",
        "a" * 4_000,
    ),
    *("Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359", "1 Jan 70 00:00 +9999999999"),
)
_AUTHORIZATIONS = (
    *(
        "",
        " ",
        "Basic eDp5",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=",
        "AWS AKIA:x",
        "é",
        "a" * 4_000,
    ),
    *("AWS4-HMAC-SHA256 Credential=////", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"),
    *(
        "AWS4-HMAC-SHA256 Credential=LOCAL٣٣٣٣٣٣٣٣٣٣٣٣/20260101/us-east-1/s3/aws4_request",
        "Credential=a/2/b/c/aws4_request",
    ),
    *(
        "AWS4-HMAC-SHA256 Credential=LOCAL999999999999/20260101/xx-nowhere-9/s3/aws4_request",
        "AWS4-ECDSA-P256-SHA256 x",
    ),
)
_FORM_TYPES = (
    *(
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=nonsense",
        "text/plain",
        "",
        "/",
        ";;",
    ),
    *(
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=" + "x" * 100,
        "multipart/mixed",
    ),
    *("multipart/form-data; boundary=", "application/x-www-form-urlencoded; charset=utf-16", "é", "a/b; c=d; c=e"),
)
_REQUEST_LINES = (
    *(
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/9.9",
        b"GET / HTTP/1.",
        b"GET / http/1.1",
        b"\0 / HTTP/1.1",
    ),
    *(
        b"GET /\xff\xfe HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"GET http:// HTTP/1.1",
        b"GET // HTTP/1.1",
    ),
    *(
        b"GET http://[/ HTTP/1.1",
        b"GET http://a:b/ HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
        b"GET ?a HTTP/1.1",
    ),
    *(
        b"GET //[ HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a?b HTTP/1.0",
        b"G(T / HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"CONNECT / HTTP/1.1",
    ),
    *(
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1",
        b"GET /?" + b"a=b&" * 3_000 + b" HTTP/1.1",
        b"A" * 70_000,
        b"\x16\x03\x01\x02",
    ),
    *(
        b"GET http://service/synthetic-archive?list-type=2 HTTP/1.1",
        b"GET https://u:p@[::1]:99999/ HTTP/1.1",
        b"GET \t HTTP/1.1",
    ),
)
_HEADER_LINES = (
    *(
        b"no colon\r\n",
        b": empty\r\n",
        b" folded: x\r\n",
        b"a b: c\r\n",
        b"X: \0\r\n",
        b"X: a\nY: b\r\n",
        b"X: \xff\r\n",
        b"X:\r\n",
    ),
    *(
        b"X: " + b"a" * _LARGEST_HEADER_BYTES + b"\r\n",
        b"X: a\r\n" * 2_000,
        b"A" * 9_000 + b": x\r\n",
        b"Host: a\r\nHost: b\r\n",
    ),
    *(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        b"X: a\r\r\n",
    ),
    *(
        b"Host: [\r\n",
        b"Host: \xe9\r\n",
        b"Connection: close, keep-alive\r\n",
        b"Cookie: \x01=;;;=\r\n",
        b"\r\n",
        b"Expect: \xff\r\n",
    ),
    *(b"Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n",),
)
_LENGTHS = (
    *([], [b"Content-Length: 1"], [b"Content-Length: 999999"], [b"Content-Length: -1"], [b"Content-Length: 1e2"]),
    *(
        [b"Content-Length: +5"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: 4", b"Content-Length: 5"],
        [b"Content-Length:"],
    ),
    *(
        [b"Content-Length: " + b"9" * 30],
        [b"Content-Length: 5000000"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    ),
    *([b"Transfer-Encoding: chunked"], [b"Transfer-Encoding: gzip, chunked"], [b"Transfer-Encoding: xchunked"]),
    *(
        [b"Transfer-Encoding: chunked", b"", b"zz\r\nabc"],
        [b"Transfer-Encoding: chunked", b"", b"5\r\nabc\r\n0\r\n\r\n"],
    ),
    *(
        [b"Transfer-Encoding: chunked", b"", b"ffffffffffffffffff\r\nabc"],
        [b"Transfer-Encoding: chunked", b"", b"-1\r\n\r\n"],
    ),
    *([b"Transfer-Encoding: chunked", b"", b"3;a=b\r\nabc\r\n0\r\nX: \0\r\n\r\n"],),
)
