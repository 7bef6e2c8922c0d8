"""Looks, while a program runs, whether its database was migrated to what does not serve it any more."""

from __future__ import annotations

from worker.store import migrate
from worker.store.database import Database, patient


class Upgrades:
    """What newer programs have done to the database; the program's own files are read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._own = migrate.shipped()

    @patient
    async def refuse_newer_schema(self) -> None:
        """Return while the database serves this program.

        Raises:
            DatabaseError: if it does so no more.

        """
        async with self._database.pool.acquire() as connection:
            await migrate.refuse_newer_schema(connection, self._own)
