"""What happens at the processor on loopback, as the model of money in drives it: nobody is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final, TypeVar

from tests.simulator.fixtures import RunningSimulator

T = TypeVar("T")
Row = dict[str, Any]

GOOD: Final = "4242424242424242"
_MOVES: Final = {
    "warning": {"win", "lose", "escalate"},
    "needs": {"win", "lose", "review", "withdraw", "reinstate"},
    "under": {"win", "lose", "withdraw", "reinstate"},
    "won": {"win", "lose", "withdraw", "reinstate"},
    "lost": {"win", "lose", "withdraw", "reinstate"},
}


class There:
    """The customers' banks, the dashboard and the processor's pages. A place is counted from the newest."""

    def __init__(self, simulator: RunningSimulator) -> None:
        self.simulator, self.control = simulator, simulator.control
        self.state = simulator.simulator.state

    def begin(self, tax_percent: str) -> None:
        """As new."""
        self.control.reset()
        self.state.settings.tax_percent = Decimal(tax_percent)

    def kept(self, kind: str, **equal: object) -> list[Row]:
        """The processor's objects of a kind, oldest first."""
        with self.state.lock:
            return list(self.state.iter_kind(kind, **equal))[::-1]

    def save_card(self, kind: str, customer: str) -> None:
        """Save a card as the page does."""
        self.simulator.client().v1.payment_methods.attach(kind, {"customer": customer})

    def change_card(self, card_id: str, **changes: str) -> None:
        """Let it decline, or want its owner, from now on."""
        _do(lambda: self.control.change_card(card_id, **changes))

    def pay(self, place: int, card: str, **how: Any) -> None:  # noqa: ANN401  (of the control)
        """Pay on a page, the newest being place 0."""
        if page := at(self.kept("checkout.session", status="open"), place):
            _do(lambda: self.control.pay(page["id"], card, **how))

    def end_page(self, place: int) -> None:
        """Close a page."""
        if page := at(self.kept("checkout.session", status="open"), place):
            _do(lambda: self.control.expire(page["id"]))

    def authenticate(self, place: int, *, succeeded: bool) -> None:
        """A customer who was asked for 3-D Secure passes, or fails."""
        if intent := at(self.kept("payment_intent", status="requires_action"), place):
            _do(lambda: self.control.authenticate(intent["id"], succeeded=succeeded))

    def newest_charge(self, place: int = 0) -> Row | None:
        return at(self.kept("charge", status="succeeded"), place)

    def refund(self, place: int, fifths: int) -> None:
        if charge := self.newest_charge(place):
            amount = charge["amount"] * fifths // 5
            _do(lambda: self.control.refund(charge["id"], amount))

    def dispute(self, place: int, fifths: int, **options: Any) -> None:  # noqa: ANN401  (of the control)
        if charge := self.newest_charge(place):
            amount = charge["amount"] * fifths // 5
            _do(lambda: self.control.dispute(charge["id"], amount=amount, **options))

    def move_dispute(self, place: int, move: str) -> None:
        """One of win, lose, escalate, withdraw, reinstate, review."""
        if dispute := at(self.kept("dispute"), place):
            self._do_move(dispute, move)

    def _do_move(self, dispute: Row, move: str) -> None:
        if not _may_move(dispute["status"], move):
            return
        if move == "review":
            _do(lambda: self.control.move_dispute(dispute["id"], "under_review"))
        else:
            _do(lambda: getattr(self.control, move)(dispute["id"]))

    def move_refund(self, place: int, *, fails: bool) -> None:
        if refund := at(self.kept("refund"), place):
            move = self.control.fail_refund if fails else self.control.settle_refund
            _do(lambda: move(refund["id"]))

    def move_payment(self, place: int, *, fails: bool) -> None:
        """A payment that was under way arrives, or does not."""
        if intent := at(self.kept("payment_intent", status="processing"), place):
            move = self.control.fail_payment if fails else self.control.settle_payment
            _do(lambda: move(intent["id"]))

    def move_on(self, top_up: Row, number: int) -> None:
        """The next thing at the processor about a top-up, of the oldest kind that can be."""
        page = self.kept("checkout.session", id=top_up["session_id"], status="open")
        charges = self.kept("charge", payment_intent=top_up["payment_id"], status="succeeded")
        if page:
            _do(lambda: self.control.pay(page[0]["id"], GOOD))
        elif charges and not self._move_on(charges[0], number):
            inquiry = bool(number % 2)
            _do(lambda: self.control.dispute(charges[0]["id"], inquiry=inquiry))

    def _move_on(self, charge: Row, number: int) -> bool:
        """What was refunded or disputed goes on."""
        disputes = self.kept("dispute", charge=charge["id"])
        if disputes:
            move = "win" if disputes[-1]["status"] == "lost" else ("win", "lose", "escalate")[number % 3]
            self._do_move(disputes[-1], move)
        elif refunds := [one for one in self.kept("refund", charge=charge["id"]) if _may_fail(one)]:
            _do(lambda: self.control.fail_refund(refunds[-1]["id"]))
        elif number % 3 == 0:
            _do(lambda: self.control.refund(charge["id"], charge["amount"] // 3))
        else:
            return False
        return True


def _do(call: Callable[[], object]) -> None:
    """Do it, unless the processor says that this can't be."""
    with suppress(AssertionError):
        call()


def _may_move(status: str, move: str) -> bool:
    """Whether a dispute comes from there to there; what is decided is decided anew at the most."""
    return status != "warning_closed" and move in _MOVES[status.partition("_")[0]]


def _may_fail(refund: Row) -> bool:
    return refund["status"] in {"pending", "succeeded"}


def at(rows: list[T], place: int) -> T | None:
    """The row of that place counted from the newest, over and over; None where there is none."""
    return rows[-1 - place % len(rows)] if rows else None
