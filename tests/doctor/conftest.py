"""AWS for `doctor`: moto, the local service for Rekognition, a front before both, and a lane that the template made."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal

from tests.deploy.test_aws_permissions import reset
from tests.doctor.front import Front, front_of
from tests.doctor.setup import Setup
from tests.system.desk import Desk
from tests.system.site import Sections, Site
from tests.system.test_moto import moto_server


@pytest.fixture(scope="package")
def moto_url() -> Iterator[str]:
    """One moto for all tests here: what each makes has a name of its own."""
    with moto_server() as url:
        reset(url)
        yield url


@pytest.fixture(scope="package")
def rekognition_url(moto_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The local service, which looks objects up at moto."""
    with Site(tmp_path_factory.mktemp("service"), "postgresql://nobody@127.0.0.1:1/nothing") as site:
        site.configure(local__endpoints={"s3": moto_url, "sns": moto_url})
        site.service()
        yield str(site.service_url())


@pytest.fixture(scope="package")
def whole_front(portal: BlockingPortal, moto_url: str, rekognition_url: str) -> Iterator[Front]:
    with portal.wrap_async_context_manager(front_of(moto_url, rekognition_url)) as front:
        yield front


@pytest.fixture
def front(whole_front: Front) -> Front:
    """AWS, which refuses nothing."""
    whole_front.be_well()
    return whole_front


@pytest.fixture
def desk(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """Credentials in the environment, and no file of the SDK's."""
    environment = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "HOME": str(tmp_path)}
    for name, value in (environment | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    sections: Sections = {"database": {"url": database_url, "data_dir": str(tmp_path / "data")}}
    return Desk(tmp_path, capsys, sections)


@pytest.fixture
def setup(moto_url: str, front: Front, desk: Desk) -> Setup:
    return Setup(f"lane-{uuid.uuid4().hex[:12]}", moto_url, front, desk)


@pytest.fixture
def execute(portal: BlockingPortal, database_url: str) -> Callable[[str], None]:
    """Change the database behind the program's back."""

    async def change(sql: str) -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(sql)
        await connection.close()

    return lambda sql: portal.call(change, sql)
