"""`metering ledger trace`: where the money of a transfer came from and went."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

import click

from metering.cli.opening import opened_database
from metering.cli.tables import show_table
from metering.money import to_number
from metering.services.traces import Trace, trace_transfer
from metering.storage.lot_history import KeptLot, Moved

_MAX_EVENTS: Final = 20
_TEXTS: Final = frozenset({"event", "model", "reason"})


@click.command()
@click.argument("transfer_id", metavar="TRANSFER", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def trace(transfer_id: UUID, *, as_json: bool) -> None:
    """Show what TRANSFER was for, and which credit paid for it, or what its credit paid for."""
    with opened_database() as database:
        found = trace_transfer(database, str(transfer_id))
    if as_json:
        click.echo(json.dumps(_body(found), ensure_ascii=False))
    else:
        _show(found)


def _show(found: Trace) -> None:
    body = _body(found)
    _list(body["transfer"])
    events = body["events"]
    _table(f"events ({len(events)})", events[:_MAX_EVENTS])
    if len(events) > _MAX_EVENTS:
        click.echo(f"and {len(events) - _MAX_EVENTS} more: --json shows them all")
    shown = ("lot", "kind", "paid", "reason")
    _table("paid by", [{name: payment[name] for name in shown} for payment in body["paid_by"]])
    if found.owed_pico:
        click.echo(f"owed: {body['owed']}, which no credit has paid yet")
    _table("debts cancelled", [_settled(moved, found) for moved in found.settled])
    if body["lot"] is not None:
        click.echo("\ncredit")
        _list({name: value for name, value in body["lot"].items() if name not in {"lot", "reason"}})
        _table(f"it paid for (the newest {len(found.paid_for)})", body["paid_for"])


def _list(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is not None:
            click.echo(f"{name:<14} {value}")


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    shown = [["" if value is None else str(value) for value in row.values()] for row in rows]
    click.echo(f"\n{title}")
    show_table(tuple(rows[0]), shown, texts=_TEXTS)


def _settled(moved: Moved, found: Trace) -> dict[str, Any]:
    """A cancelled debt, told from the traced transfer's side."""
    is_cause = moved.transfer_id == found.transfer.transfer.id
    return {
        "transfer": moved.settles_id if is_cause else moved.transfer_id,
        "was": "owed" if is_cause else "the cause",
        "amount": to_number(-moved.amount_pico),
    }


def _body(found: Trace) -> dict[str, Any]:
    """The trace with its amounts as exact decimal texts."""
    recorded, transfer = found.transfer, found.transfer.transfer
    return {
        "transfer": {
            "id": transfer.id,
            "account_id": transfer.account_id,
            "kind": transfer.kind.value,
            "from": transfer.source.value,
            "to": transfer.target.value,
            "amount": to_number(transfer.amount_pico),
            "balance_after": to_number(recorded.balance_after_pico),
            "sequence": recorded.sequence,
            "recorded_at": recorded.recorded_at.isoformat(),
            "effective_at": transfer.effective_at.isoformat(),
            "reason": transfer.reason,
            "actor": transfer.actor,
            "reverses_id": transfer.reverses_id,
            **({} if found.part_of is None else found.part_of._asdict()),
        },
        "events": [
            {
                "event": share.event_id,
                "model": share.model,
                "amount": to_number(share.amount_pico),
                "correction": share.correction,
            }
            for share in found.events
        ],
        "paid_by": [
            {"paid": to_number(payment.amount_pico), **_lot(payment.lot)} for payment in found.payments
        ],
        "owed": to_number(found.owed_pico),
        "settled": [
            {
                "by": moved.transfer_id,
                "debt_of": moved.settles_id,
                "amount": to_number(-moved.amount_pico),
                "at": moved.recorded_at.isoformat(),
            }
            for moved in found.settled
        ],
        "lot": None if found.lot is None else _lot(found.lot),
        "paid_for": [
            {"transfer": one.transfer_id, "amount": to_number(one.amount_pico), "at": one.at.isoformat()}
            for one in found.paid_for
        ],
    }


def _lot(lot: KeptLot) -> dict[str, Any]:
    return {
        "lot": lot.id,
        "kind": lot.kind,
        "priority": lot.priority,
        "expires_at": None if lot.expires_at is None else lot.expires_at.isoformat(),
        "amount": to_number(lot.amount_pico),
        "rest": to_number(lot.rest_pico),
        "used": to_number(lot.used_pico),
        "expired": to_number(lot.expired_pico),
        "taken_back": to_number(lot.taken_back_pico),
        "is_frozen": lot.is_frozen,
        "top_up": lot.top_up_id,
        "reason": lot.reason,
    }
