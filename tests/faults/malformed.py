"""Malformed events by the million: seeded, fast, with good ones in between. What is bad by construction is told apart from
what was only damaged at random and may have stayed good."""

import json
import random
from collections.abc import Iterator
from typing import NamedTuple

from runway_streams.ground_truth.events import MAX_EVENT_BYTES


class Made(NamedTuple):
    """One event: `expected` is the reason by which it is bad, or several with a bar between them, "" where it is good, None where both may be."""

    noun: str
    raw: bytes | None
    expected: str | None


def made(seed: int, events: int, now: int) -> Iterator[Made]:
    """So many malformed events, and a good one after every fourth: the outcome of each good prediction follows it."""
    rng = random.Random(seed)
    for i in range(events):
        yield _malformed(rng, f"{seed}-bad-{i}", now)
        if i % 4 == 3:
            yield _good(seed, i // 4, now)


def _good(seed: int, number: int, now: int) -> Made:
    pair, is_outcome = divmod(number, 2)
    key, time = f"{seed}-{pair}-\\u0000\\ud83d\\ude00", now - 1000 - pair % 7200_000
    if is_outcome:
        return Made("outcomes", b'{"prediction_id":"%s","actual_outcome":"%d","timestamp":%d}' % (
            key.encode(), pair % 3 % 2, time), "")  # fmt: skip
    return Made("predictions", b'{"prediction_id":"%s","model_id":"model_%d","timestamp":%d,"prediction":"%d"}' % (
        key.encode(), pair % 5, time, pair % 2), "")  # fmt: skip


def _malformed(rng: random.Random, key: str, now: int) -> Made:
    noun = "predictions" if rng.random() < 0.5 else "outcomes"
    kind = rng.random()
    if kind < 0.3:
        return _damaged(rng, noun, key, now)
    if kind < 0.8:
        return _wrong_field(rng, noun, key, now)
    raw, expected = rng.choice(ROTTEN)
    return Made(noun, raw, expected)


def _wrong_field(rng: random.Random, noun: str, key: str, now: int) -> Made:
    """A good event but for one field."""
    name, texts, expected = rng.choice(WRONG[noun])
    text = rng.choice(texts)
    fields = _fields(noun, key, now) | {name: text}
    if text is MISSING:
        del fields[name]
    items = list(fields.items())
    if rng.random() < 0.2:
        rng.shuffle(items)
    return Made(noun, "{{{}}}".format(",".join(f'"{name}":{text}' for name, text in items)).encode(), expected)


def _damaged(rng: random.Random, noun: str, key: str, now: int) -> Made:
    """A good event, damaged at random: bytes changed, cut out, put in, twice."""
    raw = bytearray("{{{}}}".format(",".join(f'"{n}":{t}' for n, t in _fields(noun, key, now).items())).encode())
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(5):
            case 0:
                raw[at : at + 1] = rng.randbytes(1)
            case 1:
                del raw[at : at + rng.randrange(1, 9)]
            case 2:
                raw[at:at] = rng.choice(SHARDS)
            case 3:
                del raw[at:]
            case _:
                raw[at:at] = raw[at : at + rng.randrange(1, 30)]
    return Made(noun, bytes(raw), None)


def _fields(noun: str, key: str, now: int) -> dict[str, str]:
    if noun == "predictions":
        return {"prediction_id": f'"{key}"', "model_id": '"model_0"', "timestamp": str(now - 5000), "prediction": '"1"'}
    return {"prediction_id": f'"{key}"', "actual_outcome": '"1"', "timestamp": str(now - 5000)}


MISSING = "missing"
BROKEN = "not_json|invalid"
"""No JSON: which comes first is said, the break or a field that is missing by then."""
DEEP = "[" * 100_000
HUGE_INT = "9" * 400
SHARDS = [
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b'"', b"{", b"[", b"null", b"NaN", b"-Infinity", b"1e999", b"\\u0000",
    b"\xef\xbb\xbf", b'"prediction_id":7,', b'"timestamp":"0000-01-01T00:00:00Z",', b"\xf0\x9f\x98\x80", b"\\", b"9" * 40,
]  # fmt: skip
ROTTEN: list[tuple[bytes | None, str]] = [
    (None, "empty"),
    (b"", "empty"),
    (b"x" * (MAX_EVENT_BYTES + 1), "too_large"),
    (b'{"prediction_id":"' + b"x" * MAX_EVENT_BYTES + b'"}', "too_large"),
    *((text, BROKEN) for text in (
        b"{", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x00", b"nul", b"{'a':1}", b'{"a":1}{"a":1}', b'{"prediction_id":"\xff"}',
        b'{"prediction_id":"\\ud800"}', b'{"prediction_id":"\\udc00\\ud800"}', b'{"prediction_id":"\xed\xa0\x80"}',
        b'{"prediction_id":"\x00"}', b'{"prediction_id":"a",}', b'{"timestamp":NaN}', b'{"timestamp":-Infinity}',
        b'{"timestamp":01}', b'{"timestamp":+1}', b'{"timestamp":.5}', b'{"timestamp":0x10}', b'{"prediction_id":"\\x41"}',
        b'{"features":' + DEEP.encode(), b'{"features":' + b'{"a":' * 50_000,
    )),
    *((text, "invalid") for text in (
        b"[]", b'"text"', b"7", b"null", b"true", b"{}", b'{"prediction_id":"a"}', b'[{"prediction_id":"a"}]',
    )),
]  # fmt: skip
_NO_TEXT = ["7", "null", "true", "[]", "{}", "1.5", '""', json.dumps("x" * 257), MISSING]
_NO_TIME = ["null", "true", "[]", "{}", '""', '"yesterday"', '"2026-13-01T00:00:00Z"', '"2026-02-30T00:00:00Z"',
            '"2026-01-01T00:00:00"', '"2026-01-01"', '"0000-01-01T00:00:00Z"', '"10000-01-01T00:00:00Z"',
            '"2026-01-01T25:00:00Z"', '"2026-01-01T00:00:00+99:00"', "-999999999999999", MISSING]  # fmt: skip
_AHEAD = ['"9999-12-31T23:59:59Z"', '"9999-12-31T23:59:59-12:00"', "99999999999999", "9007199254740993", "99999999999"]
_NO_NUMBER = ["1e300", "-1e300", "1e308", "1" + "0" * 300]
WRONG: dict[str, list[tuple[str, list[str], str]]] = {
    "predictions": [
        ("prediction_id", _NO_TEXT, "invalid"),
        ("model_id", [text for text in _NO_TEXT if text != json.dumps("x" * 257)] + [json.dumps("m" * 129)], "invalid"),
        ("timestamp", _NO_TIME, "invalid"),
        ("timestamp", _AHEAD, "ahead"),
        ("prediction", ["null", "[]", "{}", MISSING, '{"score":2}', '{"score":"a"}', '{"scores":{"a":"b"}}', '{"label":[]}',
                        '{"interval":{"lower":2,"upper":1}}', '{"interval":{"lower":1}}',
                        '{"value":1,"interval":{"lower":1,"upper":2,"level":1}}'], "invalid"),
        ("prediction", [*_NO_NUMBER, '{"value":1e300}'], "not_finite"),
        ("prediction", ["1e999", '{"value":1e400}'], "not_finite"),
        ("segment", ["[]", "7", '{"a":1}', '{"a":null}', '{"a":{}}', '"text"'], "invalid"),
        ("features", ["[]", "7", '"text"', "true"], "invalid"),
        ("feature_timestamps", ["[]", '{"a":"never"}', '{"a":null}'], "invalid"),
        ("model_version", ["7", "[]", "{}", json.dumps("v" * 129)], "invalid"),
        ("entity_id", ["7", "[]", "{}"], "invalid"),
    ],
    "outcomes": [
        ("prediction_id", _NO_TEXT, "invalid"),
        ("timestamp", _NO_TIME, "invalid"),
        ("timestamp", _AHEAD, "ahead"),
        ("actual_outcome", ["null", "[]", "{}", MISSING], "invalid"),
        ("actual_outcome", [*_NO_NUMBER, "1e999"], "not_finite"),
    ],
}  # fmt: skip
