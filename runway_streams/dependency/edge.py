"""Edge: one thing is made from another, who says so, how sure that is, and from when to when it was so.

Edges point downstream, the way that data flows and that trouble spreads: `upstream` is needed to make `downstream`.

| kind | from -> to | meaning |
|---|---|---|
| `feeds` | source, dataset, feature, model -> dataset, feature, model, version, flow, consumer | is read by, is an input of |
| `produces` | flow, run, model -> dataset, feature, model, version, run | makes it |
| `triggers` | flow -> flow, run -> run | starts it when it is done, has started it |
| `version_of` | version -> model | is one of its versions |
"""

from typing import Literal

from msgspec import Struct

Kind = Literal["feeds", "produces", "triggers", "version_of"]
Source = Literal["declared", "observed", "inferred"]
Direction = Literal["upstream", "downstream"]
KINDS: tuple[Kind, ...] = ("feeds", "produces", "triggers", "version_of")


class EdgeKey(Struct, frozen=True, order=True):
    """What makes two tellings the same edge; each reporter's word is kept apart, so that one can take back only its own."""

    upstream: str
    downstream: str
    kind: Kind
    reporter: str


class Edge(Struct, frozen=True):
    """An edge over one span of time: `valid_from` <= t < `valid_to` in epoch ms, None while it is in force. `last_seen` is
    the last time that its reporter told of it in that span. `confidence` lies in (0, 1]."""

    upstream: str
    downstream: str
    kind: Kind
    reporter: str
    source: Source
    confidence: float
    valid_from: int
    last_seen: int
    valid_to: int | None = None

    @property
    def key(self) -> EdgeKey:
        return EdgeKey(self.upstream, self.downstream, self.kind, self.reporter)

    def far_end(self, direction: Direction) -> str:
        """Where one arrives by it."""
        return self.downstream if direction == "downstream" else self.upstream

    def near_end(self, direction: Direction) -> str:
        """Where one comes from."""
        return self.upstream if direction == "downstream" else self.downstream

    def is_valid(self, at: int | None) -> bool:
        """Whether it is in force at a time, or now.

        >>> edge = Edge("dataset:a/b", "model:m", "feeds", "registry", "declared", 1.0, 10, 15, 20)
        >>> [edge.is_valid(at) for at in (9, 10, 19, 20, None)]
        [False, True, True, False, False]
        """
        if at is None:
            return self.valid_to is None
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)


class Claim(Struct, frozen=True):
    """An edge as a report tells of it."""

    upstream: str
    downstream: str
    kind: Kind = "feeds"
    source: Source = "observed"
    confidence: float = 1.0
