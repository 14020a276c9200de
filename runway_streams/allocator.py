"""The allocator of glibc: what it does with freed memory, for processes that know better. Elsewhere nothing is done."""

import ctypes

KEPT_BYTES = 32 * 1024 * 1024
"""Freed memory that malloc keeps; glibc takes no more."""
ARENAS = 2
"""Arenas of a worker; glibc would make eight a core, each of which keeps what its own threads have freed."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """For a process that takes and frees some 20 MB in arrays for each answer. To give them back to the kernel and to fault
    them in again each time is a third of its work."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def share_arenas() -> None:
    """For a process whose threads come and go with what they open, as RocksDB's and the lake's do; before there are any."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_ARENA_MAX, ARENAS)


def give_back_freed_memory() -> None:
    """For a process that has let go of much, in many small pieces: malloc keeps pages between pieces that are still used, in
    as many arenas as there were threads, and does not look for them by itself. Takes milliseconds.

    >>> give_back_freed_memory()
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
