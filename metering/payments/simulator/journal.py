"""The journal: one line of JSON for each change of an object, the newest of an id counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from metering.payments.simulator.refusals import Json


class Journal:
    """A file, or nothing where no path is given. A line cut short by a kill is left out when it is read."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._lines: list[str] = []

    def load(self) -> list[Json]:
        """The newest version of each object, oldest object first; the file keeps these alone."""
        if self._path is None:
            return []
        kept: dict[tuple[str, str], Json] = {}
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        for line in lines:
            try:
                read = json.loads(line)
            except json.JSONDecodeError:
                continue
            kept[read["object"], read["id"]] = read
        objects = [read for read in kept.values() if "_gone" not in read]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        shorter = self._path.with_name(self._path.name + ".new")
        shorter.write_text("".join(_line(read) for read in objects))
        shorter.replace(self._path)
        self._file = self._path.open("a")
        return objects

    def write(self, changed: Json) -> None:
        """Append one object with the next `flush`."""
        if self._file:
            self._lines.append(_line(changed))

    def flush(self) -> None:
        """Hand over what a call changed at once: with the operating system, it outlives a kill."""
        if self._file and self._lines:
            self._file.write("".join(self._lines))
            self._file.flush()
            self._lines.clear()

    def clear(self) -> None:
        """Empty the file."""
        self._lines.clear()
        if self._file:
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file; nothing is kept from here on."""
        if self._file:
            self._file.close()
            self._file = None


def _line(read: Json) -> str:
    return json.dumps(read, separators=(",", ":")) + "\n"
