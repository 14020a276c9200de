"""Digests: short keys for long names, so that any name fits into an index; 128 bits, so that no two meet by chance."""

from hashlib import blake2b

from runway_streams.dependency.edge import EdgeKey

SORTED_BY = 256
"""Characters of a node's name that an index sorts by."""


def node_digest(node_id: str) -> bytes:
    """16 bytes for the name of a node."""
    return blake2b(node_id.encode(), digest_size=16).digest()


def edge_digest(key: EdgeKey) -> bytes:
    """16 bytes for the key of an edge, none of whose parts but the last can hold a NUL."""
    return blake2b("\0".join((key.upstream, key.downstream, key.kind, key.reporter)).encode(), digest_size=16).digest()
