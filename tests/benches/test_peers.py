"""The peers' benchmark on a few events: every peer that is quick to start gives the right answer, in one JSON document."""

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from argparse import Namespace
from pathlib import Path

import pytest

from benches.peers import find_javac, report_of, within
from benches.support.answers import Answer
from benches.support.workload import Workload

ROOT = Path(__file__).parents[2]
TRUTH = {"m|7": (5, 3)}


@pytest.mark.kafka
@pytest.mark.timeout(280)
def test_each_peer_gives_the_right_answer(tmp_path: Path):
    peers = ["runway", "faust", *(["kafka_streams"] if shutil.which("javac") else [])]
    picture = tmp_path / "peers.svg"
    command = [sys.executable, ROOT / "benches/peers.py", "--events", "2000", "--seconds", "60", "--only", ",".join(peers)]
    run = subprocess.run(
        [*command, "--json", "--picture", picture], capture_output=True, text=True, timeout=270, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    report = json.loads(run.stdout)
    for name in peers:
        assert report["details"][name]["right"], report
        assert report["details"][name]["finished"], report
        assert report[name] > 0
        assert report["by_cpu_second"][name] > 0
    assert len({report["details"][name]["joined"] for name in peers}) == 1
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_an_answer_is_the_sum_of_the_last_record_of_each_partition():
    answer = Answer()
    for key, joined in ((b"m|7|0", 1), (b"m|7|0", 2), (b"m|7|1", 3), (b"n|7|1", 1)):
        answer.add(0, key, json.dumps({"joined": joined, "correct": joined - 1}).encode())
    assert answer.totals() == {"m|7": (5, 3), "n|7": (1, 0)}


@pytest.mark.parametrize(
    ("total", "right"),
    [((5, 3), True), ((4, 3), True), ((6, 3), False), ((5, 4), False)],
    ids=["whole", "part", "twice", "correct"],
)
def test_part_of_an_answer_may_not_have_what_the_true_one_lacks(total: tuple[int, int], right: bool):
    answer = Answer()
    answer.add(0, b"m|7", json.dumps({"joined": total[0], "correct": total[1]}).encode())
    assert within(answer, Workload(10, TRUTH)) == right


def test_without_a_jdk_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="Install a JDK, or name the other peers"):
        find_javac()


def test_the_report_names_how_many_times_faster_runway_is():
    def found(rate: int) -> dict:
        return {"events_per_second": rate, "events_per_cpu_second": rate // 2}

    report = report_of({"runway": found(60), "faust": found(2)}, Workload(10, TRUTH), Namespace(partitions=4))
    assert (report["runway"], report["faust"]) == (60, 2)
    assert report["by_cpu_second"] == {"runway": 30, "faust": 1}
    assert report["runway_times"] == {"faust": 30.0}
