"""Rows of top-ups and the transfers that each of them names; changed under their account's lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, func, insert, select, update

from metering.errors import NotFound
from metering.ledger.top_ups import Parts
from metering.money import to_pico
from metering.storage.keyed_rows import find_row, insert_row, read_row, select_rows, update_row
from metering.storage.ledger_tables import transfers
from metering.storage.payment_tables import refunds, top_up_transfers, top_ups

Origin: TypeAlias = Literal["checkout", "auto"]
State: TypeAlias = Literal["open", "succeeded", "failed", "canceled"]

_ROW: Final = top_ups.c
_NAMED: Final = top_up_transfers.c


class TopUp(NamedTuple):
    """A top-up; the bonus is fixed when it is made, the tax when it is paid.

    `version` moves whenever something of it was posted or changed. `transfer_id` and `bonus_transfer_id` are
    its lots' ids as well. `next_attempt_at` is when somebody looks after it again.
    """

    account_id: str
    id: str
    origin: Origin
    state: State
    amount_pico: int
    bonus_percent: int
    bonus_pico: int
    created_at: datetime
    tax_pico: int = 0
    frozen_pico: int = 0
    saves_card: bool = False
    session_id: str | None = None
    url: str | None = None
    url_expires_at: datetime | None = None
    payment_id: str | None = None
    paid_with: str | None = None
    receipt_number: str | None = None
    receipt_url: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    version: int = 0
    transfer_id: str | None = None
    bonus_transfer_id: str | None = None
    idempotency_key: str | None = None
    body_digest: bytes | None = None
    succeeded_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def parts(self) -> Parts:
        """What the payment is made of."""
        return Parts(self.amount_pico, self.bonus_pico, self.tax_pico)

    @property
    def lot_ids(self) -> tuple[str, ...]:
        """Its lot and that of its bonus, as far as there are any."""
        return tuple(filter(None, (self.transfer_id, self.bonus_transfer_id)))


class Named(NamedTuple):
    """A transfer of a top-up, and the refund or dispute that it is a part of."""

    account_id: str
    transfer_id: str
    top_up_id: str
    refund_id: str | None = None
    dispute_id: str | None = None


def insert_top_up(connection: Connection, top_up: TopUp) -> None:
    """Record a new top-up."""
    insert_row(connection, top_ups, top_up)


def update_top_up(connection: Connection, account_id: str, top_up_id: str, **changes: Any) -> None:  # noqa: ANN401  (fields)
    """Change fields of a top-up."""
    update_row(connection, top_ups, account_id, top_up_id, changes)


def get_top_up(connection: Connection, account_id: str, top_up_id: str) -> TopUp:
    """The top-up; raises `NotFound`."""
    query = select_rows(top_ups, TopUp, account_id).where(_ROW.id == top_up_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound("The account has no such top-up.", param="top_up_id")
    return read_row(TopUp, row)


def find_by_idempotency_key(connection: Connection, account_id: str, idempotency_key: str) -> TopUp | None:
    """The account's top-up under this key."""
    return find_row(connection, top_ups, TopUp, account_id, idempotency_key)


def find_checkout(connection: Connection, top_up_id: str) -> TopUp | None:
    """The top-up of this id that a customer pays on a page, whosever it is."""
    query = select(_ROW.account_id).where(_ROW.origin == "checkout", _ROW.id == top_up_id).limit(1)
    account_id = connection.execute(query).scalar_one_or_none()
    return None if account_id is None else get_top_up(connection, str(account_id), top_up_id)


def find_by_payment(connection: Connection, payment_id: str) -> tuple[str, str] | None:
    """The account and the top-up that a payment of the processor's is for."""
    query = select(_ROW.account_id, _ROW.id).where(_ROW.payment_id == payment_id).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else (str(row[0]), str(row[1]))


def list_top_ups(connection: Connection, account_id: str, *, after: str | None, limit: int) -> list[TopUp]:
    """Up to `limit` top-ups, newest first, those behind the id `after`."""
    query = select_rows(top_ups, TopUp, account_id).order_by(_ROW.id.desc()).limit(limit)
    if after is not None:
        query = query.where(_ROW.id < after)
    return [read_row(TopUp, row) for row in connection.execute(query)]


def list_due_checkouts(connection: Connection, now: datetime, limit: int) -> list[tuple[str, str]]:
    """(account, top-up) of open checkouts that somebody should look after by now, the longest due first."""
    query = (
        select(_ROW.account_id, _ROW.id)
        .where(_ROW.state == "open", _ROW.origin == "checkout", _ROW.next_attempt_at <= now)
        .order_by(_ROW.next_attempt_at)
        .limit(limit)
    )
    return [(str(account_id), str(top_up_id)) for account_id, top_up_id in connection.execute(query)]


def put_off(
    connection: Connection, account_id: str, top_up_id: str, *, now: datetime, until: datetime
) -> bool:
    """Let nobody else look after an open top-up until then; False where somebody did just now."""
    query = update(top_ups).where(_ROW.account_id == account_id, _ROW.id == top_up_id)
    query = query.where(_ROW.state == "open", _ROW.next_attempt_at <= now).values(next_attempt_at=until)
    return connection.execute(query).rowcount == 1


def keep_page(
    connection: Connection,
    account_id: str,
    top_up_id: str,
    *,
    session_id: str,
    url: str | None,
    url_expires_at: datetime,
    next_attempt_at: datetime,
) -> None:
    """Note where an open top-up is paid, unless that was noted before: one page of each is ever told."""
    query = update(top_ups).where(_ROW.account_id == account_id, _ROW.id == top_up_id)
    query = query.where(_ROW.state == "open", _ROW.session_id.is_(None)).values(
        session_id=session_id, url=url, url_expires_at=url_expires_at, next_attempt_at=next_attempt_at
    )
    connection.execute(query)


def count_succeeded(connection: Connection, account_id: str) -> int:
    """How many of the account's top-ups were paid."""
    query = select(func.count()).where(_ROW.account_id == account_id, _ROW.state == "succeeded")
    return connection.execute(query).scalar_one()


def sum_refunded(connection: Connection, account_id: str, top_up_ids: Iterable[str]) -> dict[str, int]:
    """How much of these top-ups goes or went back, tax included; those of which nothing did are absent."""
    row = refunds.c
    query = (
        select(row.top_up_id, func.sum(row.amount_usd))
        .where(row.account_id == account_id, row.top_up_id.in_(list(top_up_ids)), row.state != "failed")
        .group_by(row.top_up_id)
    )
    return {str(top_up_id): to_pico(dollars) for top_up_id, dollars in connection.execute(query)}


def name_transfers(connection: Connection, named: Sequence[Named]) -> None:
    """Say which top-up recorded transfers belong to."""
    if named:
        connection.execute(insert(top_up_transfers), [one._asdict() for one in named])


def list_standing(
    connection: Connection, account_id: str, *, refund_id: str | None = None, dispute_id: str | None = None
) -> list[str]:
    """The ids of the transfers of a refund, or of a dispute, that are not reversed, in their order."""
    mirror = transfers.alias()
    is_named = _NAMED.refund_id == refund_id if refund_id is not None else _NAMED.dispute_id == dispute_id
    is_reversed = select(mirror.c.id).where(
        mirror.c.account_id == account_id, mirror.c.reverses_id == transfers.c.id
    )
    query = (
        select(transfers.c.id)
        .join(
            top_up_transfers,
            (_NAMED.account_id == transfers.c.account_id) & (_NAMED.transfer_id == transfers.c.id),
        )
        .where(_NAMED.account_id == account_id, is_named, transfers.c.reverses_id.is_(None))
        .where(~is_reversed.exists())
        .order_by(transfers.c.sequence)
    )
    return [str(transfer_id) for (transfer_id,) in connection.execute(query)]
