"""Promotion: rules are tried on what is known of a version, and move it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.registry import rule_store, versions
from runway_streams.registry.changes import Change
from runway_streams.registry.refusals import Conflict, Stale
from runway_streams.registry.rules import CompiledRule, Facts, Verdict, evaluate
from runway_streams.registry.versions import VersionEntry
from schemas.model_version import Stage
from schemas.rules import Rule, RuleSet

MAX_ACTOR = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Live:
    """Merged performance of a version: values by window and name, null where there is none, and why, by dotted name, as in
    `{"live.P1D.auc": "no scores"}`."""

    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


NOTHING = Live()


@dataclass(frozen=True, slots=True)
class Tried:
    """A rule and what it came to."""

    rule: Rule
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Trial:
    """All rules that apply in the version's stage, and where the first that fired moves the version, None for nowhere."""

    tried: list[Tried]

    @property
    def fired(self) -> Tried | None:
        """The rule that moves the version."""
        return next((one for one in self.tried if one.verdict.outcome == "fired"), None)

    @property
    def to(self) -> Stage | None:
        """Where the version is moved."""
        return self.fired.rule.to if self.fired else None

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """The verdicts by the rules' names."""
        return [(one.rule.name, one.verdict) for one in self.tried]


def applicable(rules: Iterable[CompiledRule], stage: str) -> list[CompiledRule]:
    """The rules that move versions out of a stage, in their order."""
    return [rule for rule in rules if rule.rule.from_ == stage]


def facts_of(entry: VersionEntry, live: Live = NOTHING) -> Facts:
    """What is known of a version: its training metrics, and its merged performance."""
    return Facts(entry.version.version, entry.stage, entry.version.metrics, live.values, live.reasons)


def try_rules(entry: VersionEntry, rules: Sequence[CompiledRule], live: Live = NOTHING) -> Trial:
    """What the rules come to; changes nothing."""
    facts = facts_of(entry, live)
    return Trial([Tried(rule.rule, evaluate(rule, facts)) for rule in applicable(rules, entry.stage)])


async def evaluate_version(
    change: Change, entry: VersionEntry, rules: Sequence[CompiledRule], live: Live = NOTHING
) -> VersionEntry | None:
    """Tries the rules and keeps what they came to; the first that fires moves the version, one step. Returns it where it moved.

    Where somebody else has changed the version since `entry` was read, it is left for the next time.
    """
    trial = try_rules(entry, rules, live)
    # The move first: it locks the version for more than an evaluation does, and locks are taken from the strongest down.
    moved = await _move(change, entry, trial.fired) if trial.fired else None
    await rule_store.record(change, entry.model_id, entry.version.version, trial.verdicts)
    return moved


async def _move(change: Change, entry: VersionEntry, fired: Tried) -> VersionEntry | None:
    by_rule = replace(change, actor=f"rule:{fired.rule.name}"[:MAX_ACTOR])
    where = (entry.model_id, entry.version.version, fired.rule.to, fired.verdict.reason)
    try:
        return await versions.move(by_rule, *where, rule=fired.rule.name, revision=entry.revision)
    except (Stale, Conflict) as error:
        _log.info("The rule %s of %s did not move %s: %s", fired.rule.name, *where[:2], error)
        return None


async def dry_run(connection: AsyncConnection, model_id: str, version: str, ruleset: RuleSet, live: Live = NOTHING) -> Trial:
    """What rules, which need not be kept anywhere, would come to now. Changes nothing. Raises Unknown, Invalid."""
    compiled = rule_store.compiled(ruleset)
    return try_rules(await versions.get(connection, model_id, version), compiled, live)
