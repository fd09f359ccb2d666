"""Any sequence of the ledger's verbs leaves the books as a naive oracle has them, and keeps every law."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from functools import partial

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from metering.ledger.adjustments import AdjustmentKind
from metering.money import to_decimal, to_pico
from metering.services.corrections import WantedAdjustment, adjust_credit, reverse_event, reverse_transfer
from metering.services.lots import allocate_all, expire_due
from metering.services.rerating import Window, post_rerating, preview_rerating, rate_unpriced
from metering.storage.database import Database
from tests.services.ledger_machine import UsageMachine, verb_of
from tests.services.ledger_oracle import ZERO, Account
from tests.services.ledger_prices import MODELS, Edition, created
from tests.services.ledger_strategies import AMOUNTS, IDS, MOMENTS, WHO, WHY, books, keys, numbers, places
from tests.services.ledger_verbs import Service, outcome_of, same
from tests.services.lots_oracle import Purse


class Machine(UsageMachine):
    """Everything else that moves money or sets it aside."""

    @rule(
        place=places,
        key=keys,
        kind=st.sampled_from(["adjustment", "adjustment", "goodwill"]),
        amount=st.sampled_from([*AMOUNTS, -Decimal("0.25"), -Decimal(3), -Decimal("0.000000000001")]),
    )
    def adjust(self, place: int, key: str, kind: AdjustmentKind, amount: Decimal) -> None:
        account_id, account = self.pick(place)
        asked = kind, amount
        first, answered = account.asked.get(("adjust", key), (None, None))
        wanted = WantedAdjustment(kind, to_pico(amount), reason=WHY, actor=WHO)
        verb, found = outcome_of(partial(adjust_credit, self.database, account_id, wanted, key), "adjusted")
        if kind == "goodwill" and amount < 0:
            same(verb, "invalid_parameter")
            return
        same(verb, verb_of("adjusted", first, asked))
        if found is not None and first is None:
            account.asked["adjust", key] = asked, found
            account.moved[kind, "promo_expense"] += amount
            self.settle(account_id)
            same(to_decimal(found.balance_after_pico), account.posted)
        assert found in {None, account.asked["adjust", key][1]}
        del answered

    @precondition(UsageMachine.has_events)
    @rule(place=places, several=st.lists(numbers, min_size=1, max_size=3))
    def reverse_events(self, place: int, several: list[int]) -> None:
        account_id, account = self.pick(place)
        known = list(account.events) or IDS
        for event_id in (known[number % len(known)] for number in several):
            call = partial(reverse_event, self.database, account_id, event_id, reason=WHY, actor=WHO)
            verb, found = outcome_of(call, "reversed")
            expected = account.reverse_event(event_id)
            same((verb, expected[1] if found is None else to_decimal(found.amount_pico)), expected)

    @rule(place=places, number=numbers)
    def reverse_transfer(self, place: int, number: int) -> None:
        account_id, account = self.pick(place)
        moves = self.service.moves(account_id)
        if not moves:
            return
        move = moves[number % len(moves)]
        lot = Purse(moves, account.terms).lots.get(move.id)
        again = any(one.reverses_id == move.id for one in moves)
        carried = self.service.carried(account_id, move.id) if move.kind == "usage" else []
        call = partial(reverse_transfer, self.database, account_id, move.id, reason=WHY, actor=WHO)
        verb, found = outcome_of(call, "reversed")
        expected = account.reverse_transfer(move, carried, lot, again=again)
        same((verb, expected[1] if found is None else to_decimal(found.amount_pico)), expected)

    @precondition(UsageMachine.has_events)
    @rule(book=books, place=st.none() | places)
    def rate_unpriced(self, book: Edition, place: int | None) -> None:
        chosen = list(self.oracle.accounts.items()) if place is None else [self.pick(place)]
        only = None if place is None else chosen[0][0]
        rater = self.service.raters[book]
        found = rate_unpriced(self.database, rater, actor=WHO, account_id=only)
        unpriced = [
            (account, [one for one in account.standing() if one.cost is None]) for _, account in chosen
        ]
        costs = [cost for account, kept in unpriced for cost in account.rate(book, kept)]
        expected = sum(len(kept) for _, kept in unpriced), len(costs), sum(costs, ZERO)
        same((found.events, found.rated, to_decimal(found.cost_pico)), expected)

    @precondition(UsageMachine.has_events)
    @rule(
        book=books,
        since=st.sampled_from(MOMENTS[:4]),
        until=st.sampled_from(MOMENTS[2:]),
        place=st.none() | places,
        models=st.sampled_from([(), (), ("chat",), ("flat", "unheard-of")]),
    )
    def rerate(
        self, book: Edition, since: datetime, until: datetime, place: int | None, models: tuple[str, ...]
    ) -> None:
        chosen = list(self.oracle.accounts.items()) if place is None else [self.pick(place)]
        window = Window(since, until, None if place is None else chosen[0][0], models)
        rater = self.service.raters[book]
        foreseen = preview_rerating(self.database, rater, window)
        same(post_rerating(self.database, rater, window, reason=WHY, actor=WHO), foreseen)
        expected = []
        for account_id, account in chosen:
            for model in models or MODELS:
                expected += _rerate(account_id, account, book, since, until, model)
        found = [
            (one.account_id, one.model, one.events, one.changed, to_decimal(one.difference_pico))
            for one in foreseen
        ]
        same(found, sorted(expected))
        assert [one.changed for one in preview_rerating(self.database, rater, window)] == [0] * len(found)

    @rule()
    def let_the_worker_work(self) -> None:
        """What the worker's jobs do about lots."""
        allocate_all(self.database)
        expire_due(self.database)


def _rerate(
    account_id: str, account: Account, book: Edition, since: datetime, until: datetime, model: str
) -> list[tuple[str, str, int, int, Decimal]]:
    """What rating a model's events again changes, of those created from `since` to before `until`."""
    kept = [
        one
        for one in account.standing()
        if one.event["model"] == model and since <= created(one.event) < until
    ]
    differences = account.rate(book, kept)
    return [(account_id, model, len(kept), len(differences), sum(differences, ZERO))] if kept else []


@pytest.fixture
def service(database: Database, database_url: str) -> Iterator[Service]:
    """The services, and the owner's eyes."""
    with closing(psycopg.connect(database_url, autocommit=True)) as owner:
        service = Service(database, owner)
        yield service
        service.close()


def test_the_books_agree_with_a_naive_oracle_after_every_step(service: Service) -> None:
    run_state_machine_as_test(
        partial(Machine, service),  # type: ignore[arg-type]  # any maker will do
        settings=settings(
            max_examples=50,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
