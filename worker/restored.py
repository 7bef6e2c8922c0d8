"""Whether jobs may have been bought that this database knows nothing of, since it was restored from an old backup."""

from __future__ import annotations

from typing import Literal

from worker.app import Application
from worker.errors import UsageError
from worker.store.guards import Guards, Suspicion

Word = Literal["not restored", "restored"]
"""What an operator says of a database whose newest trace of work is old."""


async def refuse_old_past(application: Application, word: Word | None) -> int:
    """Let nobody buy again, unawares, what a restored database has forgotten; returns how many videos became uncertain.

    Raises:
        UsageError: if the past of the database is older than AWS's memory of tokens, and no word was given.

    """
    guards = Guards(application.database)
    suspicion = await guards.suspicion(application.settings.aws.reliable_token_seconds)
    if suspicion is None:
        return 0
    if word is None:
        raise UsageError(_what_is_suspected(suspicion))
    marked = 0
    if word == "restored":
        while some := await guards.mark_uncertain(suspicion):
            marked += some
    await guards.accept(suspicion, word, application.operator)
    return marked


def _what_is_suspected(suspicion: Suspicion) -> str:
    days = suspicion.age_seconds / 86_400
    return (
        f"this database was last worked on {days:.1f} days ago, and {suspicion.videos:,} videos that are not bought "
        "yet are older than that; if it was restored from a backup, what was bought since would be bought again, as "
        "AWS has forgotten the tokens: give --restored to set those videos aside as uncertain, or --not-restored if "
        "nothing has worked on them since"
    )
