"""Writes a measurement as JSON (every run) and as Markdown (medians, ranges, ratios)."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

from harness.measure import Measurement
from jobs.spec import Metric

_SHOWN_PACKAGES = (
    *("posterity", "jax", "numpyro", "blackjax", "pymc", "pytensor", "nutpie"),
    *("pyro-ppl", "posteriors", "torch", "numpy"),
)


def write(result: Measurement, machine: dict[str, Any], folder: Path) -> Path:
    """Write `<job>.json` and `<job>.md` into `folder`; return the path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "job": result.job.name,
        "title": result.job.title,
        "steps": result.steps,
        "repeats": result.repeats,
        "machine": machine,
        "summary": {name: _summaries(result, name) for name in result.runs},
        "runs": result.runs,
        "failures": result.failures,
    }
    path = folder / f"{result.job.name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    table = path.with_suffix(".md")
    table.write_text(_markdown(result, machine))
    return table


def _values(result: Measurement, name: str, metric: Metric) -> list[float]:
    return [run[metric.key] for run in result.runs.get(name, []) if metric.key in run]


def _summaries(result: Measurement, name: str) -> dict[str, dict[str, float]]:
    """Median, minimum and maximum of every metric that a variant reported."""
    summaries = {}
    for metric in result.job.metrics:
        if values := _values(result, name, metric):
            summaries[metric.key] = {
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
            }
    return summaries


def _markdown(result: Measurement, machine: dict[str, Any]) -> str:
    job = result.job
    parts = [f"# {job.title}", _conditions(result, machine)]
    jax = {packages["jax"] for packages in machine["packages"].values() if "jax" in packages}
    if len(jax) > 1:
        parts.append("**The peers ran on different versions of JAX.**")
    if result.steps != job.steps:
        parts.append(f"**Smoke run: {result.steps} steps instead of {job.steps}.**")
    parts += job.sections(result.runs) or _sections(result)
    if result.failures:
        parts.append("\n".join(f"* failed: {k}: `{v}`" for k, v in result.failures.items()))
    return "\n\n".join(parts) + "\n"


def _sections(result: Measurement) -> list[str]:
    """The standard tables: one for each headline, and one for the other metrics."""
    metrics = result.job.metrics
    parts = [_headline(result, metric) for metric in metrics if metric.headline]
    if details := [metric for metric in metrics if not metric.headline]:
        parts.append(_details(result, details))
    return parts


def _conditions(result: Measurement, machine: dict[str, Any]) -> str:
    """The sentence over the tables: how often, on what, with which versions."""
    versions = []
    for peer, packages in machine["packages"].items():
        shown = [f"{name} {packages[name]}" for name in _SHOWN_PACKAGES if name in packages]
        versions.append(f"{peer} ({', '.join(shown)})")
    return (
        f"{result.repeats} repeats, alternating, each a fresh process. {machine['cpus_usable']} of "
        f"{machine['cpus']} CPUs ({machine['cpu']}), Python {machine['python']}, "
        f"commit {machine['commit']}. Versions: {'; '.join(versions)}."
    )


def _headline(result: Measurement, metric: Metric) -> str:
    """One metric: median, range, and each median divided by those of the reference variants."""
    references = [name for name in result.job.references if name in result.runs]
    head = ["", "median", "min", "max", *(f"÷ {name}" for name in references)]
    rows = []
    for name in result.runs:
        if not (values := _values(result, name, metric)):
            continue
        median = statistics.median(values)
        figures = [_number(value, metric) for value in (median, min(values), max(values))]
        ratios = [_ratio(median, _values(result, other, metric)) for other in references]
        rows.append([name, *figures, *ratios])
    return f"## {metric.title}\n\n{_table(head, rows)}"


def _details(result: Measurement, metrics: list[Metric]) -> str:
    """The other metrics side by side, as "median (min to max)"."""
    rows = []
    for name in result.runs:
        cells = []
        for metric in metrics:
            values = _values(result, name, metric)
            cells.append(_with_range(values, metric) if values else "-")
        rows.append([name, *cells])
    return "## Details\n\n" + _table(["", *(metric.title for metric in metrics)], rows)


def _with_range(values: list[float], metric: Metric) -> str:
    median, low, high = (
        _number(value, metric) for value in (statistics.median(values), min(values), max(values))
    )
    return f"{median} ({low} to {high})"


def _number(value: float, metric: Metric) -> str:
    return f"{value:,.{metric.digits}f}"


def _ratio(value: float, reference: list[float]) -> str:
    if not reference or not statistics.median(reference):
        return "-"
    ratio = value / statistics.median(reference)
    decimals = max(0, 2 - math.floor(math.log10(ratio))) if ratio > 0 else 2
    return f"{ratio:.{min(decimals, 3)}f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
