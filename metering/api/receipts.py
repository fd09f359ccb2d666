"""Receipts of what was paid, for its owner: as JSON, as a page, as PDF."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.datastructures.headers import Accept
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath

from metering.api.encoding import amount, json_response, moment
from metering.api.errors import error_responses
from metering.api.security import needs_api_key
from metering.api.state import cashier, services
from metering.api.waiting import in_thread
from metering.ledger.receipts import Receipt
from metering.messages.letterhead import Letterhead
from metering.messages.rendering import render_receipt, render_receipt_pdf
from metering.services.receipts import get_receipt
from metering.storage.api_keys import ApiKey

_JSON: Final = "application/json"
_HTML: Final = "text/html"
_PDF: Final = "application/pdf"
_TEXT: Final = OpenAPIType.STRING
# The page is one of words: nothing in it may run, or be fetched.
_ONLY_WORDS: Final = "default-src 'none'; style-src 'unsafe-inline'"
Request_ = Request[None, ApiKey, Any]


class SellerBody(msgspec.Struct):
    """Who sold."""

    name: str
    address: list[str]
    email: str
    tax_id: str | None


class BuyerBody(msgspec.Struct):
    """Who bought: the account."""

    id: str
    name: str
    email: str | None


class ReceiptBody(msgspec.Struct):
    """US dollars: `total`, which was paid, is `amount` and `tax`; `credit` is `amount` and `bonus`."""

    object: str
    number: str
    paid_at: datetime
    origin: str
    amount: Decimal
    bonus: Decimal
    bonus_percent: int
    tax: Decimal
    total: Decimal
    credit: Decimal
    currency: str
    payment_method: str | None
    statement_descriptor: str
    seller: SellerBody
    customer: BuyerBody


@dataclass
class InThreeForms(Operation):
    """The answer may be a page or a PDF as well."""

    def __post_init__(self) -> None:
        """State it."""
        found = (self.responses or {}).get("200")
        if isinstance(found, OpenAPIResponse) and found.content is not None:
            found.content |= {kind: OpenAPIMediaType(Schema(type=_TEXT)) for kind in (_HTML, _PDF)}


@get(
    "/v1/account/top_ups/{top_up_id:uuid}/receipt",
    guards=[needs_api_key],
    operation_class=InThreeForms,
    responses=error_responses(400, 401, 404),
)
async def retrieve_receipt(request: Request_, top_up_id: FromPath[UUID]) -> Response[ReceiptBody]:
    """The receipt of a top-up that was paid: JSON, or HTML or PDF where `Accept` prefers that."""
    wanted = Accept(request.headers.get("accept", _JSON)).best_match([_JSON, _HTML, _PDF], _JSON)
    receipt, letterhead = await _find(request, top_up_id)
    if wanted == _PDF:
        return await _pdf(receipt, letterhead)
    if wanted == _HTML:
        page: Response[Any] = Response(
            render_receipt(receipt, letterhead).encode(),
            media_type=f"{_HTML}; charset=utf-8",
            headers={"Content-Security-Policy": _ONLY_WORDS},
        )
        return page
    return json_response(_body(receipt, letterhead))


@get(
    "/v1/account/top_ups/{top_up_id:uuid}/receipt.pdf",
    guards=[needs_api_key],
    media_type=_PDF,
    responses=error_responses(400, 401, 404),
)
async def download_receipt(request: Request_, top_up_id: FromPath[UUID]) -> Response[bytes]:
    """The same as PDF, for whoever can't say what they accept."""
    return await _pdf(*await _find(request, top_up_id))


async def _find(request: Request_, top_up_id: UUID) -> tuple[Receipt, Letterhead]:
    database, account_id = services(request).database, request.auth.account_id
    receipt = await in_thread(get_receipt, database, account_id, str(top_up_id))
    return receipt, Letterhead.of(cashier(request).policy)


async def _pdf(receipt: Receipt, letterhead: Letterhead) -> Response[Any]:
    return Response(
        await in_thread(render_receipt_pdf, receipt, letterhead),
        media_type=_PDF,
        headers={"Content-Disposition": f'inline; filename="receipt-{receipt.number}.pdf"'},
    )


def _body(receipt: Receipt, letterhead: Letterhead) -> dict[str, object]:
    return {
        "object": "receipt",
        "number": receipt.number,
        "paid_at": moment(receipt.paid_at),
        "origin": "auto" if receipt.is_automatic else "checkout",
        "amount": amount(receipt.amount_pico),
        "bonus": amount(receipt.bonus_pico),
        "bonus_percent": receipt.bonus_percent,
        "tax": amount(receipt.tax_pico),
        "total": amount(receipt.total_pico),
        "credit": amount(receipt.credit_pico),
        "currency": "USD",
        "payment_method": receipt.paid_with,
        "statement_descriptor": letterhead.statement_descriptor,
        "seller": letterhead.seller._asdict(),
        "customer": {"id": receipt.account_id, "name": receipt.name, "email": receipt.email},
    }


routes = [retrieve_receipt, download_receipt]
