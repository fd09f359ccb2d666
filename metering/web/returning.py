"""The page to which customers come back from paying: what they bought, and whether it is there yet.

It asks for no key: whoever knows a top-up's id, which can't be guessed, sees its amounts and its state, and
nothing of the account: no name, no card, no balance.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

import anyio
from anyio import to_thread
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from metering import clock, telemetry
from metering.errors import MeteringError, Unavailable
from metering.messages.letterhead import Letterhead
from metering.messages.rendering import Purchase, render_apology, render_return
from metering.services.cashier import Cashier
from metering.services.settlement import settle
from metering.services.top_ups import find_checkout, may_be_paid
from metering.storage.top_ups import TopUp

PATH: Final = "/billing"
# So long a page waits for the database, and for the payment processor's word.
_ANSWER_SECONDS: Final = 20
_SETTLE_SECONDS: Final = 5
# A payment by card is there in seconds, one by a bank in days.
_SOON: Final = timedelta(minutes=15)
_HEADERS: Final = {
    # The page is one of words: nothing in it may run, or be fetched.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
_LOG: Final = telemetry.log(__name__)


def create_page(cashier: Cashier) -> HTTPRouteHandler:
    """The page over its cashier; `top_up` in its query is the id, which who only saved a card hasn't."""
    letterhead = Letterhead.of(cashier.policy)
    # Who waits for the payment processor must not take every thread.
    settlers = anyio.CapacityLimiter(3)

    @get(PATH, include_in_schema=False)
    async def show(top_up: FromQuery[str | None] = None) -> Response[str]:
        if top_up is None:
            return _page(render_return(None, letterhead))
        try:
            with anyio.fail_after(_ANSWER_SECONDS):
                found = await _find(cashier, top_up, settlers)
        except (Unavailable, TimeoutError):
            text = "Your payment is safe. This page tries again by itself."
            return _page(render_apology("One moment", text, letterhead), 503, refresh_seconds=5)
        if found is None:
            text = "There is no such top-up, or its address is not complete."
            return _page(render_apology("Nothing here", text, letterhead), 404)
        return _page(render_return(_purchase(found), letterhead), refresh_seconds=_refresh_seconds(found))

    return show


async def _find(cashier: Cashier, top_up_id: str, settlers: anyio.CapacityLimiter) -> TopUp | None:
    """The top-up as it stands; who comes back from paying is here before any message about it is."""
    try:
        id = str(UUID(top_up_id))  # noqa: A001
    except ValueError:
        return None
    found = await to_thread.run_sync(find_checkout, cashier.database, id, abandon_on_cancel=True)
    if found is None or not may_be_paid(found):
        return found
    with anyio.move_on_after(_SETTLE_SECONDS):
        try:
            return await to_thread.run_sync(
                settle, cashier, found.account_id, found.id, abandon_on_cancel=True, limiter=settlers
            )
        except MeteringError as error:
            _LOG.info("top-up not settled", top_up_id=found.id, error=error.message)
    return found


def _purchase(top_up: TopUp) -> Purchase:
    return Purchase(
        top_up.state,
        top_up.amount_pico,
        top_up.bonus_percent,
        top_up.bonus_pico,
        top_up.tax_pico,
        top_up.receipt_number,
    )


def _refresh_seconds(top_up: TopUp) -> int | None:
    """When the page looks again; None when there is nothing to wait for."""
    if top_up.state != "open":
        return None
    return 2 if clock.now() - top_up.created_at < _SOON else 60


def _page(html: str, status: int = 200, *, refresh_seconds: int | None = None) -> Response[str]:
    more = {} if refresh_seconds is None else {"Refresh": str(refresh_seconds)}
    return Response(html, status_code=status, media_type=MediaType.HTML, headers=_HEADERS | more)
