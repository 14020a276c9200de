"""`runway dead-letters` on a real Kafka: what is listed, shown and sent again, and what is not."""

import asyncio
import json
import time

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from agents.dead_letters import DeadLetters
from runway_streams.cli import app
from runway_streams.config import Config, kafka_client_options
from runway_streams.dead_letter_replay import HEADER, MAX_REPLAYS
from runway_streams.devstack.children import free_port
from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from runway_streams.ground_truth.events import BadEvent
from runway_streams.topic_reader import open_topic
from schemas.dead_letter import HEADERS_LIMIT, RAW_LIMIT

FRAUD = b'{"prediction_id":"a","model_id":"fraud","timestamp":NaN,"prediction":1}'
NASTY = b'{"model_id":"\xff\x1b[31m'


class Runway:
    """The command line over this test's topics."""

    def __init__(self, config: Config):
        self._environ = {
            "RUNWAY_HOME": str(config.home),
            "RUNWAY_BOOTSTRAP": config.bootstrap,
            "RUNWAY_TOPIC_PREFIX": config.topic_prefix,
            "COLUMNS": "200",
        }

    async def __call__(self, *arguments: object, input: str | None = None):
        self.done = await asyncio.to_thread(
            CliRunner().invoke,
            app,
            ["dead-letters", *map(str, arguments)],
            input=input,
            env=self._environ,
            catch_exceptions=False,
            terminal_width=200,
        )
        return self.done

    async def json(self, *arguments: object):
        assert (await self(*arguments, "--json")).exit_code == 0, self.done.stderr
        return json.loads(self.done.stdout)


class Kept:
    """Writes dead letters as the worker does."""

    def __init__(self, config: Config):
        self.config = config

    async def __call__(self, noun, offset, raw, reason="not_json", key=b"k", headers=(), partition=0, detail="Bad."):
        async with AIOKafkaProducer(**kafka_client_options(self.config)) as producer:
            letters = DeadLetters(producer, self.config.topic("dead-letters"))
            event = BadEvent(offset, 1_700_000_000_000, reason, detail, raw)
            await letters.send(self.config.topic(noun), partition, [event], lambda _: (key, list(headers)))


@pytest.fixture
async def config(topics) -> Config:
    return await topics(partitions=2)


@pytest.fixture
def keep(config) -> Kept:
    return Kept(config)


@pytest.fixture
def runway(config) -> Runway:
    return Runway(config)


async def records(config: Config, noun: str) -> list:
    async with open_topic(config, noun) as topic:
        return [record async for record in topic.to_end()]


pytestmark = pytest.mark.kafka


async def test_they_are_listed_by_model_topic_reason_and_time(keep, runway):
    assert (await runway("list")).stderr.strip() == "There are no such dead letters."
    await keep("predictions", 1, FRAUD, "not_finite")
    await keep("outcomes", 2, b"{", "not_json")
    await keep("predictions", 3, None, "empty", key=None)

    async def places(*arguments):
        return [item["place"] for item in (await runway.json("list", *arguments))["items"]]

    assert await places() == ["0:0", "0:1", "0:2"]
    assert await places("--model", "fraud") == ["0:0"]
    assert await places("--topic", "outcomes") == ["0:1"]
    assert await places("--reason", "empty") == ["0:2"]
    assert await places("--reason", "empty", "--topic", "outcomes") == []
    assert await places("--since", "PT1H") == ["0:0", "0:1", "0:2"]
    assert await places("--since", "2100-01-01") == []
    table = (await runway("list")).stdout
    assert "fraud" in table
    assert "predictions 0:1" in table


async def test_pages_are_bounded_and_go_on_behind_each_other(keep, runway):
    for offset in range(5):
        await keep("predictions", offset, b"{")
    first = await runway.json("list", "--limit", 2)
    second = await runway.json("list", "--limit", 2, "--after", first["after"])
    third = await runway.json("list", "--limit", 2, "--after", second["after"])
    assert [item["place"] for page in (first, second, third) for item in page["items"]] == [f"0:{n}" for n in range(5)]
    assert third["after"] is None
    assert "--after 0:1" in (await runway("list", "--limit", 2)).stderr
    assert (await runway.json("list", "--after", "0:4"))["items"] == []
    assert (await runway.json("list", "--after", "0:999"))["items"] == []


async def test_one_is_shown_and_does_nothing_to_the_terminal(keep, runway, config):
    headers = [("trace", b"\x1b]0;\x07"), ("none", None)]
    await keep("predictions", 7, NASTY, key=b"\x00key", headers=headers, partition=1, detail="No \x1b[2J.")
    shown = (await runway("show", "0:0")).stdout
    assert "\x1b" not in shown
    assert '{"model_id":"\\xff\\x1b[31m' in shown
    assert f"{config.topic('predictions')} 1:7" in shown
    assert "header   trace: \\x1b]0;\\x07" in shown
    assert "header   none: null" in shown
    assert "key      \\x00key" in shown
    assert (await runway("show", "0:0", "--raw")).stdout_bytes == NASTY
    told = await runway.json("show", "0:0")
    assert told["key"] == "AGtleQ=="
    assert told["headers"] == [["trace", "G10wOwc="], ["none", None]]
    assert "\x1b" not in (await runway("list")).stdout


async def test_what_is_not_there_or_no_place_is_a_sentence(runway):
    with pytest.raises(RunwayError, match="has no dead letter at 0:3"):
        await runway("show", "0:3")
    with pytest.raises(RunwayError, match="has no dead letter at 5:3"):
        await runway("show", "5:3")
    with pytest.raises(ConfigError, match="'a' is no place"):
        await runway("show", "a")
    with pytest.raises(ConfigError, match="Which dead letters"):
        await runway("replay")
    with pytest.raises(ConfigError, match="Which dead letters"):
        await runway("replay", "0:1", "--reason", "invalid")


async def test_records_that_are_none_are_counted_and_left_out(keep, runway, config):
    async with AIOKafkaProducer(**kafka_client_options(config)) as producer:
        await producer.send_and_wait(config.topic("dead-letters"), b"not one")
    await keep("predictions", 1, b"{")
    told = await runway.json("list")
    assert ([item["place"] for item in told["items"]], told["unreadable"]) == (["0:1"], 1)


async def test_they_go_back_to_where_they_came_from_as_they_were(keep, runway, config):
    headers = [("trace", b"\xff"), ("none", None)]
    await keep("predictions", 5, FRAUD, "not_finite", key=b"a", headers=headers, partition=1)
    await keep("outcomes", 6, None, "empty")
    await keep("outcomes", 7, b"{", "not_json")
    dry = await runway.json("replay", "--topic", "predictions", "--dry-run")
    assert (dry["chosen"], dry["sent"]) == (1, 0)
    assert await records(config, "predictions") == []
    assert (await runway.json("replay", "--topic", "predictions", "--yes"))["sent"] == 1
    assert (await runway.json("replay", "0:1", "--yes"))["sent"] == 1
    (prediction,) = await records(config, "predictions")
    assert (prediction.partition, prediction.key, prediction.value) == (1, b"a", FRAUD)
    assert list(prediction.headers) == [*headers, (HEADER, b"1")]
    (outcome,) = await records(config, "outcomes")
    assert (outcome.partition, outcome.key, outcome.value) == (0, b"k", None)


async def test_it_asks_and_no_is_no(keep, runway, config):
    await keep("predictions", 5, FRAUD)
    refused = await runway("replay", "0:0", input="n\n")
    assert refused.exit_code == 1
    assert "Send 1 dead letters back?" in refused.stderr
    assert await records(config, "predictions") == []
    assert (await runway("replay", "0:0", input="y\n")).stdout.endswith("Sent 1 back.\n")
    assert len(await records(config, "predictions")) == 1


async def test_nothing_goes_round_for_ever(keep, runway, config):
    for replays in range(MAX_REPLAYS + 1):
        await keep("predictions", replays, b"{", headers=[("own", b"1"), *([(HEADER, b"%d" % replays)] if replays else [])])
    await keep("predictions", 99, b"{", headers=[(HEADER, b"many")])
    told = await runway.json("replay", "--reason", "not_json", "--yes")
    assert told["sent"] == MAX_REPLAYS
    assert told["left_out"] == {
        f"was replayed {MAX_REPLAYS} times already": 1,
        f"has a {HEADER} header that is no number": 1,
    }
    sent = await records(config, "predictions")
    assert [list(record.headers) for record in sent] == [
        [("own", b"1"), (HEADER, b"%d" % n)] for n in range(1, MAX_REPLAYS + 1)
    ]


async def test_what_cannot_go_back_is_left_out_with_why(keep, runway, config):
    await keep("predictions", 1, b"x" * (RAW_LIMIT + 1), "too_large")
    await keep("predictions", 2, b"{", headers=[("big", b"x" * (HEADERS_LIMIT + 1))])
    await keep("metrics", 3, b"{")
    await keep("predictions", 4, b"{", partition=2)
    await keep("predictions", 5, b"{")
    await keep("predictions", 5, b"{")
    await keep("predictions", 6, None, "empty", key=None)
    told = await runway.json("replay", *(f"0:{n}" for n in range(8)), "--yes")
    assert told["sent"] == 1
    assert told["left_out"] == {
        "was too large to be kept whole": 2,
        "comes from no topic of events": 1,
        "has neither a key nor a value, which our client does not send": 1,
        "comes from a partition that is not there": 1,
        "is a copy of another, written after a crash": 1,
        "is not there (any more)": 1,
    }
    assert "cut      raw" in (await runway("show", "0:0")).stdout


async def test_more_than_the_limit_is_said(keep, runway):
    for offset in range(3):
        await keep("predictions", offset, b"{")
    told = await runway.json("replay", "--reason", "not_json", "--limit", 2, "--yes")
    assert (told["sent"], told["more"]) == (2, True)


async def test_no_kafka_is_one_sentence(tmp_path):
    runway = Runway(Config(home=tmp_path, bootstrap=f"127.0.0.1:{free_port()}"))
    began = time.monotonic()
    for arguments in (["list"], ["show", "0:1"], ["replay", "0:1"]):
        with pytest.raises(DependencyDown, match="did not answer"):
            await runway(*arguments)
    assert time.monotonic() - began < 60


async def test_a_worker_writes_what_is_needed_to_send_it_again(config, runway):
    from tests.running import caught_up, worker

    async with AIOKafkaProducer(**kafka_client_options(config)) as producer:
        headers = [("trace", b"\x00\xff"), ("none", None)]
        await producer.send_and_wait(config.topic("outcomes"), b"{", key=b"\xfe", partition=1, headers=headers)
        await producer.send_and_wait(config.topic("outcomes"), None, key=b"gone", partition=0)
    with worker(config) as process:
        await caught_up(config, process)
        found = {item["reason"]: item["place"] for item in (await runway.json("list"))["items"]}
        assert (await runway.json("replay", *found.values(), "--yes"))["sent"] == 2
        await caught_up(config, process)
    again = {record.partition: record for record in await records(config, "outcomes")}
    assert (again[1].value, again[1].key, list(again[1].headers)) == (b"{", b"\xfe", [*headers, (HEADER, b"1")])
    assert (again[0].value, again[0].key, list(again[0].headers)) == (None, b"gone", [(HEADER, b"1")])
    replayed = [item for item in (await runway.json("list"))["items"] if item["replays"] == 1]
    assert sorted(item["reason"] for item in replayed) == ["empty", "not_json"]
