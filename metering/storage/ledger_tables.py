"""The tables of where the money is, as the newest migration leaves them.

What is appended and never changed: transfers, grants, adjustments, corrections, lot_movements and
hold_extensions. What follows from it and is kept up to date: balances, holds' states, lots, receivables.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from metering.storage.columns import (
    COUNT,
    DOCUMENT,
    MOMENT,
    USD,
    finite,
    key,
    metadata,
    not_negative,
    of_account,
    optional,
    positive,
    required,
)

# The row whose lock orders everything that happens to an account's money. `held_usd` counts every open hold,
# also one that has expired since it was last looked at; `next_expiry_at` is the soonest end of a credit;
# `frozen_usd` is credit under dispute. A fall below one of the two thresholds, null where off, is noticed as
# it is posted.
# Updated once per batch and account: room on the page keeps those updates in place (HOT).
balances = Table(
    "balances",
    metadata,
    of_account(),
    required("posted_usd", USD, "0"),
    required("event_count", BigInteger(), "0"),
    optional("updated_at", MOMENT),
    required("held_usd", USD, "0"),
    required("transfer_count", BigInteger(), "0"),
    optional("next_expiry_at", MOMENT),
    required("frozen_usd", USD, "0"),
    optional("auto_topup_below_usd", USD),
    optional("low_balance_usd", USD),
    finite("posted_usd"),
    not_negative("held_usd"),
    not_negative("frozen_usd"),
    positive("auto_topup_below_usd"),
    positive("low_balance_usd"),
    Index(
        "balances_next_expiry_at_idx", "next_expiry_at", postgresql_where=text("next_expiry_at IS NOT NULL")
    ),
    postgresql_with={"fillfactor": 50, "autovacuum_vacuum_scale_factor": "0.05"},
)

# `sequence` numbers an account's transfers without a gap, in the order of `recorded_at`; each names the
# posted balance after it. `checksum` is over the row as it was written, so that a change by hand shows.
transfers = Table(
    "transfers",
    metadata,
    key("account_id", Uuid()),
    key("id", Uuid()),
    required("kind", Text()),
    required("from_account", Text()),
    required("to_account", Text()),
    required("amount_usd", USD),
    optional("reason", Text()),
    optional("actor", Text()),
    optional("reverses_id", Uuid()),
    required("recorded_at", MOMENT),
    required("effective_at", MOMENT),
    required("sequence", BigInteger()),
    required("balance_after_usd", USD),
    required("checksum", LargeBinary()),
    positive("amount_usd"),
    finite("balance_after_usd"),
    CheckConstraint("from_account <> to_account", name="two_accounts"),
    Index("transfers_order_idx", "account_id", "recorded_at", "sequence", unique=True),
    Index(
        "transfers_reverses_id_idx",
        "account_id",
        "reverses_id",
        unique=True,
        postgresql_where=text("reverses_id IS NOT NULL"),
    ),
    # What isn't usage is rare, and looked for among millions that are.
    Index(
        "transfers_kind_idx",
        "account_id",
        "kind",
        "recorded_at",
        "sequence",
        postgresql_where=text("kind <> 'usage'"),
    ),
)

grants = Table(
    "grants",
    metadata,
    of_account(),
    key("id", Uuid()),
    required("kind", Text()),
    required("amount_usd", USD),
    required("reason", Text()),
    required("actor", Text()),
    required("idempotency_key", Text()),
    required("body_digest", LargeBinary()),
    required("priority", Integer()),
    optional("expires_at", MOMENT),
    required("transfer_id", Uuid()),
    required("balance_after_usd", USD),
    required("created_at", MOMENT),
    UniqueConstraint("account_id", "idempotency_key"),
    ForeignKeyConstraint(["account_id", "transfer_id"], ["transfers.account_id", "transfers.id"]),
    CheckConstraint("kind IN ('paid', 'promotional')", name="kind_known"),
    positive("amount_usd"),
)


# Credit given or taken by hand; `amount_usd` has the sign of its effect on the balance.
adjustments = Table(
    "adjustments",
    metadata,
    of_account(),
    key("id", Uuid()),
    required("kind", Text()),
    required("amount_usd", USD),
    required("reason", Text()),
    required("actor", Text()),
    required("idempotency_key", Text()),
    required("body_digest", LargeBinary()),
    required("transfer_id", Uuid()),
    required("balance_after_usd", USD),
    required("created_at", MOMENT),
    UniqueConstraint("account_id", "idempotency_key"),
    ForeignKeyConstraint(["account_id", "transfer_id"], ["transfers.account_id", "transfers.id"]),
    CheckConstraint("kind IN ('adjustment', 'goodwill')", name="kind_known"),
    CheckConstraint("amount_usd <> 0", name="amount_usd_not_zero"),
    finite("amount_usd"),
)

# What became of an event after it was recorded: its cost since then, and the difference that was posted.
# `number` counts an event's corrections from 1; the last one tells. The event's own time, source and model
# stand here too, so that spend over a window needs no look at the event.
corrections = Table(
    "corrections",
    metadata,
    key("account_id", Uuid()),
    key("event_id", Text()),
    key("number", Integer()),
    required("kind", Text()),
    required("event_created_at", MOMENT),
    required("source", Text()),
    required("model", Text()),
    required("cost_usd", USD),
    required("delta_usd", USD),
    optional("line_items", DOCUMENT),
    optional("pricing_tier_label", Text()),
    optional("superseded_by", Text()),
    optional("book_digest", LargeBinary()),
    optional("transfer_id", Uuid()),
    required("reason", Text()),
    required("actor", Text()),
    required("recorded_at", MOMENT),
    CheckConstraint("kind IN ('rating', 'rerating', 'amendment', 'reversal')", name="kind_known"),
    not_negative("cost_usd"),
    finite("delta_usd"),
    Index("corrections_event_created_at_idx", "account_id", "event_created_at"),
)

# `amount_usd` is what is set aside, extensions included; it counts while the state is open and before
# expires_at. The index by id is not unique: a unique key would need account_id, which a URL doesn't carry.
holds = Table(
    "holds",
    metadata,
    key("account_id", Uuid()),
    key("id", Uuid()),
    required("state", Text()),
    required("authorized_usd", USD),
    required("amount_usd", USD),
    optional("captured_usd", USD),
    optional("event_id", Text()),
    optional("api_key_id", Uuid()),
    optional("model", Text()),
    required("tokens", BigInteger()),
    optional("idempotency_key", Text()),
    required("body_digest", LargeBinary()),
    required("created_at", MOMENT),
    required("expires_at", MOMENT),
    optional("closed_at", MOMENT),
    UniqueConstraint("account_id", "idempotency_key"),
    CheckConstraint("state IN ('open', 'captured', 'voided', 'expired')", name="state_known"),
    CheckConstraint("(state = 'open') = (closed_at IS NULL)", name="closed_at_of_state"),
    not_negative("authorized_usd"),
    not_negative("amount_usd"),
    not_negative("captured_usd"),
    Index("holds_id_idx", "id"),
    Index("holds_open_idx", "account_id", "expires_at", postgresql_where=text("state = 'open'")),
    postgresql_with={"fillfactor": 80},
)

hold_extensions = Table(
    "hold_extensions",
    metadata,
    key("account_id", Uuid()),
    key("hold_id", Uuid()),
    key("id", Uuid()),
    required("amount_usd", USD),
    required("overspend_usd", USD),
    optional("idempotency_key", Text()),
    required("body_digest", LargeBinary()),
    required("created_at", MOMENT),
    UniqueConstraint("account_id", "hold_id", "idempotency_key"),
    not_negative("amount_usd"),
    not_negative("overspend_usd"),
)

# Requests and tokens authorized in the current minute-long window and in the one before it.
request_rates = Table(
    "request_rates",
    metadata,
    key("account_id", Uuid()),
    required("window_started_at", MOMENT),
    required("requests", BigInteger()),
    required("tokens", COUNT),
    required("previous_requests", BigInteger()),
    required("previous_tokens", COUNT),
    postgresql_with={"fillfactor": 50},
)

# What was charged through a key by day (UTC), which its budget is compared with.
api_key_spend = Table(
    "api_key_spend",
    metadata,
    key("account_id", Uuid()),
    key("api_key_id", Uuid()),
    key("day", Date()),
    required("spent_usd", USD),
    finite("spent_usd"),
    postgresql_with={"fillfactor": 70},
)

# What remains of credit; `id` is the transfer that brought it, `used_usd` what usage took from it and did not
# give back. Whatever is neither left nor used has expired or was taken back.
lots = Table(
    "lots",
    metadata,
    key("account_id", Uuid()),
    key("id", Uuid()),
    required("kind", Text()),
    required("priority", Integer()),
    optional("expires_at", MOMENT),
    required("sequence", BigInteger()),
    required("amount_usd", USD),
    required("rest_usd", USD),
    required("used_usd", USD),
    required("created_at", MOMENT),
    required("is_frozen", Boolean(), "false"),
    CheckConstraint("kind IN ('paid', 'promotional')", name="kind_known"),
    CheckConstraint("rest_usd + used_usd <= amount_usd", name="within_amount"),
    positive("amount_usd"),
    not_negative("rest_usd"),
    not_negative("used_usd"),
    Index("lots_open_idx", "account_id", postgresql_where=text("rest_usd > 0")),
    Index("lots_ending_idx", "expires_at", postgresql_where=text("rest_usd > 0")),
)

# Which lot paid for what: positive took from the lot, negative gave back. Without a lot, `settles_id` names
# the transfer that was owed and that this one's credit cancels.
lot_movements = Table(
    "lot_movements",
    metadata,
    key("account_id", Uuid()),
    key("number", BigInteger()),
    optional("lot_id", Uuid()),
    required("transfer_id", Uuid()),
    optional("settles_id", Uuid()),
    required("amount_usd", USD),
    required("recorded_at", MOMENT),
    CheckConstraint("amount_usd <> 0", name="amount_usd_not_zero"),
    CheckConstraint("(lot_id IS NULL) <> (settles_id IS NULL)", name="lot_or_settles"),
    finite("amount_usd"),
    Index("lot_movements_transfer_id_idx", "account_id", "transfer_id"),
    Index("lot_movements_lot_id_idx", "account_id", "lot_id"),
)

# Use beyond the balance: what no lot has paid yet, by the transfer that took it.
receivables = Table(
    "receivables",
    metadata,
    key("account_id", Uuid()),
    key("transfer_id", Uuid()),
    required("sequence", BigInteger()),
    required("owed_usd", USD),
    not_negative("owed_usd"),
    Index("receivables_owed_idx", "account_id", "sequence", postgresql_where=text("owed_usd > 0")),
)

# How far the allocator of lots has come in an account's transfers.
lot_positions = Table(
    "lot_positions",
    metadata,
    key("account_id", Uuid()),
    required("sequence", BigInteger()),
    optional("recorded_at", MOMENT),
    required("movement_count", BigInteger()),
)
