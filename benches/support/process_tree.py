"""A command that is measured with all that it starts: seconds of processor and resident memory."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil


class ProcessTree:
    """One command in a session of its own, its output in `log`.

    with ProcessTree(["python", "x.py"], log, {"A": "1"}) as tree:
        tree.sample()
        tree.cpu_seconds, tree.rss_mib
    """

    def __init__(self, command: Sequence[str], log: Path, environ: Mapping[str, str]):
        self.log = log
        self.cpu_seconds = 0.0
        """Of all processes that were ever seen, up to the last sample."""
        self.rss_mib = 0
        """Of all processes together, the most that a sample has seen."""
        self._spent: dict[tuple[int, float], float] = {}
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command, env={**os.environ, **environ}, stdout=output, stderr=output, start_new_session=True
            )
        self._process = psutil.Process(self._child.pid)

    def __enter__(self) -> "ProcessTree":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the command runs."""
        return self._child.poll() is None

    def sample(self) -> None:
        """Looks at every process of the tree once."""
        resident = 0
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    known = process.pid, process.create_time()
                    # A child between fork and exec has its parent's memory, which would be counted twice.
                    if known in self._spent:
                        resident += process.memory_info().rss
                    self._spent[known] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        self.cpu_seconds = sum(self._spent.values())
        self.rss_mib = max(self.rss_mib, resident >> 20)

    def kill(self) -> None:
        """SIGKILL to the whole session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def stop(self) -> None:
        """SIGTERM to the whole session; SIGKILL after 20 s."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self._child.pid, signal.SIGTERM)
            self._child.wait(20)
        self.kill()

    def lines(self) -> list[str]:
        """What it has printed, without the last line where that is not whole."""
        return self.log.read_text(errors="replace").split("\n")[:-1]

    def tail(self) -> str:
        """The last lines of what it has printed."""
        return "\n".join(self.lines()[-25:])
