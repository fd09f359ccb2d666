"""What a figure means nothing without: the machine, the versions, and who else was busy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.turns import ROOT


def facts() -> dict[str, object]:
    """The machine and the commit, as they are now."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores usable": len(os.sched_getaffinity(0)),
        "memory GiB": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": list(os.getloadavg()),
    }


def commit() -> str:
    """The commit, with a + where files differ from it; `unknown` without git."""
    if shutil.which("git") is None:
        return "unknown"
    git = ["git", "-c", "safe.directory=*"]
    said = subprocess.run(
        [*git, "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.stdout.strip() or "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
