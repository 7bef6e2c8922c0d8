"""Wrong versions of the program, each of which the suite must catch: `python -m tests.mutants [NAME…]`.

Each is a copy of the program with one place changed; the tests that are named for it must go red.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parents[1]
COPIED = ("worker", "tests", "migrations", "config", "deploy", "pyproject.toml", "README.md")
TEST_SECONDS = 180  # more than any of the tests named here takes


class Mutant(Struct, frozen=True):
    """What is changed, and which tests must not pass with it."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


MUTANTS = (
    Mutant(
        "a random token",
        "worker/model.py",
        'return hashlib.sha256(identity + generation.to_bytes(8, "big")).hexdigest()',
        "return __import__('secrets').token_hex(32)",
        "tests/test_model.py",
    ),
    Mutant(
        "COPY whatever the compare-and-set says",
        "worker/store/pages.py",
        "rows[job_id] for job_id in accepted",
        "rows[job_id] for job_id in rows",
        "tests/store/test_pages.py",
    ),
    Mutant(
        "pages accepted without comparing what comes before them",
        "worker/store/queries/pages.sql",
        "j.state = (select 'ready') and j.next_page = p.first_number and coalesce(j.digest, '') = p.follows",
        "j.state = (select 'ready')",
        "tests/store/test_pages.py",
    ),
    Mutant(
        "a message deleted before its mark is committed",
        "worker/pipeline/complete.py",
        "    marked = await jobs.mark_finished(lane.id, notices)\n",
        "    await delete(lane, lane.queue, [notice.receipt_handle for notice in notices])\n"
        "    marked = await jobs.mark_finished(lane.id, notices)\n",
        "tests/system/test_crash_points.py -k point_8_message",
    ),
    Mutant(
        "a lease judged by the wall clock",
        "worker/flow/clock.py",
        "return time.clock_gettime(_CLOCK)",
        "return time.time()",
        "tests/test_lane.py",
    ),
    Mutant(
        "a lease used to its very end",
        "worker/lane.py",
        "lease_seconds * (1 - LEASE_MARGIN)",
        "lease_seconds",
        "tests/test_lane.py",
    ),
    Mutant(
        "a lane taken while another holds it",
        "worker/store/queries/lanes.sql",
        "and (holder = $2 or expires_at < clock_timestamp() or",
        "and (true or",
        "tests/store/test_leases.py",
    ),
    Mutant(
        "a renewal that takes a lost lane back",
        "worker/store/queries/lanes.sql",
        "where id = $1 and holder = $2 and epoch = $3\nreturning true",
        "where id = $1 and ($2::uuid is not null) and ($3::bigint > 0)\nreturning true",
        "tests/store/test_leases.py",
    ),
    Mutant(
        "claims of a process that lost the lane",
        "worker/store/queries/claims.sql",
        "and l.holder = $3 and l.epoch = $4",
        "and ($3::uuid is not null) and ($4::bigint > 0)",
        "tests/store/test_claims.py",
    ),
    Mutant(
        "a JobId that is written over another",
        "worker/store/queries/jobs.sql",
        "where j.id = c.id and j.tag = c.tag and j.state = (select 'intent')",
        "where j.id = c.id and j.tag = c.tag",
        "tests/store/test_jobs.py tests/model",
    ),
    Mutant(
        "a budget that forgets what is reserved",
        "worker/store/claims.py",
        'held = tally["spent_usd"] + tally["reserved_usd"] - released',
        'held = tally["spent_usd"] - ZERO * released',
        "tests/store/test_claims.py",
    ),
    Mutant(
        "lanes that do not see each other's allowances",
        "worker/store/queries/claims.sql",
        "from tally where backfill_id = $1 and lane_id <> $2\n\n-- name: reclaim",
        "from tally where backfill_id = $1 and lane_id <> $2 and false\n\n-- name: reclaim",
        "tests/store/test_claims.py",
    ),
    Mutant(
        "an allowance that another lane has spent",
        "worker/store/queries/claims.sql",
        "spent_usd + reserved_usd > allowance_usd)",
        "false)",
        "tests/store/test_claims.py",
    ),
    Mutant(
        "a generation more than allowed",
        "worker/store/queries/pages.sql",
        "v.generation < b.max_generations",
        "v.generation <= b.max_generations",
        "tests/store/test_jobs.py",
    ),
    Mutant(
        "a token relied on for ever",
        "worker/lane.py",
        "return now_seconds() - job.intent_at < self.settings.aws.reliable_token_seconds",
        "return job.intent_at > -1e12",
        "tests/test_lane.py",
    ),
    Mutant(
        "everybody probes a denied account",
        "worker/flow/denial.py",
        "                self._probe_at = now + self._probe_seconds\n                return",
        "                return",
        "tests/flow/test_denial.py",
    ),
    Mutant(
        "failures that stop nothing",
        "worker/store/guards.py",
        "MOST_FAILURES = 0.2",
        "MOST_FAILURES = 1.0",
        "tests/store/test_guards.py",
    ),
    Mutant(
        "a restored database that is not noticed",
        "worker/store/guards.py",
        "if age_seconds < token_seconds:",
        "if age_seconds:",
        "tests/store/test_guards.py",
    ),
    Mutant(
        "suspects that are claimed in company",
        "worker/store/claims.py",
        'if rows and rows[0]["claims"]:',
        'if rows and rows[0]["claims"] < 0:',
        "tests/store/test_claims.py",
    ),
    Mutant(
        "endpoints from the environment",
        "worker/aws/session.py",
        'set_config_variable("ignore_configured_endpoint_urls", True)',
        'set_config_variable("ignore_configured_endpoint_urls", False)',
        "tests/aws/test_endpoints.py",
    ),
    Mutant(
        "a page too few that is not missed",
        "worker/store/pages.py",
        "if not run or (page.number == run[-1].number + 1 and page.follows == run[-1].digest):",
        "if not run or page.number > run[-1].number:",
        "tests/store/test_pages.py",
    ),
)


def place_of(mutant: Mutant, root: Path = ROOT) -> int:
    """How often the place is there that the mutant changes; once is right."""
    return (root / mutant.file).read_text(encoding="utf-8").count(mutant.right)


def is_caught(mutant: Mutant) -> bool:
    """Whether the tests go red on a copy of the program that holds the mutant."""
    with tempfile.TemporaryDirectory(prefix="modworker-mutant-") as folder:
        copy = Path(folder)
        copy.chmod(0o755)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        changed = copy / mutant.file
        changed.write_text(changed.read_text(encoding="utf-8").replace(mutant.right, mutant.wrong), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests.split()]
        try:
            done = subprocess.run(
                command, cwd=copy, env=os.environ, capture_output=True, timeout=TEST_SECONDS, check=False, text=True
            )
        except subprocess.TimeoutExpired:
            return True  # a test that never ends is not one that passes
        return done.returncode == 1 and ("failed" in done.stdout or "error" in done.stdout)


def main() -> int:
    """Try each mutant (those named), and print one JSON object."""
    began_at = time.monotonic()
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := [name for name in sys.argv[1:] if name not in by_name]:
        sys.exit(f"no mutant is named {unknown[0]!r}; there are: {', '.join(by_name)}")
    chosen = [by_name[name] for name in sys.argv[1:]] or MUTANTS
    caught = {}
    for mutant in chosen:
        caught[mutant.name] = place_of(mutant) == 1 and is_caught(mutant)
        sys.stderr.write(f"{'caught' if caught[mutant.name] else 'NOT CAUGHT'}: {mutant.name}\n")
    survivors = [name for name, was in caught.items() if not was]
    figures = {
        "program": "mutants",
        "seconds": round(time.monotonic() - began_at, 1),
        "mutants": len(caught),
        "caught": sum(caught.values()),
        "wrong": survivors,
    }
    sys.stdout.write(f"{json.dumps(figures)}\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
