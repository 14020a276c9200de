"""Manifests: what a snapshot of the batch holds; published by one put, for object stores have no rename."""

import msgspec
from msgspec import Struct

from batch.lake import Lake
from batch.segments import Segment
from runway_streams import formats
from runway_streams.errors import Refused
from runway_streams.times import DAY, HOUR

CURRENT = "view/current.json"
TABLES = ("five_minute", "five_minute_confusion", "hourly", "hourly_confusion", "hourly_histograms")
"""The view's tables; each is the sum of its immutable files."""


class ViewFile(Struct):
    """An immutable Parquet file of a table; `times` is the first and the last event time in it (epoch ms)."""

    table: str
    path: str
    rows: int
    times: tuple[int, int]


class OpenFiles(Struct):
    """What a snapshot left open, carried for 7 days: predictions and outcomes without each other, the earlier ones that
    it `closed`, duplicates, and undeclared segment values over the bound. Kinds that it has none of have no file."""

    cutoff: int
    files: dict[str, str]


class ModelSeen(Struct):
    """A model as the archive has seen it; first and last are event times (epoch ms)."""

    model: str
    task: str | None
    versions: list[str]
    first: int
    last: int


class Difference(Struct):
    """One disagreement with the speed layer, named: `field` of (model, version, event hour, log hour)."""

    model: str
    version: str
    event_hour: int
    log_hour: int
    field: str
    batch: float
    speed: float


class Reconciliation(Struct):
    """The comparison with the speed layer: how many values were compared, how many differ, and the first of those."""

    compared: int
    differing: int
    differences: list[Difference] = []


class Reach(Struct):
    """How far an earlier snapshot reached: what lies below its offsets is as old as it."""

    cutoff: int
    covered: dict[str, dict[str, int]]


class Manifest(Struct, kw_only=True):
    """Snapshot C: everything in the log before the log hour `cutoff` and, where `final`, all below `covered`.

    `sequence` numbers the final snapshots of one hour; regular ones have 0. `covered` is topic -> partition -> next
    offset; `owned_before`: log hours below it are closed and the batch's own (h + 1 h + LIFE <= the log's clock).
    `recent`: the segments of the last hours, which new records may be copies of.
    """

    format: int = 1
    cutoff: int
    sequence: int = 0
    parent: str | None = None
    final: bool = False
    created_at: int
    covered: dict[str, dict[str, int]]
    owned_before: int
    files: list[ViewFile] = []
    ground_truth: list[ViewFile] = []
    open: list[OpenFiles] = []
    recent: list[Segment] = []
    history: list[Reach] = []
    retention_days: dict[str, int] = {}
    models: list[ModelSeen] = []
    counts: dict[str, int] = {}
    reconciliation: Reconciliation | None = None

    @property
    def name(self) -> str:
        """The snapshot's name, which sorts as snapshots follow each other.

        >>> Manifest(cutoff=490_000, created_at=0, covered={}, owned_before=0).name
        'C000490000'
        """
        return f"C{self.cutoff:09d}" + (f".{self.sequence:03d}" if self.sequence else "")

    @property
    def path(self) -> str:
        return f"view/manifests/{self.name}.json"

    def owns(self, log_hour: int, marks: dict[str, dict[str, int]] | None = None) -> bool:
        """Whether the batch owns a log hour: it has closed, or the snapshot has covered all that the marks of the speed
        layer (topic -> partition -> next offset) say.

        >>> snapshot = Manifest(cutoff=9, created_at=0, covered={"p": {"0": 5}}, owned_before=3)
        >>> snapshot.owns(2), snapshot.owns(3), snapshot.owns(3, {"p": {"0": 5}}), snapshot.owns(3, {"p": {"0": 6}})
        (True, False, True, False)
        """
        return log_hour < self.owned_before or (marks is not None and self.covers(marks))

    def last_expired(self, days: int) -> Reach | None:
        """The newest snapshot that an archive kept for so many days has outlived: what it had covered, log hours before its
        cutoff, is deleted."""
        oldest = self.cutoff - days * DAY // HOUR
        return next((reach for reach in reversed(self.history) if reach.cutoff <= oldest), None)

    def covers(self, marks: dict[str, dict[str, int]]) -> bool:
        """Whether every offset of the marks lies within this snapshot."""
        return all(
            offset <= self.covered.get(topic, {}).get(partition, 0)
            for topic, partitions in marks.items()
            for partition, offset in partitions.items()
        )


def read_current(lake: Lake) -> Manifest | None:
    """The published snapshot, None before the first. Raises OtherFormat where this version does not read it."""
    raw = lake.get_or_none(CURRENT)
    return None if raw is None else read(lake, msgspec.json.decode(raw)["path"])


def read(lake: Lake, path: str) -> Manifest:
    """One snapshot's manifest. Raises OtherFormat where this version does not read it."""
    raw = lake.get(path)
    formats.check_json(raw, f"The manifest {path}")
    return msgspec.json.decode(raw, type=Manifest)


def publish(lake: Lake, manifest: Manifest) -> None:
    """Makes a snapshot the current one. Raises Refused where another than its parent was published meanwhile."""
    raw = lake.get_or_none(CURRENT)
    found = None if raw is None else msgspec.json.decode(raw)["snapshot"]
    lake.put(manifest.path, msgspec.json.encode(manifest))
    told = msgspec.json.encode({"snapshot": manifest.name, "path": manifest.path})
    if found not in (manifest.parent, manifest.name) or not lake.swap(CURRENT, raw, told):
        raise Refused(f"Snapshot {found} was published while {manifest.name} was made.", "Run the batch again.")
