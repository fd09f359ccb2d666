"""What long work asks between two of its steps: whether to end early."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Stopped: TypeAlias = Callable[[], bool]


def never() -> bool:
    """For work that nobody stops."""
    return False
