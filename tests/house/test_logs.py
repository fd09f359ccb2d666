"""The logs hold no secret, wherever it stands."""

from __future__ import annotations

import json
import logging

import pytest

from metering import telemetry
from metering.ids import new_secret

KEY = new_secret("acme_")
TOKEN = new_secret("mst-")
STRIPE_KEY = new_secret("rk_live_")
WEBHOOK_SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw+/=="


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": KEY},
        {"X-API-Key": "short"},
        {"token": "short"},
        {"detail": f"the key {KEY} was refused"},
        {"headers": [(b"x-api-key", b"short"), (b"accept", b"*/*")]},
        {"headers": {"Authorization": "Basic short"}},
        {"body": {"list": [{"api_key": "short"}, f"Bearer {TOKEN}"]}},
        {"raw": TOKEN.encode()},
        {"error": f"Invalid API Key provided: {STRIPE_KEY}", "endpoint": f"signed with {WEBHOOK_SECRET}"},
        {"url": "postgresql://metering:short@127.0.0.1:5432/metering"},
    ],
)
def test_a_secret_is_blanked(fields: dict[str, object]) -> None:
    redact = telemetry.redactor("acme_")
    text = json.dumps(redact(None, "info", {"event": "said", **fields}))
    assert "[redacted]" in text
    for secret in (KEY, TOKEN, STRIPE_KEY, WEBHOOK_SECRET, "short"):
        assert secret not in text


def test_what_is_no_secret_stays() -> None:
    fields = {"event": "served", "path": "/v1/accounts", "count": 3, "items": ["a", "b"], "none": None}
    assert telemetry.redactor("acme_")(None, "info", dict(fields)) == fields


def test_a_line_of_the_log_is_json_and_clean_whoever_wrote_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        telemetry.configure_logging("INFO", "acme_")
        logging.getLogger("a.library").warning("refused %s", KEY)
        telemetry.log("ours").info("refused", key=KEY, error=f"{TOKEN} is unknown")
        telemetry.log("ours").error("failed", exc_info=ValueError(f"bad {KEY}"))
    finally:
        root.handlers[:], root.level = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["refused [redacted]", "refused", "failed"]
    assert all(line["level"] and line["timestamp"] and line["logger"] for line in lines)
    assert KEY not in json.dumps(lines)
    assert TOKEN not in json.dumps(lines)
