"""What a dispute does to a top-up's credit, by how the processor says that it stands."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

# inquiry: no money was taken (yet). frozen: taken from us, not decided. released: ours again, or never taken.
Stage: TypeAlias = Literal["inquiry", "frozen", "lost", "released"]

_STAGES: Final[dict[str, Stage]] = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "released",
    "needs_response": "frozen",
    "under_review": "frozen",
    "won": "released",
    "lost": "lost",
    "prevented": "released",
}


def stage_of(status: str, before: Stage | None) -> Stage:
    """The stage by the processor's status, a status that nobody knows being one that is not decided.

    What is lost stays so until it is won: what was taken back is not given again for being looked into.
    """
    stage = _STAGES.get(status, "frozen")
    return "lost" if before == "lost" and stage in {"inquiry", "frozen"} else stage
