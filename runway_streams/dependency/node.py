"""Node: one thing in the lineage graph, and its name.

| type | name | what |
|---|---|---|
| `source` | `source:NAMESPACE/NAME` | a system that data comes from |
| `dataset` | `dataset:NAMESPACE/NAME` | a table, a topic, a file |
| `feature` | `feature:NAMESPACE/NAME` | a feature, or a column of a table |
| `flow` | `flow:NAMESPACE/NAME` | a job: a Metaflow flow, an OpenLineage job |
| `run` | `run:NAMESPACE/NAME` | one run of a flow that made a model's version |
| `model` | `model:ID` | a model |
| `version` | `model:ID@VERSION` | one version of it |
| `consumer` | `consumer:NAMESPACE/NAME` | a dashboard, a service, a report |

Namespace and name are percent-encoded each, so that they may hold anything: `dataset:s3%3A%2F%2Flake/raw%2Fflights`.
"""

import re
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote

from msgspec import Struct

from runway_streams.dependency.refusals import BadNode
from schemas.patterns import MODEL_ID, VERSION_NAME

NodeType = Literal["source", "dataset", "feature", "flow", "run", "model", "version", "consumer"]
NAMED: tuple[NodeType, ...] = ("source", "dataset", "feature", "flow", "run", "consumer")
TYPES: tuple[NodeType, ...] = (*NAMED, "model", "version")
MAX_PART = 512
"""Characters of a namespace or a name, before they are encoded."""
MAX_ID = 4096
"""Characters of a node's name as it is written."""
DEFAULT_NAMESPACE = "default"
_FORM = "Write TYPE:NAMESPACE/NAME, percent-encoded each, or model:ID or model:ID@VERSION."
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_WITH_SLASH = ("file", "hdfs")
"""Filesystems have paths, object stores and databases have keys."""
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class NodeName(NamedTuple):
    """A node's name, decoded: of a model the name is its id, and of a version the namespace is the model's id.

    >>> str(NodeName("dataset", "s3://lake", "raw/flights"))
    'dataset:s3%3A%2F%2Flake/raw%2Fflights'
    >>> str(NodeName("version", "fraud", "7")), str(NodeName("model", "", "fraud"))
    ('model:fraud@7', 'model:fraud')
    """

    type: NodeType
    namespace: str
    name: str

    def __str__(self) -> str:
        if self.type == "model":
            return f"model:{self.name}"
        if self.type == "version":
            return f"model:{self.namespace}@{self.name}"
        return f"{self.type}:{quote(self.namespace, safe='')}/{quote(self.name, safe='')}"


class Node(Struct, frozen=True):
    """A node and what is known of it besides: a title, an owner, a criticality; `facts` is a small JSON object."""

    id: str
    facts: dict[str, Any] = {}

    @property
    def type(self) -> NodeType:
        return node_type(self.id)


def parse_node(text: str) -> NodeName:
    """Reads a node's name. Raises BadNode, which says what is wrong with it.

    >>> parse_node("dataset:s3%3A%2F%2Flake/raw%2Fflights")
    NodeName(type='dataset', namespace='s3://lake', name='raw/flights')
    >>> parse_node("model:fraud@7")
    NodeName(type='version', namespace='fraud', name='7')
    >>> parse_node("table:a/b")
    Traceback (most recent call last):
    ...
    runway_streams.dependency.refusals.BadNode: 'table:a/b' has no type that is known. Types are source, dataset, feature, flow, \
run, consumer, model. Write TYPE:NAMESPACE/NAME, percent-encoded each, or model:ID or model:ID@VERSION.
    """
    shown = text[:80]
    if len(text) > MAX_ID:
        raise BadNode(f"{shown!r}... is longer than {MAX_ID} characters.")
    prefix, colon, rest = text.partition(":")
    if not colon or (prefix not in NAMED and prefix != "model"):
        raise BadNode(f"{shown!r} has no type that is known.", f"Types are {', '.join(NAMED)}, model. {_FORM}")
    if prefix == "model":
        return _parse_model(rest, shown)
    namespace, slash, name = rest.partition("/")
    if not slash or "/" in name:
        raise BadNode(f"{shown!r} has no one slash between namespace and name.", f"A slash inside them is %2F. {_FORM}")
    return named(prefix, _decode(namespace, shown), _decode(name, shown))


def named(type_: str, namespace: str, name: str) -> NodeName:
    """The name of a node of one of the NAMED types, from its decoded parts. Raises BadNode."""
    if type_ not in NAMED:
        raise BadNode(f"{type_!r} is no type of node with a namespace.", f"Types are {', '.join(NAMED)}.")
    for what, part in (("namespace", namespace), ("name", name)):
        if not 0 < len(part) <= MAX_PART or _CONTROL.search(part):
            raise BadNode(
                f"The {what} {part[:80]!r} of a {type_} is empty, longer than {MAX_PART} characters, or has control characters."
            )
    return NodeName(type_, namespace, name)  # type: ignore[arg-type]


def model_node(model_id: str, version: str | None = None) -> NodeName:
    """The name of a model, or of one of its versions. Raises BadNode.

    >>> str(model_node("fraud")), str(model_node("fraud", "7"))
    ('model:fraud', 'model:fraud@7')
    """
    if len(model_id) > 128 or not re.match(MODEL_ID, model_id):
        raise BadNode(f"{model_id[:80]!r} is no id of a model.", "It has letters, digits, `.-_`, at most 128.")
    if version is None:
        return NodeName("model", "", model_id)
    if len(version) > 128 or not re.match(VERSION_NAME, version):
        raise BadNode(f"{version[:80]!r} is no version of a model.", "It has letters, digits, `.-_+:`, at most 128.")
    return NodeName("version", model_id, version)


def split_name(text: str) -> tuple[str, str]:
    """Namespace and name of what people write as `NAMESPACE/NAME`, as `NAME` alone, or as a URL, whose parts are what
    OpenLineage's naming of datasets makes them: scheme and host, and the path.

    >>> split_name("payments/amount"), split_name("amount")
    (('payments', 'amount'), ('default', 'amount'))
    >>> split_name("s3://lake/raw/flights"), split_name("postgres://db:5432/shop.public.orders")
    (('s3://lake', 'raw/flights'), ('postgres://db:5432', 'shop.public.orders'))
    >>> split_name("hdfs://nn:8020/raw/x"), split_name("file:///raw/x")
    (('hdfs://nn:8020', '/raw/x'), ('file', '/raw/x'))
    """
    scheme, _, rest = text.partition("://")
    if rest and _SCHEME.fullmatch(scheme):
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host}" if host else scheme, slash + path if scheme in _WITH_SLASH else path
    namespace, slash, name = text.partition("/")
    return (namespace, name) if slash else (DEFAULT_NAMESPACE, text)


def node_type(node_id: str) -> NodeType:
    """The type of a name that `parse_node` has read.

    >>> node_type("model:fraud@7"), node_type("feature:a/b")
    ('version', 'feature')
    """
    prefix, _, rest = node_id.partition(":")
    if prefix == "model":
        return "version" if "@" in rest else "model"
    return prefix  # type: ignore[return-value]


def model_of(node_id: str) -> str:
    """The model of which a node is a version; any other node itself.

    >>> model_of("model:fraud@7"), model_of("dataset:a/b")
    ('model:fraud', 'dataset:a/b')
    """
    return node_id.partition("@")[0] if node_type(node_id) == "version" else node_id


def _parse_model(rest: str, shown: str) -> NodeName:
    model_id, at, version = rest.partition("@")
    if at and not version:
        raise BadNode(f"{shown!r} has no version after its @.", _FORM)
    return model_node(model_id, version if at else None)


def _decode(part: str, shown: str) -> str:
    if _ESCAPE.search(part):
        raise BadNode(f"{shown!r} has a % that is no escape.", "A % itself is %25.")
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise BadNode(f"{shown!r} has escapes that are not UTF-8.") from None
