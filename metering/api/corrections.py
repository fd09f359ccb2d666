"""Corrections by hand, for service tokens: credit adjusted, transfers and events reversed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Meta

from metering.api.accounts import Name, Note, Request_
from metering.api.documentation import body_of
from metering.api.encoding import (
    SIGNED_AMOUNT_PATTERN,
    amount,
    json_response,
    moment,
    read_json,
    read_signed_amount,
)
from metering.api.errors import error_responses
from metering.api.parameters import IdempotencyKey, require_idempotency_key
from metering.api.security import needs_scope
from metering.api.state import services
from metering.api.waiting import in_thread
from metering.errors import InvalidParameter
from metering.services import corrections
from metering.services.corrections import Reversal, WantedAdjustment
from metering.storage.adjustments import Adjustment
from metering.usage.event import MAX_ID

SignedDollars = Annotated[
    msgspec.Raw,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"type": "number", "minimum": -(10**9), "maximum": 10**9},
                {"type": "string", "pattern": SIGNED_AMOUNT_PATTERN, "maxLength": 40},
            ]
        }
    ),
]


class CreateAdjustment(msgspec.Struct, forbid_unknown_fields=True):
    """Credit given, or taken where the amount is negative; `goodwill` only gives.

    The idempotency key may come as a header instead.
    """

    amount_usd: SignedDollars
    reason: Note
    kind: Literal["adjustment", "goodwill"] = "adjustment"
    idempotency_key: Name | None = None


class CreateReversal(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be undone: either a transfer or an event. Its mirror image is recorded; it stays itself."""

    reason: Note
    transfer_id: UUID | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)] | None = None


class AdjustmentBody(msgspec.Struct):
    """An adjustment as it was made; `balance` is the posted balance that it left."""

    id: str
    object: str
    account_id: str
    kind: str
    amount_usd: Decimal
    reason: str
    transfer_id: str
    balance: Decimal
    created_at: datetime


class ReversalBody(msgspec.Struct):
    """What was reversed, and its effect on the balance; `transfer_id` is null where nothing had to move.

    `reverses_id` is the transfer, `event_id` the event that was reversed; `balance` is what was left.
    """

    object: str
    account_id: str
    transfer_id: str | None
    reverses_id: str | None
    event_id: str | None
    amount_usd: Decimal
    reason: str
    balance: Decimal
    created_at: datetime


@post(
    "/v1/accounts/{account_id:uuid}/adjustments",
    guards=[needs_scope("credits:write")],
    operation_class=body_of(CreateAdjustment),
    responses=error_responses(400, 401, 403, 404, 409, 413)
    | {200: ResponseSpec(AdjustmentBody, generate_examples=False, description="It was made before.")},
)
async def create_adjustment(
    request: Request_,
    account_id: FromPath[UUID],
    idempotency_header: IdempotencyKey = None,
) -> Response[AdjustmentBody]:
    """Adjust the balance by hand, once per idempotency key: 201 where it is new, 200 where it is not."""
    data = await read_json(request, CreateAdjustment)
    key = require_idempotency_key(data.idempotency_key, idempotency_header, verb="adjust")
    pico = read_signed_amount(data.amount_usd, "amount_usd")
    wanted = WantedAdjustment(data.kind, pico, data.reason, request.auth.name)
    adjustment, is_new = await in_thread(
        corrections.adjust_credit, services(request).database, str(account_id), wanted, key
    )
    return json_response(_adjustment_body(adjustment), 201 if is_new else 200)


@post(
    "/v1/accounts/{account_id:uuid}/reversals",
    guards=[needs_scope("credits:write")],
    operation_class=body_of(CreateReversal),
    responses=error_responses(400, 401, 403, 404, 409, 413)
    | {200: ResponseSpec(ReversalBody, generate_examples=False, description="It was reversed before.")},
)
async def create_reversal(request: Request_, account_id: FromPath[UUID]) -> Response[ReversalBody]:
    """Reverse a transfer or an event, once: 201 where it is new, 200 with the first reversal where not."""
    data = await read_json(request, CreateReversal)
    database, actor = services(request).database, request.auth.name
    if (data.transfer_id is None) == (data.event_id is None):
        raise InvalidParameter("is to be reversed, or an event: name one of them", param="transfer_id")
    if data.transfer_id is not None:
        reversal, is_new = await in_thread(
            corrections.reverse_transfer,
            database,
            str(account_id),
            str(data.transfer_id),
            reason=data.reason,
            actor=actor,
        )
    else:
        event_id = data.event_id or ""
        reversal, is_new = await in_thread(
            corrections.reverse_event, database, str(account_id), event_id, reason=data.reason, actor=actor
        )
    return json_response(_reversal_body(reversal), 201 if is_new else 200)


def _adjustment_body(adjustment: Adjustment) -> dict[str, object]:
    return {
        "id": adjustment.id,
        "object": "adjustment",
        "account_id": adjustment.account_id,
        "kind": adjustment.kind,
        "amount_usd": amount(adjustment.amount_pico),
        "reason": adjustment.reason,
        "transfer_id": adjustment.transfer_id,
        "balance": amount(adjustment.balance_after_pico),
        "created_at": moment(adjustment.created_at),
    }


def _reversal_body(reversal: Reversal) -> dict[str, object]:
    return {
        "object": "reversal",
        "account_id": reversal.account_id,
        "transfer_id": reversal.transfer_id,
        "reverses_id": reversal.reverses_id,
        "event_id": reversal.event_id,
        "amount_usd": amount(reversal.amount_pico),
        "reason": reversal.reason,
        "balance": amount(reversal.balance_after_pico),
        "created_at": moment(reversal.created_at),
    }


routes = [create_adjustment, create_reversal]
