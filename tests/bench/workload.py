"""The events that are measured: what a gateway of language models sends, the same in every run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

# Rates of each kind: flat, in tiers by the prompt, with a cached rate, with a percentage off what is cached.
MODELS = ("deepseek-v3-2", "qwen3-max", "qwen3-5-9b", "nova-lite-1-0", "mimo-v2-5-pro", "mistral-medium-3-1")
SHAPES = ("plain", "plain", "cached", "details")


class TokenUse(NamedTuple):
    """Token counts of one event; `prompt` includes `cached`. `shape` is how the gateway spells them."""

    model: str
    shape: str
    prompt: int
    completion: int
    cached: int

    def usage(self) -> dict[str, Any]:
        """The usage object as a gateway sends it."""
        usage: dict[str, Any] = {"prompt_tokens": self.prompt, "completion_tokens": self.completion}
        if self.shape == "cached":
            usage["cache_read_input_tokens"] = self.cached
        elif self.shape == "details":
            usage["total_tokens"] = self.prompt + self.completion
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached}
        return usage


def token_uses(count: int, seed: int) -> Iterator[TokenUse]:
    """Models in equal parts; half of the events have cached tokens, half of those in the nested shape."""
    chance = random.Random(seed)
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        # Mostly short, some up to 60,000 tokens, which the tiered rate cards price by their second line.
        prompt = int(10 ** chance.uniform(2, 4.8))
        cached = 0 if shape == "plain" else chance.randrange(prompt)
        yield TokenUse(chance.choice(MODELS), shape, prompt, chance.randrange(1, 4_000), cached)


def events(count: int, accounts: Sequence[str], seed: int) -> Iterator[dict[str, Any]]:
    """Events with all the fields that a gateway knows; their ids differ from those of any other seed."""
    chance = random.Random(seed)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    for number, use in enumerate(token_uses(count, seed)):
        yield {
            "id": f"{id_prefix(seed)}{number:010x}",
            "account_id": chance.choice(accounts),
            "created_at": at,
            "source": "api",
            "model": use.model,
            "endpoint": "/v1/chat/completions",
            "status": "success",
            "status_code": 200,
            "request_id": f"{chance.getrandbits(64):016x}",
            "latency_ms": chance.randrange(200, 20_000),
            "usage": use.usage(),
        }


def id_prefix(seed: int) -> str:
    """What the ids of a seed's events begin with."""
    return f"req_{seed:08x}"


def bodies(batches: int, size: int, accounts: Sequence[str], seed: int) -> list[bytes]:
    """Request bodies, encoded before anything is timed; a batch of one is a bare event."""
    each = events(batches * size, accounts, seed)
    if size == 1:
        return [_encode(event) for event in each]
    return [_encode({"events": [next(each) for _ in range(size)]}) for _ in range(batches)]


def hold_bodies(count: int, accounts: Sequence[str], seed: int) -> list[bytes]:
    """Requests for holds of a few cents, each under a key of its own."""
    chance = random.Random(seed)
    return [
        _encode(
            {
                "account_id": chance.choice(accounts),
                "amount_usd": f"0.{chance.randrange(1, 1_000):04}",
                "tokens": chance.randrange(100, 8_000),
                "expires_in_seconds": 600,
                "idempotency_key": f"{id_prefix(seed)}{number:010x}",
            }
        )
        for number in range(count)
    ]


def arrivals(count: int, rate: float, seed: int, start: float) -> Iterator[float]:
    """When each of `count` requests is due, at random times of `rate` a second, as pgbench does it."""
    chance = random.Random(seed)
    at = start
    for _ in range(count):
        at += chance.expovariate(rate)
        yield at


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
