"""Every order of our calls, the processor's events, faults and crashes that the model of money in tries."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.services.money_in_mishaps import Mishap, mishaps
from tests.services.money_in_oracle import Oracle
from tests.services.money_in_world import GOOD, World, at

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
    "pm_card_visa",
    "pm_card_visa",
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
cards = st.sampled_from(CARDS)


class Machine(RuleBasedStateMachine):
    """A customer of ours, and a processor that does as it likes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.oracle: Oracle

    @initialize(
        taxed=st.sampled_from([False, False, False, True]),
        amount=st.none() | st.sampled_from(AMOUNTS),
        is_on=st.booleans(),
        card=st.sampled_from(SAVED),
    )
    def begin(self, taxed: bool, amount: Decimal | None, is_on: bool, card: str) -> None:
        """So that there is something to work with from the first step."""
        world = self.world
        world.begin(taxed=taxed)
        self.oracle = Oracle(world)
        if amount is not None:
            world.open(amount, "first", saves_card=False)
            world.pay(0, GOOD)
            world.tell_all()
        if is_on:
            world.save_card(card)
            world.turn(True, threshold_pico="10", amount_pico="50")

    @invariant()
    def keeps_the_laws(self) -> None:
        self.oracle.check_step()

    @rule(amount=st.sampled_from(AMOUNTS), key=keys, saves=st.booleans(), mishap=mishaps)
    def open(self, amount: Decimal, key: str, saves: bool, mishap: Mishap | None) -> None:
        self.world.open(amount, key, saves_card=saves, mishap=mishap)

    @rule(place=places, card=cards, bank=st.sampled_from([False] * 4 + [True]), waits=st.booleans())
    def pay(self, place: int, card: str, bank: bool, waits: bool) -> None:
        how = {"method": "us_bank_account"} if bank else {"authenticates": None if waits else True}
        self.world.pay(place, card, **how)

    @rule(amount=st.sampled_from(AMOUNTS), saves=st.booleans(), card=cards, mishap=mishaps)
    def buy_and_hear_of_it(self, amount: Decimal, saves: bool, card: str, mishap: Mishap | None) -> None:
        """Open, pay and one message: the way of most top-ups."""
        self.world.open(amount, f"whole-{len(self.world.top_ups())}", saves_card=saves)
        self.world.pay(0, card)
        if event := at(self.world.untold(), 0):
            self.world.deliver(event, mishap)

    @rule(place=places, fails=st.booleans())
    def move_payment(self, place: int, fails: bool) -> None:
        self.world.move_payment(place, fails=fails)

    @rule(place=places, succeeded=st.booleans())
    def authenticate(self, place: int, succeeded: bool) -> None:
        if intent := at(self.world.kept("payment_intent", status="requires_action"), place):
            self.world.there(lambda: self.world.control.authenticate(intent["id"], succeeded=succeeded))

    @rule(place=places)
    def end_a_page(self, place: int) -> None:
        if page := at(self.world.kept("checkout.session", status="open"), place):
            self.world.there(lambda: self.world.control.expire(page["id"]))

    @rule(amount=st.sampled_from([Decimal(1), Decimal(15), Decimal(700)]))
    def spend(self, amount: Decimal) -> None:
        self.world.spend(amount)

    @rule(threshold=st.sampled_from([Decimal(10), Decimal(10), Decimal(5), Decimal(0)]))
    def fall(self, threshold: Decimal) -> None:
        self.world.fall_below(threshold)

    @rule(mishap=mishaps, amount=st.sampled_from([Decimal(15), Decimal(45)]))
    def fall_and_buy(self, mishap: Mishap | None, amount: Decimal) -> None:
        """The way of most purchases."""
        self.world.fall_below(amount - Decimal(5))
        self.world.buy(mishap)

    @rule(
        terms=st.sampled_from([("10", "50"), ("10", "50"), ("5", "20"), ("400", "1000")]),
        mishap=mishaps,
    )
    def turn_on(self, terms: tuple[str, str], mishap: Mishap | None) -> None:
        self.world.turn(True, mishap, threshold_pico=terms[0], amount_pico=terms[1])

    @rule(mishap=mishaps)
    def turn_off(self, mishap: Mishap | None) -> None:
        self.world.turn(False, mishap)

    @rule(kind=st.sampled_from(SAVED), is_known=st.booleans())
    def save_card(self, kind: str, is_known: bool) -> None:
        self.world.save_card(kind)
        if is_known:
            self.world.work("sync_cards")

    @rule(place=places, mishap=mishaps)
    def remove_card(self, place: int, mishap: Mishap | None) -> None:
        self.world.remove_card(place, mishap)

    @rule(
        place=places,
        decline=st.sampled_from(["insufficient_funds", "stolen_card", ""]),
        authentication=st.sampled_from(["never", "always"]),
    )
    def change_card(self, place: int, decline: str, authentication: str) -> None:
        if card := at(self.world.cards(), place):
            changes = {"decline": decline, "authentication": authentication}
            self.world.there(lambda: self.world.control.change_card(card["id"], **changes))

    @rule(mishap=mishaps, later=st.booleans())
    def buy(self, mishap: Mishap | None, later: bool) -> None:
        """The worker; `later` behind the lease of one that was killed."""
        if later:
            self.world.pass_time(4 * MINUTE)
        self.world.buy(mishap)

    @rule(span=st.sampled_from([MINUTE, 4 * MINUTE, HOUR, DAY, 4 * DAY, 31 * DAY]))
    def let_time_pass(self, span: timedelta) -> None:
        self.world.pass_time(span)

    @rule(place=places, part=st.integers(0, 5), key=keys, mishap=mishaps)
    def refund(self, place: int, part: int, key: str, mishap: Mishap | None) -> None:
        self.world.refund(place, part, key, mishap)

    @rule(place=places, part=fifths)
    def refund_there(self, place: int, part: int) -> None:
        self.world.refund_there(place, part)

    @rule(place=places, fails=st.sampled_from([True, True, False]))
    def move_refund(self, place: int, fails: bool) -> None:
        self.world.move_refund(place, fails=fails)

    @rule(place=places, part=fifths, inquiry=st.booleans(), withdraw=st.booleans())
    def dispute(self, place: int, part: int, inquiry: bool, withdraw: bool) -> None:
        self.world.dispute(place, part, inquiry=inquiry, withdraw=withdraw)

    @rule(
        place=places,
        move=st.sampled_from(["win", "lose", "win", "lose", "escalate", "withdraw", "reinstate", "review"]),
        mishap=st.none() | mishaps,
        is_told=st.booleans(),
    )
    def move_dispute(self, place: int, move: str, mishap: Mishap | None, is_told: bool) -> None:
        self.world.move_dispute(place, move)
        if is_told and (event := at(self.world.untold(), 0)):
            self.world.deliver(event, mishap)

    @rule(place=st.integers(0, 30), mishap=mishaps, again=st.booleans())
    def deliver(self, place: int, mishap: Mishap | None, again: bool) -> None:
        """Any message, told before or not."""
        events = self.world.kept("event") if again else self.world.untold()
        if event := at(events, place):
            self.world.deliver(event, mishap)

    @rule()
    def deliver_all(self) -> None:
        self.world.tell_all()

    @rule(place=places, mishap=mishaps)
    def settle(self, place: int, mishap: Mishap | None) -> None:
        self.world.settle(place, mishap)

    @rule(
        job=st.sampled_from(
            ["settle_pending", "sweep", "settle_open", "finish_refunds", "resume_paused", "sync_cards"]
        ),
        mishap=mishaps,
        later=st.booleans(),
    )
    def work(self, job: str, mishap: Mishap | None, later: bool) -> None:
        if later:
            self.world.pass_time(3 * MINUTE)
        self.world.work(job, mishap)

    @rule()
    def rest(self) -> None:
        """All hints come, all work is done."""
        self.world.come_to_rest(SOON)
        self.oracle.check_step()
        self.oracle.check_rest()

    def teardown(self) -> None:
        """Also what takes days comes to its end."""
        if hasattr(self, "oracle"):
            self.world.come_to_rest(LATE)
            self.oracle.check_step()
            self.oracle.check_rest()
