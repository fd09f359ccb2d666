"""The policy of top-ups: the file is that of the billing rules; what makes no sense is refused, with why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from metering.cli.prices import prices
from metering.errors import PriceBookError
from metering.money import to_pico
from metering.pricing import schema
from metering.pricing.loader import load, load_policy
from metering.pricing.top_up_compiler import FILE, compile_policy
from tests.rating.goldens import RULES

TEXT = (RULES / FILE).read_text(encoding="utf-8")


def problems_of(document: object) -> list[str]:
    """Every reason why the document is no policy."""
    with pytest.raises(PriceBookError) as refusal:
        compile_policy(document)
    return refusal.value.problems


def changed(old: str, new: str) -> object:
    """The product's own policy with one text replaced."""
    assert TEXT.count(old) >= 1, old
    return yaml.safe_load(TEXT.replace(old, new))


def test_the_product_s_own_policy_is_that_of_the_billing_rules() -> None:
    policy = load_policy(RULES)
    assert (policy.minimum_pico, policy.maximum_pico) == (to_pico("5"), to_pico("2500"))
    assert policy.statement_descriptor == "WHOP*EMPIRIO"
    assert policy.auto.minimum_threshold_pico == to_pico("5")
    assert policy.auto.minimum_amount_of_threshold == 2
    assert policy.auto.retry_after == (timedelta(hours=1), timedelta(days=1), timedelta(days=3))
    assert (policy.auto.brake_purchases, policy.auto.brake_window) == (5, timedelta(hours=1))


@pytest.mark.parametrize(
    ("amount", "percent"),
    [("5", 0), ("999.99", 0), ("1000", 5), ("1999.99", 5), ("2000", 10), ("2500", 10)],
)
def test_the_bonus_is_that_of_the_highest_tier_reached(amount: str, percent: int) -> None:
    assert load_policy(RULES).bonus_percent(to_pico(amount)) == percent


def test_the_policy_is_no_part_of_the_price_book() -> None:
    assert FILE not in load(RULES).documents


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            'minimum: "5.00"',
            "minimum: 5.00",
            "top_ups: `minimum` is a binary float (5.0): write it in quotes",
        ),
        ('minimum: "5.00"', 'minimum: "5.001"', "top_ups: `minimum` must be a quoted amount in whole cents"),
        ('minimum: "5.00"', 'minimum: "-5"', "top_ups: `minimum` must be a quoted amount in whole cents"),
        ('minimum: "5.00"', 'minimum: "0.49"', 'top_ups: `minimum` must be at least "0.50"'),
        ('minimum: "5.00"', 'minimum: "2500.01"', "top_ups: `maximum` is below `minimum`"),
        ('low_balance: "5.00"', 'low_balance: "0"', "top_ups: `low_balance` must be above zero"),
        ("percent: 5", "percent: 0", "top_ups: bonuses (line 1): `percent` must be from 1 to 100"),
        ("percent: 10", "percent: 5", "top_ups: bonuses (line 2): must be more, for more, than the line"),
        (
            'from: "2000.00"',
            'from: "900"',
            "top_ups: bonuses (line 2): must be more, for more, than the line",
        ),
        ('from: "2000.00"', 'from: "2500.01"', "top_ups: bonuses (line 2): can't be reached"),
        ('from: "2000.00"', "form: 1", "top_ups: bonuses (line 2): unknown key `form`"),
        ("low_balance:", "low_balances:", "top_ups: unknown key `low_balances`"),
        ("seller:", "sellers:", "unknown key `sellers`"),
        ("WHOP*EMPIRIO", "EMPIRIO", "top_ups: `statement_descriptor` must be a prefix"),
        ("WHOP*EMPIRIO", "WHOP*EMPIRIO*2", "top_ups: `statement_descriptor` must be a prefix"),
        ("WHOP*EMPIRIO", "WHOP*EMPIRIOLABSEMPIRI", "top_ups: `statement_descriptor` must be a prefix"),
        ("WHOP*EMPIRIO", '"WHOP*123"', "top_ups: `statement_descriptor` must be a prefix"),
        ("WHOP*EMPIRIO", '"WHOP*<b>"', "top_ups: `statement_descriptor` must be a prefix"),
        ('threshold: "5.00"', 'threshold: "0"', "auto_top_up: `minimum_threshold` must be above zero"),
        ('threshold: "5.00"', 'threshold: "1250.01"', "auto_top_up: no amount is possible"),
        ("of_threshold: 2", "of_threshold: 0", "auto_top_up: `minimum_amount_of_threshold` must be at least"),
        ("[1 hour, 1 day", "[an hour, 1 day", "auto_top_up: `retry_after` must be a list of lengths of time"),
        ("within: 1 hour", "within: 0 hours", "auto_top_up: brake: `within` must be a length of time"),
        ("purchases: 5,", "purchases: 0,", "auto_top_up: brake: `purchases` must be at least 1"),
        ('amount: "5000.00"', 'amount: "2499.99"', "auto_top_up: per_day: `amount` is below the `maximum`"),
        ("{purchases: 10,", "{purchases: 0,", "auto_top_up: per_day: `purchases` must be at least 1"),
        ("{purchases: 10,", "{purchases: 101,", "auto_top_up: `per_day` allows more than `per_month`"),
        ('amount: "5000.00"', 'amount: "25000.01"', "auto_top_up: `per_day` allows more than `per_month`"),
        ("email: support@", "email: support at ", "seller: `email` is no address"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(old: str, new: str, problem: str) -> None:
    found = problems_of(changed(old, new))
    assert any(reason.startswith(f"{FILE}: {problem}") for reason in found), found


@pytest.mark.parametrize(
    "document", [None, [], "text", {}, {"top_ups": None, "auto_top_up": [], "seller": 1}]
)
def test_what_is_no_policy_at_all_is_refused(document: object) -> None:
    assert all(problem.startswith(f"{FILE}: ") for problem in problems_of(document))


def write(text: str) -> Callable[[Path], object]:
    """Write the file."""
    return lambda root: (root / FILE).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda _: None, "there is no such file in"),
        (write("top_ups: {}\ntop_ups: {}\n"), "duplicate key `top_ups`"),
        (write("\tseller: 1\n"), "found character"),
    ],
)
def test_a_file_that_is_missing_or_no_yaml_is_named(
    tmp_path: Path, prepare: Callable[[Path], object], problem: str
) -> None:
    prepare(tmp_path)
    with pytest.raises(PriceBookError, match=problem) as refusal:
        load_policy(tmp_path)
    assert refusal.value.problems[0].startswith(FILE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("low_balance:", "low_balances:"),
        ("{from:", "{form:"),
        ("brake: {purchases: 5", "brake: {purchase: 5"),
        ('minimum: "5.00"', "minimum: 5.00"),
        ("[1 hour", "[an hour"),
    ],
)
def test_the_json_schema_accepts_the_file_and_underlines_what_is_wrong_in_it(old: str, new: str) -> None:
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    validator.validate(yaml.safe_load(TEXT))
    assert TEXT.startswith("# yaml-language-server: $schema=schema.json\n")
    assert not validator.is_valid(changed(old, new))


def test_the_check_of_the_price_book_checks_it_too(tmp_path: Path) -> None:
    book = tmp_path / "book"
    copytree(RULES, book)
    write(TEXT.replace("percent: 10", "percent: 101"))(book)
    checked = CliRunner().invoke(prices, ["--book", str(book), "check"])
    assert checked.exit_code == 1
    assert f"{FILE}: top_ups: bonuses (line 2): `percent` must be from 1 to 100" in checked.output
    (book / FILE).unlink()
    assert CliRunner().invoke(prices, ["--book", str(book), "check"]).exit_code == 0
