"""Ids are UUIDs of version 7, never made twice, and sort in the order in which they were made."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from metering.ids import new_id, new_unguessable_id


def test_an_id_is_a_uuid_of_version_7_and_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(new_id())
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_made_microseconds_apart_are_in_order() -> None:
    made = []
    for _ in range(2_000):
        made.append(new_id())
        until = time.time_ns() + 2_000
        while time.time_ns() < until:
            pass
    assert made == sorted(made)


def test_no_id_is_made_twice_by_threads_together() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [
            one for part in threads.map(lambda _: [new_id() for _ in range(5_000)], range(8)) for one in part
        ]
    assert len(set(made)) == len(made)


def test_an_unguessable_id_is_alike_but_owes_nothing_to_a_generator_that_can_be_foretold() -> None:
    def from_state(make: Callable[[], str]) -> str:
        random.setstate(state)
        return make()[20:]

    state = random.getstate()
    assert from_state(new_id) == from_state(new_id)
    assert from_state(new_unguessable_id) != from_state(new_unguessable_id)
    assert UUID(new_unguessable_id()).version == 7
