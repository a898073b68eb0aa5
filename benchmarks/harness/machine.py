"""The facts without which a timing means nothing: the machine, the interpreters, the versions."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from harness import envs


def facts(peers: list[str]) -> dict[str, Any]:
    """What the figures were measured on and with."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "packages": {peer: envs.packages(peer) for peer in peers},
    }


def _field(file: Path, name: str) -> str:
    """The first value of `name` in a "name : value" file of the kernel."""
    if not file.exists():
        return ""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _commit() -> str:
    """The commit of the checkout, marked when the files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=envs.REPOSITORY,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or "uncommitted"
