"""`/api/v1/lineage`: events of OpenLineage, at the path and in the ways in which its clients send them."""

from starlette.requests import Request
from starlette.responses import Response

from api.documents import answer
from api.packed_bodies import read_packed_body
from api.problems import bad_request
from runway_streams.dependency.openlineage.event import split_batch
from runway_streams.dependency.openlineage.intake import OpenLineageIntake, Taken
from runway_streams.dependency.refusals import BadReport
from schemas.openlineage import MAX_EVENT_BYTES
from schemas.openlineage_answers import BatchAnswer, BatchSummary, EventAnswer, EventNote, FailedEvent

EVENT = "/api/v1/lineage"
"""Where every client sends to, unless it is told otherwise."""
BATCH = "/api/v1/lineage/batch"
MAX_BATCH_BYTES = 2 * MAX_EVENT_BYTES
"""Bytes of a batch, unpacked."""


async def post_event(request: Request) -> Response:
    """`POST /api/v1/lineage`: takes one event: 201 once it is in the graph, 202 while it waits for it; 400 for half an event.
    The answer names what of it was left out."""
    taken = await _intake(request).take([await read_packed_body(request, MAX_EVENT_BYTES)])
    if taken.refused:
        raise bad_request("invalid-event", taken.refused[0].reason)
    return answer(EventAnswer([one.note for one in taken.notes]), 201 if taken.in_graph else 202)


async def post_batch(request: Request) -> Response:
    """`POST /api/v1/lineage/batch`: takes an array of events. A bad one does not spoil the others: 200 where all were taken,
    207 where some were, 400 where none was; the answer names those that were not."""
    body = await read_packed_body(request, MAX_BATCH_BYTES)
    try:
        events = split_batch(body)
    except BadReport as error:
        raise bad_request("invalid-batch", str(error)) from None
    taken = await _intake(request).take(events)
    told = batch_answer(taken)
    return answer(told, {"success": 200, "partial_success": 207, "failure": 400}[told.status])


def batch_answer(taken: Taken) -> BatchAnswer:
    """What became of a batch, as a document.

    >>> batch_answer(Taken(2, [])).status, batch_answer(Taken(0, [])).status
    ('success', 'success')
    """
    failed = [FailedEvent(one.index, one.reason) for one in taken.refused]
    summary = BatchSummary(taken.received, taken.received - len(failed), len(failed))
    status = "success" if not failed else "partial_success" if summary.successful else "failure"
    return BatchAnswer(status, summary, failed, [EventNote(one.index, one.note) for one in taken.notes])  # type: ignore[arg-type]


def _intake(request: Request) -> OpenLineageIntake:
    return request.app.state.openlineage
