"""Cursors: how far each follower has come with what it follows: the registry's changes, the runs of a flow."""

from typing import TypeVar

import msgspec
import sqlalchemy as sa

from runway_streams.database import Database, insert_new
from runway_streams.dependency.stores.tables import cursors

T = TypeVar("T")


class Cursors:
    """One value a follower, of whom one works at a time. Every method raises DependencyDown."""

    def __init__(self, database: Database):
        self._database = database

    async def get(self, name: str, default: T) -> T:
        """How far it has come; the default, whose type a cursor has, before the first time."""
        async with self._database.read() as connection:
            found = await connection.execute(sa.select(cursors.c.value).where(cursors.c.name == name))
            text = found.scalar_one_or_none()
        return default if text is None else msgspec.json.decode(text, type=type(default))

    async def put(self, name: str, value: object) -> None:
        """It has come this far."""
        text = msgspec.json.encode(value).decode()
        async with self._database.write() as connection:
            if not await insert_new(connection, cursors, name=name, value=text):
                await connection.execute(cursors.update().where(cursors.c.name == name).values(value=text))
