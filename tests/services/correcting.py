"""An account whose events cost what two small price books say, and which is put right afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from metering import clock
from metering.api.event_bodies import read_events
from metering.money import to_decimal, to_pico
from metering.pricing.book import PriceBook
from metering.pricing.compiler import compile_book
from metering.rating.engine import Rater
from metering.services.accounts import create_account, get_account
from metering.services.grants import Wanted, grant_credit
from metering.services.history import get_account_usage
from metering.services.ingest import Ingest
from metering.services.posting import Outcome
from metering.services.price_books import keep_price_book
from metering.storage.database import Database
from metering.usage.event import UsageEvent
from metering.usage.history import Filters, RecordedEvent

_JSON: Final = msgspec.json.Encoder(decimal_format="number")
EVERYTHING: Final = Filters()
HOUR: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)


def _book(rates: Mapping[str, str]) -> PriceBook:
    """A book with a price per request for each of these models."""
    charge = {"charge": "Request", "model": "flat", "per": "request"}
    models = {
        model: {"name": model, "category": "Text", "charges": [{**charge, "rate": rate}]}
        for model, rate in rates.items()
    }
    meters = {
        "requests": {"type": "integer", "unit": "request"},
        "prompt_tokens": {"type": "integer", "unit": "token"},
        "completion_tokens": {"type": "integer", "unit": "token"},
        "upstream_cost_usd": {"type": "number", "unit": "USD"},
    }
    return compile_book(
        {
            "book.yml": {"currency": "USD", "grammar": 1},
            "meters.yml": {"meters": meters, "fields": {}},
            "plans.yml": {"plans": {}},
            "providers/p.yml": {"provider": "P", "models": models},
        }
    )


OLD: Final = _book({"steady": "1", "dearer": "2", "cheaper": "3", "gone": "4", "free": "0"})
# `late` has a price in it only, and `gone` none any more.
NEW: Final = _book({"steady": "1", "dearer": "2.5", "cheaper": "1", "late": "0.25", "free": "0"})


class Ledger:
    """The use cases about one account, with events as a gateway sends them."""

    def __init__(self, database: Database) -> None:
        keep_price_book(database, OLD, clock.now())
        self.database = database
        self.account_id = create_account(database, "Ada").account.account_id
        self.ingest = Ingest(
            database, Rater(OLD), max_age=timedelta(days=90), max_future=timedelta(minutes=5)
        )

    def grant(self, dollars: str, key: str = "grant") -> str:
        """Give credit; the id of the transfer."""
        wanted = Wanted("paid", to_pico(dollars), "bank transfer", "finance")
        return grant_credit(self.database, self.account_id, wanted, key)[0].transfer_id

    def record(self, *events: Mapping[str, Any]) -> list[Outcome]:
        """Record events in one batch; a minute after the hour, of the steady model, unless they say more."""
        default = {"account_id": self.account_id, "model": "steady", "usage": {"prompt_tokens": 7}}
        at = (HOUR + timedelta(minutes=1)).isoformat()
        now = clock.now()
        body = _JSON.encode([{"created_at": at, **default, **event} for event in events])
        received = [one.event for one in read_events(body, "application/json", {}, now)]
        assert all(isinstance(event, UsageEvent) for event in received), received
        prepared = [self.ingest.prepare(event, now) for event in received if isinstance(event, UsageEvent)]
        return self.ingest.record(prepared)

    def posted(self) -> Decimal:
        """The posted balance in dollars."""
        return to_decimal(get_account(self.database, self.account_id).balance.posted_pico).normalize()

    def history(self, filters: Filters = EVERYTHING) -> dict[str, RecordedEvent]:
        """The newest events by id, newest first."""
        usage = get_account_usage(self.database, self.account_id, filters, before=None, limit=100)
        return {event.id: event for event in usage.events}

    def costs(self) -> dict[str, int | None]:
        """What each event in the history costs, in whole cents; None where it has no price."""
        costs = {name: event.cost_pico for name, event in self.history().items()}
        return {name: None if pico is None else pico * 100 // 10**12 for name, pico in costs.items()}

    def spend(self, since: datetime | None = None, until: datetime | None = None) -> Decimal:
        """What the account spent in that time, in dollars."""
        usage = get_account_usage(self.database, self.account_id, Filters(since, until), before=None, limit=1)
        return to_decimal(sum(usage.spend.values())).normalize()
