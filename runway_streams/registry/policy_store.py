"""The store of policies: every revision of each model's, team's and task's, the newest of which is in force."""

from dataclasses import dataclass
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import insert_new
from runway_streams.errors import RunwayError
from runway_streams.registry.changes import Change, as_text
from runway_streams.registry.policies import check_policy
from runway_streams.registry.refusals import Invalid, stale
from runway_streams.registry.tables import policies
from schemas.policy import Policy

Scope = Literal["model", "team", "task"]
_decode = msgspec.json.Decoder(Policy).decode


@dataclass(frozen=True, slots=True)
class PolicyRevision:
    """One revision; `policy` is None where it was taken away."""

    policy: Policy | None
    revision: int
    at: int
    actor: str


NONE = PolicyRevision(None, 0, 0, "")
"""What is there before anybody has said anything."""


async def current(connection: AsyncConnection, scope: Scope, name: str) -> PolicyRevision:
    """The newest revision; `NONE` where there is none."""
    found = await history(connection, scope, name, 1)
    return found[0] if found else NONE


async def history(
    connection: AsyncConnection, scope: Scope, name: str, limit: int, before: int | None = None
) -> list[PolicyRevision]:
    """The revisions, newest first, those before a revision alone where one is named."""
    question = sa.select(policies).where(policies.c.scope == scope, policies.c.name == name)
    if before is not None:
        question = question.where(policies.c.revision < before)
    rows = await connection.execute(question.order_by(policies.c.revision.desc()).limit(limit))
    return [
        PolicyRevision(None if row.document is None else _decode(row.document), row.revision, row.at, row.actor)
        for row in rows
    ]


async def put(change: Change, scope: Scope, name: str, policy: Policy | None, revision: int | None) -> PolicyRevision:
    """Adds a revision after `revision` (None: after whichever is the newest, 0: where there is no policy now); None as the
    policy takes it away.

    Of many that are put after the same one, one is taken: the others raise Stale. Raises Invalid.
    """
    if policy is not None:
        _check(policy)
    before = await current(change.connection, scope, name)
    is_new = revision == 0 and before.policy is None
    if revision is not None and revision != before.revision and not is_new:
        raise stale(f"The policy of the {scope} {name}")
    if policy == before.policy:
        return before
    document = None if policy is None else as_text(policy)
    row = {"document": document, "at": change.now, "actor": change.actor, "revision": before.revision + 1}
    if not await insert_new(change.connection, policies, scope=scope, name=name, **row):
        raise stale(f"The policy of the {scope} {name}")
    model_id = name if scope == "model" else None
    await change.note(f"policy.{scope}", name, model_id=model_id, before=before.policy, after=policy)
    return PolicyRevision(policy, before.revision + 1, change.now, change.actor)


def _check(policy: Policy) -> None:
    if "\\u0000" in as_text(policy):
        raise Invalid("The policy has a text with a NUL character.", "Leave it out.")
    try:
        check_policy(policy)
    except RunwayError as error:
        raise Invalid(error.sentence, error.remedy) from error
