"""The benchmarks run from start to end and print what they promise; what they measure is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.ideal import Ran, ideal_seconds
from worker.planning.simulation import Quota

ROOT = Path(__file__).parents[1]
ABOUT = {"benchmark", "machine", "load_before", "python", "postgresql", "date"}
CONTENDERS = {"boto3_executemany", "boto3_copy", "aioboto3_executemany", "straight_line", "bare_http"}


def quick(name: str, *options: str) -> dict[str, Any]:
    """What a benchmark's smoke test prints, which must be one JSON object."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_ingest_compares_the_worker_with_every_contender():
    """The rates of the worker and of all contenders, on the same labels, and their ratios beside the targets."""
    result = quick("ingest")
    assert result.keys() == ABOUT | {"labels", "jobs", "rounds", "labels_per_second", "ratios", "targets"}
    assert result["labels"] >= 1000 * result["jobs"]
    assert result["labels_per_second"].keys() == {"worker"} | CONTENDERS
    assert all(rate > 0 for rate in result["labels_per_second"].values())
    assert result["ratios"].keys() == {f"worker/{name}" for name in CONTENDERS}
    assert result["targets"].keys() <= result["ratios"].keys()


def test_ingest_compares_the_worker_with_itself():
    """Its rates with few and with many detections stored, and their ratio beside the target."""
    result = quick("ingest", "--stored")
    assert result.keys() == ABOUT | {"labels", "jobs", "rounds", "labels_per_second", "ratio", "target"}
    assert [int(stored) for stored in result["labels_per_second"]] == [1000, 10_000]
    assert result["ratio"] > 0


def test_inflight_compares_many_running_jobs_with_few_and_takes_them_over():
    """The memory of the workers, what the further jobs cost, and when their next owners had them."""
    result = quick("inflight")
    measured = {"running_jobs", "memory_mb", "more_mb", "takeover_seconds", "targets"}
    assert result.keys() == ABOUT | measured
    assert result["memory_mb"].keys() == {"few", "many", "many, taken over"}
    assert all(memory["resident"] >= memory["unique"] > 10 for memory in result["memory_mb"].values())
    assert result["more_mb"].keys() == {"resident", "unique"}
    assert result["takeover_seconds"].keys() == {"after_stop", "after_kill"}
    for takeover in result["takeover_seconds"].values():
        assert 0 < takeover["lease"] <= takeover["adopted"]
        assert takeover["first_start"] > takeover["lease"]
        assert takeover["slots_used"] >= result["running_jobs"]["many"]


def test_lanes_tells_how_long_a_loop_stands_still():
    """At the start of a process, while it stands by, and when it takes the lanes of another one over."""
    result = quick("lanes")
    assert result.keys() == ABOUT | {"lanes", "start", "stand_by", "takeover", "targets"}
    for phase in ("start", "stand_by", "takeover"):
        assert result[phase]["seconds"] > 0
        assert result[phase]["longest_ms"] >= result[phase]["longest_own_ms"] >= 0


def test_idle_tells_the_processor_time_of_worker_and_server():
    """Shares of a core, with one lane."""
    result = quick("idle")
    assert result.keys() == ABOUT | {"seconds", "lanes", "targets"}
    assert result["lanes"].keys() == {"1"}
    assert all(0 <= share < 2 for share in result["lanes"]["1"].values())


def test_discover_compares_keys_in_order_with_shuffled_ones():
    """The rates of both orders and their ratio, and the memory of the largest manifest."""
    result = quick("discover")
    measured = {"a_second", "cpu_us_an_object", "shuffled/in_order", "peak_mb", "largest", "targets"}
    assert result.keys() == ABOUT | {"objects", "rounds"} | measured
    assert result["a_second"].keys() == result["cpu_us_an_object"].keys() == {"in_order", "shuffled"}
    assert all(rate > 0 for rate in result["a_second"].values())
    assert result["largest"]["objects"] > result["objects"]
    assert result["largest"]["peak_mb"] > 10


def test_pages_compares_a_worker_that_is_looked_at_with_one_that_is_not():
    """Shares of a core of worker and database, alone and looked at, and how often was looked."""
    result = quick("pages")
    measured = {"looks", "share_alone", "share_looked_at", "share_more", "target_share"}
    assert result.keys() == ABOUT | {"videos", "seconds"} | measured
    assert all(count > 0 for count in result["looks"].values())
    assert result["share_looked_at"].keys() == {"worker", "database", "both"}


def test_search_compares_many_detections_with_few():
    """The times of each kind of question in both databases, and their ratio."""
    result = quick("search")
    assert result.keys() == ABOUT | {"seed", "rounds", "detections", "summaries", "ms", "targets"}
    assert result["detections"]["many"] > result["detections"]["few"]
    assert len(result["ms"]) == 10
    for times in result["ms"].values():
        assert times.keys() == {"few", "many", "many/few"}
        assert all(0 < times[name]["median"] <= times[name]["worst"] for name in ("few", "many"))


def test_claim_compares_many_videos_and_an_old_snapshot_with_few():
    """What a video costs by stage and step in each database, the ratios of the stages, and what the duties cost."""
    result = quick("claim")
    measured = {"videos", "videos_a_round", "rounds", "videos_at_once", "snapshot", "us_a_video", "ratios"}
    assert result.keys() == ABOUT | {"target", "duties_server_ms"} | measured
    databases = {"few", "many", "few_aged", "many_aged"}
    assert result["us_a_video"].keys() == result["duties_server_ms"].keys() == databases
    for times in result["us_a_video"].values():
        assert times["wall"].keys() == {"claiming", "settling"}
        assert times["server"].keys() == times["wall"].keys() | result["videos_at_once"].keys()
        assert min(*times["wall"].values(), *times["server"].values()) > 0
    assert result["ratios"].keys() == {"many/few", "many_aged/few", "many_aged/few_aged"}
    for stages in result["ratios"].values():
        assert all(ratio > 0 for kinds in stages.values() for ratio in kinds.values())


def test_discover_reads_inventories_of_each_format():
    """The rates and the memory of all three."""
    result = quick("discover", "--inventory")
    measured = {"a_second", "cpu_us_an_object", "peak_mb", "targets"}
    assert result.keys() == ABOUT | {"objects", "rounds"} | measured
    for figures in ("a_second", "cpu_us_an_object", "peak_mb"):
        assert result[figures].keys() == {"CSV", "Parquet", "ORC"}
        assert all(figure > 0 for figure in result[figures].values())


def test_export_measures_each_format():
    """The rate, the memory and the size of each."""
    result = quick("export")
    assert result.keys() == ABOUT | {"labels", "formats", "targets"}
    assert result["formats"].keys() == {"parquet", "csv", "jsonl"}
    for figures in result["formats"].values():
        assert figures["labels_a_second"] > 0
        assert figures["peak_mb"] > 10
        assert figures["file_mb"] > 0


def test_service_measures_every_call_with_few_jobs_and_with_many():
    """Calls a second of the service's processor time, of small calls and of full pages, and its memory."""
    result = quick("service")
    measured = {"rounds", "jobs", "small_calls", "full_pages", "memory_mb", "ledger", "targets"}
    assert result.keys() == (ABOUT - {"postgresql"}) | {"connections"} | measured
    assert result["small_calls"].keys() == {
        *("get_of_running_job", "get_of_few_labels", "start", "receive_one", "receive_none", "head", "mix")
    }
    assert all(rate["a_cpu_second"] > 0 and rate["ratio"] > 0 for rate in result["small_calls"].values())
    assert result["full_pages"]["labels_a_page"] == 1000
    assert result["full_pages"]["jobs_to_their_ends"]["a_cpu_second"] > 0
    assert all(memory["resident"] >= memory["unique"] > 10 for memory in result["memory_mb"].values())
    assert result["ledger"]["whole_megabytes"] > 0


def test_quota_compares_the_worker_with_what_sdks_do():
    """Use of the quota, refusals and time of three programs with the same videos."""
    result = quick("quota")
    assert result.keys() == ABOUT | {"runs", "targets"}
    (run,) = result["runs"]
    assert run["programs"].keys() == {"worker", "boto3_adaptive", "aioboto3_standard"}
    for figures in run["programs"].values():
        assert figures.keys() >= result["targets"].keys()
        assert figures["calls"] >= 2 * run["videos"]
        assert figures["over_ideal"] > 0.9


def test_tenant_tells_what_is_refused_beside_another():
    """Shares of refused calls and starts a second in each of the three phases."""
    result = quick("tenant")
    assert result.keys() == ABOUT | {"runs", "targets"}
    [run] = result["runs"]
    phases = {"alone", "beside", "after"}
    assert run.keys() == {"quota", "seconds_until_back"} | phases
    for phase in phases:
        assert run[phase].keys() == {"starts_a_second", "refused", "refusals"}
        assert run[phase]["starts_a_second"] > 0


def test_plan_is_compared_with_what_came_true():
    """Time and cost of the rest, as predicted and as they were, and how far they are off."""
    result = quick("plan")
    assert result.keys() == ABOUT | {"videos", "settled", "settings", "targets"}
    [setting] = result["settings"]
    assert setting.keys() == {"quota", "left", "learned_from_jobs", "binds", "off"} | result["targets"].keys()
    assert setting["learned_from_jobs"] >= result["settled"]
    assert all(setting[name].keys() == {"predicted", "true"} for name in result["targets"])


def test_ideal_run_waits_for_pace_slots_and_pages():
    """Four videos with two slots, a start and two pages a second."""
    videos = [Ran(5.0, 1), Ran(4.0, 1), Ran(1.0, 3), Ran(1.0, 1)]
    assert ideal_seconds(videos, Quota(1.0, 2.0, 2)) == 7.5
    assert ideal_seconds(videos[:1], Quota(1.0, 2.0, 2)) == 5.0
