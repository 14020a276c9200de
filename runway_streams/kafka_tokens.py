"""Tokens for Kafka's OAUTHBEARER: fetched with the client's own credentials (RFC 6749, 4.4), renewed before they expire."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import httpx
import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from runway_streams.certificates import trusted

CONNECT_LIMIT_S = 5.0
ANSWER_LIMIT_S = 10.0
"""Of the whole answer, however slowly it comes."""
MAX_ANSWER_BYTES = 64 * 1024
RENEW_SHARE = 0.2
"""A token is renewed when this share of its life is left; while the issuer is down it is used to its end."""
DEFAULT_LIFE_S = 300
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""Uncompressed: what is bounded is what was sent."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_log = logging.getLogger(__name__)


class TokenUnavailable(KafkaError):
    """The issuer gave no token; aiokafka tries again as after any error of a connection. Never holds what the issuer answered."""


@dataclass(frozen=True, slots=True)
class TokenClient:
    """Who asks which token endpoint for what. The secret is not in `repr`."""

    url: str
    id: str
    secret: str = field(repr=False)
    scope: str = ""
    cafile: str = ""


class Answer(msgspec.Struct):
    """What a token endpoint answers (RFC 6749, 5.1); without `expires_in` the token is taken to live for 5 minutes."""

    access_token: str
    expires_in: float = DEFAULT_LIFE_S


class TokenProvider(AbstractTokenProvider):
    """One token for all connections of a process, whatever loop or thread they are in. `clock` gives seconds."""

    def __init__(self, client: TokenClient, clock: Callable[[], float] = time.monotonic):
        self._client, self._clock = client, clock
        self._lock = threading.Lock()
        self._token, self._renew_at, self._ends_at = "", 0.0, 0.0

    def __repr__(self) -> str:
        return f"<TokenProvider of {self._client.id} at {self._client.url}>"

    async def token(self) -> str:
        """A token that is good now. Raises TokenUnavailable."""
        return await asyncio.to_thread(self._current)

    def _current(self) -> str:
        with self._lock:
            now = self._clock()
            if now < self._renew_at:
                return self._token
            try:
                answer = _fetch(self._client)
            except TokenUnavailable as error:
                if now >= self._ends_at:
                    raise
                _log.warning("%s; the one that is here is used to its end.", error)
                return self._token
            life = max(0.0, answer.expires_in)
            self._token, self._renew_at, self._ends_at = answer.access_token, now + life * (1 - RENEW_SHARE), now + life
            return self._token


@lru_cache(maxsize=8)
def provider_of(client: TokenClient) -> TokenProvider:
    """The provider that all clients with these credentials share."""
    return TokenProvider(client)


def hide_passwords() -> None:
    """Keeps what clients and brokers say to each other while a user is checked out of aiokafka's debug log."""
    logger = logging.getLogger("aiokafka.conn")
    if _says_no_password not in logger.filters:
        logger.addFilter(_says_no_password)


def _says_no_password(record: logging.LogRecord) -> bool:
    args = record.args if isinstance(record.args, tuple) else ()
    return not any(type(argument).__name__.startswith("SaslAuthenticate") for argument in args)


def _fetch(client: TokenClient) -> Answer:
    body = {"grant_type": "client_credentials"}
    if client.scope:
        body["scope"] = client.scope
    context = trusted(client.cafile, "RUNWAY_SASL_TOKEN_CAFILE")
    limits = httpx.Timeout(CONNECT_LIMIT_S)
    auth = httpx.BasicAuth(client.id, client.secret)
    try:
        # Never redirected: the secret goes to the address that was given, and nowhere else.
        with (
            httpx.Client(verify=context, timeout=limits, follow_redirects=False, auth=auth) as http,
            http.stream("POST", client.url, data=body, headers=HEADERS) as response,
        ):
            if response.status_code != 200:
                raise TokenUnavailable(f"The token endpoint {client.url} answered {_meaning(response.status_code)}")
            answer = msgspec.json.decode(_read(response, client.url), type=Answer)
    except (httpx.HTTPError, OSError) as error:
        raise TokenUnavailable(f"The token endpoint {client.url} cannot be reached: {error!r}") from None
    except msgspec.MsgspecError:
        raise TokenUnavailable(f"The token endpoint {client.url} answered with no token") from None
    if not _TOKEN.fullmatch(answer.access_token):
        raise TokenUnavailable(f"The token endpoint {client.url} answered with what is no bearer token")
    return answer


def _read(response: httpx.Response, url: str) -> bytes:
    body, deadline = b"", time.monotonic() + ANSWER_LIMIT_S
    for part in response.iter_raw():
        body += part
        if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
            raise TokenUnavailable(f"The token endpoint {url} answered more than {MAX_ANSWER_BYTES} bytes, or too slowly")
    return body


def _meaning(status: int) -> str:
    """
    >>> _meaning(401), _meaning(503)
    ('401: it does not take the client or its secret', '503')
    """
    return f"{status}: it does not take the client or its secret" if status in (400, 401, 403) else str(status)
