"""A server that is slow, busy, down, or answers without end."""

from collections.abc import Callable

import httpx
import pytest

from runway_streams import http_retries
from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.http_retries import ATTEMPTS, RetryingHttp
from tests.little_http import Answer, Asked, LittleServer


class Waits:
    """Takes the place of sleeping."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def ask(url: str, waits: Waits | None = None, limit: httpx.Timeout = http_retries.TIMEOUT) -> tuple[int, bytes]:
    http = RetryingHttp("The server", timeout=limit, sleep=waits or Waits(), random=lambda: 0.5)
    try:
        return await http.get(url)
    finally:
        await http.close()


def in_turn(*answers: Answer) -> Callable[[Asked], Answer]:
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


async def test_it_waits_longer_each_time_and_goes_on_when_the_server_is_back() -> None:
    waits = Waits()
    busy = (429, {"Retry-After": "7"}, b"")
    with LittleServer(in_turn((503, {}, b""), (500, {}, b""), busy, (200, {}, b"here"))) as server:
        assert await ask(server.url, waits) == (200, b"here")
    assert waits.seconds == [0.25, 0.5, 7.0]


async def test_a_server_that_stays_down_is_asked_five_times() -> None:
    with (
        LittleServer(lambda asked: (503, {}, b"")) as server,
        pytest.raises(DependencyDown, match="The server answers 503, after 5 attempts"),
    ):
        await ask(server.url)
    assert len(server.asked) == ATTEMPTS
    waits = Waits()
    with pytest.raises(DependencyDown, match="cannot be reached"):
        await ask(server.url, waits)  # nobody listens there any more
    assert waits.seconds == [0.25, 0.5, 1.0, 2.0]


async def test_what_is_no_trouble_of_the_server_is_asked_for_once() -> None:
    for status in (204, 302, 404, 418):
        with LittleServer(lambda asked, status=status: (status, {"Location": "/x"}, b"")) as server:
            assert (await ask(server.url))[0] == status
        assert len(server.asked) == 1


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_retries, "MAX_BYTES", 1 << 20)
    with (
        LittleServer(lambda asked: (200, {}, b" " * (2 << 20))) as server,
        pytest.raises(RunwayError, match="The server answers with more than 1 MiB"),
    ):
        await ask(server.url)


async def test_a_server_that_does_not_answer_in_time_is_down() -> None:
    with LittleServer(lambda asked: (200, {"Content-Length": "99"}, b"{")) as server, pytest.raises(DependencyDown):
        await ask(server.url, limit=httpx.Timeout(0.1))


def test_the_timeout_is_bounded() -> None:
    assert http_retries.TIMEOUT.read == 30.0
