"""What must have become of money in: worked out from what the processor says happened, and from no message.

`check_step` holds at any moment, whatever failed; `check_rest` once every hint has come and all work is done.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Final

from metering import clock
from metering.services.audit import check_books
from tests.services.ledger_verbs import same
from tests.services.money_in_processor import Row
from tests.services.money_in_world import AUTO, World

CENT: Final = Decimal("0.01")
_FROZEN: Final = frozenset({"needs_response", "under_review"})
_CASH: Final = """
    SELECT coalesce(sum(CASE 'cash:stripe' WHEN from_account THEN amount_usd ELSE -amount_usd END), 0) AS usd
      FROM transfers WHERE 'cash:stripe' IN (from_account, to_account)
"""
_BALANCES: Final = """
    SELECT kind, balance_after_usd AS after_usd,
           balance_after_usd - CASE 'customer_credit' WHEN to_account THEN amount_usd
                                                      WHEN from_account THEN -amount_usd
                                                      ELSE 0 END AS before_usd
      FROM transfers WHERE sequence > %s ORDER BY sequence
"""


class Oracle:
    """Looks at a world after each step."""

    def __init__(self, world: World) -> None:
        self._world = world
        # How often a purchase may have been made; and since when one is due.
        self._occasions = 0
        self._due_since: datetime | None = None
        self._sequence = 0
        self._against: set[str] = set()
        self._auto: Row = {}
        self._began = clock.now()

    def check_step(self) -> None:
        """What holds at any moment."""
        world = self._world
        rows = world.top_ups()
        paid = self._paid()
        for top_up_id, intents in paid.items():
            assert len(intents) <= 1, f"{top_up_id} was charged {len(intents)} times"
        credited = {str(row["id"]) for row in rows if row["state"] == "succeeded"}
        assert credited <= paid.keys(), "credit without a payment"
        asked = Counter(
            refund["metadata"].get("refund_id")
            for refund in world.there.kept("refund")
            if refund["status"] in {"pending", "succeeded"}
        )
        del asked[None]
        assert all(count == 1 for count in asked.values()), "one refund was made twice"
        bought = [row for row in rows if row["origin"] == "auto"]
        assert sum(row["state"] == "open" for row in bought) <= 1
        self._watch(bought)

    def _watch(self, bought: list[Row]) -> None:
        """Count the falls; each must have led to a purchase, and nothing else may turn it on."""
        world, before, auto = self._world, self._auto, self._world.auto
        asked_on, world.asked_on = world.asked_on, 0
        asked_low, world.asked_low = world.asked_low, 0
        against = {
            row["id"] for row in world.rows("SELECT id FROM disputes WHERE stage IN ('frozen', 'lost')")
        }
        assert asked_on or against <= self._against or not auto.get("is_enabled"), "disputed, and still on"
        self._against |= against
        turned_on = auto.get("is_enabled", False) and not before.get("is_enabled", False)
        assert asked_on or not turned_on, "it was turned on, and the customer did not ask"
        moved = world.rows(_BALANCES, self._sequence)
        if moved:
            same(check_books(world.database), [])
        self._sequence += len(moved)
        # Also what was turned on, and off again, since the last look.
        below = {one["threshold_usd"] for one in (before, auto) if one.get("is_enabled")} | world.asked_below
        world.asked_below = set()
        falls = {threshold: _falls(moved, threshold) for threshold in below}
        occasions = asked_low + sum(falls.values())
        self._occasions += occasions
        self._check_made(bought, occasions, before, auto)
        if turned_on or any(falls.values()):
            self._due_since = self._began
        was_on, is_on = _is_on(before), _is_on(auto)
        if was_on and is_on and falls[before["threshold_usd"]] and world.posted < before["threshold_usd"]:
            is_made = any(row["state"] == "open" or row["created_at"] >= self._began for row in bought)
            assert is_made or self._is_bought(bought), "the balance fell, and nobody noticed"
        self._auto, self._began = auto, clock.now()

    def _check_made(self, bought: list[Row], occasions: int, before: Row, auto: Row) -> None:
        """No purchase is begun but for a fall, after a pause, or instead of one that is given up."""
        since = self._began
        query = "SELECT 1 FROM notices WHERE type = 'auto_topup.paused' AND created_at >= %s"
        pauses = len(self._world.rows(query, since))
        resumed = bool(before.get("paused_until")) and not auto.get("paused_until")
        ended = [row for row in bought if row["closed_at"] and row["closed_at"] >= since]
        given_up = sum(row["state"] in {"canceled", "failed"} for row in ended)
        made = sum(row["created_at"] >= since for row in bought)
        most = occasions + pauses + resumed + given_up
        assert made <= most, f"{made} purchases for {most} reasons"

    def _is_bought(self, bought: list[Row]) -> bool:
        """Whether a purchase succeeded since one was due."""
        since = self._due_since
        return since is None or any(
            row["state"] == "succeeded" and row["closed_at"] >= since for row in bought
        )

    def check_rest(self) -> None:
        """What holds once there is nothing left to do."""
        world, paid = self._world, self._paid()
        rows = world.top_ups()
        same(check_books(world.database), [])
        same({str(row["id"]) for row in rows if row["state"] == "succeeded"}, set(paid))
        balance = -world.spent
        for row in rows:
            if row["state"] == "succeeded":
                balance += self._check_paid(row, paid[str(row["id"])][0])
            elif row["origin"] == "checkout":
                self._check_unpaid(row)
        same(world.posted, balance)
        taken = sum(booked["net"] for booked in world.there.kept("balance_transaction"))
        (cash,) = world.rows(_CASH)
        same(cash["usd"], taken * CENT)
        self._check_auto([row for row in rows if row["origin"] == "auto"])
        same(Counter(row["state"] for row in world.rows("SELECT state FROM processor_events"))["pending"], 0)

    def check_settled(self, row: Row) -> None:
        """What holds of one top-up once everything about it was told, but for refunds under way to there."""
        (row,) = self._world.rows("SELECT * FROM top_ups WHERE id = %s", row["id"])
        if intents := self._paid().get(str(row["id"])):
            same(row["state"], "succeeded")
            self._check_paid(row, intents[0], are_done=False)

    def _paid(self) -> dict[str, list[Row]]:
        """The payments that succeeded, by the top-up that they name."""
        paid: dict[str, list[Row]] = {}
        for intent in self._world.there.kept("payment_intent", status="succeeded"):
            paid.setdefault(intent["metadata"]["top_up_id"], []).append(intent)
        return paid

    def _check_paid(self, row: Row, intent: Row, *, are_done: bool = True) -> Decimal:
        """The credit that a paid top-up comes to."""
        world = self._world
        percent = 10 if row["amount_usd"] >= 2000 else 5 if row["amount_usd"] >= 1000 else 0
        same(row["payment_id"], intent["id"])
        same(row["amount_usd"] + row["tax_usd"], intent["amount"] * CENT)
        same(row["bonus_usd"], row["amount_usd"] * percent / 100)
        gone = self._refunded(row, intent, are_done=are_done) + self._disputed(row, intent)
        for part in gone:
            same(part["bonus_usd"], part["credit_usd"] * percent / 100)
            tax = row["tax_usd"] * part["amount_usd"] / (row["amount_usd"] + row["tax_usd"])
            assert abs(part["tax_usd"] - tax) <= CENT * len(gone), part
        told = world.rows(
            "SELECT 1 FROM notices WHERE type = 'top_up.succeeded' AND data->>'top_up_id' = %s",
            str(row["id"]),
        )
        same(len(told), 1)
        back = sum((part["credit_usd"] + part["bonus_usd"] for part in gone), Decimal(0))
        return Decimal(row["amount_usd"] + row["bonus_usd"]) - back

    def _refunded(self, row: Row, intent: Row, *, are_done: bool) -> list[Row]:
        """The refunds that stand, which are those at the processor."""
        known = self._world.rows("SELECT * FROM refunds WHERE top_up_id = %s", row["id"])
        ours = {refund["processor_id"]: refund for refund in known}
        for there in self._world.there.kept("refund", payment_intent=intent["id"]):
            refund = ours.pop(there["id"])
            state = "failed" if there["status"] == "canceled" else there["status"]
            same((refund["state"], refund["amount_usd"]), (state, there["amount"] * CENT))
            same(refund["credit_usd"] + refund["tax_usd"], refund["amount_usd"])
            if our_id := there["metadata"].get("refund_id"):
                same(str(refund["id"]), our_id)
        # What the processor refused, or never made, is given up.
        never = [refund for refund in known if refund["processor_id"] is None]
        assert all(refund["state"] == "failed" for refund in never) or not are_done, never
        return [refund for refund in known if refund["state"] != "failed"]

    def _disputed(self, row: Row, intent: Row) -> list[Row]:
        """The disputes that were lost; those that are open keep the top-up's credit frozen."""
        known = self._world.rows("SELECT * FROM disputes WHERE top_up_id = %s", row["id"])
        there = {one["id"]: one for one in self._world.there.kept("dispute", payment_intent=intent["id"])}
        same({one["id"]: one["status"] for one in known}, {key: one["status"] for key, one in there.items()})
        for one in known:
            same(one["amount_usd"], there[one["id"]]["amount"] * CENT)
            same(one["stage"] == "lost", one["status"] == "lost")
        lots = self._world.rows(
            "SELECT is_frozen FROM lots WHERE id = ANY(%s)", [row["transfer_id"], row["bonus_transfer_id"]]
        )
        is_frozen = any(one["status"] in _FROZEN for one in known)
        same({lot["is_frozen"] for lot in lots}, {is_frozen})
        lost = [one for one in known if one["stage"] == "lost"]
        assert all(one["credit_usd"] + one["tax_usd"] == one["amount_usd"] for one in lost), lost
        return lost

    def _check_unpaid(self, row: Row) -> None:
        """A page that can't be paid any more is no open top-up."""
        pages = self._world.there.kept("checkout.session", id=row["session_id"])
        intents = [
            self._world.there.kept("payment_intent", id=page["payment_intent"])[0]
            for page in pages
            if page["payment_intent"]
        ]
        may_be_paid = any(page["status"] == "open" for page in pages) or any(
            intent["status"] == "processing" for intent in intents
        )
        if may_be_paid or row["url_expires_at"] is None:
            return
        assert row["state"] in {"failed", "canceled"}, row

    def _check_auto(self, bought: list[Row]) -> None:
        """At the most as many purchases as falls, and as the ceilings let pass; and none is missing."""
        succeeded = [row for row in bought if row["state"] == "succeeded"]
        for row in bought:
            if row["state"] in {"canceled", "failed"} and row["payment_id"]:
                (intent,) = self._world.there.kept("payment_intent", id=row["payment_id"])
                same(intent["status"], "canceled")
        most = self._occasions + len(
            self._world.rows("SELECT 1 FROM notices WHERE type = 'auto_topup.paused'")
        )
        assert len(succeeded) <= most, f"{len(succeeded)} bought, {most} occasions"
        per_day = Counter(row["succeeded_at"].date() for row in succeeded)
        assert max(per_day.values(), default=0) <= AUTO.per_day.purchases, per_day
        auto = self._world.auto
        if _is_on(auto) and self._world.posted < auto["threshold_usd"]:
            is_open = any(row["state"] == "open" for row in bought)
            assert is_open or self._is_bought(bought), "it fell, and nothing was bought"


def _is_on(auto: Row) -> bool:
    return bool(auto.get("is_enabled")) and not auto["paused_until"]


def _falls(moved: list[Row], threshold: Decimal) -> int:
    """How often the balance went from the threshold or more to less; what is refunded is not bought again."""
    return sum(one["after_usd"] < threshold <= one["before_usd"] for one in moved if one["kind"] != "refund")
