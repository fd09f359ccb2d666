"""Accounts, time and usage: the half of the model that reads and records events, and checks every step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from metering import clock, ids
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.ledger.grants import GrantKind
from metering.money import to_decimal, to_pico
from metering.services.accounts import create_account, get_account
from metering.services.api_keys import create_api_key, list_api_keys
from metering.services.audit import check_books
from metering.services.authorizing import Authorize, Command, Extend, Void
from metering.services.grants import Wanted, grant_credit
from metering.services.history import get_account_usage
from metering.services.lots import list_lots
from metering.usage.event import SOURCES
from metering.usage.history import Filters
from tests.services import holds_oracle
from tests.services.holds_oracle import held_by
from tests.services.ledger_oracle import GIVEN_FROM, ZERO, Account, Oracle
from tests.services.ledger_prices import MODELS, Edition, Event, created
from tests.services.ledger_strategies import (
    BUDGET,
    MAX_ACCOUNTS,
    WHO,
    WHY,
    Asked,
    Group,
    authorizations,
    batches,
    books,
    extensions,
    good_events,
    grants,
    moments,
    pauses,
    places,
    voids,
)
from tests.services.ledger_verbs import Service, agree, answers, dollars, outcome_of, same
from tests.services.lots_oracle import Purse, Terms


class UsageMachine(RuleBasedStateMachine):
    """The real services over a real database, beside the oracle."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service, self.database, self.oracle = service, service.database, Oracle()
        self.sent: list[Event] = []
        self.holds: list[tuple[str, str]] = []
        self.keys: dict[str, tuple[str, str]] = {}
        self.stranger = str(uuid4())
        self.ahead = timedelta(0)
        # For so many steps nobody looks: reading settles what has ended, and what comes next must do without.
        self.unseen = 0
        service.empty()

    @initialize(
        grants=st.lists(grants, max_size=3),
        batch=st.lists(good_events, max_size=4),
        groups=st.lists(authorizations, min_size=1, max_size=2),
        more=st.lists(extensions, max_size=2),
    )
    def open_the_first_account(
        self, grants: list[Group], batch: list[Event | int], groups: list[Group], more: list[Group]
    ) -> None:
        """So that there is something to work with from the first step."""
        self.open_account()
        for one in grants:
            self.grant(0, **one)
        self.hold(groups, None)
        if more:
            self.hold(more, None)
        self.post([batch], None, "old")

    @precondition(lambda self: len(self.oracle.accounts) < MAX_ACCOUNTS)
    @rule()
    def open_account(self) -> None:
        """An account with an API key that has a budget, and more requests a minute than a run can make."""
        view = create_account(self.database, "Ada", requests_per_minute=10**9, tokens_per_minute=10**9)
        account_id = view.account.account_id
        budget = BudgetTerms(to_pico(BUDGET), BudgetPeriod.TOTAL)
        key, secret = create_api_key(self.database, account_id, prefix="sk-test-", budget=budget)
        self.oracle.accounts[account_id] = account = Account()
        account.budgets[key.id] = BUDGET
        self.keys[account_id] = key.id, secret

    @rule(place=places, wanted=grants)
    def give(self, place: int, wanted: Group) -> None:
        self.grant(place, **wanted)

    def grant(
        self, place: int, key: str, kind: GrantKind, amount: Decimal, priority: int, lasts: timedelta | None
    ) -> None:
        """Give credit, once for each key."""
        account_id, account = self.pick(place)
        asked = kind, amount, priority, lasts
        first, answered = account.asked.get(("grant", key), (None, None))
        expires_at = None if lasts is None else clock.now() + lasts
        if first == asked:
            expires_at = answered.expires_at
        wanted = Wanted(kind, to_pico(amount), WHY, WHO, priority, expires_at)
        verb, grant = outcome_of(partial(grant_credit, self.database, account_id, wanted, key), "granted")
        same(verb, verb_of("granted", first, asked))
        if grant is not None and first is None:
            account.asked["grant", key] = asked, grant
            account.moved["grant", GIVEN_FROM[kind]] += amount
            account.terms[grant.transfer_id] = Terms(kind, priority, expires_at)
            self.settle(account_id)
            same(to_decimal(grant.balance_after_pico), account.posted)
        assert grant in {None, account.asked["grant", key][1]}

    @rule(span=pauses, unseen=st.integers(0, 4))
    def let_time_pass(self, span: timedelta | None, unseen: int) -> None:
        self.pause(span)
        self.unseen = unseen

    @rule(calls=st.lists(batches, min_size=1, max_size=4), after=pauses, book=books)
    def post(self, calls: list[list[Event | int]], after: timedelta | None, book: Edition) -> None:
        """Calls that go into one transaction, or a few: they are recorded in the order in which they came.

        The first is quoted before.
        """
        self.pause(after)
        self.oracle.book = book
        batches = [self._resolve(batch) for batch in calls]
        found = self.service.quote(book, batches[0])
        agree(found, deepcopy(self.oracle).post(batches[0]), batches[0])
        submitted = [self.service.submit(book, events) for events in batches]
        for events, received, future in submitted:
            agree(answers(received, future.result(60)), self.oracle.post(events), events)

    @rule(groups=st.lists(authorizations | extensions | voids, min_size=1, max_size=4), after=pauses)
    def hold(self, groups: list[Group], after: timedelta | None) -> None:
        """Commands about holds, decided one after the other in one transaction."""
        self.pause(after)
        commands = [self._command(one) for one in groups]
        found = self.service.hold([command for command, _, _ in commands])
        looked_at = {account_id for _, account_id, _ in commands if account_id in self.oracle.accounts}
        for account_id in looked_at:
            same(self.settle(account_id).due(clock.now()), ZERO)
            holds_oracle.look(self.oracle.accounts[account_id])
        for answer, (_, account_id, asked) in zip(found, commands, strict=True):
            same(answer, holds_oracle.decide(self.oracle.accounts.get(account_id), asked))
            if answer.verb == "granted":
                self.holds.append((account_id, asked.hold_id))

    def _command(self, one: Group) -> tuple[Command, str, Asked]:
        """The command, the account that it is about, and the same for the oracle."""
        digest = sha256(repr(sorted(one.items())).encode()).digest()
        if "wanted" in one:
            account_id, _ = self.pick(one["place"])
            key_id, secret = self.keys[account_id]
            lasts, again, hold_id = one["lasts"], one["idempotency_key"], ids.new_id()
            command = Authorize(
                id=hold_id,
                account_id=None if one["by"] == "secret" else account_id,
                key_hash=ids.hash_secret(secret) if one["by"] == "secret" else None,
                api_key_id=key_id if one["by"] == "key" else None,
                amount_pico=to_pico(one["wanted"]),
                model=None,
                tokens=1,
                lasts=lasts,
                idempotency_key=again,
                body_digest=digest,
            )
            key = None if one["by"] == "account" else key_id
            asked = holds_oracle.Authorize(hold_id, one["wanted"], lasts, key, again, digest)
            return command, account_id, asked
        account_id, hold_id = self.pick_hold(one["hold"])
        if "increment" not in one:
            return Void(hold_id), account_id, holds_oracle.Void(hold_id)
        rest = one["lasts"], one["idempotency_key"], digest
        extend = Extend(str(uuid4()), hold_id, to_pico(one["increment"]), *rest)
        return extend, account_id, holds_oracle.Extend(hold_id, one["increment"], *rest)

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
                same(len(page.events), limit)
            expected = account.history(**filters._asdict())
            same([event.id for event in found], [kept.event["id"] for kept in expected])
            for event, kept in zip(found, expected, strict=True):
                same(dollars(event.cost_pico), kept.cost)
                same(event.is_reversed, kept.end == "reversed")
                names = "source", "model", "status", "usage"
                shown = event.created_at, *(getattr(event, name) for name in names)
                same(shown, (created(kept.event), *(kept.event[name] for name in names)))
            spend = {source: to_decimal(pico) for source, pico in page.spend.items() if pico}
            same(spend, account.spend(since, until))

    @invariant()
    def the_laws_hold(self) -> None:
        same(check_books(self.database), [])

    @invariant()
    def the_books_agree(self) -> None:
        if self.unseen:
            self.unseen -= 1
            return
        for account_id, account in self.oracle.accounts.items():
            self._see_balance(account_id, account)
            self._see_lots(account_id, account)
            self._see_budget(account_id, account)

    def _see_balance(self, account_id: str, account: Account) -> None:
        balance = get_account(self.database, account_id).balance
        same(self.settle(account_id).due(clock.now()), ZERO)
        found = balance.posted_pico, balance.held_pico, balance.available_pico
        same(tuple(map(to_decimal, found)), (account.posted, account.held, account.available))

    def _see_lots(self, account_id: str, account: Account) -> None:
        page = list_lots(self.database, account_id, with_empty=True, limit=1_000)
        purse = self.settle(account_id)
        found = [
            (lot.id, *map(to_decimal, (lot.rest_pico, lot.used_pico, lot.taken_back_pico, lot.expired_pico)))
            for lot in page.lots
        ]
        in_turn = sorted(purse.lots.values(), key=lambda lot: lot.turn)
        same(found, [(lot.id, lot.rest, lot.used, lot.taken_back or ZERO, lot.expired) for lot in in_turn])
        same(to_decimal(page.totals.owed_pico), purse.owed)
        same(self.service.debts(account_id), purse.debts)
        same(self.service.paid(account_id), _nonzero(purse.paid))
        same(sum((lot.rest for lot in in_turn), ZERO) - purse.owed, account.posted)

    def _see_budget(self, account_id: str, account: Account) -> None:
        for view in list_api_keys(self.database, account_id):
            spent, held = map(to_decimal, view.spending)
            same((spent, held), (account.spent(view.key.id), held_by(account, view.key.id)))

    def settle(self, account_id: str) -> Purse:
        """Replay the account's transfers, which must be those that the oracle expects; learn what expired."""
        account, moves = self.oracle.accounts[account_id], self.service.moves(account_id)
        purse = Purse(moves, account.terms)
        account.moved["expiry", "breakage"] = -purse.expired
        moved: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for move in moves:
            moved[move.kind, move.other] += move.effect
        same(_nonzero(moved), _nonzero(account.moved))
        return purse

    def pause(self, span: timedelta | None) -> None:
        """Let time pass."""
        self.ahead += span or timedelta(0)
        clock.run_ahead(self.ahead)

    def has_events(self) -> bool:
        """Whether there is anything to be corrected."""
        return any(account.events for account in self.oracle.accounts.values())

    def pick(self, place: int) -> tuple[str, Account]:
        """One of the accounts."""
        return list(self.oracle.accounts.items())[place % len(self.oracle.accounts)]

    def pick_hold(self, number: int) -> tuple[str, str]:
        """(account_id, hold_id) of one of the holds, mostly an open one; strangers where there is none."""
        if not self.holds:
            return self.stranger, self.stranger
        opened = [one for one in self.holds if self.oracle.accounts[one[0]].holds[one[1]].state == "open"]
        among = opened if opened and number % 4 < 3 else self.holds
        return among[number % len(among)]

    def _resolve(self, batch: list[Event | int]) -> list[Event]:
        """The events to send: numbers become the account, hold, key or old event that they stand for."""
        events: list[Event] = []
        for one in batch:
            if isinstance(one, int):
                events += [self.sent[one % len(self.sent)]] if self.sent else []
                continue
            known = one["account_id"] < MAX_ACCOUNTS
            account_id, account = self.pick(one["account_id"]) if known else (self.stranger, Account())
            event = {name: value for name, value in one.items() if value is not None}
            event |= {"account_id": account_id, "created_at": one["created_at"].isoformat()}
            if "hold_id" in event:
                event["hold_id"] = self.pick_hold(event["hold_id"])[1]
            if "api_key_id" in event:
                event["api_key_id"] = self.keys.get(account_id, (self.stranger, ""))[0]
            if isinstance(event.get("supersedes"), int):
                standing = [kept.event["id"] for kept in account.standing()]
                place = event.pop("supersedes")
                event |= {"supersedes": standing[place % len(standing)]} if standing else {}
            events.append(event)
            self.sent.append(event)
        return events


def _nonzero(sums: Mapping[Any, Decimal]) -> dict[Any, Decimal]:
    return {key: amount for key, amount in sums.items() if amount}


def verb_of(new: str, first: object, asked: object) -> str:
    """How a call with an idempotency key should go."""
    if first is None:
        return new
    return "repeated" if first == asked else "idempotency_conflict"
