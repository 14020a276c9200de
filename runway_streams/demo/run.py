"""`runway demo`, from the first message to the last table."""

import asyncio
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from batch.nightly import run_batch
from runway_streams.config import Config, running_stack
from runway_streams.demo import models, report
from runway_streams.demo.api_client import ApiClient, NotYet
from runway_streams.demo.events import count_events, events
from runway_streams.demo.expected import differences, expected
from runway_streams.demo.flights import airline_names, all_flights, check_range, scheduled, training_flights
from runway_streams.demo.produce import count_dead_letters, produce
from runway_streams.demo.progress import telling, working
from runway_streams.demo.reference import Registration, registrations
from runway_streams.demo.waiting import wait_for
from runway_streams.devstack.stack import Stack
from runway_streams.errors import RunwayError
from runway_streams.ground_truth.speed_rows import speed_reader

MODELS = (models.LATE_MODEL, models.DELAY_MODEL)
DIFFERENCES_SHOWN = 20


@dataclass(frozen=True)
class Prepared:
    """The flights of the chosen days, what the models say of them, and what the registry is told of the models."""

    flights: pa.Table
    said: models.Forecast
    registrations: list[Registration]


@dataclass(frozen=True)
class Demo:
    """One run: its stack, the days it streams, and where it tells people of its progress."""

    stack: Stack
    start: date
    end: date
    console: Console
    api: ApiClient

    def performance(self, model: str, carrier: str | None = None, view: str = "merged") -> dict[str, Any]:
        """What the API says of a model; raises what made the stack give up, if anything did."""
        self.stack.check()
        return self.api.performance(model, self.start, self.end, carrier=carrier, view=view)


def run_demo(config: Config, start: date, end: date, keep: bool, as_json: bool) -> int:
    """Streams the flights scheduled from `start` until before `end`, and reports. Exit code 1: the counts differ.

    Everything lies in a home of its own below `config.home`, emptied first, so that no run sees another's state.
    With `as_json` standard output is the report's one line alone; people read standard error.
    """
    check_range(start, end)
    models.check_installed()
    began = time.monotonic()
    console = Console(stderr=as_json)
    own = Config(home=fresh_home(config.home / "demo"), memory_limit=config.memory_limit)
    with ThreadPoolExecutor(1) as pool:
        preparing = pool.submit(prepare, start, end)  # Kafka starts meanwhile
        console.print("Training two models on the flights of January to March ...")
        with Stack(own, schedule=keep, say=console.print) as stack:
            demo = Demo(stack, start, end, console, ApiClient(stack.api_url, stack.key or ""))
            prepared = preparing.result()
            stream(demo, prepared)
            run_final_batch(demo)
            told = show_report(demo, time.monotonic() - began, keep)
            wrong = check(demo, told, prepared)
            if as_json:
                print(report.one_line(told.document), flush=True)
            if keep:
                console.print(f"Kafka is at {stack.bootstrap}, the API at {stack.api_url}. Ctrl-C ends both.")
                console.print(f"The API's key, an admin's, told this once: {stack.key}", soft_wrap=True)
                stack.wait()
    return 1 if wrong else 0


def fresh_home(home: Path) -> Path:
    """The demo's home, empty. Raises RunwayError while another demo runs in it."""
    if running_stack(home):
        raise RunwayError(f"A demo is running in {home}.", "End it with Ctrl-C where it was started.")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    return home


def prepare(start: date, end: date) -> Prepared:
    """Reads the flights, trains the models, and lets them predict."""
    everything = all_flights()
    training = training_flights(everything)
    trained = models.train(training)
    chosen = scheduled(everything, start, end)
    told = registrations(training, models.forecast(trained, training))
    return Prepared(chosen, models.forecast(trained, chosen), told)


def stream(demo: Demo, prepared: Prepared) -> None:
    """Sends settings and events, and waits until the speed layer has counted each of them."""
    register(demo, prepared.registrations)
    total = count_events(prepared.flights)
    with telling(demo.console, total) as begin:
        sent, joined = begin("Sending predictions and outcomes"), begin("Joined by the speed layer")
        records = events(prepared.flights, prepared.said)
        asyncio.run(produce(demo.stack.config, records, sent))
        wait_for(
            total,
            lambda: sum(_events_counted(demo, model) for model in MODELS),
            joined,
            "Events counted by the speed layer",
        )
    for model in MODELS:
        demo.console.print(report.summary(model, "speed layer", demo.performance(model, view="speed")["totals"]))


def register(demo: Demo, told: list[Registration]) -> None:
    """Registers the models, and waits until the workers have been told how to read their events."""
    with working(demo.console, "Registering the models ..."):
        for each in told:
            demo.api.register(each.model, each.version)
        wait_for(
            len(told),
            lambda: sum(demo.api.is_published(each.model.model_id) for each in told),
            lambda _: None,
            "Models that the workers were told of",
        )


def _events_counted(demo: Demo, model: str) -> int:
    try:
        totals = demo.performance(model, view="speed")["totals"]
    except NotYet:
        return 0
    return totals["predictions"] + totals["joined"] + totals["late"]


def run_final_batch(demo: Demo) -> None:
    """Runs the batch over all that was sent, and waits until the API answers from it."""
    with working(demo.console, "Running the batch ..."):
        run_batch(demo.stack.config, final=True, speed=speed_reader(demo.stack.config))
        wait_for(
            len(MODELS),
            lambda: sum(demo.performance(model)["totals"]["source"] == "batch" for model in MODELS),
            lambda _: None,
            "Models that the API answers for from the batch",
        )


@dataclass(frozen=True)
class Told:
    """The report as a document, and each airline's performance by model."""

    document: dict[str, Any]
    carriers: dict[str, dict[str, Any]]


def show_report(demo: Demo, seconds: float, keep: bool) -> Told:
    """Asks the API for everything, and prints it."""
    names = airline_names()
    found = {model: report.performance(demo.performance(model)) for model in MODELS}
    carriers = {
        code: {model: report.performance(demo.performance(model, code)) for model in MODELS} for code in sorted(names)
    }
    carriers = {code: by for code, by in carriers.items() if by[models.LATE_MODEL]["predictions"]}
    demo.console.print(report.tables(found, carriers, names))
    dead_letters = asyncio.run(count_dead_letters(demo.stack.config))
    demo.console.print(report.last_line(dead_letters, seconds, demo.stack.api_url if keep else None))
    return Told(report.document(found, dead_letters, seconds, demo.stack.api_url), carriers)


def check(demo: Demo, told: Told, prepared: Prepared) -> list[str]:
    """Compares every number with its own count from the CSV; returns and prints what differs."""
    found = {
        model: numbers
        | {"days": {day["date"]: day for day in numbers["days"]}}
        | {"carriers": {code: by[model] for code, by in told.carriers.items()}}
        for model, numbers in told.document["models"].items()
    }
    wrong = differences(found, expected(prepared.flights, prepared.said))
    if not wrong:
        demo.console.print("The counts equal the CSV: each model in all, by day and by airline.", style="green")
    for sentence in wrong[:DIFFERENCES_SHOWN]:
        demo.console.print(sentence, style="red")
    if len(wrong) > DIFFERENCES_SHOWN:
        demo.console.print(f"... and {len(wrong) - DIFFERENCES_SHOWN} more differences.", style="red")
    return wrong
