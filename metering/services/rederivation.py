"""Ratings derived again: each event's stored usage, priced by the stored book that priced it.

The same usage and the same book give the same line items to the last digit, for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from cachetools import LRUCache

from metering.errors import InvalidUsage, PriceBookError
from metering.ledger.invariants import Breach, Law
from metering.money import to_number
from metering.pricing.compiler import compile_book, digest
from metering.rating.engine import Rater
from metering.rating.rating import Unpriced
from metering.storage import audit_ratings, price_books
from metering.storage.audit import Extent
from metering.storage.audit_ratings import Place, Rated
from metering.storage.database import Database, driver

PAGE_EVENTS: Final = 1_000
# Most events were priced by the newest few.
_BOOKS_AT_ONCE: Final = 8
_USAGE: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_Read: TypeAlias = Callable[[Any, Extent, Place | None, int], list[Rated]]


class Rederived(NamedTuple):
    """A page of ratings derived again: how many events were among them, and what differs."""

    events: int
    breaches: list[Breach]


class _Figures(NamedTuple):
    """What a rating says; None where it says nothing.

    Of what has no price, `unpriced` is the meter: in what words the reason is given may change.
    """

    cost: str | None = None
    line_items: str | None = None
    tier: str | None = None
    unpriced: str | None = None


class KeptBooks:
    """The raters of the books that are kept, made when they are asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._raters: LRUCache[bytes, Rater] = LRUCache(_BOOKS_AT_ONCE)
        self._breaches: dict[bytes, Breach] = {}
        self._told: set[bytes] = set()

    def check(self) -> list[Breach]:
        """The breaches of every book that is kept."""
        with self._database.snapshot() as connection:
            digests = price_books.list_digests(connection)
        for book_digest in digests:
            self.find_rater(book_digest)
        return self.take_breaches()

    def find_rater(self, book_digest: bytes) -> Rater | None:
        """The rater of the book under this digest; None where it isn't kept as it was."""
        if book_digest not in self._raters and book_digest not in self._breaches:
            self._read(book_digest)
        return self._raters.get(book_digest)

    def take_breaches(self) -> list[Breach]:
        """The breaches of books that were not taken before."""
        news = [breach for key, breach in self._breaches.items() if key not in self._told]
        self._told.update(self._breaches)
        return news

    def _read(self, book_digest: bytes) -> None:
        with self._database.snapshot() as connection:
            documents = price_books.find_documents(connection, book_digest)
        if documents is None:
            found = "no such book"
        elif (now_digest := digest(documents)) != book_digest:
            found = now_digest.hex()
        else:
            try:
                self._raters[book_digest] = Rater(compile_book(documents))
            except PriceBookError as error:
                found = f"it doesn't compile: {error.problems[0]}"
            else:
                return
        expected = book_digest.hex()
        self._breaches[book_digest] = Breach(Law.BOOK, None, f"price book {expected}", expected, found)


def rederive(database: Database, books: KeptBooks, extent: Extent, page_events: int) -> Iterator[Rederived]:
    """Derive every rating of the extent again, page by page, each page in a transaction of its own."""
    for page in _pages(database, extent, audit_ratings.list_events, page_events):
        yield Rederived(len(page), _breaches(books, page))
    for page in _pages(database, extent, audit_ratings.list_corrections, page_events):
        yield Rederived(0, _breaches(books, page))


def _pages(database: Database, extent: Extent, read: _Read, most: int) -> Iterator[list[Rated]]:
    after: Place | None = None
    while True:
        with database.snapshot() as connection:
            page = read(driver(connection), extent, after, most)
        if page:
            yield page
        if len(page) < most:
            return
        after = page[-1].place


def _breaches(books: KeptBooks, page: list[Rated]) -> list[Breach]:
    found = [breach for rated in page if (breach := _breach(books, rated)) is not None]
    return [*books.take_breaches(), *found]


def _breach(books: KeptBooks, rated: Rated) -> Breach | None:
    thing = f"event {rated.event_id}" + (f", correction {rated.number}" if rated.number else "")
    if rated.book_digest is None:
        return Breach(Law.RATING, rated.account_id, thing, "the digest of a price book", "none")
    rater = books.find_rater(rated.book_digest)
    if rater is None:
        return None  # said once, of the book
    found, expected = _stored(rated), _derived(rater, rated)
    if found == expected:
        return None
    name = next(name for name in _Figures._fields if getattr(found, name) != getattr(expected, name))
    texts = (f"{name} {getattr(figures, name)}" for figures in (expected, found))
    return Breach(Law.RATING, rated.account_id, thing, *texts)


def _stored(rated: Rated) -> _Figures:
    cost = None if rated.cost_pico is None else to_number(rated.cost_pico)
    unpriced = f"meter {rated.meter}" if rated.is_unpriced else None
    return _Figures(cost, rated.line_items, rated.pricing_tier_label, unpriced)


def _derived(rater: Rater, rated: Rated) -> _Figures:
    try:
        usage: Mapping[str, object] = _USAGE.decode(rated.usage)
        rating = rater.rate(rated.model, usage, rated.created_at, failed=rated.failed)
    except (InvalidUsage, msgspec.ValidationError) as error:
        return _Figures(unpriced=f"usage that can't be rated: {error}")
    if isinstance(rating, Unpriced):
        return _Figures(unpriced=f"meter {rating.meter}")
    line_items = f"[{','.join([item.as_json() for item in rating.line_items])}]"
    return _Figures(to_number(rating.cost_pico), line_items, rating.pricing_tier_label)
