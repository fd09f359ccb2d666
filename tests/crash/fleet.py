"""Several services and a worker on one embedded database, whatever kills them, and who kills them."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Final

import psutil
import psycopg
from sqlalchemy import make_url

from metering.storage.embedded import EmbeddedServer, _running_port
from tests.crash.conftest import postmasters
from tests.crash.service import REPOSITORY, Background, Crowd, Service

SERVICES: Final = 4
# A model whose price changes with the next book, and one that has none before.
REPRICED: Final = "qwen3-max"
LATE: Final = "qwen3-next"
_CUT: Final = """
    SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity WHERE application_name = 'metering' AND pid <> pg_backend_pid()
         ORDER BY random() LIMIT %s) AS victims
"""


class Fleet:
    """The processes: those that end are started again, as any orchestrator does.

    `source` is the directory of the package that they run. `home` is theirs, and so is its server. The last
    of the services has the next price book already.
    """

    def __init__(self, home: Path, logs: Path, source: Path = REPOSITORY) -> None:
        self.home = home
        self._server = EmbeddedServer(home, settings={"shared_buffers": "64MB"})
        self._url = make_url(self._server.ensure())
        self.books = source / "pricing_rules", next_book(source / "pricing_rules", logs / "next_book")
        self._logs = logs
        self._environment = {"METERING_HOME": str(home), "PYTHONPATH": str(source)}
        self.services = [self.process(f"serve-{n}", "serve") for n in range(SERVICES - 1)]
        self._environment["METERING_PRICE_BOOK"] = str(self.books[1])
        self.services.append(self.process("serve-next", "serve"))
        self.worker = self.process("worker", "worker", "--check-minutes", "1")
        self.ended: Counter[str] = Counter()
        self._over = threading.Event()
        self._guard = Crowd()

    @property
    def ports(self) -> list[int]:
        """Where the services answer, whenever they do."""
        return [service.port for service in self.services]

    def process(self, name: str, *command: str) -> Service:
        """Another process that works on the database, not started yet."""
        return Service(self._logs / f"{name}.log", self._environment, *command)

    @property
    def url(self) -> str:
        """The database's, for its owner; on another port where somebody took its own while it was away."""
        port = _running_port((self.home / "postgres").resolve() / "data")
        return self._url.set(port=port or self._url.port).render_as_string(hide_password=False)

    def ensure_database(self) -> None:
        """Let the database run, where no service has seen to it."""
        self._server.ensure()

    def start(self) -> None:
        """Start everything; the schema is at its head."""
        for process in (*self.services, self.worker):
            process.launch()
        for service in self.services:
            service.wait_until_ready()
        self._guard.add(self._restart)

    def stop(self) -> dict[str, int]:
        """Stop everything in order; what ended otherwise than with 0. A worker may be only starting."""
        self._over.set()
        self._guard.join()
        running = [process for process in (*self.services, self.worker) if process.is_running]
        for process in running:
            process.tell(signal.SIGTERM)
        codes = {process.log.stem: process.ended() for process in running}
        fine = {"worker": -signal.SIGTERM}
        return {name: code for name, code in codes.items() if code not in {0, fine.get(name)}}

    def release(self) -> None:
        """Let go of the database, whose server ends with its last user."""
        self._server.release()

    def _restart(self) -> None:
        while not self._over.wait(0.2):
            for process in (*self.services, self.worker):
                if not process.is_running:
                    self.ended[f"{process.log.stem} {process.process.returncode}"] += 1
                    process.launch()


def next_book(book: Path, place: Path) -> Path:
    """A copy of the price book in which `REPRICED` is cheaper, and `LATE` is no longer unknown."""
    shutil.copytree(book, place)
    path = place / "providers" / "alibaba_cloud.yml"
    text = path.read_text()
    found = re.search(rf"^  {REPRICED}:\n(?:    .*\n)+\n", text, re.MULTILINE)
    assert found is not None
    cheaper = found[0].replace('rate: "5.52"', 'rate: "5.40"')
    assert cheaper != found[0]
    late = found[0].replace(REPRICED, LATE).replace("Qwen3-Max", "Qwen3-Next")
    text = text.replace(found[0], cheaper)
    path.write_text(text.replace("  qwen3-rerank:", f"{late}  qwen3-rerank:"))
    return place


class Operator(Background):
    """Rates accounts' events again and again, by the one book and by the other, and is killed at times."""

    def __init__(self, fleet: Fleet, account_ids: Sequence[str], seed: str) -> None:
        super().__init__()
        self._fleet = fleet
        self._account_ids = account_ids
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()

    def _run(self) -> None:
        now = datetime.now(UTC)
        window = [f"--from={now - timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}", f"--to={now:%Y}-12-31T00:00:00Z"]
        books = cycle(reversed(self._fleet.books))
        while not self._over.wait(self._random.uniform(1, 4)):
            account = f"--account={self._random.choice(self._account_ids)}"
            what = ["--post", "--yes", "--reason=chaos", "--json", f"--book={next(books)}", account, *window]
            process = self._fleet.process("operator", "ledger", "rerate", *what)
            process.launch()
            try:
                code = process.process.wait(self._random.uniform(2, 20))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.process.returncode
            self.done[f"rerate {code}"] += 1


class Killer(Background):
    """Kills something at random moments, what is soon back more often than what is not."""

    def __init__(self, fleet: Fleet, seed: str) -> None:
        super().__init__()
        self._fleet = fleet
        self._random = random.Random(seed)
        self.killed: Counter[str] = Counter()

    def _run(self) -> None:
        victims: list[Callable[[], None]] = [
            *3 * [self._service],
            *4 * [self._connections],
            self._worker,
            self._database,
        ]
        # Each once in a short run; later with time between for more to happen than recoveries.
        for longest in chain([1.9], repeat(5.0)):
            self._random.shuffle(victims)
            for victim in victims:
                if self._over.wait(self._random.uniform(0.2, longest)):
                    return
                victim()

    def _service(self) -> None:
        self._kill(self._random.choice(self._fleet.services), "service")

    def _worker(self) -> None:
        self._kill(self._fleet.worker, "worker")

    def _kill(self, process: Service, name: str) -> None:
        if process.is_running:
            process.process.kill()
            self.killed[name] += 1

    def _database(self) -> None:
        # Those who start it name its directory as well; it is the server that is to die.
        for process in postmasters(self._fleet.home):
            with suppress(psutil.Error):
                if process.name() == "postgres":
                    process.kill()
                    self.killed["database"] += 1

    def _connections(self) -> None:
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self._fleet.url, autocommit=True) as connection,
        ):
            cut = connection.execute(_CUT, [self._random.randint(1, 30)]).fetchone()
            self.killed["connections"] += cut[0] if cut else 0
