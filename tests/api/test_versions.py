"""Versions, stages, aliases and status over HTTP, on SQLite and on PostgreSQL."""

import asyncio

import msgspec
import pytest
import sqlalchemy as sa

from runway_streams.registry import outbox
from runway_streams.registry.tables import settings_changes
from schemas.model_settings import ModelSettings

PROFILE = {"features": {"age": {"edges": [20.0, 40.0], "counts": [1.0, 2.0, 3.0]}}}
WHOLE = {
    "version": "1.2.0+gpu",
    "artifact_uri": "s3://models/fraud/1",
    "artifact_sha256": "a" * 64,
    "training_run": "FraudFlow/17",
    "code_ref": "git:abc",
    "hyperparameters": {"depth": 3, "loss": "log", "early": True, "lr": 0.1},
    "metrics": {"accuracy": 0.93, "mae": 4.5},
    "training_interval": {"start": "2026-01-01T00:00:00Z", "end": "2026-04-01T00:00:00Z"},
    "trained_at": "2026-04-02T10:00:00Z",
    "features": [{"name": "age", "freshness": "PT1H"}, {"name": "country"}],
    "profile": PROFILE,
}


@pytest.fixture
async def http(api):
    async with api.as_() as client:
        assert (await client.post("/v1/models", json={"model_id": "fraud", "task": "binary"})).status_code == 201
        yield client


async def add(http, version, **fields):
    answer = await http.post("/v1/models/fraud/versions", json={"version": version, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def move(http, version, to, **headers):
    document = {"to": to, "reason": "because"}
    return await http.post(f"/v1/models/fraud/versions/{version}/moves", json=document, headers=headers)


async def settings_of(api):
    async with api.registry.read() as connection:
        rows = await connection.execute(sa.select(settings_changes.c.document).order_by(settings_changes.c.seq))
        return [msgspec.json.decode(document, type=ModelSettings) for document in rows.scalars()]


async def test_a_version_is_registered_and_read_as_it_was_made(http):
    made = await http.post("/v1/models/fraud/versions", json=WHOLE)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/models/fraud/versions/1.2.0+gpu")
    read = (await http.get("/v1/models/fraud/versions/1.2.0+gpu")).json()
    told = {name: read[name] for name in WHOLE if name != "profile"}
    assert told | {"features": WHOLE["features"]} == {k: v for k, v in WHOLE.items() if k != "profile"} | {
        "features": WHOLE["features"]
    }
    assert (read["stage"], read["status"], read["created_by"]) == ("exploration", "UNKNOWN", "ada")
    assert (await http.get("/v1/models/fraud/versions/1.2.0+gpu/profile")).json()["features"] == PROFILE["features"]
    assert (await http.get("/v1/models/fraud")).json()["stages"] == ["exploration"]


async def test_the_same_version_again_is_the_same_and_another_content_a_409(http):
    await add(http, "1", metrics={"mae": 1.0})
    again = await http.post("/v1/models/fraud/versions", json={"version": "1", "metrics": {"mae": 1.0}})
    assert again.status_code == 200
    other = await http.post("/v1/models/fraud/versions", json={"version": "1", "metrics": {"mae": 2.0}})
    assert (other.status_code, "versions do not change" in other.json()["detail"]) == (409, True)
    profiled = await http.post(
        "/v1/models/fraud/versions", json={"version": "1", "metrics": {"mae": 1.0}, "profile": PROFILE}
    )
    assert profiled.status_code == 409
    assert (await http.get("/v1/models/fraud/versions/1")).json()["metrics"] == {"mae": 1.0}


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"version": "a/b"}, "version"),
        ({"version": ""}, "version"),
        ({"version": "1", "artifact_sha256": "xyz"}, "artifact_sha256"),
        (
            {"version": "1", "training_interval": {"start": "2026-02-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}},
            "training_interval",
        ),
        ({"version": "1", "trained_at": "2026-02-01T00:00:00"}, "trained_at"),
        ({"version": "1", "features": [{"name": "a", "freshness": "soon"}]}, "duration"),
        ({"version": "1", "profile": {"features": {"a": {"edges": [2.0, 1.0], "counts": [1, 1, 1]}}}}, "ascend"),
        ({"version": "1", "stage": "nowhere"}, "stage"),
        ({"version": "1", "code_ref": "a\0"}, "NUL"),
        ({"version": "1", "metrics": {"mae": 1e999}}, "range"),
    ],
)
async def test_a_version_that_cannot_be_is_a_400(http, document, word):
    answer = await http.post("/v1/models/fraud/versions", content=msgspec.json.encode(document).replace(b"null", b"1e999"))
    assert (answer.status_code, word in answer.json()["detail"]) == (400, True), answer.text


async def test_versions_come_newest_first_in_pages(http, api):
    for number in range(7):
        api.clock += number % 2
        await add(http, f"v{number}")
    found, cursor = [], None
    while True:
        page = (
            await http.get("/v1/models/fraud/versions", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        ).json()
        found += [item["version"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ["v6", "v5", "v4", "v3", "v2", "v1", "v0"]


async def test_a_version_moves_by_legal_steps_and_each_is_written_down(http):
    await add(http, "1", stage="evaluation")
    assert (await move(http, "1", "production")).status_code == 409
    for stage in ("staging", "production", "deprecated", "archived"):
        answer = await move(http, "1", stage)
        assert (answer.status_code, answer.json()["stage"]) == (200, stage)
    assert (await move(http, "1", "exploration")).status_code == 409
    moves = (await http.get("/v1/models/fraud/versions/1/moves")).json()["items"]
    assert [(step["from"], step["to"]) for step in moves] == [
        ("deprecated", "archived"), ("production", "deprecated"), ("staging", "production"),
        ("evaluation", "staging"), (None, "evaluation"),
    ]  # fmt: skip
    assert {(step["actor"], step["rule"]) for step in moves} == {("ada", None)}


async def test_a_move_may_name_the_revision_that_it_was_decided_on(http):
    tag = f'"{(await add(http, "1"))["revision"]}"'
    assert (await move(http, "1", "training", **{"If-Match": tag})).status_code == 200
    assert (await move(http, "1", "evaluation", **{"If-Match": tag})).status_code == 412


async def test_an_alias_stands_for_one_version_at_a_time(http):
    await add(http, "1")
    await add(http, "2")
    path = "/v1/models/fraud/aliases/champion"
    assert (await http.put(path, json={"version": "1"})).status_code == 428
    made = await http.put(path, json={"version": "1"}, headers={"If-None-Match": "*"})
    assert (made.status_code, made.headers["etag"]) == (200, '"1"')
    assert (await http.put(path, json={"version": "2"}, headers={"If-None-Match": "*"})).status_code == 412
    assert (await http.put(path, json={"version": "3"}, headers={"If-Match": '"1"'})).status_code == 404
    assert (await http.put(path, json={"version": "2"}, headers={"If-Match": '"1"'})).status_code == 200
    assert (await http.get("/v1/models/fraud")).json()["aliases"] == {"champion": "2"}
    assert (await http.get("/v1/models/fraud/versions/2")).json()["aliases"] == ["champion"]
    assert (
        await http.put("/v1/models/fraud/aliases/BIG", json={"version": "2"}, headers={"If-None-Match": "*"})
    ).status_code == 400
    assert (await http.delete(path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await http.delete(path, headers={"If-Match": '"2"'})).status_code == 204
    assert (await http.get(path)).status_code == 404


async def test_an_archived_version_has_no_alias(http):
    await add(http, "1")
    await http.put("/v1/models/fraud/aliases/champion", json={"version": "1"}, headers={"If-None-Match": "*"})
    assert (await move(http, "1", "archived")).status_code == 200
    assert (await http.get("/v1/models/fraud/aliases")).json()["items"] == []
    again = await http.put("/v1/models/fraud/aliases/champion", json={"version": "1"}, headers={"If-None-Match": "*"})
    assert again.status_code == 409


async def test_a_model_is_as_its_worst_version_in_production(http):
    for version in ("1", "2"):
        await add(http, version, stage="production")

    async def say(version, status):
        path = f"/v1/models/fraud/versions/{version}/status"
        found = await http.put(path, json={"status": status, "reason": "scan 7"}, headers={"If-Match": "*"})
        assert found.status_code == 200
        return (await http.get("/v1/models/fraud")).json()["status"]

    assert await say("1", "HEALTHY") == "UNKNOWN"
    assert await say("2", "HEALTHY") == "HEALTHY"
    assert await say("2", "AT_RISK") == "AT_RISK"
    assert [item["model_id"] for item in (await http.get("/v1/models?status=AT_RISK")).json()["items"]] == ["fraud"]
    await move(http, "2", "deprecated")
    version = (await http.get("/v1/models/fraud/versions/2")).json()
    assert ((await http.get("/v1/models/fraud")).json()["status"], version["status_reason"]) == ("HEALTHY", "scan 7")


async def test_a_status_is_set_for_the_version_that_was_read(http):
    await add(http, "1", stage="production")
    path = "/v1/models/fraud/versions/1"

    async def say(status, **headers):
        return await http.put(f"{path}/status", json={"status": status, "reason": "scan"}, headers=headers)

    assert (await say("AT_RISK")).status_code == 428
    read = (await http.get(path)).headers["etag"]
    answers = await asyncio.gather(*(say(status, **{"If-Match": read}) for status in ("HEALTHY", "AT_RISK", "RETRAINING")))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
    (won,) = (answer for answer in answers if answer.status_code == 200)
    told = (await http.get(path)).json()
    assert told == won.json()
    again = await say(told["status"], **{"If-Match": won.headers["etag"]})
    assert again.headers["etag"] == won.headers["etag"], "the same once more is no change"
    assert (await move(http, "1", "deprecated")).status_code == 200
    assert (await say("AT_RISK", **{"If-Match": won.headers["etag"]})).status_code == 412
    assert (await say("AT_RISK", **{"If-None-Match": "*"})).status_code == 412


async def test_workers_are_told_each_change_of_settings_and_the_profile_in_force(http, api):
    await http.patch("/v1/models/fraud", json={"owner": "risk"}, headers={"If-Match": "*"})
    assert [settings.join_window for settings in await settings_of(api)] == ["PT1H"]
    await http.patch("/v1/models/fraud", json={"join_window": "PT12H"}, headers={"If-Match": "*"})

    async def told():
        (newest,) = await settings_of(api)  # what waits is one change a model, however many were made
        return newest.join_window, newest.profile and newest.profile.features["age"].edges

    assert await told() == ("PT12H", None)
    await add(http, "1", profile=PROFILE)
    assert await told() == ("PT12H", [20.0, 40.0])
    other = {"features": {"age": {"edges": [30.0], "counts": [4.0, 4.0]}}}
    await add(http, "2", profile=other, stage="production")
    await add(http, "3", profile=PROFILE)
    assert await told() == ("PT12H", [30.0])
    await http.put("/v1/models/fraud/aliases/champion", json={"version": "3"}, headers={"If-None-Match": "*"})
    assert await told() == ("PT12H", [20.0, 40.0])
    async with api.registry.read() as connection:
        assert await outbox.waiting(connection) == ["fraud"]
    assert (await http.get("/v1/models/fraud")).json()["settings"] == {"published": False, "effective_from": None}


async def test_an_alias_that_was_made_anew_is_not_the_one_that_was_read(http):
    for version in ("1", "2", "3"):
        await add(http, version)
    path = "/v1/models/fraud/aliases/champion"
    read = (await http.put(path, json={"version": "1"}, headers={"If-None-Match": "*"})).headers["etag"]
    assert (await http.delete(path, headers={"If-Match": read})).status_code == 204
    assert (await http.put(path, json={"version": "2"}, headers={"If-None-Match": "*"})).status_code == 200
    assert (await http.put(path, json={"version": "3"}, headers={"If-Match": read})).status_code == 412
    assert (await http.get(path)).json()["version"] == "2"


async def test_statuses_of_two_versions_at_once_are_both_seen(http):
    for version in ("1", "2"):
        await add(http, version, stage="production")
    for first, second in (("HEALTHY", "AT_RISK"), ("AT_RISK", "HEALTHY")) * 5:
        await asyncio.gather(
            *(
                http.put(
                    f"/v1/models/fraud/versions/{version}/status",
                    json={"status": status, "reason": "scan"},
                    headers={"If-Match": "*"},
                )
                for version, status in (("1", first), ("2", second))
            )
        )
        assert (await http.get("/v1/models/fraud")).json()["status"] == "AT_RISK"


async def test_moves_and_statuses_do_not_wait_for_each_other(http):
    await add(http, "1", stage="production")
    path = "/v1/models/fraud/versions/1"
    for to in ("deprecated", "production") * 5:
        status = {"status": "HEALTHY" if to == "production" else "AT_RISK", "reason": "scan"}
        put = http.put(f"{path}/status", json=status, headers={"If-Match": "*"})
        answers = await asyncio.gather(move(http, "1", to), put)
        assert [answer.status_code for answer in answers] == [200, 200]
