"""`runway dead-letters`: events that could not be used: look at them, and send them again once the cause is mended."""

import asyncio
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runway_streams.cli.common import AsJson, load_config, parse_time, print_json, print_table, say
from runway_streams.errors import ConfigError
from runway_streams.times import format_time, parse_duration

if TYPE_CHECKING:
    from runway_streams.dead_letter_replay import Selection
    from runway_streams.dead_letters import Filter, Letter, Page

app = typer.Typer(help="Look at events that could not be used, and send them again.", no_args_is_help=True)
SHOWN_BYTES = 4_096
"""Of an event, a key or a header `show` prints this much for people; scripts get all that was kept."""


class TopicName(StrEnum):
    """The topics whose events may become dead letters."""

    PREDICTIONS = "predictions"
    OUTCOMES = "outcomes"


Model = Annotated[str | None, typer.Option(help="Only those whose event names this model; outcomes name none.")]
Topic = Annotated[TopicName | None, typer.Option(help="Only those of this topic.")]
Reason = Annotated[str | None, typer.Option(help="Only those with this reason, such as invalid.")]
Since = Annotated[
    str | None, typer.Option(help="Only those written since a time, such as 2026-11-22T03:00Z, or within the last PT1H.")
]


@app.command("list")
def list_(
    model: Model = None,
    topic: Topic = None,
    reason: Reason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on behind this place, as the last page says.")] = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first, a page at a time.

    Example: runway dead-letters list --reason invalid --since PT1H
    """
    from runway_streams.dead_letters import Place, read_page

    wanted, behind = _filter(model, topic, reason, since), Place.parse(after) if after else None
    page = asyncio.run(read_page(load_config(), wanted, limit, behind))
    if as_json:
        print_json(
            {
                "items": [_item(found) for found in page.letters],
                "after": str(page.after) if page.after else None,
                "unreadable": page.unreadable,
            }
        )
        return
    _print_page(page)


@app.command("show")
def show(
    place: Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Print the event's bytes alone, as they are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: why, whence, its key, headers and bytes; what is not printable is escaped.

    Example: runway dead-letters show 0:17
    """
    from runway_streams.dead_letters import Place, read_one

    if raw and as_json:
        raise ConfigError("--raw and --json exclude each other.", "Give one of them; the JSON has the bytes as base64.")
    found = asyncio.run(read_one(load_config(), Place.parse(place)))
    if raw:
        sys.stdout.buffer.write(found.letter.raw or b"")
    elif as_json:
        import msgspec

        print_json(_item(found) | msgspec.to_builtins(found.letter))
    else:
        _print_letter(found)


@app.command("replay")
def replay(
    places: Annotated[list[str] | None, typer.Argument(help="Which ones, as PARTITION:OFFSET; or give a filter.")] = None,
    model: Model = None,
    topic: Topic = None,
    reason: Reason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 1_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the topic and partition they came from, with their own key, headers and bytes.

    They are judged anew, as events of now. A header counts the replays of an event; after three it stays where it is.

    Example: runway dead-letters replay --reason invalid --since PT1H --dry-run
    """
    from runway_streams.dead_letter_replay import replay as send
    from runway_streams.dead_letter_replay import select
    from runway_streams.dead_letters import Place

    config, wanted = load_config(), _filter(model, topic, reason, since)
    given = [Place.parse(place) for place in places or ()]
    if bool(given) == any((model, topic, reason, since)):
        raise ConfigError("Which dead letters?", "Give places, or a filter such as --reason invalid, and not both.")
    chosen = asyncio.run(select(config, wanted, given, limit))
    if not as_json:
        _print_selection(chosen)
    if not dry_run and chosen.places and not yes:
        _ask(len(chosen.places))
    sent = 0 if dry_run or not chosen.places else asyncio.run(send(config, chosen))
    if as_json:
        print_json(
            {
                "chosen": len(chosen.places),
                "sent": sent,
                "more": chosen.more,
                "left_out": dict(chosen.left_out),
                "by_origin": [
                    {"topic": name, "reason": why, "events": n} for (name, why), n in sorted(chosen.by_origin.items())
                ],
            }
        )
    elif sent:
        typer.echo(f"Sent {sent:,} back.")


def _ask(events: int) -> None:
    try:
        wanted = typer.confirm(f"Send {events:,} dead letters back?", err=True)
    except typer.Abort:  # there is no terminal to ask at
        wanted = False
    if not wanted:
        say("Nothing was sent; --yes sends without asking.")
        raise typer.Exit(1)


def _filter(model: str | None, topic: TopicName | None, reason: str | None, since: str | None) -> "Filter":
    from runway_streams.dead_letters import Filter

    return Filter(model, topic.value if topic else None, reason, None if since is None else _since(since))


def _since(text: str) -> int:
    """Epoch milliseconds of a time, or of a duration before now."""
    if text.startswith("P"):
        return time.time_ns() // 1_000_000 - parse_duration(text)
    return round(parse_time(text).timestamp() * 1000)


def _item(found: "Letter") -> dict[str, Any]:
    from runway_streams.dead_letter_replay import replays_of

    letter = found.letter
    return {
        "place": str(found.place),
        "written": format_time(found.written),
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "log_time": letter.log_time,
        "model": found.model,
        "size": letter.size,
        "replays": replays_of(letter),
    }


def _print_page(page: "Page") -> None:
    from runway_streams.dead_letters import printable

    rows = [
        tuple(
            printable(str("" if item[name] is None else item[name]))
            for name in ("place", "written", "reason", "origin", "model", "size", "detail")
        )
        for item in (_item(found) | {"origin": _origin(found)} for found in page.letters)
    ]
    print_table(
        ("place", "written", "reason", "from", "model", "bytes", "detail"), rows, empty="There are no such dead letters."
    )
    if page.unreadable:
        say(f"{page.unreadable} records in the topic are no dead letters and were left out.")
    if page.after:
        say(f"There are more: --after {page.after}")


def _origin(found: "Letter") -> str:
    return f"{found.letter.topic} {found.letter.partition}:{found.letter.offset}"


def _print_letter(found: "Letter") -> None:
    from runway_streams.dead_letters import printable

    letter = found.letter
    typer.echo(f"{found.place}  {printable(letter.reason)}: {printable(letter.detail)}")
    typer.echo(
        f"from     {printable(_origin(found))}, log time {_told_time(letter.log_time)}, written {format_time(found.written)}"
    )
    typer.echo(f"model    {printable(found.model) if found.model else '-'}")
    typer.echo(f"key      {_told(letter.key)}")
    for name, value in letter.headers:
        typer.echo(f"header   {printable(name[:SHOWN_BYTES])}: {_told(value)}")
    typer.echo(f"size     {letter.size:,} bytes, SHA-256 {printable(letter.sha256)}")
    if letter.cut:
        typer.echo(f"cut      {', '.join(letter.cut)}: too large to be kept whole, cannot be replayed")
    typer.echo(f"event    {_told(letter.raw)}")


def _told_time(ms: int) -> str:
    try:
        return format_time(ms)
    except OverflowError:
        return f"{ms} ms"


def _told(data: bytes | None) -> str:
    from runway_streams.dead_letters import printable

    if data is None:
        return "null"
    rest = len(data) - SHOWN_BYTES
    return printable(data[:SHOWN_BYTES]) + (f" ... and {rest:,} bytes more" if rest > 0 else "")


def _print_selection(chosen: "Selection") -> None:
    from runway_streams.dead_letters import printable

    rows = [(printable(topic), printable(reason), f"{n:,}") for (topic, reason), n in sorted(chosen.by_origin.items())]
    print_table(("topic", "reason", "events"), rows, empty="There is nothing to send.")
    for why, n in sorted(chosen.left_out.items()):
        say(f"{n:,} left out: each {why}.")
    if chosen.more:
        say("There are more: raise --limit, or narrow the filter.")
