"""Measures a job: the variants alternate (A B C A B C ...), each run in a fresh process."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import children, envs
from jobs.spec import Job, Variant

_REHEARSAL_STEPS = 100


@dataclass
class Measurement:
    """All runs of one job: for each variant its figures, one entry per repeat."""

    job: Job
    steps: int
    repeats: int
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def measure(job: Job, variants: list[Variant], steps: int, repeats: int) -> Measurement:
    """Rehearse every variant once, then measure them alternating.

    A variant that fails is dropped from the remaining repeats and named in `failures`.
    """
    result = Measurement(job, steps, repeats)
    _ensure_environments(variants, result)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        scratch = Path(name)
        data = children.write_data(job.data, scratch)
        for variant in variants:
            _attempt(variant, data, steps, scratch, result, rehearsal=True)
        for repeat in range(repeats):
            for variant in variants:
                label = f"{job.name} {repeat + 1}/{repeats}"
                figures = _attempt(variant, data, steps, scratch, result)
                if figures is not None:
                    result.runs.setdefault(variant.name, []).append(figures)
                    print(f"{label} {variant.name}: {figures['wall_seconds']:.2f} s", flush=True)
    return result


def _ensure_environments(variants: list[Variant], result: Measurement) -> None:
    envs.ensure("data")
    for peer in dict.fromkeys(variant.peer for variant in variants):
        try:
            envs.ensure(peer)
        except envs.EnvironmentFailed as error:
            print(f"[{peer}] FAILED: {error}", flush=True)
            reason = "its environment could not be made"
            result.failures |= {v.name: reason for v in variants if v.peer == peer}


def _attempt(
    variant: Variant,
    data: Path,
    steps: int,
    scratch: Path,
    result: Measurement,
    rehearsal: bool = False,
) -> dict[str, Any] | None:
    """Run a variant that has not failed so far.

    The rehearsal is not measured. It brings the files into memory, shows a broken script before the
    long runs begin, and fills the cache of a warm variant: that takes the full number of steps,
    because the number of steps is part of the compiled program.
    """
    if variant.name in result.failures:
        return None
    if rehearsal and variant.cache != "warm":
        steps = min(steps, _REHEARSAL_STEPS)
    try:
        return children.run(variant, data, steps, _cache_folder(variant, scratch))
    except children.ChildFailed as error:
        print(f"{result.job.name} {variant.name}: FAILED: {error}", flush=True)
        # The whole story is for the console; its last line is enough for the record.
        result.failures[variant.name] = str(error).splitlines()[-1]
        return None


def _cache_folder(variant: Variant, scratch: Path) -> Path | None:
    if variant.cache == "default":
        return None
    if variant.cache == "cold":
        return Path(tempfile.mkdtemp(prefix=f"{variant.name}-", dir=scratch))
    folder = scratch / variant.name
    folder.mkdir(exist_ok=True)
    return folder
