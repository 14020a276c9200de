"""Quix Streams: `join_interval` of the two topics, then `group_by` the model version and a stateful sum; state in RocksDB."""

import json
import os
import threading
import time

import orjson
from quixstreams import Application, State

PEER = json.loads(os.environ["PEER"])
seen = 0


def prediction(value: bytes) -> list:
    """What of a prediction the pair needs."""
    global seen
    seen += 1
    event = orjson.loads(value)
    return [f"{event['model_id']}|{event['model_version']}", event["prediction"]["label"], event["timestamp"]]


def outcome(value: bytes) -> list:
    """What of an outcome the pair needs."""
    global seen
    seen += 1
    event = orjson.loads(value)
    return [event["actual_outcome"], event["timestamp"]]


def merge(left: list, right: list) -> dict:
    """A pair: of which model version, within the window or not, right or wrong."""
    inside = 0 <= right[1] - left[2] <= PEER["window"]
    return {"name": left[0], "inside": inside, "correct": left[1] == right[0]}


def count(pair: dict, state: State) -> dict:
    """One pair more."""
    joined, correct = state.get("counts", (0, 0))
    joined, correct = joined + 1, correct + pair["correct"]
    state.set("counts", [joined, correct])
    return {"joined": joined, "correct": correct}


def tell() -> None:
    while True:
        print("events", seen, flush=True)
        time.sleep(0.5)


def main() -> None:
    app = Application(
        broker_address=PEER["bootstrap"],
        consumer_group=PEER["group"],
        state_dir=PEER["state"],
        auto_offset_reset="earliest",
        processing_guarantee=PEER["guarantee"],
        commit_interval=2.0,
        topic_create_timeout=60,
        loglevel="WARNING",
        quix_portal_api="",
    )
    plain = {"key_deserializer": "str", "value_deserializer": "bytes"}
    left = app.dataframe(app.topic(PEER["predictions"], **plain)).apply(prediction)
    right = app.dataframe(app.topic(PEER["outcomes"], **plain)).apply(outcome)
    pairs = left.join_interval(
        right, how="inner", on_merge=merge, backward_ms=PEER["life"], forward_ms=PEER["life"], grace_ms=PEER["life"]
    )
    pairs = pairs.filter(lambda pair: pair["inside"])
    totals = pairs.group_by("name").apply(count, stateful=True)
    totals.to_topic(app.topic(PEER["output"], key_serializer="str", value_serializer="json"))
    threading.Thread(target=tell, daemon=True).start()
    app.run()


if __name__ == "__main__":
    main()
