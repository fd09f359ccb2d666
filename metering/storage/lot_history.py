"""What lots say to people: the list with what became of each, and what a transfer was paid with and for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.money import to_pico

# Immutable, so that pages are complete while lots are used up.
_TURN: Final = "priority, coalesce(expires_at, 'infinity'), kind = 'paid', sequence"
# What was taken back stands in the movements of the lot's reversal, and of the refunds and disputes of the
# top-up that brought it, as far as they are not undone; looking there costs a few index probes.
_LOTS: Final = f"""
    SELECT shown.id::text, shown.kind, shown.priority, shown.expires_at, shown.amount_usd, shown.rest_usd,
           shown.used_usd, coalesce(back.taken_usd, 0), grants.id::text, bought.top_up_id::text,
           transfers.reason, shown.created_at, shown.is_frozen
      FROM (SELECT * FROM lots
             WHERE account_id = %(account)s AND (rest_usd > 0 OR %(with_empty)s)
               AND (%(id)s::uuid IS NULL OR id = %(id)s)
               AND (%(after)s::uuid IS NULL OR ({_TURN}) >
                    (SELECT {_TURN} FROM lots WHERE account_id = %(account)s AND id = %(after)s))
             ORDER BY {_TURN} LIMIT %(limit)s) AS shown
      JOIN transfers USING (account_id, id)
      LEFT JOIN grants ON grants.account_id = shown.account_id AND grants.transfer_id = shown.id
      LEFT JOIN top_up_transfers AS bought ON bought.account_id = shown.account_id
           AND bought.transfer_id = shown.id AND num_nonnulls(bought.refund_id, bought.dispute_id) = 0
      LEFT JOIN LATERAL (
           SELECT sum(moved.amount_usd) AS taken_usd
             FROM (SELECT id FROM transfers
                    WHERE account_id = shown.account_id AND reverses_id = shown.id
                    UNION ALL
                   SELECT transfer_id FROM top_up_transfers
                    WHERE account_id = shown.account_id AND top_up_id = bought.top_up_id
                      AND num_nonnulls(refund_id, dispute_id) > 0) AS back
             JOIN lot_movements AS moved ON moved.account_id = shown.account_id
                                        AND moved.transfer_id = back.id AND moved.lot_id = shown.id) AS back
           ON true
     ORDER BY shown.priority, coalesce(shown.expires_at, 'infinity'), shown.kind = 'paid', shown.sequence
"""  # noqa: S608  (its parts are constants)
_TOTALS: Final = """
    SELECT (SELECT coalesce(sum(rest_usd), 0) FROM lots WHERE account_id = %(account)s AND rest_usd > 0),
           (SELECT coalesce(sum(owed_usd), 0) FROM receivables
             WHERE account_id = %(account)s AND owed_usd > 0)
"""
# The second condition finds cancelled debts, whose movements have no lot.
_PAYMENTS: Final = """
    SELECT lot_id::text, transfer_id::text, settles_id::text, amount_usd, recorded_at FROM lot_movements
     WHERE account_id = %(account)s AND transfer_id = %(transfer)s
     UNION ALL
    SELECT lot_id::text, transfer_id::text, settles_id::text, amount_usd, recorded_at FROM lot_movements
     WHERE account_id = %(account)s AND lot_id IS NULL AND settles_id = %(transfer)s
     ORDER BY recorded_at
"""
_OWED: Final = "SELECT owed_usd FROM receivables WHERE account_id = %s AND transfer_id = %s"
_PAID_FOR: Final = """
    SELECT transfer_id::text, sum(amount_usd), max(recorded_at) FROM lot_movements
     WHERE account_id = %s AND lot_id = %s GROUP BY transfer_id ORDER BY max(number) DESC LIMIT %s
"""
_CORRECTIONS: Final = """
    SELECT event_id, model, delta_usd, kind FROM corrections
     WHERE account_id = %s AND transfer_id = %s ORDER BY event_id, number
"""
_EVENTS: Final = """
    SELECT id, model, cost_usd, NULL, sequence FROM usage_events
     WHERE account_id = %s AND created_at > %s AND created_at <= %s AND transfer_id = %s
"""
# Events are recorded soon after they happened, as a rule; no index leads from a transfer to them.
_LOOK_BACK: Final = (timedelta(hours=1), timedelta(days=2), timedelta(days=60))
_PART_OF: Final = """
    SELECT top_up_id::text, refund_id::text, dispute_id FROM top_up_transfers
     WHERE account_id = %s AND transfer_id = %s
"""
_ACCOUNTS: Final = """
    SELECT accounts.account_id::text
      FROM accounts JOIN transfers ON transfers.account_id = accounts.account_id AND transfers.id = %s
"""


class KeptLot(NamedTuple):
    """A lot as it stands, in picodollars; whatever is not left was used, has expired or was taken back.

    `is_frozen`: its top-up is disputed.
    """

    id: str
    kind: str
    priority: int
    expires_at: datetime | None
    amount_pico: int
    rest_pico: int
    used_pico: int
    taken_back_pico: int
    grant_id: str | None
    top_up_id: str | None
    reason: str | None
    created_at: datetime
    is_frozen: bool

    @property
    def expired_pico(self) -> int:
        """What nobody used in time."""
        return self.amount_pico - self.rest_pico - self.used_pico - self.taken_back_pico


class Totals(NamedTuple):
    """An account's lots together: what is left, and what no lot has paid yet, in picodollars."""

    rest_pico: int
    owed_pico: int

    @property
    def balance_pico(self) -> int:
        """The posted balance after the last transfer laid on the lots."""
        return self.rest_pico - self.owed_pico


class Moved(NamedTuple):
    """What a lot paid for a transfer, or, without a lot, what a transfer cancelled of the debt of another."""

    lot_id: str | None
    transfer_id: str
    settles_id: str | None
    amount_pico: int
    recorded_at: datetime


class PaidFor(NamedTuple):
    """What a lot paid for a transfer altogether, less what was given back; `at` is the last time."""

    transfer_id: str
    amount_pico: int
    at: datetime


class EventShare(NamedTuple):
    """An event's part of a transfer; `correction` is the kind of correction, None for the event itself."""

    event_id: str
    model: str
    amount_pico: int
    correction: str | None


class PartOf(NamedTuple):
    """What a transfer is part of: a top-up, and of that a refund or a dispute where one is named."""

    top_up_id: str
    refund_id: str | None
    dispute_id: str | None


def list_lots(
    connection: Connection[Any], account_id: str, *, with_empty: bool, after: str | None, limit: int
) -> list[KeptLot]:
    """Up to `limit` lots in the order of spending, those behind the lot `after`."""
    return _lots(connection, account_id, with_empty=with_empty, after=after, limit=limit, id=None)


def find_lot(connection: Connection[Any], account_id: str, lot_id: str) -> KeptLot | None:
    """The lot that a transfer opened."""
    found = _lots(connection, account_id, with_empty=True, after=None, limit=1, id=lot_id)
    return found[0] if found else None


def get_totals(connection: Connection[Any], account_id: str) -> Totals:
    """The sums over all of the account's lots and debts."""
    row = connection.execute(_TOTALS, {"account": account_id}).fetchone()
    return Totals(0, 0) if row is None else Totals(to_pico(row[0]), to_pico(row[1]))


def list_movements(connection: Connection[Any], account_id: str, transfer_id: str) -> list[Moved]:
    """What paid for a transfer, what it gave back, and which debts it cancelled or had cancelled."""
    rows = connection.execute(_PAYMENTS, {"account": account_id, "transfer": transfer_id})
    return [Moved(lot, paid, settles, to_pico(usd), at) for lot, paid, settles, usd, at in rows]


def find_owed(connection: Connection[Any], account_id: str, transfer_id: str) -> int:
    """What no lot has paid yet of the transfer."""
    row = connection.execute(_OWED, [account_id, transfer_id]).fetchone()
    return 0 if row is None else to_pico(row[0])


def list_paid_for(connection: Connection[Any], account_id: str, lot_id: str, limit: int) -> list[PaidFor]:
    """Up to `limit` transfers that the lot paid for, newest first."""
    rows = connection.execute(_PAID_FOR, [account_id, lot_id, limit])
    return [PaidFor(transfer_id, to_pico(usd), at) for transfer_id, usd, at in rows]


def list_event_shares(
    connection: Connection[Any], account_id: str, transfer_id: str, recorded_at: datetime, cost_pico: int
) -> list[EventShare]:
    """The events and corrections that a transfer of revenue carries, which make up `cost_pico` together."""
    corrected = _shares(connection.execute(_CORRECTIONS, [account_id, transfer_id]).fetchall())
    cost_pico -= sum(share.amount_pico for share in corrected)
    events: list[tuple[Any, ...]] = []
    before: datetime | str = "infinity"
    starts: list[datetime | str] = [*(recorded_at - back for back in _LOOK_BACK), "-infinity"]
    for after in starts:
        if sum(to_pico(event[2]) for event in events) == cost_pico:
            break
        events += connection.execute(_EVENTS, [account_id, after, before, transfer_id]).fetchall()
        before = after
    return _shares(sorted(events, key=itemgetter(-1))) + corrected


def find_top_up(connection: Connection[Any], account_id: str, transfer_id: str) -> PartOf | None:
    """The top-up that the transfer is part of, if it is of one."""
    row = connection.execute(_PART_OF, [account_id, transfer_id]).fetchone()
    return None if row is None else PartOf(*row)


def find_accounts(connection: Connection[Any], transfer_id: str) -> list[str]:
    """The accounts that have a transfer of this id, one as a rule: a probe of an index for each account."""
    return [account_id for (account_id,) in connection.execute(_ACCOUNTS, [transfer_id])]


def _lots(connection: Connection[Any], account_id: str, **named: object) -> list[KeptLot]:
    rows = connection.execute(_LOTS.encode(), {"account": account_id, **named})
    return [_lot(row) for row in rows]


def _lot(row: Sequence[Any]) -> KeptLot:
    lot_id, kind, priority, expires_at, amount, rest, used, taken_back, *given = row
    grant_id, top_up_id, reason, created_at, is_frozen = given
    return KeptLot(
        lot_id,
        kind,
        priority,
        expires_at,
        to_pico(amount),
        to_pico(rest),
        to_pico(used),
        to_pico(taken_back),
        grant_id,
        top_up_id,
        reason,
        created_at,
        is_frozen,
    )


def _shares(rows: Sequence[Sequence[Any]]) -> list[EventShare]:
    return [EventShare(event_id, model, to_pico(usd), kind) for event_id, model, usd, kind, *_ in rows]
