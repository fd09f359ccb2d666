"""Figures and ratios: one value for each round, told as median, least and most."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Say = Callable[[str], None]


class Options(NamedTuple):
    """What every benchmark is told: how many rounds, how to show progress, whether to profile instead."""

    rounds: int
    say: Say
    profile: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity, measured once a round; `target` is what is asked for, shown and not enforced.

    It is the least that is asked for, or with `at_most` the most.
    """

    name: str
    unit: str
    values: Sequence[float]
    target: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        """The middle value, which one disturbed round doesn't move."""
        return statistics.median(self.values)

    def as_json(self) -> dict[str, object]:
        """Everything, with the rounds in their order."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "rounds": list(self.values),
            "target": self.target,
            "at_most": self.at_most,
        }


@dataclass(slots=True)
class Result:
    """What one benchmark found: quantities, ratios of two of them taken in the same round, and remarks."""

    name: str
    compares: str
    figures: list[Series] = field(default_factory=list)
    ratios: list[Series] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    errors: int = 0


def ratio(
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: float | None = None,
    *,
    at_most: bool = False,
) -> Series:
    """Ours as a multiple of theirs, round by round."""
    values = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Series(name, "×", values, target, at_most)


def share_cores(count: int) -> int:
    """Keep this process, and all that it starts from now on, on so many cores; how many there are."""
    cores = sorted(os.sched_getaffinity(0))[-count:]
    os.sched_setaffinity(0, cores)
    return len(cores)
