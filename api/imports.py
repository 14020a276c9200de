"""`/v1/imports/mlflow`: how the import from MLflow stands; and its webhook, by which MLflow says that a model has changed."""

import asyncio
import logging
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from api.documents import answer
from api.problems import Problem
from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from runway_streams.registry.mlflow.importer import MlflowImport
from runway_streams.registry.mlflow.sync import Report
from runway_streams.registry.mlflow.webhook import Delivery, WebhookRefused, touched, verify
from runway_streams.registry.webhook_deliveries import StoredDeliveries
from runway_streams.times import format_time
from schemas.answers import ImportReport, MlflowImportState, SkippedVersion

WEBHOOK = "/v1/imports/mlflow/webhook"
"""Open to whoever has signed with the secret: MLflow sends no key of ours."""
WEBHOOK_S = 20.0
"""How long a delivery is handled, waiting for those before it included; MLflow gives up after 30 s, and tries again."""

_log = logging.getLogger(__name__)


@dataclass
class Imports:
    """What the endpoints need of a process. Deliveries are handled one after the other: MLflow sends several about one model
    at once, and after the first there is little left to do."""

    mlflow: MlflowImport
    handling: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def deliveries(self) -> StoredDeliveries:
        """Which deliveries were taken, in any process."""
        return StoredDeliveries(self.mlflow.registry)


async def get_mlflow(request: Request) -> Response:
    """`GET /v1/imports/mlflow`: when a sync last ran, in any process, what it did and what went wrong."""
    mlflow = _imports(request).mlflow
    state = await mlflow.state()
    return answer(
        MlflowImportState(
            uri=mlflow.access.uri,
            poll=mlflow.settings.poll,
            webhook=bool(mlflow.settings.secrets),
            last_success_at=_time(state.at),
            last_full_at=_time(state.full_at),
            last_report=_report(state.report),
            last_full_report=_report(state.full_report),
            problem=state.problem or None,
            problem_at=_time(state.problem_at),
        )
    )


async def post_webhook(request: Request) -> Response:
    """`POST /v1/imports/mlflow/webhook`: syncs the model that a genuine delivery is about, once.

    What a later delivery could do better is a 503, so that MLflow tries again; anything else is a 204, even where the model
    cannot be taken: trying again would not change that, and the next poll says why.
    """
    imports = _imports(request)
    if not imports.mlflow.settings.secrets:
        raise Problem(404, "no-webhook", "No webhook of MLflow's is set up: RUNWAY_MLFLOW_WEBHOOK_SECRETS is not set.")
    body, now = await request.body(), imports.mlflow.registry.now() / 1000
    try:
        delivery = verify(request.headers, body, imports.mlflow.settings.secrets, now)
        touch = touched(body)
    except WebhookRefused as error:
        raise Problem(401, "webhook-refused", str(error)) from error
    if touch and await imports.deliveries.claim(delivery, now):
        await _handle(imports, delivery, touch.name)
    return Response(status_code=204)


async def _handle(imports: Imports, delivery: Delivery, name: str) -> None:
    try:
        async with asyncio.timeout(WEBHOOK_S), imports.handling:
            await imports.mlflow.sync_model(name)
    except TimeoutError:
        await imports.deliveries.release(delivery)
        raise DependencyDown(f"MLflow's model was not read within {WEBHOOK_S:.0f} s.", "Deliver it again.") from None
    except (DependencyDown, ConfigError):
        await imports.deliveries.release(delivery)
        raise
    except RunwayError as error:
        _log.warning("The delivery %s of MLflow's: %s", delivery.id, error)
    except BaseException:
        await imports.deliveries.release(delivery)
        raise


def _imports(request: Request) -> Imports:
    found: Imports | None = getattr(request.app.state, "imports", None)
    if found is None:
        raise Problem(404, "no-import", "Nothing is imported from MLflow: RUNWAY_MLFLOW is not set.")
    return found


def _report(report: Report | None) -> ImportReport | None:
    if report is None:
        return None
    return ImportReport(
        models=report.models,
        created=report.created,
        moved=report.moved,
        stayed=report.stayed,
        unchanged=report.unchanged,
        skipped=report.skipped,
        reasons=[SkippedVersion(name=each.name, version=each.version, reason=each.reason) for each in report.reasons],
        notes=report.notes,
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time(ms)
