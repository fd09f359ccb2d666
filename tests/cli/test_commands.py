"""The commands of an operator: tokens, accounts, the books; help that helps, errors without stack traces."""

from __future__ import annotations

import json
import re
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner

from metering.cli import main
from tests.cli.conftest import Run

NOBODY = "00000000-0000-7000-8000-000000000000"
COMMANDS = ("accounts", "jobs", "ledger", "migrate", "prices", "serve", "tokens", "top-ups", "up", "worker")


def test_help_names_every_command_and_what_it_does() -> None:
    runner = CliRunner()
    answer = runner.invoke(main, ["--help"])
    assert answer.exit_code == 0
    for command in COMMANDS:
        assert f"  {command} " in answer.output
        assert runner.invoke(main, [command, "--help"]).exit_code == 0


def test_accounts_are_opened_credited_and_shown(run: Run) -> None:
    account = json.loads(run("accounts", "create", "Ada", "--json").stdout)
    UUID(account["id"])
    grant = (
        "accounts", "grant", account["id"], "12.50", "--kind", "paid", "--reason", "bank", "--json",
        "--idempotency-key", "k",
    )  # fmt: skip
    first, again = (json.loads(run(*grant).stdout) for _ in range(2))
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert first["balance"] == again["balance"] == "12.5"
    assert json.loads(run("accounts", "show", account["id"], "--json").stdout)["posted"] == "12.5"
    assert "12.5" in run("accounts", "show", account["id"]).stdout
    assert "Ada" in run("accounts", "list").stdout
    assert [one["id"] for one in json.loads(run("accounts", "list", "--json").stdout)] == [account["id"]]
    key = json.loads(run("accounts", "create-key", account["id"], "--json").stdout)
    assert key["key"].startswith("sk-empiriolabs-")
    assert run("ledger", "check").returncode == 0


def test_limits_are_set_when_an_account_is_opened_and_later(run: Run) -> None:
    limits = ("--key-limit", "3", "--requests-per-minute", "70", "--tokens-per-minute", "9")
    made = json.loads(run("accounts", "create", "Ada", *limits, "--json").stdout)
    assert (made["key_limit"], made["requests_per_minute"], made["tokens_per_minute"]) == (3, 70, 9)
    changed = run("accounts", "set", made["id"], "--name", "Bob", "--requests-per-minute", "0", "--json")
    assert json.loads(changed.stdout) == {**made, "name": "Bob", "requests_per_minute": 0}
    assert "Bob" in run("accounts", "set", made["id"], "--key-limit", "4").stdout


def test_an_account_has_an_address_for_mail(run: Run) -> None:
    made = json.loads(run("accounts", "create", "Ada", "--email", "ada@example.com", "--json").stdout)
    assert made["email"] == "ada@example.com"
    changed = run("accounts", "set", made["id"], "--email", "ops@example.com", "--json")
    assert json.loads(changed.stdout) == {**made, "email": "ops@example.com"}
    assert "must be an e-mail address" in run("accounts", "set", made["id"], "--email", "ada").stderr


def test_credit_is_granted_for_a_time_and_can_be_traced(run: Run) -> None:
    account = json.loads(run("accounts", "create", "Ada", "--json").stdout)["id"]
    terms = ("--kind", "promotional", "--reason", "welcome", "--priority", "7", "--expires-at", "2199-01-31")
    said = run("accounts", "grant", account, "5", *terms).stdout
    found = re.search(r"transfer (\S+), idempotency key (\S+)", said)
    assert found is not None, said
    lot = json.loads(run("ledger", "trace", found[1], "--json").stdout)["lot"]
    assert (lot["priority"], lot["expires_at"]) == (7, "2199-01-31T00:00:00+00:00")
    again = run("accounts", "grant", account, "5", *terms, "--idempotency-key", found[2])
    assert "granted before" in again.stdout


def test_tokens_are_made_listed_and_revoked(run: Run) -> None:
    token = json.loads(run("tokens", "create", "gateway", "--scope", "usage:write", "--json").stdout)
    assert token["token"].startswith("mst-")
    assert token["scopes"] == ["usage:write"]
    listed = run("tokens", "list")
    assert "gateway" in listed.stdout
    assert token["id"] in listed.stdout
    assert token["token"] not in listed.stdout
    assert run("tokens", "revoke", token["id"]).returncode == 0
    assert json.loads(run("tokens", "list", "--json").stdout)[0]["revoked_at"]
    everything = json.loads(run("tokens", "create", "all", "--all-scopes", "--json").stdout)
    assert len(everything["scopes"]) == 7


def test_the_books_are_checked(run: Run, database_url: str) -> None:
    assert run("ledger", "check", "--json").returncode == 0
    run("accounts", "create", "Ada")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE balances SET posted_usd = 1")
    answer = run("ledger", "check")
    assert answer.returncode == 1
    assert "BROKEN" in answer.stdout
    (breach,) = json.loads(run("ledger", "check", "--json").stdout)["breaches"]
    assert (breach["law"], breach["expected"], breach["found"]) == ("balance", "0", "1.000000000000")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nothing",), 2, "No such command"),
        (("accounts", "show", "me"), 2, "not a valid UUID"),
        (("accounts", "show", NOBODY), 1, "no such account"),
        (("accounts", "create", " "), 1, "name: must not be empty"),
        (("accounts", "create", "Ada", "--key-limit", "-1"), 2, "--key-limit"),
        (("accounts", "set", NOBODY), 2, "nothing to change"),
        (("accounts", "set", NOBODY, "--name", "Ada"), 1, "no such account"),
        (("accounts", "grant", NOBODY, "-1", "--kind", "paid", "--reason", "x"), 1, "more than zero"),
        (("accounts", "grant", NOBODY, "1", "--kind", "free", "--reason", "x"), 2, "--kind"),
        (("accounts", "grant", NOBODY, "ten", "--kind", "paid", "--reason", "x"), 1, "AMOUNT"),
        (("accounts", "grant", NOBODY, "1", "--kind", "paid", "--reason", "x"), 1, "no such account"),
        (("tokens", "create", "x"), 2, "--all-scopes"),
        (("tokens", "create", "x", "--scope", "everything"), 2, "usage:write"),
        (("tokens", "revoke", NOBODY), 1, "no such service token"),
        (("serve", "--port", "0"), 2, "--port"),
    ],
)
def test_an_error_is_a_message_and_a_code(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    answer = run(*arguments)
    assert answer.returncode == code
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
