"""Whether a webhook is genuine and new."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.registry.mlflow import webhook as mlflow_webhook
from runway_streams.registry.mlflow.webhook import (
    MAX_AGE_S,
    MAX_BODY,
    Delivery,
    RecentDeliveries,
    Touched,
    WebhookRefused,
    sign,
    touched,
    verify,
)

NOW = 1_700_000_000
BODY = b'{"entity": "model_version", "action": "created", "data": {"name": "fraud", "version": "1"}}'
ID = "0b1f7f0e-1c1f-4f0e-8e3a-3f1f0f7c9a11"


def signed(body: bytes = BODY, secret: str = "s3cret", timestamp: str = str(NOW), delivery_id: str = ID) -> dict[str, str]:
    signature = base64.b64encode(sign(secret, delivery_id, timestamp, body)).decode()
    return {"X-MLflow-Signature": f"v1,{signature}", "X-MLflow-Delivery-Id": delivery_id, "X-MLflow-Timestamp": timestamp}


def test_a_signed_delivery_is_genuine_within_five_minutes_either_way() -> None:
    for now in (NOW - MAX_AGE_S, NOW, NOW + MAX_AGE_S):
        assert verify(signed(), BODY, ["s3cret"], now) == Delivery(ID, NOW + MAX_AGE_S)
    for now in (NOW - MAX_AGE_S - 1, NOW + MAX_AGE_S + 1):
        with pytest.raises(WebhookRefused, match="more than 5 minutes"):
            verify(signed(), BODY, ["s3cret"], now)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_changed_byte_of_the_body_is_refused(at: int, by: int) -> None:
    changed = BODY[:at] + bytes([BODY[at] ^ by]) + BODY[at + 1 :]
    with pytest.raises(WebhookRefused):
        verify(signed(), changed, ["s3cret"], NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"X-MLflow-Signature": ""},
        {"X-MLflow-Signature": "v2," + signed()["X-MLflow-Signature"][3:]},
        {"X-MLflow-Signature": "v1,"},
        {"X-MLflow-Signature": "v1,é"},
        {"X-MLflow-Delivery-Id": "another"},
        {"X-MLflow-Delivery-Id": ""},
        {"X-MLflow-Delivery-Id": "a.1"},
        {"X-MLflow-Timestamp": str(NOW + 1)},
        {"X-MLflow-Timestamp": "٣"},
        {"X-MLflow-Timestamp": "soon"},
    ],
)
def test_a_changed_header_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(WebhookRefused):
        verify(signed() | change, BODY, ["s3cret"], NOW)


def test_without_a_secret_nothing_is_genuine() -> None:
    for secrets in ([], [""]):
        with pytest.raises(WebhookRefused):
            verify(signed(secret=""), BODY, secrets, NOW)


def test_a_body_beyond_the_bound_is_refused() -> None:
    big = b" " * (MAX_BODY + 1)
    with pytest.raises(WebhookRefused, match="more than 1 MiB"):
        verify(signed(big), big, ["s3cret"], NOW)


def test_what_was_signed_by_mlflow_itself_is_genuine() -> None:
    # Made by `_generate_hmac_signature` of MLflow 3.17.2.
    headers = {
        "x-mlflow-signature": "v1,C4u558BdkVwUDJZ3exD3Etgl9QC5KsOij/d89FkyB5s=",
        "x-mlflow-delivery-id": ID,
        "x-mlflow-timestamp": str(NOW),
    }
    assert verify(headers, BODY, ["s3cret"], NOW).id == ID


def test_events_that_change_a_version_name_what_to_sync() -> None:
    def event(entity: str, action: str, **data: object) -> bytes:
        return json.dumps({"entity": entity, "action": action, "timestamp": "now", "data": data}).encode()

    assert touched(event("model_version_alias", "created", name="m", alias="a", version="3")) == Touched("m", "3")
    assert touched(event("model_version_alias", "deleted", name="m", alias="a")) == Touched("m", None)
    assert touched(event("registered_model", "created", name="m")) is None
    assert touched(event("budget_policy", "exceeded", spend=1)) is None
    for body in (
        b"",
        b"[]",
        b"\xff",
        b'{"entity": 1}',
        event("model_version", "created"),
        event("model_version", "created", name=1),
    ):
        with pytest.raises(WebhookRefused):
            touched(body)


async def test_an_id_is_claimed_once_until_it_is_released_or_too_old() -> None:
    deliveries, delivery = RecentDeliveries(), Delivery("a", NOW + 300)
    assert await deliveries.claim(delivery, NOW)
    assert not await deliveries.claim(delivery, NOW + 299)
    await deliveries.release(delivery)
    assert await deliveries.claim(delivery, NOW)
    assert await deliveries.claim(delivery, NOW + 300)


async def test_memory_is_bounded_and_forgets_the_old_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_webhook, "REMEMBERED", 3)
    deliveries = RecentDeliveries()
    for number in range(3):
        assert await deliveries.claim(Delivery(str(number), NOW + 10 * number + 5), NOW)
    assert await deliveries.claim(Delivery("3", NOW + 300), NOW + 6)  # the first one's time is over
    assert not await deliveries.claim(Delivery("1", NOW + 15), NOW + 6)
    assert await deliveries.claim(Delivery("4", NOW + 300), NOW + 6)  # nobody's is: the oldest gives way
    assert await deliveries.claim(Delivery("1", NOW + 15), NOW + 6)
