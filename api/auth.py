"""Authentication: nobody gets past this without a good credential, save to the paths that are open."""

import logging
import re
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.attempts import FailedAttempts
from api.credentials import Credentials
from api.principals import Principal, Rejected
from api.problems import Problem, on_problem
from runway_streams.errors import RunwayError
from runway_streams.registry.rate_limits import RateLimiter
from schemas.api_key import Role

OPEN_PATHS = frozenset({"/livez", "/readyz"})
MAX_CREDENTIAL = 8 * 1024
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_REALM = 'Bearer realm="runway"'
_log = logging.getLogger(__name__)


class Authenticate:
    """Sets `scope["principal"]` to the Principal of a request, None on open paths; answers 401, 403 and 429 itself."""

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        limiter: RateLimiter,
        now: Callable[[], int],
        open_paths: frozenset[str] = OPEN_PATHS,
    ):
        self.app, self._credentials, self._limiter = app, credentials, limiter
        self._open_paths = open_paths
        self._failures = FailedAttempts(now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope["principal"] = None
        if scope["path"] not in self._open_paths:
            request = Request(scope)
            try:
                scope["principal"] = await self._principal(request)
            except Problem as problem:
                return await (await on_problem(request, problem))(scope, receive, send)
            except RunwayError as error:
                # Whoever asks is not known: they are not told where what is.
                _log.warning("Nobody can be let in: %s", error)
                down = Problem(503, "dependency-down", "Keys cannot be verified now.", {"Retry-After": "5"})
                return await (await on_problem(request, down))(scope, receive, send)
        await self.app(scope, receive, send)

    async def _principal(self, request: Request) -> Principal:
        credential = credential_of(request)
        address = request.client.host if request.client else ""
        wait = self._failures.wait_s(address)
        # Others behind the same address, whom we know, are not locked out.
        if wait and not self._credentials.knows(credential):
            detail = "Too many wrong credentials came from this address within a minute."
            raise Problem(429, "too-many-failures", detail, {"Retry-After": str(wait)})
        try:
            principal = await self._credentials.verify(credential)
        except Rejected as rejected:
            self._failures.add(address)
            _log.info("A credential from %s was refused: %s", address, rejected.sentence)
            raise _refusal(rejected) from rejected
        await self._limit(principal)
        return principal

    async def _limit(self, principal: Principal) -> None:
        verdict = await self._limiter.take(principal.name)
        if not verdict.allowed:
            detail = f"{principal.name} has made the {self._limiter.limit} requests that it may make a minute."
            raise Problem(429, "rate-limit", detail, {"Retry-After": str(verdict.wait_s)})


def require(request: Request, role: Role, team: str | None = None) -> Principal:
    """Who makes the request, if they have this role, and may write models of `team` where one is named.

    Raises Problem: 401 where it is nobody, 403 where it is not enough.
    """
    principal: Principal | None = request.scope.get("principal")
    if principal is None:
        raise _unauthenticated()
    if not principal.has(role):
        raise _forbidden(f"This needs the role {role}; {principal.name} has the role {principal.role}.")
    if team is not None and not principal.writes_for(team):
        theirs = f"This needs the role operator, or the role owner with the team {team[:128]!r}"
        raise _forbidden(f"{theirs}; {principal.name} is {principal.role} of {', '.join(principal.teams) or 'no team'}.")
    return principal


def credential_of(request: Request) -> str:
    """The key or token of a request. Raises Problem 401 where there is none, or more than one."""
    headers = request.headers.getlist("authorization")
    if not headers:
        raise _unauthenticated()
    found = _BEARER.fullmatch(headers[0])
    if len(headers) > 1 or found is None or len(found[1]) > MAX_CREDENTIAL:
        raise _refusal(Rejected(401, "The header Authorization is not `Bearer` and one key or token."))
    return found[1]


def _unauthenticated() -> Problem:
    detail = "This needs a key or a token: send Authorization: Bearer KEY. An admin makes one by `runway keys create`."
    return Problem(401, "unauthenticated", detail, {"WWW-Authenticate": _REALM})


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail, {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'})


def _refusal(rejected: Rejected) -> Problem:
    if rejected.status == 403:
        return _forbidden(rejected.sentence)
    # In a header neither quotes nor anything beyond ASCII, some of which may be the client's own words.
    said = re.sub(r"[^ !#-\[\]-~]", "'", rejected.sentence)
    challenge = f'{_REALM}, error="invalid_token", error_description="{said}"'
    return Problem(401, "unauthenticated", rejected.sentence, {"WWW-Authenticate": challenge})
