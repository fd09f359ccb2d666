"""Scenes that couples of clients play: both do the same at the same time, or one thing against the other.

The seed and a scene's number say everything that is asked in it; answers only cut it short.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from tests.crash.clients import Turn
from tests.crash.fleet import LATE, REPRICED
from tests.crash.traffic import Event
from tests.crash.verbs import Actor

# So many events are known by id at a time: enough that some are new, few enough that most meet again.
_POOL: Final = 60
_MODEL: Final = REPRICED
_MODELS: Final = (_MODEL, "deepseek-v4-pro", LATE, "no-such-model")
_SOURCES: Final = ("api", "playground", "gpu_cloud", "hosted_agents")
_HOLD_SECONDS: Final = 3_600


class Stage(NamedTuple):
    """The accounts, by what happens to them, and the customers' keys.

    `rich` have more credit than is ever used, and everything happens to them. `prepaid` and `strict` have a
    few cents, which many want. From the strict ones nothing is taken without leave: every event costs less
    than its hold. `limited` may ask little a minute; `capped` are keys of strict accounts with a budget.
    """

    seed: int
    began: datetime
    rich: list[str]
    prepaid: list[str]
    strict: list[str]
    limited: str
    capped: list[tuple[str, str]]
    secrets: Mapping[str, str]


class Scene:
    """One side's part in a scene; `shared` chances fall the same way for both sides, `own` don't."""

    def __init__(self, stage: Stage, turn: Turn, side: int, actor: Actor) -> None:
        self.stage = stage
        self.side = side
        self.actor = actor
        self.now = turn.now
        self.number = turn.number or 0
        self.name = f"{stage.seed}-{turn.number}"
        self.shared = random.Random(f"scene {self.name}")
        self.own = random.Random(f"side {side} of scene {self.name}")

    def play(self) -> None:
        """Do what this side has to do."""
        kinds, weights = zip(*_SCENES.items(), strict=True)
        (kind,) = self.shared.choices(kinds, weights)
        kind(self)

    def cents(self, least: int, most: int) -> Decimal:
        """An amount that both sides name."""
        return Decimal(self.shared.randint(least * 100, most * 100)).scaleb(-4)

    def event(self, name: str, account_id: str, **fields: object) -> Event:
        """A new event that both sides know by its id; it costs up to seven cents, or less than any hold."""
        most = 1_000 if account_id in self.stage.strict else 12_000
        usage = {"prompt_tokens": 100, "completion_tokens": self.shared.randrange(500, most)}
        return {"id": f"{name}-{self.name}", "account_id": account_id, "model": _MODEL, "usage": usage,
                "created_at": self.now.isoformat(), "metadata": {"body": "first"}, **fields}  # fmt: skip

    def pooled_event(self) -> Event:
        """One of the events that all clients are sending now; one in 50 with another body."""
        number = self.number + self.own.randrange(_POOL)
        chance = random.Random(f"event {self.stage.seed}-{number}")
        event = {
            "id": f"event-{number}",
            "account_id": chance.choice(self.stage.rich),
            "created_at": (self.stage.began - timedelta(seconds=17 * number % 100_000)).isoformat(),
            "model": chance.choices(_MODELS, weights=[10, 10, 2, 1])[0],
            "source": chance.choice(_SOURCES),
            "usage": {"prompt_tokens": 100 + number, "completion_tokens": chance.randrange(1, 2_000)},
            "metadata": {"body": "first"},
        }
        return rival(event) if self.own.randrange(50) == 0 else event

    def hold(self, name: str, **fields: object) -> tuple[str, str | None]:
        """Both sides ask for the same hold: on which account, and its id unless it was refused."""
        anybody = [*self.stage.prepaid, *self.stage.strict, *self.stage.strict]
        account_id, secret = self.shared.choice([*((one, "") for one in anybody), *self.stage.capped])
        secret = secret or (self.stage.secrets[account_id] if self.shared.randrange(2) else "")
        usage = {"prompt_tokens": 100, "completion_tokens": self.shared.randrange(1_100, 12_000)}
        amount = {"amount_usd": f"{self.cents(1, 8)}"}
        wanted: dict[str, object] = {
            "expires_in_seconds": _HOLD_SECONDS,
            **({"api_key": secret} if secret else {"account_id": account_id}),
            **({"model": _MODEL, "usage": usage} if self.shared.randrange(3) == 0 else amount),
            **fields,
        }
        return account_id, self.actor.hold(account_id, f"{name}-{self.name}", wanted)


def rival(event: Event) -> Event:
    """Another body under the same id."""
    return {**event, "usage": {"prompt_tokens": 7}, "metadata": {"body": "rival"}}


def single(scene: Scene) -> None:
    """One event a call."""
    for _ in range(3):
        scene.actor.send(scene.pooled_event())


def batch(scene: Scene) -> None:
    """Overlapping batches over several accounts."""
    scene.actor.send(*(scene.pooled_event() for _ in range(12)), verb="batch")


def conflict(scene: Scene) -> None:
    """Two bodies under one new id: one is kept."""
    event = scene.event("conflict", scene.shared.choice(scene.stage.rich))
    scene.actor.send(rival(event) if scene.side else event)


def grant(scene: Scene) -> None:
    """A grant under one key; sometimes of another amount, sometimes it ends soon, sometimes it's reversed."""
    poor = [*scene.stage.prepaid, *scene.stage.strict]
    account_id = scene.shared.choice([*scene.stage.rich, *poor, *poor])
    kind = scene.shared.choice(["paid", "promotional"])
    # As much as the strict accounts spend, so that there is neither plenty nor nothing.
    amount = scene.cents(1, 2) if account_id in scene.stage.strict else scene.cents(2, 12)
    fate = scene.shared.randrange(8)
    if fate == 0:
        amount += scene.side
    fields: dict[str, object] = {"kind": kind}
    if account_id in scene.stage.rich and fate == 1:
        fields["expires_at"] = (scene.now + timedelta(seconds=15)).isoformat()
    answer = scene.actor.credit("grants", account_id, f"grant-{scene.name}", amount, **fields)
    if account_id in scene.stage.rich and fate == 2:
        scene.actor.reverse(account_id, "transfer_id", answer.body["transfer_id"])


def adjust(scene: Scene) -> None:
    """An adjustment under one key, up or down; sometimes it's reversed."""
    account_id, amount = scene.shared.choice(scene.stage.rich), scene.cents(1, 50)
    fate = scene.shared.randrange(6)
    kind = "goodwill" if fate == 0 else "adjustment"
    amount = -amount if fate in {1, 2} else amount
    answer = scene.actor.credit("adjustments", account_id, f"adjustment-{scene.name}", amount, kind=kind)
    if fate in {2, 3}:
        scene.actor.reverse(account_id, "transfer_id", answer.body["transfer_id"])


def correct(scene: Scene) -> None:
    """An event that both know: amended by one or by both, by the same event or not, or reversed."""
    event = scene.event("first", scene.shared.choice(scene.stage.rich))
    scene.actor.send(event)
    fate = scene.shared.randrange(5)
    if fate == 0 or (fate == 1 and scene.side):
        scene.actor.reverse(event["account_id"], "event_id", event["id"])
        return
    name = f"second-{scene.side}" if fate == 2 else "second"
    better = scene.event(name, event["account_id"], supersedes=event["id"])
    scene.actor.send(better, verb="amend")
    if fate == 3:
        third = scene.event("third", event["account_id"], supersedes=better["id"])
        scene.actor.send(third, verb="amend")


def capture(scene: Scene) -> None:
    """A hold, and then its event from both sides, or against a void."""
    account_id, hold_id = scene.hold("hold")
    if hold_id is None:
        return
    fate = scene.shared.randrange(4)
    is_strict = account_id in scene.stage.strict
    name = f"capture-{scene.side}" if fate == 1 and not is_strict else "capture"
    event = scene.event(name, account_id, hold_id=hold_id)
    if fate == 0 and (scene.side or is_strict):
        scene.actor.void(account_id, hold_id)
    else:
        scene.actor.send(event, verb="capture")


def give_up(scene: Scene) -> None:
    """A hold, and both sides void it."""
    account_id, hold_id = scene.hold("given-up")
    if hold_id is not None:
        scene.actor.void(account_id, hold_id)
        assert scene.actor.look_at_hold(hold_id) == "voided"


def rivals(scene: Scene) -> None:
    """Two holds that may both want the last cents; each lives for a moment only."""
    account_id, hold_id = scene.hold(f"rival-{scene.side}")
    if hold_id is not None:
        scene.actor.look_at_hold(hold_id)
        scene.actor.void(account_id, hold_id)


def expire(scene: Scene) -> None:
    """A hold that nobody ends; one side's work arrives when it is over, and is billed all the same."""
    account_id, hold_id = scene.hold("short", expires_in_seconds=1)
    if hold_id is None:
        return
    scene.actor.wait(1.2)
    assert scene.actor.look_at_hold(hold_id) == "expired"
    if account_id in scene.stage.prepaid and scene.side:
        scene.actor.send(scene.event("late", account_id, hold_id=hold_id), verb="late capture")
    else:
        scene.actor.void(account_id, hold_id)


def stream(scene: Scene) -> None:
    """A hold that grows while it runs, by increments from both sides, and is captured."""
    account_id, hold_id = scene.hold("stream")
    if hold_id is None:
        return
    for step in range(scene.shared.randint(1, 4)):
        increment, side = scene.cents(1, 5), "" if scene.shared.randrange(2) else scene.side
        scene.actor.extend(account_id, hold_id, f"extension-{step}{side}", increment)
    scene.actor.send(scene.event("stream", account_id, hold_id=hold_id), verb="capture")


def hurry(scene: Scene) -> None:
    """More than the account may ask in a minute."""
    for number in range(3):
        wanted = {"account_id": scene.stage.limited, "amount_usd": "0.0001", "expires_in_seconds": 30}
        scene.actor.hold(scene.stage.limited, f"hurry-{scene.name}-{scene.side}-{number}", wanted)


def read(scene: Scene) -> None:
    """Look at everything of an account."""
    account_id = scene.shared.choice(list(scene.stage.secrets))
    secret = scene.stage.secrets[account_id]
    scene.actor.look_at_account(account_id)
    scene.actor.look_at_usage(secret)
    scene.actor.look_at_lots(account_id)
    found = scene.actor.look_at_statement(secret, 3)
    usage = [one["id"] for one in found if one["kind"] == "usage"]
    if usage and account_id in scene.stage.rich and scene.own.randrange(4) == 0:
        scene.actor.reverse(account_id, "transfer_id", scene.own.choice(usage))


_SCENES: Final[Mapping[Callable[[Scene], None], int]] = {
    single: 3,
    batch: 6,
    conflict: 2,
    grant: 6,
    adjust: 3,
    correct: 4,
    capture: 8,
    give_up: 3,
    rivals: 4,
    expire: 2,
    stream: 4,
    hurry: 1,
    read: 3,
}
