"""An account held by somebody else, so that what a service does to it stands still."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from tests.crash.service import PATIENCE_SECONDS

_BLOCKED: Final = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@contextmanager
def locked(url: str, account_id: str) -> Iterator[None]:
    """Hold the account's balance: nothing of it can be recorded meanwhile."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT FROM balances WHERE account_id = %s FOR UPDATE", [account_id])
        yield


def wait_until_blocked(url: str, sessions: int = 1) -> None:
    """Wait until so many sessions of this database wait for a lock."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(_BLOCKED).fetchone() != (sessions,):
            assert time.monotonic() < deadline
            time.sleep(0.02)
