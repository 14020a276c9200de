"""Tells people how far something long has come: bars on a terminal, a line at each tenth elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Tell = Callable[[int], None]
"""Takes how many are done by now."""


@contextmanager
def telling(console: Console, total: int) -> Iterator[Callable[[str], Tell]]:
    """Gives what begins one count of `total`, by its description."""
    if not console.is_terminal:
        yield lambda description: in_lines(console, description, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        yield lambda description: _bar(bars, description, total)


@contextmanager
def working(console: Console, sentence: str) -> Iterator[None]:
    """Says what is being done, beside something that turns where that can be shown."""
    if not console.is_terminal:
        console.print(sentence)
        yield
        return
    with console.status(sentence):
        yield


def in_lines(console: Console, description: str, total: int) -> Tell:
    """A line whenever another tenth is done.

    >>> tell = in_lines(Console(), "Sent", 2000)
    >>> for done in (0, 150, 450, 460, 2000):
    ...     tell(done)
    Sent: 0 of 2,000
    Sent: 450 of 2,000
    Sent: 2,000 of 2,000
    """
    told = -1

    def tell(done: int) -> None:
        nonlocal told
        tenth = 10 * done // total
        if tenth > told:
            told = tenth
            console.print(f"{description}: {done:,} of {total:,}")

    return tell


def _bar(bars: Progress, description: str, total: int) -> Tell:
    bar = bars.add_task(description, total=total)
    return lambda done: bars.update(bar, completed=done)
