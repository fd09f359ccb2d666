"""Saved cards of a customer: saved on a page of the payment processor's, listed, chosen, removed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath
from msgspec import Meta

from metering.api.auto_topup import Request_
from metering.api.documentation import body_of
from metering.api.encoding import PRINTABLE, json_response, moment, read_json
from metering.api.errors import error_responses
from metering.api.security import needs_api_key
from metering.api.state import cashier
from metering.api.waiting import in_thread
from metering.services import cards
from metering.storage.cards import SavedCard

Address = Annotated[str, Meta(min_length=1, max_length=2_000, pattern=PRINTABLE)]


class SaveCard(msgspec.Struct, forbid_unknown_fields=True):
    """Where the page leads to when a card was saved, and when not."""

    success_url: Address | None = None
    cancel_url: Address | None = None


class CardSetupBody(msgspec.Struct):
    """The page on which a card is saved, until it expires."""

    object: str
    url: str | None
    url_expires_at: datetime


class CardBody(msgspec.Struct):
    """A saved card; it is good until the end of its month."""

    id: str
    object: str
    brand: str
    last_four: str
    expires_month: int
    expires_year: int
    is_default: bool
    created_at: datetime


class CardList(msgspec.Struct):
    """All saved cards, the default first."""

    data: list[CardBody]


@post(
    "/v1/account/payment_methods",
    guards=[needs_api_key],
    operation_class=body_of(SaveCard, is_optional=True),
    responses=error_responses(400, 401, 409, 413),
)
async def create_payment_method(request: Request_) -> Response[CardSetupBody]:
    """Open a page on which a card is saved, to be charged without you being there."""
    data = await read_json(request, SaveCard) if await request.body() else SaveCard()
    page = await in_thread(
        cards.open_card_setup,
        cashier(request),
        request.auth.account_id,
        success_url=data.success_url,
        cancel_url=data.cancel_url,
    )
    body = {"object": "payment_method_setup", "url": page.url, "url_expires_at": moment(page.expires_at)}
    return json_response(body, 201)


@get("/v1/account/payment_methods", guards=[needs_api_key], responses=error_responses(400, 401))
async def list_payment_methods(request: Request_) -> Response[CardList]:
    """The saved cards, which auto top-up may charge."""
    found = await in_thread(cards.list_cards, cashier(request), request.auth.account_id)
    return json_response({"data": [_body(card) for card in found]})


@post(
    "/v1/account/payment_methods/{card_id:str}/default",
    guards=[needs_api_key],
    status_code=200,
    responses=error_responses(400, 401, 404),
)
async def choose_payment_method(request: Request_, card_id: FromPath[str]) -> Response[CardBody]:
    """Charge this card wherever no other is named."""
    database = cashier(request).database
    card = await in_thread(cards.set_default_card, database, request.auth.account_id, card_id)
    return json_response(_body(card))


@delete(
    "/v1/account/payment_methods/{card_id:str}",
    guards=[needs_api_key],
    status_code=204,
    responses=error_responses(400, 401, 404, 409),
)
async def remove_payment_method(request: Request_, card_id: FromPath[str]) -> None:
    """Forget a card. Auto top-up that was to charge it, and has no other, is switched off."""
    await in_thread(cards.remove_card, cashier(request), request.auth.account_id, card_id)


def _body(card: SavedCard) -> dict[str, object]:
    return {"object": "payment_method", **card._asdict(), "created_at": moment(card.created_at)}


routes = [create_payment_method, list_payment_methods, choose_payment_method, remove_payment_method]
