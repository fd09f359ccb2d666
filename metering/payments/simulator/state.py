"""All that the simulator remembers: objects by kind, in the order they were made, under one lock.

A field whose name begins with `_` is the simulator's own (how a test card behaves) and is never answered.
"""

from __future__ import annotations

import copy
import secrets
import string
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from metering import clock
from metering.payments.simulator.journal import Journal
from metering.payments.simulator.refusals import Json, missing

# The version whose objects are answered; a test holds it to the SDK's.
API_VERSION: Final = "2026-10-28.endive"
_LETTERS: Final = string.ascii_letters + string.digits

# state, type of the event, object, what its changed fields were
Observer = Callable[["State", str, Json, Json], None]


@dataclass
class Settings:
    """What a run is told: its own address, its account's descriptor, the tax of its sessions."""

    base_url: str = ""
    statement_descriptor: str = "SIMULATOR"
    tax_percent: Decimal = Decimal(0)


@dataclass
class Origin:
    """The call under way, as its events name it; nobody's when the simulator moves by itself."""

    id: str | None = None
    idempotency_key: str | None = None


@dataclass
class State:
    """The simulated account. Hold `lock` for every look and change; never sleep or send while holding it."""

    settings: Settings
    journal: Journal
    lock: threading.RLock = field(default_factory=threading.RLock)
    ahead: timedelta = timedelta(0)
    origin: Origin = field(default_factory=Origin)
    observers: list[Observer] = field(default_factory=list)
    objects: dict[str, dict[str, Json]] = field(default_factory=dict)
    outbox: list[Json] = field(default_factory=list)
    _later: list[Callable[[], object]] = field(default_factory=list)

    def load(self) -> None:
        """Bring back what the journal kept."""
        for kept in self.journal.load():
            self.objects.setdefault(kept["object"], {})[kept["id"]] = kept

    def clear(self) -> None:
        """Forget everything."""
        self.objects.clear()
        self.outbox.clear()
        self._later.clear()
        self.ahead = timedelta(0)
        self.journal.clear()

    def now(self) -> int:
        """Unix seconds."""
        return int((clock.now() + self.ahead).timestamp())

    def new_id(self, prefix: str) -> str:
        """An id as Stripe's: a prefix and 24 letters and digits."""
        return f"{prefix}_" + "".join(secrets.choice(_LETTERS) for _ in range(24))

    def add(self, made: Json, event: str | None = None) -> Json:
        """Keep a new object, and tell of it."""
        self.objects.setdefault(made["object"], {})[made["id"]] = made
        self.journal.write(made)
        if event:
            self.tell(event, made)
        return made

    def change(self, changed: Json, event: str | None = None, /, **changes: Any) -> Json:  # noqa: ANN401  (JSON)
        """Change an object's fields and tell of it, with what they were before in `previous_attributes`."""
        before = {
            name: copy.deepcopy(changed.get(name)) for name in changes if changed.get(name) != changes[name]
        }
        changed.update(changes)
        self.journal.write(changed)
        if event:
            self.tell(event, changed, before)
        return changed

    def tell(self, type: str, about: Json, previous: Json | None = None) -> None:
        """Let those who observe know what happened; the first of them makes the event."""
        for observe in self.observers:
            observe(self, type, about, previous or {})

    def remove(self, gone: Json) -> None:
        """Forget one object."""
        del self.objects[gone["object"]][gone["id"]]
        self.journal.write({"id": gone["id"], "object": gone["object"], "_gone": True})

    def get(self, kind: str, id: str, param: str = "id") -> Json:
        """The object; a `Refusal` naming the parameter if there is none."""
        found = self.find(kind, id)
        if found is None:
            raise missing(kind, id, param)
        return found

    def find(self, kind: str, id: str | None) -> Json | None:
        """The object or None."""
        return self.objects.get(kind, {}).get(id or "")

    def find_any(self, id: str) -> Json | None:
        """The object of that id, of whatever kind."""
        kinds = (kept for kind, kept in self.objects.items() if not kind.startswith("_"))
        return next((kept[id] for kept in kinds if id in kept), None)

    def iter_kind(self, kind: str, **wanted: object) -> Iterator[Json]:
        """The objects of a kind whose fields have these values, newest first."""
        for kept in reversed(self.objects.get(kind, {}).values()):
            if all(kept.get(name) == value for name, value in wanted.items()):
                yield kept

    def later(self, act: Callable[[], object]) -> None:
        """Do this once the call under way has its answer: what Stripe does a moment afterwards."""
        self._later.append(act)

    def run_later(self) -> None:
        """Do what was put off."""
        while self._later:
            self._later.pop(0)()
