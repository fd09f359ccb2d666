"""Credit given or bought, and the place of each kind in the order of spending (accounting.md)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

GrantKind: TypeAlias = Literal["paid", "promotional"]
GRANT_KINDS: Final[tuple[GrantKind, ...]] = ("paid", "promotional")

# Lower is used first; at the same number sooner expiry, then promotional before paid, then the oldest.
DEFAULT_PRIORITY: Final = 100
# More in one grant is a slip of the keyboard, not a payment.
MAX_GRANT_PICO: Final = 10**9 * 10**12
