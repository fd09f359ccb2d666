"""Which jobs this worker may run, so that many workers do the work once.

A worker holds a job's lease from run to run, and renews all it holds by one statement every few seconds: one
that was killed is replaced within a lease, however long its run would have taken. A lease is thrift, not
safety: a worker that sleeps for longer finds its jobs run by another, so two runs at once must be harmless.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from metering.storage import jobs
from metering.storage.database import Database, driver

LEASE: Final = timedelta(seconds=10)
RENEW_SECONDS: Final = 3


class Leases:
    """The leases of one process; its `keep` is to be called every `RENEW_SECONDS`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
        self._held: frozenset[str] = frozenset()
        self._held_until = 0.0

    def keep(self, names: Collection[str]) -> None:
        """Renew the leases of these jobs and take those that nobody holds; the others lapse."""
        asked_at = time.monotonic()
        with self._database.transaction() as connection:
            held = jobs.keep(driver(connection), names, self._holder, LEASE)
        self._held, self._held_until = frozenset(held), asked_at + LEASE.total_seconds()

    def holds(self, name: str) -> bool:
        """Whether this process may run the job."""
        return name in self._held and time.monotonic() < self._held_until

    def release(self) -> None:
        """Let others run the jobs at once."""
        self._held = frozenset()
        with self._database.transaction() as connection:
            jobs.release(driver(connection), self._holder)
