"""`/v1/models`: the catalog over HTTP, on SQLite and on PostgreSQL."""

import asyncio
import gzip
import json

import pytest

from tests.api.conftest import NOON, Api, Event, merged_view, speed_store

FRAUD = {"model_id": "fraud", "name": "Card fraud", "owner": "risk", "task": "binary", "tags": ["cards", "eu"]}


async def register(http, *names, **fields):
    for name in names:
        assert (await http.post("/v1/models", json={"model_id": name, **fields})).status_code == 201


async def ids(http, **asked):
    found = (await http.get("/v1/models", params=asked)).json()
    return [item["model_id"] for item in found["items"]]


async def test_a_model_is_registered_read_changed_and_archived(api):
    async with api.as_() as http:
        made = await http.post("/v1/models", json=FRAUD)
        assert (made.status_code, made.headers["location"], made.headers["etag"]) == (201, "/v1/models/fraud", '"1"')
        document = (await http.get("/v1/models/fraud")).json()
        assert document == made.json()
        assert FRAUD.items() <= document.items()
        assert (document["status"], document["registered"], document["seen"]) == ("UNKNOWN", True, None)
        api.clock += 1000
        changed = await http.patch(
            "/v1/models/fraud", json={"owner": "fraud-team", "tags": None}, headers={"If-Match": '"1"'}
        )
        assert (changed.json()["owner"], changed.json()["tags"], changed.headers["etag"]) == ("fraud-team", [], '"2"')
        assert changed.json()["updated_at"] > document["updated_at"]
        gone = await http.patch("/v1/models/fraud", json={"archived": True}, headers={"If-Match": '"2"'})
        assert gone.json()["archived"]
        assert await ids(http) == []
        assert await ids(http, archived="true") == await ids(http, archived="any") == ["fraud"]
        back = await http.patch("/v1/models/fraud", json={"archived": False}, headers={"If-Match": "*"})
        assert (back.json()["archived"], await ids(http)) == (False, ["fraud"])


async def test_a_model_that_was_seen_is_listed_and_registering_it_keeps_its_history(database):
    api = Api(database, merged_view([Event(NOON * 12)], None))
    api.view.speed.store = speed_store([Event(NOON * 12)], model="seen/by stream")
    api.view.speed.store._series.update(speed_store([Event(NOON * 12)], model="seen")._series)
    async with api.as_() as http:
        first = (await http.get("/v1/models")).json()["items"]
        assert [(item["model_id"], item["registered"]) for item in first] == [("seen", False), ("seen/by stream", False)]
        assert await ids(http, registered="true") == []
        assert (await http.patch("/v1/models/seen", json={"owner": "x"}, headers={"If-Match": '"0"'})).status_code == 404
        api.clock += 1000
        await register(http, "seen", owner="risk")
        document = (await http.get("/v1/models/seen")).json()
        assert (document["registered"], document["seen"]["predictions"]) == (True, 1)
        assert document["created_at"] == first[0]["created_at"]
        assert (await http.get("/v1/models/seen/by stream")).json()["registered"] is False


async def test_search_finds_by_text_and_by_every_field(api):
    async with api.as_() as http:
        await register(http, "churn", name="Churn of 100% customers", owner="crm", tags=["eu"], task="binary")
        await register(
            http, "price", description="Sets the Price_of flats", owner="re", task="regression", criticality="critical"
        )
        await register(http, "spam", owner="crm", tags=["eu", "mail"], criticality="low")
        assert await ids(http, q="CUSTOMERS churn") == ["churn"]
        assert await ids(http, q="100%") == ["churn"]
        assert await ids(http, q="price_of") == ["price"]
        assert await ids(http, q="priceXof") == await ids(http, q="flats mail") == []
        assert await ids(http, owner="crm") == ["churn", "spam"]
        assert await ids(http, tag="eu", owner="crm", task="binary") == ["churn"]
        assert await ids(http, status="UNKNOWN", task="regression") == ["price"]
        assert await ids(http, sort="-criticality") == ["price", "churn", "spam"]
        assert await ids(http, stage="production") == await ids(http, status="AT_RISK") == []


@pytest.mark.parametrize("sort", ["model_id", "-model_id", "name", "-updated_at", "criticality", "-criticality"])
async def test_pages_hold_each_model_once_in_order(api, sort):
    async with api.as_() as http:
        for number in range(11):
            api.clock += number % 3
            level = ["low", "high"][number % 2]
            await register(http, f"m{number:02}", name=f"N{number % 4}", criticality=level)
        whole = await ids(http, sort=sort, limit=200)
        found, cursor = [], None
        while True:
            page = (
                await http.get("/v1/models", params={"sort": sort, "limit": 3} | ({"cursor": cursor} if cursor else {}))
            ).json()
            found += [item["model_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert (found, len(set(found))) == (whole, 11)
        page = (await http.get("/v1/models", params={"sort": sort, "limit": 3})).json()
        other = await http.get("/v1/models", params={"sort": sort, "limit": 3, "cursor": page["next_cursor"], "owner": "x"})
        assert (other.status_code, other.json()["type"]) == (400, "urn:runway:problem:bad-cursor")


async def test_a_change_needs_the_revision_that_was_read(api):
    async with api.as_() as http:
        await register(http, "m")
        assert (await http.patch("/v1/models/m", json={"owner": "a"})).status_code == 428
        assert (await http.patch("/v1/models/m", json={"owner": "a"}, headers={"If-Match": '"1"'})).status_code == 200
        for stale in ('"1"', '"x"', '"1", "2"', 'W/"2"', "2", ""):
            assert (await http.patch("/v1/models/m", json={"owner": "b"}, headers={"If-Match": stale})).status_code == 412
        assert (await http.get("/v1/models/m")).json()["owner"] == "a"


async def test_of_many_changes_of_one_revision_one_wins(api):
    async with api.as_() as http:
        await register(http, "m")

        async def change(number):
            answer = await http.patch("/v1/models/m", json={"owner": str(number)}, headers={"If-Match": '"1"'})
            return answer.status_code

        statuses = await asyncio.gather(*map(change, range(20)))
        assert (statuses.count(200), statuses.count(412)) == (1, 19)
        assert (await http.get("/v1/models/m")).json()["owner"] == str(statuses.index(200))


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"model_id": "1st"}, "model_id"),
        ({"model_id": "a" * 129}, "model_id"),
        ({"model_id": "a\n"}, "model_id"),
        ({"model_id": "a", "join_window": "P9D"}, "join_window"),
        ({"model_id": "a", "join_window": "soon"}, "duration"),
        ({"model_id": "a", "task": "regression", "labels": ["x"]}, "labels"),
        ({"model_id": "a", "task": "binary", "labels": ["x", "y"], "positive_label": "z"}, "labels"),
        ({"model_id": "a", "threshold": 1.5}, "threshold"),
        ({"model_id": "a", "colour": "red"}, "colour"),
        ({"model_id": "a", "owner": "a\0b"}, "NUL"),
        ({"model_id": "a", "links": [{"title": "x", "url": "javascript:alert(1)"}]}, "url"),
        ([], "object"),
    ],
)
async def test_a_model_that_cannot_be_is_a_400_that_names_the_field(api, document, word):
    async with api.as_() as http:
        answer = await http.post("/v1/models", json=document)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert word in answer.json()["detail"]
        assert await ids(http) == []


async def test_a_second_model_of_a_name_is_a_409_and_an_unknown_one_a_404(api):
    async with api.as_() as http:
        await register(http, "m")
        assert (await http.post("/v1/models", json={"model_id": "m"})).status_code == 409
        for path in ("/v1/models/n", "/v1/models/n%00", "/v1/models/n/versions", "/v1/models/n/policy", "/v1/models/"):
            assert (await http.get(path)).status_code == 404, path
        patched = await http.patch("/v1/models/m", json={"model_id": "n"}, headers={"If-Match": "*"})
        assert "cannot be changed" in patched.json()["detail"]
        assert (await http.post("/v1/models", content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415


async def test_an_owner_writes_the_models_of_its_teams_alone(api):
    async with api.as_() as admin, api.as_("eve", "owner", "risk") as owner, api.as_("bob", "reader") as reader:
        await register(admin, "theirs", owner="ads")
        await register(owner, "ours", owner="risk")
        for denied in (
            await owner.post("/v1/models", json={"model_id": "x", "owner": "ads"}),
            await owner.patch("/v1/models/theirs", json={"owner": "risk"}, headers={"If-Match": "*"}),
            await owner.patch("/v1/models/ours", json={"owner": "ads"}, headers={"If-Match": "*"}),
            await owner.get("/v1/audit"),
            await reader.post("/v1/models", json={"model_id": "x"}),
            await reader.patch("/v1/models/ours", json={"archived": True}, headers={"If-Match": "*"}),
        ):
            assert (denied.status_code, denied.json()["title"]) == (403, "Forbidden")
        assert await ids(reader) == ["ours", "theirs"]
        assert (await admin.get("/v1/models/theirs")).json()["owner"] == "ads"


async def test_a_post_with_an_idempotency_key_is_done_once(api):
    async with api.as_() as http:
        key = {"Idempotency-Key": "abc"}
        first, again = [await http.post("/v1/models", json={"model_id": "m"}, headers=key) for _ in range(2)]
        assert (first.status_code, again.status_code, again.headers["idempotency-replayed"]) == (201, 201, "true")
        assert (first.content, first.headers["etag"]) == (again.content, again.headers["etag"])
        other = await http.post("/v1/models", json={"model_id": "n"}, headers=key)
        assert (other.status_code, await ids(http)) == (422, ["m"])
        many = await asyncio.gather(
            *(http.post("/v1/models", json={"model_id": "o"}, headers={"Idempotency-Key": "k"}) for _ in range(10))
        )
        assert [answer.status_code for answer in many] == [201] * 10


async def test_every_change_is_audited(api):
    async with api.as_("ada") as http:
        await register(http, "m")
        await http.patch("/v1/models/m", json={"owner": "risk"}, headers={"If-Match": "*"})
        await http.patch("/v1/models/m", json={"owner": "risk"}, headers={"If-Match": "*"})  # nothing changes
        notes = (await http.get("/v1/audit", params={"model_id": "m"})).json()["items"]
    assert [(note["action"], note["actor"]) for note in notes] == [("model.change", "ada"), ("model.register", "ada")]
    assert (notes[0]["before"].get("owner"), notes[0]["after"]["owner"]) == (None, "risk")


async def test_what_lies_below_a_model_is_no_model(api):
    async with api.as_() as http:
        await register(http, "m")
        for path in ("versions", "policy", "aliases", "rules"):
            answer = await http.patch(f"/v1/models/m/{path}", json={"owner": "x"}, headers={"If-Match": "*"})
            assert (answer.status_code, "PATCH" in answer.headers["allow"]) == (405, False)


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "000000001999999", "9" * 5000, "\u0663"])
async def test_no_limit_goes_beyond_200(api, limit):
    async with api.as_() as http:
        assert (await http.get("/v1/models", params={"limit": limit})).status_code == 400


async def test_nothing_has_a_name_or_a_text_with_a_nul(api):
    async with api.as_() as http:
        await register(http, "m")
        await http.post("/v1/models/m/versions", json={"version": "1"})
        for path in ("/v1/models/%00/rules", "/v1/models/m/versions/%00", "/v1/models/%00/policy", "/v1/policies/teams/%00"):
            assert (await http.get(path)).status_code == 404, path
        move = {"to": "training", "reason": "a\0b"}
        assert (await http.post("/v1/models/m/versions/1/moves", json=move)).status_code == 400
        assert (await http.post("/v1/models/m/versions/1/moves", json={**move, "reason": "a\\u0000b"})).status_code == 200


async def test_a_body_that_comes_in_pieces_is_limited_too(api):
    async def pieces():
        for _ in range(3):
            yield b"x" * 700_000

    async with api.as_() as http:
        answer = await http.post("/v1/models", content=pieces(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:runway:problem:large-body")


async def test_a_compressed_body_is_not_inflated(api):
    bomb = gzip.compress(json.dumps({"model_id": "x", "description": " " * 100_000_000}).encode())
    async with api.as_() as http:
        for body in (bomb, gzip.compress(b'{"model_id": "x"}')):
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            answer = await http.post("/v1/models", content=body, headers=headers)
            assert answer.status_code == 400, answer.text
        assert await ids(http) == []
