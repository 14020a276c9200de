"""Search: in what a text is looked for when nodes are found by a part of their names, the same in every store."""

import re
from urllib.parse import unquote

from runway_streams.dependency.node import MAX_ID

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def search_text(node_id: str) -> str:
    """A node's name as it is read and as it is written, in one case, a line each.

    >>> search_text("dataset:s3%3A%2F%2FLake/raw")
    'dataset:s3://lake/raw\\ndataset:s3%3a%2f%2flake/raw'
    >>> search_text("model:Fraud")
    'model:fraud'
    """
    read = unquote(node_id)
    return read.casefold() if read == node_id else f"{read}\n{node_id}".casefold()


def search_term(text: str) -> str | None:
    """What to look for in `search_text`, None where no name can contain it.

    >>> search_term("S3://lake"), search_term("two\\nlines")
    ('s3://lake', None)
    """
    return None if len(text) > MAX_ID or _CONTROL.search(text) else text.casefold()
