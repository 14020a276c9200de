"""`runway lineage`: what models are made from and who uses them, as a tree; impact, loops and incidents."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from runway_streams.cli.common import AsJson, escape, load_config, print_json, print_table, read_document, say
from runway_streams.cli.registry_client import registry_client, run
from runway_streams.dependency.walk import DEFAULT_DEPTH

app = typer.Typer(help="See what models are made from, who uses them, and what a change reaches.", no_args_is_help=True)

NodeName = Annotated[
    str, typer.Argument(help="dataset:NAMESPACE/NAME, feature:..., model:ID, model:ID@VERSION; a bare name is a model's.")
]
Way = Annotated[Literal["upstream", "downstream"], typer.Option(help="What it is made from, or what uses it.")]
Depth = Annotated[int, typer.Option(help="How many edges away.", min=1, max=50)]
AsOf = Annotated[str | None, typer.Option("--as-of", help="The moment whose lineage is asked for, such as 2026-11-22.")]
Types = Annotated[str | None, typer.Option("--type", help="Only nodes of these types, separated by commas.")]
MAX_SHOWN = 500
"""Nodes of a tree; more than that nobody reads."""
STYLES = {"model": "bold cyan", "version": "cyan", "feature": "green", "dataset": "yellow", "consumer": "magenta"}


@app.command()
def show(
    node: NodeName, direction: Way = "upstream", depth: Depth = DEFAULT_DEPTH, as_of: AsOf = None, as_json: AsJson = False
) -> None:
    """Draw what a model, or anything else, is made from; or what uses it, with --direction downstream.

    Example: runway lineage show fraud
    """
    found = _ask(node, direction, depth, as_of, None)
    if not _is_to_be_shown(found, as_json):
        return
    draw(found)
    _tell_limits(found)


@app.command()
def impact(
    node: NodeName, depth: Depth = DEFAULT_DEPTH, as_of: AsOf = None, types: Types = "model", as_json: AsJson = False
) -> None:
    """List what a change of a node reaches, the most critical first; models by default.

    Example: runway lineage impact dataset:warehouse/transactions
    """
    found = _ask(node, "downstream", depth, as_of, types)
    if not _is_to_be_shown(found, as_json):
        return
    rows = [
        (each["id"], each["criticality"], each["owner"], str(each["distance"]), " > ".join(each["path"]))
        for each in found["items"]
    ]
    print_table(
        ("node", "criticality", "owner", "away", "path"), rows, empty=f"Nothing that is known of uses {found['node']}."
    )
    _tell_limits(found)


@app.command()
def cycles(as_json: AsJson = False) -> None:
    """List loops: models whose predictions come back as their training data, first.

    Example: runway lineage cycles
    """
    found = _get("/v1/lineage/cycles")
    if not _is_to_be_shown(found, as_json):
        return
    rows = [("yes" if each["feedback"] else "", str(each["size"]), " > ".join(each["path"])) for each in found["items"]]
    print_table(("feedback", "nodes", "loop"), rows, empty="There are no loops.")
    _tell_limits(found)


@app.command()
def incidents(as_json: AsJson = False) -> None:
    """List what is at risk, folded to what explains it.

    Example: runway lineage incidents
    """
    found = _get("/v1/incidents")
    if not _is_to_be_shown(found, as_json):
        return
    rows = [
        (each["root"], each["state"], each["since"], " ".join(one["id"] for one in each["members"]))
        for each in found["items"]
    ]
    print_table(("root", "state", "since", "explains"), rows, empty="Nothing is at risk.")
    if found["degraded"]:
        say("The lineage graph does not answer now: each that is at risk is shown by itself.")
    else:
        _tell_limits(found)


@app.command()
def find(
    text: Annotated[str, typer.Argument(help="A part of the name.")], types: Types = None, as_json: AsJson = False
) -> None:
    """List nodes whose name contains a text.

    Example: runway lineage find transactions --type dataset
    """
    found = _get("/v1/lineage/nodes", q=text, type=types)
    if not _is_to_be_shown(found, as_json):
        return
    rows = [(each["id"], str(each["facts"].get("title") or "")) for each in found["items"]]
    print_table(("node", "title"), rows, empty=f"No node's name contains {text!r}.")
    _tell_limits(found)


@app.command()
def export(
    node: NodeName,
    direction: Way = "upstream",
    depth: Depth = DEFAULT_DEPTH,
    as_of: AsOf = None,
    form: Annotated[
        Literal["dot", "openlineage"], typer.Option("--format", help="For Graphviz, or OpenLineage's events.")
    ] = "dot",
) -> None:
    """Write what lies in a direction from a node as Graphviz or another catalogue reads it.

    Example: runway lineage export fraud | dot -Tsvg -o fraud.svg
    """

    async def work() -> str:
        parameters = {"node": _full(node), "direction": direction, "depth": depth, "as_of": as_of, "format": form}
        given = {name: value for name, value in parameters.items() if value is not None}
        async with registry_client(load_config()) as client:
            return (await client.ask("GET", "/v1/lineage/export", params=given)).text

    typer.echo(run(work()), nl=form != "dot")


@app.command()
def declare(
    file: Annotated[Path, typer.Option("-f", "--file", help="A JSON or YAML file: edges, nodes, whole_inputs, reporter.")],
    as_json: AsJson = False,
) -> None:
    """Declare edges that nothing tells of by itself, such as the dashboards that read a model's predictions.

    Example: runway lineage declare -f lineage.yaml
    """
    document = read_document(file)

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            return await client.send("POST", "/v1/lineage/declarations", document)

    found = run(work())
    if as_json:
        print_json(found)
    else:
        where = "are in the graph" if found["in_graph"] else "are kept until the graph answers again"
        say(f"{found['edges']} edges {where}.")


def draw(found: dict[str, Any]) -> None:
    """Prints a page of lineage as a tree; each node once, below the one by which it was reached."""
    from rich.console import Console
    from rich.tree import Tree

    root = Tree(_label(found["node"], None))
    branches = {found["node"]: root}
    for each in sorted(found["items"], key=lambda one: (one["distance"], one["id"])):
        # Of a part of the graph, what lies between may be missing.
        above = next(node for node in reversed(each["path"][:-1]) if node in branches)
        branches[each["id"]] = branches[above].add(_label(each["id"], each["edges"][-1]))
    Console().print(root)
    if not found["items"]:
        say("Nothing is known there.")


def _get(path: str, **parameters: Any) -> dict[str, Any]:
    async def work() -> Any:
        async with registry_client(load_config()) as client:
            return await client.get(path, limit=200, **parameters)

    return run(work())


def _label(node: str, edge: dict[str, Any] | None) -> str:
    kind = "version" if node.startswith("model:") and "@" in node else node.partition(":")[0]
    style = STYLES.get(kind)
    name = f"[{style}]{escape(node)}[/]" if style else escape(node)
    if edge is None:
        return name
    sure = "" if edge["confidence"] == 1 else f", {edge['confidence']:.0%}"
    return f"{name} [dim]{edge['kind']}, {edge['source']}{sure}[/]"


def _ask(node: str, direction: str, depth: int, as_of: str | None, types: str | None) -> dict[str, Any]:
    name = _full(node)

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            asked = {"node": name, "direction": direction, "depth": depth, "as_of": as_of, "type": types}
            found = await client.get("/v1/impact", limit=200, **asked)
            page = found
            while page["next_cursor"] and len(found["items"]) < MAX_SHOWN:
                page = await client.get("/v1/impact", limit=200, cursor=page["next_cursor"], **asked)
                found["items"] += page["items"]
            return found | {"next_cursor": page["next_cursor"]}

    return run(work())


def _full(node: str) -> str:
    return node if ":" in node else f"model:{node}"


def _is_to_be_shown(found: dict[str, Any], as_json: bool) -> bool:
    """Whether there is an answer to be drawn; else all is said: the document, or that there is none."""
    if as_json:
        print_json(found)
    elif found["answered_at"] is None:
        say("The lineage graph does not answer now, and nobody has asked this before: ask again later.")
    return not as_json and found["answered_at"] is not None


def _tell_limits(found: dict[str, Any]) -> None:
    if found["degraded"]:
        say(f"The lineage graph does not answer now; this is what it said at {found['answered_at']}.")
    if found.get("next_cursor"):
        say(
            f"There is more: {found.get('blast_radius', {}).get('nodes', 'many')} nodes in all. Ask for less depth or one type."
        )
    if found.get("stopped"):
        say(f"The search ended early, at its limit of {found['stopped']}: there may be more.")
    if found.get("whole") is False and not found["degraded"]:
        say("The graph is too large to be searched whole: there may be more.")
