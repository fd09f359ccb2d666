"""What keeps lots up to date, so that nobody who reads them has to wait for it."""

from __future__ import annotations

import time
from typing import Final

from metering import telemetry
from metering.services.lots import expire_due
from metering.storage.database import Database

# How often to say how far it has come, where there is much to do, such as after an upgrade.
PROGRESS_SECONDS: Final = 30
_LOG: Final = telemetry.log(__name__)


def settle_lots(database: Database) -> int:
    """Lay new transfers on the lots of every account, and expire the credit whose time is up: how many."""
    laid, said_at = 0, time.monotonic()

    def tell(more: int) -> None:
        nonlocal laid, said_at
        laid += more
        if time.monotonic() - said_at > PROGRESS_SECONDS:
            said_at = time.monotonic()
            _LOG.info("settling lots", transfers=laid)

    expired = expire_due(database, tell=tell)
    return laid + expired
