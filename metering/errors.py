"""Every error the product raises on purpose, on one screen, named for what the caller can do.

`code` and `http_status` are the row that the API answers with (billing-rules: "Errors"); `param` names the
field at fault. Messages are read by customers: no stack, host, provider internals or other account's data.
"""

from __future__ import annotations

from typing import ClassVar


class MeteringError(Exception):
    """Root of the tree. `message` is fit for the customer's eyes; `param` is the field's path or None."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidParameter(MeteringError):
    """Change the named field and send again."""

    code = "invalid_parameter"
    http_status = 400


class InvalidUsage(InvalidParameter):
    """Bad usage object: `param` is the path of the field, below `usage`."""


class MissingApiKey(MeteringError):
    """Send a key: `Authorization: Bearer …` or `x-api-key`."""

    code = "missing_api_key"
    http_status = 401


class InvalidApiKey(MeteringError):
    """Send another key: this one is unknown, expired or revoked."""

    code = "invalid_api_key"
    http_status = 401


class InsufficientCredits(MeteringError):
    """Top up first: less is `available_pico` than was asked for, `wanted_pico`."""

    code = "insufficient_credits"
    http_status = 402

    def __init__(self, message: str, *, available_pico: int, wanted_pico: int) -> None:
        super().__init__(message)
        self.available_pico = available_pico
        self.wanted_pico = wanted_pico


class BudgetExceeded(InsufficientCredits):
    """Raise the key's budget, use another key, or wait for its next day or month."""

    code = "budget_exceeded"


class InvalidSignature(MeteringError):
    """A webhook that its sender did not sign, or signed too long ago."""

    code = "invalid_signature"
    http_status = 401


class InsufficientScope(MeteringError):
    """The token is good, but not for this: use one with the scope named in the message."""

    code = "insufficient_scope"
    http_status = 403


class ModelNotFound(MeteringError):
    """The price book has no such model."""

    code = "model_not_found"
    http_status = 404


class AccountNotFound(MeteringError):
    """There is no such account."""

    code = "account_not_found"
    http_status = 404


class NotFound(MeteringError):
    """There is no such thing (a key, a route) under this account."""

    code = "not_found"
    http_status = 404


class MethodNotAllowed(MeteringError):
    """The path exists; the method does not."""

    code = "method_not_allowed"
    http_status = 405


class IdempotencyConflict(MeteringError):
    """The idempotency key was used with another body: nothing was done."""

    code = "idempotency_conflict"
    http_status = 409


class KeyClosed(MeteringError):
    """The key was revoked, has expired or was replaced: make a new one, or use its successor."""

    code = "key_closed"
    http_status = 409


class HoldClosed(MeteringError):
    """The hold has ended, as the message says: ask for another."""

    code = "hold_closed"
    http_status = 409


class AlreadyCorrected(MeteringError):
    """What was to be reversed was corrected since: the message says what to reverse instead."""

    code = "already_corrected"
    http_status = 409


class NotRefundable(MeteringError):
    """Less can be refunded than was asked for; the message says how much, and why."""

    code = "not_refundable"
    http_status = 409


class PaymentRefused(MeteringError):
    """The payment processor understood and refuses, for the reason in the message; nothing happened."""

    code = "payment_refused"
    http_status = 409


class LimitReached(MeteringError):
    """An adjustable limit, such as keys per account, is full."""

    code = "limit_reached"
    http_status = 409


class PayloadTooLarge(MeteringError):
    """Send less in one call; the message names the limit."""

    code = "payload_too_large"
    http_status = 413


class RateLimitExceeded(MeteringError):
    """Wait for `Retry-After` seconds, at least one."""

    code = "rate_limit_exceeded"
    http_status = 429

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(MeteringError):
    """Nothing was recorded, or it is not known: send the same again after `Retry-After` seconds."""

    code = "service_unavailable"
    http_status = 503


class PaymentsUnavailable(MeteringError):
    """The payment processor can't be reached, or is not configured: send the same again later."""

    code = "payments_unavailable"
    http_status = 503


class PriceBookError(MeteringError):
    """The price book can't be compiled. `problems` has one line each: file, model, charge, reason."""

    code = "invalid_price_book"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ConfigurationError(MeteringError):
    """The operator must change a setting or run the command that the message names."""

    code = "configuration_error"
