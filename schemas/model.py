"""Model: what a team says about a model in the registry's catalog."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.model_settings import Duration, Task
from schemas.patterns import WEB_LINK
from schemas.prediction import ModelId, Score

Team = Annotated[str, Meta(max_length=128)]
Tag = Annotated[str, Meta(min_length=1, max_length=128)]
Criticality = Literal["low", "medium", "high", "critical"]
Status = Literal["HEALTHY", "AT_RISK", "RETRAINING", "UNKNOWN"]


class Link(Struct, forbid_unknown_fields=True):
    """Where to read more."""

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    url: Annotated[str, Meta(max_length=2048, pattern=WEB_LINK)]


class Model(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A registered model. `task` to `features` say how its events are read; workers get them through `runway.models`.
    In shadow, verdicts on it are recorded, but nothing is alerted or retrained."""

    model_id: ModelId
    name: Annotated[str, Meta(max_length=200)] = ""
    owner: Team = ""
    description: Annotated[str, Meta(max_length=10_000)] = ""
    tags: Annotated[list[Tag], Meta(max_length=64)] = []
    criticality: Criticality = "medium"
    contacts: Annotated[list[Annotated[str, Meta(min_length=1, max_length=320)]], Meta(max_length=20)] = []
    links: Annotated[list[Link], Meta(max_length=20)] = []
    flow: Annotated[str, Meta(max_length=256)] | None = None
    shadow: bool = False
    task: Task | None = None
    join_window: Duration = "PT1H"
    labels: Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=20)] = []
    positive_label: Annotated[str, Meta(max_length=256)] = "1"
    threshold: Score = 0.5
    segments: Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=16)] = []
    features: Literal["keep", "hash", "drop"] = "keep"
