"""Whether what clients were told is what is recorded: nothing lost, nothing double, nothing left over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal

from tests.crash.recorded import Recorded
from tests.crash.service import Answer
from tests.crash.told import Credit, Extended, Held, Reversed, Sent, Told, Voided


def compare(told: Told, recorded: Recorded) -> Iterator[str]:
    """What is not as clients were told, at any time: `recorded` was read after they were."""
    for credit in told.of(Credit):
        yield from _check_credit(credit, recorded)
    for sent in told.of(Sent):
        yield from _check_event(sent, recorded)
    yield from _check_once(told)
    for held in told.of(Held):
        yield from _check_hold(held, recorded)
    for extended in told.of(Extended):
        yield from _check_extension(extended, recorded)
    for voided in told.of(Voided):
        yield from _check_end(voided, recorded)
    for one in told.of(Reversed):
        yield from _check_reversal(one, recorded)


def compare_all(told: Told, recorded: Recorded) -> Iterator[str]:
    """The same when everybody has been answered: then nothing may be recorded that nobody was told of."""
    yield from compare(told, recorded)
    for table, rows in recorded.credits.items():
        known = {(one.account_id, one.key) for one in told.of(Credit) if one.table == table}
        yield from (f"{table}: nobody knows {key}" for key in rows.keys() - known)
    sent = {(one.event["account_id"], one.event["id"]) for one in told.of(Sent)}
    yield from (f"nobody sent the event {key}" for key in recorded.events.keys() - sent)
    held = {(one.account_id, one.key) for one in told.of(Held) if _is_done(one.answer) or one.lost}
    for hold in recorded.holds.values():
        if (hold.account, hold.key) not in held:
            yield f"an orphan: nobody knows the hold {hold}"
    extended = {(one.hold_id, one.key) for one in told.of(Extended) if _is_done(one.answer) or one.lost}
    yield from (f"nobody knows the extension {key}" for key in recorded.extensions.keys() - extended)
    expected = _balances(told, recorded)
    for account_id, posted in recorded.posted.items():
        if posted != expected[account_id]:
            yield f"{account_id} has {posted}, and by what clients were told {expected[account_id]}"


def _check_credit(credit: Credit, recorded: Recorded) -> Iterator[str]:
    row = recorded.credits[credit.table].get((credit.account_id, credit.key))
    if row is None:
        yield f"lost: {credit}"
    elif credit.answer.status == 409:
        if row.amount == credit.amount:
            yield f"refused, and yet recorded: {credit}"
    else:
        body = credit.answer.body
        shown = body["id"], body["transfer_id"], body["amount_usd"], body["balance"]
        if shown != (row.id, row.transfer, row.amount, row.balance) or row.amount != credit.amount:
            yield f"recorded otherwise: {credit} as {row}"


def _check_event(sent: Sent, recorded: Recorded) -> Iterator[str]:
    event, result = sent
    row = recorded.events.get((event["account_id"], event["id"]))
    if result["status"] == "rejected":
        if row is not None:
            yield f"rejected, and yet recorded: {sent}"
    elif row is None:
        yield f"lost: {sent}"
    elif (event["metadata"]["body"] != row.body) != (result["status"] == "conflict"):
        yield f"one of two bodies: {sent} as {row}"
    elif result["status"] != "conflict":
        shown = result.get("cost_usd"), result["balance"], event.get("hold_id"), event.get("supersedes")
        if shown != (row.cost, row.balance, row.hold, row.supersedes):
            yield f"recorded otherwise: {sent} as {row}"
        if row.supersedes is not None:
            ends = recorded.corrections[row.account, row.supersedes]
            if [one.successor for one in ends if one.kind == "amendment"] != [row.id]:
                yield f"its predecessor has other corrections: {sent}, {ends}"


def _check_once(told: Told) -> Iterator[str]:
    """What is done twice with one key is done once: only one answer may say that it was done now."""
    new: Counter[tuple[str, str, str]] = Counter(
        (one.table, one.account_id, one.key) for one in told.of(Credit) if one.answer.status == 201
    )
    new.update(
        ("events", one.event["account_id"], one.event["id"])
        for one in told.of(Sent)
        if one.result["status"] in {"accepted", "unpriced"}
    )
    new.update(("holds", one.account_id, one.key) for one in told.of(Held) if one.answer.status == 201)
    new.update((one.field, one.account_id, one.id) for one in told.of(Reversed) if one.answer.status == 201)
    yield from (f"done {times} times: {what}" for what, times in new.items() if times > 1)


def _check_hold(held: Held, recorded: Recorded) -> Iterator[str]:
    if _is_done(held.answer):
        body = held.answer.body
        row = recorded.holds.get(body["id"])
        if row is None:
            yield f"lost: {held}"
        elif (held.account_id, held.key, body["authorized_usd"]) != (row.account, row.key, row.authorized):
            yield f"recorded otherwise: {held} as {row}"


def _check_extension(extended: Extended, recorded: Recorded) -> Iterator[str]:
    row = recorded.extensions.get((extended.hold_id, extended.key))
    if _is_done(extended.answer):
        if row is None:
            yield f"lost: {extended}"
        elif (extended.amount, extended.answer.body["overspend_usd"]) != (row.amount, row.overspend):
            yield f"recorded otherwise: {extended} as {row}"
    elif extended.answer.status == 409 and recorded.holds[extended.hold_id].is_open:
        yield f"not extended, though it is open: {extended}"


def _check_end(voided: Voided, recorded: Recorded) -> Iterator[str]:
    row = recorded.holds.get(voided.hold_id)
    state = voided.answer.body["state"] if _is_done(voided.answer) else "captured"
    if row is None or row.state != state:
        yield f"ended otherwise: {voided} as {row}"


def _check_reversal(one: Reversed, recorded: Recorded) -> Iterator[str]:
    if not _is_done(one.answer):
        return
    body = one.answer.body
    if one.field == "event_id":
        kinds = [row.kind for row in recorded.corrections[one.account_id, one.id]]
        if kinds[-1:] != ["reversal"]:
            yield f"not reversed: {one}, {kinds}"
    else:
        row = recorded.reversals.get((one.account_id, one.id))
        if row is None or (row.id, row.amount) != (body["transfer_id"], body["amount_usd"]):
            yield f"not reversed: {one} as {row}"


def _balances(told: Told, recorded: Recorded) -> defaultdict[str, Decimal]:
    """What each account must have by what clients were told; of credit that ended and of prices nobody is."""
    effects: dict[tuple[str, ...], tuple[str, Decimal]] = {}
    for credit in told.of(Credit):
        if _is_done(credit.answer):
            effects[credit.table, credit.account_id, credit.key] = credit.account_id, credit.amount
    costs = {
        (one.event["account_id"], one.event["id"]): Decimal(one.result.get("cost_usd") or 0)
        for one in told.of(Sent)
        if one.result["status"] not in {"conflict", "rejected"}
    }
    for (account_id, event_id), cost in costs.items():
        effects["event", account_id, event_id] = account_id, -cost
    for sent in told.of(Sent):
        account_id, old = sent.event["account_id"], sent.event.get("supersedes")
        if old is not None and sent.result["status"] != "rejected":
            ended = [row.delta for row in recorded.corrections[account_id, old] if row.kind == "amendment"]
            effects["superseded", account_id, old] = account_id, -sum(ended, Decimal(0))
    for one in told.of(Reversed):
        # An event that fell with its transfer is told as that transfer's reversal, which counts as a whole.
        if _is_done(one.answer) and (one.field == "transfer_id" or one.answer.body["reverses_id"] is None):
            effects[one.field, one.account_id, one.id] = (
                one.account_id,
                Decimal(one.answer.body["amount_usd"]),
            )
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for account_id, effect in effects.values():
        sums[account_id] += effect
    for account_id, expired in recorded.expired.items():
        sums[account_id] -= expired
    for (account_id, _), rows in recorded.corrections.items():
        sums[account_id] -= sum((row.delta for row in rows if row.kind in {"rating", "rerating"}), Decimal(0))
    return sums


def _is_done(answer: Answer) -> bool:
    return answer.status in {200, 201}
