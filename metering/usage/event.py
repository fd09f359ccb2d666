"""A usage event: what a gateway says happened, before anything is priced."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

Source: TypeAlias = Literal["api", "playground", "gpu_cloud", "hosted_agents"]
Status: TypeAlias = Literal["success", "error"]
SOURCES: Final[tuple[Source, ...]] = ("api", "playground", "gpu_cloud", "hosted_agents")

# How much longer a text can be than any real one, so that an index entry always fits its page.
MAX_NAME: Final = 255
MAX_ID: Final = 512


class UsageEvent(NamedTuple):
    """One event as it was sent and checked.

    `id` is unique per account for ever; for a CloudEvent it is `<source>#<id>`. `account_id` is a UUID in
    canonical text. `created_at` is aware. `usage` and `metadata` are as sent; numbers are int or Decimal.
    `body_digest` identifies the body: the same id with another digest is a conflict. `hold_id` is the hold
    that the event captures, `api_key_id` the key through which it came, both UUIDs in canonical text;
    `supersedes` is the id of the event whose figures this one replaces.
    """

    id: str
    account_id: str
    created_at: datetime
    source: Source
    model: str
    endpoint: str | None
    status: Status
    status_code: int | None
    error: str | None
    request_id: str | None
    latency_ms: int | None
    usage: Mapping[str, object]
    output_urls: list[str]
    metadata: Mapping[str, object] | None
    body_digest: bytes
    hold_id: str | None = None
    api_key_id: str | None = None
    supersedes: str | None = None
