"""Amounts of memory as settings give them."""

import re

from runway_streams.errors import ConfigError

_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def memory_bytes(limit: str) -> float:
    """A limit such as DuckDB takes it, in bytes. Raises ConfigError where it is none.

    >>> memory_bytes("4GiB") == 2**32, memory_bytes("500 MB")
    (True, 500000000.0)
    """
    found = re.fullmatch(r"([\d.]+)\s*([a-zA-Z]+)", limit.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise ConfigError(f"{limit!r} is no amount of memory.", "Give one such as 4GiB.")
    return float(found[1]) * _UNITS[found[2].upper()]
