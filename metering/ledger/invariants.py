"""The laws of the books (accounting.md), stated once: tests, a job in production and the CLI check these.

Most compare two figures that must be equal to the last digit; where both come from is `storage.audit` and
its neighbours, which read them. The last two derive again what was recorded (`services.rederivation`).
What holds by construction (that a transfer balances, that it is positive) is a CHECK.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Law(StrEnum):
    """What must hold for every account, always."""

    BALANCE = "the posted balance is the sum of the account's transfers"
    CHAIN = "the account's transfers are numbered in order of time, each with the balance that it left"
    CHECKSUM = "each transfer is as it was recorded"
    MIRROR = "each reversal is the mirror image of the transfer that it names"
    GRANT = "each grant and each adjustment is the transfer that it names"
    HELD = (
        "what is held is the sum of the open holds, each as authorized and extended, until its event takes it"
    )
    USAGE = "the cost of the events, as corrected, is the sum of the transfers to and from revenue"
    TRANSFER = "each transfer of revenue is the sum of the events and corrections that name it"
    CORRECTION = "each correction says what the event cost before and since, and follows the one before"
    ONCE = "no event is charged twice"
    ROLLUP_COST = "the cost in the rollups is the cost of the events, as corrected"
    ROLLUP_EVENTS = "the events counted in the rollups are the events that were not superseded"
    BUDGET = "what was spent through each key by day is the cost of its events, as corrected"
    SEQUENCE = "the account's events are numbered without a gap up to its event count"
    LOTS = "the lots are the credit that was given, and their rest less what is owed is the balance"
    TOP_UP = "each top-up is settled once, by the transfers that it names; what went back of it has gone back"
    REFUND = "what each refund took, of credit, bonus and tax, is what its transfers moved"
    DISPUTE = "what each dispute took is what its transfers moved: everything where it is lost, else nothing"
    FROZEN = "what is frozen is the rest of the lots whose top-ups are disputed"
    PROCESSOR = "each movement of the processor's is the transfers that it names, and they are named once"
    RATING = "each event, priced again by its own book, has the same line items, cost and tier"
    BOOK = "each price book that priced an event is kept as it was"


class Breach(NamedTuple):
    """A law that does not hold: where, and the two figures that differ, as exact text.

    `thing` is the row concerned, such as a transfer. `account_id` is None for what is of no account.
    """

    law: Law
    account_id: str | None
    thing: str
    expected: str
    found: str
