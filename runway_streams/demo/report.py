"""The demo's report: from the answers of the merged performance API to tables for people and one JSON document."""

from collections.abc import Iterable
from typing import Any

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from runway_streams.demo.models import DELAY_MODEL, LATE_MODEL

Answer = dict[str, Any]
"""The body of GET /v1/models/{id}/performance at a granularity of a day."""

COLUMNS = ("Predictions", "With\noutcome", "Accuracy", "Precision", "Recall", "MAE\n(min)", "Layer")
CONFUSION = ("tp", "fp", "fn", "tn")


def performance(answer: Answer) -> Answer:
    """One model's part of the report; days without a prediction are left out."""
    days = [{"date": item["start"][:10]} | _numbers(item) for item in answer["items"] if item["predictions"]]
    return _numbers(answer["totals"]) | {"days": days}


def _numbers(row: Answer) -> Answer:
    """What every row tells. An outcome in the merged view has a prediction: it joined it, or came too late to.

    >>> _numbers({"predictions": 5, "joined": 3, "late": 1, "metrics": {}, "source": "batch"})["outcomes"]
    4
    """
    return {
        "predictions": row["predictions"],
        "outcomes": row["joined"] + row["late"],
        "joined": row["joined"],
        "late": row["late"],
        "metrics": row["metrics"],
        "confusion": {name: row[name] for name in CONFUSION} if "tp" in row else None,
        "source": row["source"],
    }


def document(models: dict[str, Answer], dead_letters: int, seconds: float, api: str) -> Answer:
    """The whole report, as `--json` prints it."""
    return {"models": models, "dead_letters": dead_letters, "seconds": round(seconds, 1), "api": api}


def one_line(report: Answer) -> str:
    """The report as one line of JSON, for the end of standard output.

    >>> one_line({"models": {}, "dead_letters": 0})
    '{"models":{},"dead_letters":0}'
    """
    return orjson.dumps(report).decode()


def summary(model: str, layer: str, totals: Answer) -> str:
    """One sentence of what a layer has of a model.

    >>> summary("m", "speed layer", {"predictions": 4, "joined": 2, "late": 1, "metrics": {"mae": {"value": 7.25}}})
    'm by the speed layer: 4 predictions, 2 joined, 1 outcome after the window, mean absolute error 7.2 minutes.'
    """
    late = f"{totals['late']:,} outcome{'s' if totals['late'] != 1 else ''} after the window"
    quality = f"mean absolute error {_minutes(totals['metrics'])} minutes"
    if "accuracy" in totals["metrics"]:
        quality = f"accuracy {_share(totals['metrics'], 'accuracy')}"
    counts = f"{totals['predictions']:,} predictions, {totals['joined']:,} joined, {late}"
    return f"{model} by the {layer}: {counts}, {quality}."


def tables(models: dict[str, Answer], carriers: dict[str, dict[str, Answer]], names: dict[str, str]) -> RenderableType:
    """A table of days and one of airlines; `carriers` has each airline's performance by model."""
    late, delay = models[LATE_MODEL], models[DELAY_MODEL]
    delays = {day["date"]: day for day in delay["days"]}
    days = [(day["date"], day, delays[day["date"]]) for day in late["days"]]
    airlines = [(f"{code} {names.get(code, '')}", by[LATE_MODEL], by[DELAY_MODEL]) for code, by in carriers.items()]
    return Group(
        "",
        _table("By day of scheduled departure (UTC)", "Day", days, total=("All days", late, delay)),
        "",
        _table("By airline", "Airline", airlines, total=("All airlines", late, delay)),
        "",
    )


def last_line(dead_letters: int, seconds: float, api: str | None) -> str:
    """What stands below the tables; `api` is None where the demo stops it.

    >>> last_line(0, 41.2, "http://127.0.0.1:8000")
    '0 dead letters, 41 seconds. The API is at http://127.0.0.1:8000'
    """
    where = f"The API is at {api}" if api else "The API stops with the demo; `runway demo --keep` keeps it."
    return f"{dead_letters:,} dead letters, {seconds:.0f} seconds. {where}"


def _table(title: str, key: str, rows: Iterable[tuple[str, Answer, Answer]], total: tuple[str, Answer, Answer]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), show_edge=False)
    table.add_column(key)  # the one column that gives way on a narrow terminal: no number is ever cut
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(*row))
    table.add_section()
    table.add_row(*_cells(*total), style="bold")
    return table


def _cells(name: str, late: Answer, delay: Answer) -> list[str]:
    """One row: the label's measures are of `nyc-arrival-late`, the minutes of `nyc-arrival-delay`."""
    shares = [_share(late["metrics"], metric) for metric in ("accuracy", "precision", "recall")]
    layer = late["source"] if late["source"] == delay["source"] else "mixed"
    return [name, f"{late['predictions']:,}", f"{late['outcomes']:,}", *shares, _minutes(delay["metrics"]), layer]


def _share(metrics: Answer, name: str) -> str:
    """A metric between 0 and 1, or a dash where it is not defined.

    >>> _share({"recall": {"value": 0.1234, "n": 9}}, "recall"), _share({}, "recall")
    ('0.123', '-')
    """
    value = (metrics.get(name) or {}).get("value")
    return "-" if value is None else f"{value:.3f}"


def _minutes(metrics: Answer) -> str:
    value = (metrics.get("mae") or {}).get("value")
    return "-" if value is None else f"{value:.1f}"
