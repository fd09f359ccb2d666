"""The answer of `GET /v1/account/usage`, field by field as the contract has it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any, Final

import msgspec

from metering.api.encoding import amount, moment
from metering.money import divide_half_even
from metering.services.history import AccountUsage
from metering.services.stamping import NOT_SHOWN
from metering.usage.history import Cursor, Filters, RecordedEvent
from metering.usage.meters import TOOLS, UPSTREAM_COST

CURRENCY: Final = "USD"
SEQUENCE_DIGITS: Final = 12
# Keys of metadata that the contract documents. With another value they are left out: a client would trip.
_ONE_OF: Final[Mapping[str, Sequence[str]]] = {
    "category": ("gpu_cloud", "agents", "playground"),
    "agent_type": ("openclaw", "hermes"),
}
_TEXTS: Final = frozenset({"agent_name", "agent_instance_id", "gpu_slug", "gpu_display", "conversation_id"})
_NUMBERS: Final = frozenset({"seconds", "price_hourly"})
# A number of more digits, which no amount has, keeps its exponent: written out it could fill the memory.
_PLAIN_DIGITS: Final = 40
# `192.0.2.1:443` and `[2001:db8::1]:443`.
_PORT: Final = re.compile(r"^(?:([0-9.]+):[0-9]+|\[([^\]]*)\](?::[0-9]+)?)$")
# IP addresses, user agents and our own cost are never shown, whatever a gateway puts into metadata.
_PRIVATE: Final = re.compile(
    r"(.*_)?(ip|ips|ip_addr|ip_address|remote_addr|remote_address|forwarded_for|user_agent|useragent|ua)"
    r"|(upstream|provider|internal|our|wholesale)_(.*_)?(cost|price|margin)(_.*)?|cost_internals?|margin(_.*)?"
)


def render(usage: AccountUsage, filters: Filters) -> dict[str, object]:
    """The whole answer, ready to encode."""
    spend = usage.spend
    gpu_cloud, hosted_agents = spend.get("gpu_cloud", 0), spend.get("hosted_agents", 0)
    model = spend.get("api", 0) + spend.get("playground", 0)
    asked = usage.auto_topup
    return {
        "object": "account_usage",
        "balance": {
            "amount": amount(usage.balance.posted_pico),
            "currency": CURRENCY,
            "auto_topup_enabled": asked is not None and asked.is_enabled,
            "auto_topup_threshold": asked and amount(asked.threshold_pico),
            "auto_topup_amount": asked and amount(asked.amount_pico),
            "updated_at": moment(usage.balance.updated_at),
        },
        "summary": _summary(usage.events),
        "spend": {
            "currency": CURRENCY,
            "total": amount(model + gpu_cloud + hosted_agents),
            "model": amount(model),
            "gpu_cloud": amount(gpu_cloud),
            "hosted_agents": amount(hosted_agents),
            "from": moment(filters.since),
            "to": moment(filters.until),
        },
        "data": [_event(event) for event in usage.events],
        "has_more": usage.next_cursor is not None,
        "next_cursor": None if usage.next_cursor is None else cursor_text(usage.next_cursor),
    }


def cursor_text(cursor: Cursor) -> str:
    """A cursor that is a date-time too: the sequence stands behind the microseconds of the second."""
    at = cursor.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{at}{cursor.sequence:0{SEQUENCE_DIGITS}d}Z"


def _summary(events: Sequence[RecordedEvent]) -> dict[str, object]:
    latencies = [event.latency_ms for event in events if event.latency_ms is not None]
    return {
        "requests": len(events),
        "total_cost": amount(sum(event.cost_pico or 0 for event in events)),
        "total_tokens": sum(event.total_tokens for event in events),
        "input_tokens": sum(event.input_tokens for event in events),
        "output_tokens": sum(event.output_tokens for event in events),
        "cache_read_tokens": sum(event.cache_read_tokens for event in events),
        "cache_write_tokens": sum(event.cache_write_tokens for event in events),
        "errors": sum(event.status == "error" for event in events),
        "avg_latency_ms": divide_half_even(sum(latencies), len(latencies)) if latencies else None,
    }


def _event(event: RecordedEvent) -> dict[str, object]:
    return {
        "id": event.id,
        "object": "usage_event",
        "created_at": moment(event.created_at),
        "source": event.source,
        "model": event.model,
        "endpoint": event.endpoint,
        "status": event.status,
        "status_code": event.status_code,
        "error": event.error,
        "request_id": event.request_id,
        "latency_ms": event.latency_ms,
        "tokens": {
            "input": event.input_tokens,
            "output": event.output_tokens,
            "cache_read": event.cache_read_tokens,
            "cache_write": event.cache_write_tokens,
            "total": event.total_tokens,
        },
        "cost": {"amount": amount(event.cost_pico or 0), "currency": CURRENCY},
        "output_urls": event.output_urls,
        "metadata": _metadata(event),
    }


def _metadata(event: RecordedEvent) -> dict[str, object]:
    """What the gateway sent, without what is private, and what explains the cost."""
    sent = {name: value for name, value in (event.metadata or {}).items() if _keeps_contract(name, value)}
    shown: dict[str, object] = _public(sent)
    worker_usage = {name: value for name, value in _public(event.usage).items() if name not in NOT_SHOWN}
    cost = None if event.cost_pico is None else amount(event.cost_pico)
    shown["worker_usage"] = worker_usage | {"cost_usd": cost, "pricing_tier_label": event.pricing_tier_label}
    items = [_public(_without_upstream(item)) for item in event.line_items or []]
    shown["tool_breakdown"] = [
        {
            "tool": item["meter"].removeprefix(TOOLS),
            "invocations": item["quantity"],
            "unit_cost_usd": item["rate"],
            "cost_usd": item["amount"],
        }
        for item in items
        if item["meter"].startswith(TOOLS)
    ]
    shown["line_items"] = items
    if event.supersedes is not None:
        shown["supersedes"] = event.supersedes
    if event.is_reversed:
        shown["reversed"] = True
    return shown


def _keeps_contract(name: str, value: object) -> bool:
    """Whether a key that the contract documents has a value as it says; all other keys are free."""
    if name in _ONE_OF:
        return value in _ONE_OF[name]
    if name in _NUMBERS:
        return isinstance(value, int | Decimal) and not isinstance(value, bool)
    return name not in _TEXTS or isinstance(value, str)


def _without_upstream(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The line item; what a provider's own figure prices is a task to the customer."""
    return {**item, "meter": "tasks"} if item["meter"] == UPSTREAM_COST else item


def _public(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """The document without private keys and addresses, at any depth, and numbers in plain decimals."""
    if isinstance(value, Mapping):
        return {
            key: _public(inner)
            for key, inner in value.items()
            if not _PRIVATE.fullmatch(key.lower().replace("-", "_")) and not _is_address(inner)
        }
    if isinstance(value, list):
        return [_public(inner) for inner in value if not _is_address(inner)]
    if isinstance(value, Decimal) and abs(value.adjusted()) < _PLAIN_DIGITS:
        return msgspec.Raw(f"{value:f}".encode())
    return value


def _is_address(value: object) -> bool:
    """An IP address, a network, one with a port, or a list of them as proxies forward it."""
    if not isinstance(value, str) or not (value.count(".") >= 3 or ":" in value):
        return False
    try:
        for part in value.split(","):
            ipaddress.ip_interface(_PORT.sub(r"\1\2", part.strip()))
    except ValueError:
        return False
    return True
