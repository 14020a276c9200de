"""The documentation against the code: what it links, names, lists and tabulates is there, and is as it says."""

import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest
import typer
import yaml
from typer.testing import CliRunner

from api.models import FILTERS
from api.problems import REFUSALS
from api.routes import ROUTES
from runway_streams.cli import app
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.labels import canonical_label
from runway_streams.ground_truth.readings import Reading, read_prediction
from runway_streams.ground_truth.settings import Settings
from schemas.prediction import Prediction

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TICKS = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = "schemas|runway_streams|agents|tables|batch|api|tests|benches|scripts|docs"


def text(name: str) -> str:
    return (ROOT / name).read_text()


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def code(page: Path) -> list[str]:
    """Every line of fenced blocks that are no output, and all inline code."""
    blocks = [block for language, block in FENCE.findall(page.read_text()) if language in ("sh", "console", "")]
    return [line.strip() for block in blocks for line in block.splitlines()] + TICKS.findall(prose(page))


def table(page: str, mark: str) -> list[list[str]]:
    """The rows of the table below `<!-- mark -->`, heading left out."""
    lines = text(page).split(f"<!-- {mark} -->\n", 1)[1].split("\n\n", 1)[0].splitlines()
    return [cells(line) for line in lines[2:]]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" |")]


def unquoted(cell: str) -> str:
    return cell.strip().removeprefix("`").removesuffix("`")


def anchors(page: Path) -> set[str]:
    """As GitHub and mkdocs make them; the architecture's page includes the file at the root."""
    body = prose(page) + (text("ARCHITECTURE.md") if page.name == "architecture.md" else "")
    headings = re.findall(r"^#+ (.+)$", body, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


# -- links and names ------------------------------------------------------------------------------------------------


@pages
def test_links_resolve(page: Path):
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pages
def test_files_and_tests_that_are_named_exist(page: Path):
    for name in code(page):
        found = re.fullmatch(rf"((?:{FOLDERS})/[\w./*-]*)(?:::(\w+))?", name)
        if found:
            path, test = found.groups()
            paths = list(ROOT.glob(path.rstrip("/")))
            assert paths, name
            assert not test or f"def {test}(" in paths[0].read_text(), name


def test_every_page_is_in_the_navigation():
    nav = yaml.load(text("mkdocs.yml").replace("!!python/name:", ""), Loader=yaml.SafeLoader)["nav"]
    listed = re.findall(r"[\w./-]+\.md", str(nav))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


# -- the command line -----------------------------------------------------------------------------------------------


def runway_lines(page: Path) -> list[list[str]]:
    """The arguments of every `runway ...` in the page's code."""
    found = []
    for line in code(page):
        command = re.match(
            r"(?:\$ )?(?:\w+=\S+ )*(?:export [^&]*&& )?(?:uv run )?runway( .*)?$", line.split("  #")[0].strip()
        )
        if command:
            found.append(shlex.split(command[1] or ""))
    return found


@pages
def test_commands_and_options_exist(page: Path):
    for arguments in runway_lines(page):
        group, path, rest = typer.main.get_command(app), [], list(arguments)
        while hasattr(group, "commands") and rest and not rest[0].startswith("-") and rest[0] != "...":
            path.append(rest.pop(0))
            assert path[-1] in group.commands, arguments
            group = group.commands[path[-1]]
        known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
            "--help"
        }
        assert {word for word in rest if word.startswith("-")} <= known, arguments


def test_every_command_is_documented():
    group = typer.main.get_command(app)
    said = {tuple(arguments[:depth]) for page in PAGES for arguments in runway_lines(page) for depth in (1, 2)}
    for name, command in group.commands.items():
        for path in [(name, inner) for inner in getattr(command, "commands", {})] or [(name,)]:
            assert path in said, path


@pages
def test_console_blocks_run(page: Path):
    blocks = [block for language, block in FENCE.findall(page.read_text()) if language == "console"]
    for line in (line for block in blocks for line in block.splitlines() if line.startswith("$ ")):
        program, *arguments = shlex.split(line[2:])
        assert program == "runway"
        assert arguments[-1] == "--help", f"{line}: only help is run here"
        assert CliRunner().invoke(app, arguments).exit_code == 0, line


# -- lists that must be complete --------------------------------------------------------------------------------------


def test_every_variable_is_documented_and_every_documented_one_exists():
    variable = re.compile(r"\bRUNWAY_[A-Z0-9_]*[A-Z0-9]\b")
    sources = ("config", "kafka_security", "metaflow_settings", "mlflow_settings")
    known = set(variable.findall("".join(text(f"runway_streams/{name}.py") for name in sources)))
    assert {
        unquoted(cells(line)[0]) for line in text("docs/operate.md").splitlines() if line.startswith("| `RUNWAY_")
    } == known
    for page in PAGES:
        assert set(variable.findall(page.read_text())) <= known, page


def test_every_route_is_documented():
    endpoint = re.compile(r"\| `((?:GET|POST|PUT|PATCH|DELETE)(?:, \w+)*) (/\S+)` \|")
    rows = [endpoint.match(line) for line in text("docs/contracts.md").splitlines()]
    said = {(method, row[2]) for row in rows if row for method in row[1].split(", ")}
    assert said == {(method, route.path.replace(":path", "")) for route in ROUTES for method in route.allowed}


def test_every_problem_is_documented():
    raised = re.compile(r'(?:Problem\(|bad_request\(|problem_response\()\s*(?:request, )?(?:(\d{3}),\s+)?"([a-z_-]+)"')
    known = {
        (slug, status or "400")
        for file in (ROOT / "api").glob("*.py")
        for status, slug in raised.findall(re.sub(r">>>.*", "", file.read_text()))
    }
    known |= {(slug, str(status)) for status, slug in REFUSALS.values()}
    sources = "".join(file.read_text() for file in (ROOT / "api").glob("*.py"))
    filters = FILTERS | set(re.findall(r'parse_filter\(request, "(\w+)"\)', sources))
    known |= {(f"bad-{name}", "400") for name in filters}
    rows = re.findall(r"^\| ((?:`[a-z_-]+`(?:, )?)+) \| (\d{3}) \|", text("docs/contracts.md"), re.MULTILINE)
    assert {(slug, status) for slugs, status in rows for slug in TICKS.findall(slugs)} == known


def test_every_reason_of_a_dead_letter_is_documented():
    source = text("runway_streams/ground_truth/events.py")
    known = set(re.findall(r'_Unusable\("(\w+)"', source)) | set(re.findall(r'reason, detail = "(\w+)"', source))
    section = text("docs/contracts.md").split("## Dead letters")[1].split("## ")[0]
    assert {unquoted(cells(line)[0]) for line in section.splitlines() if line.startswith("| `")} == known


def test_metrics_that_are_documented_are_shown():
    source = text("runway_streams/telemetry.py") + text("runway_streams/worker_web.py")
    shown = set(re.findall(r'"(runway_[a-z_]+)"', source))
    for name in re.findall(r"`(runway_[a-z_]+)`", text("docs/operate.md").split("## Metrics")[1]):
        assert name in shown or name.removesuffix("_total") in shown, name


def test_every_field_of_the_slim_tier_is_documented():
    said = set(re.findall(r"`(\w+)`", text("docs/numbers.md")))
    assert {name for name in slim.FIELDS if not name.startswith("delay_")} <= said
    assert {slim.DELAYS[0], slim.DELAYS[-1]} <= said


def test_bounds_are_where_the_table_says():
    rows = [cells(line) for line in text("docs/scale.md").splitlines() if re.search(r"\| `\w+` \| `[\w/]+\.py` \|$", line)]
    assert len(rows) > 40
    for *_, constant, file in rows:
        assigned = rf"^ *{unquoted(constant)}(: \w+)? = "
        assert re.search(assigned, text(unquoted(file)), re.MULTILINE), constant


# -- the tables of labels and readings --------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "label"), table("docs/contracts.md", "labels"))
def test_a_row_of_the_table_of_labels(given: str, label: str):
    assert canonical_label(json.loads(unquoted(given))) == unquoted(label)


@pytest.mark.parametrize(
    ("prediction", "task", "settings", "label", "score", "value"), table("docs/contracts.md", "readings")
)
def test_a_row_of_the_table_of_readings(prediction: str, task: str, settings: str, label: str, score: str, value: str):
    event = f'{{"prediction_id": "p", "model_id": "m", "timestamp": 1, "prediction": {unquoted(prediction)}}}'
    said = msgspec.json.decode(event, type=Prediction).prediction
    given: dict = dict(word.split("=") for word in settings.split())
    if "threshold" in given:
        given["threshold"] = float(given["threshold"])
    read = read_prediction(said, Settings("m", task=None if task == "none" else task, **given))
    if label == "bad":
        assert (read.label, read.score, read.value) == (None, None, None)
        return
    assert read == Reading(
        label=unquoted(label) or None,
        score=float(score) if score else None,
        scores=read.scores,
        value=float(value) if value else None,
        lower=read.lower,
        upper=read.upper,
    )
