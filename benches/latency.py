"""From the send of an event to its appearance in the API's answer, at a steady rate, on a running stack.

uv run python benches/latency.py --json
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from bisect import bisect_left
from pathlib import Path

import httpx
import numpy as np
import orjson
from aiokafka import AIOKafkaProducer

from runway_streams.config import Config, kafka_client_options
from runway_streams.devstack.stack import Stack

STEP_S = 0.02
POLL_S = 0.02
WARM_UP_S = 5
"""Left out: the workers of a stack that has just started may still be joining their group."""
MODEL = "latency"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=5_000, help="events a second, half predictions, half outcomes")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runway-bench-") as folder:
        config = Config(home=Path(folder))
        with Stack(config, schedule=False, say=lambda sentence: print(sentence, file=sys.stderr)) as stack:
            result = asyncio.run(_measure(stack.config, stack.api_url, stack.key or "", arguments.rate, arguments.seconds))
    print(json.dumps(result) if arguments.json else "\n".join(f"{name:24} {value}" for name, value in result.items()))


async def _measure(config: Config, url: str, key: str, rate: int, seconds: int) -> dict:
    sent: list[tuple[float, int]] = []
    seen: list[tuple[float, int]] = []
    done = asyncio.Event()
    watcher = asyncio.create_task(_watch(url, key, seen, sent, done))
    await _send(config, rate, seconds, sent)
    done.set()
    await watcher
    counts = [count for _, count in seen]
    latencies = []
    for moment, count in sent[round(WARM_UP_S / STEP_S) :]:
        at = bisect_left(counts, count)
        if at < len(seen):
            latencies.append(seen[at][0] - moment)
    p50, p99 = np.percentile(latencies, [50, 99])
    return {
        "p50_seconds": round(p50, 3),
        "p99_seconds": round(p99, 3),
        "max_seconds": round(max(latencies), 3),
        "events_per_second": round(2 * sent[-1][1] / seconds),
        "samples": len(latencies),
    }


async def _send(config: Config, rate: int, seconds: int, sent: list[tuple[float, int]]) -> None:
    pairs = int(rate * STEP_S / 2)
    number = 0
    async with AIOKafkaProducer(acks="all", linger_ms=5, **kafka_client_options(config)) as producer:
        began = time.monotonic()
        for step in range(int(seconds / STEP_S)):
            await asyncio.sleep(max(0.0, began + step * STEP_S - time.monotonic()))
            now = int(time.time() * 1000)
            sent.append((time.monotonic(), number + pairs))
            for _ in range(pairs):
                key = f"{number}"
                prediction = {"prediction_id": key, "model_id": MODEL, "timestamp": now, "prediction": {"score": 0.7}}
                outcome = {"prediction_id": key, "actual_outcome": number % 2, "timestamp": now}
                await producer.send(config.topic("predictions"), orjson.dumps(prediction), key=key.encode())
                await producer.send(config.topic("outcomes"), orjson.dumps(outcome), key=key.encode())
                number += 1


async def _watch(
    url: str, key: str, seen: list[tuple[float, int]], sent: list[tuple[float, int]], done: asyncio.Event
) -> None:
    """Asks for the joined pairs until all that were sent are there, a minute after the last at most."""
    deadline = None
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10) as client:
        while True:
            answer = await client.get(f"/v1/models/{MODEL}/performance", params={"granularity": "P1D", "view": "speed"})
            if answer.status_code == 200:
                seen.append((time.monotonic(), int(answer.json()["totals"]["joined"])))
            if done.is_set():
                deadline = deadline or time.monotonic() + 60
                if (seen and seen[-1][1] >= sent[-1][1]) or time.monotonic() > deadline:
                    return
            await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    main()
