"""Progress: many requests at once, or one after the other, with a bar on a terminal where there are many."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

AT_ONCE = 8
"""Requests that are under way at a time."""
MANY = 50
"""A bar is shown beyond so many."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def progress(what: str, total: int, many: int = MANY) -> Iterator[Callable[[], None]]:
    """Yields what to call after each of `total` steps. The bar goes to stderr and only to a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = total > many and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


async def for_each(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]], what: str, many: int = MANY
) -> list[Result]:
    """The results of `work` in the order of the items, a few at a time. The first error ends all of it."""
    found: dict[int, Result] = {}
    left = iter(enumerate(items))
    with progress(what, len(items), many) as advance:

        async def worker() -> None:
            for place, item in left:
                found[place] = await work(item)
                advance()

        workers = [asyncio.create_task(worker()) for _ in range(min(AT_ONCE, len(items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    return [found[place] for place in range(len(items))]
