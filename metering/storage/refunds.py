"""Rows of refunds: what was asked for here, and what the processor was told to give back elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, select

from metering.errors import NotFound
from metering.ledger.top_ups import Parts
from metering.storage.keyed_rows import find_row, insert_row, read_row, select_rows, update_row
from metering.storage.payment_tables import refunds

RefundState: TypeAlias = Literal["requested", "pending", "succeeded", "failed"]
_ROW: Final = refunds.c


class Refund(NamedTuple):
    """A refund of `amount_pico`, tax included, and the parts it takes; posted unless its state is failed.

    `processor_id` is None until the processor is known to have it. `next_attempt_at` is when a refund that
    was requested is asked for again.
    """

    account_id: str
    id: str
    top_up_id: str
    origin: Literal["service", "processor"]
    state: RefundState
    amount_pico: int
    credit_pico: int
    bonus_pico: int
    tax_pico: int
    reason: str
    actor: str
    created_at: datetime
    processor_id: str | None = None
    failure: str | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    idempotency_key: str | None = None
    body_digest: bytes | None = None

    @property
    def parts(self) -> Parts:
        """What it is made of."""
        return Parts(self.credit_pico, self.bonus_pico, self.tax_pico)


def insert_refund(connection: Connection, refund: Refund) -> None:
    """Record a refund."""
    insert_row(connection, refunds, refund)


def update_refund(connection: Connection, account_id: str, refund_id: str, **changes: Any) -> None:  # noqa: ANN401  (fields)
    """Change fields of a refund; its account is locked."""
    update_row(connection, refunds, account_id, refund_id, changes)


def get_refund(connection: Connection, account_id: str, refund_id: str) -> Refund:
    """The refund; raises `NotFound`."""
    row = connection.execute(select_rows(refunds, Refund, account_id).where(_ROW.id == refund_id))
    found = row.one_or_none()
    if found is None:
        raise NotFound("The account has no such refund.", param="refund_id")
    return read_row(Refund, found)


def find_by_idempotency_key(connection: Connection, account_id: str, idempotency_key: str) -> Refund | None:
    """The account's refund under this key."""
    return find_row(connection, refunds, Refund, account_id, idempotency_key)


def list_refunds(connection: Connection, account_id: str, top_up_id: str) -> list[Refund]:
    """The top-up's refunds, oldest first."""
    query = select_rows(refunds, Refund, account_id).where(_ROW.top_up_id == top_up_id).order_by(_ROW.id)
    return [read_row(Refund, row) for row in connection.execute(query)]


def list_due(connection: Connection, now: datetime, limit: int) -> list[tuple[str, str]]:
    """(account, refund) of those to be asked for again by now, the longest due first."""
    query = (
        select(_ROW.account_id, _ROW.id)
        .where(_ROW.state == "requested", _ROW.next_attempt_at <= now)
        .order_by(_ROW.next_attempt_at)
        .limit(limit)
    )
    return [(str(account_id), str(refund_id)) for account_id, refund_id in connection.execute(query)]
