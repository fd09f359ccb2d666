"""Values of an account's history: which events, from where, and what each of them says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple


class Cursor(NamedTuple):
    """A place in the history: events before it were created earlier, or then with a lower sequence.

    `sequence` 0 is the place before every event of that moment.
    """

    created_at: datetime
    sequence: int = 0


class Filters(NamedTuple):
    """Which events: `since` and `until` are inclusive; None leaves a side or a field open."""

    since: datetime | None = None
    until: datetime | None = None
    source: str | None = None
    model: str | None = None
    status: str | None = None


class RecordedEvent(NamedTuple):
    """An event as it was recorded and priced.

    `cost_usd` of the row is `cost_pico`, None where it is unpriced. `line_items` are the rating's, with
    numbers as int or Decimal; `sequence` counts the account's events.
    """

    id: str
    sequence: int
    created_at: datetime
    source: str
    model: str
    endpoint: str | None
    status: str
    status_code: int | None
    error: str | None
    request_id: str | None
    latency_ms: int | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    usage: Mapping[str, Any]
    output_urls: list[str]
    metadata: Mapping[str, Any] | None
    line_items: list[Mapping[str, Any]] | None
    pricing_tier_label: str | None
    unpriced: Mapping[str, Any] | None
    cost_pico: int | None
