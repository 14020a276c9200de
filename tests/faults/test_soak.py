"""The soak's own parts: its command line, and its picture of what it has measured."""

import sys
from xml.dom import minidom

import pytest

from tests.faults.kill_points import POINTS
from tests.faults.soak import main
from tests.faults.soak_faults import ELSEWHERE
from tests.faults.soak_picture import picture


def sample(at: float, lag: int | None) -> dict:
    return {"kind": "sample", "at": at, "rss": {"steady": 200 << 20, "a<b": 1}, "files": {"steady": 40}, "lag": lag}


def test_the_picture_has_a_line_a_process_and_a_mark_a_fault():
    records = [sample(0, 10), {"kind": "fault", "at": 1, "fault": "kill"}, sample(2, None), sample(4, 0)]
    drawn = minidom.parseString(picture([*records, {"kind": "compared", "at": 5}], "seed 17 & more"))
    assert len(drawn.getElementsByTagName("polyline")) == 4, "two of memory, one of file handles, one of lag"
    lag = drawn.getElementsByTagName("polyline")[3].getAttribute("points").split()
    assert len(lag) == 2, "while the broker does not answer there is none"
    marks = [title.firstChild.data for title in drawn.getElementsByTagName("title")]
    assert marks == ["kill", "compared: equal"] * 3


def test_a_picture_of_nothing_is_one():
    assert minidom.parseString(picture([], "nothing"))


def test_help_has_examples_and_a_folder_that_is_there_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["soak", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "scripts/soak --minutes 3" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["soak", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "is there already" in capsys.readouterr().err


def test_points_that_are_left_out_are_points():
    assert POINTS.keys() >= ELSEWHERE
