"""What arrives together goes together, and each caller hears of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.errors import Unavailable
from metering.services.group_commit import GROUP_ITEMS, GroupCommit

PATIENCE_SECONDS = 30
Commits = GroupCommit[int, str]
Enter = Callable[..., Commits]


class Disk:
    """Records numbers; each transaction waits at the gate, and fails as a whole for what is poison."""

    def __init__(self) -> None:
        self.transactions: list[list[int]] = []
        self.poison: dict[int, Exception] = {}
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)

    def record(self, items: Sequence[int]) -> list[str]:
        self.waiting.release()
        assert self.gate.wait(PATIENCE_SECONDS)
        for item in items:
            if item in self.poison:
                raise self.poison[item]
        self.transactions.append(list(items))
        return [f"answer {item}" for item in items]

    def open(self) -> None:
        """Let every transaction pass from now on."""
        self.gate.set()

    def wait_until_busy(self) -> None:
        """Wait until a transaction has begun."""
        assert self.waiting.acquire(timeout=PATIENCE_SECONDS)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def enter(disk: Disk) -> Iterator[Enter]:
    made: list[Commits] = []

    def make(*, max_waiting: int = 1_000_000) -> Commits:
        made.append(GroupCommit(disk.record, max_waiting=max_waiting))
        return made[-1]

    yield make
    disk.open()
    for commits in made:
        commits.close()
        assert not commits._thread.is_alive()


def answers(*futures: Future[list[str]]) -> list[list[str]]:
    return [future.result(PATIENCE_SECONDS) for future in futures]


def test_batches_that_arrive_during_a_transaction_share_the_next(disk: Disk, enter: Enter) -> None:
    commits = enter()
    first = commits.submit([0])
    disk.wait_until_busy()
    others = [commits.submit([n, n + 100]) for n in range(1, 6)]
    disk.open()
    assert answers(first) == [["answer 0"]]
    assert answers(*others) == [[f"answer {n}", f"answer {n + 100}"] for n in range(1, 6)]
    assert disk.transactions == [[0], [1, 101, 2, 102, 3, 103, 4, 104, 5, 105]]


def test_no_answer_comes_before_its_transaction(disk: Disk, enter: Enter) -> None:
    future = enter().submit([1])
    disk.wait_until_busy()
    assert not future.done()
    disk.open()
    assert answers(future) == [["answer 1"]]


def test_a_group_ends_when_it_is_large_enough(disk: Disk, enter: Enter) -> None:
    commits = enter()
    first = commits.submit([0])
    disk.wait_until_busy()
    half = list(range(GROUP_ITEMS // 2))
    futures = [commits.submit(half) for _ in range(4)]
    disk.open()
    answers(first, *futures)
    assert [len(transaction) for transaction in disk.transactions] == [1, GROUP_ITEMS, GROUP_ITEMS]


@settings(deadline=None, derandomize=True, print_blob=True)
@given(
    batches=st.lists(st.lists(st.integers(0, 10_000), max_size=5), min_size=1, max_size=40),
    poison=st.sets(st.integers(0, 10_000), max_size=3),
    threads=st.integers(1, 8),
)
def test_each_caller_gets_its_own_answers_in_order(
    batches: list[list[int]], poison: set[int], threads: int
) -> None:
    """Whoever asks together with whom: a batch is recorded once and answered, or it alone fails."""
    disk = Disk()
    disk.poison = {item: ValueError(str(item)) for item in poison}
    disk.open()
    commits = Commits(disk.record, max_waiting=1_000_000)
    heard: dict[int, list[str] | Exception] = {}

    def call(start: int) -> None:
        for number in range(start, len(batches), threads):
            try:
                (heard[number],) = answers(commits.submit(batches[number]))
            except ValueError as error:
                heard[number] = error

    callers = [threading.Thread(target=call, args=[start]) for start in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    commits.close()
    for number, batch in enumerate(batches):
        bad = [item for item in batch if item in poison]
        if bad:
            assert isinstance(heard[number], ValueError)
            assert str(heard[number]) in {str(item) for item in bad}
        else:
            assert heard[number] == [f"answer {item}" for item in batch]
    recorded = sorted(item for transaction in disk.transactions for item in transaction)
    assert recorded == sorted(item for batch in batches if poison.isdisjoint(batch) for item in batch)


def test_a_batch_that_breaks_the_transaction_fails_alone(disk: Disk, enter: Enter) -> None:
    commits = enter()
    disk.poison[13] = ValueError("13")
    first = commits.submit([0])
    disk.wait_until_busy()
    before, bad, after = commits.submit([1, 2]), commits.submit([3, 13]), commits.submit([4])
    disk.open()
    assert answers(first, before, after) == [["answer 0"], ["answer 1", "answer 2"], ["answer 4"]]
    with pytest.raises(ValueError, match="13"):
        answers(bad)
    assert disk.transactions == [[0], [1, 2], [4]]


def test_what_is_down_for_one_is_down_for_all(disk: Disk, enter: Enter) -> None:
    """A database that can't be reached is not asked once more for every batch."""
    commits = enter()
    disk.poison[2] = Unavailable("down")
    first = commits.submit([0])
    disk.wait_until_busy()
    futures = [commits.submit([n]) for n in range(1, 4)]
    disk.open()
    answers(first)
    for future in futures:
        with pytest.raises(Unavailable, match="down"):
            answers(future)
    assert disk.transactions == [[0]]
    assert answers(commits.submit([4])) == [["answer 4"]]


def test_more_than_may_wait_is_turned_away_and_nothing_of_it_recorded(disk: Disk, enter: Enter) -> None:
    commits = enter(max_waiting=3)
    first = commits.submit([1])
    disk.wait_until_busy()
    second = commits.submit([2, 3])
    with pytest.raises(Unavailable, match="Too many calls are waiting"):
        commits.submit([4])
    disk.open()
    answers(first, second)
    assert answers(commits.submit([5, 6, 7])) == [["answer 5", "answer 6", "answer 7"]]
    assert disk.transactions == [[1], [2, 3], [5, 6, 7]]


def test_a_batch_larger_than_what_may_wait_goes_when_nothing_else_does(disk: Disk, enter: Enter) -> None:
    disk.open()
    assert answers(enter(max_waiting=1).submit([1, 2, 3])) == [["answer 1", "answer 2", "answer 3"]]


def test_failures_make_room_again(disk: Disk, enter: Enter) -> None:
    commits = enter(max_waiting=2)
    disk.poison[1] = ValueError("1")
    disk.open()
    for _ in range(10):
        with pytest.raises(ValueError, match="1"):
            answers(commits.submit([1, 1]))
    assert answers(commits.submit([2, 3])) == [["answer 2", "answer 3"]]


def test_close_records_what_was_accepted_and_takes_no_more(disk: Disk, enter: Enter) -> None:
    commits = enter()
    futures = [commits.submit([0])]
    disk.wait_until_busy()
    futures += [commits.submit([n]) for n in range(1, 4)]
    closing = threading.Thread(target=commits.close)
    closing.start()
    while not commits._closed:
        closing.join(0.01)
    with pytest.raises(Unavailable, match="stopping"):
        commits.submit([9])
    assert closing.is_alive()
    disk.open()
    closing.join(PATIENCE_SECONDS)
    assert not closing.is_alive()
    assert answers(*futures) == [[f"answer {n}"] for n in range(4)]
    assert disk.transactions == [[0], [1, 2, 3]]
    commits.close()


def test_a_caller_that_goes_away_does_not_take_its_record_with_it(disk: Disk, enter: Enter) -> None:
    commits = enter()

    async def give_up() -> None:
        first = asyncio.wrap_future(commits.submit([0]))
        second = asyncio.wrap_future(commits.submit([1]))
        waiting = [asyncio.ensure_future(asyncio.wait_for(one, 0.01)) for one in (first, second)]
        await asyncio.gather(*waiting, return_exceptions=True)
        assert first.cancelled()
        assert second.cancelled()

    asyncio.run(give_up())
    assert not commits.submit([2]).cancel()
    disk.open()
    commits.close()
    assert sorted(item for transaction in disk.transactions for item in transaction) == [0, 1, 2]
