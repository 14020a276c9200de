"""The scale benchmark at its small points: every axis, its numbers, and that it finds each pair."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benches.scale import AXES, Run, Shape

ROOT = Path(__file__).parents[2]


def test_every_axis_is_measured(tmp_path: Path):
    picture = tmp_path / "scale.svg"
    command = [sys.executable, ROOT / "benches/scale.py", "--quick", "--json", "--picture", picture]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    report = json.loads(run.stdout)
    assert report.keys() == AXES.keys()
    assert all(point["events_per_second"] > 0 for points in report.values() for point in points)
    assert all(50 < point["bytes_a_stored_row"] < 400 for point in report["pending"])
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_a_run_keeps_as_many_pending_rows_as_it_had(tmp_path: Path):
    run = Run(Shape(models=2), tmp_path)
    run.predict(10_000)
    run.settle()
    run.timed(5_000)
    assert (run.pending, run.partition.state.counters["joined"]) == (10_000, 2_500)
    run.close()
