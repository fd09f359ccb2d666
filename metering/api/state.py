"""What the handlers work with; the composition root fills it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio
from litestar import Request

from metering.api.security import Security
from metering.errors import PaymentsUnavailable
from metering.pricing.book import PriceBook
from metering.services.authorizing import Command
from metering.services.authorizing import Outcome as HoldOutcome
from metering.services.cashier import Cashier
from metering.services.group_commit import GroupCommit
from metering.services.holds import Holds
from metering.services.ingest import Ingest
from metering.services.posting import Outcome, Prepared, Refused
from metering.storage.database import Database


@dataclass(frozen=True, slots=True)
class Services:
    """The process's one set of everything; without a `cashier`, nothing can be bought here."""

    database: Database
    book: PriceBook
    ingest: Ingest
    commits: GroupCommit[Prepared | Refused, Outcome]
    holds: Holds
    hold_commits: GroupCommit[Command, HoldOutcome]
    security: Security
    api_key_prefix: str
    cashier: Cashier | None
    webhooks_to_private: bool
    # Large bodies are read one after another: threads that all compute only take the interpreter from each
    # other, and from the one that commits.
    one_reader: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    # What settles behind an answer waits for the payment processor: it must not take every thread.
    settlers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(3))


def services(request: Request[Any, Any, Any]) -> Services:
    """The application's services."""
    found: Services = request.app.state.services
    return found


def cashier(request: Request[Any, Any, Any]) -> Cashier:
    """What money comes in by; raises `PaymentsUnavailable` where no payment processor is configured."""
    found = services(request).cashier
    if found is None:
        raise PaymentsUnavailable("Payments are not configured here.")
    return found
