"""`/v1/incidents`: what ails now, folded to what explains it."""

from starlette.requests import Request
from starlette.responses import Response

from api.documents import answer
from api.lineage_questions import parse_depth
from api.pages import Whole, parse_page
from runway_streams.dependency.incident import AILING, Condition, Incident
from runway_streams.dependency.node import model_node
from runway_streams.dependency.refusals import BadNode
from runway_streams.registry import statuses
from runway_streams.times import format_time
from schemas.lineage import IncidentItem, IncidentMember, IncidentPage


async def get_incidents(request: Request) -> Response:
    """`GET`: the incidents, the one that explains most first. Without the graph each that ails is one of its own."""
    state = request.app.state
    page = parse_page(request, tuple[Whole], {"depth"})
    depth = parse_depth({"depth": "10", **request.query_params})
    async with state.registry.read() as connection:
        judged = await statuses.judged(connection)
    conditions = conditions_of(judged)
    found = await state.lineage.incidents(conditions, depth)
    incidents, whole = found.found or (alone(conditions), False)
    begin = page.after[0] if page.after else 0
    numbered = list(enumerate(incidents))[begin : begin + page.limit + 1]
    items, cursor = page.cut(numbered, lambda one: [one[0] + 1])
    told = IncidentPage(
        items=[_item(incident) for _, incident in items],
        next_cursor=cursor,
        whole=whole,
        answered_at=format_time(state.now()),
        degraded=["lineage"] if found.degraded else [],
    )
    return answer(told)


def conditions_of(judged: list[statuses.Judged]) -> dict[str, Condition]:
    """How versions do, as the graph names them; a name that no node can have is left out."""
    found = {}
    for one in judged:
        try:
            found[str(model_node(one.model_id, one.version))] = Condition(one.status, one.since)
        except BadNode:
            continue
    return found


def alone(conditions: dict[str, Condition]) -> list[Incident]:
    """What ails, nothing of it explained.

    >>> [one.root for one in alone({"model:a@1": Condition("AT_RISK"), "model:b@1": Condition("HEALTHY")})]
    ['model:a@1']
    """
    ailing = {node: told for node, told in sorted(conditions.items()) if told.state in AILING}
    return [Incident(node, told.state, told.since, told.severity, [], {}) for node, told in ailing.items()]


def _item(incident: Incident) -> IncidentItem:
    members = [IncidentMember(id=node, path=incident.paths[node]) for node in incident.members]
    return IncidentItem(
        root=incident.root, state=incident.state, since=format_time(incident.since), models=incident.models, members=members
    )
