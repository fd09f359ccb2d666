"""The auditor, who asks whether the books keep their laws."""

from __future__ import annotations

from metering.ledger.invariants import Breach, Law
from metering.storage import audit
from metering.storage.database import Database


def check_books(database: Database) -> list[Breach]:
    """Every breach of every law, all seen at the same moment; empty when all is well."""
    with database.snapshot() as connection:
        return [breach for law in Law for breach in audit.find_breaches(connection, law)]
