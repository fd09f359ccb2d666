"""The tables of accounts and of what they used, as the newest migration leaves them.

The hot tables (usage_events, transfers, usage_rollups) have no foreign keys: each would cost a look-up
per row, and accounts are never deleted. Where the money is stands in `ledger_tables.py`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)

from metering.storage.columns import (
    COUNT,
    DOCUMENT,
    MOMENT,
    USD,
    key,
    metadata,
    not_negative,
    of_account,
    optional,
    positive,
    required,
)

SERVICE_ROLE: Final = "metering_service"

accounts = Table(
    "accounts",
    metadata,
    key("account_id", Uuid()),
    required("name", Text()),
    optional("metadata", DOCUMENT),
    required("key_limit", Integer(), "50"),
    required("requests_per_minute", Integer(), "50"),
    required("tokens_per_minute", BigInteger(), "2000000"),
    required("created_at", MOMENT),
    optional("email", Text()),
)

# The index is not unique: a unique key would need account_id, which a presented key doesn't carry.
api_keys = Table(
    "api_keys",
    metadata,
    of_account(),
    key("id", Uuid()),
    required("key_hash", LargeBinary()),
    required("prefix", Text()),
    required("last_four", Text()),
    optional("name", Text()),
    required("created_at", MOMENT),
    optional("revoked_at", MOMENT),
    optional("expires_at", MOMENT),
    optional("last_used_at", MOMENT),
    optional("replaces_id", Uuid()),
    optional("budget_usd", USD),
    optional("budget_period", Text()),
    positive("budget_usd"),
    CheckConstraint("budget_period IN ('day', 'month', 'total')", name="budget_period_known"),
    CheckConstraint("(budget_usd IS NULL) = (budget_period IS NULL)", name="budget_whole"),
    Index("api_keys_key_hash_idx", "key_hash"),
)

service_tokens = Table(
    "service_tokens",
    metadata,
    key("id", Uuid()),
    required("name", Text()),
    required("token_hash", LargeBinary()),
    required("scopes", ARRAY(Text())),
    required("created_at", MOMENT),
    optional("revoked_at", MOMENT),
    Index("service_tokens_token_hash_idx", "token_hash"),
)

# `sequence` counts an account's events, and so orders those that share a created_at. cost_usd is null
# where no price was found; then `unpriced` has the meter and the reason.
usage_events = Table(
    "usage_events",
    metadata,
    key("account_id", Uuid()),
    key("id", Text()),
    required("sequence", BigInteger()),
    required("created_at", MOMENT),
    required("recorded_at", MOMENT),
    required("source", Text()),
    required("model", Text()),
    optional("endpoint", Text()),
    required("status", Text()),
    optional("status_code", Integer()),
    optional("error", Text()),
    optional("request_id", Text()),
    optional("latency_ms", BigInteger()),
    required("usage", DOCUMENT),
    required("output_urls", DOCUMENT),
    optional("metadata", DOCUMENT),
    required("body_digest", LargeBinary()),
    optional("cost_usd", USD),
    optional("line_items", DOCUMENT),
    optional("pricing_tier_label", Text()),
    optional("unpriced", DOCUMENT),
    optional("unbilled", DOCUMENT),
    required("input_tokens", BigInteger()),
    required("output_tokens", BigInteger()),
    required("cache_read_tokens", BigInteger()),
    required("cache_write_tokens", BigInteger()),
    required("total_tokens", BigInteger()),
    required("book_digest", LargeBinary()),
    optional("transfer_id", Uuid()),
    optional("balance_after_usd", USD),
    optional("hold_id", Uuid()),
    optional("api_key_id", Uuid()),
    optional("supersedes", Text()),
    not_negative("cost_usd"),
    Index("usage_events_history_idx", "account_id", "created_at", "sequence", unique=True),
    Index(
        "usage_events_unpriced_idx",
        "account_id",
        "created_at",
        "sequence",
        postgresql_where=text("unpriced IS NOT NULL"),
    ),
    Index(
        "usage_events_errors_idx",
        "account_id",
        "created_at",
        "sequence",
        postgresql_where=text("status = 'error'"),
    ),
)

usage_rollups = Table(
    "usage_rollups",
    metadata,
    key("account_id", Uuid()),
    key("hour", MOMENT),
    key("model", Text()),
    key("source", Text()),
    required("events", BigInteger()),
    required("errors", BigInteger()),
    required("unpriced", BigInteger()),
    required("cost_usd", USD),
    required("input_tokens", COUNT),
    required("output_tokens", COUNT),
    required("cache_read_tokens", COUNT),
    required("cache_write_tokens", COUNT),
    not_negative("cost_usd"),
    postgresql_with={"fillfactor": 70},
)

price_books = Table(
    "price_books",
    metadata,
    key("digest", LargeBinary()),
    required("documents", DOCUMENT),
    required("recorded_at", MOMENT),
)
