"""The API beside performance: models, health, problems, limits."""

import pytest
from openapi_spec_validator import validate

from api.app import ROUTES, application
from api.openapi import openapi_document
from runway_streams.config import Config
from runway_streams.ground_truth.settings import Settings
from runway_streams.registry import keys
from tests.api.conftest import NOON, NOW, Event, FakeBatchView, http_client, merged_view, speed_store


async def test_models_lists_both_layers_in_pages(client):
    view = merged_view([Event((NOON + 5) * 12, version="2")], FakeBatchView([Event(NOON * 12)], NOON + 1))
    for i in range(3):
        other = speed_store([Event(NOON * 12)], model=f"other-{i}")
        view.speed.store._series.update(other._series)
        view.speed.store._names.update(other._names)
    view.history.add(Settings("m", task="binary"))
    async with client(view) as http:
        first = (await http.get("/v1/models", params={"limit": 2})).json()
        second = (await http.get("/v1/models", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["model_id"] for item in first["items"] + second["items"]] == ["m", "other-0", "other-1", "other-2"]
    assert second["next_cursor"] is None
    item = first["items"][0]
    assert (item["registered"], item["status"], item["stages"]) == (False, "UNKNOWN", [])
    assert item["seen"] == {
        "versions": ["1", "2"], "first": "2024-10-04T12:00:00Z", "last": "2024-10-04T17:59:59.999Z",
        "task": "binary", "predictions": None,
    }  # fmt: skip
    async with client(view) as http:
        assert (await http.get("/v1/models/m")).json()["seen"]["predictions"] == 2


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=zz", "cursor=WyJ4IiwieSJd", "page=2"])
async def test_bad_pages_are_400(client, query):
    async with client(merged_view([Event(NOON * 12)])) as http:
        found = await http.get(f"/v1/models?{query}")
    assert (found.status_code, found.headers["content-type"]) == (400, "application/problem+json")


async def test_every_error_is_a_problem(client):
    async with client(merged_view([Event(NOON * 12)])) as http:
        assert (await http.get("/nothing")).json()["status"] == 404
        found = await http.put("/v1/models")
        assert (found.json()["status"], set(found.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "POST"})
        assert (await http.get("/v1/models?" + "x" * 9000)).json()["status"] == 414
        assert (await http.post("/v1/models", content=b"x" * (2**20 + 1))).json()["status"] == 413


async def test_a_bug_is_a_500_that_tells_nothing(client):
    view = merged_view([Event(NOON * 12)])
    view.history = None
    async with client(view) as http:
        found = await http.get("/v1/models/m/performance")
    assert (found.status_code, found.headers["content-type"]) == (500, "application/problem+json")
    assert "NoneType" not in found.text


async def test_answers_carry_hardening_headers(client):
    async with client(merged_view()) as http:
        headers = (await http.get("/livez")).headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


async def test_readyz_gives_reasons(client):
    async with client(merged_view()) as http:
        assert (await http.get("/readyz")).status_code == 200
    async with client(merged_view(ready=False, problem="Kafka at x did not answer.")) as http:
        found = await http.get("/readyz")
        assert (found.status_code, found.headers["retry-after"]) == (503, "2")
        assert "Kafka at x did not answer." in found.json()["detail"]


async def test_metrics_show_state_lag_and_ages(client):
    view = merged_view([Event(NOON * 12)], FakeBatchView([], NOON))
    async with client(view) as http:
        await http.get("/v1/models")
        text = (await http.get("/metrics")).text
    assert 'runway_events_total{partition="0",topic="predictions"} 1.0' in text
    assert 'runway_dead_letters_total{partition="0",reason="not_json"} 2.0' in text
    assert 'runway_api_requests_total{method="GET",route="/v1/models",status="200"} 1.0' in text
    assert f"runway_batch_age_seconds {(NOW // 3_600_000 - NOON - 26) * 3600:.1f}" in text
    assert 'runway_view_clock_age_seconds{partition="0"} 0.0' in text


async def test_the_openapi_document_is_valid_and_has_every_route(client):
    async with client(merged_view()) as http:
        document = (await http.get("/openapi.json")).json()
    validate(document)
    assert set(document["paths"]) == {route.path.replace(":path", "") for route in ROUTES}
    assert openapi_document()


async def test_it_starts_on_an_empty_home_without_kafka(tmp_path):
    app = application(Config(home=tmp_path, bootstrap="127.0.0.1:1"), lambda: NOW)
    async with app.router.lifespan_context(app), http_client(app) as http:
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
        for path in ("/v1/models", "/v1/models/m/performance", "/metrics", "/openapi.json", "/nothing"):
            assert (await http.get(path)).status_code == 401
        async with app.state.registry.change("test") as change:
            _, key = await keys.create(change, "ops", "admin")
        http.headers["Authorization"] = f"Bearer {key}"
        assert (await http.get("/v1/models/m/performance")).status_code == 503
        assert (await http.get("/metrics")).status_code == 200
        assert (await http.post("/v1/models", json={"model_id": "fraud"})).status_code == 201
        assert (await http.get("/v1/models")).json()["degraded"] == ["speed_unavailable"]
