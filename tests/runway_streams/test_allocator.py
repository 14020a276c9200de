"""What the allocator gives back, as the kernel sees it."""

import ctypes
import subprocess
import sys

import pytest

MIB = 1 << 20
PIECES = """if True:
    import ctypes, psutil
    from runway_streams.allocator import give_back_freed_memory

    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(50_000) for _ in range(4_000)]
    for piece in pieces:
        ctypes.memset(piece, 1, 50_000)
    for i, piece in enumerate(pieces):
        if i % 10 != 9:
            libc.free(piece)
    rss = psutil.Process().memory_info
    before = rss().rss
    give_back_freed_memory()
    print(before - rss().rss)
"""
"""Nine of ten pieces are freed, and none of the freed ones lies at the heap's end, where malloc would give it back itself."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_pages_between_pieces_that_are_still_used_are_given_back():
    found = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    assert int(found.stdout) > 100 * MIB
