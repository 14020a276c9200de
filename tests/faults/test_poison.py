"""A poison event: a bug that certain bytes bring out. The worker ends with its traceback, each time it is started, and passes
nothing over; once the bug is mended, all is counted. No bug of ours is a dead letter of theirs."""

import asyncio
import json
import sys
from collections.abc import Callable

import pytest

from tests.faults.verifier import read_topic, verify
from tests.running import WorkerProcess, caught_up, eventually
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]
WITH_A_BUG = """
from runway_streams.cli import main
from runway_streams.ground_truth import events

decode = events._decode_outcome

def bites(raw):
    if b"poison" in raw:
        raise ZeroDivisionError("the poison bites")
    return decode(raw)

events._decode_outcome = bites
main()
"""


async def test_a_bug_that_an_event_brings_out_ends_the_worker_and_loses_nothing(topics, seed: int, start: Callable):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=3_000)
    half = len(traffic.events) // 2
    poison = b'{"prediction_id": "poison", "actual_outcome": "1", "timestamp": 1700000000000}'
    await asyncio.to_thread(traffic.send, config, 0, half)
    traffic.events.insert(half, ("outcomes", "poison", poison))
    await asyncio.to_thread(traffic.send, config, half, None)
    broken = WorkerProcess(config)
    broken.command = [sys.executable, "-c", WITH_A_BUG, "worker", "ground-truth"]
    for _ in range(2):
        broken.start()
        await eventually(lambda: not broken.alive(), 60, broken.tail)
        assert broken.process.returncode == 1
        assert broken.tail().splitlines()[-1] == "ZeroDivisionError: the poison bites", broken.tail()
    mended = start(config)
    await caught_up(config, mended)
    await verify(config, traffic.acknowledged)
    letters = await asyncio.to_thread(read_topic, config, "dead-letters")
    assert not any(json.loads(letter.value)["detail"] == "the poison bites" for letter in letters)
