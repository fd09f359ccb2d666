"""The public price list, which is the price book itself; no key needed."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from metering import clock
from metering.api.encoding import json_response
from metering.api.errors import error_responses
from metering.api.state import services
from metering.errors import ModelNotFound
from metering.pricing.book import PriceBook
from metering.pricing.listing import public_entry


class PricingRowBody(msgspec.Struct):
    """One line of the price list, as text."""

    charge: str
    spec: str
    rate: str
    list_rate: str | msgspec.UnsetType = msgspec.UNSET


class DiscountBody(msgspec.Struct):
    """The largest saving of the model's rows against their list rates."""

    label: str
    percent: int


class PriceBody(msgspec.Struct, omit_defaults=True):
    """A model's facts and prices; `pricing` has US dollars per token, image and request as strings."""

    id: str
    object: str
    owned_by: str
    name: str
    category: str
    context_window: str | int | None
    pricing: dict[str, str] | list[dict[str, str | int]]
    pricing_rows: list[PricingRowBody]
    discount: DiscountBody | msgspec.UnsetType = msgspec.UNSET
    endpoint: str | msgspec.UnsetType = msgspec.UNSET
    region: str | msgspec.UnsetType = msgspec.UNSET
    input_modalities: list[str] | msgspec.UnsetType = msgspec.UNSET
    output_modalities: list[str] | msgspec.UnsetType = msgspec.UNSET
    features: list[str] | msgspec.UnsetType = msgspec.UNSET


class PriceList(msgspec.Struct):
    """Every model, by id."""

    object: str
    data: list[PriceBody]


NOT_MODIFIED: Final = {304: ResponseSpec(None, description="The client has it already.")}


@get("/v1/prices", responses=error_responses() | NOT_MODIFIED)
async def list_prices(request: Request[None, None, Any]) -> Response[PriceList]:
    """The price list; its ETag changes when a price does."""
    book = services(request).book
    now = clock.now()
    entries = [public_entry(model, model.card_at(now)) for model in book.models.values()]
    return _tagged(request, book, {"object": "list", "data": entries})


@get("/v1/prices/{model_id:str}", responses=error_responses(400, 404) | NOT_MODIFIED)
async def get_price(request: Request[None, None, Any], model_id: FromPath[str]) -> Response[PriceBody]:
    """One model's prices."""
    book = services(request).book
    model = book.models.get(model_id)
    if model is None:
        raise ModelNotFound("The price list has no such model.", param="model")
    return _tagged(request, book, public_entry(model, model.card_at(clock.now())))


def _tagged(request: Request[None, None, Any], book: PriceBook, content: object) -> Response[Any]:
    """The content under its ETag, or 304 where the client has it already."""
    body = msgspec.json.encode(content)
    tag = f'"{_digest(body)}"'
    headers = {"ETag": tag, "Cache-Control": "public, max-age=60", "X-Price-Book": book.digest.hex()}
    asked = request.headers.get("if-none-match", "")
    if asked.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in asked.split(",")):
        return Response(b"", status_code=304, headers=headers)
    return json_response(body, headers=headers)


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()


routes = [list_prices, get_price]
