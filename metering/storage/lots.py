"""Rows of lots, of what is owed and of what paid for what: kept up to date under the lock of the position.

The position says how far an account's transfers have been laid on its lots. Where the balance is locked
too, its lock is taken first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.ledger.lots import Allocation, Entry, Lot, Movement, Needs, Receivable, Terms, terms_of
from metering.ledger.transfers import TransferKind
from metering.money import to_number, to_pico
from metering.storage.copying import array, moments, text_array

_PAGE: Final = 1_000
_OPEN_POSITION: Final = """
    INSERT INTO lot_positions (account_id, sequence, movement_count)
    SELECT account_id, 0, 0 FROM balances WHERE account_id = %s
        ON CONFLICT (account_id) DO NOTHING
"""
_LOCK_POSITION: Final = """
    SELECT sequence, recorded_at, movement_count FROM lot_positions WHERE account_id = %s FOR UPDATE
"""
_MOVE_POSITION: Final = """
    UPDATE lot_positions SET sequence = %s, recorded_at = %s, movement_count = %s WHERE account_id = %s
"""
_ENTRIES: Final = """
    SELECT id::text, sequence, recorded_at, kind,
           CASE 'customer_credit' WHEN to_account THEN amount_usd WHEN from_account THEN -amount_usd
                                  ELSE 0 END,
           reverses_id::text
      FROM transfers
     WHERE account_id = %s AND (recorded_at, sequence) > (coalesce(%s, '-infinity'::timestamptz), %s)
     ORDER BY recorded_at, sequence LIMIT %s
"""
_TERMS: Final = """
    SELECT transfer_id::text, kind, priority, expires_at FROM grants
     WHERE account_id = %s AND transfer_id = ANY(%s::uuid[])
"""
# A reversal that has not been laid yet is not known yet.
_LOTS: Final = """
    SELECT id::text, sequence, kind, priority, expires_at, amount_usd, rest_usd, used_usd, created_at,
           is_frozen, EXISTS (SELECT FROM transfers WHERE transfers.account_id = lots.account_id
                              AND transfers.reverses_id = lots.id AND transfers.sequence <= %s)
      FROM lots WHERE account_id = %s
"""
_WITH_REST: Final = f"{_LOTS} AND rest_usd > 0"
_OWED: Final = """
    SELECT transfer_id::text, sequence, owed_usd FROM receivables
     WHERE account_id = %s AND owed_usd > 0 AND sequence > %s ORDER BY sequence LIMIT %s
"""
_OWED_NEWEST: Final = """
    SELECT transfer_id::text, sequence, owed_usd FROM receivables
     WHERE account_id = %s AND owed_usd > 0 AND sequence < %s ORDER BY sequence DESC LIMIT %s
"""
_KEEP_LOTS: Final = """
    INSERT INTO lots (account_id, id, kind, priority, expires_at, sequence, amount_usd, rest_usd, used_usd,
                      created_at)
    SELECT %s, * FROM unnest(%s::uuid[], %s::text[], %s::integer[], %s::timestamptz[], %s::bigint[],
                             %s::numeric[], %s::numeric[], %s::numeric[], %s::timestamptz[])
        ON CONFLICT (account_id, id) DO UPDATE SET rest_usd = excluded.rest_usd, used_usd = excluded.used_usd
"""
_KEEP_RECEIVABLES: Final = """
    INSERT INTO receivables (account_id, transfer_id, sequence, owed_usd)
    SELECT %s, * FROM unnest(%s::uuid[], %s::bigint[], %s::numeric[])
        ON CONFLICT (account_id, transfer_id) DO UPDATE SET owed_usd = excluded.owed_usd
"""
_APPEND_MOVEMENTS: Final = """
    INSERT INTO lot_movements (account_id, number, lot_id, transfer_id, settles_id, amount_usd, recorded_at)
    SELECT %s, %s + place, lot_id, transfer_id, settles_id, amount_usd, recorded_at
      FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::numeric[], %s::timestamptz[]) WITH ORDINALITY
           AS given (lot_id, transfer_id, settles_id, amount_usd, recorded_at, place)
"""
_NEXT_END: Final = """
    SELECT min(expires_at) FROM lots
     WHERE account_id = %s AND expires_at > %s AND (rest_usd > 0 OR used_usd > 0)
"""
_HAS_ENDED: Final = """
    SELECT EXISTS (SELECT FROM lots WHERE account_id = %s AND rest_usd > 0 AND expires_at <= %s)
"""
_PAID: Final = """
    SELECT lot_id::text, sum(amount_usd) FROM lot_movements
     WHERE account_id = %s AND transfer_id = %s AND lot_id IS NOT NULL
     GROUP BY lot_id ORDER BY max(number) DESC
"""
_BEHIND: Final = """
    SELECT balances.account_id::text FROM balances LEFT JOIN lot_positions USING (account_id)
     WHERE balances.account_id > %s AND transfer_count > coalesce(lot_positions.sequence, 0)
     ORDER BY balances.account_id LIMIT %s
"""
_DUE: Final = """
    SELECT account_id::text
      FROM (SELECT account_id FROM balances WHERE next_expiry_at <= %(now)s
             UNION SELECT account_id FROM lots WHERE rest_usd > 0 AND expires_at <= %(now)s) AS due
     WHERE due.account_id > %(after)s ORDER BY due.account_id LIMIT %(limit)s
"""
_SET_FROZEN: Final = "UPDATE lots SET is_frozen = %s WHERE account_id = %s AND id = ANY(%s::uuid[])"
_FROZEN: Final = """
    SELECT coalesce(sum(rest_usd), 0) FROM lots WHERE account_id = %s AND rest_usd > 0 AND is_frozen
"""
_REST: Final = """
    SELECT coalesce(sum(rest_usd), 0) FROM lots WHERE account_id = %s AND id = ANY(%s::uuid[])
"""
NO_ACCOUNT: Final = "00000000-0000-0000-0000-000000000000"


class Position(NamedTuple):
    """The last transfer laid on the lots, None and 0 before the first; how many movements that made."""

    sequence: int
    recorded_at: datetime | None
    movement_count: int


def lock_position(connection: Connection[Any], account_id: str) -> Position | None:
    """The account's position, locked until the end; None where there is no such account."""
    with connection.pipeline():
        connection.execute(_OPEN_POSITION, [account_id])
        row = connection.execute(_LOCK_POSITION, [account_id]).fetchone()
    return None if row is None else Position(*row)


def list_entries(connection: Connection[Any], account_id: str, after: Position, limit: int) -> list[Entry]:
    """Up to `limit` transfers after the position, in their order."""
    found = connection.execute(_ENTRIES, [account_id, after.recorded_at, after.sequence, limit])
    entries = [_entry(*row) for row in found]
    granted = [entry.transfer_id for entry in entries if entry.kind is TransferKind.GRANT]
    if not granted:
        return entries
    rows = connection.execute(_TERMS, [account_id, array(granted)])
    terms = {transfer_id: Terms(*rest) for transfer_id, *rest in rows}
    return [entry._replace(terms=terms.get(entry.transfer_id, entry.terms)) for entry in entries]


def read_allocation(
    connection: Connection[Any], account_id: str, position: Position, needs: Needs
) -> Allocation:
    """The account's lots and debts as they stand at the position, as far as they are needed."""
    rows = connection.execute(_LOTS if needs.all_lots else _WITH_REST, [position.sequence, account_id])
    lots = [_lot(row) for row in rows]
    owed = _owed(connection, account_id, needs.oldest_owed_pico, _OWED, 0)
    owed |= _owed(connection, account_id, needs.newest_owed_pico, _OWED_NEWEST, position.sequence + 1)
    return Allocation(lots, owed.values())


def keep_allocation(
    connection: Connection[Any], account_id: str, laid: Allocation, before: Position, last: Entry | None
) -> Position:
    """Write what the allocation changed, and the position behind its last entry, if it had any."""
    position = before._replace(movement_count=before.movement_count + len(laid.movements))
    if last is not None:
        position = position._replace(sequence=last.sequence, recorded_at=last.recorded_at)
    with connection.pipeline():
        _keep_lots(connection, account_id, laid.changed_lots.values())
        _keep_receivables(connection, account_id, laid.changed_receivables.values())
        _append_movements(connection, account_id, laid.movements, before.movement_count)
        connection.execute(_MOVE_POSITION, [*position, account_id])
    return position


def find_next_end(connection: Connection[Any], account_id: str, now: datetime) -> datetime | None:
    """When the next lot ends that has a rest, or may be given one back."""
    row = connection.execute(_NEXT_END, [account_id, now]).fetchone()
    return None if row is None else row[0]


def has_ended(connection: Connection[Any], account_id: str, now: datetime) -> bool:
    """Whether a lot has ended and still has a rest."""
    return connection.execute(_HAS_ENDED, [account_id, now]).fetchone() == (True,)


def set_frozen(
    connection: Connection[Any], account_id: str, lot_ids: Sequence[str], *, is_frozen: bool
) -> None:
    """Freeze or thaw lots; the account's position is locked."""
    connection.execute(_SET_FROZEN, [is_frozen, account_id, array(lot_ids)])


def sum_frozen(connection: Connection[Any], account_id: str) -> int:
    """What is left in the account's frozen lots."""
    return _sum(connection.execute(_FROZEN, [account_id]).fetchone())


def sum_rest(connection: Connection[Any], account_id: str, lot_ids: Sequence[str]) -> int:
    """What is left in these lots together."""
    return _sum(connection.execute(_REST, [account_id, array(lot_ids)]).fetchone())


def _sum(row: Sequence[Any] | None) -> int:
    return 0 if row is None else to_pico(row[0])


def list_paid(connection: Connection[Any], account_id: str, transfer_id: str) -> list[tuple[str, int]]:
    """What each lot has paid for the transfer, in picodollars, the last one first."""
    rows = connection.execute(_PAID, [account_id, transfer_id])
    return [(lot_id, to_pico(paid)) for lot_id, paid in rows]


def list_behind(connection: Connection[Any], after: str, limit: int) -> list[str]:
    """Up to `limit` accounts after the id `after` that have transfers which are not laid yet."""
    return [account_id for (account_id,) in connection.execute(_BEHIND, [after, limit])]


def list_due(connection: Connection[Any], after: str, limit: int, now: datetime) -> list[str]:
    """Up to `limit` accounts after the id `after` whose credit has ended, or may have."""
    rows = connection.execute(_DUE, {"now": now, "after": after, "limit": limit})
    return [account_id for (account_id,) in rows]


def _owed(
    connection: Connection[Any], account_id: str, enough_pico: int, query: str, beyond: int
) -> dict[str, Receivable]:
    """Debts from one end until they make up `enough_pico`, or all that there are."""
    found: dict[str, Receivable] = {}
    while enough_pico > 0:
        rows = connection.execute(query.encode(), [account_id, beyond, _PAGE]).fetchall()
        for transfer_id, sequence, owed in rows:
            found[transfer_id] = Receivable(transfer_id, sequence, to_pico(owed))
            enough_pico -= found[transfer_id].owed_pico
            beyond = sequence
            if enough_pico <= 0:
                return found
        if len(rows) < _PAGE:
            return found
    return found


def _entry(
    transfer_id: str,
    sequence: int,
    recorded_at: datetime,
    kind: str,
    effect: Decimal,
    reverses_id: str | None,
) -> Entry:
    known = TransferKind(kind)
    return Entry(transfer_id, sequence, recorded_at, known, to_pico(effect), reverses_id, terms_of(known))


def _lot(row: Sequence[Any]) -> Lot:
    lot_id, sequence, kind, priority, expires_at, amount, rest, used, created_at, is_frozen, is_reversed = row
    return Lot(
        lot_id,
        sequence,
        Terms(kind, priority, expires_at),
        to_pico(amount),
        to_pico(rest),
        to_pico(used),
        created_at,
        is_reversed,
        is_frozen,
    )


def _keep_lots(connection: Connection[Any], account_id: str, lots: Iterable[Lot]) -> None:
    kept = list(lots)
    if kept:
        columns = [
            array(lot.id for lot in kept),
            array(lot.terms.kind for lot in kept),
            array(lot.terms.priority for lot in kept),
            moments(lot.terms.expires_at for lot in kept),
            array(lot.sequence for lot in kept),
            array(to_number(lot.amount_pico) for lot in kept),
            array(to_number(lot.rest_pico) for lot in kept),
            array(to_number(lot.used_pico) for lot in kept),
            moments(lot.created_at for lot in kept),
        ]
        connection.execute(_KEEP_LOTS, [account_id, *columns])


def _keep_receivables(connection: Connection[Any], account_id: str, owed: Iterable[Receivable]) -> None:
    kept = list(owed)
    if kept:
        columns = [
            array(one.transfer_id for one in kept),
            array(one.sequence for one in kept),
            array(to_number(one.owed_pico) for one in kept),
        ]
        connection.execute(_KEEP_RECEIVABLES, [account_id, *columns])


def _append_movements(
    connection: Connection[Any], account_id: str, movements: Sequence[Movement], before: int
) -> None:
    if movements:
        columns = [
            text_array(one.lot_id for one in movements),
            array(one.transfer_id for one in movements),
            text_array(one.settles_id for one in movements),
            array(to_number(one.amount_pico) for one in movements),
            moments(one.recorded_at for one in movements),
        ]
        connection.execute(_APPEND_MOVEMENTS, [account_id, before, *columns])
