"""An account's top-ups and their refunds: for service tokens."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter

from metering.api.accounts import Dollars, Name, Note, Request_
from metering.api.documentation import body_of
from metering.api.encoding import amount, json_response, moment, read_amount, read_json
from metering.api.errors import error_responses
from metering.api.parameters import IdempotencyKey, require_idempotency_key
from metering.api.security import needs_scope
from metering.api.state import cashier, services
from metering.api.top_ups import Status
from metering.api.waiting import in_thread
from metering.services import refunds, top_ups
from metering.services.refunds import WantedRefund
from metering.services.top_ups import TopUpView
from metering.storage.refunds import Refund


class CreateRefund(msgspec.Struct, forbid_unknown_fields=True):
    """What is to go back to the customer, tax included: all that is unused, unless `amount_usd` says less.

    The customer reads the reason. The idempotency key may come as a header instead.
    """

    reason: Note
    amount_usd: Dollars = msgspec.field(default_factory=msgspec.Raw)
    idempotency_key: Name | None = None


class AccountTopUpBody(msgspec.Struct):
    """A top-up; `frozen_usd` is what of it is under dispute, `payment_id` the payment processor's."""

    id: str
    object: str
    account_id: str
    origin: Literal["checkout", "auto"]
    status: Status
    amount_usd: Decimal
    bonus_usd: Decimal
    tax_usd: Decimal
    refunded_usd: Decimal
    frozen_usd: Decimal
    payment_id: str | None
    payment_method: str | None
    receipt_number: str | None
    failure_code: str | None
    transfer_id: str | None
    created_at: datetime
    succeeded_at: datetime | None


class AccountTopUpList(msgspec.Struct):
    """A page of top-ups, newest first; `next_cursor` is the `after` of the next page."""

    data: list[AccountTopUpBody]
    has_more: bool
    next_cursor: str | None


class RefundBody(msgspec.Struct):
    """`amount_usd`, which goes back, is `credit_usd` and `tax_usd`; `bonus_usd` is taken along.

    `requested`: the credit is taken, the payment processor has not answered yet. `failed`: all was undone.
    `origin` says whether it was asked for here, or made at the processor.
    """

    id: str
    object: str
    account_id: str
    top_up_id: str
    origin: Literal["service", "processor"]
    state: Literal["requested", "pending", "succeeded", "failed"]
    amount_usd: Decimal
    credit_usd: Decimal
    bonus_usd: Decimal
    tax_usd: Decimal
    reason: str
    actor: str
    failure: str | None
    created_at: datetime


class RefundList(msgspec.Struct):
    """A top-up's refunds, oldest first."""

    data: list[RefundBody]


@get(
    "/v1/accounts/{account_id:uuid}/top_ups",
    guards=[needs_scope("accounts:read")],
    responses=error_responses(400, 401, 403, 404),
)
async def list_account_top_ups(
    request: Request_,
    account_id: FromPath[UUID],
    after: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 100,
) -> Response[AccountTopUpList]:
    """What the account bought."""
    found = await in_thread(
        top_ups.list_top_ups,
        services(request).database,
        str(account_id),
        after=None if after is None else str(after),
        limit=limit + 1,
    )
    page, has_more = found[:limit], len(found) > limit
    return json_response(
        {
            "data": [_top_up_body(view) for view in page],
            "has_more": has_more,
            "next_cursor": page[-1].top_up.id if has_more else None,
        }
    )


@post(
    "/v1/accounts/{account_id:uuid}/top_ups/{top_up_id:uuid}/refunds",
    guards=[needs_scope("credits:write")],
    operation_class=body_of(CreateRefund),
    responses=error_responses(400, 401, 403, 404, 409, 413)
    | {200: ResponseSpec(RefundBody, generate_examples=False, description="It was asked for before.")},
)
async def create_refund(
    request: Request_,
    account_id: FromPath[UUID],
    top_up_id: FromPath[UUID],
    idempotency_header: IdempotencyKey = None,
) -> Response[RefundBody]:
    """Give back what is unused of a top-up, with its share of the bonus, once per idempotency key."""
    data = await read_json(request, CreateRefund)
    key = require_idempotency_key(data.idempotency_key, idempotency_header, verb="refund")
    pico = read_amount(data.amount_usd, "amount_usd") if bytes(data.amount_usd) else None
    refund, is_new = await in_thread(
        refunds.create_refund,
        cashier(request),
        str(account_id),
        str(top_up_id),
        WantedRefund(pico, data.reason, request.auth.name),
        key,
    )
    return json_response(_refund_body(refund), 201 if is_new else 200)


@get(
    "/v1/accounts/{account_id:uuid}/top_ups/{top_up_id:uuid}/refunds",
    guards=[needs_scope("accounts:read")],
    responses=error_responses(400, 401, 403, 404),
)
async def list_refunds(
    request: Request_, account_id: FromPath[UUID], top_up_id: FromPath[UUID]
) -> Response[RefundList]:
    """The refunds of a top-up, also those that were made at the payment processor."""
    key = services(request).database, str(account_id), str(top_up_id)
    found = await in_thread(refunds.list_refunds, *key)
    return json_response({"data": [_refund_body(refund) for refund in found]})


def _top_up_body(view: TopUpView) -> dict[str, object]:
    """The top-up as an answer has it."""
    top_up, refunded_pico = view
    return {
        "id": top_up.id,
        "object": "top_up",
        "account_id": top_up.account_id,
        "origin": top_up.origin,
        "status": top_up.state,
        "amount_usd": amount(top_up.amount_pico),
        "bonus_usd": amount(top_up.bonus_pico),
        "tax_usd": amount(top_up.tax_pico),
        "refunded_usd": amount(refunded_pico),
        "frozen_usd": amount(top_up.frozen_pico),
        "payment_id": top_up.payment_id,
        "payment_method": top_up.paid_with,
        "receipt_number": top_up.receipt_number,
        "failure_code": top_up.failure_code,
        "transfer_id": top_up.transfer_id,
        "created_at": moment(top_up.created_at),
        "succeeded_at": moment(top_up.succeeded_at),
    }


def _refund_body(refund: Refund) -> dict[str, object]:
    """The refund as an answer has it."""
    return {
        "id": refund.id,
        "object": "refund",
        "account_id": refund.account_id,
        "top_up_id": refund.top_up_id,
        "origin": refund.origin,
        "state": refund.state,
        "amount_usd": amount(refund.amount_pico),
        "credit_usd": amount(refund.credit_pico),
        "bonus_usd": amount(refund.bonus_pico),
        "tax_usd": amount(refund.tax_pico),
        "reason": refund.reason,
        "actor": refund.actor,
        "failure": refund.failure,
        "created_at": moment(refund.created_at),
    }


routes = [list_account_top_ups, create_refund, list_refunds]
