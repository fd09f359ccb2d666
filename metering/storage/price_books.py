"""Rows of price_books: every book that priced an event, by its digest, for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, cast, select
from sqlalchemy.dialects.postgresql import insert

from metering.storage.tables import price_books


def keep(connection: Connection, digest: bytes, documents: Mapping[str, object], at: datetime) -> None:
    """Add a book's documents unless they are kept already."""
    # Through JSON once: a YAML date or time becomes the text that the compiler reads too.
    plain = json.loads(json.dumps(documents, default=lambda moment: moment.isoformat()))
    connection.execute(
        insert(price_books)
        .values(digest=digest, documents=plain, recorded_at=at)
        .on_conflict_do_nothing(index_elements=["digest"])
    )


def list_digests(connection: Connection) -> list[bytes]:
    """The digests under which books are kept, the first one kept first."""
    return list(
        connection.scalars(
            select(price_books.c.digest).order_by(price_books.c.recorded_at, price_books.c.digest)
        )
    )


def find_documents(connection: Connection, digest: bytes) -> dict[str, Any] | None:
    """The documents kept under a digest, as the compiler reads them."""
    # As JSON has them, for the digest is over numbers as they were written.
    text = connection.scalar(
        select(cast(price_books.c.documents, Text)).where(price_books.c.digest == digest)
    )
    documents: dict[str, Any] | None = None if text is None else json.loads(text)
    return documents
