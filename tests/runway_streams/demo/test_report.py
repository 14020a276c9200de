import io
import json

from rich.console import Console

from runway_streams.demo import report
from runway_streams.demo.models import DELAY_MODEL, LATE_MODEL


def row(**more):
    return {"predictions": 10, "joined": 7, "late": 1, "source": "batch", "metrics": {}} | more


def item(day, **more):
    return row(start=f"{day}T00:00:00Z", end=f"{day}T23:59:59Z", version=None, **more)


CONFUSION = {"confusion": {"labels": ["on_time", "late"], "matrix": [[5, 1], [1, 1]]}, "tp": 1, "fp": 1, "fn": 1, "tn": 5}
ACCURACY = {
    "accuracy": {"value": 0.75, "n": 8, "ci": [0.41, 0.93]},
    "precision": {"value": 0.5, "n": 2, "ci": [0.1, 0.9]},
}
LATE = {
    "model_id": LATE_MODEL,
    "items": [
        item("2013-04-01", metrics=ACCURACY, **CONFUSION),
        item("2013-04-02", predictions=0, joined=0, late=0, source="batch"),
    ],
    "totals": row(metrics=ACCURACY, **CONFUSION),
}
MAE = {"mae": {"value": 21.26, "n": 8}}
DELAY = {
    "model_id": DELAY_MODEL,
    "items": [item("2013-04-01", metrics=MAE, source="mixed")],
    "totals": row(metrics=MAE),
}


def models():
    return {LATE_MODEL: report.performance(LATE), DELAY_MODEL: report.performance(DELAY)}


def rendered(part, width=80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(part)
    return console.file.getvalue()


def test_the_json_document():
    told = json.loads(report.one_line(report.document(models(), 3, 61.26, "http://127.0.0.1:1")))
    assert (told["dead_letters"], told["seconds"], told["api"]) == (3, 61.3, "http://127.0.0.1:1")
    late = told["models"][LATE_MODEL]
    assert (late["predictions"], late["outcomes"], late["joined"], late["late"]) == (10, 8, 7, 1)
    assert late["confusion"] == {"tp": 1, "fp": 1, "fn": 1, "tn": 5}
    assert late["metrics"]["accuracy"]["value"] == 0.75
    assert told["models"][DELAY_MODEL]["confusion"] is None


def test_the_document_is_one_line():
    assert "\n" not in report.one_line(report.document(models(), 0, 1, ""))


def test_days_without_predictions_are_left_out():
    [day] = report.performance(LATE)["days"]
    assert day["date"] == "2013-04-01"
    assert {"date", "predictions", "outcomes", "joined", "late", "metrics", "source"} <= day.keys()


def test_the_tables():
    text = rendered(report.tables(models(), {"UA": models()}, {"UA": "United Air Lines Inc."}))
    [day] = [line.split() for line in text.splitlines() if "2013-04-01" in line]
    assert day == ["2013-04-01", "10", "8", "0.750", "0.500", "-", "21.3", "mixed"]
    assert "United" in text
    assert "All airlines" in text


def test_an_api_that_stops_is_not_offered():
    line = report.last_line(1_234, 45.6, None)
    assert line == "1,234 dead letters, 46 seconds. The API stops with the demo; `runway demo --keep` keeps it."


def test_a_narrow_terminal_cuts_no_number():
    many = row(predictions=336_776, joined=327_245, late=101, metrics=ACCURACY, **CONFUSION)
    year = {LATE_MODEL: report.performance({"items": [], "totals": many}), DELAY_MODEL: models()[DELAY_MODEL]}
    text = rendered(report.tables(year, {"FL": year}, {"FL": "AirTran Airways Corporation"}))
    assert "…" not in text
    assert text.count("336,776") == 3
    assert max(map(len, text.splitlines())) <= 80


def test_the_summary_of_a_layer():
    assert report.summary(LATE_MODEL, "speed layer", LATE["totals"]) == (
        "nyc-arrival-late by the speed layer: 10 predictions, 7 joined, 1 outcome after the window, accuracy 0.750."
    )
