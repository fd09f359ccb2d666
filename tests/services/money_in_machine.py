"""Every order of our calls, the processor's events, faults and crashes that the model of money in tries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from metering.services.lots import allocate_all
from metering.services.settlement import settle
from tests.services.money_in_mishaps import Mishap, calls, mishaps
from tests.services.money_in_oracle import Oracle
from tests.services.money_in_processor import GOOD, Row, at
from tests.services.money_in_world import World

AMOUNTS: Final = [Decimal(20), Decimal("5.01"), Decimal(1000), Decimal(2000), Decimal("33.33")]
# 3-D Secure, two that decline, a refund that waits, and one that fails later.
CARDS: Final = [GOOD] * 5 + [
    "4000002500003155",
    "4000000000000002",
    "4000000000009979",
    "4000000000007726",
    "4000000000005126",
    "4000000000000259",
    "4000000000001976",
]
SAVED: Final = [
    *["pm_card_visa"] * 4,
    "pm_card_mastercard",
    "pm_card_chargeCustomerFail",
    "pm_card_authenticationRequired",
    "pm_card_pendingRefund",
    "pm_card_createDispute",
]
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
# Messages and refunds are settled within hours; pages end, and cards are tried again, within days.
SOON: Final = (3 * MINUTE, 6 * MINUTE, HOUR, HOUR, HOUR, 2 * HOUR)
LATE: Final = (*SOON, 27 * HOUR, HOUR, 4 * DAY, HOUR, 4 * DAY, 4 * MINUTE)

places = st.sampled_from([0, 0, 0, 1, 2])
keys = st.sampled_from(["k1", "k2", "k3", "k4"])
fifths = st.sampled_from([5, 5, 1, 2, 4])
amounts = st.sampled_from(AMOUNTS)
cards = st.sampled_from(CARDS)
# Whether the processor tells of it at once, and what goes wrong then.
news = st.none() | st.tuples(st.booleans(), mishaps) | st.tuples(st.just(value=True), mishaps)
News = tuple[bool, Mishap | None] | None
DISPUTED: Final = ["win", "lose", "win", "lose", "escalate", "withdraw", "reinstate", "review"]


def there_is(kind: str, **equal: object) -> Callable[[Any], bool]:
    """Whether the processor has such an object."""
    return lambda machine: bool(machine.world.there.kept(kind, **equal))


class Machine(RuleBasedStateMachine):
    """A customer of ours, and a processor that does as it likes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.oracle: Oracle

    @initialize(
        taxed=st.sampled_from([False, False, False, True]),
        amount=amounts,
        is_on=st.sampled_from([True, True, False]),
        card=st.sampled_from(SAVED),
    )
    def begin(self, taxed: bool, amount: Decimal, is_on: bool, card: str) -> None:
        """So that there is something to work with from the first step."""
        world = self.world
        world.begin(taxed=taxed)
        self.oracle = Oracle(world)
        world.open(amount, "first", saves_card=False)
        world.there.pay(0, GOOD)
        world.tell_all()
        world.open(amount, "second", saves_card=False)
        world.save_card(card)
        if is_on:
            world.turn(True, threshold_pico="10", amount_pico="50")

    @invariant()
    def keeps_the_laws(self) -> None:
        self.oracle.check_step()

    def hear(self, news: News) -> None:
        """Of what happened last at the processor, or of the first thing that nobody was told."""
        untold = self.world.untold()
        if news is not None and untold:
            of_last, mishap = news
            self.world.deliver(untold[-1 if of_last else 0], mishap)

    @rule(amount=amounts, key=keys, saves=st.booleans(), mishap=mishaps)
    def open(self, amount: Decimal, key: str, saves: bool, mishap: Mishap | None) -> None:
        self.world.open(amount, key, saves_card=saves, mishap=mishap)

    @precondition(there_is("checkout.session", status="open"))
    @rule(
        place=places, card=cards, bank=st.sampled_from([False] * 4 + [True]), waits=st.booleans(), news=news
    )
    def pay(self, place: int, card: str, bank: bool, waits: bool, news: News) -> None:
        how = {"method": "us_bank_account"} if bank else {"authenticates": None if waits else True}
        self.world.there.pay(place, card, **how)
        self.hear(news)

    @rule(amount=amounts, saves=st.booleans(), card=cards, news=news)
    def open_and_pay(self, amount: Decimal, saves: bool, card: str, news: News) -> None:
        self.world.open(amount, f"whole-{len(self.world.top_ups())}", saves_card=saves)
        self.world.there.pay(0, card)
        self.hear(news)

    @rule(place=places, well=st.booleans(), news=news)
    def go_on_there(self, place: int, well: bool, news: News) -> None:
        """What waited at the processor comes to an end, one way or the other."""
        world = self.world
        world.there.move_payment(place, fails=not well)
        world.there.authenticate(place, succeeded=well)
        if not well:
            world.there.end_page(place)
        self.hear(news)

    @rule(threshold=st.sampled_from([Decimal(10), Decimal(10), Decimal(5), Decimal(-200), Decimal(500)]))
    def use(self, threshold: Decimal) -> None:
        self.world.fall_below(threshold)
        self.world.spend(Decimal(1))

    @rule(
        mishap=mishaps,
        again=st.booleans(),
        is_ready=st.sampled_from([True, True, False]),
        is_deep=st.booleans(),
    )
    def use_and_buy(self, mishap: Mishap | None, again: bool, is_ready: bool, is_deep: bool) -> None:
        """The way of most purchases; `again`, behind the lease of a worker that was killed."""
        world = self.world
        if is_ready:
            world.rise_above(Decimal(10))
            if not world.auto.get("is_enabled"):
                world.save_card("pm_card_visa")
                world.turn(True, threshold_pico="10", amount_pico="50")
        # Deep below, one purchase is not enough, and there is no other for that.
        world.fall_below(Decimal(-200 if is_deep else 10))
        world.buy(mishap)
        if again:
            world.spend(Decimal("0.1"))
            world.pass_time(4 * MINUTE)
            world.buy()

    @rule(mishap=calls, is_deep=st.booleans())
    def buy_and_fail(self, mishap: Mishap, is_deep: bool) -> None:
        self.use_and_buy(mishap, again=True, is_ready=True, is_deep=is_deep)

    @rule(
        is_enabled=st.sampled_from([True, True, False]),
        terms=st.sampled_from([("10", "50"), ("10", "50"), ("5", "20"), ("400", "1000")]),
        mishap=mishaps,
    )
    def turn(self, is_enabled: bool, terms: tuple[str, str], mishap: Mishap | None) -> None:
        self.world.turn(is_enabled, mishap, threshold_pico=terms[0], amount_pico=terms[1])

    @rule(kind=st.none() | st.sampled_from(SAVED), is_known=st.booleans(), place=places, mishap=mishaps)
    def save_or_remove_card(
        self, kind: str | None, is_known: bool, place: int, mishap: Mishap | None
    ) -> None:
        if kind is None:
            self.world.remove_card(place, mishap)
        else:
            self.world.save_card(kind)
            if is_known:
                self.world.work("sync_cards", mishap)

    @rule(
        place=places,
        decline=st.sampled_from(["insufficient_funds", "stolen_card", "", ""]),
        authentication=st.sampled_from(["never", "never", "always"]),
        mishap=mishaps,
        span=st.sampled_from([4 * MINUTE, HOUR, 4 * DAY]),
    )
    def change_card_and_buy(
        self, place: int, decline: str, authentication: str, mishap: Mishap | None, span: timedelta
    ) -> None:
        world = self.world
        if card := at(world.cards(), place):
            world.there.change_card(card["id"], decline=decline, authentication=authentication)
        world.fall_below(Decimal(10))
        world.buy(mishap)
        world.pass_time(span)
        world.buy()

    @rule(span=st.sampled_from([4 * MINUTE, HOUR, DAY, 4 * DAY, 31 * DAY]), mishap=mishaps)
    def buy_later(self, span: timedelta, mishap: Mishap | None) -> None:
        self.world.pass_time(span)
        self.world.buy(mishap)

    @rule(place=places, part=st.integers(0, 5), number=st.integers(1, 12), mishap=mishaps)
    def refund(self, place: int, part: int, number: int, mishap: Mishap | None) -> None:
        self.world.refund(place, part, f"refund-{number}", mishap)

    @rule(amount=amounts, part=st.integers(0, 4), used=st.sampled_from([0, 3, 30]), mishap=mishaps)
    def open_pay_use_and_refund(self, amount: Decimal, part: int, used: int, mishap: Mishap | None) -> None:
        """The way of most refunds; behind it the worker asks for what was not answered."""
        world, key = self.world, f"whole-{len(self.world.top_ups())}"
        world.open(amount, key, saves_card=False)
        world.there.pay(0, GOOD)
        world.tell_all()
        world.spend(Decimal(used) + Decimal("0.01"))
        world.refund(0, part, key, mishap)
        world.pass_time(3 * MINUTE)
        world.work("finish_refunds")

    @rule(place=places, part=fifths, fails=st.booleans(), news=news)
    def refund_there(self, place: int, part: int, fails: bool, news: News) -> None:
        """In the dashboard; where it fails, that may be the first that is heard of it."""
        self.world.there.refund(place, part)
        if fails:
            self.world.there.move_refund(0, fails=True)
        self.hear(news)

    @precondition(there_is("refund"))
    @rule(place=places, fails=st.sampled_from([True, True, False]), news=news)
    def move_refund(self, place: int, fails: bool, news: News) -> None:
        self.world.there.move_refund(place, fails=fails)
        self.hear(news)

    @rule(place=places, part=fifths, inquiry=st.booleans(), withdraw=st.booleans(), news=news)
    def dispute(self, place: int, part: int, inquiry: bool, withdraw: bool, news: News) -> None:
        self.world.there.dispute(place, part, inquiry=inquiry, withdraw=withdraw)
        self.hear(news)

    @precondition(there_is("dispute"))
    @rule(place=places, move=st.sampled_from(DISPUTED), news=news)
    def move_dispute(self, place: int, move: str, news: News) -> None:
        self.world.there.move_dispute(place, move)
        self.hear(news)

    @precondition(there_is("dispute"))
    @rule(place=places, moves=st.lists(st.sampled_from(DISPUTED), min_size=2, max_size=3))
    def move_dispute_and_hear_of_each(self, place: int, moves: list[str]) -> None:
        for move in moves:
            self.world.there.move_dispute(place, move)
            self.hear((True, None))

    @rule(place=st.integers(0, 30), mishap=mishaps, again=st.booleans())
    def deliver(self, place: int, mishap: Mishap | None, again: bool) -> None:
        """Any message, told before or not."""
        events = self.world.there.kept("event") if again else self.world.untold()
        if event := at(events, place):
            self.world.deliver(event, mishap)

    @rule()
    def deliver_all(self) -> None:
        self.world.tell_all()

    @rule(place=places, number=st.integers(0, 11))
    def overtake(self, place: int, number: int) -> None:
        """Between the processor's answer and what follows from it, more happens, and is settled."""
        world = self.world
        if top_up := at(world.top_ups(), place):
            use_case = partial(settle, world.cashier, world.account_id, str(top_up["id"]))
            mishap = Mishap("meanwhile", "after", 1, number)
            world.ours(use_case, mishap, partial(self.move_on, top_up))
            world.tell_all()
            allocate_all(world.database)
            if not world.rows("SELECT 1 FROM processor_events WHERE state = 'pending'"):
                self.oracle.check_settled(top_up)

    def move_on(self, top_up: Row, number: int) -> None:
        self.world.there.move_on(top_up, number)
        self.world.tell_all()

    @rule(
        job=st.sampled_from(
            ["settle_pending", "sweep", "settle_open", "finish_refunds", "resume_paused", "sync_cards"]
        ),
        mishap=mishaps,
        span=st.sampled_from([MINUTE, 3 * MINUTE, HOUR, DAY]),
    )
    def work(self, job: str, mishap: Mishap | None, span: timedelta) -> None:
        self.world.pass_time(span)
        self.world.work(job, mishap)

    @rule()
    def rest(self) -> None:
        """All hints come, all work is done."""
        self._rest(SOON)

    def teardown(self) -> None:
        """Also what takes days comes to its end."""
        if hasattr(self, "oracle"):
            self._rest(LATE)

    def _rest(self, spans: tuple[timedelta, ...]) -> None:
        self.world.come_to_rest(spans)
        self.oracle.check_step()
        self.oracle.check_rest()
