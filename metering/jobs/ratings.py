"""Rating what had no price: whenever a service starts, for its book may be new, and by the worker."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from typing import Final

from metering import telemetry
from metering.errors import Unavailable
from metering.pricing.book import PriceBook
from metering.pricing.loader import load
from metering.rating.engine import Rater
from metering.services.rerating import rate_unpriced
from metering.storage.database import Database

# A chunk of events takes a fraction of this, unless its account's lock is hard to get.
_STOP_SECONDS: Final = 5
_LOG: Final = telemetry.log(__name__)


def rate_late(database: Database, price_book: Path, stopping: Event) -> int:
    """Rate what has no price yet by the book as it is in its directory now: how many got one."""
    rater = Rater(load(price_book))
    return rate_unpriced(database, rater, actor="worker", stopped=stopping.is_set).rated


class LateRating:
    """The same beside a service that has started, in a thread that nothing waits for."""

    def __init__(self, database: Database, book: PriceBook) -> None:
        self._database = database
        self._book = book
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="late-rating", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the events in hand; the others are rated another time."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            rater = Rater(self._book)
            rated = rate_unpriced(self._database, rater, actor="service", stopped=self._stopped.is_set)
            if rated.events:
                _LOG.info("unpriced events rated", events=rated.events, priced=rated.rated)
        except Unavailable as error:
            _LOG.warning("unpriced events were not all rated", reason=error.message)
