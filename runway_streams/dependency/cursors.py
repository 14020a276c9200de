"""Cursors: how far each follower has come with what it follows: the registry's changes, the runs of a flow.

What was told was told to one graph. Whoever follows names its cursor by that (`cursor_name`), so that one who is late with what
it told to another graph says nothing of this one.
"""

from typing import TypeVar

import msgspec
import sqlalchemy as sa

from runway_streams.database import Database, insert_new
from runway_streams.dependency.stores.tables import cursors

GRAPH = "graph"
T = TypeVar("T")


def cursor_name(follower: str, graph: str) -> str:
    """The name of a follower's cursor, for what it tells a graph.

    >>> cursor_name("registry", "5d1f")
    'registry@5d1f'
    """
    return f"{follower}@{graph}"


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

    async def graph(self) -> str:
        """The graph that followers tell, by its identity; "" before any is known."""
        return await self.get(GRAPH, "")

    async def begin_anew(self, graph: str) -> None:
        """Followers tell this graph from now on, from the beginning."""
        async with self._database.write() as connection:
            await connection.execute(cursors.delete())
            await insert_new(connection, cursors, name=GRAPH, value=msgspec.json.encode(graph).decode())
