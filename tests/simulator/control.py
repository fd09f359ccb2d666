"""The simulator's control API, for tests: makes it misbehave and brings about what only the world can."""

from __future__ import annotations

import time
from typing import Any

import httpx

Json = dict[str, Any]


class Control:
    """Calls `/_simulator` at a simulator's URL. Amounts are cents, answers are Stripe's objects as JSON."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url + "/_simulator", trust_env=False, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def fault(
        self,
        action: str,
        *,
        when: str = "before",
        path: str = ".*",
        method: str = "POST",
        times: int | None = 1,
        seconds: float = 0,
        probability: float = 1,
        seed: int = 0,
        kept: bool = True,
    ) -> Json:
        """Let calls go wrong: `action` is error_500, rate_limit, timeout or slow, before or after the effect.

        `path` is a regular expression for the whole path; `times` None is for ever.
        """
        return self._post(
            "faults",
            action=action,
            when=when,
            path=path,
            method=method,
            times="" if times is None else times,
            seconds=seconds,
            probability=probability,
            seed=seed,
            kept=kept,
        )

    def faults(self) -> list[Json]:
        """The faults and how often each has hit."""
        return list(self._get("faults")["data"])

    def clear_faults(self) -> None:
        """Let everything go well again."""
        self._http.delete("faults").raise_for_status()

    def webhooks(
        self,
        *,
        drop: bool = False,
        duplicate: int = 0,
        reorder: bool = False,
        delay_seconds: float = 0,
        hold: bool = False,
        types: list[str] | None = None,
    ) -> None:
        """How events are delivered from now on, those of `types` or all; without arguments: well."""
        named = {f"types[{number}]": name for number, name in enumerate(types or [])}
        self._post(
            "webhooks",
            drop=drop,
            duplicate=duplicate,
            reorder=reorder,
            delay_seconds=delay_seconds,
            hold=hold,
            **named,
        )

    def release(self, event_id: str | None = None, *, order: str = "oldest") -> int:
        """Send what was held, of one event or all; `order`: oldest, newest or random. Says how many."""
        more = {"event": event_id} if event_id else {}
        return int(self._post("webhooks/release", order=order, **more)["released"])

    def redeliver(self, event_id: str) -> None:
        """Send an event (again), whatever deliveries do at the moment."""
        self._post(f"events/{event_id}/redeliver")

    def deliveries(self) -> list[Json]:
        """What was sent, oldest first, each with event_id, type, status, attempts, response_status."""
        return list(self._get("deliveries")["data"])

    def wait_for_deliveries(self, timeout_seconds: float = 20) -> None:
        """Return when everything that is not held was sent."""
        until = time.monotonic() + timeout_seconds
        while not self._get("deliveries")["idle"]:
            assert time.monotonic() < until, self.deliveries()
            time.sleep(0.02)

    def dispute(self, charge_id: str, **options: str | int | bool) -> Json:
        """Dispute a charge; options: amount, fee, inquiry, reason, status, withdraw."""
        return self._post(f"charges/{charge_id}/dispute", **options)

    def win(self, dispute_id: str) -> Json:
        """Close it as won, and give the money back."""
        return self._post(f"disputes/{dispute_id}/win")

    def lose(self, dispute_id: str) -> Json:
        """Close it as lost."""
        return self._post(f"disputes/{dispute_id}/lose")

    def escalate(self, dispute_id: str) -> Json:
        """An inquiry becomes a chargeback: the money goes."""
        return self._post(f"disputes/{dispute_id}/escalate")

    def withdraw(self, dispute_id: str) -> Json:
        """The money goes, and nothing else changes."""
        return self._post(f"disputes/{dispute_id}/withdraw")

    def reinstate(self, dispute_id: str, *, fee_returned: int = 0) -> Json:
        """The money comes back, and nothing else changes."""
        return self._post(f"disputes/{dispute_id}/reinstate", fee_returned=fee_returned)

    def move_dispute(self, dispute_id: str, status: str) -> Json:
        """Another status, and nothing else changes."""
        return self._post(f"disputes/{dispute_id}/move", status=status)

    def refund(self, charge_id: str, amount: int | None = None) -> Json:
        """Refund in the dashboard, all that is left or so many cents."""
        return self._post(f"charges/{charge_id}/refund", **({} if amount is None else {"amount": amount}))

    def settle_refund(self, refund_id: str) -> Json:
        """A pending refund arrives."""
        return self._post(f"refunds/{refund_id}/settle")

    def fail_refund(self, refund_id: str) -> Json:
        """A refund, pending or not, comes back."""
        return self._post(f"refunds/{refund_id}/fail")

    def settle_payment(self, payment_intent_id: str) -> Json:
        """A payment that is processing arrives."""
        return self._post(f"payment_intents/{payment_intent_id}/settle")

    def fail_payment(self, payment_intent_id: str, decline: str = "insufficient_funds") -> Json:
        """A payment that is processing will not arrive."""
        return self._post(f"payment_intents/{payment_intent_id}/fail", decline=decline)

    def authenticate(self, intent_id: str, *, succeeded: bool = True) -> Json:
        """The customer passes 3-D Secure of a payment or setup intent, or fails it."""
        return self._post(f"intents/{intent_id}/authenticate", succeeded=succeeded)

    def change_card(self, payment_method_id: str, **changes: str | int | bool) -> Json:
        """Change a saved card: decline ("" for none), authentication, refund, set_up, exp_month, exp_year."""
        return self._post(f"payment_methods/{payment_method_id}", **changes)

    def pay(
        self,
        session_id: str,
        card: str = "4242424242424242",
        *,
        method: str = "card",
        authenticates: bool | None = True,
        email: str = "jenny@example.com",
        name: str = "Jenny Rosen",
        country: str = "US",
        postal_code: str = "94107",
        saves: bool = False,
        exp_month: int = 12,
        exp_year: int = 2_099,
    ) -> Json:
        """Pay a Checkout session, or save a card in setup mode: the session, still open if that failed.

        `method` "us_bank_account" pays later. If 3-D Secure is wanted it is passed, failed with
        `authenticates=False`, or left to wait with None. `saves` ticks the box below the card.
        """
        passes = "later" if authenticates is None else authenticates
        return self._post(
            f"checkout_sessions/{session_id}/pay",
            authenticates=passes,
            card=card,
            country=country,
            email=email,
            exp_month=exp_month,
            exp_year=exp_year,
            method=method,
            name=name,
            postal_code=postal_code,
            saves=saves,
        )

    def expire(self, session_id: str) -> Json:
        """Close the page of an open Checkout session."""
        return self._post(f"checkout_sessions/{session_id}/expire")

    def advance(self, seconds: int) -> None:
        """Let the simulator's time pass: for `created`, and for the day that idempotency keys last."""
        self._post("advance", seconds=seconds)

    def counts(self) -> Json:
        """charges_succeeded, cents_succeeded, charges_by_customer, charges_by_payment_intent, objects."""
        return self._get("counts")

    def reset(self) -> None:
        """As new, with the webhook endpoint it was started with."""
        self._post("reset")

    def _get(self, path: str) -> Json:
        return _read(self._http.get(path))

    def _post(self, path: str, /, **form: str | float | bool) -> Json:
        data = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in form.items()
        }
        return _read(self._http.post(path, data=data))


def _read(answer: httpx.Response) -> Json:
    assert answer.is_success, answer.text
    read: Json = answer.json()
    return read
