"""Opening a top-up: its limits and bonus, and the page that one call, or its repetition, comes to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from metering.errors import (
    AccountNotFound,
    IdempotencyConflict,
    InvalidParameter,
    NotFound,
    PaymentsUnavailable,
)
from metering.money import to_number, to_pico
from metering.services.payment_customers import obtain_customer
from metering.services.top_ups import WantedTopUp, check_urls, create_top_up, get_top_up, list_top_ups
from tests.payments.fixtures import RETURN_URL
from tests.services.till import Till


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ("4.99", "must be at least 5"),
        ("2500.01", "must be at most 2500"),
        ("5.001", "must be in whole cents"),
        ("0.000000000001", "must be in whole cents"),
    ],
)
def test_an_amount_outside_the_limits_is_refused_by_its_own_message(
    till: Till, amount: str, says: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        till.open(amount)
    assert (caught.value.message, caught.value.param) == (says, "amount")
    assert not list_top_ups(till.database, till.account_id, limit=10)


@pytest.mark.parametrize(
    ("amount", "bonus"),
    [
        ("5", "0"),
        ("999.99", "0"),
        ("1000", "50"),
        ("1999.99", "99.9995"),
        ("2000", "200"),
        ("2500", "250"),
    ],
)
def test_the_bonus_is_on_the_whole_amount(till: Till, amount: str, bonus: str) -> None:
    top_up = till.open(amount)
    assert to_number(top_up.bonus_pico) == bonus
    session = till.stripe.checkout.sessions.retrieve(str(top_up.session_id))
    assert session.amount_total == to_pico(amount) // 10**10


def test_the_page_leads_back_to_us_or_where_the_customer_wants(till: Till) -> None:
    top_up = till.open()
    session = till.stripe.checkout.sessions.retrieve(str(top_up.session_id))
    assert session.success_url == session.cancel_url == f"{RETURN_URL}?top_up={top_up.id}"
    assert (session.url, session.status) == (top_up.url, "open")
    other = till.open(success_url="https://shop.example/done", cancel_url="https://shop.example/back")
    session = till.stripe.checkout.sessions.retrieve(str(other.session_id))
    assert (session.success_url, session.cancel_url) == (
        "https://shop.example/done",
        "https://shop.example/back",
    )


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "ftp://a.example", "https://", "//a.example", "x" * 2001]
)
def test_a_page_leads_to_a_web_address_only(url: str) -> None:
    with pytest.raises(InvalidParameter):
        check_urls(success_url=url)


def test_the_same_key_is_the_same_top_up(till: Till) -> None:
    first = till.open("10", "key")
    assert till.open("10", "key") == first
    with pytest.raises(IdempotencyConflict):
        till.open("11", "key")
    assert till.open("10", "another").id != first.id
    assert till.open("10").id != till.open("10").id


def test_of_many_calls_with_one_key_there_is_one_page_that_anybody_hears_of(till: Till) -> None:
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: till.open("10", "key"), range(8)))
    assert len({one.id for one in opened}) == len({one.url for one in opened}) == 1
    assert len(list_top_ups(till.database, till.account_id, limit=10)) == 1


@pytest.mark.parametrize("action", ["timeout", "error_500"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("path", ["/v1/customers", "/v1/checkout/sessions"])
def test_a_call_without_an_answer_is_finished_by_its_repetition(
    till: Till, action: str, when: str, path: str
) -> None:
    till.control.fault(action, when=when, path=path)
    with pytest.raises(PaymentsUnavailable):
        till.open("10", "key")
    top_up = till.open("10", "key")
    assert (top_up.state, till.open("10", "key").url) == ("open", top_up.url)
    till.pay(top_up)
    assert till.settle(top_up).state == "succeeded"
    assert till.posted == to_pico("10")
    assert till.control.counts()["charges_succeeded"] == 1


def test_what_is_paid_is_told_by_the_key_s_repetition(till: Till) -> None:
    top_up = till.open("10", "key")
    till.pay(top_up)
    till.settle(top_up)
    assert till.open("10", "key").state == "succeeded"


def test_an_account_is_one_customer_of_the_processor_s(till: Till) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: obtain_customer(till.cashier, till.account_id), range(8)))
    assert len(made) == 1
    till.open()
    assert obtain_customer(till.cashier, till.account_id) in made


def test_top_ups_are_listed_newest_first_in_pages(till: Till) -> None:
    made = [till.open().id for _ in range(5)][::-1]
    page = list_top_ups(till.database, till.account_id, limit=2)
    rest = list_top_ups(till.database, till.account_id, after=page[-1].top_up.id, limit=10)
    assert [view.top_up.id for view in page + rest] == made


def test_nobody_s_top_ups(till: Till) -> None:
    nobody = till.account_id[:-4] + "0000"
    with pytest.raises(AccountNotFound):
        create_top_up(till.cashier, nobody, WantedTopUp(to_pico("10")), None)
    with pytest.raises(AccountNotFound):
        list_top_ups(till.database, nobody, limit=1)
    with pytest.raises(NotFound):
        get_top_up(till.database, nobody, till.open().id)
