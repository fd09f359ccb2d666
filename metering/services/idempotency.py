"""What a call that repeats another's idempotency key must be: the same call."""

from __future__ import annotations

from metering.errors import IdempotencyConflict


def require_same(first_digest: bytes, digest: bytes, *, used: str = "with another body") -> None:
    """Raise `IdempotencyConflict` unless what is asked for is what was asked for under this key before."""
    if first_digest != digest:
        raise IdempotencyConflict(
            f"This idempotency key was used {used}; nothing was done.", param="idempotency_key"
        )
