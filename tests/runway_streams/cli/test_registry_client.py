"""The client of the API, against a real server that makes it wait."""

import json

import pytest

from runway_streams.cli.registry_client import MAX_WAITS
from runway_streams.errors import RunwayError
from tests.little_http import LittleServer


def refusal(slug):
    document = {"type": f"urn:runway:problem:{slug}", "detail": f"It is {slug}."}
    return 429, {"Retry-After": "0"}, json.dumps(document).encode()


PAGE = (200, {}, b'{"items": [], "next_cursor": null, "degraded": []}')


@pytest.mark.parametrize(
    ("refusals", "slug", "asked"),
    [(2, "rate-limit", 3), (MAX_WAITS + 1, "rate-limit", MAX_WAITS + 1), (1, "too-many-failures", 1)],
)
def test_the_rate_limit_is_waited_for_a_few_times_and_nothing_else_is(runway, monkeypatch, refusals, slug, asked):
    left = [refusal(slug)] * refusals
    with LittleServer(lambda _: left.pop() if left else PAGE) as server:
        monkeypatch.setenv("RUNWAY_API", server.url)
        if refusals < asked:
            assert runway.json("models", "list")["items"] == []
        else:
            with pytest.raises(RunwayError, match=f"It is {slug}"):
                runway("models", "list")
        assert len(server.asked) == asked
