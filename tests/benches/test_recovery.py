"""The recovery benchmark on a few events: the way by a checkpoint, the longest of the three, counts every pair once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.kafka
def test_a_worker_without_state_goes_on_from_its_checkpoint():
    command = [sys.executable, ROOT / "benches/recovery.py", "--json", "--only", "checkpoint"]
    arguments = ["--events", "4000", "--behind", "1000", "--models", "3", "--partitions", "2"]
    run = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout)["checkpoint"]
    assert found["events_in_state"] == 4_000
    assert found["events_behind"] == 1_000
    assert 0 < found["seconds"] < 200
