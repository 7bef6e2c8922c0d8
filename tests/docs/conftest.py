"""Where the documents' commands are typed: a folder as a clone is, alone or before AWS as far as moto has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from anyio.from_thread import BlockingPortal

from benchmarks.inventories import MANIFEST, Line, write_inventory
from tests.aws_cli.program import installed
from tests.deploy.test_aws_permissions import EXTERNAL_ID, HOST, reset
from tests.deploy.test_aws_policies import BUCKET, INVENTORY_BUCKET, REGION
from tests.docs.shell import ROOT, Shell
from tests.doctor.front import front_of
from tests.postgres import PROGRAMS, throwaway_server
from tests.system.site import Site, jobs_faster
from tests.system.test_moto import client, make_bucket, moto_server

KEYS = [f"2024/{month:02d}/{name}.mp4" for month in (1, 2) for name in ("gate", "hall", "yard", "stage", "roof")]
INVENTORY = "my-archive/daily/2026-11-23T01-00Z"
LINKED = (".venv", "config", "deploy")


def clone(folder: Path) -> Path:
    """A folder that has of a clone what commands name."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A machine with nothing but the clone; what `make` does there is tested by its own targets."""
    return Shell(clone(tmp_path), {}, {"(?m)^make .*": "true"})


@pytest.fixture(scope="module")
def aws(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """An operator's machine: `aws`, `modworker` and PostgreSQL's programs, before an account with an archive in it."""
    folder = clone(tmp_path_factory.mktemp("operator"))
    (folder / "service").mkdir()
    with (
        moto_server() as moto_url,
        Site(folder / "service", "postgresql://nobody@127.0.0.1:1/none") as site,
        portal.wrap_async_context_manager(throwaway_server("18", folder / "postgresql")) as server_url,
    ):
        reset(moto_url)
        client("iam", moto_url).create_role(RoleName=HOST, AssumeRolePolicyDocument="{}")
        fill(moto_url, folder)
        site.configure(local={**jobs_faster(20)}, local__endpoints={"s3": moto_url, "sns": moto_url})
        site.service()
        with portal.wrap_async_context_manager(front_of(moto_url, str(site.service_url()))) as front:
            yield shell(folder, moto_url, front.url, server_url)


def fill(moto_url: str, folder: Path) -> None:
    """An archive, and the inventory of a day of it."""
    make_bucket(moto_url, BUCKET, KEYS)
    s3 = make_bucket(moto_url, INVENTORY_BUCKET, [])
    lines = [Line(BUCKET, key, size=1) for key in KEYS]
    written = write_inventory(folder / "inventory", "CSV", lines, bucket=BUCKET)
    s3.upload_file(str(written), INVENTORY_BUCKET, f"{INVENTORY}/{MANIFEST}")
    for path in (written.parent / "data").iterdir():
        s3.upload_file(str(path), INVENTORY_BUCKET, f"data/{path.name}")


def shell(folder: Path, moto_url: str, front_url: str, server_url: str) -> Shell:
    """Names on the pages -> what is here: a host of PostgreSQL is a folder of sockets."""
    aws_program = installed(ROOT / ".venv" / "aws", os.environ)
    server = urlsplit(server_url)
    place = {name: values[0] for name, values in parse_qs(server.query).items()}
    environment = {
        "PATH": f"{ROOT / '.venv' / 'bin'}:{aws_program.parent}:{PROGRAMS}:/usr/bin:/bin",
        "AWS_ENDPOINT_URL": moto_url,  # heeded by `aws` alone
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONWARNINGS": "ignore",
        "PGHOST": place["host"],
        "PGPORT": place["port"],
        "PGUSER": str(server.username),
        "MODWORKER_DATABASE__URL": server._replace(path="/moderation").geturl(),
        "MODWORKER_DATABASE__DATA_DIR": str(folder / "data"),
        "MODWORKER_WORKER__HTTP_LISTEN": "127.0.0.1:0",
        "MODWORKER_LANES__MAIN__ENDPOINT_URL": front_url,
        "MODWORKER_LANES__MAIN__EXTERNAL_ID": EXTERNAL_ID,
    }
    here = server._replace(path="/NAME").geturl().replace("NAME", r"\1")
    replaced = {r" --host db\.internal": "", r"postgresql://modworker@db\.internal/(\w+)": f"'{here}'"}
    return Shell(folder, environment, replaced)
