"""Rows of transfers: appended, never changed; the service's role could not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.ledger.books import Books
from metering.ledger.chart import LedgerAccount
from metering.ledger.transfers import Transfer, TransferKind
from metering.money import to_number, to_pico
from metering.storage.copying import array, moments, text_array

# Over every column of the row; the migration that introduced it says the same.
CHECKSUM: Final = """
    sha256(convert_to(concat_ws(chr(31), account_id, id, sequence, kind, from_account, to_account, amount_usd,
        balance_after_usd, coalesce(reason, ''), coalesce(actor, ''), coalesce(reverses_id::text, ''),
        (extract(epoch FROM effective_at) * 1000000)::bigint,
        (extract(epoch FROM recorded_at) * 1000000)::bigint), 'UTF8'))
"""
_COLUMNS: Final = """account_id, id, kind, from_account, to_account, amount_usd, reason, actor, reverses_id,
    effective_at, sequence, balance_after_usd, recorded_at"""
# Not COPY, which can't share a round trip: a batch appends its transfers with what else it posts.
_APPEND: Final = f"""
    INSERT INTO transfers ({_COLUMNS}, checksum)
    SELECT {_COLUMNS}, {CHECKSUM}
      FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::numeric(38,12)[],
                  %s::text[], %s::text[], %s::uuid[], %s::timestamptz[], %s::bigint[],
                  %s::numeric(38,12)[], %s::timestamptz[]) AS given ({_COLUMNS})
"""  # noqa: S608  (its parts are constants)


def append(connection: Connection[Any], moved: Sequence[Books], now: datetime) -> None:
    """Insert the transfers posted to the books, whose accounts are locked, each at its books' moment."""
    posted = [one for books in moved for one in books.posted]
    if not posted:
        return
    transfers = [one.transfer for one in posted]
    columns = [
        array(one.account_id for one in transfers),
        array(one.id for one in transfers),
        array(one.kind for one in transfers),
        array(one.source for one in transfers),
        array(one.target for one in transfers),
        array(to_number(one.amount_pico) for one in transfers),
        text_array(one.reason for one in transfers),
        text_array(one.actor for one in transfers),
        text_array(one.reverses_id for one in transfers),
        moments(one.effective_at for one in transfers),
        array(one.sequence for one in posted),
        array(to_number(one.balance_after_pico) for one in posted),
        moments(books.moment(now) for books in moved for _ in books.posted),
    ]
    connection.execute(_APPEND, columns)


_FIND: Final = """
    SELECT id::text, account_id::text, kind, from_account, to_account, amount_usd, effective_at, reason,
           actor, reverses_id::text, sequence, balance_after_usd, recorded_at
      FROM transfers WHERE account_id = %s
"""


class RecordedTransfer(NamedTuple):
    """A transfer in its account's order, the balance it left, and when it was recorded."""

    transfer: Transfer
    sequence: int
    balance_after_pico: int
    recorded_at: datetime


def find(connection: Connection[Any], account_id: str, transfer_id: str) -> RecordedTransfer | None:
    """The account's transfer of this id."""
    return _found(connection.execute(f"{_FIND} AND id = %s", [account_id, transfer_id]).fetchone())


def find_reversal(connection: Connection[Any], account_id: str, reversed_id: str) -> RecordedTransfer | None:
    """The transfer that reverses the one of this id."""
    return _found(connection.execute(f"{_FIND} AND reverses_id = %s", [account_id, reversed_id]).fetchone())


def _found(row: Sequence[Any] | None) -> RecordedTransfer | None:
    if row is None:
        return None
    transfer_id, account_id, kind, source, target, amount, *rest = row
    effective_at, reason, actor, reverses_id, sequence, balance_after, recorded_at = rest
    transfer = Transfer(
        transfer_id,
        account_id,
        TransferKind(kind),
        LedgerAccount(source),
        LedgerAccount(target),
        to_pico(amount),
        effective_at,
        reason=reason,
        actor=actor,
        reverses_id=reverses_id,
    )
    return RecordedTransfer(transfer, sequence, to_pico(balance_after), recorded_at)
