"""The lineage graph's migrations: see `runway_streams.migrations`. Its tables may lie in the registry's database, or apart."""

from pathlib import Path

from runway_streams.migrations import Migrations

MIGRATIONS = Migrations(
    "lineage graph",
    "RUNWAY_LINEAGE_DATABASE (else RUNWAY_DATABASE)",
    Path(__file__).parent / "migrations",
    "dependency_version",
)
