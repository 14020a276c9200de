"""Webhooks of MLflow: whether a delivery is genuine and new, and which model it is about.

MLflow signs `v1,BASE64(HMAC-SHA256(secret, "{delivery id}.{timestamp}.{body}"))`. It tries a delivery again, with the same
id and timestamp, after 429 and 5xx; so an id counts as used only while its delivery is being handled, and afterwards if
that went well.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from runway_streams.errors import RunwayError

SIGNATURE, DELIVERY, TIMESTAMP = "x-mlflow-signature", "x-mlflow-delivery-id", "x-mlflow-timestamp"
MAX_AGE_S = 300
"""A delivery this much older or newer than our clock is refused."""
MAX_BODY = 1 << 20
REMEMBERED = 10_000
"""Delivery ids that one process remembers. Beyond them the oldest may be replayed, which syncs a model once more."""

# Neither holds a dot, so that what was signed can be cut in one way only.
_DELIVERY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_EPOCH_SECONDS = re.compile(r"[0-9]{1,12}")

ABOUT_A_VERSION = frozenset(
    {("model_version", "created"), ("model_version_alias", "created"), ("model_version_alias", "deleted")}
)
"""The events that change what is synced. MLflow has none for a change of stage: a poll sees that."""


class WebhookRefused(RunwayError):
    """A delivery is not genuine, too old, or no delivery of MLflow's: answer 401, and do nothing."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A genuine delivery: its id, and the time (epoch seconds) after which a copy would be refused for its age."""

    id: str
    until: float


@dataclass(frozen=True, slots=True)
class Touched:
    """What to sync. `version` is None where the event does not name one: an alias was deleted."""

    name: str
    version: str | None = None


class Deliveries(Protocol):
    """Remembers delivery ids, for one process or in a storage that several share."""

    async def claim(self, delivery: Delivery, now: float) -> bool:
        """Whether nobody has claimed this id before. What lies behind its `until` may be forgotten."""
        ...

    async def release(self, delivery: Delivery) -> None:
        """Its handling failed: MLflow will try again with the same id."""
        ...


@dataclass
class RecentDeliveries:
    """Delivery ids in memory, at most 10,000, the oldest giving way."""

    _until: dict[str, float] = field(default_factory=dict)

    async def claim(self, delivery: Delivery, now: float) -> bool:
        """See Deliveries."""
        if self._until.get(delivery.id, now) > now:
            return False
        if len(self._until) >= REMEMBERED:
            self._until = {known: until for known, until in self._until.items() if until > now}
        if len(self._until) >= REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[delivery.id] = delivery.until
        return True

    async def release(self, delivery: Delivery) -> None:
        """See Deliveries."""
        self._until.pop(delivery.id, None)


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> Delivery:
    """Raises WebhookRefused unless one of `secrets` (two while one is being replaced) has signed this body and it was sent
    within 5 minutes of `now` (epoch seconds). The body is not parsed before that."""
    given = {name.lower(): value for name, value in headers.items()}
    delivery_id, timestamp = given.get(DELIVERY, ""), given.get(TIMESTAMP, "")
    if len(body) > MAX_BODY:
        raise WebhookRefused(f"The webhook has more than {MAX_BODY >> 20} MiB.")
    if not _DELIVERY_ID.fullmatch(delivery_id) or not _EPOCH_SECONDS.fullmatch(timestamp):
        raise WebhookRefused("The webhook has no delivery id or no timestamp of MLflow's.")
    signature = _signature(given.get(SIGNATURE, ""))
    # Every secret is tried, so that the time tells nothing.
    matches = [hmac.compare_digest(sign(secret, delivery_id, timestamp, body), signature) for secret in secrets if secret]
    if not any(matches):
        raise WebhookRefused("The webhook's signature is not that of its secret.", "Give MLflow and us the same secret.")
    if abs(now - int(timestamp)) > MAX_AGE_S:
        raise WebhookRefused(
            f"The webhook was sent more than {MAX_AGE_S // 60} minutes from now.",
            "Compare MLflow's clock with ours.",
        )
    return Delivery(delivery_id, int(timestamp) + MAX_AGE_S)


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> bytes:
    """HMAC-SHA256 of "{delivery id}.{timestamp}.{body}" as MLflow computes it.

    >>> base64.b64encode(sign("s3cret", "1", "1700000000", b"{}")).decode()
    'e8tZizGh1RUqUn+5+dygSa5ZiIjpsoQUc4x7XSFwmRw='
    """
    return hmac.digest(secret.encode(), f"{delivery_id}.{timestamp}.".encode() + body, hashlib.sha256)


def _signature(header: str) -> bytes:
    version, _, text = header.partition(",")
    try:
        return base64.b64decode(text.encode(), validate=True) if version == "v1" else b""
    except (binascii.Error, ValueError):
        return b""


class _Event(msgspec.Struct):
    entity: str
    action: str
    data: dict[str, Any] = {}


def touched(body: bytes) -> Touched | None:
    """The model that a genuine delivery is about, or None where it changes nothing that is synced. Raises WebhookRefused where
    it is no event.

    >>> touched(b'{"entity": "model_version", "action": "created", "data": {"name": "fraud", "version": "2"}}')
    Touched(name='fraud', version='2')
    >>> touched(b'{"entity": "prompt", "action": "created", "data": {"name": "hello"}}')
    """
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WebhookRefused(f"The webhook is no event of MLflow's: {error}.") from error
    if (event.entity, event.action) not in ABOUT_A_VERSION:
        return None
    name, version = event.data.get("name"), event.data.get("version")
    if not isinstance(name, str) or not 1 <= len(name) <= 256 or not isinstance(version, str | None):
        raise WebhookRefused("The webhook is an event of MLflow's that names no model.")
    return Touched(name, version)
