"""Every verb of money from many clients at once, while everything that serves them is killed at random.

`python -m tests.crash.chaos --seconds 600`, or `make chaos`. A seed repeats what each client asks; who is
faster, and what dies meanwhile, is up to the machine.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import click
import psycopg

from metering.services.accounts import create_account
from metering.services.api_keys import create_api_key
from metering.services.service_tokens import Scope, create_service_token
from metering.storage.database import Database, migrate
from tests.crash.clients import Client, Couple, GaveUpError
from tests.crash.fleet import Fleet, Killer, Operator
from tests.crash.scenes import Scene, Stage
from tests.crash.service import REPOSITORY, Crowd
from tests.crash.told import Told
from tests.crash.verbs import Actor
from tests.crash.watch import Watch

COUPLES: Final = 16
_MANY: Final = 2**31 - 1
_PER_MINUTE: Final = 40
_PREFIX: Final = "sk-empiriolabs-"
_CAP: Final = "UPDATE api_keys SET budget_usd = 2, budget_period = 'total' WHERE id = %s"


class Report(NamedTuple):
    """What happened, counted: answers, attempts in vain, what was killed or ended, and what is wrong."""

    seed: int
    seconds: float
    answers: Counter[str]
    lost: int
    killed: Counter[str]
    ended: Counter[str]
    corrections: Counter[str]
    checks: int
    findings: list[str]

    def __str__(self) -> str:
        took = f"{self.answers.total()} answers in {self.seconds:.1f} s, {self.lost} attempts in vain"
        return "\n".join(
            [
                f"seed {self.seed}: {took}, {self.checks} checks under way",
                f"killed: {_listed(self.killed)}",
                f"ended: {_listed(self.ended)}",
                f"answers: {_listed(self.answers)}",
                f"corrections: {_listed(self.corrections)}",
                *(f"FOUND: {finding}" for finding in self.findings),
            ]
        )


class Chaos:
    """One run over a fresh database in `home`, with the processes' logs in `logs`.

    The services run the package in `source`. What is found wrong ends the run.
    """

    def __init__(self, home: Path, logs: Path, *, seed: int, source: Path = REPOSITORY) -> None:
        self._seed = seed
        self._fleet = Fleet(home, logs, source)
        self._killer = Killer(self._fleet, f"killer {seed}")
        self._operator: Operator | None = None
        self._told = Told()
        self._watch = Watch(self._fleet, self._told)
        self._crowd = Crowd()
        self._clients: list[Client] = []

    def run(self, seconds: float, say: Callable[[str], None] = lambda _: None) -> Report:
        """Let it happen for so long, then wait for every answer and look at everything."""
        try:
            stage, token = self._set_up()
            began = time.monotonic()
            self._begin(stage, token, began + seconds)
            while not self._watch.found.wait(min(10, max(0, began + seconds - time.monotonic()))):
                if (taken := time.monotonic() - began) >= seconds:
                    break
                say(f"{taken:.0f} s: killed {_listed(self._killer.killed)}; {self._watch.checks} checks")
            self._end()
            taken = time.monotonic() - began
        finally:
            codes = self._fleet.stop()
            self._fleet.release()
        if not self._watch.found.is_set():
            self._watch.report(f"{name} ended with {code}" for name, code in codes.items())
        answers = sum((client.answers for client in self._clients), Counter[str]())
        if self._operator is not None:
            answers += self._operator.done
        lost = sum(client.lost for client in self._clients)
        return Report(
            seed=self._seed,
            seconds=taken,
            answers=answers,
            lost=lost,
            killed=self._killer.killed,
            ended=self._fleet.ended,
            corrections=self._watch.corrections,
            checks=self._watch.checks,
            findings=self._watch.findings,
        )

    def _set_up(self) -> tuple[Stage, str]:
        migrate(self._fleet.url)
        with closing(Database(self._fleet.url, pool_size=1)) as database:
            stage = open_stage(database, self._fleet.url, self._seed)
            _, token = create_service_token(database, name="gateway", scopes=Scope)
        self._fleet.start()
        with closing(Client(self._fleet.ports, token, "opening", self._watch.found)) as client:
            actor = Actor(client, self._told)
            for account_id, amount in [
                *((one, Decimal(1_000)) for one in [*stage.rich, stage.limited]),
                *((one, Decimal("0.1")) for one in [*stage.prepaid, *stage.strict]),
            ]:
                actor.credit("grants", account_id, "opening", amount, kind="paid")
        return stage, token

    def _begin(self, stage: Stage, token: str, until: float) -> None:
        def is_over() -> bool:
            return self._watch.found.is_set() or time.monotonic() > until

        for number in range(COUPLES):
            couple = Couple(count(number, COUPLES), is_over)
            for side in range(2):
                name = f"client {self._seed} {number} {side}"
                client = Client(self._fleet.ports, token, name, self._watch.found)
                self._clients.append(client)
                self._crowd.add(self._play, stage, couple, side, client)
        self._operator = Operator(self._fleet, stage.rich, f"operator {self._seed}")
        self._operator.start()
        self._watch.start()
        self._killer.start()

    def _play(self, stage: Stage, couple: Couple, side: int, client: Client) -> None:
        actor = Actor(client, self._told)
        with suppress(GaveUpError, threading.BrokenBarrierError), closing(client), couple:
            while (turn := couple.meet()).number is not None:
                try:
                    Scene(stage, turn, side, actor).play()
                except (AssertionError, LookupError, TypeError) as error:
                    self._watch.report([f"in scene {turn.number}, side {side}: {error!r}"])

    def _end(self) -> None:
        self._killer.stop()
        if self._operator is not None:
            self._operator.stop()
        self._crowd.join()
        self._watch.stop()
        if not self._watch.found.is_set():
            for service in self._fleet.services:
                service.wait_until_ready()
            self._fleet.ensure_database()
            self._watch.look_at_everything()


def open_stage(database: Database, url: str, seed: int) -> Stage:
    """The accounts, without credit yet, and their keys."""

    def open_account(name: str, per_minute: int = _MANY) -> str:
        view = create_account(database, name, requests_per_minute=per_minute, tokens_per_minute=_MANY)
        return view.account.account_id

    rich = [open_account(f"Rich {n}") for n in range(4)]
    prepaid = [open_account(f"Prepaid {n}") for n in range(2)]
    strict = [open_account(f"Strict {n}") for n in range(2)]
    keys = {
        account_id: create_api_key(database, account_id, prefix=_PREFIX)[1]
        for account_id in [*rich, *prepaid, *strict]
    }
    capped = []
    for account_id in strict:
        key, secret = create_api_key(database, account_id, prefix=_PREFIX)
        capped.append((account_id, secret))
        with psycopg.connect(url) as connection:
            connection.execute(_CAP, [key.id])
    limited = open_account("Limited", _PER_MINUTE)
    return Stage(seed, datetime.now(UTC), rich, prepaid, strict, limited, capped, keys)


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items())) or "nothing"


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=600, show_default=True, help="How long.")
@click.option("--seed", type=int, help="What is asked; another each time unless given.")
@click.option("--source", type=click.Path(path_type=Path), default=REPOSITORY, help="The code to be served.")
def main(seconds: int, seed: int | None, source: Path) -> None:
    """Let everything happen to a service of its own, in a directory of its own; 1 if something is wrong."""
    # A check whose connection is cut tells so by its exception; the pool needn't as well.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    seed = secrets.randbits(32) if seed is None else seed
    home = Path(tempfile.mkdtemp(prefix="metering-chaos-"))
    home.chmod(0o755)
    click.echo(f"seed {seed}, in {home}")
    report = Chaos(home, home, seed=seed, source=source.absolute()).run(seconds, click.echo)
    click.echo(report)
    if report.findings:
        click.echo(f"the logs are in {home}")
        sys.exit(1)
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
