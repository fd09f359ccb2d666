"""The Litestar application: routes, errors, limits, documentation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from metering import __version__
from metering.api import (
    account,
    accounts,
    api_keys,
    auto_topup,
    cards,
    corrections,
    health,
    holds,
    lots,
    notifications,
    prices,
    receipts,
    refunds,
    statements,
    top_ups,
    usage_events,
    webhook_endpoints,
    webhooks,
)
from metering.api.documentation import AmountSchema
from metering.api.errors import handle
from metering.api.parameters import refuse_unknown
from metering.api.state import Services

DOCS_PATH: Final = "/docs"
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
# For customers and gateways: each call has a key, and no parameter that isn't known.
_WITH_KEY: Final = [
    *usage_events.routes,
    *holds.routes,
    *accounts.routes,
    *corrections.routes,
    *lots.routes,
    *api_keys.routes,
    *account.routes,
    *top_ups.routes,
    *refunds.routes,
    *auto_topup.routes,
    *cards.routes,
    *statements.routes,
    *receipts.routes,
    *notifications.routes,
    *webhook_endpoints.routes,
]
_WITHOUT_KEY: Final = [*prices.routes, *health.routes, *webhooks.routes]


def create_application(
    services: Services,
    *,
    pages: Sequence[HTTPRouteHandler] = (),
    on_shutdown: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Litestar:
    """The ASGI application over its services; `pages` are for people, and beside the API."""
    return Litestar(
        route_handlers=[
            Router(
                "/",
                route_handlers=_WITH_KEY,
                security=[{"bearer": []}, {"x-api-key": []}],
                before_request=refuse_unknown,
            ),
            *_WITHOUT_KEY,
            *pages,
        ],
        exception_handlers={Exception: handle},
        state=State({"services": services}),
        request_max_body_size=MAX_BODY_BYTES,
        on_shutdown=[on_shutdown] if on_shutdown else [],
        openapi_config=OpenAPIConfig(
            title="Metering",
            version=__version__,
            description="Usage events in, exact cost out, balance down, history up.",
            path=DOCS_PATH,
            render_plugins=[SwaggerRenderPlugin(path="/")],
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer"),
                    "x-api-key": SecurityScheme(type="apiKey", name="x-api-key", security_scheme_in="header"),
                }
            ),
        ),
        plugins=[AmountSchema()],
        logging_config=None,
    )
