"""`/v1/models/{model_id}/rules`: when versions move by themselves, and why they did or did not."""

from starlette.requests import Request
from starlette.responses import Response

from api.auth import require
from api.documents import answer, if_match, read_document
from api.pages import parse_filter, parse_page
from runway_streams.registry import catalog, promotion, rule_store, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.rule_store import RulesRevision
from runway_streams.times import format_time
from schemas.answers import DryRun, EvaluationItem, EvaluationPage, RulesDocument, VerdictItem
from schemas.requests import NewDryRun
from schemas.rules import RuleSet


async def get_rules(request: Request) -> Response:
    """`GET .../rules`."""
    async with request.app.state.registry.read() as connection:
        return _answer(await rule_store.get(connection, request.path_params["model_id"]))


async def put_rules(request: Request) -> Response:
    """`PUT .../rules`: puts others in their place; the next scan tries them, within a minute."""
    registry: Registry = request.app.state.registry
    revision = if_match(request)
    document = await read_document(request, RuleSet)
    model_id = request.path_params["model_id"]
    async with registry.change(require(request, "owner").name) as change:
        require(request, "owner", (await catalog.get(change.connection, model_id, lock=True)).model.owner)
        found = await rule_store.put(change, model_id, document, revision)
    return _answer(found)


async def post_dry_run(request: Request) -> Response:
    """`POST .../rules/dry-run`: what rules would do to a version now; nothing is moved or written down."""
    state = request.app.state
    document = await read_document(request, NewDryRun)
    model_id = request.path_params["model_id"]
    async with state.registry.read() as connection:
        own = await rule_store.get(connection, model_id)
        rules = own.rules if document.rules is None else RuleSet(document.rules)
        compiled = rule_store.compiled(rules)
        entry = await versions.get(connection, model_id, document.version)
    trial = promotion.try_rules(entry, compiled, await state.scans.live(entry, compiled))
    verdicts = [
        VerdictItem(
            rule=one.rule.name,
            from_=one.rule.from_,
            to=one.rule.to,
            outcome=one.verdict.outcome,
            reason=one.verdict.reason,
            facts=one.verdict.values,
        )
        for one in trial.tried
    ]
    return answer(DryRun(version=document.version, stage=entry.stage, verdicts=verdicts, move_to=trial.to))


async def get_evaluations(request: Request) -> Response:
    """`GET .../evaluations`: newest first; `version` chooses those of one."""
    page = parse_page(request, tuple[int], {"version"})
    version = parse_filter(request, "version")
    model_id = request.path_params["model_id"]
    before = page.after[0] if page.after else None
    async with request.app.state.registry.read() as connection:
        await catalog.get(connection, model_id)
        found = await rule_store.evaluations_of(connection, model_id, page.limit + 1, before, version)
    evaluations, cursor = page.cut(found, lambda each: [each.seq])
    items = [
        EvaluationItem(
            seq=each.seq,
            at=format_time(each.at),
            version=each.version,
            rule=each.rule,
            outcome=each.outcome,
            reason=each.reason,
            facts=each.facts,
        )
        for each in evaluations
    ]
    return answer(EvaluationPage(items=items, next_cursor=cursor))


def _answer(found: RulesRevision) -> Response:
    return answer(RulesDocument(rules=found.rules.rules, revision=found.revision), revision=found.revision)
