"""Top-ups, for the customer who buys: a page to pay on, and what became of it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter

from metering import telemetry
from metering.api.accounts import Dollars, Name
from metering.api.cards import Address
from metering.api.documentation import body_of
from metering.api.encoding import amount, json_response, moment, read_amount, read_json
from metering.api.errors import error_responses
from metering.api.parameters import IdempotencyKey, read_idempotency_key
from metering.api.security import needs_api_key
from metering.api.state import Services, cashier, services
from metering.api.waiting import in_thread
from metering.errors import MeteringError
from metering.services import top_ups
from metering.services.settlement import settle
from metering.services.top_ups import TopUpView, WantedTopUp, may_be_paid
from metering.storage.api_keys import ApiKey
from metering.storage.top_ups import TopUp

Request_ = Request[None, ApiKey, Any]
Status = Literal["open", "succeeded", "failed", "canceled"]
# For so long a customer who asks waits for the payment processor's word; then for what we know.
_SETTLE_SECONDS: Final = 5
_LOG: Final = telemetry.log(__name__)


class CreateTopUp(msgspec.Struct, forbid_unknown_fields=True):
    """What to buy, in US dollars; tax, if any, comes on top. `save_card` keeps the card for auto top-up.

    The page leads to `success_url` or `cancel_url`. The idempotency key may come as a header instead.
    """

    amount: Dollars
    save_card: bool = False
    success_url: Address | None = None
    cancel_url: Address | None = None
    idempotency_key: Name | None = None


class TopUpReceipt(msgspec.Struct):
    """A receipt: its `number`, where it is here as PDF, and the payment processor's own."""

    number: str
    pdf: str
    url: str | None


class TopUpFailure(msgspec.Struct):
    """Why it was not paid (so far)."""

    code: str
    message: str | None


class TopUpBody(msgspec.Struct):
    """`credit` is what the balance rises by: `amount` and `bonus`. `url` is where an open one is paid.

    `refunded` is what went back or is on its way, tax included; `payment_method` is what paid.
    """

    id: str
    object: str
    origin: Literal["checkout", "auto"]
    status: Status
    amount: Decimal
    bonus: Decimal
    tax: Decimal
    credit: Decimal
    refunded: Decimal
    currency: str
    url: str | None
    url_expires_at: datetime | None
    payment_method: str | None
    receipt: TopUpReceipt | None
    failure: TopUpFailure | None
    created_at: datetime
    succeeded_at: datetime | None


class TopUpList(msgspec.Struct):
    """A page of top-ups, newest first; `next_cursor` is the `after` of the next page."""

    data: list[TopUpBody]
    has_more: bool
    next_cursor: str | None


@post(
    "/v1/account/top_ups",
    guards=[needs_api_key],
    operation_class=body_of(CreateTopUp),
    responses=error_responses(400, 401, 409, 413)
    | {200: ResponseSpec(TopUpBody, generate_examples=False, description="It was asked for before.")},
)
async def create_top_up(request: Request_, idempotency_header: IdempotencyKey = None) -> Response[TopUpBody]:
    """Open a page to buy credit on. The same idempotency key gets the same top-up again."""
    data = await read_json(request, CreateTopUp)
    key = read_idempotency_key(data.idempotency_key, idempotency_header)
    wanted = WantedTopUp(
        read_amount(data.amount, "amount"), data.save_card, data.success_url, data.cancel_url
    )
    account_id = request.auth.account_id
    view, is_new = await in_thread(top_ups.create_top_up, cashier(request), account_id, wanted, key)
    return json_response(_body(view), 201 if is_new else 200)


@get("/v1/account/top_ups", guards=[needs_api_key], responses=error_responses(400, 401))
async def list_top_ups(
    request: Request_,
    after: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 100,
) -> Response[TopUpList]:
    """All top-ups, also those that auto top-up made."""
    found = await in_thread(
        top_ups.list_top_ups,
        services(request).database,
        request.auth.account_id,
        after=None if after is None else str(after),
        limit=limit + 1,
    )
    page, has_more = found[:limit], len(found) > limit
    return json_response(
        {
            "data": [_body(view) for view in page],
            "has_more": has_more,
            "next_cursor": page[-1].top_up.id if has_more else None,
        }
    )


@get(
    "/v1/account/top_ups/{top_up_id:uuid}",
    guards=[needs_api_key],
    responses=error_responses(400, 401, 404),
)
async def retrieve_top_up(request: Request_, top_up_id: FromPath[UUID]) -> Response[TopUpBody]:
    """A top-up as it stands; for one that is open, the payment processor is asked."""
    ours = services(request)
    key = ours.database, request.auth.account_id, str(top_up_id)
    view = await in_thread(top_ups.get_top_up, *key)
    if may_be_paid(view.top_up):
        await _catch_up(ours, view.top_up)
        view = await in_thread(top_ups.get_top_up, *key)
    return json_response(_body(view))


async def _catch_up(ours: Services, top_up: TopUp) -> None:
    """Settle it if that is soon done: who comes back from the page is here before any message is."""
    if ours.cashier is None:
        return
    with anyio.move_on_after(_SETTLE_SECONDS):
        try:
            await anyio.to_thread.run_sync(
                settle,
                ours.cashier,
                top_up.account_id,
                top_up.id,
                abandon_on_cancel=True,
                limiter=ours.settlers,
            )
        except MeteringError as error:
            _LOG.info("top-up not settled", top_up_id=top_up.id, error=error.message)


def _body(view: TopUpView) -> dict[str, object]:
    top_up, refunded_pico = view
    receipt = None
    if top_up.receipt_number is not None:
        pdf = f"/v1/account/top_ups/{top_up.id}/receipt.pdf"
        receipt = {"number": top_up.receipt_number, "pdf": pdf, "url": top_up.receipt_url}
    failure = None
    if top_up.failure_code is not None:
        failure = {"code": top_up.failure_code, "message": top_up.failure_message}
    is_open = top_up.state == "open"
    return {
        "id": top_up.id,
        "object": "top_up",
        "origin": top_up.origin,
        "status": top_up.state,
        "amount": amount(top_up.amount_pico),
        "bonus": amount(top_up.bonus_pico),
        "tax": amount(top_up.tax_pico),
        "credit": amount(top_up.amount_pico + top_up.bonus_pico),
        "refunded": amount(refunded_pico),
        "currency": "USD",
        "url": top_up.url if is_open else None,
        "url_expires_at": moment(top_up.url_expires_at) if is_open else None,
        "payment_method": top_up.paid_with,
        "receipt": receipt,
        "failure": failure,
        "created_at": moment(top_up.created_at),
        "succeeded_at": moment(top_up.succeeded_at),
    }


routes = [create_top_up, list_top_ups, retrieve_top_up]
