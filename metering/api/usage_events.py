"""Usage ingest and quotes: for the gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio.to_thread
from litestar import Request, Response, post

from metering import clock, telemetry
from metering.api.documentation import EventsPosted
from metering.api.encoding import json_response
from metering.api.errors import error_responses
from metering.api.event_bodies import Received, read_events
from metering.api.security import needs_scope
from metering.api.state import Services, services
from metering.api.usage_answers import results_json
from metering.api.usage_bodies import EventResults
from metering.api.waiting import committed, in_thread
from metering.services.ingest import Ingest
from metering.services.posting import Prepared, Refused
from metering.storage.service_tokens import ServiceToken
from metering.usage.event import UsageEvent

# A body up to this is decoded and rated on the spot: handing it to a thread would cost more.
_SMALL_BODY: Final = 8_192
_ERRORS: Final = error_responses(400, 401, 403, 413)

Request_ = Request[None, ServiceToken, Any]


@post(
    "/v1/usage/events",
    guards=[needs_scope("usage:write")],
    status_code=200,
    operation_class=EventsPosted,
    responses=_ERRORS,
)
async def record_events(request: Request_) -> Response[EventResults]:
    """Record usage events, each once, and take their cost from the balance; answered after COMMIT."""
    started = time.perf_counter()
    ours = services(request)
    received, prepared = await _prepared(request, ours)
    telemetry.BATCH_EVENTS.observe(len(received))
    outcomes = await committed(ours.commits.submit(prepared)) if prepared else []
    answer = results_json(received, outcomes)
    telemetry.INGEST_SECONDS.observe(time.perf_counter() - started)
    return json_response(answer)


@post(
    "/v1/usage/quote",
    guards=[needs_scope("usage:write")],
    status_code=200,
    operation_class=EventsPosted,
    responses=_ERRORS,
)
async def quote_events(request: Request_) -> Response[EventResults]:
    """What recording these events would answer, without effect."""
    ours = services(request)
    received, prepared = await _prepared(request, ours)
    outcomes = await in_thread(ours.ingest.quote, prepared) if prepared else []
    return json_response(results_json(received, outcomes))


async def _prepared(request: Request_, ours: Services) -> tuple[list[Received], list[Prepared | Refused]]:
    """The call's events, and those that could be read rated and encoded."""
    body = await request.body()
    content_type = request.headers.get("content-type", "")
    if len(body) <= _SMALL_BODY:
        return _read(body, content_type, request.headers, ours.ingest)
    read = partial(_read, body, content_type, request.headers, ours.ingest)
    return await anyio.to_thread.run_sync(read, limiter=ours.one_reader)


def _read(
    body: bytes, content_type: str, headers: Mapping[str, str], ingest: Ingest
) -> tuple[list[Received], list[Prepared | Refused]]:
    now = clock.now()
    received = read_events(body, content_type, headers, now)
    prepared = [ingest.prepare(one.event, now) for one in received if isinstance(one.event, UsageEvent)]
    return received, prepared


routes = [record_events, quote_events]
