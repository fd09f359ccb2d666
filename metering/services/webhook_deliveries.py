"""Telling customers' webhook endpoints: each in order, all beside each other.

An endpoint that fails holds up only what comes after it there. Tries are at the times that Standard Webhooks
proposes; after the last, or where the answer is 410 (gone), the endpoint is switched off.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, timedelta
from typing import Final

import msgspec

from metering import clock, telemetry
from metering.messages.webhooks import WebhookSender, WebhookTry
from metering.services.stopping import Stopped, never
from metering.storage import webhook_deliveries, webhook_endpoints
from metering.storage.database import Database, driver
from metering.storage.webhook_deliveries import ClaimedDelivery

# Longer than a sender takes for one.
LEASE: Final = timedelta(minutes=1)
# What is waited after the first try, the second and so on.
WAITS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
# After so long an endpoint lets others have their turn.
_TURN_SECONDS: Final = 5
# How soon a run sees what it was told after it began.
_LOOK_SECONDS: Final = 1
_FAILING: Final = "It failed for more than a day."
_GONE: Final = "It answered 410 (gone)."
_SWITCHED_OFF: Final = "The endpoint was switched off."
_LOG: Final = telemetry.log(__name__)


def deliver_webhooks(
    database: Database,
    sender: WebhookSender,
    *,
    threads: int = 16,
    stopped: Stopped = never,
) -> int:
    """Deliver what is due, until nothing is or `stopped` says so; how many calls were made."""
    called = 0
    running: dict[tuple[str, str], Future[int]] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="webhooks") as pool:
        while True:
            for place in [] if stopped() else _list_due(database):
                if place not in running:
                    running[place] = pool.submit(_deliver_to, database, sender, *place, stopped)
            wait(running.values(), _LOOK_SECONDS)
            ended = [place for place, run in running.items() if run.done()]
            calls = sum(running.pop(place).result() for place in ended)
            called += calls
            if not running and not calls:
                return called


def _list_due(database: Database) -> list[tuple[str, str]]:
    with database.snapshot() as connection:
        return webhook_deliveries.list_due(driver(connection), clock.now())


def _deliver_to(
    database: Database, sender: WebhookSender, account_id: str, endpoint_id: str, stopped: Stopped
) -> int:
    """Deliver what is due to an endpoint, the oldest first, for its turn; how many calls were made."""
    calls, until = 0, time.monotonic() + _TURN_SECONDS
    while time.monotonic() < until and not stopped():
        now = clock.now()
        with database.transaction() as connection:
            found = webhook_deliveries.claim(driver(connection), account_id, endpoint_id, now, now + LEASE)
        if found is None:
            break
        tried = sender.send(found.url, found.secret, found.notice_id, now, payload(found))
        _keep(database, found, tried)
        calls += 1
    return calls


def payload(delivery: ClaimedDelivery) -> bytes:
    """The body: the notice's type, its time and what it says. The same again is the same bytes."""
    return msgspec.json.encode(
        {
            "type": delivery.kind,
            "timestamp": delivery.created_at.astimezone(UTC),
            "data": {"account_id": delivery.account_id, **msgspec.json.decode(delivery.data)},
        }
    )


def _keep(database: Database, delivery: ClaimedDelivery, tried: WebhookTry) -> None:
    now = clock.now()
    is_last = tried.is_gone or delivery.attempts > len(WAITS)
    again_at = None if is_last else now + WAITS[delivery.attempts - 1]
    with database.transaction() as connection:
        raw = driver(connection)
        if tried.is_delivered:
            webhook_deliveries.keep_delivered(raw, delivery, now, tried.status)
        elif (
            webhook_deliveries.keep_failure(raw, delivery, tried.status, tried.failure, again_at) and is_last
        ):
            # What a customer may read, where it says why the others weren't tried.
            why = _GONE if tried.is_gone else _FAILING
            place = delivery.account_id, delivery.endpoint_id
            webhook_endpoints.update_endpoint(connection, *place, is_enabled=False, off_reason=why)
            webhook_deliveries.give_up(raw, *place, _SWITCHED_OFF)
    outcome = "delivered" if tried.is_delivered else "failed" if is_last else "delayed"
    telemetry.WEBHOOKS_TOTAL.labels(outcome).inc()
    if is_last and not tried.is_delivered:
        told = {"account_id": delivery.account_id, "endpoint_id": delivery.endpoint_id}
        _LOG.warning("webhook endpoint switched off", **told, failure=tried.failure)
