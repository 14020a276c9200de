"""`runway backup` and `runway restore`: the registry, the lake and the topics' configuration, to a folder or bucket and back."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runway_streams.cli.common import AsJson, load_config, print_json, say

if TYPE_CHECKING:
    from batch.lake import Lake

Registry = Annotated[bool, typer.Option("--registry/--no-registry", help="The registry's database.")]
TheLake = Annotated[bool, typer.Option("--lake/--no-lake", help="Archive, checkpoints and batch view.")]
Topics = Annotated[
    bool, typer.Option("--topics/--no-topics", help="The topics' configuration; without it Kafka is not asked.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def backup(
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="An empty folder, or a URL such as s3://BUCKET/PREFIX.")
    ],
    registry: Registry = True,
    lake: TheLake = True,
    topics: Topics = True,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy all that nothing else can give back, while the system runs. What ends in the middle is no backup.

    Whoever can read it has the keys' hashes, the key by which features are hashed, and all archived events.

    Example: runway backup /backups/2026-11-22
    """
    from batch.lake import open_lake
    from runway_streams.backup.make import Wanted, check_place, make_backup
    from runway_streams.cli.progress import progress

    config, place = load_config(), open_place(destination)
    wanted = Wanted(registry, lake, topics)
    if dry_run:
        check_place(place, destination)
        _show_plan(open_lake(config.archive_url), wanted.lake, as_json)
        return
    began = time.monotonic()
    made = make_backup(
        config, open_lake(config.archive_url), place, destination, wanted, time.time_ns() // 1_000_000, progress
    )  # fmt: skip
    told = {
        "backup": made.id, "files": len(made.files), "bytes": made.bytes, "rows": made.rows,
        "topics": [topic.noun for topic in made.topics], "seconds": round(time.monotonic() - began, 3),
    }  # fmt: skip
    if as_json:
        print_json(told)
    else:
        typer.echo(
            f"Backed up {sum(made.rows.values()):,} rows of the registry, {len(made.files):,} files "
            f"({made.bytes / 1e6:,.1f} MB) and {len(made.topics)} topics' configuration in {told['seconds']:.1f} s."
        )


def restore(
    source: Annotated[str, typer.Argument(metavar="SRC", help="What `runway backup` was given.")],
    registry: Registry = True,
    lake: TheLake = True,
    topics: Topics = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there; it is lost.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, once every file of it was found whole. Stop workers, API and batch before.

    It goes to RUNWAY_DATABASE and RUNWAY_ARCHIVE, which must be empty. If it is cut in the middle, run it again.

    Example: runway restore /backups/2026-11-22 --dry-run
    """
    import msgspec

    from batch.lake import open_lake
    from runway_streams.backup.make import Wanted
    from runway_streams.backup.restore import restore_backup
    from runway_streams.cli.progress import progress

    config = load_config()
    done = restore_backup(
        config, open_place(source), source, open_lake(config.archive_url), Wanted(registry, lake, topics), progress,
        lambda: time.time_ns() // 1_000_000, force=force, dry_run=dry_run,
    )  # fmt: skip
    if as_json:
        print_json(msgspec.to_builtins(done))
        return
    for sentence in done.differing:
        say(sentence)
    made = f" Topics made: {', '.join(done.topics)}." if done.topics and not dry_run else ""
    typer.echo(
        f"{'The backup is whole. Would restore' if dry_run else 'Restored'} {sum(done.rows.values()):,} rows of the registry and "
        f"{done.files:,} files ({done.bytes / 1e6:,.1f} MB).{made}"
    )


def open_place(given: str) -> "Lake":
    """The folder or the bucket that a person named.

    >>> open_place("backups/today").root.name
    'today'
    """
    from batch.lake import FolderLake, open_lake

    return open_lake(given) if "://" in given else FolderLake(Path(given).expanduser())


def _show_plan(lake: "Lake", wanted: bool, as_json: bool) -> None:
    from runway_streams.backup.lake_objects import archive_part, checkpoint_part, checkpoint_parts, view_part

    parts = [view_part(lake), archive_part(lake), *(checkpoint_part(lake, one) for one in checkpoint_parts(lake))]
    counts: dict[str, int] = {}
    for part in parts if wanted else []:
        counts[part.name] = counts.get(part.name, 0) + len(part.objects) + len(part.documents)
    if as_json:
        print_json({"dry_run": True, "objects": counts})
    else:
        typer.echo(
            "Would copy " + (", ".join(f"{n:,} objects of the {name}" for name, n in counts.items()) or "no lake") + "."
        )
