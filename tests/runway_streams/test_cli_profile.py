"""`runway profile` by its users' way."""

import json

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from runway_streams.cli import app
from runway_streams.errors import ConfigError
from schemas.model_settings import ReferenceProfile


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train.parquet"
    table = {
        "id": ["a", "b", "c", "d"],
        "delay": [1.5, 2.5, None, 3.5],
        "carrier": ["AA", "UA", "AA", "AA"],
        "score": [0.1, 0.2, 0.3, 0.4],
        "late": [False, True, False, False],
    }
    pq.write_table(pa.table(table), path)
    return path


def profile(*arguments):
    result = CliRunner().invoke(app, ["profile", *map(str, arguments)], catch_exceptions=False)
    return result.stdout, result.stderr


def test_a_profile_is_printed_for_scripts_and_what_is_not_counted_is_told(train):
    out, err = profile(train, "--score", "score", "--label", "late", "--exclude", "id", "--json")
    assert json.loads(out) == {
        "features": {
            "delay": {"counts": [1, 1, 1], "edges": [1.5, 2.5]},
            "carrier": {"counts": [3, 1], "categories": ["AA", "UA"]},
        },
        "score": {"counts": [1, 1, 1, 1], "edges": [0.1, 0.2, 0.3]},
        "outcome": {"counts": [3, 1], "categories": ["0", "1"]},
    }
    assert err == "Column delay: 1 of 4 values are null or not finite and not counted.\n"


def test_a_profile_is_written_to_a_file_that_can_be_read_back(train, tmp_path):
    out, err = profile(train, "--feature", "delay", "--outcome", "late", "--bins", "2", "-o", tmp_path / "profile.json")
    assert out == ""
    assert err.endswith(f"Wrote the profile of 4 rows to {tmp_path / 'profile.json'}.\n")
    found = msgspec.json.decode((tmp_path / "profile.json").read_bytes(), type=ReferenceProfile)
    assert list(found.features) == ["delay"]
    assert found.features["delay"].edges == [2.5]
    assert found.score is None


def test_people_are_shown_a_line_a_variable(train):
    out, _ = profile(train, "--score", "score", "--exclude", "id")
    assert out.splitlines() == [
        "delay  3 values in 3 bins at 1.5, 2.5",
        "carrier  4 values in 2 categories: AA, UA",
        "late  4 values in 2 categories: False, True",
        "(score)  4 values in 4 bins at 0.1, 0.2, 0.3",
    ]


def test_a_file_that_cannot_be_written_is_a_sentence(train, tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        profile(train, "-o", tmp_path)
