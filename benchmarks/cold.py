"""What our mechanisms for a fast first fit are worth: each switched off, beside all switched on.

python benchmarks/cold.py                    about 25 minutes on two cores
python benchmarks/cold.py --rounds 1         does every part run?
python benchmarks/cold.py --only moons,wave

A run is a fresh process with an empty folder for compiled code: from before it is spawned until
its first fit is done. The jobs are those of `run.py`. Runs alternate (on, off, on, off, ...) and a
figure is the median of the differences of neighbours, so that a load that comes and goes cancels;
seconds of the processor (user and system, `os.wait4`) are beside those of the wall. A/A is the
same between neighbours that are both on. A mechanism stays if it saves at least 15 % of a job's
wall or processor time, with an interval that leaves out what A/A shows.

Results go to `results/cold.json` and `results/cold.md`. A mechanism that did not stay is gone from
here, too; `docs/decisions.md` has its figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
OFF = "COLD_OFF"  # the variable that tells a child which mechanism to switch off
LEAST = 0.15  # of a job's time: what a mechanism must save


class Job(NamedTuple):
    """A script of `peers/ours`, its data, and the mechanisms that it meets."""

    script: str
    steps: int
    mechanisms: tuple[str, ...]


# `brief` is of runs of few steps: the moons' and the gap's are compiled well with it and without.
JOBS = {
    "moons": Job("moons.py", 30_000, ("once",)),
    "gap": Job("gap.py", 30, ("once",)),
    "wave": Job("wave.py", 1_500, ("brief", "once")),
}
MECHANISMS = {
    "brief": "short runs are compiled fast rather than well (`loop.compiled_for`)",
    "once": "what runs once is compiled fast rather than well (`cpu.compile.quick_jit`)",
}


# -- in a child -----------------------------------------------------------------------------------


def without_brief() -> None:
    """No run counts as brief."""
    sys.modules["posterity.run.loop"].LITTLE = 0  # type: ignore[attr-defined]


def without_once() -> None:
    """What runs once is compiled as all other code is."""
    import equinox as eqx

    loop: Any = sys.modules["posterity.run.loop"]
    prepare = eqx.filter_jit(loop.prepare.__wrapped__)
    for name in ("loop", "run"):
        module: Any = sys.modules[f"posterity.run.{name}"]
        module.prepare = prepare
    start: Any = sys.modules["posterity.run.start"]
    start._drawn = eqx.filter_jit(start._drawn.__wrapped__)


SWITCHES = {"brief": without_brief, "once": without_once}


def fit_once(script: str) -> None:
    """Run a job until its first fit is done."""
    sys.path.insert(0, str(HERE / "kit"))
    import childkit

    def stop() -> None:
        print("FITTED", flush=True)
        os._exit(0)

    childkit.fitted = stop
    off = os.environ.get(OFF, "")
    # As in the scripts: what they import, and then the library, which imports more of itself when
    # it is named.
    for name in ("jax.numpy", "numpyro.distributions", "optax"):
        importlib.import_module(name)
    import posterity as po

    assert po.fit
    SWITCHES.get(off, bool)()
    runpy.run_path(str(HERE / "peers" / "ours" / script), run_name="__main__")


# -- the measuring --------------------------------------------------------------------------------


class Cost(NamedTuple):
    """Seconds of one first fit."""

    wall: float
    cpu: float
    load: float


def environ() -> dict[str, str]:
    """Of children: no settings of JAX's, and this checkout's library."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_", OFF))}
    return kept | {"PYTHONPATH": str(HERE.parent / "src")}


def first_fit(job: Job, data: Path, off: str) -> Cost:
    """One run in a fresh process with an empty folder for compiled code."""
    folder = tempfile.mkdtemp(prefix="cold-")
    command = [sys.executable, __file__, "--child", job.script]
    command += ["--data", str(data), "--steps", str(job.steps)]
    load = os.getloadavg()[0]
    try:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environ() | {OFF: off, "POSTERITY_CACHE": folder},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        said = b"".join(iter(process.stdout.readline, b"FITTED\n"))
        wall = time.perf_counter() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if process.returncode:
        raise RuntimeError(f"{command}: exit code {process.returncode}; {said.decode()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, load)


def rounds(job: Job, data: Path, count: int) -> Iterator[dict[str, list[Any]]]:
    """Pairs (on, off) by mechanism, and A/A pairs, after each round."""
    first_fit(job, data, "")  # reads the files of the libraries from disk
    found: dict[str, list[Any]] = {name: [] for name in (*job.mechanisms, "A/A")}
    last = first_fit(job, data, "")
    for _ in range(count):
        on = first_fit(job, data, "")
        found["A/A"].append((on, last))
        for at, name in enumerate(job.mechanisms):
            if at:
                on = first_fit(job, data, "")
            found[name].append((on, first_fit(job, data, name)))
        last = first_fit(job, data, "")
        yield found


def interval(values: list[float]) -> tuple[float, float]:
    """95 % of the medians of resamples."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(5_000))
    return medians[len(medians) // 40], medians[-len(medians) // 40]


def summary(pairs: list[Any], clock: str) -> dict[str, Any]:
    """What was saved in pairs (on, off): the median of the differences, as a share of the time."""
    on, off = ([getattr(Cost(*pair[i]), clock) for pair in pairs] for i in (0, 1))
    saved = [b - a for a, b in zip(on, off)]
    whole = statistics.median(off)
    low, high = interval(saved)
    return {
        "on": statistics.median(on),
        "off": whole,
        "saved": statistics.median(saved),
        "share": statistics.median(saved) / whole,
        "interval": [low / whole, high / whole],
        "positive": sum(s > 0 for s in saved),
        "pairs": len(saved),
    }


def summaries(pairs: dict[str, list[Any]]) -> dict[str, Any]:
    """Of all mechanisms of a job and both clocks, with whether each pays there."""
    found = {name: {c: summary(p, c) for c in ("wall", "cpu")} for name, p in pairs.items()}
    for name, of in found.items():
        for clock, it in of.items():
            noise = max(map(abs, found["A/A"][clock]["interval"]))
            it["pays"] = name != "A/A" and it["share"] >= LEAST and it["interval"][0] > noise
    return found


# -- the telling ----------------------------------------------------------------------------------


def told(results: dict[str, Any]) -> str:
    """The results as tables."""
    lines = ["# What mechanisms for a fast first fit are worth", ""]
    lines += [results["machine"], ""]
    verdicts: dict[str, list[str]] = {}
    if results["jobs"]:
        lines += [
            "Saved: median of off − on over pairs, as a share of the time without the mechanism, "
            "with a 95 % bootstrap interval of that median.",
            "",
            "| job | mechanism | clock | on, s | off, s | saved | 95 % | pairs that saved |",
            "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        ]
    for job, kept in results["jobs"].items():
        for name, of in kept["summary"].items():
            for clock, it in of.items():
                low, high = (f"{100 * end:+.1f}" for end in it["interval"])
                lines.append(
                    f"| {job} | {name} | {clock} | {it['on']:.2f} | {it['off']:.2f} | "
                    f"{100 * it['share']:+.1f} % | {low} … {high} | "
                    f"{it['positive']} of {it['pairs']} |"
                )
                if name != "A/A":
                    verdicts.setdefault(name, [])
                    if it["pays"]:
                        verdicts[name].append(f"{100 * it['share']:.0f} % of the {job}'s {clock}")
    lines.append("")
    for name, where in verdicts.items():
        said = f"stays: saves {', '.join(where)}" if where else "goes: saves 15 % of nothing"
        lines.append(f"* **{name}** ({MECHANISMS.get(name, 'gone')}) {said}.")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Where this was measured."""
    from importlib import metadata

    versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("jax", "jaxlib", "safetensors"))
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, Python {sys.version.split()[0]}, {versions}, commit {commit}."


def keep(results: dict[str, Any], out: Path) -> None:
    """Write what there is so far."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "cold.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "cold.md").write_text(told(results))


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default="moons,gap,wave")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    wanted = args.only.split(",")
    out = args.out if args.rounds >= 10 else args.out / "smoke"
    results: dict[str, Any] = {"machine": machine(), "jobs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, job in JOBS.items():
            if name not in wanted:
                continue
            data = Path(folder, f"{name}.npz")
            make = [sys.executable, str(HERE / "peers" / "data" / job.script), str(data)]
            subprocess.run(make, check=True)
            for pairs in rounds(job, data, args.rounds):
                kept = {"steps": job.steps, "pairs": pairs, "summary": summaries(pairs)}
                results["jobs"][name] = kept
                keep(results, out)
                print(f"{name}: round {len(pairs['A/A'])}", file=sys.stderr, flush=True)
    keep(results, out)
    print(told(results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        script, sys.argv[1:] = sys.argv[2], sys.argv[3:]
        fit_once(script)
    else:
        main()
