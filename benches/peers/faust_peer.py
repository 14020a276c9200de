"""Plain Faust: an agent that takes one event at a time, two tables in RocksDB with their changelogs."""

import json
import os
import sys
import threading
import time

import faust
import orjson

PEER = json.loads(os.environ["PEER"])

app = faust.App(
    PEER["group"],
    broker=f"kafka://{PEER['bootstrap']}",
    store="rocksdb://?driver=rocksdict",
    datadir=PEER["state"],
    topic_partitions=PEER["partitions"],
    topic_replication_factor=1,
    processing_guarantee="at_least_once",
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    topic_allow_declare=True,
)
events_in = app.topic(PEER["predictions"], PEER["outcomes"], key_serializer="raw", value_serializer="raw")
output = app.topic(PEER["output"], key_serializer="raw", value_serializer="raw")
waiting = app.Table("waiting", partitions=PEER["partitions"])
counts = app.Table("counts", partitions=PEER["partitions"])
changed: dict[str, list[int]] = {}
seen = 0


@app.agent(events_in)
async def join(stream):
    """Whichever comes first waits in the table; whichever comes second finds it there."""
    global seen
    async for event in stream.events():
        message = event.message
        value = orjson.loads(event.value)
        key = value["prediction_id"]
        if message.topic == PEER["predictions"]:
            name = f"{value['model_id']}|{value['model_version']}"
            mine = ["p", name, value["prediction"]["label"], value["timestamp"]]
        else:
            mine = ["o", "", value["actual_outcome"], value["timestamp"]]
        other = waiting.get(key)
        if other is None:
            waiting[key] = mine
        elif other[0] != mine[0]:
            waiting.pop(key)
            count(mine if mine[0] == "p" else other, other if mine[0] == "p" else mine, message.partition)
        seen += 1


def count(prediction: list, outcome: list, partition: int) -> None:
    """One pair more, where the outcome came within the window."""
    if not 0 <= outcome[3] - prediction[3] <= PEER["window"]:
        return
    key = f"{prediction[1]}|{partition}"
    joined, correct = counts.get(key) or (0, 0)
    changed[key] = counts[key] = [joined + 1, correct + (prediction[2] == outcome[2])]


@app.timer(1.0)
async def emit():
    """The totals that have changed."""
    for key in list(changed):
        joined, correct = changed.pop(key)
        await output.send(key=key.encode(), value=orjson.dumps({"joined": joined, "correct": correct}))


def tell() -> None:
    while True:
        print("events", seen, file=sys.__stdout__, flush=True)  # a Faust worker puts its log in the place of sys.stdout
        time.sleep(0.5)


if __name__ == "__main__":
    threading.Thread(target=tell, daemon=True).start()
    app.main()
