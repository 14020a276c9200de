"""The bench of the lineage graph runs over the SQL stores; its figures are made on a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_every_figure_is_told(store):
    size = ["--nodes", "1000", "--edges", "3000", "--batch", "200", "--walks", "20"]
    command = [sys.executable, "benches/lineage.py", "--json", "--only", store, *size]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    assert told[store]["reached"] == told["memory_alone"]["reached"]
    assert min(told[store]["ingest_edges_per_s"], told[store]["seen_again_edges_per_s"], told[store]["impact_ms"]["p50"]) > 0
