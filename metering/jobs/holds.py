"""What closes expired holds, so that no request has to."""

from __future__ import annotations

import time
from typing import Final

from metering import telemetry
from metering.services.hold_expiry import close_expired
from metering.storage.database import Database

_LOG: Final = telemetry.log(__name__)


def close_holds(database: Database) -> None:
    """Close the holds whose time is up."""
    begun = time.monotonic()
    closed = close_expired(database)
    if closed:
        _LOG.info("expired holds closed", holds=closed, seconds=f"{time.monotonic() - begun:.1f}")
