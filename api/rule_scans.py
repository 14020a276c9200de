"""Rule scans: every minute the promotion rules of all models are tried on what is known of their versions."""

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

from api.live_facts import live_facts
from api.merged_view import MergedView
from runway_streams.duty import Duty
from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.registry import catalog, promotion, rule_store, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.rules import CompiledRule, check_rules
from runway_streams.registry.versions import VersionEntry
from runway_streams.telemetry import Scanned

EVERY_S = 60.0
MODELS = 1_000
"""Models of a scan; the next one goes on behind them."""
VERSIONS = 200
"""Versions of a model and stage that are looked at, the newest first."""
COMPILED = 1_000
"""Models whose rules are kept compiled."""
SHARE = 3
"""A scan pauses for this many times what it has held the event loop: answers come first."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """What the scans of this process have done; `after` is the model behind which the next one goes on."""

    scans: int = 0
    models: int = 0
    moves: int = 0
    last_s: float = 0.0
    after: str = ""


class RuleScans(Duty):
    """Tries rules and moves versions: all of them every 60 s in one process, and those of one model when asked to."""

    task_name = "rule scans"
    duty = "rule-scans"

    def __init__(self, registry: Registry, view: MergedView, holder: str, every_s: float = EVERY_S):
        super().__init__(registry, holder)
        self.progress = Progress()
        self._view, self.every_s = view, every_s
        self._compiled: OrderedDict[str, tuple[int, list[CompiledRule]]] = OrderedDict()

    def scanned(self) -> Scanned:
        """What telemetry shows."""
        done = self.progress
        return Scanned(done.scans, done.models, done.moves, done.last_s)

    async def step(self) -> bool:
        self.left_out = await self.scan()
        return False

    async def scan(self) -> str:
        """Tries the rules of the next 1,000 models. Returns a sentence about one whose rules cannot be used, "" for none."""
        began, problem = time.monotonic(), ""
        models = await self._next_models()
        for model_id in models:
            try:
                await self.evaluate_now(model_id)
            except DependencyDown:
                raise
            except RunwayError as error:
                problem = f"The rules of {model_id} cannot be tried: {error}"
                _log.warning("%s", problem)
            self.progress.after = model_id
        if len(models) < MODELS:
            self.progress.after = ""
        self.progress.scans += 1
        self.progress.last_s = time.monotonic() - began
        return problem

    async def _next_models(self) -> list[str]:
        async with self.registry.read() as connection:
            behind = await rule_store.models_with_rules(connection, self.progress.after, MODELS)
            return behind or await rule_store.models_with_rules(connection, "", MODELS)

    async def evaluate_now(self, model_id: str) -> list[VersionEntry]:
        """Tries the rules of one model and returns the versions that they have moved."""
        async with self.registry.read() as connection:
            found = await rule_store.get(connection, model_id)
            stages = dict.fromkeys(rule.from_ for rule in found.rules.rules)
            pages = [await versions.page(connection, model_id, VERSIONS, stage=stage) for stage in stages]
        moved = [await self._evaluate(entry, found) for page in pages for entry in page]
        self.progress.models += 1
        self.progress.moves += sum(entry is not None for entry in moved)
        return [entry for entry in moved if entry is not None]

    async def try_now(self, model_id: str, version: str) -> None:
        """Tries the rules of a model on a new version; what cannot be done now, the next scan does."""
        try:
            async with self.registry.read() as connection:
                found = await rule_store.get(connection, model_id)
                entry = await versions.get(connection, model_id, version)
            await self._evaluate(entry, found)
        except RunwayError as error:
            _log.warning("The rules of %s are tried later: %s", model_id, error)

    async def live(self, entry: VersionEntry, rules: list[CompiledRule]) -> promotion.Live:
        """What these rules ask for of a version's merged performance, for a dry run as well."""
        began = time.monotonic()
        mine = promotion.applicable(rules, entry.stage)
        found = live_facts(self._view, entry.model_id, entry.version.version, mine, self.registry.now())
        await asyncio.sleep(SHARE * (time.monotonic() - began))
        return found

    async def _evaluate(self, entry: VersionEntry, found: rule_store.RulesRevision) -> VersionEntry | None:
        rules = self._rules(found, entry.model_id)
        live = await self.live(entry, rules)
        trial = promotion.try_rules(entry, rules, live)
        async with self.registry.read() as connection:
            news = await rule_store.news(connection, entry.model_id, entry.version.version, trial.verdicts)
        if not news and trial.fired is None:
            return None  # the usual case: nothing to write
        async with self.registry.change(self.duty) as change:
            await catalog.get(change.connection, entry.model_id, lock=True)
            if (await rule_store.get(change.connection, entry.model_id)).revision != found.revision:
                return None  # rules that somebody has taken away move nothing any more
            return await promotion.evaluate_version(change, entry, rules, live)

    def _rules(self, found: rule_store.RulesRevision, model_id: str) -> list[CompiledRule]:
        kept = self._compiled.get(model_id)
        if kept is None or kept[0] != found.revision:
            kept = (found.revision, check_rules(found.rules))
            self._compiled[model_id] = kept
        self._compiled.move_to_end(model_id)
        if len(self._compiled) > COMPILED:
            self._compiled.popitem(last=False)
        return kept[1]
