"""A full disk: what libraries say of it, and what we say."""

import errno

from runway_streams.errors import DependencyDown

_ERRNOS = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
# RocksDB and DuckDB give the system's words on.
_WORDS = ("no space left on device", "file too large", "disk quota exceeded")


def full_disk(error: BaseException, where: object) -> DependencyDown | None:
    """The error for people where `error` says that a disk takes no more; None where it says something else.

    >>> str(full_disk(OSError(28, "No space left on device"), "/state/0"))[:45]
    'No space is left to write /state/0: [Errno 28'
    >>> full_disk(OSError(13, "Permission denied"), "/state/0") is None
    True
    """
    full = (isinstance(error, OSError) and error.errno in _ERRNOS) or any(word in str(error).lower() for word in _WORDS)
    if not full:
        return None
    return DependencyDown(
        f"No space is left to write {where}: {error}.",
        "Nothing is lost: make room on that disk, or lift the limit, and start this again; it goes on from what is written.",
    )
