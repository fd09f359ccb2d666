"""Usage ingest: rate events, record them once, take their cost from the balance, answer.

The batch is the unit. `Ingest.prepare` does all that needs no database; `Ingest.record` is the
transaction of the architecture's request path, under the locks of the accounts it touches.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from metering import clock, telemetry
from metering.errors import InvalidParameter, InvalidUsage
from metering.ledger.books import Books
from metering.ledger.holds import Hold
from metering.money import to_number
from metering.rating.engine import Rater
from metering.rating.rating import Rating, Unpriced
from metering.services.posting import Key, Known, Outcome, Posting, Prepared, Refused
from metering.services.stamping import stamp
from metering.storage import api_key_spend, balances, copying, corrections, holds, usage_events
from metering.storage.books import keep_books
from metering.storage.corrections import Standing
from metering.storage.database import Database, driver
from metering.storage.usage_events import Documents, StoredEvent
from metering.storage.usage_rollups import rollup_key
from metering.usage.event import UsageEvent
from metering.usage.normalize import count_tokens

_JSON: Final = msgspec.json.Encoder(decimal_format="number")


class Ingest:
    """The use case, with the price book and the policy's limits."""

    def __init__(
        self, database: Database, rater: Rater, *, max_age: timedelta, max_future: timedelta
    ) -> None:
        self._database = database
        self._rater = rater
        self._max_age = max_age
        self._max_future = max_future
        self._book_digest = copying.binary(rater.book.digest)

    def prepare(self, event: UsageEvent, now: datetime) -> Prepared | Refused:
        """Rate and encode one event; refused where its usage is bad or its time is in the future."""
        if event.created_at > now + self._max_future:
            limit = int(self._max_future.total_seconds())
            message = f"must not be more than {limit} seconds in the future"
            return Refused("rejected", InvalidParameter(message, param="created_at"))
        try:
            rating = self._rater.rate(
                event.model, event.usage, event.created_at, failed=event.status == "error"
            )
        except InvalidUsage as error:
            return Refused("rejected", InvalidParameter(error.message, param=f"usage.{error.param}"))
        return self._encode(event, rating)

    def _encode(self, event: UsageEvent, rating: Rating | Unpriced) -> Prepared:
        tokens = count_tokens(rating.quantities)
        usage = _JSON.encode(event.usage).decode()
        label = cost_pico = cost = line_items = unpriced = None
        if isinstance(rating, Rating):
            cost_pico, label = rating.cost_pico, rating.pricing_tier_label
            cost = to_number(cost_pico)
            line_items = f"[{','.join([item.as_json() for item in rating.line_items])}]"
        else:
            unpriced = {"meter": rating.meter, "reason": rating.reason}
        documents = Documents(
            usage,
            _JSON.encode(event.output_urls).decode() if event.output_urls else "[]",
            None if event.metadata is None else _JSON.encode(event.metadata).decode(),
            line_items,
            None if unpriced is None else _JSON.encode(unpriced).decode(),
            _JSON.encode(rating.unbilled).decode() if rating.unbilled else None,
        )
        at = event.created_at
        created_at = str(at if at.tzinfo is UTC else at.astimezone(UTC))
        row = usage_events.encode(event, created_at, documents, tokens, cost, label, self._book_digest)
        stamped = stamp(usage, event.usage, cost, label)
        key = rollup_key(event.account_id, created_at, event.model, event.source)
        is_error, is_unpriced = event.status == "error", cost_pico is None
        # The stated total is not summed: a page adds it up, and spend doesn't need it.
        sums = (1, int(is_error), int(is_unpriced), cost_pico or 0, *tokens[:4])
        return Prepared(
            event, cost_pico, cost, key, sums, line_items, stamped, unpriced, rating.unbilled, row
        )

    def quote(self, prepared: Sequence[Prepared | Refused]) -> list[Outcome]:
        """What `record` would answer at this moment, without effect."""
        events, now = _events(prepared), clock.now()
        with self._database.snapshot() as connection:
            raw = driver(connection)
            found = balances.find_many(raw, {event.account_id for event in events}, now)
            with raw.pipeline():
                known = _look_up(raw, events)
        books = [Books(name, one.posted_pico, one.held_pico) for name, one in found.items()]
        posting = Posting(books, known.read(), now, oldest=now - self._max_age)
        return [one if isinstance(one, Refused) else posting.post(one) for one in prepared]

    def record(self, prepared: Sequence[Prepared | Refused]) -> list[Outcome]:
        """Record each event once and post its cost, all in one transaction; outcomes in order.

        A known id with the same body is a duplicate and answers as the first time; with another body it
        is a conflict and changes nothing. Returns after COMMIT; raises if that failed.
        """
        events, started = _events(prepared), time.perf_counter()
        with self._database.transaction() as connection:
            raw = driver(connection)
            # A pipeline is one round trip. What is known is looked up after the locks are had.
            with raw.pipeline():
                locked = balances.lock_many(raw, sorted({event.account_id for event in events}))
                known = _look_up(raw, events)
            books = list(locked)
            now = clock.now()
            posting = Posting(books, known.read(), now, oldest=now - self._max_age)
            outcomes = [one if isinstance(one, Refused) else posting.post(one) for one in prepared]
            usage_events.append(raw, posting.rows)
            with raw.pipeline():
                keep_books(raw, posting.moved(), now)
                posting.rollups.keep(raw)
                corrections.append(raw, posting.corrections, now)
                holds.close_many(raw, posting.closings, now)
                api_key_spend.add_many(raw, posting.spent)
        _count(outcomes, time.perf_counter() - started)
        for fields in posting.unbilled:
            telemetry.count_unbilled(fields)
        return outcomes


class _LookUp(NamedTuple):
    """What was asked about events in a pipeline, to be read after its end."""

    events: Iterable[tuple[Key, StoredEvent]]
    standing: Iterable[tuple[Key, Standing]]
    holds: Iterable[tuple[Key, Hold]]

    def read(self) -> Known:
        return Known(dict(self.events), dict(self.standing), dict(self.holds))


def _look_up(raw: Any, events: Iterable[UsageEvent]) -> _LookUp:  # noqa: ANN401  (the driver's, which stays in storage)
    superseded = [(event.account_id, event.supersedes) for event in events if event.supersedes is not None]
    held = [(event.account_id, event.hold_id) for event in events if event.hold_id is not None]
    return _LookUp(
        usage_events.find_many(raw, ((event.account_id, event.id) for event in events)),
        corrections.find_standing(raw, superseded) if superseded else (),
        holds.find_many(raw, held) if held else (),
    )


def _events(prepared: Iterable[Prepared | Refused]) -> list[UsageEvent]:
    return [one.event for one in prepared if isinstance(one, Prepared)]


def _count(outcomes: Sequence[Outcome], seconds: float) -> None:
    telemetry.COMMIT_SECONDS.observe(seconds)
    telemetry.GROUP_EVENTS.observe(len(outcomes))
    for status, number in Counter(outcome.status for outcome in outcomes).items():
        telemetry.EVENTS_TOTAL.labels(status).inc(number)
