"""SqlStore: the lineage graph in SQLite or PostgreSQL.

Whoever writes first puts the nodes that its reports name there, in the order of their keys, and locks them: so writers that
share a node wait for each other, never crosswise, and each sees all that the one before it wrote. Whoever changes a span holds
both of its ends; of a span that a report ends without naming it, the other end is locked where nobody holds it. Where somebody
does, all is begun again with the locks of all of them, in order. SQLite has one writer anyway.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import Database
from runway_streams.dependency.digests import SORTED_BY, edge_digest, node_digest
from runway_streams.dependency.edge import Direction, Edge, EdgeKey
from runway_streams.dependency.fold import Facts, History, Wholes, claimed, fold_edges, fold_facts, fold_wholes
from runway_streams.dependency.node import Node, node_type
from runway_streams.dependency.refusals import BadReport
from runway_streams.dependency.report import Report
from runway_streams.dependency.search import search_term, search_text
from runway_streams.dependency.store import MAX_SPANS, PAGE
from runway_streams.dependency.stores import tables
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.errors import DependencyDown

CHUNK = 5_000
"""Keys of one statement; SQLite takes 32,766 parameters at most."""
SCANNED = 1_000
"""Nodes whose edges a scan asks for at a time."""
TURNS = 20
"""How often a write is begun again, whose further nodes others held."""

NONE = "{}"
_decode_wholes = msgspec.json.Decoder(Wholes).decode
_decode_facts = msgspec.json.Decoder(dict[str, tuple[int, Any]]).decode
_EDGE = [tables.edges.c[name] for name in Edge.__struct_fields__]


class SqlStore:
    """A `LineageStore`. Every statement has the time limit of `Database`."""

    def __init__(self, database: Database, max_spans: int = MAX_SPANS):
        self._database, self._max_spans = database, max_spans

    @classmethod
    def open(cls, url: str | None, home: Path) -> "SqlStore":
        """Makes the store; nothing is connected yet. Raises ConfigError where the URL is none that we can use."""
        return cls(Database.open(url, home, MIGRATIONS))

    async def prepare(self) -> None:
        await self._database.prepare()

    async def identity(self) -> str:
        return ""

    async def apply(self, reports: Sequence[Report]) -> None:
        if not reports:
            return
        locked: set[str] = set()
        for _ in range(TURNS):
            try:
                async with self._database.write() as connection:
                    await _apply(connection, reports, locked, self._max_spans)
                return
            except _Held as error:
                locked |= error.nodes
        raise DependencyDown("Others change the same nodes of the lineage graph all the time.", "Try again.")

    async def nodes(self, ids: Collection[str]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        async with self._database.read() as connection:
            for keys in _chunks(map(node_digest, ids)):
                query = sa.select(tables.nodes.c.name, tables.nodes.c.facts)
                rows = await connection.execute(query.where(_among(connection, tables.nodes.c.key, keys)))
                found |= {name: _node(name, text) for name, text in rows}
        return found

    async def edges(
        self, nodes: Collection[str], direction: Direction, as_of: int | None = None, limit: int = PAGE
    ) -> list[Edge]:
        found: list[Edge] = []
        async with self._database.read() as connection:
            for keys in _chunks(map(node_digest, sorted(nodes))):
                found += await _edges_of(connection, keys, direction, as_of, limit - len(found))
                if len(found) >= limit:
                    break
        return found

    async def scan(self, as_of: int | None = None) -> AsyncIterator[list[Edge]]:
        last = ("", "")
        while names := await self._names_after(last):
            last = names[-1]
            after: Edge | None = None
            keys = [node_digest(name) for _, name in names]
            while page := await self._page(keys, as_of, after):
                yield page
                after = page[-1]

    async def find(self, text: str, types: Collection[str] = (), limit: int = 50) -> list[Node]:
        term = search_term(text)
        if term is None:
            return []
        nodes = tables.nodes.c
        query = sa.select(nodes.name, nodes.facts).where(nodes.search_text.contains(term, autoescape=True))
        if types:
            query = query.where(nodes.type.in_(sorted(types)))
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(nodes.sorted_by, nodes.name).limit(min(limit, PAGE)))
            return [_node(name, known) for name, known in rows]

    async def close(self) -> None:
        await self._database.close()

    aclose = close
    """For `contextlib.aclosing`."""

    async def _names_after(self, last: tuple[str, str]) -> list[tuple[str, str]]:
        nodes = tables.nodes.c
        beyond = sa.tuple_(nodes.sorted_by, nodes.name) > sa.tuple_(*last)
        query = sa.select(nodes.sorted_by, nodes.name).where(beyond).order_by(nodes.sorted_by, nodes.name).limit(SCANNED)
        async with self._database.read() as connection:
            return [(sorted_by, name) for sorted_by, name in await connection.execute(query)]

    async def _page(self, keys: list[bytes], as_of: int | None, after: Edge | None) -> list[Edge]:
        async with self._database.read() as connection:
            return await _edges_of(connection, keys, "downstream", as_of, PAGE, after)


class _Held(Exception):
    """Somebody else holds some of these nodes, which are to be locked from the beginning."""

    def __init__(self, nodes: set[str]):
        self.nodes = nodes


async def _apply(connection: AsyncConnection, reports: Sequence[Report], locked: set[str], most: int) -> None:
    named = {node for report in reports for node in report.node_ids()}
    await _put_nodes(connection, named)
    await _lock(connection, named | locked)
    await _put_facts(connection, reports)
    wholes = await _known_wholes(connection, named)
    await _put_wholes(connection, fold_wholes(wholes, reports))
    known = await _known_edges(connection, reports, most)
    changed = fold_edges(known, reports, wholes)
    more = {end for key in changed for end in (key.upstream, key.downstream)} - named - locked
    if not await _lock(connection, more, waits=False):
        raise _Held(more)
    await _put_edges(connection, known, changed)


async def _edges_of(
    connection: AsyncConnection,
    keys: list[bytes],
    direction: Direction,
    as_of: int | None,
    limit: int,
    after: Edge | None = None,
) -> list[Edge]:
    columns = tables.edges.c
    ends = ("upstream", "downstream") if direction == "downstream" else ("downstream", "upstream")
    order = [*(columns[end] for end in ends), columns.kind, columns.reporter]
    query = sa.select(*_EDGE).where(_among(connection, columns[f"{ends[0]}_key"], keys), _in_force(as_of))
    if after is not None:
        query = query.where(sa.tuple_(*order) > sa.tuple_(*(getattr(after, column.name) for column in order)))
    return [Edge(*row) for row in await connection.execute(query.order_by(*order).limit(limit))]


def _in_force(as_of: int | None) -> sa.ColumnElement[bool]:
    columns = tables.edges.c
    if as_of is None:
        return columns.valid_to.is_(None)
    return sa.and_(columns.valid_from <= as_of, sa.or_(columns.valid_to.is_(None), columns.valid_to > as_of))


async def _put_nodes(connection: AsyncConnection, names: set[str]) -> None:
    keys = {node_digest(name): name for name in names}
    rows = [_node_row(key, name) for key, name in sorted(keys.items())]
    if not rows:
        return
    await connection.execute(_dialect(connection).insert(tables.nodes).on_conflict_do_nothing(), rows)


async def _lock(connection: AsyncConnection, names: set[str], *, waits: bool = True) -> bool:
    """Locks nodes; without waiting those that nobody holds, and tells whether it has all of them."""
    if not _is_postgresql(connection):
        return True
    found = 0
    for chunk in _chunks(sorted(map(node_digest, names))):
        query = sa.select(sa.literal(1)).where(_among(connection, tables.nodes.c.key, chunk))
        query = query.order_by(tables.nodes.c.key).with_for_update(key_share=True, skip_locked=not waits)
        found += len((await connection.execute(query)).all())
    return found == len(names)


def _node_row(key: bytes, name: str) -> dict[str, Any]:
    return {
        "key": key,
        "name": name,
        "sorted_by": name[:SORTED_BY],
        "type": node_type(name),
        "search_text": search_text(name),
        "facts": NONE,
        "wholes": NONE,
    }


async def _put_facts(connection: AsyncConnection, reports: Sequence[Report]) -> None:
    nodes = tables.nodes.c
    told = {node.id for report in reports for node in report.nodes if node.facts}
    known: dict[str, Facts] = {}
    for keys in _chunks(map(node_digest, told)):
        query = sa.select(nodes.name, nodes.facts).where(_among(connection, nodes.key, keys))
        known |= {name: _decode_facts(text) for name, text in await connection.execute(query)}
    changed = [
        {"of": node_digest(name), "now": msgspec.json.encode(facts).decode()}
        for name, facts in fold_facts(known, reports).items()
    ]
    if changed:
        update = sa.update(tables.nodes).where(nodes.key == sa.bindparam("of")).values(facts=sa.bindparam("now"))
        await connection.execute(update, changed)


async def _known_wholes(connection: AsyncConnection, names: set[str]) -> dict[str, Wholes]:
    nodes = tables.nodes.c
    known: dict[str, Wholes] = {}
    for keys in _chunks(map(node_digest, names)):
        told = sa.and_(_among(connection, nodes.key, keys), nodes.wholes != NONE)
        known |= {
            name: _decode_wholes(text)
            for name, text in await connection.execute(sa.select(nodes.name, nodes.wholes).where(told))
        }
    return known


async def _put_wholes(connection: AsyncConnection, changed: dict[str, Wholes]) -> None:
    rows = [{"of": node_digest(name), "now": msgspec.json.encode(wholes).decode()} for name, wholes in changed.items()]
    if rows:
        update = sa.update(tables.nodes).where(tables.nodes.c.key == sa.bindparam("of"))
        await connection.execute(update.values(wholes=sa.bindparam("now")), rows)


async def _known_edges(connection: AsyncConnection, reports: Sequence[Report], most: int) -> dict[EdgeKey, History]:
    """All spans of the edges that reports claim, and of those that they may end by not claiming them. Raises BadReport."""
    found: set[Edge] = set()
    for condition in _conditions(connection, reports):
        # Not as a parameter: PostgreSQL would plan for a tenth of the rows, and read the whole table for the first of them.
        query = sa.select(*_EDGE).where(condition).limit(sa.literal_column(str(most + 1)))
        found |= {Edge(*row) for row in await connection.execute(query)}
        if len(found) > most:
            raise BadReport(f"The reports touch more than {most} spans of edges.", "Send fewer at a time.")
    known: dict[EdgeKey, History] = defaultdict(list)
    for edge in sorted(found, key=lambda edge: edge.valid_from):
        known[edge.key].append(edge)
    return known


def _conditions(connection: AsyncConnection, reports: Sequence[Report]) -> Iterator[sa.ColumnElement[bool]]:
    columns = tables.edges.c
    for keys in _chunks({edge_digest(key) for report in reports for key, _ in claimed(report)}):
        yield _among(connection, columns.key, keys)
    for reporter in {report.reporter for report in reports}:
        theirs = [report for report in reports if report.reporter == reporter]
        inputs = {node_digest(node) for report in theirs for node in report.whole_inputs}
        outputs = {node_digest(node) for report in theirs for node in report.whole_outputs}
        for column, nodes in ((columns.downstream_key, inputs), (columns.upstream_key, outputs)):
            for keys in _chunks(nodes):
                yield sa.and_(_among(connection, column, keys), columns.reporter == reporter)


async def _put_edges(connection: AsyncConnection, known: dict[EdgeKey, History], changed: dict[EdgeKey, History]) -> None:
    columns = tables.edges.c
    before = {(key, edge.valid_from): edge for key in changed for edge in known.get(key, [])}
    after = {(key, edge.valid_from): edge for key, edges in changed.items() for edge in edges}
    gone = [{"of": edge_digest(key), "since": since} for key, since in before.keys() - after.keys()]
    if gone:
        delete = sa.delete(tables.edges).where(
            columns.key == sa.bindparam("of"), columns.valid_from == sa.bindparam("since")
        )
        await connection.execute(delete, gone)
    rows = [_edge_row(edge) for name, edge in after.items() if before.get(name) != edge]
    if rows:
        insert = _dialect(connection).insert(tables.edges)
        changing = {name: insert.excluded[name] for name in ("valid_to", "last_seen", "source", "confidence")}
        same = [columns.key, columns.valid_from]
        await connection.execute(insert.on_conflict_do_update(index_elements=same, set_=changing), rows)


def _edge_row(edge: Edge) -> dict[str, Any]:
    ends = {"upstream_key": node_digest(edge.upstream), "downstream_key": node_digest(edge.downstream)}
    return {"key": edge_digest(edge.key), **ends, **msgspec.structs.asdict(edge)}


def _node(name: str, text: str) -> Node:
    return Node(name, {key: value for key, (_, value) in _decode_facts(text).items()})


def _among(connection: AsyncConnection, column: sa.ColumnElement, keys: list[bytes]) -> sa.ColumnElement[bool]:
    # One parameter, however many keys: the statement stays the same, and is planned once.
    if _is_postgresql(connection):
        return column == sa.any_(sa.bindparam(None, keys, ARRAY(sa.LargeBinary)))
    return column.in_(keys)


def _is_postgresql(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "postgresql"


def _dialect(connection: AsyncConnection) -> Any:
    return postgresql if _is_postgresql(connection) else sqlite


def _chunks(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    every = list(keys)
    return (every[begin : begin + CHUNK] for begin in range(0, len(every), CHUNK))
