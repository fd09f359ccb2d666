"""Group commit: what arrives together goes together into one transaction.

One thread takes whatever batches are waiting, records them in one transaction and wakes their callers.
While it waits for the disk, the next group gathers, so that the busier the service, the fewer commits per
event. A batch that makes the group's transaction fail is found by recording each on its own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, Generic, NamedTuple, TypeVar

from metering.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# More per transaction only makes the first caller wait longer; measured flat from 2,000 upwards.
GROUP_ITEMS: Final = 2_000


class _Batch(NamedTuple, Generic[Item, Answer]):
    items: Sequence[Item]
    future: Future[list[Answer]]


class GroupCommit(Generic[Item, Answer]):
    """Gathers concurrent batches. `record` takes many items and answers one for one, after COMMIT."""

    def __init__(self, record: Callable[[Sequence[Item]], list[Answer]], *, max_waiting: int) -> None:
        self._record = record
        self._max_waiting = max_waiting
        self._waiting = 0
        self._queue: queue.SimpleQueue[_Batch[Item, Answer] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, items: Sequence[Item]) -> Future[list[Answer]]:
        """A future of the answers. Raises `Unavailable` where too much is waiting, or after `close`."""
        with self._lock:
            if self._closed:
                raise Unavailable("The service is stopping. Send the same again in a few seconds.")
            if self._waiting and self._waiting + len(items) > self._max_waiting:
                raise Unavailable("Too many calls are waiting. Send the same again in a few seconds.")
            self._waiting += len(items)
            future: Future[list[Answer]] = Future()
            # What is accepted is recorded, even where the caller has gone: it can't be cancelled.
            future.set_running_or_notify_cancel()
            self._queue.put(_Batch(items, future))
        return future

    def close(self) -> None:
        """Record what was accepted, then stop; again is no error."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            group, going = self._gather()
            if group:
                self._commit(group)

    def _gather(self) -> tuple[list[_Batch[Item, Answer]], bool]:
        """The batches that are waiting, at least one, until they are enough; False after the last."""
        group: list[_Batch[Item, Answer]] = []
        size = 0
        batch = self._queue.get()
        while batch is not None:
            group.append(batch)
            size += len(batch.items)
            if size >= GROUP_ITEMS:
                return group, True
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Batch[Item, Answer]]) -> None:
        try:
            answers = self._record([item for batch in group for item in batch.items])
        except Exception as error:  # noqa: BLE001  (whatever it is, the callers must hear of it)
            self._fail(group, error)
        else:
            start = 0
            for batch in group:
                end = start + len(batch.items)
                batch.future.set_result(answers[start:end])
                start = end
        finally:
            with self._lock:
                self._waiting -= sum(len(batch.items) for batch in group)

    def _fail(self, group: list[_Batch[Item, Answer]], error: Exception) -> None:
        """Answer a failed transaction: one batch with its error, several by recording each alone."""
        if len(group) == 1 or isinstance(error, Unavailable):
            for batch in group:
                batch.future.set_exception(error)
            return
        for batch in group:
            try:
                batch.future.set_result(self._record(batch.items))
            except Exception as own:  # noqa: BLE001  (as above)
                batch.future.set_exception(own)
