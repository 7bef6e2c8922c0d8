"""Where calls go: to AWS, or where the config file says; never where the environment or an AWS config file says.

Every variable and file that the SDK would take an endpoint from names a canary, a listener on loopback that must hear
nothing. What goes to AWS itself must pass a proxy, which writes the host down and refuses.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.tokens import SSOTokenProvider

from tests.system.site import Sections, Site, finished, toml
from tests.system.small_aws import ACCOUNT, REGION, small_aws
from worker.aws.notices import Queue
from worker.aws.objects import Objects
from worker.aws.rekognition import Rekognition
from worker.aws.session import Clients, bucket_requests, open_clients
from worker.config import Lane, load
from worker.errors import AwsError, ConfigError
from worker.model import Channel, Job, Object

SERVICES = ("rekognition", "sqs", "s3", "sts")
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/moderation"
QUEUE_URL = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/moderation"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
OUT_OF_THE_WAY = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n"
REASON = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
SSO_SESSION = "office"
AWS = {
    "rekognition": f"rekognition.{REGION}.amazonaws.com",
    "sqs": f"sqs.{REGION}.amazonaws.com",
    "s3": "archive.s3.amazonaws.com",  # of this one region, as botocore still has it
    "sts": f"sts.{REGION}.amazonaws.com",
    "sso": f"portal.sso.{REGION}.amazonaws.com",
}
"""Service -> its host at AWS."""


class Listener:
    """Writes down the first line of whatever is sent to it, and refuses."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[str] = []

    @property
    def hosts(self) -> set[str]:
        """The hosts that a proxy was asked for."""
        return {line.split()[1].removesuffix(":443") for line in self.heard if line.startswith("CONNECT ")}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; it counts even if nothing is sent over it."""
        line = await reader.readline()
        self.heard.append(line.decode().strip())
        writer.write(REFUSAL if line.startswith(b"HEAD ") else REFUSAL + REASON)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    """Listen on a free port of this machine."""
    listener = Listener()
    server = await asyncio.start_server(listener.answer, "127.0.0.1", 0)
    async with server:
        listener.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield listener


@pytest.fixture
async def canary() -> AsyncIterator[Listener]:
    """What the environment and the AWS config files name; it must hear nothing."""
    async with listening() as canary:
        yield canary
        assert canary.heard == []


@pytest.fixture
async def proxy() -> AsyncIterator[Listener]:
    """What every call to AWS itself must pass."""
    async with listening() as proxy:
        yield proxy


def config_file(home: Path, canary_url: str) -> Path:
    """An AWS config file that names the canary wherever the SDK would look, in profiles of every kind."""
    everywhere = f"endpoint_url = {canary_url}\nservices = elsewhere"
    services = "\n".join(f"{service} =\n  endpoint_url = {canary_url}" for service in (*SERVICES, "sso", "sso_oidc"))
    keys = "aws_access_key_id = testing\naws_secret_access_key = testing"
    sso = f"sso_session = {SSO_SESSION}\nsso_account_id = {ACCOUNT}\nsso_role_name = moderation"
    path = home / "config"
    path.write_text(f"""
[default]
{everywhere}
[profile keys]
{everywhere}
{keys}
[profile role]
{everywhere}
role_arn = {ROLE_ARN}
source_profile = keys
[profile sso]
{everywhere}
{sso}
[sso-session {SSO_SESSION}]
sso_region = {REGION}
sso_start_url = https://example.invalid/start
[services elsewhere]
{services}
""")
    return path


def sign_in(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the token that `aws sso login` leaves, where the SDK looks, which it decided when it was imported."""
    token = {"accessToken": "testing", "expiresAt": "2099-01-01T00:00:00Z", "region": REGION}
    name = hashlib.sha1(SSO_SESSION.encode(), usedforsecurity=False).hexdigest()
    (cache / f"{name}.json").write_text(json.dumps(token))
    monkeypatch.setattr(SSOTokenProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))


def show_identity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the token by which a pod proves who it is."""
    token = folder / "token"
    token.write_text("testing")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE_ARN)


@pytest.fixture
def environment(tmp_path: Path, canary: Listener, proxy: Listener) -> dict[str, str]:
    """Variables that lead every call astray which heeds them, and what goes to AWS to the proxy."""
    astray = {f"AWS_ENDPOINT_URL_{service.upper()}": canary.url for service in (*SERVICES, "sso", "sso_oidc")}
    config = str(config_file(tmp_path, canary.url))
    files = {"HOME": str(tmp_path), "AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": config + ".none"}
    return {"AWS_ENDPOINT_URL": canary.url, "HTTPS_PROXY": proxy.url, **astray, **files, **OUT_OF_THE_WAY}


@pytest.fixture
def astray(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this process into that environment, without credentials."""
    for name in (*KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def set_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that need no call."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def a_lane(**changes: Any) -> Lane:
    """A lane on AWS itself."""
    return Lane(region=REGION, queue_url=QUEUE_URL, **changes)


async def opened(lane: Lane) -> None:
    """Open a lane's clients as far as that goes."""
    with pytest.raises(AwsError):
        async with open_clients(lane):
            pass


JOB = Job(
    id=1,
    tag="tag",
    token="token",
    bucket="archive",
    key="a.mp4",
    version_id=None,
    min_confidence=50.0,
    channel=Channel(1, f"arn:aws:sns:{REGION}:{ACCOUNT}:AmazonRekognitionModeration", ROLE_ARN),
    intent_at=0.0,
    is_replay=False,
)
CALLS: dict[str, Callable[[Clients], Awaitable[Any]]] = {
    "rekognition": lambda clients: Rekognition(clients.rekognition).start(JOB),
    "sqs": lambda clients: Queue(clients.sqs, QUEUE_URL).receive(),
    "s3": lambda clients: Objects(clients.s3).head(Object("archive", "a.mp4")),
}
"""Service -> a call of the worker."""


async def test_each_service_is_called_at_aws(astray: None, proxy: Listener, monkeypatch: pytest.MonkeyPatch):
    """Rekognition, SQS and S3 are called at AWS, whatever the environment and the profile say."""
    set_keys(monkeypatch)
    async with small_aws() as aws, open_clients(a_lane(endpoints={"sts": aws.url})) as clients:
        for service, call in CALLS.items():
            proxy.heard.clear()
            with pytest.raises(AwsError):
                await call(clients)
            assert proxy.hosts == {AWS[service]}
        assert aws.calls == ["GetCallerIdentity"]


@pytest.mark.parametrize("lane", [a_lane(), a_lane(profile="keys"), a_lane(role_arn=ROLE_ARN)])
async def test_sts_is_asked_at_aws(astray: None, proxy: Listener, monkeypatch: pytest.MonkeyPatch, lane: Lane):
    """Whose account it is, and for the lane's role, is asked of AWS, with keys from the environment or a profile."""
    set_keys(monkeypatch)
    await opened(lane)
    assert proxy.hosts == {AWS["sts"]}


@pytest.mark.parametrize(("profile", "asked"), [("role", "sts"), ("sso", "sso")])
async def test_credentials_of_a_profile_are_asked_for_at_aws(
    astray: None, proxy: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, asked: str
):
    """What the SDK itself calls for a profile, its role or its sign-in, goes to AWS too: a token is sent with it."""
    sign_in(tmp_path, monkeypatch)
    await opened(a_lane(profile=profile))
    assert proxy.hosts == {AWS[asked]}


async def test_a_web_identity_is_shown_to_aws(
    astray: None, proxy: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The token by which a pod proves who it is goes to AWS."""
    show_identity(tmp_path, monkeypatch)
    await opened(a_lane())
    assert proxy.hosts == {AWS["sts"]}


async def test_buckets_are_looked_up_at_aws(astray: None, proxy: Listener, monkeypatch: pytest.MonkeyPatch):
    """The client by which sources are registered heeds neither variables nor profiles."""
    set_keys(monkeypatch)
    for lane in (a_lane(), a_lane(profile="keys")):
        async with AsyncExitStack() as stack:
            with pytest.raises(AwsError):
                await Objects(await bucket_requests(lane, None, stack)).region_of("archive")
    assert proxy.hosts == {AWS["s3"]}


@pytest.mark.parametrize(
    ("variable", "host"),
    [
        ("AWS_USE_FIPS_ENDPOINT", f"sts-fips.{REGION}.amazonaws.com"),
        ("AWS_USE_DUALSTACK_ENDPOINT", f"sts.{REGION}.api.aws"),
    ],
)
async def test_variants_of_awss_own_endpoints_are_heeded(
    astray: None, proxy: Listener, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
):
    """FIPS and IPv6 may be asked for by the environment: they are AWS's endpoints all the same."""
    set_keys(monkeypatch)
    monkeypatch.setenv(variable, "true")
    await opened(a_lane())
    assert proxy.hosts == {host}


@pytest.mark.parametrize("way", ["role", "web identity"])
async def test_the_config_files_endpoints_are_for_the_sdk_too(
    astray: None, proxy: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    """What the SDK itself asks STS, of a profile or with a web identity, it asks where the config file says."""
    if way == "web identity":
        show_identity(tmp_path, monkeypatch)
    async with listening() as configured:
        for endpoints in ({"endpoint_url": configured.url}, {"endpoints": {"sts": configured.url}}):
            configured.heard.clear()
            await opened(a_lane(profile="role" if way == "role" else None, **endpoints))
            assert configured.heard == ["POST / HTTP/1.1"]
    assert proxy.heard == []


@pytest.mark.parametrize("role_arn", [None, ROLE_ARN])
async def test_the_config_files_endpoints_are_called(
    astray: None, proxy: Listener, monkeypatch: pytest.MonkeyPatch, role_arn: str | None
):
    """What the config file names is called, for all services or for one, and AWS is not."""
    set_keys(monkeypatch)
    async with listening() as configured:
        await opened(a_lane(endpoint_url=configured.url, role_arn=role_arn))
        await opened(a_lane(endpoints={"sts": configured.url}, role_arn=role_arn))
        async with AsyncExitStack() as stack:
            s3 = await bucket_requests(a_lane(endpoints={"s3": configured.url}), None, stack)
            await Objects(s3).region_of("archive")
        assert configured.heard == ["POST / HTTP/1.1", "POST / HTTP/1.1", "HEAD /archive HTTP/1.1"]
    assert proxy.heard == []


async def test_commands_call_aws(site: Site, environment: dict[str, str], proxy: Listener):
    """A real process that registers a prefix, then one that works, call AWS and nobody else."""
    site.sections["lanes.main"] = {
        "region": REGION,
        "queue_url": QUEUE_URL,
        "sns_topic_arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:AmazonRekognitionModeration",
        "publish_role_arn": ROLE_ARN,
    }
    site.configure()
    enqueue = site.start("enqueue", "s3://archive/", environment=environment | KEYS)
    ended = await asyncio.to_thread(finished, enqueue)
    assert ended.returncode == 2
    assert "bucket archive cannot be looked up over lane main" in ended.stderr
    assert proxy.hosts == {AWS["s3"]}
    run = site.start("run", environment=environment | KEYS)
    async with asyncio.timeout(30):
        while AWS["sts"] not in proxy.hosts:
            await asyncio.sleep(0.02)
    run.terminate()
    assert (await asyncio.to_thread(finished, run)).returncode == 0


PLAIN = "write https://…; plain http is for this machine only (127.0.0.1, [::1], localhost)"
URL_KEYS = [
    "lanes.main.endpoint_url",
    "lanes.main.queue_url",
    *(f"lanes.main.endpoints.{service}" for service in SERVICES),
    *(f"local.endpoints.{service}" for service in ("s3", "sns")),
]


def mistakes(tmp_path: Path, key: str, url: str) -> list[str]:
    """What is said of that key in a config file where it is this URL."""
    path = tmp_path / "worker.toml"
    sections: Sections = {"lanes.main": {"region": REGION, "endpoint_url": "https://vpce-1.example"}}
    table, _, name = key.rpartition(".")
    sections.setdefault(table, {})[name] = url
    path.write_text(toml(sections))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    return [mistake.advice for mistake in caught.value.mistakes if mistake.path == key]


@pytest.mark.parametrize("key", URL_KEYS)
def test_plain_http_is_for_this_machine_only(tmp_path: Path, key: str):
    """No key takes a URL whose calls others on the way could read, or that holds a password; loopback is fine."""
    for host in (
        "sqs.us-east-1.amazonaws.com",
        "10.0.0.7",
        "0.0.0.0",
        "127.0.0.1.example",
        "localhost.example",
        "[fe80::1]",
    ):
        (said,) = mistakes(tmp_path, key, f"http://{host}:4566/1/main")
        assert said.endswith(PLAIN)
    for url in ("http://user:hidden@127.0.0.1/", "http://10.0.0.7\\@127.0.0.1/", "http://127.0.0.1:80@10.0.0.7/"):
        (said,) = mistakes(tmp_path, key, url)
        assert said == "is wrong; write the URL without a user and password; credentials come from profile or role_arn"
    for url in ("ftp://127.0.0.1/", "//127.0.0.1/", "127.0.0.1:80", "http://", "http:/127.0.0.1/"):
        (said,) = mistakes(tmp_path, key, url)
        assert "write a URL, such as" in said
    for url in (
        "http://127.0.0.1:1/1/main",
        "http://127.9.9.9/",
        "http://[::1]:1/",
        "http://LOCALHOST:1/",
        "https://10.0.0.7/",
    ):
        assert mistakes(tmp_path, key, url) == []
