"""Faults: calls that are told to go wrong, before they have had their effect or after."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import asdict, dataclass, field

from metering.payments.simulator.refusals import Json


@dataclass
class Fault:
    """`action`: error_500, rate_limit, timeout, slow; `when`: before the effect or after it.

    `path` is a regular expression for the whole path. `times` None is for ever. A timeout hangs for
    `seconds`, then the connection is dropped without an answer. A 500 is kept under the idempotency key,
    as Stripe does, unless `kept` is false.
    """

    id: str
    action: str
    when: str = "before"
    method: str = ""
    path: str = ".*"
    times: int | None = 1
    seconds: float = 0.0
    probability: float = 1.0
    seed: int = 0
    kept: bool = True
    hits: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self._random.seed(self.seed)

    def strikes(self, method: str, path: str) -> bool:
        """Whether this call is hit."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method not in {"", method} or not re.fullmatch(self.path, path):
            return False
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self.hits += 1
        return True

    def listed(self) -> Json:
        """The fault as the control API shows it."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}


class Faults:
    """The faults of a simulator; the oldest that matches a call hits it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let calls go wrong from now on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Let all calls go well again."""
        with self._lock:
            self._faults.clear()

    def find(self, method: str, path: str) -> Fault | None:
        """The fault that hits this call; counts as a hit."""
        with self._lock:
            return next((fault for fault in self._faults if fault.strikes(method, path)), None)

    def listed(self) -> list[Json]:
        """The faults with their hits, oldest first."""
        with self._lock:
            return [fault.listed() for fault in self._faults]
