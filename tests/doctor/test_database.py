"""What `doctor` finds in the database: unfit itself, or at odds with the lanes of the config file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from anyio.from_thread import BlockingPortal

from tests.deploy.test_database_roles import Roles, named
from tests.doctor.setup import Setup, faults

ALIVE = "gen_random_uuid(), 'the other', clock_timestamp() + interval '1 hour'"
GONE = "null, null, '-infinity'"


@pytest.fixture
def roles(portal: BlockingPortal, database_url: str) -> Iterator[Roles]:
    """The roles of deploy/postgres in the database."""
    with portal.wrap_async_context_manager(named(database_url)) as roles:
        portal.call(roles.apply)
        yield roles


def test_database_that_does_not_answer(setup: Setup):
    """It is told as by other commands; what AWS tells is told all the same."""
    setup.desk.sections["database"]["url"] = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"
    findings = setup.examine(setup.source)
    [(subject, sentence, remedy)] = faults(findings)
    assert subject == "database"
    assert sentence.startswith("the database at postgresql://nobody:***@127.0.0.1:1/nothing cannot be reached")
    assert remedy == "check database.url"
    assert [f["verdict"] for f in findings if f["subject"] == f"lane main, bucket {setup.bucket}"] == ["fine"]


def test_database_without_migrations(setup: Setup, empty_database_url: str):
    """Nothing is migrated by looking."""
    setup.desk.sections["database"]["url"] = empty_database_url
    for _ in range(2):
        [(subject, sentence, remedy)] = faults(setup.examine(setup.source))
        assert subject == "database"
        assert "lacks" in sentence
        assert "modworker migrate" in remedy


def test_database_of_another_deployment(setup: Setup, execute: Callable[[str], None]):
    """A database keeps the name that it was first migrated for."""
    execute("update deployment set name = 'other'")
    [(subject, sentence, _)] = faults(setup.examine(setup.source))
    assert (subject, "'other'" in sentence) == ("database", True)


def test_worker_role_suffices_and_each_right_is_needed(setup: Setup, roles: Roles, execute: Callable[[str], None]):
    """The roles of deploy/postgres lack nothing; a right that was taken away is told, with the file that gives it."""
    setup.desk.sections["database"]["url"] = roles.url(roles.worker)
    assert faults(setup.examine(setup.source)) == []
    execute(f'revoke delete on video, job from "{roles.worker}"')
    [(subject, sentence, remedy)] = faults(setup.examine(setup.source))
    assert subject == "database"
    assert sentence == f"role {roles.worker} lacks delete on job and 1 more"
    assert f'deploy/postgres/roles.sql as its README says, with --set worker="{roles.worker}"' in remedy


def test_buckets_of_backfills_are_looked_at(setup: Setup):
    """What was registered need not be named again, and a fault of it is told."""
    assert setup.desk.run("enqueue", setup.source) == 0
    about = f"lane main, bucket {setup.bucket}"
    assert [f["verdict"] for f in setup.examine() if f["subject"] == about] == ["fine"]
    setup.refuse("HeadObject")
    [(subject, _, _)] = faults(setup.examine())
    assert subject == about


def test_nothing_is_known_to_be_read_at_first(setup: Setup):
    """Without a source and without a backfill no bucket can be looked at, which is no fault."""
    findings = setup.examine()
    assert faults(findings) == []
    assert [f["verdict"] for f in findings if f["subject"] == "buckets"] == ["not checked"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("('main', 'eu-west-1', null, null, null, '-infinity')", "it is registered in eu-west-1"),
        ("('main', 'us-east-1', '210987654321', null, null, '-infinity')", "it belongs to account 210987654321"),
        (f"('old', 'us-east-1', '123456789012', {ALIVE})", "lane old has the same account 123456789012 in us-east-1"),
    ],
)
def test_lane_that_is_another_one_in_the_database(setup: Setup, execute: Callable[[str], None], row: str, said: str):
    """A lane keeps its region and account for good, and shares them with no other lane that is worked on."""
    execute(f"insert into lane (name, region, account_id, holder, holder_name, expires_at) values {row}")
    [(subject, sentence, _)] = faults(setup.examine(setup.source))
    assert subject == "lane main, registration"
    assert sentence.startswith(said)


def test_lane_that_is_no_longer_worked_on_is_no_twin(setup: Setup, execute: Callable[[str], None]):
    """A lane that got another name leaves its old row behind."""
    row = f"('old', 'us-east-1', '123456789012', {GONE})"
    execute(f"insert into lane (name, region, account_id, holder, holder_name, expires_at) values {row}")
    assert faults(setup.examine(setup.source)) == []
