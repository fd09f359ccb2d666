"""The job that checks the books."""

from __future__ import annotations

import time
from collections import Counter
from threading import Event
from typing import Final

from metering import telemetry
from metering.ledger.invariants import Breach, Law
from metering.services.audit import Looked, iter_checks
from metering.services.history import list_unpriced
from metering.storage.database import Database

_LOG: Final = telemetry.log(__name__)


def check(database: Database, stopping: Event) -> int:
    """Check every law of the books until the end, or until `stopping` is set: of how many accounts.

    Each breach is an error in the log as soon as it is found, and counted in the metric by its law.
    """
    begun = time.monotonic()
    found: Counter[Law] = Counter()
    looked = Looked()
    for checked in iter_checks(database):
        if stopping.is_set():
            _LOG.info("check of the books stopped", breaches=found.total(), **looked._asdict())
            return looked.accounts
        looked = checked.looked
        for breach in checked.breaches:
            _raise_alarm(breach)
            found[breach.law] += 1
            telemetry.BREACHES.labels(breach.law.name.lower()).set(found[breach.law])
    for law in Law:
        telemetry.BREACHES.labels(law.name.lower()).set(found[law])
    unpriced = sum(events for _, _, events, *_ in list_unpriced(database))
    telemetry.UNPRICED_EVENTS.set(unpriced)
    seconds = f"{time.monotonic() - begun:.1f}"
    told = {"breaches": found.total(), **looked._asdict(), "unpriced": unpriced}
    _LOG.info("books checked", seconds=seconds, **told)
    return looked.accounts


def _raise_alarm(breach: Breach) -> None:
    _LOG.error(
        "a law of the books is broken",
        law=breach.law.name.lower(),
        says=breach.law,
        account_id=breach.account_id,
        thing=breach.thing,
        expected=breach.expected,
        found=breach.found,
    )
