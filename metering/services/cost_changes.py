"""What changes in the costs of events after they were recorded: corrections, and the transfers they need."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from metering import ids
from metering.ledger.books import Books
from metering.ledger.chart import LedgerAccount
from metering.ledger.posting_rules import post_cost_change, revenue_of
from metering.ledger.transfers import TransferKind
from metering.storage import api_key_spend, corrections
from metering.storage.books import keep_books
from metering.storage.corrections import Correction, CorrectionKind, Standing
from metering.storage.usage_rollups import Rollups, rollup_key

_CARRIED_AS: Final[Mapping[CorrectionKind, TransferKind]] = MappingProxyType(
    {
        "rating": TransferKind.RATING,
        "rerating": TransferKind.RERATING,
        "amendment": TransferKind.AMENDMENT,
        "reversal": TransferKind.EVENT_REVERSAL,
    }
)


class Price(NamedTuple):
    """What an event costs from now on, by which book; `line_items` is encoded JSON."""

    cost_pico: int
    line_items: str | None
    pricing_tier_label: str | None
    book_digest: bytes | None


class CostChanges:
    """The corrections of one transaction to the events of one account, whose books are locked.

    The differences of one kind, revenue and sign go into one transfer, so that what is given back and what
    is taken stay apart.
    """

    def __init__(self, books: Books, now: datetime, *, reason: str, actor: str) -> None:
        self._books = books
        self._now = now
        self._reason = reason
        self._actor = actor
        self._corrections: list[Correction] = []
        self._rollups = Rollups()
        self._spent: dict[tuple[str, str, date], int] = {}
        self._sums: dict[tuple[TransferKind, LedgerAccount, bool], tuple[str, int]] = {}

    def change(
        self, event: Standing, kind: CorrectionKind, price: Price, *, carried_by: str | None = None
    ) -> int:
        """Give the event another cost: the difference. `carried_by` is a transfer that the caller posts."""
        delta_pico = price.cost_pico - (event.cost_pico or 0)
        transfer_id = None
        if delta_pico:
            transfer_id = carried_by or self._carry(_CARRIED_AS[kind], event, delta_pico)
        self._corrections.append(
            Correction(
                account_id=event.account_id,
                event_id=event.event_id,
                number=event.corrections + 1,
                kind=kind,
                event_created_at=event.created_at,
                source=event.source,
                model=event.model,
                cost_pico=price.cost_pico,
                delta_pico=delta_pico,
                line_items=price.line_items,
                pricing_tier_label=price.pricing_tier_label,
                superseded_by=None,
                book_digest=price.book_digest,
                transfer_id=transfer_id,
                reason=self._reason,
                actor=self._actor,
            )
        )
        created_at = str(event.created_at.astimezone(UTC))
        key = rollup_key(event.account_id, created_at, event.model, event.source)
        is_unpriced = int(event.cost_pico is None)
        # Taken rather than added: an hour's sums are never negative, not even in the row that would be added.
        self._rollups.take(key, (0, 0, is_unpriced, -delta_pico, 0, 0, 0, 0))
        if event.budget_day is not None:
            self._spent[event.budget_day] = self._spent.get(event.budget_day, 0) + delta_pico
        return delta_pico

    def keep(self, connection: Any) -> None:  # noqa: ANN401  (the driver's connection)
        """Post the transfers and record everything."""
        for (kind, revenue, _), (transfer_id, delta_pico) in self._sums.items():
            self._books.post(
                post_cost_change(
                    transfer_id,
                    self._books.account_id,
                    kind,
                    revenue,
                    delta_pico,
                    self._now,
                    reason=self._reason,
                    actor=self._actor,
                )
            )
        with connection.pipeline():
            if self._books.posted:
                keep_books(connection, [self._books], self._now)
            corrections.append(connection, self._corrections, self._now)
            self._rollups.keep(connection)
            api_key_spend.add_many(connection, self._spent)

    def _carry(self, kind: TransferKind, event: Standing, delta_pico: int) -> str:
        """The id of the transfer that will carry the difference."""
        key = kind, revenue_of(event.source), delta_pico > 0
        transfer_id, sum_pico = self._sums.get(key) or (ids.new_id(), 0)
        self._sums[key] = transfer_id, sum_pico + delta_pico
        return transfer_id
