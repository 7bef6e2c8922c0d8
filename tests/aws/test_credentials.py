"""Credentials that change while a worker runs: new keys are found, keys that expire are renewed before they do."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anyio.from_thread import BlockingPortal

from tests.system.desk import Desk
from tests.system.site import Site, finished, until
from tests.system.small_aws import ACCOUNT, STS, SmallAws, serving
from worker.aws.credentials import REREAD_SECONDS
from worker.aws.rekognition import Rekognition
from worker.aws.session import Clients, open_clients
from worker.config import Lane
from worker.errors import AwsError, Verdict
from worker.model import Channel, Job

OTHER_ACCOUNT = "210987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/moderation"
JOB = Job(1, "mw1.0", "0" * 64, "archive", "a.mp4", None, 50.0, Channel(1, "arn:t", "arn:r"), 0.0, is_replay=False)
REFRESH_SECONDS = 600  # before they expire credentials must be renewed, says botocore
_KEY = re.compile(r"Credential=([^/]+)/")


class KeyedAws(SmallAws):
    """Knows keys: `accounts` holds those that are good, and the account of each."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = {"AKIAOLD": ACCOUNT}
        self.good_until: dict[str, float] = {}
        self.stated_seconds = 3600.0
        self.true_seconds = 3600.0
        self.refused: list[str] = []
        self.identities = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Answer those whose key is good."""
        form = await request.post() if request.method == "POST" and "X-Amz-Target" not in request.headers else {}
        self.identities += form.get("Action") == "GetCallerIdentity"
        if form.get("Action") == "AssumeRoleWithWebIdentity":
            return self._assumed(str(form["Action"]))
        match = _KEY.search(request.headers.get("Authorization", ""))
        key = match[1] if match else ""
        if key not in self.accounts or time.monotonic() > self.good_until.get(key, float("inf")):
            self.refused.append(key)
            return self._refusal(request)
        if form.get("Action") == "AssumeRole":
            return self._assumed("AssumeRole")
        if form.get("Action") == "GetCallerIdentity":
            return _result("GetCallerIdentity", f"<Account>{self.accounts[key]}</Account>")
        return await super().answer(request)

    def _assumed(self, action: str) -> web.Response:
        key = f"ASIA{len(self.good_until)}"
        self.accounts[key] = ACCOUNT
        self.good_until[key] = time.monotonic() + self.true_seconds
        expires_at = datetime.now(UTC) + timedelta(seconds=self.stated_seconds)
        credentials = (
            f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
            f"<SessionToken>token</SessionToken><Expiration>{expires_at:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
        )
        user = f"<AssumedRoleUser><AssumedRoleId>A:m</AssumedRoleId><Arn>{ROLE}/m</Arn></AssumedRoleUser>"
        return _result(action, f"<Credentials>{credentials}</Credentials>{user}")

    @staticmethod
    def _refusal(request: web.Request) -> web.Response:
        if "X-Amz-Target" in request.headers:
            refusal = {"__type": "UnrecognizedClientException", "message": "The security token is invalid"}
            return web.json_response(refusal, status=400, content_type="application/x-amz-json-1.1")
        error = "<Error><Code>InvalidClientTokenId</Code><Message>The security token is invalid</Message></Error>"
        return web.Response(
            text=f'<ErrorResponse xmlns="{STS}">{error}</ErrorResponse>', status=403, content_type="application/xml"
        )


def _result(action: str, inner: str) -> web.Response:
    text = f'<{action}Response xmlns="{STS}"><{action}Result>{inner}</{action}Result></{action}Response>'
    return web.Response(text=text, content_type="application/xml")


@pytest.fixture
async def aws() -> AsyncIterator[KeyedAws]:
    async with serving(KeyedAws()) as aws:
        yield aws


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Writes a key into the shared credentials file."""
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(key: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n" if key else "")

    write("AKIAOLD")
    return write


@asynccontextmanager
async def opened(aws: KeyedAws, **changes: Any) -> AsyncIterator[Clients]:
    async with open_clients(Lane(**aws.lane(**changes))) as clients:
        yield clients


async def start(clients: Clients) -> str:
    """The JobId, or the verdict and code of the refusal."""
    try:
        return await Rekognition(clients.rekognition).start(JOB)
    except AwsError as error:
        return f"{error.verdict.name} {error.code}"


async def first_other_than(clients: Clients, outcome: str) -> str:
    """What comes of a call once it is not that any more."""
    async with asyncio.timeout(10):
        while (now := await start(clients)) == outcome:
            await asyncio.sleep(0.05)
    return now


async def test_new_keys_in_the_file_are_found_without_a_restart(aws: KeyedAws, keep: Callable[[str], object]):
    """Once the old keys are refused the file is read again, until it has keys that are good."""
    async with opened(aws) as clients:
        assert (await start(clients)).startswith("job-")
        del aws.accounts["AKIAOLD"]
        aws.accounts["AKIANEW"] = ACCOUNT
        assert await start(clients) == "STOP_LANE UnrecognizedClientException"
        keep("")
        assert (
            await first_other_than(clients, "STOP_LANE UnrecognizedClientException") == "STOP_LANE NoCredentialsError"
        )
        keep("AKIANEW")
        assert (await first_other_than(clients, "STOP_LANE NoCredentialsError")).startswith("job-")


async def test_keys_of_another_account_are_not_used(aws: KeyedAws, keep: Callable[[str], object]):
    """A Start replayed in another account would pay again: its keys stop the lane, and no call is made with them."""
    async with opened(aws) as clients:
        assert clients.account_id == ACCOUNT
        del aws.accounts["AKIAOLD"]
        aws.accounts["AKIAOTHER"] = OTHER_ACCOUNT
        keep("AKIAOTHER")
        before = aws.calls.count("StartContentModeration")
        assert await first_other_than(clients, "STOP_LANE UnrecognizedClientException") == "STOP_LANE OtherAccount"
        assert aws.calls.count("StartContentModeration") == before


async def test_many_refusals_lead_to_few_readings(aws: KeyedAws, keep: Callable[[str], object]):
    """However many calls are refused at once, credentials are read anew, and their account asked for, once a while."""
    async with opened(aws) as clients:
        del aws.accounts["AKIAOLD"]
        before, begun_at = aws.identities, time.monotonic()
        while (passed_seconds := time.monotonic() - begun_at) < 2 * REREAD_SECONDS:
            await asyncio.gather(*(start(clients) for _ in range(20)))
    assert len(aws.refused) > 1
    assert 0 < aws.identities - before <= passed_seconds / REREAD_SECONDS + 1


@pytest.mark.parametrize("is_web_identity", [False, True])
async def test_assumed_roles_are_renewed_before_they_expire(
    aws: KeyedAws,
    keep: Callable[[str], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_web_identity: bool,
):
    """Calls go on beyond the life of the first credentials, and none of them is denied."""
    aws.true_seconds = 4.0
    aws.stated_seconds = REFRESH_SECONDS + 2.0  # to be renewed two seconds later, two before they are of no use
    if is_web_identity:
        keep("")
        (tmp_path / "token").write_text("a token of the cluster's")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    async with opened(aws, **({} if is_web_identity else {"role_arn": ROLE})) as clients:
        until_seconds = time.monotonic() + aws.true_seconds + 1.0
        while time.monotonic() < until_seconds:
            assert (await start(clients)).startswith("job-")
            await asyncio.sleep(0.05)
    assert aws.refused == []
    assert len(aws.good_until) >= 2


async def test_role_that_cannot_be_assumed_stops_the_lane(aws: KeyedAws, keep: Callable[[str], object]):
    """Whatever is wrong with credentials, no job fails for it."""
    aws.stated_seconds = -10.0  # expired when they come
    with pytest.raises(AwsError) as caught:
        async with opened(aws, role_arn=ROLE):
            pass
    assert caught.value.verdict is Verdict.STOP_LANE


@pytest.fixture
def outer_aws(portal: BlockingPortal) -> Iterator[KeyedAws]:
    with portal.wrap_async_context_manager(serving(KeyedAws())) as aws:
        yield aws


def test_worker_goes_on_with_new_keys(
    outer_aws: KeyedAws,
    site: Site,
    keep: Callable[[str], object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    """A worker whose keys are refused stops its lane, and starts what waits once the file has good ones."""
    site.sections["lanes.main"] = outer_aws.lane()
    site.configure(worker={"probe_seconds": 0.2})
    desk = Desk(site.folder, capsys, site.sections)
    assert desk.run("enqueue", "s3://archive/a") == 0
    files = {name: str(tmp_path / name) for name in ("credentials", "config")}
    worker = site.start(
        "run", environment={"AWS_SHARED_CREDENTIALS_FILE": files["credentials"], "AWS_CONFIG_FILE": files["config"]}
    )
    until(lambda: "StartContentModeration" in outer_aws.calls)
    del outer_aws.accounts["AKIAOLD"]
    assert desk.run("enqueue", "s3://archive/b") == 2  # nor may anybody else
    outer_aws.accounts["AKIANEW"] = ACCOUNT
    keep("AKIANEW")
    assert desk.run("enqueue", "s3://archive/", "--name", "archive-a") == 0
    until(lambda: outer_aws.calls.count("StartContentModeration") == 3)
    worker.terminate()
    assert finished(worker).returncode == 0
