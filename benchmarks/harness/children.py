"""Runs one measured child process and reads what it says.

A child prints `FITTED` the moment its first fit is done and `REPORT {json}` at its end; everything
else it prints is ignored. The clock of `wall_seconds` is the harness's own: it starts before the
process is spawned and stops when `FITTED` is read, so interpreter start, imports, data loading and
compilation are all in it.
"""

import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from harness import envs
from jobs.spec import Variant

TIMEOUT_SECONDS = 1800.0


class ChildFailed(RuntimeError):
    """A measured process ended without a report."""


def run(variant: Variant, data: Path, steps: int, cache: Path | None) -> dict[str, Any]:
    """Run `variant` once in a fresh process and return its figures."""
    script = envs.PEERS / variant.peer / variant.script
    command = [str(envs.python_of(variant.peer)), str(script)]
    command += ["--data", str(data), "--steps", str(steps), *variant.arguments]
    environ = envs.clean_environ() | _cache_settings(variant.peer, cache)
    environ["PYTHONPATH"] = str(envs.BENCHMARKS / "kit")  # where the children find childkit
    with tempfile.TemporaryFile("w+") as stderr:
        load = os.getloadavg()[0]
        start = time.monotonic()
        process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        wall, report = _listen(process, start)
        stderr.seek(0)
        complaints = stderr.read().strip()
    if process.returncode or wall is None or report is None:
        tail = f"\n{complaints[-3000:]}" if complaints else ""
        raise ChildFailed(f"exit code {process.returncode}{tail}")
    if "first_ess" in report:  # the clock that stopped at the first fit's end is ours
        report["ess_per_cold_second"] = report["first_ess"] / wall
    return report | {"wall_seconds": wall, "load_before": load}


def write_data(script: str, folder: Path) -> Path:
    """Write a job's arrays once, so that no measured process generates data or imports for it."""
    path = folder / "data.npz"
    command = [str(envs.python_of("data")), str(envs.PEERS / "data" / script), str(path)]
    subprocess.run(command, env=envs.clean_environ(), check=True)
    return path


def _listen(
    process: "subprocess.Popen[str]", start: float
) -> tuple[float | None, dict[str, Any] | None]:
    """Read a child to its end; return the seconds until it was fitted, and its report."""
    wall, report = None, None
    assert process.stdout is not None
    timer = threading.Timer(TIMEOUT_SECONDS, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith("FITTED") and wall is None:
                wall = time.monotonic() - start
            elif line.startswith("REPORT "):
                report = json.loads(line.removeprefix("REPORT "))
        process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:  # we were interrupted: leave nothing running behind
            process.kill()
            process.wait()
    return wall, report


def _cache_settings(peer: str, folder: Path | None) -> dict[str, str]:
    """The environment variables that point a peer's compiled-code cache at `folder`."""
    if peer == "ours":
        return {"POSTERITY_CACHE": "off" if folder is None else str(folder)}
    if folder is None:
        return {}
    if peer == "pymc":
        return {"PYTENSOR_FLAGS": f"base_compiledir={folder}"}
    # By default JAX keeps only what took a second to compile; the peers here take less.
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
