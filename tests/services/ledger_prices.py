"""Two price books for the model of the ledger, which tests who pays when and not what things cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

Event = dict[str, Any]
Edition: TypeAlias = Literal["old", "new"]

# The full hour about which the events' times lie; the new book's prices change there.
HOUR: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
MODELS: Final = ("chat", "flat", "free", "unheard-of")


def _per_token(prompt: str, completion: str) -> list[Mapping[str, object]]:
    return [
        {"charge": "Input", "meter": "prompt_tokens", "per": "1M tokens", "rate": prompt},
        {"charge": "Output", "meter": "completion_tokens", "per": "1M tokens", "rate": completion},
    ]


def _per_request(name: str, rate: str) -> Mapping[str, object]:
    charge = {"charge": "Request", "model": "flat", "per": "request", "rate": rate}
    return {"name": name, "category": "Text", "charges": [charge]}


def _book(models: Mapping[str, object]) -> Mapping[str, object]:
    total = {"type": "integer", "unit": "token", "sum_of": ["prompt_tokens", "completion_tokens"]}
    return {
        "book.yml": {"currency": "USD", "grammar": 1},
        "meters.yml": {
            "meters": {
                "prompt_tokens": {"type": "integer", "unit": "token"},
                "completion_tokens": {"type": "integer", "unit": "token"},
                "total_tokens": total,
                "requests": {"type": "integer", "unit": "request"},
                "upstream_cost_usd": {"type": "number", "unit": "USD"},
            },
            "fields": {},
        },
        "plans.yml": {"plans": {}},
        "providers/p.yml": {"provider": "P", "models": models},
    }


BOOKS: Final[Mapping[Edition, Mapping[str, object]]] = {
    "old": _book(
        {
            "chat": {"name": "Chat", "category": "Text", "charges": _per_token("1.08", "5.40")},
            "flat": _per_request("Flat", "0.0125"),
            "free": _per_request("Free", "0"),
        }
    ),
    # One model is new in it, one has gone, and one has become dearer before the hour and cheaper after it.
    "new": _book(
        {
            "chat": {
                "name": "Chat",
                "category": "Text",
                "charges": _per_token("2.16", "6.40"),
                "editions": [{"effective": HOUR, "charges": _per_token("0.54", "5.40")}],
            },
            "free": _per_request("Free", "0"),
            "unheard-of": _per_request("Heard of", "0.02"),
        }
    ),
}
_CENTS_PER_MILLION: Final = {"old": (108, 540), "before": (216, 640), "after": (54, 540)}
_PER_REQUEST: Final[Mapping[tuple[str, Edition], Decimal]] = {
    ("flat", "old"): Decimal("0.0125"),
    ("free", "old"): Decimal(0),
    ("free", "new"): Decimal(0),
    ("unheard-of", "new"): Decimal("0.02"),
}


def price(event: Event, book: Edition) -> Decimal | None:
    """What the book asks for the event in dollars; None where it has no price."""
    if event["model"] == "chat":
        changed = "after" if created(event) >= HOUR else "before"
        prompt, completion = _CENTS_PER_MILLION["old" if book == "old" else changed]
        usage = event["usage"]
        tokens = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        return Decimal(tokens[0] * prompt + tokens[1] * completion) / 100_000_000
    rate = _PER_REQUEST.get((event["model"], book))
    # A request that failed with nothing done costs nothing; no charge of these models counts tokens.
    return Decimal(0) if rate is not None and event["status"] == "error" else rate


def created(event: Event) -> datetime:
    """When the event says that it happened."""
    return datetime.fromisoformat(event["created_at"])
