"""Refunds by us and at the processor: what is unused goes back once, with its share of the bonus."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest

from metering import clock
from metering.errors import IdempotencyConflict, InvalidParameter, NotFound, NotRefundable
from metering.ledger.notices import NoticeType
from metering.money import PICO_PER_USD, to_pico
from metering.payments.simulator.server import Simulator
from metering.services.cashier import Cashier
from metering.services.refunds import finish_refunds
from metering.services.settlement import settle
from metering.storage.database import Database
from tests.payments.fixtures import POLICY, RETURN_URL, gateway_to
from tests.services.till import Till
from tests.simulator.control import Control
from tests.simulator.fixtures import RunningSimulator

DOLLAR = PICO_PER_USD


@pytest.fixture
def taxed_till(database: Database) -> Iterator[Till]:
    """A customer who pays 8.25 % of tax."""
    with Simulator(tax_percent=Decimal("8.25")) as simulator:
        running = RunningSimulator(simulator, Control(simulator.url))
        gateway = gateway_to(running, collects_tax=True)
        yield Till(Cashier(database, gateway, POLICY, RETURN_URL), running)
        gateway.close()
        running.control.close()


def test_what_is_unused_goes_back_with_its_share_of_the_bonus(till: Till) -> None:
    """The example of accounting.md: of 1,000 and 50, 630 are used; 400 and 20 go back."""
    top_up = till.buy("1000")
    till.use("630")
    refund = till.refund(top_up)
    assert (refund.state, refund.amount_pico, refund.bonus_pico) == ("succeeded", 400 * DOLLAR, 20 * DOLLAR)
    assert (till.posted, till.rest()) == (0, [0, 0])
    books = till.ledger()
    assert books["promo_expense"] == (630 - 50 + 20) * DOLLAR
    assert "refunds" not in books
    (told,) = till.notices(NoticeType.TOP_UP_REFUNDED)
    assert (told["amount"], told["credit"], told["bonus"], told["tax"]) == ("400", "400", "20", "0")
    till.require_books()


def test_what_is_used_is_not_refunded(till: Till) -> None:
    top_up = till.buy("100")
    till.use("49.995")
    with pytest.raises(NotRefundable, match=r"At most 50 "):
        till.refund(top_up, "50.01")
    assert till.refund(top_up, "50").state == "succeeded"
    with pytest.raises(NotRefundable, match="At most 0 "):
        till.refund(top_up)


def test_what_a_hold_has_set_aside_is_not_unused(till: Till) -> None:
    top_up = till.buy("1000")
    till.hold("945")
    refund = till.refund(top_up)
    assert (refund.credit_pico, refund.bonus_pico) == (100 * DOLLAR, 5 * DOLLAR)
    assert till.available == 0


def test_a_refund_is_of_its_own_top_up(till: Till) -> None:
    first, second = till.buy("10"), till.buy("20")
    till.refund(second)
    assert till.rest() == [10 * DOLLAR, 0]
    with pytest.raises(NotRefundable, match="At most 0 "):
        till.refund(second)
    till.refund(first, "4")
    assert till.rest() == [6 * DOLLAR, 0]
    till.require_books()


def test_an_open_top_up_is_not_refunded(till: Till) -> None:
    with pytest.raises(NotRefundable, match="not paid"):
        till.refund(till.open())
    with pytest.raises(NotFound):
        till.refund(till.open()._replace(id=till.account_id))


def test_the_same_key_refunds_once(till: Till) -> None:
    top_up = till.buy("100")
    first = till.refund(top_up, "10", "key")
    assert till.refund(top_up, "10", "key") == first
    with pytest.raises(IdempotencyConflict):
        till.refund(top_up, "11", "key")
    with pytest.raises(InvalidParameter, match="whole cents"):
        till.refund(top_up, "0.001")
    assert till.posted == 90 * DOLLAR


def test_of_many_refunds_at_once_no_more_goes_back_than_was_unused(till: Till) -> None:
    top_up = till.buy("100")

    def refund(number: int) -> bool:
        try:
            till.refund(top_up, "30", f"key {number}")
        except NotRefundable:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(refund, range(8))) == 3
    assert till.posted == 10 * DOLLAR
    assert till.money_back(top_up) == 90_00
    till.require_books()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_refund_without_an_answer_is_made_once(till: Till, when: str) -> None:
    top_up = till.buy("100")
    till.control.fault("timeout", when=when, path="/v1/refunds")
    refund = till.refund(top_up, "30")
    assert (refund.state, till.posted) == ("requested", 70 * DOLLAR)
    assert finish_refunds(till.cashier) == 0
    clock.run_ahead(timedelta(minutes=3))
    assert finish_refunds(till.cashier) == 1
    assert finish_refunds(till.cashier) == 0
    assert [one.state for one in till.refunds(top_up)] == ["succeeded"]
    assert till.money_back(top_up) == 30_00
    till.require_books()


def test_an_error_that_the_processor_repeats_under_a_key_does_not_last(till: Till) -> None:
    top_up = till.buy("100")
    till.control.fault("error_500", path="/v1/refunds")
    till.refund(top_up, "30")
    for hours in range(1, 6):
        clock.run_ahead(timedelta(hours=hours))
        finish_refunds(till.cashier)
    assert [one.state for one in till.refunds(top_up)] == ["succeeded"]
    assert till.money_back(top_up) == 30_00


def test_a_refund_that_was_made_is_found_long_after_its_key(till: Till) -> None:
    top_up = till.buy("100")
    till.control.fault("error_500", when="after", path="/v1/refunds")
    assert till.refund(top_up, "30").state == "requested"
    till.control.advance(3 * 24 * 3600)
    clock.run_ahead(timedelta(days=3))
    assert finish_refunds(till.cashier) == 1
    assert [one.state for one in till.refunds(top_up)] == ["succeeded"]
    assert till.money_back(top_up) == 30_00


def test_a_refund_that_the_processor_refuses_gives_the_credit_back(till: Till) -> None:
    """The dashboard was faster: its refund counts, ours never was."""
    top_up = till.buy("1000")
    till.use("100")
    till.control.refund(till.charge_of(top_up))
    refund = till.refund(top_up, "400")
    assert refund.state == "failed"
    assert refund.failure
    (of_processor,) = [one for one in till.refunds(top_up) if one.origin == "processor"]
    assert (of_processor.credit_pico, of_processor.bonus_pico) == (1000 * DOLLAR, 50 * DOLLAR)
    assert till.posted == -100 * DOLLAR
    assert len(till.notices(NoticeType.TOP_UP_REFUNDED)) == 1
    till.require_books()


def test_a_refund_in_the_dashboard_of_what_is_used_is_owed(till: Till) -> None:
    top_up = till.buy("1000")
    till.use("630")
    till.control.refund(till.charge_of(top_up), 500_00)
    till.settle(top_up)
    till.settle(top_up)
    assert till.posted == (1050 - 630 - 525) * DOLLAR
    (refund,) = till.refunds(top_up)
    assert (refund.origin, refund.bonus_pico) == ("processor", 25 * DOLLAR)
    till.require_books()


def test_a_refund_that_fails_later_gives_the_credit_back(till: Till) -> None:
    top_up = till.buy("1000")
    refund = till.refund(top_up, "400")
    assert till.posted == 630 * DOLLAR
    till.control.fail_refund(str(refund.processor_id))
    till.settle(top_up)
    assert [one.state for one in till.refunds(top_up)] == ["failed"]
    assert (till.posted, sorted(till.rest())) == (1050 * DOLLAR, [50 * DOLLAR, 1000 * DOLLAR])
    assert "refunds" not in till.ledger()
    till.require_books()


def test_a_refund_seen_failed_at_first_takes_nothing(till: Till) -> None:
    top_up = till.buy("100")
    made = till.control.refund(till.charge_of(top_up), 10_00)
    till.control.fail_refund(made["id"])
    till.settle(top_up)
    assert ([one.state for one in till.refunds(top_up)], till.posted) == (["failed"], 100 * DOLLAR)
    assert "refunds" not in till.ledger()
    till.require_books()


def test_many_who_settle_a_refund_of_the_dashboard_take_it_once(till: Till) -> None:
    top_up = till.buy("100")
    till.control.refund(till.charge_of(top_up), 10_00)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: till.settle(top_up), range(8)))
    assert till.posted == 90 * DOLLAR
    assert len(till.refunds(top_up)) == 1


def test_tax_goes_back_with_its_part(taxed_till: Till) -> None:
    till = taxed_till
    top_up = till.buy("100")
    assert (top_up.tax_pico, till.posted) == (to_pico("8.25"), 100 * DOLLAR)
    assert till.ledger()["tax:payable"] == to_pico("8.25")
    refund = till.refund(top_up, "33.33")
    assert (refund.credit_pico, refund.tax_pico) == (to_pico("30.79"), to_pico("2.54"))
    rest = till.refund(top_up)
    assert rest.amount_pico == to_pico("74.92")
    assert till.posted == 0
    assert set(till.ledger()) == {"cash:stripe", "fees:payments"}
    till.require_books()


def test_a_settle_of_an_account_that_has_moved_on_takes_a_refund_of_long_ago(till: Till) -> None:
    first = till.buy("10")
    till.use("10")
    till.control.refund(till.charge_of(first))
    till.buy("50")
    settle(till.cashier, till.account_id, first.id)
    assert (till.posted, till.rest()) == (40 * DOLLAR, [0, 40 * DOLLAR])
    till.require_books()


@pytest.mark.parametrize("amount", ["0", "-10"])
def test_nothing_and_less_can_not_go_back(till: Till, amount: str) -> None:
    top_up = till.buy("100")
    with pytest.raises(InvalidParameter, match="more than zero"):
        till.refund(top_up, amount)
    assert till.posted == 100 * DOLLAR
