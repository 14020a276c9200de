"""What a question about lineage may ask, and a 400 that names what is wrong with it."""

from collections.abc import Mapping
from typing import get_args

from api.problems import bad_request
from api.query import parse_time
from runway_streams.dependency.edge import Direction
from runway_streams.dependency.node import TYPES, parse_node
from runway_streams.dependency.walk import DEFAULT_DEPTH, MAX_DEPTH
from runway_streams.times import DAY

MAX_TYPES = 200
"""Characters of a list of types."""


def parse_node_parameter(given: Mapping[str, str]) -> str:
    """The node that is asked about, as it is stored. Raises Problem, or BadNode."""
    if "node" not in given:
        raise bad_request("missing-parameter", "node is missing; it names what the question is about, such as model:ID.")
    return str(parse_node(given["node"]))


def parse_direction(given: Mapping[str, str], default: Direction) -> Direction:
    """Upstream or downstream."""
    text = given.get("direction", default)
    if text not in get_args(Direction):
        raise bad_request("bad-direction", f"direction is {text[:50]!r}; it must be upstream or downstream.")
    return text  # type: ignore[return-value]


def parse_depth(given: Mapping[str, str]) -> int:
    """How far to look.

    >>> parse_depth({}), parse_depth({"depth": "7"})
    (5, 7)
    """
    text = given.get("depth", str(DEFAULT_DEPTH))
    if len(text) > 3 or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_DEPTH:
        raise bad_request("bad-depth", f"depth is {text[:50]!r}; it must be a whole number from 1 to {MAX_DEPTH}.")
    return int(text)


def parse_as_of(given: Mapping[str, str], now: int) -> int | None:
    """The moment whose lineage is asked for, in ms; None for now."""
    if "as_of" not in given:
        return None
    at = parse_time("as_of", given["as_of"][:50])
    if at > now + DAY:
        raise bad_request("bad-as-of", "as_of lies in the future; lineage is known up to now.")
    return max(at, 0)


def parse_types(given: Mapping[str, str]) -> tuple[str, ...]:
    """The types that are wanted, separated by commas; none for all.

    >>> parse_types({"type": "model,dataset"})
    ('model', 'dataset')
    """
    names = tuple(name for name in given.get("type", "")[:MAX_TYPES].split(",") if name)
    for name in names:
        if name not in TYPES:
            raise bad_request("bad-type", f"type has {name[:50]!r}; known are {', '.join(TYPES)}.")
    return names
