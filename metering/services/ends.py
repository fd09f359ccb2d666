"""When something may end: a key, or credit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from metering.errors import InvalidParameter

# Far enough within Python's years that any of these can be told in any zone, by whoever reads it.
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


def require_end(expires_at: datetime | None) -> None:
    """Let an end pass that can be kept, None too; `InvalidParameter` where it is out of range.

    Compared as it is, for even bringing it to UTC may overflow: to be asked before anything else is done
    with it. Whether it lies ahead is the caller's question.
    """
    if expires_at is not None and not _FIRST <= expires_at < _LAST:
        raise InvalidParameter("must be in the years 1970 to 9998", param="expires_at")
