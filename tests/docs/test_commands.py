"""Every command of the documents runs, in the order in which somebody types it who follows them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.deploy.stack import give_outputs, write_policies
from tests.docs.conftest import KEYS
from tests.docs.shell import ROOT, Shell, blocks, pages
from tests.system.site import until

pytestmark = pytest.mark.timeout(480)

TRY_IT, LOOK, OWN_VIDEOS, ON_AWS, EXPORT = range(5)  # blocks of README.md
STACK, FIRST_RUN = range(2)  # of docs/aws.md
HOW_TO = [f"docs/how-to/{name}.md" for name in ("several-accounts", "raise-quotas", "new-model", "upgrade")]
RESTORING = "docs/how-to/restore-a-backup.md"
TYPED = ["docs/aws.md", "docs/labels.md", "docs/sources.md", "docs/tutorial.md", *HOW_TO, RESTORING]
"""Pages whose commands are all typed here."""
ELSEWHERE = {
    ("README.md", TRY_IT): ".ci/run",
    ("README.md", OWN_VIDEOS): "tests/system/test_real_videos.py",
    ("docs/pages.md", 0): "tests/web/test_access.py",
    ("docs/testing.md", 0): "tests/local/test_serve_command.py",
    ("deploy/postgres/README.md", 0): "tests/deploy/test_database_roles.py",
    **{("deploy/aws/README.md", block): "tests/deploy/test_aws_commands.py" for block in range(4)},
}
"""Page and block -> where the same is done, or as much of it as a test can do."""


def test_no_command_is_left_untyped():
    """Whoever adds one to a page has it typed here, or says where."""
    typed = {("README.md", block) for block in (LOOK, ON_AWS, EXPORT)}
    typed |= {(page, block) for page in TYPED for block in range(len(blocks(page)))}
    assert typed | ELSEWHERE.keys() == {(page, block) for page in pages() for block in range(len(blocks(page)))}
    assert [place for place in ELSEWHERE.values() if not (ROOT / place).exists()] == []


def test_tutorial(alone: Shell):
    """Typed from its first line to its last, it leaves nothing behind."""
    alone.follow("docs/tutorial.md")
    assert not (alone.folder / "tutorial").exists()


def test_first_look_around(alone: Shell):
    """What README.md has one look at after the first run."""
    alone.environment["MODWORKER_LOCAL__VIDEOS"] = "20"
    printed = alone.run("modworker backfill s3://synthetic-archive/ --config config/local.toml --name films || true")
    [video] = [line.partition(" labels ")[2] for line in printed.splitlines() if " labels --config" in line]
    looked = alone.run(blocks("README.md")[LOOK].replace("BUCKET/KEY", video.partition("config/local.toml ")[2]))
    assert "20 of 20 final" in looked


@contextmanager
def working(shell: Shell) -> Iterator[subprocess.Popen[str]]:
    """A worker that runs as a service, its log in `worker.log` and its id in `modworker.pid`."""
    log = shell.folder / "worker.log"
    command = [ROOT / ".venv" / "bin" / "modworker", "run", "--config", "worker.toml"]
    with log.open("w") as stderr:
        worker = subprocess.Popen(command, cwd=shell.folder, env=shell.environment, stderr=stderr, text=True)
    (shell.folder / "modworker.pid").write_text(str(worker.pid))
    try:
        until(lambda: "lane taken" in log.read_text() or worker.poll() is not None, within_seconds=60)
        yield worker
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, log.read_text()
    finally:
        worker.kill()


def log_of(shell: Shell, event: str) -> dict[str, object]:
    """What the worker that runs as a service says of an event, once it does."""

    def found() -> dict[str, object] | None:
        lines = (shell.folder / "worker.log").read_text().splitlines()
        return next((line for line in map(json.loads, lines) if line["event"] == event), None)

    line: dict[str, object] = until(found, within_seconds=60)
    return line


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:
        return str(response.read().decode())


@pytest.mark.skipif(shutil.which("jq") is None, reason="one of the commands needs jq")
def test_operator_follows_the_pages_on_aws(aws: Shell):
    """From an empty account through doctor, plan, backfill, page and export, and through every page after that."""
    aws.run("createdb moderation")
    making, told = blocks("docs/aws.md")[STACK].split("aws cloudformation describe-stacks")
    aws.run(making)
    write_policies()
    give_outputs()
    aws.run(f"aws cloudformation describe-stacks{told}")
    examined = aws.run(blocks("docs/aws.md")[FIRST_RUN])
    assert " 0 not checked" in examined
    assert f"videos  {len(KEYS)}\n" in examined
    assert f"{len(KEYS)} done" in examined
    again = aws.run(blocks("README.md")[ON_AWS])
    assert "calls   0 StartContentModeration" in again
    aws.run(blocks("README.md")[EXPORT])
    with working(aws):
        url = str(log_of(aws, "pages, health and metrics are served")["url"])
        assert asked(f"{url}/healthz")
        until(lambda: "my-archive-2024" in asked(f"{url}/metrics"), within_seconds=60)
        assert "<title>" in asked(url)
    sourced = aws.follow("docs/sources.md")
    assert f"{len(KEYS)} videos registered" in sourced
    aws.run("modworker backfill s3://my-archive/2024/ --config worker.toml --name films")
    assert "my-archive" in aws.follow("docs/labels.md")
    with working(aws):
        for page in HOW_TO:
            aws.follow(page)
        log_of(aws, "config file read again")
    aws.follow(RESTORING)
