"""The store of rules: all rules of a model under one revision, and what they have come to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import insert_new
from runway_streams.errors import RunwayError
from runway_streams.registry import catalog
from runway_streams.registry.changes import Change, as_text
from runway_streams.registry.refusals import Invalid, Unknown, stale
from runway_streams.registry.rules import CompiledRule, Outcome, Verdict, check_rules
from runway_streams.registry.tables import evaluations, models, rules
from schemas.rules import RuleSet

KEPT = 1_000
"""Evaluations of a model; older ones are deleted."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_decode = msgspec.json.Decoder(RuleSet).decode


@dataclass(frozen=True, slots=True)
class RulesRevision:
    """A model's rules; revision 0 is what is there before anybody has said anything."""

    rules: RuleSet
    revision: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a rule came to for a version, at the first time that it did so."""

    seq: int
    version: str
    rule: str
    at: int
    outcome: Outcome
    reason: str
    facts: dict[str, Any]


async def get(connection: AsyncConnection, model_id: str) -> RulesRevision:
    """The model's rules. Raises Unknown where there is no such model."""
    row = (await connection.execute(sa.select(rules).where(rules.c.model_id == model_id))).first()
    if row is None:
        await catalog.get(connection, model_id)
        return RulesRevision(RuleSet([]), 0)
    return RulesRevision(_decode(row.document), row.revision)


async def put(change: Change, model_id: str, ruleset: RuleSet, revision: int | None) -> RulesRevision:
    """Replaces all rules of revision `revision` (None: of any). The same ones again are no change.

    Of many that replace the same revision one is taken: the others raise Stale. Raises Invalid, Unknown.
    """
    compiled(ruleset)
    if not (await catalog.get(change.connection, model_id, lock=True)).registered:
        raise Unknown(f"{model_id} has been seen, but nobody has registered it.", "Register it first.")
    before = await get(change.connection, model_id)
    if revision is not None and revision != before.revision:
        raise stale(f"The rules of {model_id}")
    if ruleset == before.rules:
        return before
    row = {"document": as_text(ruleset), "revision": before.revision + 1}
    if before.revision:
        same = sa.and_(rules.c.model_id == model_id, rules.c.revision == before.revision)
        taken = (await change.execute(rules.update().where(same).values(row))).rowcount == 1
    else:
        taken = await insert_new(change.connection, rules, model_id=model_id, **row)
    if not taken:
        raise stale(f"The rules of {model_id}")
    await change.note("rules.put", model_id, model_id=model_id, before=before.rules, after=ruleset)
    return RulesRevision(ruleset, before.revision + 1)


def compiled(ruleset: RuleSet) -> list[CompiledRule]:
    """The rules ready for use. Raises Invalid where they cannot be used."""
    if "\\u0000" in as_text(ruleset):
        raise Invalid("A rule has a text with a NUL character.", "Leave it out.")
    try:
        return check_rules(ruleset)
    except RunwayError as error:
        raise Invalid(error.sentence, error.remedy) from error


async def models_with_rules(connection: AsyncConnection, after: str, limit: int) -> list[str]:
    """The models that have rules and are not archived, by name, from the one after `after` on."""
    mine = sa.select(rules.c.model_id).join(models, models.c.model_id == rules.c.model_id)
    question = mine.where(rules.c.model_id > after, ~models.c.archived, rules.c.document != as_text(RuleSet([])))
    return list((await connection.execute(question.order_by(rules.c.model_id).limit(limit))).scalars())


async def news(
    connection: AsyncConnection, model_id: str, version: str, verdicts: Sequence[tuple[str, Verdict]]
) -> list[tuple[str, Verdict]]:
    """Those of the verdicts, by rule, whose outcome or kind of reason is another than the last one of that rule and version."""
    mine = sa.and_(evaluations.c.model_id == model_id, evaluations.c.version == version)
    newest = sa.select(sa.func.max(evaluations.c.seq)).where(mine).group_by(evaluations.c.rule)
    columns = (evaluations.c.rule, evaluations.c.outcome, evaluations.c.reason)
    rows = await connection.execute(sa.select(*columns).where(evaluations.c.seq.in_(newest)))
    last = {row.rule: (row.outcome, reason_kind(row.reason)) for row in rows}
    return [(rule, said) for rule, said in verdicts if last.get(rule) != (said.outcome, reason_kind(said.reason))]


async def record(change: Change, model_id: str, version: str, verdicts: Sequence[tuple[str, Verdict]]) -> int:
    """Keeps the verdicts, by rule, that are news, and says how many. Bound: 1,000 a model, and the last
    one of each version and rule."""
    new = await news(change.connection, model_id, version, verdicts)
    if not new:
        return 0
    whose = {"model_id": model_id, "version": version, "at": change.now}
    rows = [
        {**whose, "rule": rule, "outcome": said.outcome, "reason": said.reason, "facts": as_text(said.values)}
        for rule, said in new
    ]
    await change.execute(evaluations.insert(), rows)
    mine = evaluations.c.model_id == model_id
    last = sa.select(evaluations.c.seq).where(mine).order_by(evaluations.c.seq.desc()).offset(KEPT).limit(1)
    # What a rule came to last is kept in any case: without it the same would be news at the next scan.
    newest = sa.select(sa.func.max(evaluations.c.seq)).where(mine).group_by(evaluations.c.version, evaluations.c.rule)
    old = sa.and_(evaluations.c.seq <= last.scalar_subquery(), evaluations.c.seq.not_in(newest))
    await change.execute(evaluations.delete().where(mine, old))
    return len(new)


async def evaluations_of(
    connection: AsyncConnection, model_id: str, limit: int, before_seq: int | None = None, version: str | None = None
) -> list[Evaluation]:
    """The model's evaluations, newest first, of one version or all, those before `before_seq` alone where it is given."""
    question = sa.select(evaluations).where(evaluations.c.model_id == model_id)
    if before_seq is not None:
        question = question.where(evaluations.c.seq < before_seq)
    if version is not None:
        question = question.where(evaluations.c.version == version)
    rows = await connection.execute(question.order_by(evaluations.c.seq.desc()).limit(limit))
    return [
        Evaluation(row.seq, row.version, row.rule, row.at, row.outcome, row.reason, msgspec.json.decode(row.facts))
        for row in rows
    ]


def reason_kind(reason: str) -> str:
    """A reason without its numbers, which change with every scan.

    >>> reason_kind("live.P1D.accuracy is 0.931, live.P1D.auc is not known (no scores).")
    'live.P#D.accuracy is #, live.P#D.auc is not known (no scores).'
    """
    return _NUMBER.sub("#", reason)
