"""OpenLineage events from bytes: which of the three one is, whether it is whole, and if not, what is missing where."""

import msgspec

from runway_streams.dependency.refusals import BadReport
from schemas.openlineage import MAX_DATASETS, MAX_EVENT_BYTES, DatasetEvent, Event, EventKind, JobEvent, RunEvent

MAX_BATCH = 1_000
"""Events of one batch."""
_TYPES: dict[str, type[Event]] = {"RunEvent": RunEvent, "JobEvent": JobEvent, "DatasetEvent": DatasetEvent}
_kind = msgspec.json.Decoder(EventKind)
_batch = msgspec.json.Decoder(list[msgspec.Raw])
_decoders = {name: msgspec.json.Decoder(type_) for name, type_ in _TYPES.items()}


def read_event(raw: bytes) -> Event:
    """One event. Raises BadReport, which says what is wrong and where.

    >>> read_event(b'{"eventTime":"2026-01-02T03:04:05Z","producer":"p","run":{},"job":{"namespace":"a","name":"b"}}')
    Traceback (most recent call last):
    ...
    runway_streams.dependency.refusals.BadReport: This is no RunEvent of OpenLineage: Object missing required field \
`runId` - at `$.run`.
    """
    if len(raw) > MAX_EVENT_BYTES:
        raise BadReport(
            f"An event of {len(raw)} bytes is longer than {MAX_EVENT_BYTES}.",
            "Leave out facets, such as the plan and the SQL.",
        )
    name = "event"
    try:
        name = event_name(_kind.decode(raw))
        event = _decoders[name].decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadReport(f"This is no {name} of OpenLineage: {error}.", _remedy(name, str(error))) from None
    except RecursionError:
        raise BadReport("The event is nested too deeply.") from None
    if not isinstance(event, DatasetEvent) and len(event.inputs or ()) + len(event.outputs or ()) > MAX_DATASETS:
        raise BadReport(f"The event has more than {MAX_DATASETS} datasets.", "Report the run in several events.")
    return event


def split_batch(raw: bytes) -> list[bytes]:
    """The events of a batch, undecoded, so that a bad one does not spoil the others. Raises BadReport.

    >>> split_batch(b'[{"a":1}, 2]')
    [b'{"a":1}', b'2']
    """
    try:
        events = _batch.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadReport(f"A batch is a JSON array of events: {error}.") from None
    except RecursionError:
        raise BadReport("The batch is nested too deeply.") from None
    if len(events) > MAX_BATCH:
        raise BadReport(f"A batch has at most {MAX_BATCH} events, this one {len(events)}.", "Send several.")
    return [bytes(event) for event in events]


def event_name(kind: EventKind) -> str:
    """Which event one is: `schemaURL` says it; without, it is what it has. A job without a run needs the `schemaURL`, for it may
    be half a run's event.

    >>> event_name(EventKind("https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent"))
    'JobEvent'
    >>> event_name(EventKind(dataset=msgspec.Raw(b"{}"))), event_name(EventKind(job=msgspec.Raw(b"{}")))
    ('DatasetEvent', 'RunEvent')
    """
    said = kind.schema_url.rpartition("/")[2] if isinstance(kind.schema_url, str) else ""
    if said in _TYPES:
        return said
    has = [bytes(part) not in (b"", b"null") for part in (kind.dataset, kind.run, kind.job)]
    return "DatasetEvent" if has == [True, False, False] else "RunEvent"


def _remedy(name: str, error: str) -> str:
    if name == "RunEvent" and "field `run`" in error:
        return "A JobEvent says so by the end of its schemaURL."
    return "RFC 3339 with an offset." if "$.eventTime" in error else ""
