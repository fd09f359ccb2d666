"""Rows of price_books: every book that priced an event, by its digest, for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from metering.storage.tables import price_books


def keep(connection: Connection, digest: bytes, documents: Mapping[str, object], at: datetime) -> None:
    """Add a book's documents unless they are kept already."""
    # Through JSON once: a YAML date becomes the text that the compiler reads too.
    plain = json.loads(json.dumps(documents, default=date.isoformat))
    connection.execute(
        insert(price_books)
        .values(digest=digest, documents=plain, recorded_at=at)
        .on_conflict_do_nothing(index_elements=["digest"])
    )
