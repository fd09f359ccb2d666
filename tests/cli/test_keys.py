"""`metering accounts`: keys made, listed, rotated and revoked."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Run


def change_key(run: Run, account: str, key: str) -> None:
    def change(*options: str) -> dict[str, Any]:
        answer = run("accounts", "set-key", account, key, *options, "--json")
        assert answer.returncode == 0, answer.stderr
        body: dict[str, Any] = json.loads(answer.stdout)
        return body

    freed = change("--no-budget", "--no-end")
    assert (freed["name"], freed["budget"], freed["expires_at"]) == ("laptop", None, None)
    bound = change(
        "--name", "phone", "--budget", "7", "--budget-period", "total", "--expires-at", "2198-01-31"
    )
    assert (bound["name"], bound["expires_at"]) == ("phone", "2198-01-31T00:00:00+00:00")
    assert (bound["budget"]["amount_usd"], bound["budget"]["period"]) == ("7", "total")
    assert "phone" in run("accounts", "set-key", account, key, "--name", "phone").stdout
    for wrong, said in (
        ((), "nothing to change"),
        (("--budget", "7"), "go together"),
        (("--budget-period", "day"), "go together"),
        (("--no-end", "--expires-at", "2198-01-31"), "take the old one away"),
        (("--no-budget", "--budget", "7", "--budget-period", "day"), "take the old one away"),
    ):
        refused = run("accounts", "set-key", account, key, *wrong)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_keys_are_made_listed_rotated_and_revoked(run: Run) -> None:
    account = json.loads(run("accounts", "create", "Ada", "--json").stdout)["id"]
    old = json.loads(
        run(
            "accounts", "create-key", account, "--name", "laptop", "--budget", "12.50",
            "--budget-period", "day", "--expires-at", "2199-01-01", "--json",
        ).stdout
    )  # fmt: skip
    rotated = run("accounts", "rotate-key", account, old["id"], "--overlap-seconds", "60", "--json")
    new = json.loads(rotated.stdout)
    first, second = json.loads(run("accounts", "keys", account, "--json").stdout)
    assert (first["id"], second["id"], second["replaces_id"]) == (old["id"], new["id"], old["id"])
    assert second["expires_at"] == "2199-01-01T00:00:00+00:00"
    assert second["budget"] == {"amount_usd": "12.5", "period": "day", "spent_usd": "0", "held_usd": "0"}
    change_key(run, account, new["id"])
    assert run("accounts", "revoke-key", account, new["id"]).returncode == 0
    shown = run("accounts", "keys", account).stdout
    assert "laptop" in shown
    assert "open until" in shown
    assert "revoked" in shown
    assert "0 of 12.5 (day)" in shown
    assert "0 of 7 (total)" in shown
    assert old["key"] not in shown
    refused = run("accounts", "rotate-key", account, new["id"])
    assert refused.returncode == 1
    assert "was revoked" in refused.stderr
    for wrong in (("--budget", "ten"), ("--expires-at", "2020-01-01")):
        answer = run("accounts", "create-key", account, *wrong)
        assert answer.returncode == 1
        assert "Traceback" not in answer.stderr
