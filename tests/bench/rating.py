"""Pricing alone: `Rater.rate`, line items included, beside what others offer to price token counts.

The peers are litellm's `cost_per_token` (binary floating point), genai-prices' `calc_price` (Decimal) and
tokencost's `calculate_cost_by_tokens` (Decimal, one kind of token a call), for these are what a gateway
would use instead. None of them gives line items or knows our price book, so each event goes to them with a
model of their own that is priced in the same way (`KIN`): all of them know those. Every contestant is a
process on the same one core, and they take turns. What each shape of usage costs us, and usage of the whole
catalogue, is measured for ours alone.
"""

from __future__ import annotations

import json
import os
import sys

from tests.bench.measuring import Options, Result, Series, ratio, share_cores
from tests.bench.rating_peers import PEERS
from tests.bench.turns import ROOT, Contestant
from tests.bench.workload import TokenUse, token_uses

KIN = {
    "deepseek-v3-2": "gpt-4o-mini",
    "qwen3-max": "gemini-2.5-pro",  # in tiers by the prompt
    "qwen3-5-9b": "gpt-4o",
    "nova-lite-1-0": "o3-mini",
    "mimo-v2-5-pro": "gemini-2.5-pro",
    "mistral-medium-3-1": "gpt-4o-mini",
}
# As few as a batch or two, again and again: in the service too they are in the cache, fresh from the decoder.
EVENTS = 4_000
# So that a turn of each lasts about as long: a few tenths of a second.
PASSES = {"metering": 30, "litellm": 1, "genai-prices": 2, "tokencost": 30}
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
GOLDEN = ROOT / "tests" / "golden" / "priced_events.jsonl"
TARGET_RATE = 300_000


def run(options: Options) -> Result:
    """Take turns for so many rounds."""
    result = Result("rating", __doc__ or "")
    before = os.sched_getaffinity(0)
    share_cores(1)
    uses = list(token_uses(EVENTS, seed=1))
    ours = _ours("metering", [(use.model, use.usage()) for use in uses])
    alone = [
        _ours(
            f"metering, {shape} shape only", [(use.model, use.usage()) for use in uses if use.shape == shape]
        )
        for shape in ("plain", "cached", "details")
    ]
    alone.append(_ours("metering, the whole catalogue's golden events", _golden()))
    peers = _peers(uses, result)
    for number in range(options.rounds):
        options.say(f"rating: round {number + 1} of {options.rounds}")
        for contestant in [ours, *peers, *alone]:
            contestant.turn()
    for contestant in [ours, *peers, *alone]:
        contestant.close()
        result.figures.append(
            Series(contestant.name, "events/s", contestant.rates, TARGET_RATE if contestant is ours else None)
        )
    result.ratios += [ratio(f"metering / {peer.name}", ours.rates, peer.rates) for peer in peers]
    result.facts |= {peer.name: peer.version for peer in peers}
    os.sched_setaffinity(0, before)
    return result


def _ours(name: str, workload: object) -> Contestant:
    return Contestant(name, sys.executable, ["tests.bench.rating_ours"], PASSES["metering"], workload)


def _peers(uses: list[TokenUse], result: Result) -> list[Contestant]:
    if not PEERS_PYTHON.exists():
        result.remarks.append("the peers are not installed in .venv-peers: measured without them")
        return []
    found = []
    workload = [(KIN[use.model], use.prompt, use.completion, use.cached) for use in uses]
    for name in PEERS:
        command = ["tests.bench.rating_peers", name]
        try:
            found.append(Contestant(name, PEERS_PYTHON, command, PASSES[name], workload))
        except RuntimeError as error:
            result.remarks.append(f"measured without {error}")
    return found


def _golden() -> list[tuple[str, object]]:
    """Each golden event that has a price."""
    lines = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    return [(line["model"], line["usage"]) for line in lines if "error" not in line]
