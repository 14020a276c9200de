from itertools import product
from pathlib import Path

import pytest

from runway_streams.errors import RunwayError
from runway_streams.registry.lifecycle import MOVES, STAGES, check_move, table

LEGAL = {
    ("exploration", "training"), ("training", "evaluation"), ("training", "exploration"), ("evaluation", "staging"),
    ("evaluation", "training"), ("staging", "production"), ("staging", "evaluation"), ("production", "deprecated"),
    ("production", "staging"), ("deprecated", "production"), ("exploration", "archived"), ("training", "archived"),
    ("evaluation", "archived"), ("staging", "archived"), ("deprecated", "archived"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(product(STAGES, STAGES)))
def test_legal_moves_pass_and_all_others_name_the_legal_ones(before, after):
    if (before, after) in LEGAL:
        check_move(before, after)
        return
    with pytest.raises(RunwayError) as refused:
        check_move(before, after)
    for legal in MOVES[before]:
        assert legal in refused.value.remedy
    assert before in refused.value.sentence


def test_archived_is_final():
    with pytest.raises(RunwayError, match="Archived is final: register a new version"):
        check_move("archived", "production")


@pytest.mark.parametrize(("before", "after"), [("live", "production"), ("staging", "Production")])
def test_what_is_no_stage_is_named(before, after):
    with pytest.raises(RunwayError, match=r"is no stage\. Stages are exploration, training"):
        check_move(before, after)


def test_every_stage_can_be_reached_from_the_first():
    reached = {"exploration"}
    for _ in STAGES:
        reached |= {after for stage in reached for after in MOVES[stage]}
    assert reached == set(STAGES)


def test_the_documented_table_is_the_code():
    page = (Path(__file__).parents[3] / "docs/rules.md").read_text()
    assert f"<!-- moves -->\n{table()}\n" in page
