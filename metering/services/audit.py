"""The auditor, who asks whether the books keep their laws.

It goes from account to account by id, small accounts together: each part in a moment of its own, in bounded
memory, so that a check of a large ledger holds nobody up, and can be taken up again where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from metering.ledger.invariants import Breach, Law
from metering.services.rederivation import PAGE_EVENTS, KeptBooks, rederive
from metering.storage import accounts, audit
from metering.storage.audit import MAX_BREACHES, Extent
from metering.storage.database import Database, driver

_MAX_ACCOUNTS: Final = 500
PART_ROWS: Final = 100_000


class Looked(NamedTuple):
    """How many of each were looked at: of transfers and events, those recorded in the time asked for."""

    accounts: int = 0
    transfers: int = 0
    events: int = 0


class Checked(NamedTuple):
    """How far a check has come.

    `rows` is about how many of those that `count_rows` counts were done since it began. `account_id` is the
    last account done, in the order of ids, after which another check can go on; None before the first.
    `breaches` are those found since the last time; `looked` is what was looked at since it began.
    """

    rows: int
    account_id: str | None
    breaches: list[Breach]
    looked: Looked = Looked()


def check_books(
    database: Database, *, account_id: str | None = None, since: datetime | None = None
) -> list[Breach]:
    """Every breach of every law, up to a hundred of each; empty when all is well. See `iter_checks`."""
    checks = iter_checks(database, account_id=account_id, since=since)
    return [breach for checked in checks for breach in checked.breaches]


def left_out(since: datetime | None) -> frozenset[Law]:
    """The laws that a check from that time on can't vouch for, for they need all of history."""
    return frozenset() if since is None else audit.LEFT_OUT_SINCE


def count_rows(database: Database, *, account_id: str | None = None, after: str | None = None) -> int:
    """About how many accounts, transfers and events `iter_checks` would go through."""
    with database.snapshot() as connection:
        return audit.count_rows(driver(connection), account_id=account_id, after=after)


def iter_checks(
    database: Database,
    *,
    account_id: str | None = None,
    since: datetime | None = None,
    after: str | None = None,
    part_rows: int = PART_ROWS,
    page_events: int = PAGE_EVENTS,
) -> Iterator[Checked]:
    """Check the price books and then account by account; or one account, or those after the id `after`.

    With `since` only what was recorded since then: what was there before is trusted, and so the sum of all
    transfers is not formed, but their chain is followed from there on. Accounts of up to `part_rows` rows
    together are looked at in one moment, and `page_events` events at once. Raises `AccountNotFound`.
    """
    books = KeptBooks(database)
    few = _Few()
    yield Checked(0, after, few.of(books.check()))
    done, looked = 0, Looked()
    for part, rows in _parts(database, account_id, after, part_rows):
        extent = Extent(part, since)
        with database.snapshot() as connection:
            raw = driver(connection)
            found = [breach for law in audit.LAWS for breach in audit.find_breaches(raw, law, extent)]
            transfers = audit.count_transfers(raw, extent)
        looked = Looked(looked.accounts + len(part), looked.transfers + transfers, looked.events)
        yield Checked(done, after, few.of(found), looked)
        seen = 0
        for page in rederive(database, books, extent, page_events):
            seen += page.events
            looked = looked._replace(events=looked.events + page.events)
            yield Checked(done + min(seen, rows), after, few.of(page.breaches), looked)
        done += rows
        after = part[-1]
        yield Checked(done, after, [], looked)


class _Few:
    """Lets through the first breaches of each law: a hundred are enough to be alarmed."""

    def __init__(self) -> None:
        self._seen: Counter[Law] = Counter()

    def of(self, breaches: Iterable[Breach]) -> list[Breach]:
        passed = []
        for breach in breaches:
            self._seen[breach.law] += 1
            if self._seen[breach.law] <= MAX_BREACHES:
                passed.append(breach)
        return passed


def _parts(
    database: Database, account_id: str | None, after: str | None, part_rows: int
) -> Iterator[tuple[list[str], int]]:
    """Accounts to be looked at together, in the order of their ids, and about how many rows they have."""
    if account_id is not None:
        with database.snapshot() as connection:
            accounts.get_account(connection, account_id)
            rows = audit.count_rows(driver(connection), account_id=account_id, after=None)
        yield [account_id], rows
        return
    while True:
        with database.snapshot() as connection:
            listed = audit.list_accounts(driver(connection), after=after, limit=_MAX_ACCOUNTS)
        if not listed:
            return
        part: list[str] = []
        size = 0
        for listed_id, rows in listed:
            if part and size + rows > part_rows:
                break
            part.append(listed_id)
            size += rows
        yield part, size
        after = part[-1]
