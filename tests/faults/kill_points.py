"""Runs a worker that does something to itself when a named point of the product is reached for the nth time.

    python -m tests.faults.kill_points before_write 3 KILL -- worker ground-truth

KILL is SIGKILL, STOP is SIGSTOP (go on with SIGCONT), RAISE is an error as a bug would raise it. The product knows nothing of
it: the function that the point names is wrapped from outside. Where the product no longer has the function, the process ends
at once, with status 3 and the point's name.
"""

import functools
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runway_streams.config import Config
from tests.running import WorkerProcess

BROKEN_POINT = 3


@dataclass(frozen=True)
class Point:
    """A place in the product: before a function begins or after it has ended, for a generator after its last item."""

    function: str
    after: bool
    most: int = 1
    """A test chooses one of the first `most` times."""


POINTS = {
    # Reading and joining.
    "fetched": Point("runway_streams.batch_consumer:BatchConsumer._batch_message", after=True, most=3),
    "in_batch": Point("runway_streams.ground_truth.partition:Partition._save_rows", after=True, most=3),
    "before_dead_letters": Point("agents.dead_letters:DeadLetters.send", after=False, most=2),
    "after_dead_letters": Point("agents.dead_letters:DeadLetters.send", after=True, most=2),
    # Committing and emitting.
    "before_write": Point("tables.partition_store:PartitionStore.write", after=False, most=4),
    "after_write": Point("tables.partition_store:PartitionStore.write", after=True, most=4),
    "in_emission": Point("agents.metrics:MetricsEmitter._batches", after=True, most=4),
    "after_emission": Point("agents.metrics:MetricsEmitter._send", after=True, most=4),
    "before_group_commit": Point("runway_streams.batch_consumer:BatchConsumer._new_offset", after=False),
    # Owning and letting go.
    "in_revoke": Point("runway_streams.runtimes.runtime:Runtime.revoked", after=False),
    "in_close": Point("tables.open_partitions:OpenPartitions.close", after=True),
    "in_opening": Point("tables.open_partitions:OpenPartitions.claim", after=True, most=2),
    "after_fencing": Point("agents.metrics:MetricsEmitter.start", after=True, most=2),
    "in_rebuild": Point("tables.open_partitions:OpenPartitions._replace", after=True),
    # The lake.
    "in_upload": Point("batch.lake:FolderLake.put_file", after=True, most=3),
    "before_manifest": Point("tables.checkpoints:Checkpoints._put_files", after=True),
    "in_restore": Point("tables.checkpoints:_copy_checked", after=True, most=3),
    "before_segment": Point("batch.segments:parquet_of", after=True, most=3),
    "after_segment": Point("batch.segments:SegmentWriter._close", after=True, most=3),
}
ACTIONS = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP, "RAISE": None}


class Injected(Exception):
    """What a bug would raise."""


class FaultyWorker(WorkerProcess):
    """A worker that does `action` when it reaches a point for the nth time."""

    def __init__(
        self, config: Config, point: str, nth: int, action: str = "KILL", name: str = "ground-truth",
        instance: str = "worker-0", **environ: str,
    ):  # fmt: skip
        super().__init__(config, name, instance, **environ)
        self.said = f"reached {point} for time {nth}"
        ours = [sys.executable, "-m", "tests.faults.kill_points", point, str(nth), action, "--"]
        self.command = ours + self.command[3:]

    def reached(self) -> bool:
        """Whether it has come there."""
        return self.said in self.log.read_text(errors="replace")

    def ended_by_kill(self) -> bool:
        """Whether SIGKILL has ended it."""
        return self.process is not None and self.process.poll() == -signal.SIGKILL


def inject(name: str, nth: int, action: str) -> None:
    """Wraps the point's function. Raises LookupError where there is no such point, or no such function."""
    if name not in POINTS:
        raise LookupError(f"There is no point {name!r}; there are {', '.join(POINTS)}.")
    point = POINTS[name]
    owner, attribute = resolve(point.function)
    times = 0

    def arrive() -> None:
        nonlocal times
        times += 1
        if times == nth:
            os.write(2, f"\nreached {name} for time {nth}\n".encode())
            _act(action)

    setattr(owner, attribute, _wrapped(inspect.getattr_static(owner, attribute), point.after, arrive))


def resolve(function: str) -> tuple[Any, str]:
    """The class or module that has the function, and its name there. Raises LookupError where it has none of that name."""
    module, _, path = function.partition(":")
    *owners, attribute = path.split(".")
    try:
        owner = functools.reduce(getattr, owners, importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise LookupError(f"{function} is no longer there: {error}") from error
    # As a method of its own: wrapping an inherited one would say that the class has it.
    if attribute not in vars(owner) or not inspect.isfunction(inspect.getattr_static(owner, attribute)):
        raise LookupError(f"{function} is no longer there, or is no plain function.")
    return owner, attribute


def _act(action: str) -> None:
    number = ACTIONS[action]
    if number is None:
        raise Injected("as a bug would")
    os.kill(os.getpid(), number)


def _wrapped(function: Callable, after: bool, arrive: Callable[[], None]) -> Callable:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            if not after:
                arrive()
            result = await function(*args, **kwargs)
            if after:
                arrive()
            return result

        return coroutine
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            if not after:
                arrive()
            yield from function(*args, **kwargs)
            if after:
                arrive()

        return generator

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        if not after:
            arrive()
        result = function(*args, **kwargs)
        if after:
            arrive()
        return result

    return plain


def main(arguments: list[str]) -> None:
    """Injects, then runs `runway` with what stands behind `--`."""
    name, nth, action, dashes, *command = arguments
    if dashes != "--" or action not in ACTIONS:
        raise SystemExit(__doc__)
    try:
        inject(name, int(nth), action)
    except LookupError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(BROKEN_POINT) from None
    from runway_streams.cli import main as runway

    sys.argv = ["runway", *command]
    runway()


if __name__ == "__main__":
    main(sys.argv[1:])
