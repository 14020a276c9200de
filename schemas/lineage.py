"""Lineage: what the API takes and tells about what models are made from, and who uses them."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from schemas.answers import Cursor, Time

NodeId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4096,
        description="TYPE:NAMESPACE/NAME, percent-encoded each, or model:ID or model:ID@VERSION.",
    ),
]
NodeKind = Literal["source", "dataset", "feature", "flow", "run", "model", "version", "consumer"]
Way = Literal["upstream", "downstream"]
EdgeKind = Literal["feeds", "produces", "triggers", "version_of"]
Stopped = Annotated[
    Literal["", "nodes", "edges", "time"], Meta(description="The limit that ended the search early; empty where none did.")
]
LineageDegraded = Annotated[
    list[Literal["lineage"]],
    Meta(description="lineage: the graph does not answer, or not in time; this is an older answer, or none."),
]
AnsweredAt = Annotated[
    Time | None,
    Meta(description="When the graph has answered so; null where it does not answer and no answer of before is known."),
]
Facts = Annotated[dict[Annotated[str, Meta(max_length=64)], Any], Meta(max_length=32)]

OnBehalfOf = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="key:PREFIX or oidc:SUBJECT whose word this is, in place of one's own; for operators.",
    ),
]


class DeclaredEdge(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What somebody says by hand: `downstream` is made from `upstream`, or uses it."""

    upstream: NodeId
    downstream: NodeId
    kind: EdgeKind = "feeds"
    confidence: Annotated[float, Meta(gt=0, le=1)] = 1.0


class DeclaredNode(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A node and facts about it, such as title, owner and criticality."""

    id: NodeId
    facts: Facts = {}


class Declaration(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Edges and nodes that whoever sends this declares, under the name `reporter` where they declare several things. Their earlier
    edges of that name into the nodes of `whole_inputs`, and out of those of `whole_outputs`, end where they are not declared
    again: to take one back, declare the others."""

    edges: Annotated[list[DeclaredEdge], Meta(max_length=10_000)] = []
    nodes: Annotated[list[DeclaredNode], Meta(max_length=10_000)] = []
    whole_inputs: Annotated[list[NodeId], Meta(max_length=10_000)] = []
    whole_outputs: Annotated[list[NodeId], Meta(max_length=10_000)] = []
    reporter: Annotated[str, Meta(min_length=1, max_length=40)] = "declared"
    on_behalf_of: OnBehalfOf | None = None


class Declared(Struct, kw_only=True):
    """`in_graph` is false where the graph does not answer now: the declaration is kept, and brought there later."""

    in_graph: bool
    edges: int


class EdgeItem(Struct, kw_only=True):
    """An edge: who says so, how sure that is, and since when."""

    upstream: str
    downstream: str
    kind: EdgeKind
    reporter: str
    source: Literal["declared", "observed", "inferred"]
    confidence: float
    first_seen: Time
    last_seen: Time


class LineageItem(Struct, kw_only=True):
    """A node that is reached, by which shortest path; `confidence` is the product along it, `edges` are the evidence."""

    id: str
    type: NodeKind
    distance: int
    path: list[str]
    confidence: float
    criticality: str
    owner: str
    title: str
    edges: list[EdgeItem]


class Radius(Struct, kw_only=True):
    """How far it reaches, whatever page is shown."""

    nodes: int
    by_type: dict[str, int]
    models_by_criticality: dict[str, int]
    owners: list[str]
    furthest: int


class LineagePage(Struct, kw_only=True):
    """What lies in a direction from a node, most critical first, then nearest."""

    node: str
    direction: Way
    depth: int
    as_of: Time | None
    items: list[LineageItem]
    next_cursor: Cursor
    blast_radius: Radius
    stopped: Stopped
    answered_at: AnsweredAt
    degraded: LineageDegraded


class DiscoveryState(Struct, kw_only=True):
    """How it stands with the lineage of a version's run: pending until Metaflow has answered and the run has ended
    well, for two weeks at most; unknown where Metaflow has said for a week that there is no such run."""

    run: str
    state: Literal["pending", "done", "unknown"]
    attempts: int
    next_at: Time | None
    problem: str
    updated_at: Time


class NodeItem(Struct, kw_only=True):
    """A node, and what is known of it."""

    id: str
    type: NodeKind
    facts: dict[str, Any]


class NodePage(Struct, kw_only=True):
    """Nodes by name; at most `limit`, without a next page: ask more closely."""

    items: list[NodeItem]
    next_cursor: Cursor
    answered_at: AnsweredAt
    degraded: LineageDegraded


class CycleItem(Struct, kw_only=True):
    """Nodes that all reach each other, at most 200 of the `size` that there are, with one shortest loop, of a longer one its first
    200 nodes; `feedback` where a model is among them."""

    path: list[str]
    nodes: list[str]
    size: int
    models: list[str]
    feedback: bool


class CyclePage(Struct, kw_only=True):
    """The loops of the graph; `whole` is false where they, or its edges, are too many to look at all, or took too long."""

    items: list[CycleItem]
    next_cursor: Cursor
    edges: int
    whole: bool
    answered_at: AnsweredAt
    degraded: LineageDegraded


class IncidentMember(Struct, kw_only=True):
    """What an incident explains, and the path from its root."""

    id: str
    path: list[str]


class IncidentItem(Struct, kw_only=True):
    """Several that ail, folded to the highest of them: an alert is due for `root` alone."""

    root: str
    state: str
    since: Time
    models: list[str]
    members: list[IncidentMember]


class IncidentPage(Struct, kw_only=True):
    """What ails now, largest incident first. While the graph does not answer each that ails is told by itself, as of now too: no
    older answer is given."""

    items: list[IncidentItem]
    next_cursor: Cursor
    whole: bool
    answered_at: Annotated[Time, Meta(description="When it was told what ails: now, with the graph or without.")]
    degraded: LineageDegraded
