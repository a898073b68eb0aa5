"""UCI regression: test error and likelihood over the 20 standard splits, beside published ones."""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jobs.spec import Job, Metric, Variant


class Published(NamedTuple):
    """Mean over splits ± its standard error, in the units of y (nats for the likelihood)."""

    rmse: float
    rmse_error: float
    log_likelihood: float
    log_likelihood_error: float


# Variational inference as in Graves 2011, run by Hernández-Lobato & Adams 2015 in these splits with
# one hidden layer of 50 (ReLU); the figures as table 1 of Gal & Ghahramani 2016 prints them again.
GRAVES = {
    "concrete": Published(7.19, 0.12, -3.39, 0.02),
    "energy": Published(2.65, 0.08, -2.39, 0.03),
    "yacht": Published(6.89, 0.67, -3.43, 0.16),
}
HEAD = (
    "table",
    "measure",
    "ours",
    "VI, Graves 2011",
    "ours is",
    "steps per fit",
    "converged",
    "seconds per fit",
)
NOTE = (
    "Mean over splits ± its standard error; RMSE in the units of y, log-likelihood in nats per "
    "test row. *Better* and *worse*: by more than two standard errors of the difference; *level*: "
    "less. Seconds per fit leave out each table's first fit, which compiles for all."
)


@dataclass(frozen=True)
class Study(Job):
    """A job about what is found rather than how fast: its runs are set beside published figures."""

    repeats: int = 1  # every fit has a fixed seed: a repeat would only time it again

    def sections(self, runs: dict[str, list[dict[str, Any]]]) -> list[str]:
        """The parts of the Markdown report below its head."""
        rows = [row for name, of_name in runs.items() for row in _rows(GRAVES[name], of_name[0])]
        rule = ["---", "---"] + ["---:"] * 2 + ["---"] + ["---:"] * 3
        lines = [f"| {' | '.join(row)} |" for row in (HEAD, rule, *rows)]
        return [NOTE, "\n".join(lines)]


def verdict(ours: float, error: float, theirs: float, their_error: float, sign: int) -> str:
    """How `ours` compares; `sign` is 1 where larger is better and -1 where smaller is."""
    gain = sign * (ours - theirs)
    if abs(gain) <= 2 * math.hypot(error, their_error):
        return "level"
    return "better" if gain > 0 else "worse"


def _rows(published: Published, run: dict[str, Any]) -> list[list[str]]:
    """Two rows of the table: the error, with how the fits went, and the likelihood."""
    converged = f"{run['converged']} of {len(run['splits'])}"
    fits = [f"{run['steps']:,.0f}", converged, f"{run['later_fit_seconds']:.1f}"]
    return [
        [run["table"], *_measure("RMSE", "rmse", published, run, -1), *fits],
        ["", *_measure("log-likelihood", "log_likelihood", published, run, 1), "", "", ""],
    ]


def _measure(
    title: str,
    key: Literal["rmse", "log_likelihood"],
    published: Published,
    run: dict[str, Any],
    sign: int,
) -> list[str]:
    ours = (run[key], run[f"{key}_error"])
    theirs = (getattr(published, key), getattr(published, f"{key}_error"))
    values = [f"{mean:.2f} ± {error:.2f}" for mean, error in (ours, theirs)]
    return [title, *values, verdict(*ours, *theirs, sign)]


JOBS = (
    Study(
        name="uci",
        title="UCI regression, one hidden layer of 50 (ReLU), mean-field ADVI, 20 splits",
        data="uci.py",
        steps=30_000,  # the library's default
        variants=tuple(Variant(name, "ours", "uci.py", ("--table", name)) for name in GRAVES),
        metrics=(
            Metric("rmse", "test RMSE"),
            Metric("rmse_error", "standard error"),
            Metric("log_likelihood", "test log-likelihood"),
            Metric("log_likelihood_error", "standard error"),
            Metric("coverage_90", "coverage of 90% intervals", digits=3),
            Metric("steps", "steps per fit", digits=0),
            Metric("converged", "converged, of 20", digits=0),
            Metric("first_fit_seconds", "first fit, s"),
            Metric("later_fit_seconds", "later fits, s"),
            Metric("wall_seconds", "process start to first fit, s"),
        ),
        references=(),
    ),
)
