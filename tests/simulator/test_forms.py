"""What is sent: brackets, shapes, unknown parameters; and what is shown: pages and expanded objects."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from metering.payments.simulator.calls import Route, resources
from metering.payments.simulator.forms import Fields, Form, Items, Nested, parse, stripes_own
from metering.payments.simulator.state import API_VERSION
from tests.simulator.fixtures import RunningSimulator
from tests.simulator.shop import Shop

ROUTES = [route for resource in resources().values() for route in resource.routes]


def test_brackets_are_read_as_stripe_reads_them() -> None:
    assert parse("a[b][c]=1&a[b][d]=2&list[]=x&list[]=y&rows[0][name]=z&plain=%26") == {
        "a": {"b": {"c": "1", "d": "2"}},
        "list": {"0": "x", "1": "y"},
        "rows": {"0": {"name": "z"}},
        "plain": "&",
    }


@pytest.mark.parametrize(
    ("form", "code", "param", "message"),
    [
        ({"foo": "1"}, "parameter_unknown", "foo", "Received unknown parameter: foo"),
        ({"foo": "1", "bar": "1"}, "parameter_unknown", "foo", "Received unknown parameters: foo, bar"),
        (
            {"automatic_payment_methods[enabled]": "true", "automatic_payment_methods[x]": "1"},
            "parameter_unknown",
            "automatic_payment_methods[x]",
            "Received unknown parameter: automatic_payment_methods[x]",
        ),
        ({"transfer_group": "x"}, "parameter_unknown", "transfer_group", "that is not simulated"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount", "Invalid integer: ten"),
        ({"amount": "10.5"}, "parameter_invalid_integer", "amount", "Invalid integer: 10.5"),
        ({"amount": ""}, "parameter_invalid_empty", "amount", "cannot be unset"),
        ({"confirm": "yes"}, None, "confirm", "Invalid boolean: yes"),
        ({"metadata": "x"}, None, "metadata", "Invalid object"),
        ({"setup_future_usage": "x"}, None, "setup_future_usage", "must be one of"),
        ({"allowed_payment_method_types": "card"}, None, "allowed_payment_method_types", "Invalid array"),
        ({"customer": "cus_none"}, "resource_missing", "customer", "No such customer: 'cus_none'"),
    ],
)
def test_what_stripe_would_not_take_is_refused_by_name(
    stripe_simulator: RunningSimulator, form: dict[str, str], code: str | None, param: str, message: str
) -> None:
    answer = stripe_simulator.call(
        "POST", "/v1/payment_intents", {"amount": "1000", "currency": "usd", **form}
    )
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error.get("code"), error["param"]) == ("invalid_request_error", code, param)
    assert message in error["message"]


def test_a_missing_parameter_is_named(stripe_simulator: RunningSimulator) -> None:
    answer = stripe_simulator.call("POST", "/v1/payment_intents", {"amount": "1000"})
    assert answer.json()["error"]["code"] == "parameter_missing"
    assert answer.json()["error"]["param"] == "currency"


@pytest.mark.parametrize("path", ["/v1/customers/cus_none", "/v1/charges/ch_none", "/v1/nothing"])
def test_what_does_not_exist_is_a_404(stripe_simulator: RunningSimulator, path: str) -> None:
    assert stripe_simulator.call("GET", path).status_code == 404


@pytest.mark.parametrize("route", [route for route in ROUTES if route.path.startswith("/v1/")])
def test_every_parameter_that_is_read_is_one_of_the_sdks(route: Route) -> None:
    assert route.form is not None
    assert not list(_strangers(route.form.fields, route.form.sdk))
    for name in route.form.needed:
        assert name in route.form.fields


def _strangers(fields: Fields, sdk: str) -> list[str]:
    known = stripes_own(sdk)
    found = [f"{sdk}.{name}" for name in fields if name not in known]
    for name, reader in fields.items():
        inner = reader.reader if isinstance(reader, Items) else reader
        if isinstance(inner, Nested):
            found += _strangers(inner.form.fields, f"{sdk}/{name}")
    return found


def test_a_form_without_the_sdks_type_knows_no_parameters_of_stripes() -> None:
    assert stripes_own("NoSuchParams") == frozenset()
    assert Form().read({}) == {}


def test_the_objects_are_those_of_the_sdks_version() -> None:
    assert stripe.api_version == API_VERSION


def test_pages_follow_each_other_both_ways(shop: Shop) -> None:
    made = [shop.api.customers.create({"name": str(number)}).id for number in range(5)][::-1]
    first = shop.api.customers.list({"limit": 2})
    assert [one.id for one in first.data] == made[:2]
    assert first.has_more
    second = shop.api.customers.list({"limit": 2, "starting_after": made[1]})
    assert [one.id for one in second.data] == made[2:4]
    back = shop.api.customers.list({"limit": 2, "ending_before": made[2]})
    assert [one.id for one in back.data] == made[:2]
    assert [one.id for one in first.auto_paging_iter()] == [*made, shop.customer]


def test_a_list_is_within_the_times_asked_for(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    before = shop.api.customers.retrieve(shop.customer).created
    stripe_simulator.control.advance(100)
    later = shop.api.customers.create({}).id
    assert [one.id for one in shop.api.customers.list({"created": {"gte": before + 50}}).data] == [later]
    assert [one.id for one in shop.api.customers.list({"created": {"lt": before + 50}}).data] == [
        shop.customer
    ]


def test_objects_are_expanded_where_they_hang(shop: Shop) -> None:
    paid = shop.pay(expand=["customer", "latest_charge", "payment_method"])
    assert isinstance(paid.customer, stripe.Customer)
    assert isinstance(paid.payment_method, stripe.PaymentMethod)
    listed = shop.api.payment_intents.list(
        {"customer": shop.customer, "expand": ["data.latest_charge.balance_transaction"]}
    ).data[0]
    assert isinstance(listed.latest_charge, stripe.Charge)
    assert isinstance(listed.latest_charge.balance_transaction, stripe.BalanceTransaction)
    shop.api.refunds.create({"payment_intent": paid.id, "amount": 100})
    charge = shop.api.charges.retrieve(listed.latest_charge.id, {"expand": ["refunds", "payment_intent"]})
    assert charge.refunds is not None
    assert [refund.amount for refund in charge.refunds.data] == [100]
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        shop.api.charges.retrieve(charge.id, {"expand": ["amount"]})


def test_metadata_is_merged_and_unset(shop: Shop) -> None:
    def metadata(form: Any) -> dict[str, str]:  # noqa: ANN401
        changed = shop.api.customers.update(shop.customer, form).metadata
        assert changed is not None
        return dict(changed.to_dict())

    assert metadata({"metadata": {"a": "1", "b": "2"}}) == {"a": "1", "b": "2"}
    assert metadata({"metadata": {"a": "", "c": "3"}}) == {"b": "2", "c": "3"}
    assert metadata({"metadata": ""}) == {}


@pytest.mark.parametrize("key", ["", "Bearer x", "Bearer pk_test_1"])
def test_a_test_key_is_needed(stripe_simulator: RunningSimulator, key: str) -> None:
    answer = stripe_simulator.call("GET", "/v1/customers", authorization=key)
    assert answer.status_code == 401


@pytest.mark.parametrize("key", ["sk_live_1234567890", "rk_live_1234567890"])
def test_a_live_key_is_refused_and_not_repeated(stripe_simulator: RunningSimulator, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError) as raised:
        stripe_simulator.client(key).v1.customers.create({})
    assert "live key" in str(raised.value)
    assert "1234567890" not in str(raised.value)
    assert stripe_simulator.control.counts()["objects"] == {}
