"""Ours beside each peer, in one run: `python benchmarks/run.py moons`, `... run.py all`.

See README.md in this folder for what is measured and how to read it.
"""

import argparse
import sys
from pathlib import Path

from harness import envs, machine, measure, report
from jobs import REGISTRY, select
from jobs.spec import Job, Variant

RESULTS = envs.BENCHMARKS / "results"


def main() -> int:
    """Run the chosen jobs; return 1 if any variant of them failed."""
    arguments = _arguments()
    if arguments.list:
        for job in REGISTRY.values():
            print(f"{job.name}: {', '.join(v.name for v in job.variants)}")
        return 0
    try:
        chosen = [(job, _variants(job, arguments.only)) for job in select(arguments.jobs)]
    except ValueError as error:
        sys.exit(str(error))
    out = arguments.out or (RESULTS / "smoke" if arguments.steps else RESULTS)
    failed = False
    for job, variants in chosen:
        repeats = arguments.repeats or job.repeats
        result = measure.measure(job, variants, arguments.steps or job.steps, repeats)
        failed |= bool(result.failures)
        if not result.runs:
            continue
        peers = dict.fromkeys(v.peer for v in variants if v.name in result.runs)
        table = report.write(result, machine.facts(list(peers)), out)
        print(f"\n{table.read_text()}\nwritten to {table}\n", flush=True)
    return int(failed)


def _variants(job: Job, only: str | None) -> list[Variant]:
    """The variants to measure: the standing ones, or those named."""
    if only is None:
        return [variant for variant in job.variants if not variant.optional]
    names = set(only.split(","))
    chosen = [variant for variant in job.variants if variant.name in names]
    if not chosen:
        raise ValueError(f"{job.name} has only {', '.join(v.name for v in job.variants)}")
    return chosen


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", default=["all"], help="job, family of jobs, or all")
    parser.add_argument("--repeats", type=int, help="processes per variant (5; uci 1)")
    parser.add_argument("--out", type=Path, help="folder for the results (benchmarks/results)")
    parser.add_argument("--only", help="comma-separated variants, optional ones included")
    parser.add_argument("--steps", type=int, help="smoke run of so many steps (results/smoke)")
    parser.add_argument("--list", action="store_true", help="list the jobs and their variants")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
