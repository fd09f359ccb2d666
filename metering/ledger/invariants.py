"""The laws of the books (accounting.md), stated once: tests, a job in production and the CLI check these.

A law compares two sums that must be equal to the last digit for every account; where both come from is
`storage.audit`, which reads them. What holds by construction (a transfer's balance, its sign) is a CHECK.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Law(StrEnum):
    """What must hold for every account, always."""

    BALANCE = "the posted balance is the sum of the account's transfers"
    USAGE = "the cost of the events is the sum of the usage transfers"
    TRANSFER = "each usage transfer is the sum of the events that name it"
    ROLLUP_COST = "the cost in the rollups is the cost of the events"
    ROLLUP_EVENTS = "the events counted in the rollups are the events"
    SEQUENCE = "the account's event count is the number of its events"


class Breach(NamedTuple):
    """A law that does not hold for an account: the two figures that differ, as exact decimal text."""

    law: Law
    account_id: str
    expected: str
    found: str
