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
    """An event as it was recorded, priced as it stands after its corrections.

    `cost_usd` of the row is `cost_pico`, None where it is unpriced. `line_items` are the rating's, with
    numbers as int or Decimal; `sequence` counts the account's events. `supersedes` is the id of the event
    whose place it took, `superseded_by` of the one that took its own; a reversed event costs nothing.
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
    supersedes: str | None
    superseded_by: str | None
    is_reversed: bool
    cost_pico: int | None


class EventCorrection(NamedTuple):
    """What became of an event: its cost since then, the difference, and the transfer that carried it."""

    number: int
    kind: str
    cost_pico: int
    delta_pico: int
    superseded_by: str | None
    transfer_id: str | None
    reason: str
    actor: str
    recorded_at: datetime


class EventStory(NamedTuple):
    """An account's event as it stands, and how it came to that, oldest first."""

    account_id: str
    event: RecordedEvent
    corrections: list[EventCorrection]
