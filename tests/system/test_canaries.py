"""Secrets stay where they were put: canaries in every place that holds one, looked for in everything that is written.

The processes are real. The service that they call repeats what it was sent, headers and all, as AWS does when it finds
a signature wrong, and cuts the answer short in which it gives out credentials.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anyio.from_thread import BlockingPortal

from tests.postgres import THROWAWAY, connected
from tests.system.desk import Desk
from tests.system.processes import WorkerProcess
from tests.system.site import ROOT, Sections, Site, finished, until
from tests.system.small_aws import ACCOUNT, REGION
from tests.system.truth import rows_in
from worker.store.embedded import embedded_postgres

MARK = "cnry"  # in every canary; matched in any case
DATABASE_PASSWORD = "cnry-Database%2F0f1e2d3c"
HTTP_TOKEN = "cnry-http-7a6b5c4d3e2f"
EXTERNAL_ID = "cnry-external-0a9b8c7d"
SECRET_KEY = "cnrySecretAccessKey/0123456789+abcdefghijk"
SESSION_TOKEN = "cnrySessionToken//FwoGZXIvYXdzEBYaDEXAMPLE=="
PROFILE_KEY = "cnryProfileSecret/0123456789+abcdefghijklm"
GIVEN_KEY = "cnryGivenSecret/0123456789+abcdefghijklmno"
ACCESS_KEY = "AKIACNRY0123456789AB"
SIGNATURE = "X-Amz-Credential=AKIACNRY0123456789AB%2F20260101&X-Amz-Signature=cnry0123456789abcdef"
PRESIGNED = f"https://archive.s3.amazonaws.com/a.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&{SIGNATURE}"
IDENTITY = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\
<GetCallerIdentityResult><Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""
CUT_SHORT = f"""<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>\
<SecretAccessKey>{GIVEN_KEY}</SecretAccessKey><SessionToken>{SESSION_TOKEN}"""


def leaks(*texts: str) -> list[str]:
    """What stands around each canary."""
    places = [(text, text.lower().find(MARK)) for text in texts]
    return [text[max(0, at - 200) : at + 60] for text, at in places if at >= 0]


async def kept(database_url: str) -> list[str]:
    """Every row of every table and view, as text."""
    tables = await rows_in(database_url, "select table_name from information_schema.tables where table_schema='public'")
    queries = [f'select "{name}"::text from "{name}"' for (name,) in tables]
    return [str(row[0]) for query in queries for row in await rows_in(database_url, query)]


def written(site: Site) -> list[str]:
    """Every file that the processes have left; not those that were put there with canaries, nor the queue itself."""
    given = {site.config_file, site.folder / "aws-config", site.folder / "videos.csv"}
    files = [
        path for path in site.folder.rglob("*") if path.is_file() and path not in given and "sqlite" not in path.name
    ]
    return [path.read_bytes().decode(errors="replace") for path in files]


def outputs(site: Site, environment: dict[str, str], *commands: str) -> list[str]:
    """What the commands print, in both streams."""
    ended = [site.run(*command.split(), environment=environment) for command in commands]
    return [text for process in ended for text in (process.stdout, process.stderr)]


LOOKING = (
    "status",
    "status --json",
    "verify",
    "config show",
    "config check",
    "labels synthetic-edge-cases/one-page.mp4",
)


class Repeater:
    """Answers every call with what it was sent; `code` is how it refuses."""

    def __init__(self) -> None:
        self.url = ""
        self.code = "InvalidSignatureException"
        self.gives_credentials = False
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        """One request of any of the services."""
        body = await request.text()
        headers = "\n".join(f"{name.lower()}:{value}" for name, value in request.headers.items())
        said = f"The Canonical String should have been '{request.method}\n{headers}\n{body}', see {PRESIGNED}"
        if target := request.headers.get("X-Amz-Target"):
            return self._refuse_json(target, said)
        if "Action=GetCallerIdentity" in body:
            return web.Response(text=IDENTITY, content_type="text/xml")
        if "Action=AssumeRole" in body:
            return self._assume_role(said)
        if request.method == "HEAD":
            return web.Response(headers={"ETag": '"0123"', "Content-Length": "1000", "x-amz-bucket-region": REGION})
        return self._refuse_xml(said)

    def _refuse_json(self, target: str, said: str) -> web.Response:
        self.asked.append(target.rpartition(".")[2])
        refusal = {"__type": self.code, "message": said}
        return web.json_response(refusal, status=400, content_type="application/x-amz-json-1.1")

    def _assume_role(self, said: str) -> web.Response:
        self.asked.append("AssumeRole")
        if self.gives_credentials:
            return web.Response(text=CUT_SHORT, content_type="text/xml")
        return self._refuse_xml(said)

    def _refuse_xml(self, said: str) -> web.Response:
        error = f"<Code>SignatureDoesNotMatch</Code><Message><![CDATA[{said}]]></Message>"
        text = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
        return web.Response(status=403, text=text, content_type="text/xml")


@asynccontextmanager
async def repeating() -> AsyncIterator[Repeater]:
    """Run one on a free port."""
    repeater = Repeater()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", repeater.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        repeater.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield repeater
    finally:
        await runner.cleanup()


@pytest.fixture
def aws(portal: BlockingPortal) -> Iterator[Repeater]:
    """A service that repeats what it hears."""
    with portal.wrap_async_context_manager(repeating()) as aws:
        yield aws


@pytest.fixture
def environment(site: Site) -> dict[str, str]:
    """Variables with canaries, and an AWS config file with more of them."""
    config = site.folder / "aws-config"
    keys = f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {PROFILE_KEY}"
    config.write_text(f"[profile archive]\n{keys}\naws_session_token = {SESSION_TOKEN}\n")
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config) + ".none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PGPASSWORD": "cnry-pgpassword-0f1e",
        "MODWORKER_WORKER__HTTP_TOKEN": HTTP_TOKEN,
    }


@pytest.fixture(autouse=True)
def planted(site: Site) -> None:
    """Canaries in the config file."""
    with_password = site.database_url.replace("modworker@", f"modworker:{DATABASE_PASSWORD}@")
    assert with_password != site.database_url
    site.configure(
        database={"url": with_password},
        worker={"http_token": f"{HTTP_TOKEN}-of-the-file", "probe_seconds": 0.2},
        lanes__main={"external_id": EXTERNAL_ID},
    )


def remote_lane(site: Site, aws: Repeater, **changes: Any) -> None:
    """A real lane, on the service that repeats."""
    site.sections["lanes.main"] = {
        "region": REGION,
        "queue_url": f"{aws.url}/{ACCOUNT}/main",
        "sns_topic_arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:AmazonRekognitionModeration",
        "publish_role_arn": f"arn:aws:iam::{ACCOUNT}:role/rekognition-publish",
        "endpoint_url": aws.url,
        "external_id": EXTERNAL_ID,
        **changes,
    }
    site.configure()


def manifest(site: Site, *rows: str) -> str:
    """A manifest with these rows."""
    path = site.folder / "videos.csv"
    path.write_text("".join(f"{row}\n" for row in rows))
    return str(path)


def stopped(process: WorkerProcess) -> list[str]:
    """What a process has printed that is told to stop."""
    process.terminate()
    done = finished(process)
    return [done.stdout, done.stderr]


def everything(site: Site, portal: BlockingPortal, environment: dict[str, str]) -> list[str]:
    """What can be seen from outside afterwards: by the commands that look, in the database, in files."""
    return [
        *outputs(site, environment, "status", "status --json"),
        *portal.call(kept, site.database_url),
        *written(site),
    ]


def test_a_backfill_that_goes_well_tells_no_secret(site: Site, portal: BlockingPortal, environment: dict[str, str]):
    """Registering, working, every command that looks, the pages over HTTP, the database and all files."""
    site.configure(worker={"http_listen": "127.0.0.1:0"})
    site.service()
    site.client("sqs").send_message(QueueUrl=site.lane().queue_url, MessageBody=f"no JSON: {PRESIGNED}")
    videos = manifest(
        site, "synthetic-edge-cases,one-page.mp4", f"{PRESIGNED},a.mp4", f"synthetic-archive,{'x' * 2000}"
    )
    registered = outputs(site, environment, f"enqueue {videos} --name well", f"enqueue {PRESIGNED}")
    worker = site.start("run", environment=environment)
    said = [until(worker.stderr.readline)]
    while "health and metrics are served" not in said[-1]:
        said.append(worker.stderr.readline())
    url = json.loads(said[-1])["url"]
    until(lambda: portal.call(rows_in, site.database_url, "select from video_status where state = 'done'"))
    until(lambda: portal.call(rows_in, site.database_url, "select from notice_quarantine"))
    pages = []
    for page in ("metrics", "healthz", "readyz"):
        with urllib.request.urlopen(f"{url}/{page}", timeout=10) as response:
            pages.append(f"{response.headers}{response.read().decode()}")
    assert "modworker_calls_total" in pages[0]
    seen = [*outputs(site, environment, *LOOKING), *everything(site, portal, environment)]
    assert leaks(*registered, *said, *stopped(worker), *pages, *seen) == []
    assert "X-Amz-Signature=***" in "".join(seen)  # of the message that was put aside
    assert "postgresql://modworker:***@" in "".join(seen)


def test_refusals_that_repeat_the_request_tell_no_secret(
    site: Site, portal: BlockingPortal, aws: Repeater, environment: dict[str, str]
):
    """A session token in AWS's own words is masked before it is logged, shown, reported of a lane or kept of a job."""
    remote_lane(site, aws)
    videos = manifest(site, "archive,a.mp4", "archive,b.mp4")
    said = outputs(site, environment, f"enqueue {videos} --name refused", "enqueue s3://archive/2026/")
    aws.code = "ValidationException"
    worker = site.start("run", environment=environment)
    until(lambda: len(portal.call(rows_in, site.database_url, "select from job where state = 'failed'")) == 2)
    aws.code = "InvalidSignatureException"
    (site.folder / "videos.csv").write_text("archive,c.mp4\n")
    said += outputs(site, environment, f"enqueue {videos} --name refused")
    denied = "select from lane where report->>'denied' is not null"
    until(lambda: portal.call(rows_in, site.database_url, denied))
    seen = everything(site, portal, environment)
    assert leaks(*said, *seen, *stopped(worker)) == []
    reasons = portal.call(rows_in, site.database_url, "select reason from job where state = 'failed'")
    assert "x-amz-security-token:***" in reasons[0]["reason"]
    assert "The Canonical String" in "".join(seen)


@pytest.mark.parametrize("gives_credentials", [True, False], ids=["cut short", "refused"])
def test_credentials_that_cannot_be_had_tell_no_secret(
    site: Site, portal: BlockingPortal, aws: Repeater, environment: dict[str, str], gives_credentials: bool
):
    """The keys of a profile, the external id, and credentials in an answer that ends too early are written nowhere."""
    aws.gives_credentials = gives_credentials
    remote_lane(site, aws, profile="archive", role_arn=f"arn:aws:iam::{ACCOUNT}:role/moderation")
    said = outputs(site, environment, f"enqueue {manifest(site, 'archive,a.mp4')} --name refused")
    worker = site.start("run", environment=environment)
    until(lambda: aws.asked.count("AssumeRole") > 2)
    said += stopped(worker)
    assert leaks(*said, *everything(site, portal, environment)) == []
    assert "SecretAccessKey>***" in "".join(said) or not gives_credentials


UNREADABLE = [
    "postgresql://bob:a/cnry@127.0.0.1:1/labels",
    "postgresql://bob:1234#cnry@127.0.0.1:1/labels",
    "postgresql://bob:a?cnry@127.0.0.1:1/labels",
    "postgresql://bob:[cnry@127.0.0.1:1/labels",
    "postgresql://bob:cnry:1/labels",
    "postgresql://bob:@cnry@127.0.0.1:1/labels",
    "postgresql://bob@127.0.0.1:1/labels?passwort=cnry",
    "postgresql://bob@127.0.0.1:1/labels?password=cnry&sslmode=cnry-is-none",
]


def test_a_database_url_that_cannot_be_read_tells_no_part_of_itself(site: Site):
    """A password with characters that mean something else in a URL shows in no complaint, whole or in part."""
    for url in UNREADABLE:
        environment = {"MODWORKER_DATABASE__URL": url}
        said = outputs(site, environment, "status", "config show", "config check")
        assert "cannot be reached" in said[1]
        assert leaks(*(text.replace("sslmode=cnry-is-none", "") for text in said)) == []


PASSWORDS_ASKED_FOR = "local all modworker trust\nlocal all all scram-sha-256\n"


@asynccontextmanager
async def guarded_server(folder: Path) -> AsyncIterator[str]:
    """A server of this test's own that asks the role `bob` for a password; yields bob's URL without one."""
    async with embedded_postgres(folder, THROWAWAY) as url:
        (folder / "postgres" / "data" / "pg_hba.conf").write_text(PASSWORDS_ASKED_FOR)
        async with connected(url) as superuser:
            await superuser.execute("create role bob login password 'another'")
            await superuser.execute("select pg_reload_conf()")
        yield url.replace("modworker@", "bob@")


def test_a_wrong_database_password_is_not_told(site: Site, portal: BlockingPortal, tmp_path: Path):
    """The server refuses a password in the URL, in its query, or from the environment: the role is named, no more."""
    with portal.wrap_async_context_manager(guarded_server(tmp_path / "guarded")) as url:
        for wrong, environment in (
            (url.replace("bob@", f"bob:{DATABASE_PASSWORD}@"), {}),
            (f"{url}&password={DATABASE_PASSWORD}", {}),
            (url, {"PGPASSWORD": DATABASE_PASSWORD}),
        ):
            site.configure(database={"url": wrong})
            for command in ("status", "run"):
                ended = site.run(command, environment=environment)
                assert ended.returncode == 2
                assert 'password authentication failed for user "bob"' in ended.stderr
                assert leaks(ended.stdout, ended.stderr) == []


NUMBER = 4242424242  # a secret that was written without quotes
MISTAKES: list[Sections] = [
    {"database": {"url": "mysql://bob:cnry@db/labels"}},
    {"database": {"url": "cnry"}},
    {"database": {"url": 5, "password": "cnry"}},
    {"": {"database": "postgresql://bob:cnry@db/labels"}},
    {"worker": {"http_token": ["cnry"]}},
    {"worker": {"http_token": NUMBER}},
    {"worker": {"http_tokem": "cnry"}},
    {"worker": {"http_listen": "http://bob:cnry@0.0.0.0"}},
    {"worker": {"lease_seconds": "token=cnry"}},
    {"lanes.main": {"region": REGION, "endpoint_url": "https://bob:cnry@sqs.example/"}},
    {"lanes.main": {"region": REGION, "endpoint_url": f"https://sqs.example/?{SIGNATURE}"}},
    {"lanes.main": {"region": REGION, "endpoint_url": "local", "queue_url": f"https://sqs.example/?{SIGNATURE}"}},
    {"lanes.main": {"region": REGION, "endpoint_url": "local", "external_id": ["cnry"]}},
    {"lanes.main": {"region": REGION, "endpoint_url": "local", "external_id": NUMBER, "external": "cnry"}},
    {"lanes.main": {"region": REGION, "endpoint_url": "local", "aws_secret_access_key": SECRET_KEY}},
]
VARIABLES = [
    {"MODWORKER_DATABASE__PASSWORD": "cnry"},
    {"MODWORKER_DATABASE": "postgresql://bob:cnry@db/labels"},
    {"MODWORKER_WORKER__HTTP_TOKEN__X": "cnry"},
    {"MODWORKER_LANES__MAIN__SECRET_ACCESS_KEY": SECRET_KEY},
]


def test_mistakes_of_a_configuration_repeat_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What looks like a secret, or stands where one belongs, is called wrong and not quoted."""
    desk = Desk(tmp_path, capsys, {})
    sound: Sections = {"lanes.main": {"region": REGION, "endpoint_url": "local"}}
    with pytest.MonkeyPatch.context() as patch:
        for sections in MISTAKES:
            desk.sections = {**sections, **({} if "lanes.main" in sections else sound)}
            for command in (("config", "check"), ("config", "show"), ("status",)):
                assert desk.run(*command) in (1, 2)
                assert leaks(desk.out, desk.err) == []
                assert str(NUMBER) not in desk.err
        desk.sections = sound
        for variables in VARIABLES:
            for name, value in variables.items():
                patch.setenv(name, value)
            assert desk.run("config", "check") == 1
            assert leaks(desk.out, desk.err) == []
            patch.undo()


CRASH = """
import asyncio, logging, os, sys, threading
from worker import cli
from worker.app import Application

everything = f"{dict(os.environ)} {sys.argv}"

async def lanes(application, settings):
    secrets = [settings.database.url.get_secret_value(), settings.lanes["main"].external_id.get_secret_value(),
               settings.worker.http_token.get_secret_value()]
    logging.getLogger("botocore").setLevel("DEBUG")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        for secret in [*secrets, everything]:
            logging.getLogger("botocore.auth").log(level, "signing with %s", secret)
            logging.getLogger("aiohttp.client").log(level, "failed", exc_info=RuntimeError(secret))
    threading.Thread(target=lambda: 1 / len(""), name=secrets[1]).start()
    asyncio.get_running_loop().call_soon(fail, *secrets)
    await asyncio.sleep(0)
    try:
        try:
            raise ValueError(*secrets, everything)
        except ValueError as error:
            raise KeyError(*secrets) from error
    except KeyError:
        raise ExceptionGroup(secrets[0], [RuntimeError(everything), OSError(5, secrets[1])])

def fail(*secrets):
    raise RuntimeError(*secrets)

Application.register_lanes = lanes
cli.main()
"""


def test_a_fault_of_the_program_tells_no_secret(site: Site, environment: dict[str, str]):
    """A stack trace holds every secret there is, in chained and grouped exceptions; so do the records of libraries."""
    command = [sys.executable, "-c", CRASH, "run", "--config", str(site.config_file)]
    kept_variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MODWORKER_"))}
    ended = subprocess.run(
        command, cwd=ROOT, env=kept_variables | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 3
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert "a fault of the program" in lines[-1]["event"]
    assert "KeyError" in lines[-1]["exception"]
    assert "ValueError" in lines[-1]["exception"]
    assert [line["level"] for line in lines if line.get("logger") == "botocore.auth"][::4] == [
        "warning",
        "error",
        "critical",
    ]
    assert any(line.get("thread") == "***" for line in lines)
    assert leaks(ended.stdout, ended.stderr) == []
