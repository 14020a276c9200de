"""Reads merged performance over HTTP, as any user of the API would."""

import json
from datetime import date, timedelta
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from runway_streams.errors import DependencyDown, RunwayError

TIMEOUT_S = 30


class NotYet(RunwayError):
    """The API does not know the model yet (404), or has not read the metrics to their end (503)."""


def performance(
    api_url: str, model_id: str, start: date, end: date, *, carrier: str | None = None, view: str = "merged"
) -> dict[str, Any]:
    """A model's performance by UTC day, the day `end` included: New York's last evening lies in it."""
    query = {
        "start": f"{start}T00:00:00Z",
        "end": f"{end + timedelta(days=1)}T00:00:00Z",
        "granularity": "P1D",
        "view": view,
    }
    segment = {"segment": f"carrier:{carrier}"} if carrier else {}
    return _get(api_url, f"/v1/models/{model_id}/performance?{urlencode(query | segment)}")


def _get(api_url: str, path: str) -> dict[str, Any]:
    connection = HTTPConnection(urlsplit(api_url).netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        raise DependencyDown(f"The API at {api_url} does not answer: {error}.") from error
    finally:
        connection.close()
    if response.status != 200:
        problem = NotYet if response.status in (404, 503) else RunwayError
        raise problem(f"The API answers {response.status} to {path}: {body[:500].decode(errors='replace')}")
    return json.loads(body)
