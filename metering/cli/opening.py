"""What a command that works on the database begins with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from metering import telemetry
from metering.app import Storage, open_cashier
from metering.config import Settings
from metering.errors import PaymentsUnavailable
from metering.services.cashier import Cashier
from metering.storage.database import Database


@contextmanager
def opened_database() -> Iterator[Database]:
    """The configured database, or the embedded one; raises `ConfigurationError` unless it is at head.

    Logs go to standard error, for standard output is the answer.
    """
    settings = Settings.from_environment()
    telemetry.configure_logging(settings.log_level, settings.api_key_prefix)
    database = Storage.open(settings).database
    try:
        database.require_head()
        yield database
    finally:
        database.close()


@contextmanager
def opened_cashier() -> Iterator[Cashier]:
    """The same with the payment processor; raises `PaymentsUnavailable` where none is configured."""
    with opened_database() as database:
        cashier = open_cashier(Settings.from_environment(), database)
        if cashier is None:
            raise PaymentsUnavailable("Payments are not configured here: METERING_STRIPE_API_KEY is not set.")
        yield cashier
