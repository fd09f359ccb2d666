"""What a customer sees with an API key: the account, its balance and its usage."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from metering.api.account_usage import parse_query
from metering.api.accounts import AccountBody, account_body
from metering.api.documentation import UsageQuery
from metering.api.encoding import json_response
from metering.api.errors import error_responses
from metering.api.parameters import READS_QUERY
from metering.api.security import needs_api_key
from metering.api.state import services
from metering.api.usage_bodies import AccountUsageBody
from metering.api.usage_rendering import render
from metering.api.waiting import in_thread
from metering.services.accounts import get_account
from metering.services.history import get_account_usage
from metering.storage.api_keys import ApiKey

Request_ = Request[None, ApiKey, Any]


@get("/v1/account", guards=[needs_api_key], responses=error_responses(400, 401))
async def retrieve_account(request: Request_) -> Response[AccountBody]:
    """The account of the API key, its limits and its balance."""
    view = await in_thread(get_account, services(request).database, request.auth.account_id)
    return json_response(account_body(view))


@get(
    "/v1/account/usage",
    guards=[needs_api_key],
    operation_id="retrieveAccountUsage",
    operation_class=UsageQuery,
    opt={READS_QUERY: True},
    responses=error_responses(400, 401),
)
async def retrieve_account_usage(request: Request_) -> Response[AccountUsageBody]:
    """Current balance, spend by product, and a page of usage events, newest first."""
    filters, before, limit = parse_query(request.query_params.multi_items())
    usage = await in_thread(
        get_account_usage,
        services(request).database,
        request.auth.account_id,
        filters,
        before=before,
        limit=limit,
    )
    return json_response(render(usage, filters))


routes = [retrieve_account, retrieve_account_usage]
