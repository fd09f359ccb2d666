"""The shapes of the usage API, for its documentation; the contract is `GET /v1/account/usage`'s."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from metering.api.errors import ErrorDetail
from metering.usage.event import Source


class UsageBalance(msgspec.Struct):
    """`amount` is the posted balance in US dollars; what is held is not deducted."""

    amount: Decimal
    currency: str
    auto_topup_enabled: bool
    auto_topup_threshold: Decimal | None
    auto_topup_amount: Decimal | None
    updated_at: datetime | None


class UsageSummary(msgspec.Struct):
    """Sums over the events of this page."""

    requests: int
    total_cost: Decimal
    total_tokens: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    errors: int
    avg_latency_ms: int | None


class UsageSpend(msgspec.Struct, rename={"since": "from", "until": "to"}):
    """Spend by product over the window, or of all time."""

    currency: str
    total: Decimal
    model: Decimal
    gpu_cloud: Decimal
    hosted_agents: Decimal
    since: datetime | None
    until: datetime | None


class UsageTokens(msgspec.Struct):
    """Token counts; zero for what is not billed by tokens."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    total: int


class UsageCost(msgspec.Struct):
    """What the event cost, in US dollars."""

    amount: Decimal
    currency: str


class UsageEventBody(msgspec.Struct):
    """One event; `metadata` also explains its cost: worker_usage, tool_breakdown, line_items."""

    id: str
    object: str
    created_at: datetime
    source: Source
    model: str | None
    endpoint: str | None
    status: str | None
    status_code: int | None
    error: str | None
    request_id: str | None
    latency_ms: int | None
    tokens: UsageTokens
    cost: UsageCost
    output_urls: list[str]
    metadata: dict[str, Any] | None


class AccountUsageBody(msgspec.Struct):
    """Balance, summary of the page, spend of the window, and the page itself."""

    object: str
    balance: UsageBalance
    summary: UsageSummary
    spend: UsageSpend
    data: list[UsageEventBody]
    has_more: bool
    next_cursor: datetime | None


class LineItemBody(msgspec.Struct):
    """One charge applied: quantity of the meter at the rate per unit."""

    charge: str
    meter: str
    quantity: Decimal
    amount: Decimal
    rate: Decimal
    per: str | None
    label: str | None


class UnpricedBody(msgspec.Struct):
    """Why an event has no price yet; it is kept, and priced once the book covers it."""

    meter: str | None
    reason: str


class CapturedHold(msgspec.Struct):
    """The hold that an event named: `state` is also `unknown`; `event_id` is the event that ended it."""

    id: str
    state: str
    event_id: str | None


class EventResult(msgspec.Struct, omit_defaults=True):
    """What became of one event: accepted, duplicate, conflict, unpriced or rejected."""

    id: str | None
    status: str
    event_id: str | msgspec.UnsetType = msgspec.UNSET
    cost_usd: Decimal | msgspec.UnsetType = msgspec.UNSET
    line_items: list[LineItemBody] | msgspec.UnsetType = msgspec.UNSET
    usage: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    balance: Decimal | msgspec.UnsetType = msgspec.UNSET
    unpriced: UnpricedBody | msgspec.UnsetType = msgspec.UNSET
    hold: CapturedHold | msgspec.UnsetType = msgspec.UNSET
    error: ErrorDetail | msgspec.UnsetType = msgspec.UNSET


class EventResults(msgspec.Struct):
    """One result for each event, in order."""

    results: list[EventResult]
