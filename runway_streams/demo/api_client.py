"""What the demo asks of the API over HTTP, as any user of it would."""

from datetime import date, timedelta
from typing import Any

import httpx
import msgspec

from runway_streams.errors import DependencyDown, RunwayError
from schemas.model import Model
from schemas.requests import NewVersion

TIMEOUT_S = 30


class NotYet(RunwayError):
    """The API does not know the model yet (404), or has not read the metrics to their end (503)."""


class ApiClient:
    """A client with a key."""

    def __init__(self, api_url: str, key: str):
        self._url = api_url
        # No proxy: it is this machine that is asked.
        self._http = httpx.Client(
            base_url=api_url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S, trust_env=False
        )

    def performance(
        self, model_id: str, start: date, end: date, *, carrier: str | None = None, view: str = "merged"
    ) -> dict[str, Any]:
        """A model's performance by UTC day, the day `end` included: New York's last evening lies in it."""
        query = {
            "start": f"{start}T00:00:00Z",
            "end": f"{end + timedelta(days=1)}T00:00:00Z",
            "granularity": "P1D",
            "view": view,
        }
        segment = {"segment": f"carrier:{carrier}"} if carrier else {}
        return self._ask("GET", f"/v1/models/{model_id}/performance", params=query | segment)

    def register(self, model: Model, version: NewVersion) -> None:
        """Registers a model and a version of it."""
        self._ask("POST", "/v1/models", content=msgspec.json.encode(model))
        self._ask("POST", f"/v1/models/{model.model_id}/versions", content=msgspec.json.encode(version))

    def is_published(self, model_id: str) -> bool:
        """Whether the workers have been told of the model."""
        return self._ask("GET", f"/v1/models/{model_id}")["settings"]["published"]

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise DependencyDown(f"The API at {self._url} does not answer: {error}.") from error
        if answer.is_success:
            return answer.json()
        problem = NotYet if answer.status_code in (404, 503) else RunwayError
        raise problem(f"The API answers {answer.status_code} to {path}: {answer.text[:500]}")
