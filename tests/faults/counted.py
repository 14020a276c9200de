"""The totals in runway.metrics against those that were sent: for tests that cut the log, which the verifier must have whole."""

from runway_streams.config import Config
from runway_streams.ground_truth.slim import INDEX
from runway_streams.ground_truth.speed_rows import _read
from tests.traffic import Traffic


async def assert_counted(config: Config, traffic: Traffic) -> None:
    """The values in runway.metrics, over all partitions, are those of what was sent."""
    rows = await _read(config)
    for name in ("predictions", "joined", "late", "early"):
        assert sum(row[INDEX[name]] for row in rows.values()) == traffic.expected[name], name
