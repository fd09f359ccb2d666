"""`metering ledger check`: what it says of books in order, of broken ones, and when it is stopped."""

from __future__ import annotations

import json

import pytest

from metering import clock
from metering.cli.ledger_check import _resumable
from metering.ledger.invariants import Breach, Law
from metering.services.accounts import create_account
from metering.services.audit import Checked
from metering.storage.database import Database
from tests.cli.conftest import Run
from tests.services.auditing import cook
from tests.services.correcting import Ledger

NOBODY = "00000000-0000-7000-8000-000000000000"


def test_books_that_keep_their_laws(run: Run, database: Database) -> None:
    ledger = Ledger(database)
    ledger.grant("10")
    ledger.record({"id": "a"}, {"id": "b"})
    answer = run("ledger", "check")
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[:-1] == [f"holds   {law}" for law in Law]
    assert lines[-1] == "looked at: accounts 1, transfers 2, events 2"
    assert answer.stderr == ""


def test_what_a_check_from_a_time_on_leaves_out_is_said(
    run: Run, database: Database, database_url: str
) -> None:
    ledger = Ledger(database)
    ledger.record({"id": "a"})
    since = ("ledger", "check", "--account", ledger.account_id, "--since", clock.now().isoformat())
    ledger.record({"id": "b"}, {"id": "c"})
    answer = run(*since)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0] == f"skipped {Law.BALANCE}"
    assert lines[1 : len(Law)] == [f"holds   {law}" for law in list(Law)[1:]]
    assert lines[-2].startswith("Only what was recorded since")
    assert lines[-1] == "looked at: accounts 1, transfers 1, events 2"
    told = json.loads(run(*since, "--json").stdout)
    assert (told["skipped"], told["breaches"]) == (["balance"], [])
    assert (told["accounts"], told["transfers"], told["events"]) == (1, 1, 2)
    cook(database_url, "UPDATE balances SET posted_usd = 1")
    answer = run(*since)
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[0] == f"BROKEN  {Law.BALANCE}"
    assert json.loads(run(*since, "--json").stdout)["skipped"] == []


def test_what_differs_is_a_table_and_an_exit_code(run: Run, database: Database, database_url: str) -> None:
    first, second = sorted(create_account(database, name).account.account_id for name in ("Ada", "Bob"))
    cook(database_url, "UPDATE balances SET posted_usd = 1, held_usd = 2")
    answer = run("ledger", "check")
    assert answer.returncode == 1
    assert f"BROKEN  {Law.BALANCE}" in answer.stdout
    assert f"holds   {Law.RATING}" in answer.stdout
    (row,) = [line.split() for line in answer.stdout.splitlines() if line.split()[:2] == ["held", first]]
    assert row == ["held", first, "held", "0", "2.000000000000"]
    told = json.loads(run("ledger", "check", "--json", "--after", first).stdout)
    breach = {
        "law": "balance",
        "account_id": second,
        "thing": "balance",
        "expected": "0",
        "found": "1.000000000000",
    }
    assert breach in told["breaches"]
    assert {one["account_id"] for one in told["breaches"]} == {second}
    assert told["laws"] == [law.name.lower() for law in Law]
    assert told["skipped"] == []
    alone = json.loads(run("ledger", "check", "--json", "--account", first).stdout)
    assert {one["account_id"] for one in alone["breaches"]} == {first}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--account", NOBODY), 1, "no such account"),
        (("--account", "me"), 2, "not a valid UUID"),
        (("--since", "yesterday"), 2, "no date, and no time with its zone"),
        (("--since", "2999-01-01"), 2, "is in the future"),
        (("--since", "0001-01-01T00:00:00+05:00", "--account", NOBODY), 1, "no such account"),
        (("--account", NOBODY, "--after", NOBODY), 2, "--account"),
    ],
)
def test_what_cannot_be_checked(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    answer = run("ledger", "check", *arguments)
    assert answer.returncode == code
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_check_that_is_stopped_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    breach = Breach(Law.BALANCE, "an-account", "balance", "0", "1")

    def stop_after(*done: Checked) -> None:
        with _resumable([breach]) as reach:
            for checked in done:
                reach(checked)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after(Checked(0, None, []), Checked(7, "an-account", [breach]))
    said = capsys.readouterr().err
    assert "--after an-account" in said
    assert "BALANCE an-account balance 0 1" in said
    with _resumable([]) as reach:
        reach(Checked(7, "an-account", []))
    assert capsys.readouterr().err == ""
