"""Keeping the price books that price events, so that every rating can be derived again."""

from __future__ import annotations

from datetime import datetime

from metering.pricing.book import PriceBook
from metering.storage import price_books
from metering.storage.database import Database


def keep_price_book(database: Database, book: PriceBook, at: datetime) -> None:
    """Keep the book under its digest, once, before it prices anything."""
    with database.transaction() as connection:
        price_books.keep(connection, book.digest, book.documents, at)
