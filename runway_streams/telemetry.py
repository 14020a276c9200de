"""Telemetry: the name, labels and meaning of every Prometheus metric, for the workers and the API.

Values that live in state (events, joins, dead letters...) are counted there, so that they survive restarts, and are only
shown here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

STATE_COUNTERS = {
    "joined": ("runway_joined", "Predictions joined with an outcome on time"),
    "late": ("runway_late", "Outcomes that came after the join window"),
    "early": ("runway_early", "Outcomes earlier than their prediction"),
    "unmatched": ("runway_unmatched", "Outcomes without a prediction"),
    "duplicates": ("runway_duplicates", "Events whose id had come before"),
    "conflicts": ("runway_conflicts", "Duplicates with other content"),
    "expired": ("runway_expired", "Rows freed at the end of their life"),
    "unbelieved": ("runway_unbelieved", "Events whose log time lay more than a day ahead of the worker's clock"),
    "gaps": ("runway_gaps", "Offsets that the log skipped"),
    "other": ("runway_other", "Events counted under __other__ because a bound was reached"),
    "segments_dropped": ("runway_segments_dropped", "Segment values that were not kept"),
}
"""Counter of a partition's state -> name and meaning; `_total` is added to the name."""
TOPIC_COUNTERS = ("predictions", "outcomes")
DEAD_LETTERS = "dead_letters."

PartitionCounters = Mapping[int, Mapping[str, int]]


class ApiTelemetry:
    """What the API measures of itself."""

    def __init__(self, registry: CollectorRegistry):
        self.registry = registry
        self.requests = Counter("runway_api_requests", "Answered requests", ["method", "route", "status"], registry=registry)
        self.latency = Histogram(
            "runway_api_request_seconds", "Time to answer", ["route"], buckets=SECONDS, registry=registry
        )


class WorkerTelemetry:
    """What a worker shows of itself; `read` gives the values when it is scraped."""

    def __init__(self, registry: CollectorRegistry, read: Callable[[], "Inside"]):
        registry.register(_FromFunction(lambda: read().metrics()))


@dataclass(frozen=True)
class Inside:
    """Values that a ground-truth worker knows of the partitions that it owns, by partition."""

    counters: PartitionCounters
    clock_ages: Mapping[int, float]
    state_bytes: Mapping[int, float]
    state_rows: Mapping[int, float]
    batch_events: Mapping[int, float]
    bad_shares: Mapping[int, float]
    fenced: int
    refused: int
    checkpoint_ages: Mapping[int, float] = field(default_factory=dict)
    checkpoint_failures: int = 0

    def metrics(self) -> Iterable[Metric]:
        """The metric families."""
        yield _by_partition("runway_worker_clock_age_seconds", "Age of the partition's log time", self.clock_ages)
        yield _by_partition("runway_worker_state_bytes", "State on disk", self.state_bytes)
        yield _by_partition("runway_worker_state_rows", "Rows of the state, estimated", self.state_rows)
        yield _by_partition("runway_worker_batch_events", "Events of the last batches, mean", self.batch_events)
        yield _by_partition("runway_worker_bad_share", "Share of bad events among the last ones", self.bad_shares)
        yield CounterMetricFamily("runway_worker_fenced", "Times that this worker was fenced", self.fenced)
        yield GaugeMetricFamily("runway_worker_refused_partitions", "Partitions that are refused", self.refused)
        yield _by_partition("runway_worker_checkpoint_age_seconds", "Age of the uploaded checkpoint", self.checkpoint_ages)
        failures = "Uploads of checkpoints that failed"
        yield CounterMetricFamily("runway_worker_checkpoint_failures", failures, self.checkpoint_failures)
        yield from state_counters(self.counters)


class ViewTelemetry:
    """What the API sees of the workers and the batch from outside; `read` gives the values when it is scraped."""

    def __init__(self, registry: CollectorRegistry, read: Callable[[], "Outside"]):
        registry.register(_FromFunction(lambda: read().metrics()))


class Outside:
    """Values seen from outside: marks' ages and counters by partition, lag by group, ages in seconds."""

    def __init__(
        self,
        *,
        clock_ages: Mapping[int, float],
        counters: PartitionCounters,
        lag: Mapping[tuple[str, str, int], int],
        batch_age: float | None,
        ready: bool,
    ):
        self.clock_ages, self.counters, self.lag = clock_ages, counters, lag
        self.batch_age, self.ready = batch_age, ready

    def metrics(self) -> Iterable[Metric]:
        """The metric families."""
        yield GaugeMetricFamily("runway_view_ready", "1 once the speed view was read to its end", int(self.ready))
        ages = GaugeMetricFamily(
            "runway_view_clock_age_seconds", "Age of the partition's last mark in log time", labels=["partition"]
        )
        for partition, age in self.clock_ages.items():
            ages.add_metric([str(partition)], age)
        yield ages
        lag = GaugeMetricFamily(
            "runway_consumer_lag",
            "Events written but not yet processed, measured at the log and at what the worker published",
            labels=["group", "topic", "partition"],
        )
        for (group, topic, partition), events in self.lag.items():
            lag.add_metric([group, topic, str(partition)], events)
        yield lag
        if self.batch_age is not None:
            yield GaugeMetricFamily("runway_batch_age_seconds", "Age of the newest batch's cutoff", self.batch_age)
        yield from state_counters(self.counters)


@dataclass(frozen=True)
class Relayed:
    """Changes of models' settings on their way to the workers."""

    waiting: int
    oldest_s: float
    published: int


@dataclass(frozen=True)
class Scanned:
    """What the scans of promotion rules have done in this process."""

    scans: int
    models: int
    moves: int
    last_s: float


class RegistryTelemetry:
    """What an API process does for the registry; the functions give the values when it is scraped."""

    def __init__(self, registry: CollectorRegistry, relayed: Callable[[], Relayed], scanned: Callable[[], Scanned]):
        registry.register(_FromFunction(lambda: _registry_metrics(relayed(), scanned())))


def _registry_metrics(relayed: Relayed, scanned: Scanned) -> Iterable[Metric]:
    yield GaugeMetricFamily("runway_settings_waiting", "Changes of settings that are not published", relayed.waiting)
    yield GaugeMetricFamily("runway_settings_waiting_seconds", "Age of the oldest of them", relayed.oldest_s)
    yield CounterMetricFamily(
        "runway_settings_published", "Changes of settings published by this process", relayed.published
    )
    yield CounterMetricFamily("runway_rule_scans", "Scans of all promotion rules", scanned.scans)
    yield CounterMetricFamily("runway_rule_scan_models", "Models whose rules were tried", scanned.models)
    yield CounterMetricFamily("runway_rule_moves", "Versions moved by a rule", scanned.moves)
    yield GaugeMetricFamily("runway_rule_scan_seconds", "Duration of the last scan", scanned.last_s)


@dataclass(frozen=True)
class Imported:
    """What the import from MLflow has done in this process, and how long ago (s) any process's sync has ended well."""

    success_age_s: float | None
    created: int
    moved: int
    skipped: int


class ImportTelemetry:
    """What an API process imports; `imported` gives the values when it is scraped."""

    def __init__(self, registry: CollectorRegistry, imported: Callable[[], Imported]):
        registry.register(_FromFunction(lambda: _import_metrics(imported())))


def _import_metrics(imported: Imported) -> Iterable[Metric]:
    if imported.success_age_s is not None:
        age = "Time since a sync with MLflow has ended well, in any process"
        yield GaugeMetricFamily("runway_import_success_age_seconds", age, imported.success_age_s)
    versions = CounterMetricFamily(
        "runway_import_versions", "Versions of MLflow, by what became of them", labels=["outcome"]
    )
    for outcome in ("created", "moved", "skipped"):
        versions.add_metric([outcome], getattr(imported, outcome))
    yield versions


def state_counters(partitions: PartitionCounters) -> Iterable[Metric]:
    """The counters of partitions' states as metric families. What has not happened yet is 0: an alert on an increase needs
    the value before the first.

    >>> shown = {family.name: family.samples[0].value for family in state_counters({0: {"joined": 3}}) if family.samples}
    >>> shown["runway_joined"], shown["runway_gaps"], shown["runway_events"]
    (3, 0, 0)
    """
    events = CounterMetricFamily("runway_events", "Events read", labels=["topic", "partition"])
    dead = CounterMetricFamily("runway_dead_letters", "Events that could not be used", labels=["reason", "partition"])
    known = {name: CounterMetricFamily(*shown, labels=["partition"]) for name, shown in STATE_COUNTERS.items()}
    for partition, counters in partitions.items():
        for name, family in known.items():
            family.add_metric([str(partition)], counters.get(name, 0))
        for topic in TOPIC_COUNTERS:
            events.add_metric([topic, str(partition)], counters.get(topic, 0))
        for name, value in counters.items():
            if name.startswith(DEAD_LETTERS):
                dead.add_metric([name.removeprefix(DEAD_LETTERS), str(partition)], value)
    yield from (events, dead, *known.values())


def _by_partition(name: str, meaning: str, values: Mapping[int, float]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=["partition"])
    for partition, value in values.items():
        family.add_metric([str(partition)], value)
    return family


class _FromFunction(Collector):
    """Families that are made when they are scraped."""

    def __init__(self, read: Callable[[], Iterable[Metric]]):
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()

    def describe(self) -> Iterable[Metric]:
        return []
