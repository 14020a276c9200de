"""Child processes that never outlive this one, however it ends."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TAIL_LINES = 15
TAIL_BYTES = 64 * 1024

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
# Linux ends the child when the *thread* that started it ends, so all are started by one that lives as long as we do.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="children")


def start(command: Sequence[str | Path], log: Path, environ: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Start a child in a session of its own (Ctrl-C reaches only us), its output appended to `log`.

    On Linux it gets SIGTERM when this process dies, by SIGKILL too.
    """
    return _STARTER.submit(_start, [str(part) for part in command], log, environ).result()


def stop(child: subprocess.Popen, limit_s: float) -> None:
    """SIGTERM, then SIGKILL to the whole session once `limit_s` seconds have passed."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(limit_s)
    except subprocess.TimeoutExpired:
        kill(child)


def kill(child: subprocess.Popen) -> None:
    """SIGKILL, to the child and everything it started in its session."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def tail(log: Path) -> str:
    """The last lines of a log, or nothing when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-TAIL_LINES:])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(command: list[str], log: Path, environ: Mapping[str, str] | None) -> subprocess.Popen:
    log.parent.mkdir(parents=True, exist_ok=True)
    parent = os.getpid()
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - two system calls, no lock
        )


def _die_with(parent: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
