"""Who looks at the books while everything happens, and when it is over."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from itertools import islice
from typing import Final

import psycopg

from metering.errors import Unavailable
from metering.services.audit import check_books
from metering.storage.database import Database
from tests.crash.fleet import Fleet
from tests.crash.recorded import find_overspent, read_recorded
from tests.crash.service import Background
from tests.crash.told import Told
from tests.crash.verdict import compare, compare_all

_LOOK_SECONDS: Final = 0.5
# A look takes longer the more there is: it may have this part of the time, and a whole check the same.
_PART: Final = 0.2
_AWAY: Final = (psycopg.OperationalError, Unavailable)
_FEW: Final = 20
_ALARM: Final = "a law of the books is broken"


class Watch(Background):
    """Compares what clients were told with what is recorded; `found` is set once something is wrong."""

    def __init__(self, fleet: Fleet, told: Told) -> None:
        super().__init__()
        self._fleet = fleet
        self._told = told
        self._lock = threading.Lock()
        self.found = threading.Event()
        self.findings: list[str] = []
        self.checks = 0
        self.corrections: Counter[str] = Counter()

    def report(self, findings: Iterable[str]) -> None:
        """Something is wrong, and that is the end of the run."""
        some = list(islice(findings, _FEW))
        with self._lock:
            self.findings += [one for one in some if one not in self.findings]
            if some:
                self.found.set()

    def look_at_everything(self) -> None:
        """When everybody has been answered and nobody dies any more; raises where the database is away."""
        with closing(Database(self._fleet.url)) as database:
            self.report(map(str, check_books(database)))
        with psycopg.connect(self._fleet.url) as connection:
            self.report(find_overspent(connection))
        with psycopg.connect(self._fleet.url) as connection:
            recorded = read_recorded(connection)
        self.report(compare_all(self._told, recorded))
        self.corrections.update(row.kind for rows in recorded.corrections.values() for row in rows)
        if _ALARM in self._fleet.worker.said():
            self.report([f"the worker says that {_ALARM}"])

    def _run(self) -> None:
        pause, next_check = _LOOK_SECONDS, time.monotonic() + 1
        while not self._over.wait(pause) and not self.found.is_set():
            with suppress(*_AWAY):
                began = time.monotonic()
                with psycopg.connect(self._fleet.url) as connection:
                    self.report(find_overspent(connection))
                looked = time.monotonic()
                pause = max(_LOOK_SECONDS, (looked - began) / _PART)
                if looked > next_check:
                    self._check()
                    next_check = time.monotonic() + (time.monotonic() - looked) / _PART

    def _check(self) -> None:
        told = self._told.so_far()
        with psycopg.connect(self._fleet.url) as connection:
            self.report(compare(told, read_recorded(connection)))
        with closing(Database(self._fleet.url, pool_size=1)) as database:
            self.report(map(str, check_books(database)))
        self.checks += 1
