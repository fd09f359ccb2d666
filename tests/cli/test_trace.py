"""`metering ledger trace`: the account of one transfer for people and for programs."""

from __future__ import annotations

import json

from metering.services.accounts import create_account
from metering.storage.database import Database
from tests.cli.conftest import Run
from tests.services.correcting import Ledger
from tests.services.money_in import MoneyIn
from tests.services.test_traces import last


def test_a_transfer_is_traced(run: Run, database: Database, database_url: str) -> None:
    ledger = Ledger(database)
    lot = ledger.grant("1")
    ledger.record(*({"id": f"event-{n}"} for n in range(25)))
    used = last(database_url, "usage")
    shown = run("ledger", "trace", used)
    assert shown.returncode == 0, shown.stderr
    for said in (lot, "revenue:usage", "events (25)", "event-0", "and 5 more", "owed: 24"):
        assert said in shown.stdout
    body = json.loads(run("ledger", "trace", used, "--json").stdout)
    assert body["transfer"]["amount"] == "25"
    assert body["owed"] == "24"
    assert len(body["events"]) == 25
    assert [(one["lot"], one["paid"]) for one in body["paid_by"]] == [(lot, "1")]
    credit = json.loads(run("ledger", "trace", lot, "--json").stdout)
    assert (credit["lot"]["rest"], credit["lot"]["used"]) == ("0", "1")
    assert [(one["transfer"], one["amount"]) for one in credit["paid_for"]] == [(used, "1")]
    paid_for = run("ledger", "trace", lot).stdout
    assert "it paid for" in paid_for
    # Whole, however narrow a terminal a pipe is taken for.
    assert credit["paid_for"][0]["at"] in paid_for


def test_a_transfer_is_traced_to_its_top_up(run: Run, database: Database, database_url: str) -> None:
    money = MoneyIn(database, create_account(database, "Ada").account.account_id)
    bought = money.top_up("1000", "50")
    refund = money.refund(bought, credit="400", bonus="20")
    shown = run("ledger", "trace", last(database_url, "refund"), "--json")
    assert shown.returncode == 0, shown.stderr
    body = json.loads(shown.stdout)
    named = {name: body["transfer"][name] for name in ("top_up_id", "refund_id", "dispute_id")}
    assert named == {"top_up_id": bought.id, "refund_id": refund, "dispute_id": None}
    assert [(one["lot"], one["paid"], one["taken_back"]) for one in body["paid_by"]] == [
        (bought.bonus, "20", "20")
    ]
    money.freeze(bought, "dp_1", "1000")
    credit = json.loads(run("ledger", "trace", bought.credit, "--json").stdout)["lot"]
    assert (credit["top_up"], credit["is_frozen"], credit["rest"]) == (bought.id, True, "600")


def test_no_transfer_is_a_message(run: Run) -> None:
    answer = run("ledger", "trace", "00000000-0000-7000-8000-000000000000")
    assert answer.returncode == 1
    assert "no such transfer" in answer.stderr
    assert "Traceback" not in answer.stderr
