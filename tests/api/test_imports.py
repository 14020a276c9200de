"""The import's endpoints: real deliveries of a real MLflow to a real server, and each answer that a delivery can get."""

import asyncio
import base64
import json
import threading
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from starlette.middleware import Middleware

from api.app import make_app
from api.auth import OPEN_PATHS, Authenticate
from api.credentials import Credentials
from api.imports import WEBHOOK, Imports
from runway_streams import http_retries
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.ground_truth.settings import Settings
from runway_streams.mlflow_settings import MlflowSettings
from runway_streams.registry import catalog, keys, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.mlflow.importer import MlflowImport
from runway_streams.registry.mlflow.webhook import sign
from runway_streams.registry.rate_limits import RateLimiter
from runway_streams.registry.refusals import Unknown
from tests.api.conftest import http_client, merged_view
from tests.little_http import LittleServer

SECRET = "s3cret-of-this-test"
NOBODY = (404, {}, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Not here."}).encode())
CREATED = {"entity": "model_version", "action": "created", "data": {"name": "nobody", "version": "1"}}


@pytest.fixture
def registry(database):
    return Registry(database, wall_clock, Settings.from_document)


def application(registry, uri, **more):
    """The application as a process has it, open to nobody without a key but for the paths that are."""
    access = Middleware(
        Authenticate,
        credentials=Credentials(registry),
        limiter=RateLimiter(registry.database, 1_000, registry.now),
        now=registry.now,
        open_paths=OPEN_PATHS | {WEBHOOK},
    )
    app = make_app(merged_view(), registry, access)
    settings = MlflowSettings(uri, **{"secrets": (SECRET,)} | more) if uri else None
    app.state.imports = Imports(MlflowImport(registry, settings)) if settings else None
    return app


async def key(registry, role):
    async with registry.change("test") as change:
        return {"Authorization": f"Bearer {(await keys.create(change, role, role))[1]}"}


def signed(event=CREATED, secret=SECRET, delivery="d-1", age=0):
    """What MLflow sends of an event."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    timestamp = str(wall_clock() // 1000 - age)
    signature = base64.b64encode(sign(secret, delivery, timestamp, body)).decode()
    headers = {
        "X-MLflow-Signature": f"v1,{signature}",
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": timestamp,
        "Content-Type": "application/json",
    }
    return {"content": body, "headers": headers}


@asynccontextmanager
async def served(app):
    """The application on a port of this machine."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def in_thread(context):
    await asyncio.to_thread(context.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def stage_of(registry, model_id, version):
    async with registry.read() as connection:
        try:
            return (await versions.get(connection, model_id, version)).stage
        except Unknown:
            return None


async def reached(registry, model_id, version, stage):
    async with asyncio.timeout(20):
        while await stage_of(registry, model_id, version) != stage:
            await asyncio.sleep(0.05)


async def test_what_a_real_mlflow_delivers_is_in_the_registry_at_once(registry, mlflow, database_url):
    name = f"delivered-{'file' if 'sqlite' in database_url else 'server'}"
    # The same loop answers MLflow, so it must never wait for it.
    async with served(application(registry, mlflow.uri)) as url, in_thread(mlflow.webhook(url + WEBHOOK, SECRET)):
        await asyncio.to_thread(mlflow.register, name)
        await asyncio.to_thread(mlflow.add_version, name)
        await reached(registry, name, "1", "evaluation")
        await asyncio.to_thread(mlflow.alias, name, "champion", "1")
        await reached(registry, name, "1", "production")
        await asyncio.to_thread(mlflow.delete, "registered-models/alias", name=name, alias="champion")
        await reached(registry, name, "1", "deprecated")

        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/v1/imports/mlflow")).status_code == 401
            assert (await http.get("/v1/imports/mlflow", headers=await key(registry, "reader"))).status_code == 403
            told = (await http.get("/v1/imports/mlflow", headers=await key(registry, "operator"))).json()
    assert (told["uri"], told["poll"], told["webhook"]) == (mlflow.uri, "PT5M", True)
    assert told["last_success_at"] is None, "a webhook is no sync"


@pytest.mark.parametrize(
    "sent",
    [
        lambda: signed(secret="another"),
        lambda: signed(age=301),
        lambda: signed(age=-302),
        lambda: signed(b"[]"),
        lambda: signed({"entity": "model_version", "action": "created", "data": {}}),
        lambda: {**signed(), "content": b"{}"},
        lambda: {"content": b"{}"},
    ],
    ids=["other secret", "old", "from the future", "no event", "no model", "other body", "unsigned"],
)
async def test_what_is_not_genuine_is_a_401_and_asks_mlflow_nothing(registry, sent):
    with LittleServer(lambda asked: NOBODY) as mlflow:
        async with http_client(application(registry, mlflow.url)) as http:
            answer = await http.post(WEBHOOK, **sent())
            assert (await http.post(WEBHOOK, **signed())).status_code == 204, "its id is not used up"
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:runway:problem:webhook-refused"
    assert len(mlflow.asked) == 1


async def test_a_delivery_is_handled_once_by_all_processes_and_an_unknown_model_is_no_error(registry):
    with LittleServer(lambda asked: NOBODY) as mlflow:
        delivery = signed()
        apps = [application(registry, mlflow.url) for _ in range(2)]
        async with http_client(apps[0]) as one, http_client(apps[1]) as other:
            answers = await asyncio.gather(*(http.post(WEBHOOK, **delivery) for http in (one, other) for _ in range(4)))
            await one.post(WEBHOOK, **signed({"entity": "prompt", "action": "created"}, delivery="d-2"))
    assert {answer.status_code for answer in answers} == {204}
    assert len(mlflow.asked) == 1


async def test_a_delivery_that_failed_may_come_again(registry, monkeypatch):
    monkeypatch.setattr(http_retries, "ATTEMPTS", 1)
    said = [
        (503, {}, b""),
        (401, {}, b""),
        (400, {}, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "No."}'),
        NOBODY,
    ]
    with LittleServer(lambda asked: said[len(mlflow.asked) - 1]) as mlflow:
        async with http_client(application(registry, mlflow.url)) as http:
            answers = [await http.post(WEBHOOK, **signed()) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 204, 204]
    assert answers[0].headers["Retry-After"]
    assert len(mlflow.asked) == 3, "what MLflow refuses is not asked again"


async def test_a_slow_mlflow_does_not_hold_a_delivery_for_ever(registry, monkeypatch):
    monkeypatch.setattr("api.imports.WEBHOOK_S", 0.2)

    def slowly(asked):
        slept.wait(1)
        return NOBODY

    slept = threading.Event()
    with LittleServer(slowly) as mlflow:
        async with http_client(application(registry, mlflow.url)) as http:
            assert (await http.post(WEBHOOK, **signed())).status_code == 503
            slept.set()
            assert (await http.post(WEBHOOK, **signed())).status_code == 204
    assert len(mlflow.asked) == 2


async def test_without_a_secret_or_a_server_there_is_nothing_there(registry):
    headers = await key(registry, "operator")
    async with http_client(application(registry, "http://mlflow", secrets=())) as http:
        refused = await http.post(WEBHOOK, **signed())
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:runway:problem:no-webhook")
        assert (await http.get("/v1/imports/mlflow", headers=headers)).json()["webhook"] is False
    async with http_client(application(registry, None)) as http:
        assert (await http.post(WEBHOOK, **signed())).status_code == 404
        assert (await http.get("/v1/imports/mlflow", headers=headers)).status_code == 404


async def test_a_body_of_more_than_a_mebibyte_is_refused(registry):
    async with http_client(application(registry, "http://mlflow")) as http:
        assert (await http.post(WEBHOOK, **signed(b"x" * (1024 * 1024 + 1)))).status_code == 413


async def test_what_a_sync_did_and_what_went_wrong_is_told(registry, mlflow, database_url):
    name = f"told-{'file' if 'sqlite' in database_url else 'server'}"
    mlflow.register(name)
    mlflow.add_version(name)
    app = application(registry, mlflow.uri)
    async with registry.change("anna") as change:
        await catalog.note_seen(change, [name])
    await app.state.imports.mlflow.sync()
    await app.state.imports.mlflow.note_problem("MLflow is down.")
    async with http_client(app) as http:
        told = (await http.get("/v1/imports/mlflow", headers=await key(registry, "operator"))).json()
    assert told["last_report"]["created"] >= 1
    assert told["last_full_report"] == told["last_report"]
    assert told["last_success_at"] == told["last_full_at"]
    assert (told["problem"], told["problem_at"] is None) == ("MLflow is down.", False)
