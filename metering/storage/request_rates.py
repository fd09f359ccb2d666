"""Rows of request_rates: what each account was granted in the last two minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.ledger.request_rate import Limits, Rate
from metering.storage.asked import ACCOUNTS_ASKED, Asked
from metering.storage.copying import array

_FIND: Final = f"""
    SELECT a.account_id::text, a.requests_per_minute, a.tokens_per_minute, r.window_started_at, r.requests,
           r.tokens::text, r.previous_requests, r.previous_tokens::text
      FROM accounts AS a LEFT JOIN request_rates AS r ON r.account_id = a.account_id
     WHERE a.account_id = ANY({ACCOUNTS_ASKED})
"""  # noqa: S608  (its parts are constants)
_KEEP: Final = """
    INSERT INTO request_rates AS kept
           (account_id, window_started_at, requests, tokens, previous_requests, previous_tokens)
    SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::bigint[], %s::numeric[], %s::bigint[],
                         %s::numeric[])
        ON CONFLICT (account_id) DO UPDATE
       SET window_started_at = excluded.window_started_at, requests = excluded.requests,
           tokens = excluded.tokens, previous_requests = excluded.previous_requests,
           previous_tokens = excluded.previous_tokens
"""


class Granted(NamedTuple):
    """An account's limits, and what it was granted lately; None where it never was."""

    account_id: str
    limits: Limits
    rate: Rate | None


def find_many(connection: Connection[Any], asked: Asked) -> Iterable[Granted]:
    """Those of the accounts that exist, whose balances are locked; in a pipeline, to be read after it."""
    return connection.cursor(row_factory=_granted).execute(_FIND, asked)


def keep_many(connection: Connection[Any], rates: Mapping[str, Rate]) -> None:
    """Keep rates by account_id; the accounts' balances are locked. No-op when empty."""
    if rates:
        columns = [
            array(rates),
            array(rate.started_at for rate in rates.values()),
            array(rate.requests for rate in rates.values()),
            array(rate.tokens for rate in rates.values()),
            array(rate.previous_requests for rate in rates.values()),
            array(rate.previous_tokens for rate in rates.values()),
        ]
        connection.execute(_KEEP, columns)


def _granted(_cursor: object) -> Callable[[Sequence[Any]], Granted]:
    def read(row: Sequence[Any]) -> Granted:
        rate = None if row[3] is None else Rate(row[3], row[4], int(row[5]), row[6], int(row[7]))
        return Granted(row[0], Limits(row[1], row[2]), rate)

    return read
