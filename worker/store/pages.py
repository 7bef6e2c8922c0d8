"""Result pages into the database: cursors compared and set, then COPY, then settling, in one transaction a group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from operator import attrgetter

from anyio.lowlevel import checkpoint
from msgspec import Struct, json

from worker.failpoints import passing
from worker.model import Detection, Page
from worker.store.database import SQL, Connection, Database, patient, transaction
from worker.store.rows import COLUMNS, LabelKey, copied, rows_of, tails_of

MOST_NEW_LABELS = 500  # of a group; AWS's whole taxonomy has about a hundred, and the dictionary's numbers are few
MOST_USUAL_LABELS = 500
ROWS_A_TURN = 1000  # of the event loop
_encode = json.Encoder().encode


class Written(Struct, frozen=True):
    """What a group brought: rows copied, jobs settled by it, jobs of which it had pages that do not come next."""

    rows: int
    settled: list[int]
    refused: list[int]


class _Run(Struct, frozen=True):
    """Consecutive pages of one job, each once."""

    job_id: int
    pages: list[Page]

    @property
    def first(self) -> int:
        return self.pages[0].number

    @property
    def last(self) -> Page:
        return self.pages[-1]

    def detections(self) -> Iterator[Detection]:
        for page in self.pages:
            yield from page.detections


class Pages:
    """Writes groups of pages; a page is written once, whoever writes it and however often it is tried."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._usual: set[LabelKey] = set()  # labels that were met: the next group is likely to have no others

    @patient
    async def write(self, pages: Sequence[Page]) -> Written:
        """Write a group in one transaction.

        A commit whose answer is lost is simply repeated: nothing is accepted twice. Where the group settles no job,
        its commit need not reach the disk: rows and cursors would vanish together and be read again for nothing.
        """
        runs = _runs(pages)
        settling = [run.job_id for run in runs if run.last.is_last]
        async with self._database.pool.acquire() as connection:
            rows = await self._rows(connection, runs)
            async with transaction(connection, "write_pages", may_be_lost=not settling):
                await connection.execute(SQL["lock_jobs"], [run.job_id for run in runs])
                accepted = await _accept(connection, runs)
                passing("write_pages: accepted")
                done = await connection.copy_to_table(
                    "detection",
                    source=copied(rows[job_id] for job_id in accepted),  # type: ignore[arg-type]  # a buffer will do
                    columns=COLUMNS,
                    format="binary",
                )
                passing("write_pages: copied")
                settled = [job_id for job_id in settling if job_id in accepted]
                if settled:
                    await connection.execute(SQL["settle_done"], settled)
        kept = {(run.job_id, page.digest) for run in runs if run.job_id in accepted for page in run.pages}
        refused = sorted({page.job_id for page in pages if (page.job_id, page.digest) not in kept}.difference(settled))
        return Written(int(done.removeprefix("COPY ")), settled, refused)

    async def _rows(self, connection: Connection, runs: Sequence[_Run]) -> dict[int, bytearray]:
        """Each job's rows, with the labels' numbers as the database has them now.

        Only which labels to ask for is remembered, to save looking for those of the group: their numbers kept in memory
        would outlive a failover that lost them.
        """
        label_ids = await _find_labels(connection, self._usual)
        try:
            return await _encoded(runs, label_ids)
        except KeyError:
            label_ids = await _label_ids(connection, {_label_key(d) for run in runs for d in run.detections()})
        self._usual = self._usual | label_ids.keys() if len(self._usual) < MOST_USUAL_LABELS else set(label_ids)
        return await _encoded(runs, label_ids)


async def in_turns(pages: Iterable[Page]) -> AsyncIterator[Page]:
    """The pages, and the event loop for others after a thousand rows: a group takes longer than a start may be late."""
    rows = 0
    for page in pages:
        yield page
        rows += len(page.detections)
        if rows >= ROWS_A_TURN:
            await checkpoint()
            rows = 0


async def _encoded(runs: Sequence[_Run], label_ids: dict[LabelKey, int]) -> dict[int, bytearray]:
    tails, rows = tails_of(label_ids), {run.job_id: bytearray() for run in runs}
    async for page in in_turns(page for run in runs for page in run.pages):
        rows[page.job_id] += rows_of(page.job_id, page.detections, tails)
    return rows


async def _label_ids(connection: Connection, seen: set[LabelKey]) -> dict[LabelKey, int]:
    """Look the labels up; add those that the dictionary lacks, in a commit of its own, on which no other writer waits.

    Raises:
        ValueError: for more labels that nobody has seen before than there can be.

    """
    label_ids = await _find_labels(connection, seen)
    if missing := seen.difference(label_ids):
        if len(missing) > MOST_NEW_LABELS:
            raise ValueError(f"{len(missing):,} labels that were never seen before")
        await connection.execute(SQL["add_labels_if_new"], *_columns_of(missing))
        label_ids |= await _find_labels(connection, missing)
    return label_ids


async def _find_labels(connection: Connection, labels: set[LabelKey]) -> dict[LabelKey, int]:
    rows = await connection.fetch(SQL["find_labels"], *_columns_of(labels))
    return {(row["name"], row["parent_name"], row["taxonomy_level"]): row["id"] for row in rows}


def _columns_of(labels: set[LabelKey]) -> tuple[list[str], list[str], list[int | None]]:
    """Names, parents and levels, in an order on which two writers that add the same labels agree."""
    ordered = sorted(labels, key=repr)
    return [name for name, _, _ in ordered], [parent for _, parent, _ in ordered], [level for _, _, level in ordered]


async def _accept(connection: Connection, runs: Sequence[_Run]) -> set[int]:
    accepted = await connection.fetch(
        SQL["accept_pages"],
        [run.job_id for run in runs],
        [run.first for run in runs],
        [run.last.number for run in runs],
        [run.last.next_token for run in runs],
        [run.last.digest for run in runs],
        [sum(len(page.detections) for page in run.pages) for run in runs],
        [run.last.model_version for run in runs],
        [run.last.duration_ms for run in runs],
        [None if run.last.metadata is None else _encode(run.last.metadata).decode() for run in runs],
        [run.pages[0].follows for run in runs],
    )
    return {row["id"] for row in accepted}


def _label_key(detection: Detection) -> LabelKey:
    label = detection.label
    return label.name, label.parent_name, label.taxonomy_level


def _runs(pages: Sequence[Page]) -> list[_Run]:
    """The pages of each job, as far as they follow each other: other readings of it may have sent some, too."""
    runs: dict[int, list[Page]] = {}
    for page in sorted(pages, key=attrgetter("job_id", "number")):
        run = runs.setdefault(page.job_id, [])
        if not run or (page.number == run[-1].number + 1 and page.follows == run[-1].digest):
            run.append(page)
    return [_Run(job_id, run) for job_id, run in runs.items()]
