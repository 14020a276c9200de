"""Versions: what was trained, unchanging; and in which stage each of them is."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import insert_new
from runway_streams.errors import RunwayError
from runway_streams.registry import catalog
from runway_streams.registry.changes import Change, as_text
from runway_streams.registry.lifecycle import check_move
from runway_streams.registry.outbox import note_settings
from runway_streams.registry.refusals import Conflict, Invalid, Unknown, stale
from runway_streams.registry.settings import settings_of
from runway_streams.registry.statuses import refresh_model_status
from runway_streams.registry.tables import aliases, moves, profiles, versions
from runway_streams.times import parse_duration
from schemas.model import Status
from schemas.model_settings import ReferenceProfile
from schemas.model_version import ModelVersion, Origin, Stage

_decode = msgspec.json.Decoder(ModelVersion).decode
_decode_profile = msgspec.json.Decoder(ReferenceProfile).decode


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version as the registry has it; the profile lies apart, see `profile_of`."""

    model_id: str
    version: ModelVersion
    profile_digest: str | None
    stage: Stage
    stage_since: int
    status: Status
    status_reason: str
    status_since: int
    created_at: int
    created_by: str
    revision: int


@dataclass(frozen=True, slots=True)
class Move:
    """A step from one stage to another; the first has no `from_stage`."""

    from_stage: Stage | None
    to_stage: Stage
    at: int
    actor: str
    reason: str
    rule: str | None


async def create(
    change: Change, model_id: str, version: ModelVersion, stage: Stage = "exploration", reason: str = "registered"
) -> tuple[VersionEntry, bool]:
    """Adds a version to a registered model, and says whether it is new: the same one again is not.

    Raises Unknown for the model, Conflict where the version, or its origin, is there with another content, Invalid.
    """
    model = await catalog.get(change.connection, model_id, lock=True)
    if not model.registered:
        raise Unknown(f"{model_id} has been seen, but nobody has registered it.", "Register it first.")
    if model.archived:
        raise Conflict(f"The model {model_id} is archived.", "Restore it first.")
    _check(change, model, version)
    digest = await _keep_profile(change, version.profile)
    row = _row(change, model_id, version, digest, stage)
    if not await insert_new(change.connection, versions, **row):
        return await _same_or_conflict(change.connection, model_id, row), False
    await _note_move(change, model_id, version.version, Move(None, stage, change.now, change.actor, reason, None))
    await note_settings(change, model.model)
    target = f"{model_id}@{version.version}"
    await change.note("version.create", target, model_id=model_id, after=_without_profile(version))
    return await get(change.connection, model_id, version.version), True


async def get(connection: AsyncConnection, model_id: str, version: str, *, lock: bool = False) -> VersionEntry:
    """The version. Raises Unknown."""
    same = sa.and_(versions.c.model_id == model_id, versions.c.version == version)
    question = sa.select(versions).where(same)
    row = None
    if "\0" not in model_id + version:
        row = (await connection.execute(question.with_for_update() if lock else question)).first()
    if row is None:
        await catalog.get(connection, model_id)
        raise Unknown(f"{model_id} has no version {version!r}.", f"GET /v1/models/{model_id}/versions lists them.")
    return entry_of(row)


async def page(
    connection: AsyncConnection, model_id: str, limit: int, after: tuple[int, str] | None = None, stage: Stage | None = None
) -> list[VersionEntry]:
    """The model's versions, newest first, from the one after (created_at, version) on."""
    question = sa.select(versions).where(versions.c.model_id == model_id)
    if after:
        question = question.where(sa.tuple_(versions.c.created_at, versions.c.version) < after)
    if stage:
        question = question.where(versions.c.stage == stage)
    newest = question.order_by(versions.c.created_at.desc(), versions.c.version.desc()).limit(limit)
    return [entry_of(row) for row in (await connection.execute(newest)).all()]


async def among(connection: AsyncConnection, places: Collection[tuple[str, str]]) -> list[VersionEntry]:
    """The versions of these models and names, in their order; at most 10,000 are asked for at a time."""
    place = sa.tuple_(versions.c.model_id, versions.c.version)
    question = sa.select(versions).where(place.in_(list(places))).order_by(versions.c.model_id, versions.c.version)
    return [entry_of(row) for row in await connection.execute(question)]


async def of_run(connection: AsyncConnection, model_id: str, run: str) -> VersionEntry | None:
    """The oldest version of a model that this run has made."""
    said = f'"training_run":{as_text(run)}'
    question = sa.select(versions).where(
        versions.c.model_id == model_id, versions.c.document.contains(said, autoescape=True)
    )
    rows = await connection.execute(question.order_by(versions.c.created_at, versions.c.version))
    # A hyperparameter may be called so too.
    return next((entry for entry in map(entry_of, rows) if entry.version.training_run == run), None)


async def profile_of(connection: AsyncConnection, entry: VersionEntry) -> ReferenceProfile | None:
    """The version's reference profile."""
    if entry.profile_digest is None:
        return None
    document = await connection.scalar(sa.select(profiles.c.document).where(profiles.c.digest == entry.profile_digest))
    return None if document is None else _decode_profile(document)


async def move(
    change: Change,
    model_id: str,
    version: str,
    to: Stage,
    reason: str,
    *,
    rule: str | None = None,
    revision: int | None = None,
) -> VersionEntry:
    """Moves a version to another stage. Raises Unknown, Conflict for an illegal move, Stale where `revision` is another."""
    # The model first: which settings are the last ones is decided by whoever holds it.
    model = await catalog.get(change.connection, model_id, lock=True)
    before = await get(change.connection, model_id, version, lock=True)
    if revision is not None and revision != before.revision:
        raise stale(f"The version {version} of {model_id}")
    try:
        check_move(before.stage, to)
    except RunwayError as error:
        raise Conflict(error.sentence, error.remedy) from error
    columns = {"stage": to, "stage_since": change.now, "revision": before.revision + 1}
    same = sa.and_(versions.c.model_id == model_id, versions.c.version == version, versions.c.revision == before.revision)
    if (await change.execute(versions.update().where(same).values(columns))).rowcount != 1:
        raise stale(f"The version {version} of {model_id}")
    if to == "archived":
        pointing = aliases.update().where(aliases.c.model_id == model_id, aliases.c.version == version)
        await change.execute(pointing.values(version=None, revision=aliases.c.revision + 1))
    await _note_move(change, model_id, version, Move(before.stage, to, change.now, change.actor, reason, rule))
    await refresh_model_status(change, model_id)
    await note_settings(change, model.model)
    after = {"stage": to, "reason": reason, "rule": rule}
    target = f"{model_id}@{version}"
    await change.note("version.move", target, model_id=model_id, before={"stage": before.stage}, after=after)
    return await get(change.connection, model_id, version)


async def moves_of(connection: AsyncConnection, model_id: str, version: str, limit: int = 200) -> list[Move]:
    """How the version came to where it is, newest first, at most 200."""
    await get(connection, model_id, version)
    question = sa.select(moves).where(moves.c.model_id == model_id, moves.c.version == version)
    rows = await connection.execute(question.order_by(moves.c.seq.desc()).limit(limit))
    return [Move(row.from_stage, row.to_stage, row.at, row.actor, row.reason, row.rule) for row in rows]


async def stages_of(connection: AsyncConnection, model_ids: list[str]) -> dict[str, list[Stage]]:
    """In which stages each of the models has versions."""
    question = sa.select(versions.c.model_id, versions.c.stage).where(versions.c.model_id.in_(model_ids)).distinct()
    found: dict[str, list[Stage]] = {}
    for row in (await connection.execute(question)).all():
        found.setdefault(row.model_id, []).append(row.stage)
    return found


async def having_origin(connection: AsyncConnection, origins: list[Origin]) -> dict[str, VersionEntry]:
    """The imported versions among these, by `origin_key`; at most 200 are asked for at a time."""
    keys = [origin_key(origin) for origin in origins]
    rows = await connection.execute(sa.select(versions).where(versions.c.origin.in_(keys)))
    return {row.origin: entry_of(row) for row in rows}


def origin_key(origin: Origin) -> str:
    """One text for one version of one registry.

    >>> len(origin_key(Origin("http://mlflow", "fraud", "3")))
    64
    """
    return hashlib.sha256(as_text([origin.uri, origin.name, origin.version]).encode()).hexdigest()


def entry_of(row: sa.Row) -> VersionEntry:
    """The entry of a row of `versions`."""
    return VersionEntry(
        row.model_id,
        _decode(row.document),
        row.profile_digest,
        row.stage,
        row.stage_since,
        row.status,
        row.status_reason,
        row.status_since,
        row.created_at,
        row.created_by,
        row.revision,
    )


def _check(change: Change, model: catalog.Entry, version: ModelVersion) -> None:
    if "\\u0000" in as_text(_without_profile(version)):
        raise Invalid(f"The version {version.version} has a text with a NUL character.", "Leave it out.")
    interval = version.training_interval
    if interval and interval.end <= interval.start:
        raise Invalid("training_interval ends before it begins.", "Give start < end.")
    try:
        for feature in version.features:
            if feature.freshness is not None and parse_duration(feature.freshness) <= 0:
                raise Invalid(f"freshness of {feature.name} is no time.", "Give a duration such as PT1H.")
        change.check_settings(settings_of(model.model, version.profile))
    except Invalid:
        raise
    except RunwayError as error:
        raise Invalid(error.sentence, error.remedy) from error


async def _keep_profile(change: Change, profile: ReferenceProfile | None) -> str | None:
    if profile is None:
        return None
    document = msgspec.json.encode(profile, order="deterministic")
    digest = hashlib.sha256(document).hexdigest()
    await insert_new(change.connection, profiles, digest=digest, document=document)
    return digest


def _row(change: Change, model_id: str, version: ModelVersion, digest: str | None, stage: Stage) -> dict:
    return {
        "model_id": model_id,
        "version": version.version,
        "document": as_text(_without_profile(version)),
        "profile_digest": digest,
        "stage": stage,
        "stage_since": change.now,
        "status": catalog.UNKNOWN_STATUS,
        "status_reason": "Nothing has judged this version yet.",
        "status_since": change.now,
        "origin": origin_key(version.origin) if version.origin else None,
        "created_at": change.now,
        "created_by": change.actor,
        "revision": 1,
    }


def _without_profile(version: ModelVersion) -> ModelVersion:
    return msgspec.structs.replace(version, profile=None)


async def _same_or_conflict(connection: AsyncConnection, model_id: str, row: dict) -> VersionEntry:
    same = sa.and_(versions.c.model_id == model_id, versions.c.version == row["version"])
    there = (await connection.execute(sa.select(versions).where(same))).first()
    if there is None:
        raise Conflict("A version of the same origin is in the registry under another name.", "Search for it.")
    if (there.document, there.profile_digest) != (row["document"], row["profile_digest"]):
        sentence = f"{model_id} has a version {row['version']} with another content, and versions do not change."
        raise Conflict(sentence, "Use another name for the new one.")
    return entry_of(there)


async def _note_move(change: Change, model_id: str, version: str, step: Move) -> None:
    row = {
        "model_id": model_id,
        "version": version,
        "from_stage": step.from_stage,
        "to_stage": step.to_stage,
        "at": step.at,
        "actor": step.actor,
        "reason": step.reason,
        "rule": step.rule,
    }
    await change.execute(moves.insert().values(row))
