"""Cypher: all that is asked of Neo4j. Texts are put together from constants alone; whatever comes from outside is a parameter.

    (:LineageNode {id, type, search_text, facts, wholes})-[:LINEAGE {edge, kind, reporter, source, confidence,
                                                                     valid_from, last_seen, valid_to}]->(:LineageNode)

A relationship is one span of an edge; `edge` is the digest of the edge's key. `facts` is JSON: key -> [time, value];
`wholes` is JSON, too: when all inputs or outputs of the node were told, see `fold.py`.

    (:LineageNode {id: 'graph', identity})

says which graph this is. It has the label of all others so that it goes where they go, an id that no node has, and neither a
type nor edges: no question finds it.
"""

from runway_streams.dependency.edge import Direction

SCHEMA = (
    "CREATE CONSTRAINT runway_lineage_node IF NOT EXISTS FOR (n:LineageNode) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT runway_lineage_span IF NOT EXISTS FOR ()-[s:LINEAGE]-() REQUIRE (s.edge, s.valid_from) IS UNIQUE",
    "CREATE TEXT INDEX runway_lineage_search IF NOT EXISTS FOR (n:LineageNode) ON (n.search_text)",
)
AWAIT_SCHEMA = "CALL db.awaitIndexes($seconds)"

IDENTITY = "MATCH (n:LineageNode {id: 'graph'}) RETURN n.identity"
MAKE_IDENTITY = "MERGE (n:LineageNode {id: 'graph'}) ON CREATE SET n.identity = randomUUID() RETURN n.identity"

# SET takes the node's write lock, also where nothing changes by it.
LOCK_NODES = """
UNWIND $rows AS row
MERGE (n:LineageNode {id: row.id})
ON CREATE SET n.facts = '{}', n.wholes = '{}'
SET n.type = row.type, n.search_text = row.search_text
"""
NODES = "MATCH (n:LineageNode) WHERE n.id IN $ids RETURN n.id, coalesce(n.facts, '{}')"
PUT_FACTS = "UNWIND $rows AS row MATCH (n:LineageNode {id: row.id}) SET n.facts = row.facts"
WHOLES = "MATCH (n:LineageNode) WHERE n.id IN $ids AND n.wholes <> '{}' RETURN n.id, n.wholes"
PUT_WHOLES = "UNWIND $rows AS row MATCH (n:LineageNode {id: row.id}) SET n.wholes = row.wholes"
FIND = """
MATCH (n:LineageNode) WHERE n.search_text CONTAINS $term AND n.type IN $types
RETURN n.id, coalesce(n.facts, '{}') ORDER BY n.id LIMIT $limit
"""

_EDGE = """
WITH u.id AS upstream, d.id AS downstream, s.kind AS kind, s.reporter AS reporter, s.source AS source,
       s.confidence AS confidence, s.valid_from AS valid_from, s.last_seen AS last_seen, s.valid_to AS valid_to
"""
# All in one record: a record each takes the driver longer than all that is in it.
_GIVEN = """
RETURN collect([upstream, downstream, kind, reporter, source, confidence, valid_from, last_seen, valid_to])
"""
# The lower bound lets the index of both properties be used.
SPANS_OF_EDGES = f"""
UNWIND $rows AS edge
MATCH (u:LineageNode)-[s:LINEAGE]->(d:LineageNode) WHERE s.edge = edge AND s.valid_from >= 0
{_EDGE} LIMIT $limit {_GIVEN}
"""
SPANS_INTO = f"""
UNWIND $rows AS row
MATCH (u:LineageNode)-[s:LINEAGE]->(d:LineageNode {{id: row[1]}}) WHERE s.reporter = row[0]
{_EDGE} LIMIT $limit {_GIVEN}
"""
SPANS_OUT = f"""
UNWIND $rows AS row
MATCH (u:LineageNode {{id: row[1]}})-[s:LINEAGE]->(d:LineageNode) WHERE s.reporter = row[0]
{_EDGE} LIMIT $limit {_GIVEN}
"""
DROP_SPANS = """
UNWIND $rows AS row
MATCH ()-[s:LINEAGE]->() WHERE s.edge = row.edge AND s.valid_from = row.valid_from
DELETE s
"""
PUT_SPANS = """
UNWIND $rows AS row
MATCH (u:LineageNode {id: row.upstream})
MATCH (d:LineageNode {id: row.downstream})
MERGE (u)-[s:LINEAGE {edge: row.edge, valid_from: row.valid_from}]->(d)
SET s.kind = row.kind, s.reporter = row.reporter, s.source = row.source, s.confidence = row.confidence,
    s.last_seen = row.last_seen, s.valid_to = row.valid_to
"""

_NOW = "s.valid_to IS NULL"
_THEN = "s.valid_from <= $as_of AND (s.valid_to IS NULL OR $as_of < s.valid_to)"
_NEAR: dict[Direction, str] = {"downstream": "u", "upstream": "d"}
_ORDER: dict[Direction, str] = {"downstream": "upstream, downstream", "upstream": "downstream, upstream"}


def edges(direction: Direction, as_of: int | None) -> str:
    """The edges away from $ids, at most $limit."""
    return f"""
    MATCH (u:LineageNode)-[s:LINEAGE]->(d:LineageNode)
    WHERE {_NEAR[direction]}.id IN $ids AND {_THEN if as_of is not None else _NOW}
    {_EDGE} ORDER BY {_ORDER[direction]}, kind, reporter LIMIT $limit {_GIVEN}
    """


def page(as_of: int | None) -> str:
    """The edges behind that of $upstream and $rest (downstream, kind, reporter), in their order, at most $limit."""
    return f"""
    MATCH (u:LineageNode) WHERE u.id >= $upstream
    WITH u ORDER BY u.id
    MATCH (u)-[s:LINEAGE]->(d:LineageNode)
    WHERE {_THEN if as_of is not None else _NOW} AND (u.id > $upstream OR [d.id, s.kind, s.reporter] > $rest)
    {_EDGE} ORDER BY upstream, downstream, kind, reporter LIMIT $limit {_GIVEN}
    """
