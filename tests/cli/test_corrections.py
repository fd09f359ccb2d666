"""`metering ledger adjust`, `reverse`, `rate-unpriced` and `rerate`, as an operator runs them."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metering.config import Settings
from metering.money import to_pico
from metering.pricing.loader import read_documents
from metering.services.history import find_events
from metering.storage.database import Database
from tests.cli.conftest import Run, Start
from tests.cli.test_running import stop, until
from tests.services.correcting import HOUR, Ledger

pytestmark = pytest.mark.xdist_group("cli")
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """An account with $100."""
    ledger = Ledger(database)
    ledger.grant("100")
    return ledger


@pytest.fixture
def new_book(tmp_path: Path) -> Path:
    """A directory with a price book in which some models of the old one cost something else."""
    root = tmp_path / "book"
    (root / "providers").mkdir(parents=True)
    own = read_documents(Settings.from_environment({}).price_book)
    rates = {"steady": "1", "dearer": "2.5", "cheaper": "1", "late": "0.25", "free": "0"}
    charge = {"charge": "Request", "model": "flat", "per": "request"}
    models = {
        model: {"name": model, "category": "Text", "charges": [{**charge, "rate": rate}]}
        for model, rate in rates.items()
    }
    documents = {
        "book.yml": own["book.yml"],
        "meters.yml": own["meters.yml"],
        "plans.yml": {"plans": {}},
        "providers/p.yml": {"provider": "P", "models": models},
    }
    for name, document in documents.items():
        # JSON is YAML too.
        (root / name).write_text(json.dumps(document, default=str))
    return root


def shown(run: Run, *arguments: str) -> Any:  # noqa: ANN401  (JSON)
    answer = run("ledger", *arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_credit_is_adjusted_by_hand(run: Run, ledger: Ledger) -> None:
    adjust = ("adjust", ledger.account_id, "-2.5", "--reason", "a slip", "--idempotency-key", "k")
    first, again = shown(run, *adjust), shown(run, *adjust)
    assert (first["balance"], first["is_new"]) == ("97.5", True)
    assert again == {**first, "is_new": False}
    said = run("ledger", "adjust", ledger.account_id, "1", "--kind", "goodwill", "--reason", "sorry")
    assert "the balance after it: 98.5" in said.stdout


@pytest.mark.parametrize("amount", ["-5", "-0.5", "-12"])
def test_a_negative_amount_takes(run: Run, ledger: Ledger, amount: str) -> None:
    answer = run("ledger", "adjust", ledger.account_id, amount, "--reason", "a slip")
    assert answer.returncode == 0, answer.stderr
    assert ledger.posted() == 100 + Decimal(amount)


def test_what_was_adjusted_can_be_traced_and_repeated(run: Run, ledger: Ledger) -> None:
    said = run("ledger", "adjust", ledger.account_id, "1", "--reason", "a slip").stdout
    found = re.search(r"transfer (\S+), idempotency key (\S+)", said)
    assert found is not None, said
    assert run("ledger", "trace", found[1]).returncode == 0
    again = ("adjust", ledger.account_id, "1", "--reason", "a slip", "--idempotency-key", found[2])
    assert not shown(run, *again)["is_new"]


def test_help_says_that_the_customer_reads_the_reason(run: Run) -> None:
    for command in (("ledger", "adjust"), ("ledger", "reverse"), ("accounts", "grant")):
        assert "customer reads it" in " ".join(run(*command, "--help").stdout.split())


def test_a_transfer_and_an_event_are_reversed(run: Run, ledger: Ledger) -> None:
    ledger.record({"id": "a"})
    event = shown(run, "reverse", ledger.account_id, "--event", "a", "--reason", "it failed")
    assert (event["event_id"], event["amount"], event["balance"]) == ("a", "1", "100")
    transfer_id = ledger.grant("5", "another")
    reverse = ("reverse", ledger.account_id, "--transfer", transfer_id, "--reason", "it bounced")
    assert shown(run, *reverse)["balance"] == "100"
    assert "reversed before: -5 dollars" in run("ledger", *reverse).stdout
    explained = run("prices", "explain", "a").stdout
    assert "cost $0.000000000000" in explained
    assert "it failed" in explained
    story = json.loads(run("prices", "explain", "a", "--json").stdout)
    assert (story["cost_usd"], story["is_reversed"]) == ("0.000000000000", True)
    assert story["corrections"][0]["delta_usd"] == "-1.000000000000"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("adjust", NOBODY, "1", "--reason", "x"), 1, "no such account"),
        (("adjust", NOBODY, "one", "--reason", "x"), 1, "AMOUNT"),
        (("adjust", NOBODY, "1"), 2, "--reason"),
        (("adjust", NOBODY, "-1", "--kind", "goodwill", "--reason", "x"), 1, "goodwill only gives"),
        (("reverse", NOBODY, "--reason", "x"), 2, "--transfer or --event"),
        (("reverse", NOBODY, "--event", "a", "--reason", "x"), 1, "no such account"),
        (("rate-unpriced", "--account", NOBODY), 1, "no such account"),
        (("rerate", "--from", "May", "--to", "2026-06-01", "--book", "."), 2, "no date"),
        (("rerate", "--from", "2026-05-01", "--to", "2026-06-01", "--book", ".", "--post"), 2, "--reason"),
        (("rerate", "--from", "2026-05-01", "--to", "2026-05-01", "--book", "."), 2, "--from must be before"),
        (("rerate", "--from", "2026-06-01", "--to", "2026-05-01", "--book", "."), 2, "--from must be before"),
    ],
)
def test_an_error_is_a_message_and_a_code(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    answer = run("ledger", *arguments)
    assert answer.returncode == code
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_what_had_no_price_is_rated(run: Run, ledger: Ledger, new_book: Path) -> None:
    ledger.record({"id": "late", "model": "late"}, {"id": "never", "model": "never"})
    assert shown(run, "rate-unpriced") == {"events": 2, "rated": 0, "unpriced": 2, "cost_usd": "0"}
    rated = shown(run, "rate-unpriced", "--book", str(new_book))
    assert rated == {"events": 2, "rated": 1, "unpriced": 1, "cost_usd": "0.25"}
    assert "1 still have no price" in run("ledger", "rate-unpriced").stdout
    assert ledger.costs() == {"late": 25, "never": None}


def test_a_window_is_previewed_and_then_posted(run: Run, ledger: Ledger, new_book: Path) -> None:
    ledger.record(
        {"id": "a", "model": "dearer"}, {"id": "b", "model": "cheaper"}, {"id": "c", "model": "gone"}
    )
    window = ("rerate", "--from", f"{HOUR:%Y-%m-%d}", "--to", "2100-01-01", "--book", str(new_book))
    preview = shown(run, *window)
    assert not preview["posted"]
    assert {one["model"]: one["difference_usd"] for one in preview["changes"]} == {
        "cheaper": "-2", "dearer": "0.5", "gone": "0",
    }  # fmt: skip
    assert [one["unpriced"] for one in preview["changes"]] == [0, 0, 1]
    assert "a difference of -1.5 dollars to be posted" in run("ledger", *window).stdout
    assert ledger.posted() == 91
    post = (*window, "--post", "--reason", "the wrong book")
    # Nobody answers the question.
    assert run("ledger", *post).returncode == 1
    assert ledger.posted() == 91
    assert shown(run, *post, "--yes") == {**preview, "posted": True}
    assert str(ledger.posted()) == "92.5"
    assert not any(one["changed"] for one in shown(run, *post, "--yes")["changes"])
    only = shown(run, *window, "--model", "gone", "--account", ledger.account_id)
    assert [one["model"] for one in only["changes"]] == ["gone"]


def test_what_is_posted_without_a_question_is_shown_once(run: Run, ledger: Ledger, new_book: Path) -> None:
    ledger.record({"id": "a", "model": "dearer"})
    window = ("rerate", "--from", f"{HOUR:%Y-%m-%d}", "--to", "2100-01-01", "--book", str(new_book))
    said = run("ledger", *window, "--post", "--yes", "--reason", "the wrong book").stdout
    assert said.count(ledger.account_id) == 1
    assert "a difference of 0.5 dollars posted" in said


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_start_with_a_new_book_rates_what_had_no_price(
    start: Start, ledger: Ledger, new_book: Path, command: str
) -> None:
    ledger.record({"id": "late", "model": "late"})
    process = start(command, METERING_PRICE_BOOK=str(new_book))
    until(lambda: ledger.costs()["late"], process)
    stop(process)
    assert ledger.costs() == {"late": 25}
    (story,) = find_events(ledger.database, "late")
    assert [one.delta_pico for one in story.corrections] == [to_pico("0.25")]
