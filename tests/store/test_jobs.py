"""Jobs from the intent to their pages or their failure: every statement a fact, harmless to repeat."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from tests.store.steps import MINUTE_MS, Steps, aws_job_id, notices_of, page, seen
from worker.flow.clock import now_seconds
from worker.model import Failure, Notice
from worker.store.jobs import ENOUGH_JOBS, Started


async def job_row(steps: Steps, job_id: int) -> dict[str, Any]:
    """All columns of a job."""
    return dict(await steps.database.pool.fetchrow("select * from job where id = $1", job_id))


async def ready_ids(steps: Steps, lane_id: int, *, in_hand: list[int] | None = None, limit: int = 100) -> list[int]:
    """The ids of the jobs that fetch would take."""
    jobs = await steps.jobs.ready(lane_id, in_hand=in_hand or [], limit=limit, page_token_seconds=60)
    return [job.id for job in jobs]


async def test_confirming_twice_changes_nothing(steps: Steps):
    """The first confirmation stands, whoever repeats it and with whatever due time."""
    owner, backfill = await steps.own(), await steps.backfill()
    jobs = await steps.running(owner, backfill, ["a.mp4", "b.mp4"])
    before = [await job_row(steps, job.id) for job in jobs]
    assert [row["state"] for row in before] == ["running", "running"]
    await steps.start(jobs, due_seconds=1.0)
    assert [await job_row(steps, job.id) for job in jobs] == before
    await steps.jobs.mark_finished(owner.lane_id, notices_of(jobs))
    await steps.start(jobs)
    assert {(await job_row(steps, job.id))["state"] for job in jobs} == {"ready"}


async def test_confirmation_goes_by_the_tag(steps: Steps):
    """A JobId is recorded only for the job whose tag it was given for."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job,) = await steps.intents(owner, backfill, ["a.mp4"])
    await steps.jobs.confirm([Started(replace(job, tag="mw1.of-another-database"), "aws", 600.0)])
    assert (await job_row(steps, job.id))["state"] == "intent"


async def test_notices_make_running_jobs_ready_once(steps: Steps):
    """A batch tells the jobs that it made ready, and which JobIds are known here: none of another lane."""
    owner, other, backfill = await steps.own(), await steps.own("other"), await steps.backfill()
    jobs = await steps.running(owner, backfill, ["a.mp4", "b.mp4"])
    foreign = await steps.running(other, backfill, ["c.mp4"])
    batch = [*notices_of(jobs[:1]), *notices_of(jobs[:1]), *notices_of(foreign), Notice("unknown", "receipt", 1)]
    marked = await steps.jobs.mark_finished(owner.lane_id, batch)
    assert (marked.job_ids, marked.known) == ([jobs[0].id], {aws_job_id(jobs[0].id)})
    again = await steps.jobs.mark_finished(owner.lane_id, notices_of(jobs))
    assert (again.job_ids, again.known) == ([jobs[1].id], {aws_job_id(job.id) for job in jobs})
    assert await ready_ids(steps, owner.lane_id) == [job.id for job in jobs]


async def test_notice_before_the_confirmation_is_unknown(steps: Steps):
    """The JobId of an intent is not known yet: the message is left to come back."""
    owner, backfill = await steps.own(), await steps.backfill()
    jobs = await steps.intents(owner, backfill, ["a.mp4"])
    marked = await steps.jobs.mark_finished(owner.lane_id, notices_of(jobs))
    assert (marked.job_ids, marked.known) == ([], set())
    await steps.start(jobs)
    assert (await steps.jobs.mark_finished(owner.lane_id, notices_of(jobs))).job_ids == [jobs[0].id]


async def test_overdue_jobs_are_asked_after_the_longest_waiting_first(steps: Steps):
    """Only jobs whose time has come become ready, as many as are allowed at once."""
    owner, backfill = await steps.own(), await steps.backfill()
    jobs = await steps.intents(owner, backfill, [f"{i}.mp4" for i in range(5)])
    for job, due_seconds in zip(jobs, (-1, 600, -3, -2, 600), strict=True):
        await steps.start([job], due_seconds=due_seconds)
    assert sorted(await steps.jobs.mark_overdue(owner.lane_id, 2)) == [jobs[2].id, jobs[3].id]
    assert await ready_ids(steps, owner.lane_id) == [jobs[2].id, jobs[3].id]
    assert await steps.jobs.mark_overdue(owner.lane_id, 2) == [jobs[0].id]
    assert await steps.jobs.mark_overdue(owner.lane_id, 2) == []


async def test_jobs_that_became_overdue_lately_are_found_alone(steps: Steps):
    """Where somebody looked a while ago, only jobs whose time has come since then are looked for."""
    owner, backfill = await steps.own(), await steps.backfill()
    jobs = await steps.intents(owner, backfill, ["a.mp4", "b.mp4", "c.mp4"])
    for job, due_seconds in zip(jobs, (-5000, -1000, 600), strict=True):
        await steps.start([job], due_seconds=due_seconds)
    assert await steps.jobs.mark_overdue(owner.lane_id, 9, within_seconds=3000.0) == [jobs[1].id]
    assert await steps.jobs.mark_overdue(owner.lane_id, 9, within_seconds=3000.0) == []
    assert await steps.jobs.mark_overdue(owner.lane_id, 9) == [jobs[0].id]


async def test_job_in_progress_waits_longer(steps: Steps):
    """A job that was asked too early runs on with a new due time; it is counted how often."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    for asked in (1, 2):
        await steps.jobs.wait_longer(job_id, -1.0)
        row = await job_row(steps, job_id)
        assert (row["state"], row["asked"], row["ready_at"]) == ("running", asked, None)
        assert await steps.jobs.mark_overdue(owner.lane_id, 10) == [job_id]


async def test_job_whose_pages_are_read_does_not_run_again(steps: Steps):
    """IN_PROGRESS after the first page is no reason to forget that the job has finished."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    await steps.pages.write([page(job_id, detections=seen(2), next_token="more")])
    await steps.jobs.wait_longer(job_id, 1.0)
    assert (await job_row(steps, job_id))["state"] == "ready"


async def test_oldest_results_are_read_first(steps: Steps):
    """Ready jobs come in the order of their starts, which is that of their expiry, without those in hand."""
    owner, backfill = await steps.own(), await steps.backfill()
    job_ids = await steps.ready(owner, backfill, [f"{i}.mp4" for i in range(4)])
    for job_id, hours in zip(job_ids, (3, 1, 4, 2), strict=True):
        sql = "update job set started_at = clock_timestamp() - make_interval(hours => $2) where id = $1"
        await steps.execute(sql, job_id, hours)
    by_age = [job_ids[2], job_ids[0], job_ids[3], job_ids[1]]
    assert await ready_ids(steps, owner.lane_id) == by_age
    assert await ready_ids(steps, owner.lane_id, in_hand=by_age[:1], limit=2) == by_age[1:3]


async def test_ready_jobs_are_found_by_their_ids(steps: Steps):
    """Those of the jobs come whose pages wait, the oldest first, and none of another lane."""
    owner, backfill = await steps.own(), await steps.backfill()
    (others,) = await steps.ready(await steps.own("other"), backfill, ["other.mp4"])
    (running,) = await steps.running(owner, backfill, ["running.mp4"])
    ready = await steps.ready(owner, backfill, ["a.mp4", "b.mp4", "c.mp4"])
    await steps.execute("update job set started_at = started_at - interval '1 hour' where id = $1", ready[2])
    told = [others, running.id, ready[0], ready[2]]
    jobs = await steps.jobs.ready_of(owner.lane_id, told, page_token_seconds=60)
    assert [job.id for job in jobs] == [ready[2], ready[0]]


async def test_page_token_is_told_while_it_is_fresh(steps: Steps):
    """A job is read on from its cursor; a page token that has outlived its time is left out."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.ready(owner, backfill, ["a.mp4"])
    first = page(job_id, detections=seen(2), next_token="more")
    await steps.pages.write([first])
    (job,) = await steps.jobs.ready(owner.lane_id, in_hand=[], limit=9, page_token_seconds=60)
    assert (job.next_page, job.next_token, job.digest, job.detections) == (2, "more", first.digest, 2)
    await steps.execute("update job set page_token_at = page_token_at - interval '61 seconds'")
    (job,) = await steps.jobs.ready(owner.lane_id, in_hand=[], limit=9, page_token_seconds=60)
    assert (job.next_page, job.next_token) == (2, None)


async def test_takeover_counts_what_runs(steps: Steps):
    """An intent may have been sent, and is asked for before anything else is: it takes its slot then."""
    owner, backfill = await steps.own(), await steps.backfill()
    await steps.ready(owner, backfill, ["ready.mp4"])
    running = await steps.running(owner, backfill, ["running.mp4"])
    await steps.intents(owner, backfill, ["intent.mp4"])
    await steps.done(await steps.own("other"), backfill, ["done.mp4"])
    assert await steps.jobs.running(owner.lane_id) == {job.id for job in running}


async def test_intents_are_inherited_oldest_first_under_their_channel(steps: Steps):
    """A new owner finds every intent, as a replay, under the channel that was found to be the right one."""
    owner, backfill = await steps.own(), await steps.backfill()
    jobs = await steps.intents(owner, backfill, ["a.mp4", "b.mp4"])
    old_age = "update job set intent_at = clock_timestamp() - interval '7 days' where id = $1"
    await steps.execute(old_age, jobs[1].id)
    newer, older = await steps.leases.channels(owner.lane_id, "newer", "role")
    await steps.jobs.move_to_channel(jobs[0].id, newer.id)
    inherited = await steps.jobs.intents(owner.lane_id)
    assert [(job.id, job.channel, job.is_replay) for job in inherited] == [
        (jobs[1].id, older, True),
        (jobs[0].id, newer, True),
    ]
    assert now_seconds() - inherited[0].intent_at == pytest.approx(7 * 86_400, abs=60)
    assert now_seconds() - inherited[1].intent_at == pytest.approx(0, abs=60)


async def test_usual_times_are_learned_from_enough_jobs(steps: Steps):
    """Below a score of settled jobs nothing is said; then the quantiles of the latest ones."""
    owner, backfill = await steps.own(), await steps.backfill()
    names = [f"{i}.mp4" for i in range(ENOUGH_JOBS)]
    await steps.done(owner, backfill, names[1:])
    usual = await steps.jobs.usual_times(owner.lane_id)
    assert (usual.run_seconds, usual.minutes_per_gb) == (None, None)
    await steps.done(owner, backfill, names[:1])
    sql = "update job set ready_at = started_at + interval '90 seconds', duration_ms = $1"
    await steps.execute(sql, 30 * MINUTE_MS)
    usual = await steps.jobs.usual_times(owner.lane_id)
    assert (usual.run_seconds, usual.minutes_per_gb) == (90.0, 30.0)


async def test_unreadable_message_is_kept_once(steps: Steps):
    """A message is put aside once however often it comes, cut and without what PostgreSQL cannot keep."""
    owner = await steps.own()
    for _ in range(2):
        assert await steps.jobs.quarantine(owner.lane_id, "message", "{\x00\ud800" + "x" * 20_000, "not JSON")
    ((body, reason),) = await steps.rows("select body, reason from notice_quarantine")
    assert (body[:4], len(body), reason) == ("{\N{REPLACEMENT CHARACTER}?x", 16_384, "not JSON")


async def test_quarantine_that_is_full_says_so(steps: Steps, monkeypatch):
    """What is in it stays, what comes then is not kept; another lane's has room of its own."""
    monkeypatch.setattr("worker.store.jobs.MOST_QUARANTINED", 2)
    owner, other = await steps.own(), await steps.own("other")
    kept = [await steps.jobs.quarantine(owner.lane_id, f"message {n}", "{", "not JSON") for n in (1, 2, 3, 1)]
    assert kept == [True, True, False, True]
    assert await steps.jobs.quarantine(other.lane_id, "message 3", "{", "not JSON")
    assert await steps.value("select count(*) from notice_quarantine") == 3


async def test_failed_job_that_is_worth_another_is_bought_again_behind_the_others(steps: Steps):
    """The video goes back to pending in the next generation, and to the end of the line."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job,) = await steps.running(owner, backfill, ["a.mp4"])
    await steps.register(backfill, owner, ["b.mp4"])
    states = await steps.jobs.fail(Failure(job.id, "failed", "internal error", "failed", worth_another=True))
    assert states == ["pending"]
    assert await steps.money(backfill) == (0, 0)
    videos = (await steps.claim(owner, backfill)).videos
    assert [(video.object.key, video.generation) for video in videos] == [("b.mp4", 1), ("a.mp4", 2)]
    bought = (await steps.intend(owner, backfill, videos)).jobs
    assert len({job.token for job in [job, *bought]}) == 3


async def test_last_generation_fails_for_good(steps: Steps):
    """After the allowed number of paid tries the video fails for the last one's reason."""
    owner, backfill = await steps.own(), await steps.backfill(max_generations=1)
    (job,) = await steps.running(owner, backfill, ["a.mp4"])
    failure = Failure(job.id, "failed", "internal\x00error", "failed", worth_another=True)
    assert await steps.jobs.fail(failure) == ["failed"]
    assert await steps.jobs.fail(failure) == []
    assert await steps.rows("select state, reason, generations from video_status") == [
        ("failed", "internal\N{REPLACEMENT CHARACTER}error", 1)
    ]


async def test_each_backfill_decides_on_another_generation_by_itself(steps: Steps):
    """Of two backfills that wait for a failed job, the one that allows another generation goes on, the other fails."""
    owner = await steps.own()
    once, twice = await steps.backfill("once", max_generations=1), await steps.backfill("twice", max_generations=2)
    (job,) = await steps.running(owner, once, ["a.mp4"])
    await steps.intents(owner, twice, ["a.mp4"])
    states = await steps.jobs.fail(Failure(job.id, "failed", "internal error", "failed", worth_another=True))
    assert sorted(states) == ["failed", "pending"]
    assert await steps.states(twice) == ["pending"]


@pytest.mark.parametrize(
    ("job_state", "video_state"),
    [("failed", "failed"), ("failed", "skipped"), ("expired", "expired"), ("uncertain", "uncertain")],
)
async def test_lasting_ends_settle_job_and_video(steps: Steps, job_state: str, video_state: str):
    """Every lasting end takes its reason to the video, frees the reservation and is counted once."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job,) = await steps.running(owner, backfill, ["a.mp4"])
    failure = Failure(job.id, job_state, "the reason", video_state)
    assert await steps.jobs.fail(failure) == [video_state]
    assert await steps.jobs.fail(failure) == []
    assert await steps.rows("select state, reason, cost_usd from video_status") == [(video_state, "the reason", 0)]
    progress = await steps.registry.progress(backfill.name)
    assert (getattr(progress, video_state), progress.final, progress.reserved_usd) == (1, 1, 0.0)


async def test_settled_job_does_not_fail(steps: Steps):
    """A failure that is reported after the last page was written changes nothing."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.done(owner, backfill, ["a.mp4"])
    assert await steps.jobs.fail(Failure(job_id, "failed", "too late", "failed")) == []
    assert await steps.states(backfill) == ["done"]


async def test_dropped_pages_are_read_again_from_the_first(steps: Steps):
    """After pages that disagree nothing is left of a job's detections, and its cursor stands at the beginning."""
    owner, backfill = await steps.own(), await steps.backfill()
    job_id, neighbour = await steps.ready(owner, backfill, ["a.mp4", "b.mp4"])
    for one in (job_id, neighbour):
        await steps.pages.write([page(one, detections=seen(5), next_token="more")])
    await steps.jobs.drop_pages(job_id)
    await steps.jobs.drop_pages(job_id)
    row = await job_row(steps, job_id)
    assert (row["next_page"], row["next_token"], row["digest"], row["detections"]) == (1, None, None, 0)
    assert await steps.rows("select job_id, count(*) from detection group by 1") == [(neighbour, 5)]
    written = await steps.pages.write([page(job_id, detections=seen(7))])
    assert (written.rows, written.settled) == (7, [job_id])


async def test_settled_labels_are_not_dropped(steps: Steps):
    """A reader that lags behind cannot drop the detections of a job that another one has settled."""
    owner, backfill = await steps.own(), await steps.backfill()
    (job_id,) = await steps.done(owner, backfill, ["a.mp4"], labels=5)
    await steps.jobs.drop_pages(job_id)
    assert await steps.value("select count(*) from moderation_labels") == 5


async def test_pages_that_are_being_written_are_dropped_with_the_others(steps: Steps):
    """Dropping waits for a page that is being written, and then drops that as well."""
    owner, backfill = await steps.own(), await steps.backfill()
    job_ids = await steps.ready(owner, backfill, [f"{i}.mp4" for i in range(10)])
    pages = [page(job_id, detections=seen(50), next_token="more") for job_id in job_ids]
    writing = asyncio.create_task(steps.pages.write(pages))
    await asyncio.gather(writing, *(steps.jobs.drop_pages(job_id) for job_id in job_ids))
    left = await steps.rows("select j.id from job j join detection d on d.job_id = j.id where j.next_page = 1")
    assert left == []


async def test_video_that_attaches_while_its_job_settles_settles_too(steps: Steps):
    """Whether the job's end or the attaching comes first, no video is left waiting for a job that has ended."""
    owner, first, second = await steps.own(), await steps.backfill("first"), await steps.backfill("second")
    names = [f"{i}.mp4" for i in range(24)]
    job_ids = await steps.ready(owner, first, names)
    await steps.register(second, owner, names)
    videos = (await steps.claim(owner, second)).videos
    attaching = [steps.intend(owner, second, videos[i : i + 2]) for i in range(0, 24, 2)]
    settling = [steps.pages.write([page(job_id, detections=seen(3))]) for job_id in job_ids[:12]]
    failing = [steps.jobs.fail(Failure(job_id, "failed", "no", "failed")) for job_id in job_ids[12:]]
    await asyncio.gather(*(task for tasks in zip(attaching, settling, failing, strict=True) for task in tasks))
    assert Counter(await steps.states(second)) == {"done": 12, "failed": 12}
