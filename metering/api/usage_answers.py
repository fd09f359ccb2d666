"""The answers of ingest and quote: one result for each event, in order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

import msgspec

from metering.api.errors import detail
from metering.api.event_bodies import Received, Rejection
from metering.errors import MeteringError
from metering.ledger.holds import Hold
from metering.services.posting import Outcome, Recorded, Refused
from metering.usage.event import UsageEvent

_JSON: Final = msgspec.json.Encoder(decimal_format="number")


def results_json(received: Iterable[Received], outcomes: Iterable[Outcome]) -> bytes:
    """`{"results": [...]}`; `outcomes` are those of the events that could be read, in their order."""
    answers = iter(outcomes)
    results = []
    for one in received:
        if isinstance(one.event, Rejection):
            results.append(_refused(one.id, "rejected", one.event.error))
            continue
        outcome = next(answers)
        if isinstance(outcome, Refused):
            results.append(_refused(one.id, outcome.status, outcome.error))
        else:
            results.append(_recorded(one, one.event, outcome))
    return f'{{"results":[{",".join(results)}]}}'.encode()


def _recorded(one: Received, event: UsageEvent, outcome: Recorded) -> str:
    event_id, hold_id = event.id, event.hold_id
    head = f'{{"id":{json.dumps(one.id)},"status":"{outcome.status}"'
    if event_id != one.id:
        head += f',"event_id":{json.dumps(event_id)}'
    if outcome.unpriced is not None:
        unpriced = _JSON.encode(outcome.unpriced).decode()
        head += f',"unpriced":{unpriced}'
    else:
        head += f',"cost_usd":{outcome.cost},"line_items":{outcome.line_items}'
    tail = "" if hold_id is None else f',"hold":{_hold(hold_id, outcome.hold)}'
    return f'{head},"usage":{outcome.usage},"balance":{outcome.balance}{tail}}}'


def _hold(hold_id: str, hold: Hold | None) -> str:
    """The hold that the event named, and which event ended it; an unknown one is no reason not to bill."""
    state, event_id = ("unknown", None) if hold is None else (hold.state.value, hold.event_id)
    return _JSON.encode({"id": hold_id, "state": state, "event_id": event_id}).decode()


def _refused(event_id: str | None, status: str, error: MeteringError) -> str:
    return _JSON.encode({"id": event_id, "status": status, "error": detail(error)}).decode()
