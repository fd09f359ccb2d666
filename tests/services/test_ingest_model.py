"""Any sequence of calls leaves the books as a naive oracle has them, and every answer as it says."""

from __future__ import annotations

import json
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from metering import clock
from metering.api.event_bodies import Received, read_events
from metering.api.usage_answers import results_json
from metering.errors import IdempotencyConflict
from metering.ledger.grants import GRANT_KINDS, GrantKind
from metering.money import to_decimal, to_pico
from metering.pricing.compiler import compile_book
from metering.rating.engine import Rater
from metering.services.accounts import create_account, get_account
from metering.services.audit import check_books
from metering.services.grants import Wanted, grant_credit
from metering.services.group_commit import GroupCommit
from metering.services.history import get_account_usage
from metering.services.ingest import Ingest
from metering.services.posting import Outcome, Prepared, Refused
from metering.services.price_books import keep_price_book
from metering.storage.database import Database
from metering.storage.grants import Grant
from metering.usage.event import SOURCES, UsageEvent
from metering.usage.history import Filters
from tests.services.oracle import (
    BOOK,
    MAX_AGE,
    MAX_FUTURE,
    MODELS,
    Account,
    Event,
    Expected,
    Oracle,
    created,
    price,
)

MAX_ACCOUNTS: Final = 3
IDS: Final = [f"event-{letter}" for letter in "abcdefghijkl"]
# On a full hour, just beside it and far from it, for that is where rollups are cut.
HOUR: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
MOMENTS: Final = [
    HOUR + timedelta(microseconds=offset)
    for offset in (-3_600_000_000, -1, 0, 1, 1_800_000_000, 3_600_000_000)
]
OUT_OF_RANGE: Final = [HOUR - timedelta(days=100), HOUR + timedelta(days=1)]
_SUMS: Final = """
    WITH event AS (SELECT sum(cost_usd) AS usd, count(*) AS number FROM usage_events
                    WHERE account_id = %(id)s),
         rolled AS (SELECT sum(cost_usd) AS usd, sum(events) AS number FROM usage_rollups
                     WHERE account_id = %(id)s),
         used AS (SELECT sum(amount_usd) AS usd FROM transfers WHERE account_id = %(id)s AND kind = 'usage'),
         given AS (SELECT sum(amount_usd) AS usd FROM transfers WHERE account_id = %(id)s AND kind = 'grant')
    SELECT coalesce(event.usd, 0), coalesce(used.usd, 0), coalesce(rolled.usd, 0), coalesce(given.usd, 0),
           event.number, coalesce(rolled.number, 0)
      FROM event, rolled, used, given
"""
_EMPTY: Final = "TRUNCATE usage_events, usage_rollups, transfers, grants, balances, accounts CASCADE"

new_events = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "account_id": st.integers(0, MAX_ACCOUNTS),
        "created_at": st.sampled_from([*MOMENTS, *MOMENTS, *OUT_OF_RANGE]),
        "source": st.sampled_from(SOURCES),
        "model": st.sampled_from(MODELS),
        "status": st.sampled_from(["success", "success", "error"]),
        "usage": st.fixed_dictionaries(
            {},
            optional={"prompt_tokens": st.integers(-1, 2_000_000), "completion_tokens": st.integers(0, 999)},
        ),
    }
)
# A number stands for what was sent as so many-th; most of what fails in the world is what is sent again.
batches = st.lists(new_events | st.integers(0, 200), max_size=8)
moments = (
    st.none() | st.sampled_from(MOMENTS) | st.sampled_from(MOMENTS).map(lambda at: at + timedelta(seconds=7))
)


class Machine(RuleBasedStateMachine):
    """The real services over a real database, beside the oracle."""

    def __init__(self, database: Database, owner: psycopg.Connection[Any], ingest: Ingest) -> None:
        super().__init__()
        self.database, self.owner, self.ingest = database, owner, ingest
        self.commits: GroupCommit[Prepared | Refused, Outcome] = GroupCommit(
            ingest.record, max_waiting=10_000
        )
        self.oracle = Oracle()
        self.sent: list[Event] = []
        self.stranger = str(uuid4())
        self.answered_grants: dict[tuple[str, str], Grant] = {}
        owner.execute(_EMPTY)

    def teardown(self) -> None:
        self.commits.close()

    @initialize()
    def open_the_first_account(self) -> None:
        self.open_account()

    @precondition(lambda self: len(self.oracle.accounts) < MAX_ACCOUNTS)
    @rule()
    def open_account(self) -> None:
        view = create_account(self.database, "Ada")
        self.oracle.accounts[view.account.account_id] = Account()

    @rule(
        place=st.integers(0, MAX_ACCOUNTS - 1),
        key=st.sampled_from(["k1", "k2", "k3"]),
        kind=st.sampled_from(GRANT_KINDS),
        amount=st.sampled_from([Decimal("0.000000000001"), Decimal("12.34"), Decimal(2_500)]),
    )
    def grant(self, place: int, key: str, kind: GrantKind, amount: Decimal) -> None:
        account_id = list(self.oracle.accounts)[place % len(self.oracle.accounts)]
        account = self.oracle.accounts[account_id]
        wanted = Wanted(kind, to_pico(amount), "why not", actor="a test")
        first = account.grants.get(key)
        if first is not None and first != (kind, amount):
            with pytest.raises(IdempotencyConflict):
                grant_credit(self.database, account_id, wanted, key)
            return
        grant, is_new = grant_credit(self.database, account_id, wanted, key)
        assert is_new == (first is None)
        if is_new:
            account.grants[key] = kind, amount
            account.balance += amount
            assert to_decimal(grant.balance_after_pico) == account.balance
            self.answered_grants[account_id, key] = grant
        assert grant == self.answered_grants[account_id, key]

    @rule(batch=batches)
    def post(self, batch: list[Event | int]) -> None:
        events = self._resolve(batch)
        self._check([(events, *self._submit(events))])

    @rule(calls=st.lists(batches, min_size=2, max_size=5))
    def post_at_once(self, calls: list[list[Event | int]]) -> None:
        """Calls that go into one transaction, or a few: they are recorded in the order in which they came."""
        batches = [self._resolve(batch) for batch in calls]
        self._check([(events, *self._submit(events)) for events in batches])

    @rule(batch=batches)
    def quote(self, batch: list[Event | int]) -> None:
        events = self._resolve(batch)
        received, prepared = self._read(events)
        agree(answers(received, self.ingest.quote(prepared)), self.oracle.quote(events), events)

    @rule(
        since=moments,
        until=moments,
        source=st.none() | st.sampled_from(SOURCES),
        model=st.none() | st.sampled_from(MODELS),
        status=st.sampled_from([None, "success", "error"]),
        limit=st.integers(1, 5),
    )
    def browse(
        self,
        since: datetime | None,
        until: datetime | None,
        source: str | None,
        model: str | None,
        status: str | None,
        limit: int,
    ) -> None:
        """Read the history page by page, and the spend of its window."""
        filters = Filters(since, until, source, model, status)
        for account_id, account in self.oracle.accounts.items():
            found, cursor = [], None
            while True:
                page = get_account_usage(self.database, account_id, filters, before=cursor, limit=limit)
                found += page.events
                cursor = page.next_cursor
                if cursor is None:
                    break
                assert len(page.events) == limit
            expected = account.history(**filters._asdict())
            assert [event.id for event in found] == [event["id"] for event in expected]
            for event, wanted in zip(found, expected, strict=True):
                assert dollars(event.cost_pico) == price(wanted)
                shown = event.created_at, event.source, event.model, event.status, event.usage
                names = "source", "model", "status", "usage"
                assert shown == (created(wanted), *(wanted[name] for name in names))
            spend = {source: to_decimal(pico) for source, pico in page.spend.items() if pico}
            assert spend == account.spend(since, until)

    @invariant()
    def the_books_agree(self) -> None:
        assert check_books(self.database) == []
        for account_id, account in self.oracle.accounts.items():
            balance = get_account(self.database, account_id).balance
            assert to_decimal(balance.posted_pico) == account.balance
            spent = sum(account.spend().values(), Decimal(0))
            granted = sum((amount for _, amount in account.grants.values()), Decimal(0))
            recorded = len(account.events)
            row = self.owner.execute(_SUMS, {"id": account_id}).fetchone()
            assert row == (spent, spent, spent, granted, recorded, recorded)
            assert account.balance == granted - spent

    def _resolve(self, batch: list[Event | int]) -> list[Event]:
        """The events to send: an account's number becomes its id, and a number what was sent before."""
        accounts = [*self.oracle.accounts, self.stranger]
        events: list[Event] = []
        for one in batch:
            if isinstance(one, int):
                events += [self.sent[one % len(self.sent)]] if self.sent else []
            else:
                account_id = accounts[min(one["account_id"], len(accounts) - 1)]
                event = {**one, "account_id": account_id, "created_at": one["created_at"].isoformat()}
                events.append(event)
                self.sent.append(event)
        return events

    def _read(self, events: list[Event]) -> tuple[list[Received], list[Prepared | Refused]]:
        now = clock.now()
        received = read_events(msgspec.json.encode(events), "application/json", {}, now)
        read = [one.event for one in received if isinstance(one.event, UsageEvent)]
        return received, [self.ingest.prepare(event, now) for event in read]

    def _submit(self, events: list[Event]) -> tuple[list[Received], Future[list[Outcome]]]:
        received, prepared = self._read(events)
        return received, self.commits.submit(prepared)

    def _check(self, calls: list[tuple[list[Event], list[Received], Future[list[Outcome]]]]) -> None:
        for events, received, future in calls:
            agree(answers(received, future.result(60)), self.oracle.post(events), events)


def answers(received: list[Received], outcomes: list[Outcome]) -> list[Expected]:
    """What the client would read."""
    found: list[Expected] = json.loads(results_json(received, outcomes), parse_float=Decimal)["results"]
    return found


def agree(found: list[Expected], expected: list[Expected], events: list[Event]) -> None:
    """The answers are as expected, and say the same of the cost wherever they say it."""
    for answer, wanted, event in zip(found, expected, events, strict=True):
        line_items, usage = answer.pop("line_items", []), answer.pop("usage", None)
        answer.pop("unpriced", None)
        if "error" in answer:
            answer |= {"param": answer.pop("error")["param"]}
        assert answer == wanted
        if "balance" in wanted:
            cost = wanted.get("cost_usd")
            assert usage == {**event["usage"], "cost_usd": cost, "pricing_tier_label": None}
            assert sum(item["amount"] for item in line_items) == (cost or 0)


def dollars(pico: int | None) -> Decimal | None:
    return None if pico is None else to_decimal(pico)


def test_the_books_agree_with_a_naive_oracle_after_every_step(database: Database, database_url: str) -> None:
    book = compile_book(BOOK)
    keep_price_book(database, book, clock.now())
    ingest = Ingest(database, Rater(book), max_age=MAX_AGE, max_future=MAX_FUTURE)
    with closing(psycopg.connect(database_url, autocommit=True)) as owner:
        run_state_machine_as_test(
            partial(Machine, database, owner, ingest),  # type: ignore[arg-type]  # any maker will do
            settings=settings(
                max_examples=60,
                stateful_step_count=20,
                deadline=None,
                derandomize=True,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
