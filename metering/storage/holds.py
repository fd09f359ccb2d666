"""Rows of holds and of their extensions: found, opened, extended and closed under their accounts' locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.ledger.holds import Closing, Hold, HoldState
from metering.money import to_number
from metering.storage.asked import ACCOUNTS_ASKED, Asked, binary_array
from metering.storage.copying import array, text_array

_COLUMNS: Final = """
    h.id::text, h.account_id::text, h.state, (h.authorized_usd * 1000000000000)::numeric(38,0)::text,
    (h.amount_usd * 1000000000000)::numeric(38,0)::text,
    (h.captured_usd * 1000000000000)::numeric(38,0)::text, h.event_id, h.api_key_id::text, h.model, h.tokens,
    h.created_at, h.expires_at, h.closed_at
"""
# What is looked up here is looked up by index, a few rows at a time, however large the tables: a plan made
# once is right for ever, also one made while they are empty. Planning anew took twice as long as the rest.
_PIN: Final = """
    SELECT set_config('plan_cache_mode', 'force_generic_plan', true),
           set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
           set_config('enable_mergejoin', 'off', true)
"""
_FIND: Final = f"""
    SELECT {_COLUMNS}
      FROM unnest(%s::uuid[], %s::uuid[]) AS asked (account_id, id)
      JOIN holds AS h ON h.account_id = asked.account_id AND h.id = asked.id
"""  # noqa: S608  (its parts are constants)
_FIND_BY_ID: Final = f"SELECT {_COLUMNS} FROM holds AS h WHERE h.id = ANY(%s::uuid[])"  # noqa: S608
_FIND_ENDING: Final = f"""
    SELECT {_COLUMNS} FROM holds AS h
     WHERE h.account_id = ANY({ACCOUNTS_ASKED}) AND h.state = 'open' AND h.expires_at <= %s
"""  # noqa: S608  (its parts are constants)
_LIST_ENDED: Final = f"""
    SELECT {_COLUMNS} FROM holds AS h
     WHERE h.account_id = %s AND h.state = 'open' AND h.expires_at <= %s
     ORDER BY h.expires_at LIMIT %s
"""  # noqa: S608  (its parts are constants)
_WITH_ENDED: Final = """
    SELECT account_id::text FROM holds
     WHERE state = 'open' AND expires_at <= %s AND account_id > %s
     GROUP BY holds.account_id ORDER BY holds.account_id LIMIT %s
"""
_FIND_BY_KEY: Final = f"""
    WITH asked AS MATERIALIZED (
        SELECT coalesce(account_id, (SELECT k.account_id FROM api_keys AS k
                                      WHERE k.key_hash = given.key_hash LIMIT 1)) AS account_id,
               idempotency_key
          FROM unnest(%s::uuid[], %s::bytea[], %s::text[]) AS given (account_id, key_hash, idempotency_key))
    SELECT {_COLUMNS}, h.idempotency_key, h.body_digest
      FROM asked JOIN holds AS h ON h.account_id = asked.account_id
                                AND h.idempotency_key = asked.idempotency_key
"""  # noqa: S608  (its parts are constants)
# `state` is as of a moment, for time alone ends a hold.
_LIST: Final = f"""
    SELECT {_COLUMNS}
      FROM holds AS h
     WHERE h.account_id = %(account_id)s AND (%(after)s::uuid IS NULL OR h.id > %(after)s::uuid)
       AND {{}}
     ORDER BY h.id LIMIT %(limit)s
"""  # noqa: S608  (its parts are constants)
_IN_STATE: Final = {
    None: "true",
    HoldState.OPEN: "h.state = 'open' AND h.expires_at > %(now)s",
    HoldState.CAPTURED: "h.state = 'captured'",
    HoldState.VOIDED: "h.state = 'voided'",
    HoldState.EXPIRED: "(h.state = 'expired' OR h.state = 'open' AND h.expires_at <= %(now)s)",
}
_FIND_EXTENSIONS: Final = """
    SELECT e.hold_id::text, e.idempotency_key, e.body_digest,
           (e.overspend_usd * 1000000000000)::numeric(38,0)::text
      FROM unnest(%s::uuid[], %s::text[]) AS asked (hold_id, idempotency_key)
      JOIN holds AS h ON h.id = asked.hold_id
      JOIN hold_extensions AS e ON e.account_id = h.account_id AND e.hold_id = h.id
                               AND e.idempotency_key = asked.idempotency_key
"""
_INSERT: Final = """
    INSERT INTO holds (state, account_id, id, authorized_usd, amount_usd, api_key_id, model, tokens,
                       idempotency_key, body_digest, created_at, expires_at)
    SELECT 'open', * FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[], %s::numeric[], %s::uuid[], %s::text[],
                                 %s::bigint[], %s::text[], %s::bytea[], %s::timestamptz[], %s::timestamptz[])
"""
_EXTEND: Final = """
    UPDATE holds AS kept SET amount_usd = grown.amount_usd, expires_at = grown.expires_at
      FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[], %s::timestamptz[])
           AS grown (account_id, id, amount_usd, expires_at)
     WHERE kept.account_id = grown.account_id AND kept.id = grown.id
"""
_APPEND_EXTENSIONS: Final = """
    INSERT INTO hold_extensions (account_id, hold_id, id, amount_usd, overspend_usd, idempotency_key,
                                 body_digest, created_at)
    SELECT *, %s::timestamptz FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::numeric[], %s::numeric[],
                                          %s::text[], %s::bytea[])
"""
# A hold that time has ended was closed when its time was up, not when somebody noticed. Asked for as not
# closed, which is open: `state = 'open'` would tempt the planner to walk the index of all that are open.
_CLOSE: Final = """
    UPDATE holds AS kept
       SET state = closing.state, captured_usd = closing.captured_usd, event_id = closing.event_id,
           closed_at = CASE WHEN closing.state = 'expired' THEN kept.expires_at ELSE %s END
      FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::numeric(38,12)[], %s::text[])
           AS closing (account_id, id, state, captured_usd, event_id)
     WHERE kept.account_id = closing.account_id AND kept.id = closing.id AND kept.closed_at IS NULL
"""


class NewHold(NamedTuple):
    """A hold that is to be recorded, and what tells a repeated call from another."""

    hold: Hold
    idempotency_key: str | None
    body_digest: bytes


class FoundByKey(NamedTuple):
    """A hold found by its idempotency key."""

    hold: Hold
    idempotency_key: str
    body_digest: bytes


class Extension(NamedTuple):
    """An increment to a hold; `overspend_pico` is by how much it went beyond what was available."""

    account_id: str
    hold_id: str
    id: str
    amount_pico: int
    overspend_pico: int
    idempotency_key: str | None
    body_digest: bytes


class FoundExtension(NamedTuple):
    """An extension found by its idempotency key."""

    hold_id: str
    idempotency_key: str
    body_digest: bytes
    overspend_pico: int


def pin_plans(connection: Connection[Any]) -> None:
    """Let this transaction look up rows by index alone, and plan no statement twice."""
    connection.execute(_PIN)


def find_many(
    connection: Connection[Any], keys: Iterable[tuple[str, str]]
) -> Iterable[tuple[tuple[str, str], Hold]]:
    """(key, hold) of those that exist, of the keys (account_id, id) asked for.

    In a pipeline, to be read after its end.
    """
    asked = list(keys)
    accounts, holds = array(account for account, _ in asked), array(hold for _, hold in asked)
    return connection.cursor(row_factory=_keyed).execute(_FIND, [accounts, holds])


def find_by_id(connection: Connection[Any], hold_ids: Iterable[str]) -> Iterable[Hold]:
    """The holds that exist; in a pipeline, to be read after its end."""
    return connection.cursor(row_factory=_row).execute(_FIND_BY_ID, [array(hold_ids)])


def find_ending(connection: Connection[Any], asked: Asked, until: datetime) -> Iterable[Hold]:
    """The accounts' open holds whose time is up at `until`; in a pipeline, to be read after its end."""
    return connection.cursor(row_factory=_row).execute(_FIND_ENDING, [*asked, until])


def list_ended(connection: Connection[Any], account_id: str, now: datetime, limit: int) -> list[Hold]:
    """Up to `limit` of the account's open holds whose time was up at `now`, those that ended first."""
    return connection.cursor(row_factory=_row).execute(_LIST_ENDED, [account_id, now, limit]).fetchall()


def list_accounts_with_ended(connection: Connection[Any], after: str, now: datetime, limit: int) -> list[str]:
    """Up to `limit` accounts after the id `after` that have such holds."""
    return [account_id for (account_id,) in connection.execute(_WITH_ENDED, [now, after, limit])]


def find_by_idempotency_key(
    connection: Connection[Any], given: Sequence[tuple[str | None, bytes | None, str]]
) -> Iterable[FoundByKey]:
    """The holds under (account_id or None, key_hash or None, idempotency_key); the account is one of both.

    In a pipeline, to be read after its end.
    """
    columns = [
        text_array(account_id for account_id, _, _ in given),
        binary_array([key_hash for _, key_hash, _ in given]),
        text_array(key for _, _, key in given),
    ]
    return connection.cursor(row_factory=_by_key).execute(_FIND_BY_KEY, columns)


def find_extensions(
    connection: Connection[Any], given: Sequence[tuple[str, str]]
) -> Iterable[FoundExtension]:
    """The extensions under (hold_id, idempotency_key); in a pipeline, to be read after its end."""
    columns = [array(hold_id for hold_id, _ in given), text_array(key for _, key in given)]
    return connection.cursor(row_factory=_extension).execute(_FIND_EXTENSIONS, columns)


def list_holds(
    connection: Connection[Any],
    account_id: str,
    state: HoldState | None,
    now: datetime,
    *,
    after: str | None,
    limit: int,
) -> list[Hold]:
    """Up to `limit` of the account's holds, oldest first, those after the id `after`; in a state at `now`."""
    asked = {"account_id": account_id, "after": after, "limit": limit, "now": now}
    cursor = connection.cursor(row_factory=_row)
    return cursor.execute(_LIST.format(_IN_STATE[state]).encode(), asked).fetchall()


def insert_many(connection: Connection[Any], new: Sequence[NewHold]) -> None:
    """Record open holds, whose accounts are locked. No-op when empty."""
    if new:
        holds = [one.hold for one in new]
        columns = [
            array(hold.account_id for hold in holds),
            array(hold.id for hold in holds),
            array(to_number(hold.authorized_pico) for hold in holds),
            array(to_number(hold.amount_pico) for hold in holds),
            text_array(hold.api_key_id for hold in holds),
            text_array(hold.model for hold in holds),
            array(hold.tokens for hold in holds),
            text_array(one.idempotency_key for one in new),
            binary_array([one.body_digest for one in new]),
            array(hold.created_at for hold in holds),
            array(hold.expires_at for hold in holds),
        ]
        connection.execute(_INSERT, columns)


def extend_many(
    connection: Connection[Any], grown: Sequence[Hold], extensions: Sequence[Extension], at: datetime
) -> None:
    """Keep what holds have grown to, and each increment; their accounts are locked. No-op when empty."""
    if extensions:
        columns = [
            array(hold.account_id for hold in grown),
            array(hold.id for hold in grown),
            array(to_number(hold.amount_pico) for hold in grown),
            array(hold.expires_at for hold in grown),
        ]
        connection.execute(_EXTEND, columns)
        columns = [
            array(one.account_id for one in extensions),
            array(one.hold_id for one in extensions),
            array(one.id for one in extensions),
            array(to_number(one.amount_pico) for one in extensions),
            array(to_number(one.overspend_pico) for one in extensions),
            text_array(one.idempotency_key for one in extensions),
            binary_array([one.body_digest for one in extensions]),
        ]
        connection.execute(_APPEND_EXTENSIONS, [at, *columns])


def close_many(connection: Connection[Any], closings: Sequence[Closing], at: datetime) -> None:
    """Close open holds, whose accounts are locked; `Books.held_pico` is the caller's to lower."""
    if closings:
        columns = [
            array(one.account_id for one in closings),
            array(one.id for one in closings),
            array(one.state for one in closings),
            text_array(
                None if one.captured_pico is None else to_number(one.captured_pico) for one in closings
            ),
            text_array(one.event_id for one in closings),
        ]
        connection.execute(_CLOSE, [at, *columns])


def _hold(row: Sequence[Any]) -> Hold:
    captured_pico = None if row[5] is None else int(row[5])
    return Hold(row[0], row[1], HoldState(row[2]), int(row[3]), int(row[4]), captured_pico, *row[6:13])


def _row(_cursor: object) -> Callable[[Sequence[Any]], Hold]:
    return _hold


def _keyed(_cursor: object) -> Callable[[Sequence[Any]], tuple[tuple[str, str], Hold]]:
    return lambda row: ((row[1], row[0]), _hold(row))


def _by_key(_cursor: object) -> Callable[[Sequence[Any]], FoundByKey]:
    return lambda row: FoundByKey(_hold(row), row[13], row[14])


def _extension(_cursor: object) -> Callable[[Sequence[Any]], FoundExtension]:
    return lambda row: FoundExtension(row[0], row[1], row[2], int(row[3]))
