"""Neo4jStore: the lineage graph in Neo4j 5, by its official driver.

A writer first takes the write locks of the nodes that its reports name, in the order of their names; whoever changes a span
holds both of its ends. So writers that share a node wait for each other, and each sees all that the one before it wrote. Should
two hold crosswise what the other wants, Neo4j ends one of them, and the driver begins that one again.
"""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import asdict
from neo4j import AsyncDriver, AsyncGraphDatabase, AsyncManagedTransaction, AsyncSession, unit_of_work
from neo4j.exceptions import ConfigurationError, DriverError, Neo4jError

from runway_streams.dependency.digests import edge_digest
from runway_streams.dependency.edge import Direction, Edge, EdgeKey
from runway_streams.dependency.fold import Facts, History, Wholes, claimed, fold_edges, fold_facts, fold_wholes
from runway_streams.dependency.node import TYPES, Node, node_type
from runway_streams.dependency.refusals import BadReport
from runway_streams.dependency.report import Report
from runway_streams.dependency.search import search_term, search_text
from runway_streams.dependency.store import MAX_SPANS, PAGE
from runway_streams.dependency.stores import cypher
from runway_streams.errors import DependencyDown, TooSlow
from runway_streams.neo4j_address import Neo4jAddress

POOL = 8
"""Connections of one process."""
CONNECT_S = 5.0
RETRY_S, FIRST_RETRY_S = 3.0, 0.1
"""For how long a transaction that failed is begun again, and the pause before the first time; later ones are longer."""
ROWS = 5_000
"""Rows of one statement."""
MAX_INTEGER = 2**63 - 1

_MADE_MEANWHILE = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"
# A statement that Neo4j does not understand, or a rule of its schema that was broken: our mistake, no outage.
_BUGS = ("Neo.ClientError.Statement.", "Neo.ClientError.Schema.ConstraintValidationFailed", _MADE_MEANWHILE)
# A rule that cannot be made, for other data or another rule is there.
_TAKEN = ("Neo.ClientError.Schema.", "Neo.DatabaseError.Schema.")
# Its limits of time, and of memory for one transaction or all at once.
_TOO_MUCH = (
    "Neo.ClientError.Transaction.TransactionTimedOut",
    "Neo.TransientError.General.MemoryPoolOutOfMemoryError",
    "Neo.TransientError.General.TransactionOutOfMemoryError",
    "Neo.TransientError.General.OutOfMemoryError",
)
_REFUSED = "Neo.ClientError.Security."
_NO_DATABASE = "Neo.ClientError.Database.DatabaseNotFound"
_FIRST: dict[str, Any] = {"upstream": "", "rest": ["", "", ""]}
T = TypeVar("T")
Work = AsyncManagedTransaction
Rows = list[dict[str, Any]]


class Limits(Struct, frozen=True):
    """How many seconds a question and a change may take, with all that the driver tries again; Neo4j gives the transaction up
    by itself then. How many spans the reports of one call may touch."""

    read_s: float = 10.0
    write_s: float = 60.0
    spans: int = MAX_SPANS


DEFAULT_LIMITS = Limits()


class Neo4jStore:
    """A `LineageStore`. Every question has a time limit, here and at the server."""

    def __init__(self, driver: AsyncDriver, address: Neo4jAddress, limits: Limits = DEFAULT_LIMITS):
        self._driver, self._address, self._limits = driver, address, limits

    @classmethod
    def open(cls, url: str, limits: Limits = DEFAULT_LIMITS) -> "Neo4jStore":
        """Makes the driver; nothing is connected yet. Raises ConfigError where the URL is none that we can use."""
        address = Neo4jAddress.parse(url)
        driver = AsyncGraphDatabase.driver(
            address.uri,
            auth=address.auth,
            max_connection_pool_size=POOL,
            connection_timeout=CONNECT_S,
            connection_acquisition_timeout=limits.read_s,
            max_transaction_retry_time=RETRY_S,
            initial_retry_delay=FIRST_RETRY_S,  # type: ignore[call-overload]  # not documented; by itself it is 1 s
            telemetry_disabled=True,
            notifications_min_severity="OFF",  # an empty graph has no such labels yet
        )
        return cls(driver, address, limits)

    async def prepare(self) -> None:
        for statement in cypher.SCHEMA:
            try:
                await self._write(partial(_run, query=statement))
            except Neo4jError as error:
                if error.code != _MADE_MEANWHILE:  # by another process, between its look and its making
                    raise
        await self._read(lambda work: _run(work, cypher.AWAIT_SCHEMA, seconds=int(self._limits.read_s)))

    async def identity(self) -> str:
        # Read first, for it is asked for all the time; made by the leader of a cluster alone.
        found = await self._read(partial(_run, query=cypher.IDENTITY))
        ((identity,),) = found or await self._write(partial(_run, query=cypher.MAKE_IDENTITY))
        return identity

    async def apply(self, reports: Sequence[Report]) -> None:
        if reports:
            await self._write(lambda work: _apply(work, reports, self._limits.spans))

    async def nodes(self, ids: Collection[str]) -> dict[str, Node]:
        async def ask(work: Work) -> dict[str, Node]:
            return {name: _node(name, text) for name, text in await _texts(work, ids)}

        return await self._read(ask)

    async def edges(
        self, nodes: Collection[str], direction: Direction, as_of: int | None = None, limit: int = PAGE
    ) -> list[Edge]:
        query, at = cypher.edges(direction, as_of), _bounded(as_of)

        async def ask(work: Work) -> list[Edge]:
            found: list[Edge] = []
            for ids in _chunks(sorted(nodes)):
                if len(found) < limit:
                    found += await _edges(work, query, ids=ids, as_of=at, limit=_bounded(limit - len(found)))
            return found

        return await self._read(ask)

    async def scan(self, as_of: int | None = None) -> AsyncIterator[list[Edge]]:
        query, after = cypher.page(as_of), _FIRST
        more: dict[str, Any] = {"as_of": _bounded(as_of), "limit": PAGE}
        while page := await self._read(partial(_edges, query=query, **after, **more)):
            yield page
            last = page[-1]
            after = {"upstream": last.upstream, "rest": [last.downstream, last.kind, last.reporter]}

    async def find(self, text: str, types: Collection[str] = (), limit: int = 50) -> list[Node]:
        term = search_term(text)
        if term is None:
            return []
        given = {"term": term, "types": sorted(types) or list(TYPES), "limit": min(limit, PAGE)}
        return [_node(*row) for row in await self._read(lambda work: _run(work, cypher.FIND, **given))]

    async def close(self) -> None:
        await self._driver.close()

    aclose = close
    """For `contextlib.aclosing`."""

    async def _read(self, work: Callable[[Work], Awaitable[T]]) -> T:
        async with self._session(self._limits.read_s) as session:
            return await session.execute_read(unit_of_work(timeout=self._limits.read_s)(work))

    async def _write(self, work: Callable[[Work], Awaitable[T]]) -> T:
        async with self._session(self._limits.write_s) as session:
            return await session.execute_write(unit_of_work(timeout=self._limits.write_s)(work))

    @contextlib.asynccontextmanager
    async def _session(self, seconds: float) -> AsyncIterator[AsyncSession]:
        with self._errors(seconds):
            async with asyncio.timeout(seconds), self._driver.session(database=self._address.database) as session:
                yield session

    @contextlib.contextmanager
    def _errors(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise _down(self._address, f"nothing came within {seconds:.0f} s", TooSlow) from error
        except Neo4jError as error:
            code = error.code or ""
            if code.startswith(_BUGS):
                raise
            kind = TooSlow if code.startswith(_TOO_MUCH) else DependencyDown
            if code.startswith(_TAKEN):
                raise _taken(self._address, error) from error
            raise _refused(self._address, code) or _down(self._address, error.message or code, kind) from error
        except (DriverError, OSError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise _down(self._address, next(iter(str(error).splitlines()), "") or type(error).__name__) from error


def _down(address: Neo4jAddress, why: str, kind: type[DependencyDown] = DependencyDown) -> DependencyDown:
    sentence = f"The lineage graph at {address.uri} does not answer: {why.rstrip('.:')}."
    return kind(sentence, "Start Neo4j, or check RUNWAY_NEO4J.")


def _taken(address: Neo4jAddress, error: Neo4jError) -> DependencyDown:
    why = next(iter((error.message or error.code or "").splitlines()), "")
    sentence = f"The lineage graph at {address.uri} cannot be used, for other data is in its place: {why.rstrip('.:')}."
    remedy = "Take away what has the label LineageNode or the type LINEAGE, or name another database in RUNWAY_NEO4J."
    return DependencyDown(sentence, remedy)


def _refused(address: Neo4jAddress, code: str) -> DependencyDown | None:
    if code == _NO_DATABASE:
        sentence = f"The lineage graph at {address.uri} has no database {address.database!r}."
        return DependencyDown(sentence, "Make it, or name another at the end of RUNWAY_NEO4J.")
    if code.startswith(_REFUSED):
        why = code.removeprefix(_REFUSED)
        sentence = f"The lineage graph at {address.uri} does not let {address.user or 'nobody'!r} in: {why}."
        return DependencyDown(sentence, "Check the user and the password in RUNWAY_NEO4J, and what that user may do.")
    return None


async def _apply(work: Work, reports: Sequence[Report], most: int) -> None:
    named = {node for report in reports for node in report.node_ids()}
    await _lock(work, named)
    facts = {name: _decode(text) for name, text in await _texts(work, {node.id for one in reports for node in one.nodes})}
    changed = [{"id": name, "facts": json.dumps(now)} for name, now in fold_facts(facts, reports).items()]
    await _each(work, cypher.PUT_FACTS, changed)
    wholes = await _wholes(work, named)
    told = [{"id": name, "wholes": json.dumps(now)} for name, now in fold_wholes(wholes, reports).items()]
    await _each(work, cypher.PUT_WHOLES, told)
    known = await _known(work, reports, most)
    await _lock(work, {end for key in known for end in (key.upstream, key.downstream)} - named)
    await _put(work, known, fold_edges(known, reports, wholes))


async def _lock(work: Work, names: Collection[str]) -> None:
    rows = [{"id": name, "type": node_type(name), "search_text": search_text(name)} for name in sorted(names)]
    await _each(work, cypher.LOCK_NODES, rows)


async def _known(work: Work, reports: Sequence[Report], most: int) -> dict[EdgeKey, History]:
    """All spans of the edges that reports claim, and of those that they may end by not claiming them."""
    keys = sorted({edge_digest(key).hex() for report in reports for key, _ in claimed(report)})
    inputs = {(report.reporter, node) for report in reports for node in report.whole_inputs}
    outputs = {(report.reporter, node) for report in reports for node in report.whole_outputs}
    asked: list[tuple[str, list]] = [(cypher.SPANS_OF_EDGES, keys)]
    asked += [(cypher.SPANS_INTO, sorted(inputs)), (cypher.SPANS_OUT, sorted(outputs))]
    found: set[Edge] = set()
    for query, rows in asked:
        for some in _chunks(rows):
            found.update(await _edges(work, query, rows=some, limit=most + 1))
            if len(found) > most:
                raise BadReport(f"The reports touch more than {most} spans of edges.", "Send fewer at a time.")
    known: dict[EdgeKey, History] = defaultdict(list)
    for edge in sorted(found, key=lambda one: one.valid_from):
        known[edge.key].append(edge)
    return known


async def _put(work: Work, known: dict[EdgeKey, History], changed: dict[EdgeKey, History]) -> None:
    before = {(key, edge.valid_from): edge for key in changed for edge in known.get(key, [])}
    after = {(key, edge.valid_from): edge for key, history in changed.items() for edge in history}
    gone = [{"edge": edge_digest(key).hex(), "valid_from": since} for key, since in sorted(before.keys() - after.keys())]
    await _each(work, cypher.DROP_SPANS, gone)
    rows = [{"edge": edge_digest(one[0]).hex(), **asdict(edge)} for one, edge in after.items() if before.get(one) != edge]
    await _each(work, cypher.PUT_SPANS, rows)


async def _texts(work: Work, ids: Collection[str]) -> list[list[str]]:
    """Names and facts, as they are stored."""
    return [row for some in _chunks(list(ids)) for row in await _run(work, cypher.NODES, ids=some)]


async def _wholes(work: Work, ids: Collection[str]) -> dict[str, Wholes]:
    found = [row for some in _chunks(list(ids)) for row in await _run(work, cypher.WHOLES, ids=some)]
    return {name: json.loads(text) for name, text in found}


async def _edges(work: Work, query: str, **parameters: Any) -> list[Edge]:
    ((rows,),) = await _run(work, query, **parameters)
    return [Edge(*row) for row in rows]


async def _each(work: Work, query: str, rows: Rows) -> None:
    for some in _chunks(rows):
        await _run(work, query, rows=some)


async def _run(work: Work, query: str, **parameters: Any) -> list[list[Any]]:
    return await (await work.run(query, parameters)).values()  # type: ignore[arg-type]  # no text from outside is in it


def _node(name: str, text: str) -> Node:
    return Node(name, {key: value for key, (_, value) in _decode(text).items()})


def _decode(text: str) -> Facts:
    return {key: (at, value) for key, (at, value) in json.loads(text).items()}


def _bounded(number: int | None) -> int | None:
    # Neo4j has integers of 64 bits; any time or limit beyond means the same.
    return number if number is None else min(number, MAX_INTEGER)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    every = list(items)
    return (every[begin : begin + ROWS] for begin in range(0, len(every), ROWS))
