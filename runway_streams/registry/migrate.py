"""The registry's migrations: see `runway_streams.migrations`."""

from pathlib import Path

from runway_streams.migrations import Migrations

MIGRATIONS = Migrations("registry", "RUNWAY_DATABASE", Path(__file__).parent / "migrations", "alembic_version")
