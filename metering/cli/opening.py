"""What a command that works on the database begins with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from metering.app import Storage
from metering.config import Settings
from metering.storage.database import Database


@contextmanager
def opened_database() -> Iterator[Database]:
    """The configured database, or the embedded one; raises `ConfigurationError` unless it is at head."""
    database = Storage.open(Settings.from_environment()).database
    try:
        database.require_head()
        yield database
    finally:
        database.close()
