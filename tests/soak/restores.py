"""An old backup is restored: what was bought after it was taken is found again for nothing, within the tokens' life."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from tests.postgres import fresh_database
from tests.soak.ground import ARCHIVE, Ground, ground, jobs_faster, printed, told, until
from tests.system.checker import findings
from tests.system.site import Site, finished, kill
from tests.system.truth import labels_in
from worker.config import Lane
from worker.local.accounts import access_key_of, account_of, local_lane

VIDEOS = 300
LANES = ("one", "two")  # two accounts in one region
BEYOND_SECONDS = 30.0


async def run(seed: int) -> int:
    """Within the life of the tokens with a changed topic, and beyond it."""
    return max([await _within(seed), await _beyond(seed)])


async def _within(seed: int) -> int:
    began_at = time.monotonic()
    async with ground() as here:
        site = await _site(here)
        backup = await _backed_up_in_the_middle(here, site)
        point_at(site, topic_suffix="-newer")
        first = finished(_start(site), seconds=300)  # what the backup knows nothing of, under another topic
        truth, paid = await labels_in(site.database_url), site.ledger()["paid_jobs"]
        restored = await here.site("restored", database_url=backup, data_dir=site.data_dir)
        restored.sections = site.sections | {"database": restored.sections["database"]}
        restored.configure()
        second = finished(_start(restored), seconds=300)
        wrong = await findings(restored, registered=VIDEOS)
        again = site.ledger()["paid_jobs"] - paid
        wrong += [f"{again} jobs were bought again"] if again else []
        wrong += ["the labels differ"] if await labels_in(backup) != truth else []
        wrong += [
            f"a backfill ended with {done.returncode}: {done.stderr[-500:]}"
            for done in (first, second)
            if done.returncode != 1
        ]
        return printed(
            "restore within the tokens' life",
            began_at,
            seed=seed,
            videos=VIDEOS,
            paid_jobs=paid,
            paid_again=again,
            replays=site.ledger()["replays"],
            labels=truth.total(),
            wrong=wrong,
        )


async def _beyond(seed: int) -> int:
    """The worker believes that tokens live half a minute; the backup is older."""
    began_at = time.monotonic()
    async with ground() as here:
        site = await _site(here)
        site.configure(aws={"token_seconds": BEYOND_SECONDS})
        backup = await _backed_up_in_the_middle(here, site)
        finished(_start(site), seconds=300)
        paid = site.ledger()["paid_jobs"]
        time.sleep(BEYOND_SECONDS)
        restored = await here.site("restored", database_url=backup, data_dir=site.data_dir)
        restored.sections = site.sections | {"database": restored.sections["database"]}
        restored.configure()
        refused = finished(_start(restored), seconds=300)
        set_aside = finished(_start(restored, "--restored"), seconds=300)
        again = site.ledger()["paid_jobs"] - paid
        wrong = [f"{again} jobs were bought again"] if again else []
        wrong += [f"not refused: {refused.returncode}, {refused.stderr[-300:]}"] if refused.returncode != 2 else []
        wrong += [] if "set aside as uncertain" in set_aside.stdout else [f"not set aside: {set_aside.stderr[-300:]}"]
        return printed("restore beyond the tokens' life", began_at, seed=seed, paid_jobs=paid, wrong=wrong)


async def _site(here: Ground) -> Site:
    site = await here.site("original")
    site.configure(
        moderation={"min_confidence": 80.0, "first_due_seconds": 2}, local={"videos": VIDEOS, **jobs_faster(120)}
    )
    site.service()
    point_at(site, topic_suffix="")
    return site


def point_at(site: Site, *, topic_suffix: str) -> None:
    """Let the lanes use the service by its URL, each in an account of its own, under a topic of that name."""
    for section in [section for section in site.sections if section.startswith("lanes.")]:
        del site.sections[section]
    keys = []
    for name in LANES:
        lane = local_lane(name, Lane(**site.local_lane("us-east-1", start_per_second=40)), site.service_url() or "")
        told_lane = lane.model_dump(exclude_defaults=True)
        told_lane |= {"profile": name, "sns_topic_arn": f"{lane.sns_topic_arn}{topic_suffix}"}
        site.configure(**{f"lanes__{name}": told_lane})
        keys.append(f"[{name}]\naws_access_key_id = {access_key_of(account_of(name))}\naws_secret_access_key = local\n")
    (site.data_dir / "credentials").write_text("\n".join(keys))


def _start(site: Site, *options: str):
    credentials = {"AWS_SHARED_CREDENTIALS_FILE": str(site.data_dir / "credentials")}
    return site.start("backfill", ARCHIVE, *options, environment=credentials)


async def _backed_up_in_the_middle(here: Ground, site: Site) -> str:
    """The URL of a copy of the database, taken when a third was bought."""
    worker = _start(site)
    until(lambda: site.ledger()["paid_jobs"] >= VIDEOS // 3)
    kill(worker)
    told("backup")
    return await fresh_database(here.server_url, urlsplit(site.database_url).path.removeprefix("/"))
