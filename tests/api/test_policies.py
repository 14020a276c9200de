"""Policies over HTTP, on SQLite and on PostgreSQL."""

import asyncio

import pytest

POLICY = {
    "staleness": {"age": {"weight": 1, "ok": "P7D", "critical": "P30D"}, "enter": 0.8, "leave": 0.6},
    "retrain": {"mode": "auto", "workflow": "retrain_fraud", "cooldown": "PT12H", "when": "staleness > 0.9"},
}
PATH = "/v1/models/fraud/policy"
NONE_YET = {"If-None-Match": "*"}


def with_age(days):
    return {**POLICY, "staleness": {"age": {"weight": 1, "ok": f"P{days}D", "critical": f"P{days + 1}D"}}}


@pytest.fixture
async def http(api):
    async with api.as_() as client:
        model = {"model_id": "fraud", "task": "binary", "owner": "risk"}
        assert (await client.post("/v1/models", json=model)).status_code == 201
        yield client


async def ok_of(http):
    found = (await http.get(PATH)).json()
    return found["source"], found["staleness"]["age"]["ok"]


async def test_the_nearest_policy_applies(http):
    assert await ok_of(http) == ("built-in", "P30D")
    for path, days, source in (
        ("/v1/policies/tasks/binary", 5, "task"),
        ("/v1/policies/teams/risk", 6, "team"),
        (PATH, 7, "model"),
    ):
        assert (await http.put(path, json=with_age(days), headers=NONE_YET)).status_code == 200
        assert await ok_of(http) == (source, f"P{days}D")
    for path, source in ((PATH, "team"), ("/v1/policies/teams/risk", "task"), ("/v1/policies/tasks/binary", "built-in")):
        assert (await http.delete(path, headers={"If-Match": '"1"'})).status_code == 200
        assert (await ok_of(http))[0] == source
    assert (await http.get("/v1/policies/teams/risk")).status_code == 404


async def test_a_policy_is_changed_by_revisions_that_are_all_kept(http):
    first = await http.get(PATH)
    assert first.headers["etag"] == '"0"'
    assert (await http.put(PATH, json=POLICY)).status_code == 428
    made = await http.put(PATH, json=POLICY, headers={"If-Match": first.headers["etag"]})
    assert (made.status_code, made.headers["etag"], made.json()["retrain"]["workflow"]) == (200, '"1"', "retrain_fraud")
    assert (await http.put(PATH, json=with_age(1), headers=NONE_YET)).status_code == 412
    assert (await http.put(PATH, json=with_age(1), headers={"If-Match": '"1"'})).headers["etag"] == '"2"'
    revisions = (await http.get(f"{PATH}/revisions")).json()["items"]
    assert [(each["revision"], each["actor"], each["staleness"]["age"]["ok"]) for each in revisions] == [
        (2, "ada", "P1D"), (1, "ada", "P7D"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({**POLICY, "staleness": {}}, "weight"),
        ({**POLICY, "staleness": {"age": {"weight": 1, "ok": "P9D", "critical": "P3D"}}}, "age"),
        ({**POLICY, "staleness": {**POLICY["staleness"], "leave": 0.9}}, "leave"),
        ({**POLICY, "staleness": {"age": {"weight": -1, "ok": "P1D", "critical": "P3D"}}}, "weight"),
        ({**POLICY, "retrain": {"when": "staleness >"}}, "when"),
        ({**POLICY, "retrain": {"mode": "never"}}, "mode"),
        ({"staleness": POLICY["staleness"]}, "retrain"),
    ],
)
async def test_a_policy_that_contradicts_itself_is_a_400_that_names_the_field(http, document, word):
    answer = await http.put(PATH, json=document, headers=NONE_YET)
    assert (answer.status_code, word in answer.json()["detail"]) == (400, True), answer.text
    assert (await ok_of(http))[0] == "built-in"


async def test_of_many_conditional_updates_exactly_one_wins_each_round(http):
    for round_ in range(5):
        tag = (await http.get(PATH)).headers["etag"]
        answers = await asyncio.gather(
            *(http.put(PATH, json=with_age(100 * round_ + n + 1), headers={"If-Match": tag}) for n in range(40))
        )
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(200), statuses.count(412)) == (1, 39)
        assert (await ok_of(http))[1] == f"P{100 * round_ + statuses.index(200) + 1}D"
    assert len((await http.get(f"{PATH}/revisions")).json()["items"]) == 5


async def test_defaults_are_for_admins(api, http):
    async with api.as_("eve", "operator") as operator, api.as_("mia", "owner", "risk") as owner:
        assert (await operator.put("/v1/policies/tasks/binary", json=POLICY, headers=NONE_YET)).status_code == 403
        assert (await owner.put(PATH, json=POLICY, headers=NONE_YET)).status_code == 200
    for path in ("/v1/policies/tasks/magic", "/v1/policies/nothing/x", "/v1/policies/teams/a%00"):
        assert (await http.put(path, json=POLICY, headers=NONE_YET)).status_code == 404


async def test_a_policy_that_was_taken_away_can_be_made_again(http):
    for _ in range(2):
        made = await http.put(PATH, json=POLICY, headers=NONE_YET)
        assert made.status_code == 200
        assert (await http.put(PATH, json=with_age(3), headers=NONE_YET)).status_code == 412
        assert (await http.delete(PATH, headers={"If-Match": made.headers["etag"]})).status_code == 200


async def test_a_team_may_have_any_name(http):
    assert (await http.put("/v1/policies/teams/risk%2Feu", json=POLICY, headers=NONE_YET)).status_code == 200
    assert (await http.get("/v1/policies/teams/risk/eu/revisions")).json()["items"][0]["revision"] == 1
    assert (await http.get("/v1/policies/teams/risk/eu")).json()["revision"] == 1
