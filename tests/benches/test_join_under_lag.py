"""The bench of a worker that joins under lag runs, and loses nothing. Its figures are made on a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_worker_that_joins_under_lag_takes_its_share_from_checkpoints_and_nothing_is_lost():
    command = [sys.executable, "benches/join_under_lag.py", "--json", "--before", "5000", "--backlog", "50000"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    assert told["counted"] == told["events"] == 110_000
    assert 0 < len(told["moved"]) < told["partitions"]
    assert told["from_checkpoints"] >= len(told["moved"])
    assert min(told["pause_of_staying_s"], told["pause_of_moving_s"], told["caught_up_s"]) > 0
