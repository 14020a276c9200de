"""DOT: a part of the graph as Graphviz draws it, the same text for the same graph."""

from collections.abc import Iterable

from runway_streams.dependency.edge import Edge
from runway_streams.dependency.node import NodeType, parse_node

SHAPES: dict[NodeType, str] = {
    "source": "cylinder",
    "dataset": "box",
    "feature": "ellipse",
    "flow": "cds",
    "run": "oval",
    "model": "hexagon",
    "version": "octagon",
    "consumer": "note",
}
STYLES = {"declared": "solid", "observed": "solid", "inferred": "dashed"}


def to_dot(edges: Iterable[Edge], nodes: Iterable[str] = ()) -> str:
    """A digraph of edges, and of nodes that may have none. What several reporters tell is drawn once, dashed where all of them
    infer it. The caller bounds the edges: a walk's limits do.

    >>> print(to_dot([Edge("dataset:a/b", "model:m", "feeds", "r", "declared", 1.0, 1, 1)]), end="")
    digraph lineage {
      rankdir=LR;
      "dataset:a/b" [label="a\\nb", shape=box];
      "model:m" [label="m", shape=hexagon];
      "dataset:a/b" -> "model:m" [label="feeds", style=solid];
    }
    """
    styles: dict[tuple[str, str, str], set[str]] = {}
    for edge in edges:
        styles.setdefault((edge.upstream, edge.downstream, edge.kind), set()).add(STYLES[edge.source])
    every = sorted({*nodes, *(end for upstream, downstream, _ in styles for end in (upstream, downstream))})
    lines = [f"  {quoted(node)} [label={label(node)}, shape={SHAPES[parse_node(node).type]}];" for node in every]
    for (upstream, downstream, kind), found in sorted(styles.items()):
        style = "solid" if "solid" in found else "dashed"
        lines.append(f"  {quoted(upstream)} -> {quoted(downstream)} [label={quoted(kind)}, style={style}];")
    return "\n".join(["digraph lineage {", "  rankdir=LR;", *lines, "}", ""])


def quoted(text: str) -> str:
    """A string of DOT. A backslash would begin an escape of Graphviz, and an `&` one of HTML, which it reads in labels.

    >>> print(quoted('a "b" \\\\N &lt; <c>'))
    "a \\"b\\" \\\\N &amp;lt; <c>"
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") + '"'


def label(node: str) -> str:
    """A node's name for people, decoded: namespace above name, of a version the model above it."""
    name = parse_node(node)
    parts = [quoted(part)[1:-1] for part in (name.namespace, name.name) if part]
    return '"' + "\\n".join(parts) + '"'
