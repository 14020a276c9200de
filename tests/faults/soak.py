"""A soak: faults drawn from a seed, one after the other, under traffic, for as long as one likes. At intervals the traffic
pauses and all that was acknowledged is compared with what the stream and the API say, exactly.

    scripts/soak                                  an hour, a seed drawn and printed
    scripts/soak --minutes 3 --compare-every 1    a short one
    scripts/soak --seed 17                        the events and the order of faults of another run once more
    scripts/soak --rate 2000 --folder /tmp/soak   more events a second, its files elsewhere

It writes soak.jsonl (a line for each sample, fault and comparison) and soak.svg (memory, file handles and lag over time) into
the folder, and ends with 1 where anything differs. No fault is done to the worker `steady` itself: what it takes must not
grow.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from runway_streams.config import Config
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.topics import create_topics
from tests.faults.answers import served, verify_answers
from tests.faults.soak_faults import FAULTS, STEADY, Crew
from tests.faults.soak_picture import picture
from tests.faults.soak_samples import Sampler
from tests.faults.verifier import verify
from tests.running import caught_up
from tests.traffic import Traffic

PARTITIONS = 4
CHUNK_S = 5
BETWEEN_S = (3.0, 15.0)
"""Seconds between two faults, drawn from the seed."""
SAMPLE_EVERY_S = 2.0
CATCH_UP_LIMIT_S = 300.0


class Soak:
    """One run: its traffic, its workers, its records."""

    def __init__(self, config: Config, kafka: EmbeddedKafka, seed: int, rate: int, folder: Path):
        self.config, self.rate, self.folder = config, rate, folder
        self.rng = random.Random(seed)
        self.crew = Crew(config, kafka, self.rng)
        self.sent: list[Traffic] = []
        self.records: list[dict[str, Any]] = []
        self._seed, self._began = seed, time.monotonic()
        self._flowing, self._idle = asyncio.Event(), asyncio.Event()

    def title(self) -> str:
        """What was done so far."""
        faults = sum(record["kind"] == "fault" for record in self.records)
        return f"seed {self._seed}: {self._seconds() / 60:.1f} min, {self._events():,} events, {faults} faults"

    async def run(self, minutes: float, compare_every: float) -> None:
        """Raises AssertionError with the first differences."""
        self.crew.start()
        try:
            async with served(self.config) as http:
                self._began = time.monotonic()
                tasks = [asyncio.create_task(self._flow()), asyncio.create_task(self._sample())]
                try:
                    await self._break_things(http, minutes * 60, compare_every * 60, tasks)
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            self.crew.stop()

    async def _break_things(self, http: httpx.Client, length: float, compare_every: float, tasks: list) -> None:
        self._flowing.set()
        compare_at = compare_every
        while self._seconds() < length:
            await asyncio.sleep(self.rng.uniform(*BETWEEN_S))
            fault = self.rng.choice(sorted(FAULTS))
            self._note("fault", fault=fault)
            await FAULTS[fault](self.crew)
            for task in tasks:
                if task.done():
                    task.result()
            if self._seconds() >= compare_at:
                await self._compare(http)
                compare_at = self._seconds() + compare_every
        await self._compare(http)

    async def _compare(self, http: httpx.Client) -> None:
        self._flowing.clear()
        await self._idle.wait()
        began = time.monotonic()
        await caught_up(self.config, self.crew, CATCH_UP_LIMIT_S)
        caught_up_s = round(time.monotonic() - began, 1)
        truth = await verify(self.config, *(traffic.acknowledged for traffic in self.sent))
        await verify_answers(http, truth)
        self._note("compared", events=self._events(), caught_up_s=caught_up_s)
        self._idle.clear()
        self._flowing.set()

    async def _flow(self) -> None:
        while True:
            if not self._flowing.is_set():
                self._idle.set()
                await self._flowing.wait()
            traffic = Traffic(self._seed + len(self.sent), pairs=self.rate * CHUNK_S // 2)
            self.sent.append(traffic)
            await asyncio.to_thread(traffic.send, self.config, rate=self.rate)
            traffic.events.clear()

    async def _sample(self) -> None:
        sampler = Sampler(self.config)
        while True:
            self.crew.revive()
            told = await asyncio.to_thread(sampler.sample, self.crew.pids())
            self._note("sample", **told)
            steady = told["rss"].get(STEADY, 0) / (1 << 20)
            line = f"{self.title()}, lag {told['lag']}, {STEADY} {steady:.0f} MiB"
            print(f"\r{line:<100}", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _note(self, kind: str, **told: Any) -> None:
        record = {"kind": kind, "at": round(self._seconds(), 1), **told}
        self.records.append(record)
        with (self.folder / "soak.jsonl").open("a") as lines:
            lines.write(json.dumps(record) + "\n")

    def _events(self) -> int:
        return sum(len(traffic.acknowledged) for traffic in self.sent)

    def _seconds(self) -> float:
        return time.monotonic() - self._began


async def soak(folder: Path, seed: int, minutes: float, compare_every: float, rate: int) -> None:
    """Runs it on a Kafka of its own, and draws the picture however it ends."""
    folder.mkdir(parents=True)
    with EmbeddedKafka(folder / "kafka") as kafka:
        config = Config(home=folder / "home", bootstrap=kafka.bootstrap, archive_url=(folder / "lake").as_uri())
        config.home.mkdir()
        await create_topics(config, PARTITIONS, replication=1)
        one = Soak(config, kafka, seed, rate, folder)
        try:
            await one.run(minutes, compare_every)
        finally:
            (folder / "soak.svg").write_text(picture(one.records, one.title()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30), help="default: drawn")
    parser.add_argument("--rate", type=int, default=300, help="events a second (300)")
    parser.add_argument("--compare-every", type=float, default=10.0, help="minutes (10)")
    parser.add_argument("--folder", type=Path, help="default: .runway/soak-SEED")
    given = parser.parse_args()
    folder = (given.folder or Path(".runway") / f"soak-{given.seed}").absolute()
    if folder.exists():
        parser.error(f"{folder} is there already: remove it, or give another with --folder.")
    print(f"seed {given.seed}, files in {folder}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        asyncio.run(soak(folder, given.seed, given.minutes, given.compare_every, given.rate))
    except AssertionError as error:
        print(f"\nIt differs: {error}\nRun it again with --seed {given.seed}.", file=sys.stderr)
        raise SystemExit(1) from None
    print(f"\nEqual in every comparison. {folder}/soak.jsonl, {folder}/soak.svg")


if __name__ == "__main__":
    main()
