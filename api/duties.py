"""Duties: what an API process does beside answering, if no other one does it."""

import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from agents.model_settings import SettingsRelay
from agents.openlineage import OpenLineageTopic
from api.discoverer import Discoverer
from api.housekeeping import Housekeeping
from api.lineage_duties import MetaflowFollower, QueueDrain, RegistryFollower
from api.lineage_parts import Lineage
from api.merged_view import MergedView
from api.mlflow_sync import MlflowSync
from api.rule_scans import RuleScans
from runway_streams.config import Config
from runway_streams.duty import Duty
from runway_streams.registry.changes import Registry
from runway_streams.registry.idempotency import clear_answers
from runway_streams.registry.keys import forget_dead
from runway_streams.registry.leases import clear_leases
from runway_streams.registry.mlflow.importer import MlflowImport
from runway_streams.registry.rate_limits import clear_windows

CHORES = (clear_answers, clear_windows, clear_leases, forget_dead)


@dataclass(frozen=True, slots=True)
class Duties:
    """Each is led by one process of all that run; `imports` by none where nothing is imported."""

    relay: SettingsRelay
    scans: RuleScans
    housekeeping: Housekeeping
    imports: MlflowSync | None
    lineage: tuple[Duty, ...] = ()

    def __iter__(self) -> Iterator[Duty]:
        yield from (self.relay, self.scans, self.housekeeping, *self.lineage)
        if self.imports:
            yield self.imports

    def failing(self) -> list[str]:
        """The names of those that something keeps from being done."""
        return [each.duty for each in self if each.problem]


def duties_of(
    config: Config,
    registry: Registry,
    view: MergedView,
    mlflow: MlflowImport | None,
    lineage: Lineage,
    discoverer: Discoverer | None,
) -> Duties:
    """The duties of this process, under a name that no other has."""
    holder = f"{socket.gethostname()[:40]}-{secrets.token_hex(8)}"
    followers: tuple[Duty, ...] = (RegistryFollower(registry, lineage, holder), QueueDrain(registry, lineage, holder))
    if discoverer:
        followers += (MetaflowFollower(registry, discoverer, holder),)
    if config.openlineage_topic:
        followers += (OpenLineageTopic(registry, config, config.openlineage_topic, lineage.openlineage, holder),)
    return Duties(
        SettingsRelay(registry, config, view.has_events, holder),
        RuleScans(registry, view, holder),
        Housekeeping(registry, CHORES, holder),
        MlflowSync(mlflow, holder) if mlflow else None,
        followers,
    )
