"""The edge cases of the protocol, each as its rule says, with real processes over the local service."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.system.checker import findings
from tests.system.site import Site, finished, jobs_faster, until
from tests.system.truth import rows_in, starts_by_object, states_in

ARCHIVE = "s3://synthetic-archive/"
VIDEOS = 30
START = "StartContentModeration"
GET = "GetContentModeration"


@pytest.fixture
def edge(site: Site):
    """A site with a small archive."""
    site.configure(local={"videos": VIDEOS} | jobs_faster(60), worker={"probe_seconds": 1, "lease_seconds": 10})
    site.service()
    return site


async def backfilled(site: Site, **plan: Any) -> str:
    """Run a backfill under a fault plan; its log, once the books of both sides were found true."""
    site.put_faults(plan)
    done = site.run("backfill", ARCHIVE)
    assert done.returncode in (0, 1), done.stderr
    site.put_faults({})
    assert await findings(site, registered=VIDEOS) == []
    return done.stderr


async def worked_through(site: Site, **plan: Any) -> str:
    """Let a worker that goes on whatever happens settle the archive; its log, once the books were found true."""
    site.run("enqueue", ARCHIVE)
    site.put_faults(plan)
    worker = site.start("run")
    await _until_final(site)
    worker.terminate()
    stopped = finished(worker)
    site.put_faults({})
    assert await findings(site, registered=VIDEOS) == []
    return stopped.stderr


async def _until_final(site: Site) -> None:
    async with asyncio.timeout(90):
        while (states := await states_in(site.database_url))["pending"] or states["active"]:
            await asyncio.sleep(0.2)


async def execute(site: Site, sql: str) -> None:
    connection = await asyncpg.connect(site.database_url)
    await connection.execute(sql)
    await connection.close()


async def reasons(site: Site) -> Counter[tuple[str, str | None]]:
    """(state, reason) of the videos."""
    rows = await rows_in(site.database_url, "select state, reason from video_status")
    return Counter((row["state"], row["reason"]) for row in rows)


async def test_edge_case_notices_doubled_and_reordered(edge: Site):
    """Copies and late copies of notices change nothing: the truth is the Get."""
    late = [{"fault": "late", "share": 0.4, "seconds": seconds} for seconds in (0.3, 0.7)]
    await backfilled(edge, notices=[{"fault": "doubled", "copies": 5}, *late])


@pytest.mark.parametrize("status", ["FAILED", "ERROR"])
async def test_edge_case_notice_of_a_failure(edge: Site, status: str):
    """FAILED and ERROR in a notice only say that it is time to ask; the job is bought once more, and then is done."""
    await backfilled(edge, jobs=[{"status": status, "times": 3}])
    assert Counter(starts_by_object(edge).values())[2] >= 3
    assert (await states_in(edge.database_url))["failed"] <= 1  # the archive's own


async def test_edge_case_failed_again(edge: Site):
    """A job that FAILS is bought as often as max_generations allows, and then its video is failed with the reason."""
    edge.configure(moderation={"max_generations": 3})
    key = "*0001*"
    await backfilled(edge, jobs=[{"status": "FAILED", "message": "Internal server error", "keys": [key]}])
    found = await rows_in(
        edge.database_url, "select generations, reason from video_status where state = 'failed' and generations = 3"
    )
    assert found
    assert all("Internal server error" in row["reason"] for row in found)


async def test_edge_case_notices_lost(edge: Site):
    """Without any notice every job is asked for when it is due."""
    await backfilled(edge, notices=[{"fault": "lost"}])


async def test_edge_case_foreign_message(edge: Site):
    """A message about something else, or about a job that is not ours, is left on the queue; nothing is made of it."""
    sqs = edge.client("sqs")
    sqs.send_message(QueueUrl=edge.lane().queue_url, MessageBody=json.dumps({"order": 7, "JobId": None}))
    log = await backfilled(edge, notices=[{"fault": "foreign", "share": 0.2}])
    assert "foreign message left" in log
    attributes = sqs.get_queue_attributes(QueueUrl=edge.lane().queue_url, AttributeNames=["All"])["Attributes"]
    left = int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])
    assert left >= 1
    assert await rows_in(edge.database_url, "select from notice_quarantine") == []


async def test_edge_case_unreadable_message(edge: Site):
    """A message that nobody can read is put aside with its reason and deleted; its job is asked for when it is due."""
    await backfilled(edge, notices=[{"fault": "unreadable", "share": 0.2}])
    rows = await rows_in(edge.database_url, "select body, reason from notice_quarantine")
    assert rows
    assert all(row["body"] and row["reason"] for row in rows)


async def test_edge_case_intent_older_than_the_tokens_life(edge: Site):
    """An intent without a JobId that is too old to be asked for at no cost is uncertain, and nothing is bought."""
    edge.run("enqueue", ARCHIVE)
    finished(edge.start("run", failpoints={"commit_intents: after": ("kill", 1)}))
    await execute(edge, "update job set intent_at = intent_at - interval '6 days 13 hours'")
    intents = await rows_in(edge.database_url, "select from job")
    done = edge.run("backfill", ARCHIVE)
    assert done.returncode == 1, done.stderr
    states = await states_in(edge.database_url)
    assert states["uncertain"] == len(intents) > 0
    assert edge.ledger()["paid_jobs"] == VIDEOS - len(intents)


async def test_edge_case_token_grows_old_while_the_worker_runs(edge: Site):
    """A Start that cannot be brought to an answer is given up when its token is too old, by the worker itself."""
    edge.configure(aws={"token_seconds": 6})
    edge.put_faults({"calls": [{"fault": "reset", "operations": [START]}]})
    worker = edge.start("backfill", ARCHIVE)
    done = finished(worker)
    assert done.returncode in (1, 3), done.stderr
    assert (await states_in(edge.database_url))["uncertain"] == VIDEOS
    assert edge.ledger()["paid_jobs"] == 0


async def test_edge_case_whole_database_older_than_the_tokens(edge: Site):
    """A database last worked on 8 days ago is refused; one word sets its unsettled videos aside, the other goes on."""
    edge.run("enqueue", ARCHIVE)
    await execute(edge, "update lane set worked_at = clock_timestamp() - interval '8 days'")
    await execute(edge, "update video set registered_at = registered_at - interval '9 days'")
    for command in (["run", "--until-empty"], ["backfill", ARCHIVE]):
        refused = edge.run(*command)
        assert refused.returncode == 2
        assert f"8.0 days ago, and {VIDEOS} videos that are not bought yet are older" in refused.stderr
    assert edge.run("run", "--until-empty", "--restored").returncode == 0
    assert (await states_in(edge.database_url))["uncertain"] == VIDEOS
    assert edge.ledger()["paid_jobs"] == 0
    assert edge.run("backfill", ARCHIVE, "--name", "again").returncode in (0, 1)
    assert edge.ledger()["paid_jobs"] == VIDEOS


async def test_edge_case_results_older_than_their_life(site: Site):
    """Results that nobody read in time have expired: the videos say so, and nothing is bought again."""
    life_seconds = 8.0
    site.configure(
        local={"videos": VIDEOS, "speed": 604_800 / life_seconds, "job_seconds": 1000.0},
        aws={"results_seconds": life_seconds},
    )
    site.service()
    site.put_faults({"calls": [{"fault": "reset", "operations": [GET]}]})
    worker = site.start("backfill", ARCHIVE)
    until(lambda: site.ledger()["paid_jobs"] == VIDEOS, within_seconds=60)
    with pytest.raises(AssertionError):
        until(lambda: worker.poll() is not None, within_seconds=life_seconds + 1)
    site.put_faults({})
    assert finished(worker).returncode == 1
    assert (await states_in(site.database_url))["expired"] == VIDEOS
    assert site.ledger()["paid_jobs"] == VIDEOS


async def test_edge_case_young_job_that_aws_does_not_know(edge: Site):
    """It is the wrong account or region: the lane stops, no job is touched, and it goes on when it was mended."""
    unknown = {"fault": "error", "code": "ResourceNotFoundException", "operations": [GET], "times": 3}
    log = await worked_through(edge, calls=[unknown])
    assert "wrong account or region?" in log
    assert "lane works again" in log
    assert (await states_in(edge.database_url))["expired"] == 0


async def test_edge_case_no_slot_is_free(edge: Site):
    """LimitExceededException costs a video nothing: it is started when the account has a slot again."""
    await backfilled(
        edge,
        calls=[{"fault": "error", "code": "LimitExceededException", "operations": [START], "share": 0.3, "times": 3}],
    )


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "error", "code": "ProvisionedThroughputExceededException"},
        {"fault": "error", "code": "ThrottlingException"},
        {"fault": "error", "code": "InternalServerError", "executed": True},
        {"fault": "reset", "executed": True},
        {"fault": "truncated"},
        {"fault": "malformed"},
    ],
    ids=lambda fault: fault.get("code", fault["fault"]),
)
async def test_edge_case_trouble_that_passes(edge: Site, fault: dict[str, Any]):
    """Throttles, faults of the server and lost answers are tried again under the same token, at no attempt's cost."""
    await backfilled(edge, calls=[{**fault, "operations": [START, GET], "share": 0.2}])
    assert edge.ledger()["paid_jobs"] == len(await rows_in(edge.database_url, "select from job"))


async def test_edge_case_objects_that_rekognition_cannot_get(edge: Site):
    """InvalidS3Object in a row, where HEAD finds the objects: the role or the key is to blame, and the lane waits."""
    hidden = {"fault": "error", "code": "InvalidS3ObjectException", "operations": [START], "times": 12}
    log = await worked_through(edge, calls=[hidden])
    assert "role or KMS key?" in log
    assert "lane works again" in log
    assert (await states_in(edge.database_url))["skipped"] == 0


async def test_edge_case_object_that_rekognition_cannot_get_at_first(edge: Site):
    """One refusal among starts that succeed is tried again."""
    hidden = {"fault": "error", "code": "InvalidS3ObjectException", "operations": [START], "skip": 5, "times": 1}
    await backfilled(edge, calls=[hidden])


async def test_edge_case_refused_by_head_or_by_length(edge: Site):
    """Too large, archived or too long: skipped with the reason, and not bought."""
    manifest = edge.folder / "refused.csv"
    keys = ("over-10-gb.mp4", "archived.mp4", "over-6-hours.mp4", "not-there.mp4")
    manifest.write_text("".join(f"synthetic-edge-cases,{key}\n" for key in keys))
    assert edge.run("backfill", str(manifest)).returncode == 0
    found = await rows_in(edge.database_url, "select key, state, reason from video_status")
    words = dict(zip(keys, ("too large", "archived", "too large", "gone"), strict=True))
    assert {row["key"]: row["state"] for row in found} == dict.fromkeys(keys, "skipped")
    assert all(row["reason"].startswith(words[row["key"]]) for row in found)
    assert edge.ledger()["paid_jobs"] == 0


async def test_edge_case_access_denied_to_everything(edge: Site):
    """While all calls are refused no video changes its state and few calls are made; afterwards all goes on."""
    edge.configure(worker={"probe_seconds": 2}, lanes__main={"start_per_second": 10.0})
    edge.run("enqueue", ARCHIVE)
    worker = edge.start("run")
    until(lambda: edge.ledger()["paid_jobs"] >= 5)
    edge.put_faults({"calls": [{"fault": "error", "code": "AccessDeniedException"}]})
    await _until_calls_end(edge)
    before, calls = await states_in(edge.database_url), _denied(edge)
    with pytest.raises(AssertionError):
        until(lambda: _denied(edge) > calls + 3, within_seconds=5)  # one probe in 2 s
    assert await states_in(edge.database_url) == before
    edge.put_faults({})
    await _until_final(edge)
    worker.terminate()
    assert finished(worker).returncode == 0
    assert await findings(edge, registered=VIDEOS) == []


async def test_edge_case_token_expires_while_objects_are_looked_at(edge: Site):
    """S3 answers HEAD with 400 and no body: the lane stops until it has a good token, and no video is skipped."""
    edge.configure(worker={"probe_seconds": 1})
    edge.put_faults({"calls": [{"fault": "error", "code": "ExpiredToken", "operations": ["HeadObject"]}]})
    edge.run("enqueue", ARCHIVE)
    worker = edge.start("run")
    until(lambda: edge.ledger()["calls"].get("HeadObject", {}).get("ExpiredToken", 0) >= 2)
    edge.put_faults({})
    await _until_final(edge)
    worker.terminate()
    assert finished(worker).returncode == 0
    assert edge.ledger()["paid_jobs"] == VIDEOS
    assert await findings(edge, registered=VIDEOS) == []


async def _until_calls_end(site: Site) -> None:
    """Calls that were under way are answered, and a probe is not due yet."""
    denied = -1
    while denied != (denied := _denied(site)) or not denied:
        await asyncio.sleep(0.5)


def _denied(site: Site) -> int:
    return sum(outcomes.get("AccessDeniedException", 0) for outcomes in site.ledger()["calls"].values())


async def test_edge_case_video_that_kills_the_process(edge: Site):
    """A video at which the process dies again and again is failed as poison; the one beside it is done."""
    manifest = edge.folder / "poison.csv"
    manifest.write_text("synthetic-edge-cases,one-label.mp4\n")
    for _ in range(4):
        finished(edge.start("backfill", str(manifest), failpoints={"HeadObject: before": ("kill", 1)}))
        await execute(edge, "update lane set expires_at = '-infinity'")
    assert edge.run("backfill", str(manifest)).returncode == 1
    assert await reasons(edge) == {("failed", "poison: taken up 4 times without coming to a start"): 1}
    assert edge.ledger()["paid_jobs"] == 0


async def test_edge_case_mass_failure(site: Site):
    """A backfill of which every video fails is paused with a sentence before the whole archive is bought."""
    site.configure(
        local={"videos": 1000} | jobs_faster(60), lanes__main={"start_per_second": 30.0, "concurrent_jobs": 20}
    )
    site.service()
    site.put_faults({"jobs": [{"status": "FAILED", "message": "the file is broken"}]})
    done = site.run("backfill", ARCHIVE, "--name", "films")
    assert done.returncode == 3, done.stderr
    assert "videos failed); `modworker resume films` lets it go on" in done.stderr
    assert 50 <= site.ledger()["paid_jobs"] < 500


async def test_edge_case_disk_nearly_full(tmp_path: Path):
    """While the embedded database has too little room nothing is claimed, and the status says why."""
    with Site(tmp_path, "embedded") as site:
        site.configure(database={"min_free_gb": 1_000_000}, local={"videos": VIDEOS} | jobs_faster(60))
        site.service()
        worker = site.start("backfill", ARCHIVE)
        status = until(lambda: _status_if(site, "is halted"), within_seconds=60)
        assert "GB are free, database.min_free_gb is 1e+06" in status
        assert site.ledger()["paid_jobs"] == 0
        worker.terminate()
        assert finished(worker).returncode == 3
        site.configure(database={"min_free_gb": 0})
        assert site.run("backfill", ARCHIVE).returncode in (0, 1)
        assert site.ledger()["paid_jobs"] == VIDEOS


def _status_if(site: Site, text: str) -> str | None:
    status = site.run("status").stdout
    return status if text in status else None
