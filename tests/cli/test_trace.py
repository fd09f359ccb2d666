"""`metering ledger trace`: the account of one transfer for people and for programs."""

from __future__ import annotations

import json

from metering.storage.database import Database
from tests.cli.conftest import Run
from tests.services.correcting import Ledger
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


def test_no_transfer_is_a_message(run: Run) -> None:
    answer = run("ledger", "trace", "00000000-0000-7000-8000-000000000000")
    assert answer.returncode == 1
    assert "no such transfer" in answer.stderr
    assert "Traceback" not in answer.stderr
