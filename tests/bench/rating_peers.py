"""The peers as children that take turns, each by the call that prices given token counts.

Runs in the peers' environment, so it imports nothing of ours but `turns`. What a peer needs as input
(genai-prices' `Usage`) is made before the turn: only the pricing is timed, which favours the peer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

from tests.bench.turns import Turn, answer_turns

# [model, prompt tokens with the cached ones, completion tokens, cached tokens]
Workload = list[tuple[str, int, int, int]]


def litellm(workload: Workload) -> Turn:
    """`cost_per_token`: two floats, prompt and completion."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for its prices
    cost_per_token = import_module("litellm").cost_per_token

    def turn() -> None:
        for model, prompt, completion, cached in workload:
            cost_per_token(
                model=model,
                prompt_tokens=prompt,
                completion_tokens=completion,
                cache_read_input_tokens=cached,
            )

    return turn


def genai_prices(workload: Workload) -> Turn:
    """`calc_price`: Decimals for input, output and total."""
    peer = import_module("genai_prices")
    events: list[tuple[str, Any]] = [
        (model, peer.Usage(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached))
        for model, prompt, completion, cached in workload
    ]
    calc_price = peer.calc_price

    def turn() -> None:
        for model, usage in events:
            calc_price(usage, model)

    return turn


def tokencost(workload: Workload) -> Turn:
    """`calculate_cost_by_tokens`: one Decimal for each kind of token, which the caller adds up."""
    cost = import_module("tokencost").calculate_cost_by_tokens

    def turn() -> None:
        for model, prompt, completion, cached in workload:
            total = cost(prompt - cached, model, "input") + cost(completion, model, "output")
            if cached:
                total += cost(cached, model, "cached")

    return turn


PEERS: dict[str, Callable[[Workload], Turn]] = {
    "litellm": litellm,
    "genai-prices": genai_prices,
    "tokencost": tokencost,
}


def prepare(workload: Workload) -> tuple[str, int, Turn]:
    """The turn of the peer that the command line names."""
    name = sys.argv[2]
    events = [(model, prompt, completion, cached) for model, prompt, completion, cached in workload]
    return version(name), len(events), PEERS[name](events)


if __name__ == "__main__":
    answer_turns(prepare)
