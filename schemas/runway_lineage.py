"""RunwayLineage: what a run of a workflow says of itself, as a JSON text: which model it made, from what, and what else."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Part = Annotated[str, Meta(min_length=1, max_length=512)]
"""A name, a namespace or a version; whether a model can have that name is looked at by the reader."""


class LineageModel(Struct, omit_defaults=True):
    """The model that the run made; without a version, the run's id is its version."""

    name: Part
    version: Part | None = None


class LineageEnd(Struct, omit_defaults=True):
    """What the run read or wrote. Models have no namespace; only models have versions."""

    type: Literal["dataset", "feature", "model"]
    name: Part
    namespace: Part | None = None
    version: Part | None = None


class RunwayLineage(Struct, omit_defaults=True):
    """All that the run read and wrote; a run without a model made features or tables alone. Unknown fields are ignored."""

    schema: Literal["runway.lineage/1"]
    model: LineageModel | None = None
    inputs: Annotated[list[LineageEnd], Meta(max_length=2_000)] = []
    outputs: Annotated[list[LineageEnd], Meta(max_length=2_000)] = []
