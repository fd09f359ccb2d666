"""`metering accounts`: keys made, listed, rotated and revoked."""

from __future__ import annotations

import json

from tests.cli.conftest import Run


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
    assert run("accounts", "revoke-key", account, new["id"]).returncode == 0
    shown = run("accounts", "keys", account).stdout
    assert "laptop" in shown
    assert "open until" in shown
    assert "revoked" in shown
    assert "0 of 12.5 (day)" in shown
    assert old["key"] not in shown
    refused = run("accounts", "rotate-key", account, new["id"])
    assert refused.returncode == 1
    assert "was revoked" in refused.stderr
    for wrong in (("--budget", "ten"), ("--expires-at", "2020-01-01")):
        answer = run("accounts", "create-key", account, *wrong)
        assert answer.returncode == 1
        assert "Traceback" not in answer.stderr
