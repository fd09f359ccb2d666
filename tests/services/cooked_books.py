"""What a hand may do to the books that `auditing.lived_in` made, and the laws that this breaks."""

from __future__ import annotations

from metering.ledger.invariants import Law

# The transfer that carried the cost of the event `beyond` alone, which came last.
LAST = "id = (SELECT transfer_id FROM usage_events WHERE id = 'beyond')"
SECOND_CHARGE = (
    """INSERT INTO transfers
       SELECT account_id, gen_random_uuid(), kind, from_account, to_account, amount_usd, reason, actor, NULL,
              recorded_at + interval '1 second', effective_at, transfer_count + 1, posted_usd - amount_usd, ''
         FROM transfers JOIN balances USING (account_id) WHERE """
    + LAST,
    "UPDATE transfers SET checksum = checksum() WHERE checksum = ''",
    """UPDATE balances SET posted_usd = balance_after_usd, transfer_count = sequence
         FROM (SELECT * FROM transfers ORDER BY sequence DESC LIMIT 1) AS last""",
)
COLUMNS = """account_id, created_at, recorded_at, source, model, status, usage, output_urls, body_digest,
    cost_usd, line_items, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, total_tokens,
    book_digest"""
COPIED_EVENT = (
    *SECOND_CHARGE,
    f"""INSERT INTO usage_events ({COLUMNS}, id, sequence, transfer_id)
        SELECT {COLUMNS}, 'copy', (SELECT max(sequence) + 1 FROM usage_events),
               (SELECT id FROM transfers ORDER BY sequence DESC LIMIT 1)
          FROM usage_events WHERE id = 'beyond'""",
    "UPDATE balances SET event_count = event_count + 1",
    """UPDATE usage_rollups AS r SET events = r.events + 1, cost_usd = r.cost_usd + e.cost_usd,
                                     input_tokens = r.input_tokens + e.input_tokens
         FROM usage_events AS e WHERE e.id = 'copy' AND r.model = e.model AND r.source = e.source""",
)
MONEY = {Law.BALANCE, Law.CHAIN, Law.CHECKSUM, Law.USAGE, Law.TRANSFER}
COOKED = {
    "a balance off by the last digit": (
        ("UPDATE balances SET posted_usd = posted_usd + 0.000000000001",),
        {Law.BALANCE},
    ),
    "a transfer's amount": ((f"UPDATE transfers SET amount_usd = amount_usd + 1 WHERE {LAST}",), MONEY),
    "a transfer's amount, and its checksum": (
        (
            f"UPDATE transfers SET amount_usd = amount_usd + 1 WHERE {LAST}",
            f"UPDATE transfers SET checksum = checksum() WHERE {LAST}",
        ),
        MONEY - {Law.CHECKSUM},
    ),
    "a transfer's account": (
        (f"UPDATE transfers SET to_account = 'revenue:gpu_cloud' WHERE {LAST}",),
        {Law.CHECKSUM, Law.USAGE, Law.TRANSFER},
    ),
    "a transfer's reason": (
        ("UPDATE transfers SET reason = 'another' WHERE kind = 'goodwill'",),
        {Law.CHECKSUM},
    ),
    "a transfer's time": (
        (f"UPDATE transfers SET effective_at = effective_at - interval '1 month' WHERE {LAST}",),
        {Law.CHECKSUM},
    ),
    "a transfer that was laid on lots": (
        ("UPDATE transfers SET amount_usd = amount_usd + 1 WHERE kind = 'goodwill'",),
        {Law.BALANCE, Law.CHAIN, Law.CHECKSUM, Law.GRANT, Law.LOTS},
    ),
    "a transfer taken away": ((f"DELETE FROM transfers WHERE {LAST}",), MONEY - {Law.CHECKSUM}),
    "an event charged twice": (SECOND_CHARGE, {Law.ONCE, Law.USAGE, Law.TRANSFER}),
    "an event copied under another id": (COPIED_EVENT, {Law.ONCE}),
    "an event charged beside the one that superseded it": (
        ("DELETE FROM corrections WHERE event_id = 'a'",),
        {Law.ONCE, Law.USAGE, Law.TRANSFER, Law.ROLLUP_COST, Law.ROLLUP_EVENTS, Law.BUDGET},
    ),
    "a lot off by the last digit": (
        ("UPDATE lots SET rest_usd = rest_usd - 0.000000000001 WHERE kind = 'paid' AND rest_usd > 0",),
        {Law.LOTS},
    ),
    "a lot over-consumed": (
        (
            """INSERT INTO lot_movements
               SELECT account_id, movement_count + 1, lots.id, transfers.id, NULL, 0.5, recorded_at
                 FROM lot_positions JOIN lots USING (account_id)
                                    JOIN transfers USING (account_id, recorded_at)
                WHERE rest_usd > 1 LIMIT 1""",
            "UPDATE lot_positions SET movement_count = movement_count + 1",
            """UPDATE lots SET rest_usd = rest_usd - 0.5, used_usd = used_usd + 0.5
                WHERE id = (SELECT lot_id FROM lot_movements ORDER BY number DESC LIMIT 1)""",
        ),
        {Law.LOTS},
    ),
    "a lot of another kind": (
        ("UPDATE lots SET kind = 'promotional' WHERE priority = 200",),
        {Law.LOTS},
    ),
    "a lot before its turn": (
        ("UPDATE lots SET priority = priority - 1 WHERE kind = 'promotional' AND expires_at IS NULL",),
        {Law.LOTS},
    ),
    "a lot among older ones": (("UPDATE lots SET sequence = -sequence WHERE priority = 200",), {Law.LOTS}),
    "a lot that ends sooner": (
        (
            "UPDATE lots SET expires_at = expires_at - interval '1 us' WHERE priority = 200",
            "UPDATE balances SET next_expiry_at = next_expiry_at - interval '1 us'",
        ),
        {Law.LOTS},
    ),
    "a lot that never ends": (("UPDATE lots SET expires_at = NULL WHERE rest_usd = 0",), {Law.LOTS}),
    "a lot of more than was given": (
        (
            "UPDATE lots SET amount_usd = amount_usd + 1, used_usd = used_usd + 1 WHERE priority = 200",
            """INSERT INTO lot_movements
               SELECT account_id, movement_count + 1, lots.id, transfers.id, NULL, 1, recorded_at
                 FROM lot_positions JOIN lots USING (account_id)
                                    JOIN transfers USING (account_id, recorded_at)
                WHERE priority = 200 LIMIT 1""",
            "UPDATE lot_positions SET movement_count = movement_count + 1",
        ),
        {Law.LOTS},
    ),
    "a grant on other terms than its lot": (
        ("UPDATE grants SET expires_at = NULL WHERE priority = 200",),
        {Law.LOTS},
    ),
    "an end of credit that is looked for too late": (
        ("UPDATE balances SET next_expiry_at = next_expiry_at + interval '1 us'",),
        {Law.LOTS},
    ),
    "an end of credit that nobody looks for": (("UPDATE balances SET next_expiry_at = NULL",), {Law.LOTS}),
    "a movement of another number": (
        ("UPDATE lot_movements SET number = -number WHERE number = 1",),
        {Law.LOTS},
    ),
    "a debt that nobody has": (
        ("UPDATE receivables SET owed_usd = owed_usd + 1",),
        {Law.LOTS},
    ),
    "a rollup off by one event": (
        ("UPDATE usage_rollups SET events = events + 1 WHERE model = 'gone' OR model = 'steady'",),
        {Law.ROLLUP_EVENTS},
    ),
    "a rollup off by the last digit": (
        ("UPDATE usage_rollups SET cost_usd = cost_usd + 0.000000000001 WHERE source = 'gpu_cloud'",),
        {Law.ROLLUP_COST},
    ),
    "a rollup of nothing": (
        (
            """INSERT INTO usage_rollups
               SELECT account_id, hour, 'unheard-of', source, 1, 0, 0, 1, 0, 0, 0, 0
                 FROM usage_rollups LIMIT 1""",
        ),
        {Law.ROLLUP_COST, Law.ROLLUP_EVENTS},
    ),
    "an event taken away": (
        ("DELETE FROM usage_events WHERE id = 'free'",),
        {Law.SEQUENCE, Law.ROLLUP_EVENTS},
    ),
    "two events of one number": (
        (
            """UPDATE usage_events SET sequence = sequence + 1, created_at = created_at + interval '1 us'
                WHERE id = 'free'""",
        ),
        {Law.SEQUENCE},
    ),
    "an event of no number": (("UPDATE usage_events SET sequence = -1 WHERE id = 'free'",), {Law.SEQUENCE}),
    "an event without an account": (
        ("UPDATE usage_events SET account_id = gen_random_uuid() WHERE id = 'failed'",),
        {Law.SEQUENCE, Law.ROLLUP_EVENTS},
    ),
    "more held than is": (("UPDATE balances SET held_usd = held_usd + 0.000000000001",), {Law.HELD}),
    "a hold of more than was authorized": (
        (
            "UPDATE holds SET amount_usd = amount_usd + 1 WHERE state = 'open' AND amount_usd > 1",
            "UPDATE balances SET held_usd = held_usd + 1",
        ),
        {Law.HELD},
    ),
    "a hold captured by nothing": (
        ("UPDATE holds SET event_id = 'another' WHERE state = 'captured'",),
        {Law.HELD},
    ),
    "a hold captured for another amount": (
        ("UPDATE holds SET captured_usd = captured_usd + 0.000000000001 WHERE state = 'captured'",),
        {Law.HELD},
    ),
    "a hold that ended before its event came, for another amount": (
        ("UPDATE holds SET captured_usd = NULL WHERE state = 'expired'",),
        {Law.HELD},
    ),
    "a captured hold that names no event": (
        ("UPDATE holds SET event_id = NULL, captured_usd = NULL WHERE state = 'captured'",),
        {Law.HELD},
    ),
    "a captured hold that was voided": (
        ("UPDATE holds SET state = 'voided' WHERE state = 'captured'",),
        {Law.HELD},
    ),
    "a voided hold that was captured for something": (
        ("UPDATE holds SET captured_usd = 1 WHERE state = 'voided'",),
        {Law.HELD},
    ),
    "a captured hold that is open again": (
        (
            "UPDATE balances SET held_usd = held_usd + 1",
            """UPDATE holds SET state = 'open', closed_at = NULL, event_id = NULL, captured_usd = NULL
                WHERE event_id = 'captures'""",
        ),
        {Law.HELD},
    ),
    "an event that names no hold any more": (
        ("UPDATE usage_events SET hold_id = NULL WHERE id = 'captures'",),
        {Law.HELD},
    ),
    "an event that names another's hold": (
        (
            """UPDATE usage_events SET hold_id = (SELECT id FROM holds WHERE state = 'open' LIMIT 1)
                WHERE id = 'beyond'""",
        ),
        {Law.HELD},
    ),
    "what a key spent, off by the last digit": (
        ("UPDATE api_key_spend SET spent_usd = spent_usd + 0.000000000001",),
        {Law.BUDGET},
    ),
    "what a key spent, taken away": (("DELETE FROM api_key_spend WHERE spent_usd <> 0",), {Law.BUDGET}),
    "what a key spent, put off": (("UPDATE api_key_spend SET day = day + 1",), {Law.BUDGET}),
    "what nobody's key spent": (
        (
            """INSERT INTO api_key_spend SELECT account_id, gen_random_uuid(), day - 1, -1
                 FROM api_key_spend LIMIT 1""",
        ),
        {Law.BUDGET},
    ),
    "an event of another key": (
        ("UPDATE usage_events SET api_key_id = gen_random_uuid() WHERE id = 'b'",),
        {Law.BUDGET},
    ),
    "an event of a key that came by none": (
        ("UPDATE usage_events SET api_key_id = gen_random_uuid() WHERE id = 'beyond'",),
        {Law.BUDGET},
    ),
    "a grant of another amount": (
        ("UPDATE grants SET amount_usd = amount_usd + 1 WHERE kind = 'promotional'",),
        {Law.GRANT},
    ),
    "an adjustment without a transfer": (
        ("UPDATE adjustments SET transfer_id = gen_random_uuid() WHERE kind = 'goodwill'",),
        {Law.GRANT},
    ),
    "a reversal of half": (
        (
            """UPDATE transfers
                  SET reverses_id = (SELECT transfer_id FROM grants WHERE kind = 'promotional')
                WHERE kind = 'reversal' AND from_account = 'customer_credit'""",
            "UPDATE transfers SET checksum = checksum() WHERE kind = 'reversal'",
        ),
        {Law.MIRROR, Law.LOTS},
    ),
    "a correction of another difference": (
        ("UPDATE corrections SET delta_usd = delta_usd + 1 WHERE event_id = 'b'",),
        {Law.CORRECTION, Law.USAGE, Law.TRANSFER},
    ),
    "a reversal that leaves a cost": (
        ("UPDATE corrections SET kind = 'reversal' WHERE kind = 'rating' AND event_id = 'late'",),
        {Law.CORRECTION},
    ),
    "a correction after the last": (
        (
            """INSERT INTO corrections (account_id, event_id, number, kind, event_created_at, source, model,
                                        cost_usd, delta_usd, reason, actor, recorded_at)
               SELECT account_id, event_id, 2, kind, event_created_at, source, model, 0, 0, '', '',
                      recorded_at
                 FROM corrections WHERE event_id = 'wrong'""",
        ),
        {Law.CORRECTION},
    ),
    "an event's usage": (
        ("""UPDATE usage_events SET usage = '{"prompt_tokens": -1}' WHERE id = 'b'""",),
        {Law.RATING},
    ),
    "an event's line items": (
        ("UPDATE usage_events SET line_items = replace(line_items::text, '2', '2.0')::json WHERE id = 'b'",),
        {Law.RATING},
    ),
    "an event's tier": (
        ("UPDATE usage_events SET pricing_tier_label = 'cheap' WHERE id = 'b'",),
        {Law.RATING},
    ),
    "what of an event has no price": (
        ("""UPDATE usage_events SET unpriced = '{"meter": "requests", "reason": "x"}' WHERE id = 'never'""",),
        {Law.RATING},
    ),
    "that an event has no price": (
        ("UPDATE usage_events SET unpriced = NULL WHERE id = 'never'",),
        {Law.RATING},
    ),
    "a correction's line items": (
        ("UPDATE corrections SET line_items = NULL WHERE kind = 'rerating'",),
        {Law.RATING},
    ),
    "a correction by no book": (
        ("UPDATE corrections SET book_digest = NULL WHERE kind = 'rating'",),
        {Law.RATING},
    ),
    "a price in a kept book": (
        ("""UPDATE price_books SET documents = replace(documents::text, '"3"', '"4"')::json""",),
        {Law.BOOK},
    ),
    "a kept book taken away": (("DELETE FROM price_books",), {Law.BOOK}),
    "a kept book that can't be compiled": (
        ("""UPDATE price_books SET documents = '{"book.yml": 1.5}'""",),
        {Law.BOOK},
    ),
}
# What differs from what was recorded, and still breaks no law.
FINE = {
    "a reason in other words": (
        """UPDATE usage_events SET unpriced = '{"meter": null, "reason": "x"}' WHERE id = 'never'"""
    ),
    "an end of credit that is looked for too soon": "UPDATE balances SET next_expiry_at = '2020-01-01 UTC'",
    "a key that spent nothing, taken away": "DELETE FROM api_key_spend WHERE spent_usd = 0",
    "a key that spent nothing": (
        """INSERT INTO api_key_spend SELECT account_id, gen_random_uuid(), day, 0
             FROM api_key_spend LIMIT 1"""
    ),
}
