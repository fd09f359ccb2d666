"""What `/docs/openapi.json` says is what happens: schemathesis finds no 5xx and no undocumented answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.live import Live, well_formed

INGEST = ["POST /v1/usage/events", "POST /v1/usage/quote"]
SERVICE_S = [
    *INGEST,
    "POST /v1/holds",
    "GET /v1/holds/{hold_id}",
    "POST /v1/holds/{hold_id}/extend",
    "POST /v1/holds/{hold_id}/void",
    "GET /v1/accounts/{account_id}/holds",
    "POST /v1/accounts",
    "GET /v1/accounts",
    "GET /v1/accounts/{account_id}",
    "PATCH /v1/accounts/{account_id}",
    "POST /v1/accounts/{account_id}/keys",
    "GET /v1/accounts/{account_id}/keys",
    "PATCH /v1/accounts/{account_id}/keys/{key_id}",
    "POST /v1/accounts/{account_id}/keys/{key_id}/rotate",
    "DELETE /v1/accounts/{account_id}/keys/{key_id}",
    "GET /v1/accounts/{account_id}/lots",
    "GET /v1/accounts/{account_id}/transactions",
    "POST /v1/accounts/{account_id}/grants",
    "POST /v1/accounts/{account_id}/adjustments",
    "POST /v1/accounts/{account_id}/reversals",
    "GET /v1/accounts/{account_id}/top_ups",
    "GET /v1/accounts/{account_id}/top_ups/{top_up_id}/refunds",
    "POST /v1/accounts/{account_id}/top_ups/{top_up_id}/refunds",
]
CUSTOMER_S = [
    "GET /v1/account",
    "GET /v1/account/usage",
    "GET /v1/account/transactions",
    "GET /v1/account/top_ups",
    "POST /v1/account/top_ups",
    "GET /v1/account/top_ups/{top_up_id}",
    "GET /v1/account/top_ups/{top_up_id}/receipt",
    "GET /v1/account/top_ups/{top_up_id}/receipt.pdf",
    "GET /v1/account/auto_topup",
    "PUT /v1/account/auto_topup",
    "GET /v1/account/payment_methods",
    "POST /v1/account/payment_methods",
    "POST /v1/account/payment_methods/{card_id}/default",
    "DELETE /v1/account/payment_methods/{card_id}",
    "GET /v1/account/notifications",
    "PUT /v1/account/notifications",
    "GET /v1/account/webhooks",
    "POST /v1/account/webhooks",
    "PATCH /v1/account/webhooks/{endpoint_id}",
    "DELETE /v1/account/webhooks/{endpoint_id}",
    "GET /v1/account/webhooks/{endpoint_id}/deliveries",
    "POST /v1/account/webhooks/{endpoint_id}/replay",
]
PUBLIC = [
    "GET /v1/prices",
    "GET /v1/prices/{model_id}",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "POST /webhooks/stripe",
]
EVERY = [*SERVICE_S, *CUSTOMER_S, *PUBLIC]
# Those of the customer's that take nothing but what is looked up can only not find it.
CAN_BE_WRONG = [
    *SERVICE_S,
    "GET /v1/account/usage",
    "GET /v1/account/transactions",
    "GET /v1/account/top_ups",
    "POST /v1/account/top_ups",
    "GET /v1/account/top_ups/{top_up_id}",
    "PUT /v1/account/auto_topup",
    "POST /v1/account/payment_methods",
    "PUT /v1/account/notifications",
    "POST /v1/account/webhooks",
    "PATCH /v1/account/webhooks/{endpoint_id}",
    "GET /v1/account/webhooks/{endpoint_id}/deliveries",
    "POST /v1/account/webhooks/{endpoint_id}/replay",
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    missing_required_header,
]
# The same ones in each run, so that a change is never blamed for luck; 400 random ones found no more.
EXAMPLES = 20

Check = Callable[["Case[Any]"], object]


class Api:
    """The service by its own description."""

    def __init__(self, live: Live) -> None:
        self._schema = schemathesis.openapi.from_url(f"{live.url}/docs/openapi.json")
        self._live = live
        self.customer = live.customer()
        self.models = cycle(sorted(live.app.services.book.models))
        found = (result.ok() for result in self._schema.get_all_operations() if isinstance(result, Ok))
        self.operations = {operation.label: operation for operation in found}

    def headers(self, name: str) -> dict[str, str]:
        return self.customer.headers if name in CUSTOMER_S else dict(self._live.service)

    def try_out(self, name: str, check: Check, mode: GenerationMode = GenerationMode.POSITIVE) -> None:
        """Call the operation with many requests that fit its description, or with ones that don't."""
        strategy = self.operations[name].as_strategy(generation_mode=mode)
        suppressed = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
        bounded = settings(
            max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=suppressed
        )

        def try_one(case: Case[Any]) -> None:
            check(case)

        bounded(given(case=strategy)(try_one))()


@pytest.fixture(scope="session")
def api(live: Live) -> Api:
    """The service by its own description."""
    return Api(live)


def test_every_operation_is_tried_out(api: Api) -> None:
    assert sorted(api.operations) == sorted(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_what_fits_the_description_gets_a_described_answer(api: Api, name: str) -> None:
    api.try_out(name, lambda case: case.call_and_validate(headers=api.headers(name), checks=CHECKS))


@pytest.mark.parametrize("name", EVERY)
def test_the_same_about_what_exists(api: Api, name: str) -> None:
    def check(case: Case[Any]) -> None:
        for field, value in (("account_id", api.customer.account_id), ("model_id", next(api.models))):
            if field in (case.path_parameters or {}):
                case.path_parameters[field] = value
        _about(case.body, api.customer.account_id, api.models)
        case.call_and_validate(headers=api.headers(name), checks=CHECKS)

    api.try_out(name, check)


def _about(body: object, account_id: str, models: Iterator[str]) -> None:
    """Let every event in the body be of that account and of a known model."""
    if isinstance(body, list):
        for one in body:
            _about(one, account_id, models)
    elif isinstance(body, dict):
        if "account_id" in body:
            body.update(account_id=account_id, model=next(models))
        _about(body.get("events"), account_id, models)


@pytest.mark.parametrize("name", CAN_BE_WRONG)
def test_what_does_not_fit_is_refused_as_described(api: Api, name: str) -> None:
    # A bad event is answered by a result of its own: ingest refuses as a whole what is no call at all.
    checks = CHECKS if name in INGEST else [*CHECKS, negative_data_rejection]
    headers = api.headers(name)
    api.try_out(
        name, lambda case: case.call_and_validate(headers=headers, checks=checks), GenerationMode.NEGATIVE
    )


@pytest.mark.parametrize("name", [*SERVICE_S, *CUSTOMER_S])
def test_without_a_good_key_nothing_answers(api: Api, name: str) -> None:
    bad = cycle([{}, {"x-api-key": "mst-wrong"}, {"Authorization": "Bearer sk-wrong"}])

    def check(case: Case[Any]) -> None:
        answer = case.call_and_validate(headers=next(bad), checks=CHECKS)
        assert answer.status_code == 401
        well_formed(answer.json()["error"])

    api.try_out(name, check)
