"""`/v1/audit`: every change, who made it and when, newest first."""

from starlette.requests import Request
from starlette.responses import Response

from api.documents import answer
from api.pages import parse_filter, parse_page
from runway_streams.registry import audit_log
from runway_streams.times import format_time
from schemas.answers import AuditItem, AuditPage


async def get_audit(request: Request) -> Response:
    """`GET`: a page of changes; `model_id` chooses those of one model."""
    page = parse_page(request, tuple[int], {"model_id"})
    model_id = parse_filter(request, "model_id")
    before = page.after[0] if page.after else None
    async with request.app.state.registry.read() as connection:
        found = await audit_log.page(connection, page.limit + 1, before, model_id)
    notes, cursor = page.cut(found, lambda note: [note.seq])
    items = [
        AuditItem(
            seq=note.seq,
            at=format_time(note.at),
            actor=note.actor,
            action=note.action,
            model_id=note.model_id,
            target=note.target,
            before=note.before,
            after=note.after,
        )
        for note in notes
    ]
    return answer(AuditPage(items=items, next_cursor=cursor))
