"""The same events through Runway Streams and its peers, one after the other, each with its state on disk.

    uv run python benches/peers.py --json [--events 1000000] [--seconds 240] [--only runway,faust] [--picture docs/peers.svg]

All read the same two topics of one embedded Kafka, join predictions with outcomes, and write for each model version how
many pairs there are and how many were right. Each answer is compared with the true one. A peer that is not done after
`--seconds` is rated by what it has done until then. docs/peers.md tells what is compared and what is not.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.support.answers import Answer, RunwayAnswer
from benches.support.picture import draw_bars
from benches.support.process_tree import ProcessTree
from benches.support.workload import LIFE, WINDOW, Workload, create_outputs, prepare
from runway_streams.config import Config, kafka_client_options
from runway_streams.devstack.jars import cache_dir, fetch_jars
from runway_streams.devstack.java import LEAST_MAJOR, parse_version
from runway_streams.devstack.kafka import EmbeddedKafka

FOLDER = Path(__file__).parent / "peers"
JARS = (
    "org.apache.kafka:kafka-streams:4.1.0",
    "com.fasterxml.jackson.core:jackson-databind:2.19.2",
    "org.slf4j:slf4j-simple:1.7.36",
)
SHORT = 100_000
"""A run of fewer events has the peer's start in its figures."""
START_S = 300
"""Until a peer has read its first event; environments and jars that are not on this machine yet are fetched in it."""
SETTLE_S = 30
"""From the last event read to the answer; one that is still not there is wrong."""


class Peer(NamedTuple):
    """One contender: its command is made when it is its turn. `guarantee` is what its own settings call it."""

    name: str
    title: str
    guarantee: str
    command: Callable[[Path, Path], Sequence[str]]
    answer: Callable[[], Answer] = Answer


def peers_of(threads: int) -> list[Peer]:
    """All contenders, in the order in which they run."""
    quix = _python("quix_peer.py", "quixstreams==3.28.1", "orjson==3.13.0")
    faust = _python(
        "faust_peer.py", "faust-streaming==0.15.3", "rocksdict==0.3.29", "aiokafka==0.14.0", "cramjam==2.14.0",
        "orjson==3.13.0", arguments=("worker", "-l", "warn", "--without-web"),
    )  # fmt: skip
    bytewax = _python("bytewax_peer.py", "bytewax==0.21.1", "confluent-kafka==2.16.1", "orjson==3.13.0")
    return [
        Peer("runway", "Runway Streams", "exactly once", _runway, RunwayAnswer),
        Peer("kafka_streams", f"Kafka Streams, {threads} thread(s)", "exactly_once_v2", _java),
        Peer("kafka_streams_tuned", "the same, tuned by hand", "at_least_once", _java),
        Peer("quix", "Quix Streams", "exactly-once", quix),
        Peer("bytewax", "Bytewax", "at least once", bytewax),
        Peer("faust", "Plain Faust", "at_least_once", faust),
    ]


def main() -> None:
    options = _options()
    peers = [peer for peer in peers_of(options.threads) if not options.only or peer.name in options.only]
    if any(peer.command is _java for peer in peers):
        find_javac()
    with tempfile.TemporaryDirectory(prefix="runway-peers-") as folder, EmbeddedKafka(Path(folder) / "kafka") as kafka:
        config = Config(home=Path(folder) / "home", bootstrap=kafka.bootstrap)
        _say(f"writing {options.events:,} events ...")
        workload = prepare(config, options.events, options.partitions)
        asyncio.run(create_outputs(config, [f"peers.{peer.name}" for peer in peers], options.partitions))
        details = {}
        for peer in peers:
            _say(f"{peer.title} ...")
            details[peer.name] = asyncio.run(run(peer, config, workload, Path(folder), options))
            _say(json.dumps(details[peer.name]))
    report = report_of(details, workload, options)
    if options.picture:
        _draw(options.picture, peers, report)
    print(json.dumps(report) if options.json else _table(peers, report))
    wrong = [name for name, found in details.items() if not found["right"]]
    if wrong:
        raise SystemExit(f"Wrong answers: {', '.join(wrong)}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="half predictions, half outcomes")
    parser.add_argument("--seconds", type=float, default=240, help="the most that a peer gets")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="stream threads of Kafka Streams; the others have one each")
    parser.add_argument("--only", type=lambda names: names.split(","), help="some of the peers, by commas")
    parser.add_argument("--picture", type=Path, help="an SVG file to write")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


async def run(peer: Peer, config: Config, workload: Workload, folder: Path, options: argparse.Namespace) -> dict:
    """Starts one peer on the same topics, follows its answer, stops it."""
    state = folder / peer.name
    state.mkdir()
    command = peer.command(state, folder)
    log = folder / f"{peer.name}.log"
    with ProcessTree(command, log, _environ(peer, config, state, options)) as tree:
        found = await _watch(peer, config, workload, tree, options.seconds)
        found |= {"guarantee": peer.guarantee, "state_mib": _size(state) >> 20}
    shutil.rmtree(state, ignore_errors=True)
    return found


async def _watch(peer: Peer, config: Config, workload: Workload, tree: ProcessTree, seconds: float) -> dict:
    """Until the whole answer is there, or the time is up. The clock begins with the first events that it has read."""
    output = config.topic("metrics") if peer.name == "runway" else f"peers.{peer.name}"
    consumer = AIOKafkaConsumer(
        output, auto_offset_reset="earliest", isolation_level="read_committed", **kafka_client_options(config)
    )
    answer = peer.answer()
    first: tuple[float, int, float] | None = None
    all_read = None
    started = time.monotonic()
    await consumer.start()
    try:
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    answer.add(tp.partition, record.key, record.value)
            now, done = time.monotonic(), _progress(answer, tree)
            tree.sample()
            right = answer.totals() == workload.truth
            if first is None and (right or done > workload.events / 2):  # so few that the start must be in the clock
                first = started, 0, 0.0
            elif first is None and done:
                first = now, done, tree.cpu_seconds
            if done >= workload.events and all_read is None:
                all_read = now
            if right or (first and now - first[0] > seconds) or (all_read and now - all_read > SETTLE_S):
                break
            if not tree.alive:
                raise SystemExit(f"{peer.title} ended:\n{tree.tail()}")
            if first is None and now - started > START_S:
                raise SystemExit(f"{peer.title} has read nothing in {START_S} s:\n{tree.tail()}")
    finally:
        await consumer.stop()
    assert first
    if workload.events < SHORT:
        first = started, 0, 0.0  # between two looks there may be no processor time to divide by
    done = workload.events if right else done
    spent, cpu = now - first[0], tree.cpu_seconds - first[2]
    return {
        "events_per_second": round((done - first[1]) / spent) if spent else 0,
        "events_per_cpu_second": round((done - first[1]) / cpu) if cpu else 0,
        "events": done,
        "seconds": round(spent, 1),
        "cpu_seconds": round(cpu, 1),
        "rss_mib": tree.rss_mib,
        "finished": right,
        "right": right or (all_read is None and within(answer, workload)),
        "joined": sum(joined for joined, _ in answer.totals().values()),
    }


def _progress(answer: Answer, tree: ProcessTree) -> int:
    """Events in the answer where it tells so, else what the peer has read by its own word."""
    if answer.events is not None:
        return answer.events
    # A peer's log may break into such a line: the next one tells.
    told = [match[1] for line in tree.lines() if (match := re.fullmatch(r"events (\d+)", line.strip()))]
    return int(told[-1]) if told else 0


def within(answer: Answer, workload: Workload) -> bool:
    """Whether an answer that is not whole yet has nothing that the true one lacks."""
    nothing = (0, 0)
    return all(
        joined <= workload.truth.get(name, nothing)[0] and correct <= workload.truth.get(name, nothing)[1]
        for name, (joined, correct) in answer.totals().items()
    )


def _environ(peer: Peer, config: Config, state: Path, options: argparse.Namespace) -> dict[str, str]:
    told = {
        "bootstrap": config.bootstrap,
        "predictions": config.topic("predictions"),
        "outcomes": config.topic("outcomes"),
        "output": f"peers.{peer.name}",
        "group": f"peers-{peer.name}",
        "state": str(state),
        "guarantee": peer.guarantee,
        "form": "tuned" if peer.name.endswith("_tuned") else "dsl",
        "partitions": options.partitions,
        "threads": options.threads,
        "window": WINDOW,
        "life": LIFE,
    }
    return {
        "PEER": json.dumps(told),
        "RUNWAY_HOME": str(state),
        "RUNWAY_BOOTSTRAP": config.bootstrap,
        "RUNWAY_WEB_PORT": "0",
    }


def _runway(_state: Path, _folder: Path) -> Sequence[str]:
    return [sys.executable, "-m", "runway_streams.cli", "worker", "ground-truth"]


def _python(script: str, *requirements: str, arguments: Sequence[str] = ()) -> Callable[[Path, Path], Sequence[str]]:
    """A script in an environment of its own, which uv makes and keeps."""
    chosen = [part for requirement in requirements for part in ("--with", requirement)]
    command = ["uv", "run", "--isolated", "--no-project", "--python", ">=3.11,<3.13", *chosen, "python"]
    return lambda _state, _folder: [*command, str(FOLDER / script), *arguments]


def _java(_state: Path, folder: Path) -> Sequence[str]:
    javac = find_javac()
    jars = ":".join(str(jar) for jar in fetch_jars(JARS, cache_dir(), _say, 90))
    classes = folder / "classes"
    subprocess.run([javac, "-cp", jars, "-d", classes, FOLDER / "KafkaStreamsPeer.java"], check=True)
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return [str(javac.with_name("java")), "-Xmx2g", quiet, "-cp", f"{classes}:{jars}", "KafkaStreamsPeer"]


def find_javac() -> Path:
    """The compiler below JAVA_HOME or on the PATH; ends the run with what to do where there is none of Java 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    for candidate in (f"{home}/bin/javac" if home else None, shutil.which("javac")):
        if candidate and Path(candidate).exists():
            told = subprocess.run([candidate, "-version"], capture_output=True, text=True, check=False)
            version = (told.stdout + told.stderr).replace("javac ", 'version "')
            if (parse_version(version) or 0) >= LEAST_MAJOR:
                return Path(candidate).resolve()
    raise SystemExit(
        f"The Kafka Streams peer is compiled when it runs, and no javac of Java {LEAST_MAJOR} or newer is below JAVA_HOME or on "
        "the PATH. Install a JDK, or name the other peers: --only runway,quix,bytewax,faust"
    )


def report_of(details: dict[str, dict], workload: Workload, options: argparse.Namespace) -> dict:
    """Events a second by the clock at the top, everything else below."""
    by_clock = {name: found["events_per_second"] for name, found in details.items()}
    by_cpu = {name: found["events_per_cpu_second"] for name, found in details.items()}
    report = {**by_clock, "by_cpu_second": by_cpu, "details": details}
    if "runway" in details:
        report["runway_times"] = {
            name: round(by_clock["runway"] / rate, 1) for name, rate in by_clock.items() if name != "runway" and rate
        }
        report["runway_times_by_cpu"] = {
            name: round(by_cpu["runway"] / rate, 1) for name, rate in by_cpu.items() if name != "runway" and rate
        }
    about = {"events": workload.events, "partitions": options.partitions, "cores": os.cpu_count()}
    return report | about | {"load_before": [round(load, 2) for load in os.getloadavg()]}


def _table(peers: list[Peer], report: dict) -> str:
    lines = [f"{'':34} {'events/s':>10} {'per CPU s':>10} {'RSS MiB':>8} {'disk MiB':>9}  answer"]
    for peer in peers:
        found = report["details"][peer.name]
        said = "wrong" if not found["right"] else "whole and right" if found["finished"] else f"{found['events']:,} events"
        lines.append(
            f"{peer.title:34} {found['events_per_second']:>10,} {found['events_per_cpu_second']:>10,} "
            f"{found['rss_mib']:>8,} {found['state_mib']:>9,}  {said}"
        )
    return "\n".join(lines)


def _draw(path: Path, peers: list[Peer], report: dict) -> None:
    rows = [(peer.title, report[peer.name], f"{report[peer.name]:,}") for peer in peers]
    note = f"{report['events']:,} events, {report['partitions']} partitions, {report['cores']} cores shared with the broker"
    draw_bars(path, "Join and count: events a second", rows, f"{note}; logarithmic.")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
