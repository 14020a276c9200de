"""Rules: when a version moves from one stage to the next by itself."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.model_version import Name, Stage
from schemas.policy import Expression


class Rule(Struct, rename={"from_": "from"}, forbid_unknown_fields=True):
    """A promotion, or a demotion, of a model's versions: those in `from` move to `to` when the CEL expression `when` is true.

    `metrics` holds the version's training metrics, `live` its merged performance by window: `metrics[mae] <= 5`,
    `live.P1D.accuracy >= 0.9 && live.P1D.joined >= 1000`. `WHEN` in front is allowed.
    """

    name: Name
    from_: Stage
    to: Stage
    when: Expression


class RuleSet(Struct, forbid_unknown_fields=True):
    """All rules of a model, tried in this order; the first that is true moves the version."""

    rules: Annotated[list[Rule], Meta(max_length=50)]
