"""Bytewax: `join` of the two topics and a stateful sum by model version; snapshots to its recovery store (SQLite)."""

import json
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

PEER = json.loads(os.environ["PEER"])
seen = 0


def prediction(message) -> tuple:
    """What of a prediction the pair needs, by prediction id."""
    global seen
    seen += 1
    event = orjson.loads(message.value)
    name = f"{event['model_id']}|{event['model_version']}"
    return event["prediction_id"], (name, event["prediction"]["label"], event["timestamp"])


def outcome(message) -> tuple:
    """What of an outcome the pair needs, by prediction id."""
    global seen
    seen += 1
    event = orjson.loads(message.value)
    return event["prediction_id"], (event["actual_outcome"], event["timestamp"])


def pair_of(keyed: tuple) -> tuple | None:
    """A pair by its model version, None where the outcome came after the window."""
    _, ((name, label, predicted_at), (actual, came_at)) = keyed
    return (name, label == actual) if 0 <= came_at - predicted_at <= PEER["window"] else None


class Sum(StatefulBatchLogic):
    """Pairs of one model version, counted."""

    def __init__(self, counts=(0, 0)):
        self.counts = counts

    def on_batch(self, values):
        joined, correct = self.counts
        self.counts = joined + len(values), correct + sum(values)
        return [self.counts], False

    def snapshot(self):
        return self.counts


def message_of(keyed: tuple) -> KafkaSinkMessage:
    """The answer as it is written."""
    name, (joined, correct) = keyed
    return KafkaSinkMessage(name.encode(), orjson.dumps({"joined": joined, "correct": correct}))


def flow_of() -> Dataflow:
    flow = Dataflow("peer")
    brokers, many = [PEER["bootstrap"]], 4_000
    predictions = kop.input("predictions", flow, brokers=brokers, topics=[PEER["predictions"]], batch_size=many).oks
    outcomes = kop.input("outcomes", flow, brokers=brokers, topics=[PEER["outcomes"]], batch_size=many).oks
    left = op.map("read predictions", predictions, prediction)
    right = op.map("read outcomes", outcomes, outcome)
    pairs = op.filter_map("pairs", op.join("join", left, right), pair_of)
    totals = op.stateful_batch("sum", pairs, lambda resumed: Sum(resumed) if resumed else Sum())
    kop.output("out", op.map("write", totals, message_of), brokers=brokers, topic=PEER["output"])
    return flow


def tell() -> None:
    while True:
        print("events", seen, flush=True)
        time.sleep(0.5)


if __name__ == "__main__":
    store = Path(PEER["state"])
    store.mkdir(parents=True, exist_ok=True)
    init_db_dir(store, 1)
    threading.Thread(target=tell, daemon=True).start()
    cli_main(flow_of(), epoch_interval=timedelta(seconds=2), recovery_config=RecoveryConfig(str(store)))
