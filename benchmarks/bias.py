"""Bias of stochastic-gradient samplers against step size, on a posterior that is known exactly.

python benchmarks/bias.py [--steps 400000] [--out benchmarks/results] [--figure FILE.png]

A linear regression of 200 rows, three correlated columns and known noise; batches of 20. For each
method and step size: the relative error of the variances (mean over the three directions in which
the exact posterior is round) and of the mean (in exact sds, largest), each with its Monte Carlo
standard error over eight chains; what theory says, to first order in the noise; the order, log₂ of
how much the error of the variances falls when the step size halves; and effective draws per 1,000
steps, of the direction that has the fewest.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import posterity as po
from oracles import Conjugate, conjugate
from posterity.diagnostics.convergence import ess_bulk

CHAINS = 8
ORACLE = conjugate(rows=200)
BATCH = 20


def methods(steps: int) -> dict[str, list[tuple[float, object]]]:
    """Method → (step size, settings), step sizes falling by half."""
    largest = float(np.linalg.eigvalsh(ORACLE.precision)[-1])
    kept = {"draws": steps // 10, "thin": 10, "chains": CHAINS, "warmup": steps // 5}
    long = [0.4 / largest * 2.0**-k for k in range(4)]
    noisy = [0.08 / largest * 2.0**-k for k in range(4)]
    paces = [0.3 / math.sqrt(largest) * 2.0**-k for k in range(4)]
    fisher = [4.0**3 * 2.0 / largest * 16.0**-k for k in range(3)]
    scales = np.diag(ORACLE.cov) * largest

    def row(make, sizes: list[float]) -> list[tuple[float, object]]:
        return [(size, make(size)) for size in sizes]

    return {
        "SGLD, all rows": row(lambda e: po.SGLD(step_size=e, **kept), long),
        "SGLD, independent batches": row(
            lambda e: independent(po.SGLD(step_size=e, batch_size=BATCH, **kept)),
            [size / 4 for size in noisy],
        ),
        "SGLD": row(lambda e: po.SGLD(step_size=e, batch_size=BATCH, **kept), noisy),
        "SGLD, fixed preconditioner": row(
            lambda e: po.SGLD(step_size=e, batch_size=BATCH, preconditioner=scales, **kept), noisy
        ),
        "SGLD, svrg": row(
            lambda e: po.SGLD(step_size=e, batch_size=BATCH, control_variates="svrg", **kept), noisy
        ),
        "SGHMC, all rows": row(lambda e: po.SGHMC(step_size=e, **kept), paces),
        "SGHMC, independent batches": row(
            lambda e: independent(po.SGHMC(step_size=e, batch_size=BATCH, **kept)),
            [size / 2 for size in paces],
        ),
        "SGHMC": row(lambda e: po.SGHMC(step_size=e, batch_size=BATCH, **kept), paces),
        "SGHMC, noise estimate": row(
            lambda e: po.SGHMC(step_size=e, batch_size=BATCH, noise_estimate=True, **kept),
            paces,
        ),
        "SGNHT": row(lambda e: po.SGNHT(step_size=e, batch_size=BATCH, **kept), paces),
        "SGFS": row(lambda e: po.SGFS(step_size=e, batch_size=BATCH, **kept), fisher),
        "SGFS, fisher": row(
            lambda e: po.SGFS(step_size=e, batch_size=BATCH, preconditioner="fisher", **kept),
            [4.0, 1.0],
        ),
    }


def independent(method: Any) -> Any:
    """The method with batches drawn with replacement, for which the theory is known."""
    object.__setattr__(method, "replacement", True)
    return method


def theory(name: str, size: float) -> float | None:
    """The relative error of the variances to first order in the gradients' noise; None: unknown."""
    precision = np.linalg.eigvalsh(ORACLE.precision)
    residual = ORACLE.y - ORACLE.x @ ORACLE.mean
    rows = len(ORACLE.y)
    noise = rows**2 / BATCH * np.cov((ORACLE.x * (residual / ORACLE.noise**2)[:, None]).T)
    if name == "SGLD, all rows":
        return float(np.mean(1 / (1 - size * precision / 2)) - 1)
    if name == "SGLD, independent batches":
        return float(size / 2 * (np.trace(ORACLE.precision) + np.trace(noise)) / 3)
    if name == "SGHMC, independent batches":
        alpha = po.SGHMC.friction
        share = (1 - alpha / 2) ** 2 / (1 - (1 - alpha) ** 2)
        return float(size**2 * share * np.trace(noise) / 3)
    return 0.0 if name in ("SGHMC, all rows", "SGFS", "SGFS, fisher") else None


def errors(posterior: po.Posterior, oracle: Conjugate) -> dict[str, float]:
    """Errors of variances and mean with their standard errors, and the effective draws."""
    root = np.linalg.cholesky(oracle.precision)
    draws = (np.asarray(posterior.distribution.theta, np.float64) - oracle.mean) @ root
    var = (draws**2).mean(1).mean(1) - 1  # of each chain
    mean = draws.mean(1)
    worst = int(np.argmax(np.abs(mean.mean(0))))
    spread = np.sqrt(len(draws))
    gradients = posterior.settings["draws"] * posterior.settings["thin"] * CHAINS
    return {
        "var": float(var.mean()),
        "var_error": float(var.std(ddof=1) / spread),
        "mean": float(abs(mean.mean(0)[worst])),
        "mean_error": float(mean[:, worst].std(ddof=1) / spread),
        "ess": 1_000 * float(np.min(ess_bulk(draws))) / gradients,
    }


def measured(steps: int) -> dict[str, list[dict[str, float]]]:
    """Method → a row per step size."""
    found: dict[str, list[dict[str, float]]] = {}
    for number, (name, rows) in enumerate(methods(steps).items()):
        for index, (size, method) in enumerate(rows):
            # A seed for each: with one for all, the errors of a column would be of one sign.
            seed = 10 * number + index
            posterior = po.fit(ORACLE.model, ORACLE.data, method, seed=seed, progress=False)
            found.setdefault(name, []).append({"size": size, **errors(posterior, ORACLE)})
            print(name, found[name][-1], flush=True)
    return found


def order(now: dict[str, float], before: dict[str, float] | None) -> str:
    """Of the error of the variances, where it is more than noise."""
    if before is None or abs(now["var"]) < 4 * now["var_error"] or now["var"] * before["var"] < 0:
        return ""
    fall = math.log2(before["var"] / now["var"]) / math.log2(before["size"] / now["size"])
    return f"{fall:.1f}"


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """The markdown table."""
    lines = [
        "| method | ε | error of variances | theory | order | error of mean (sds) | "
        "effective draws per 1,000 steps |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in found.items():
        for before, row in zip([None, *rows], rows):
            known = theory(name, row["size"])
            lines.append(
                f"| {name} | {row['size']:.2g} | {row['var']:+.2%} ± {row['var_error']:.2%} | "
                f"{'' if known is None else f'{known:+.2%}'} | {order(row, before)} | "
                f"{row['mean']:.3f} ± {row['mean_error']:.3f} | {row['ess']:.2g} |"
            )
    return "\n".join(lines)


def draw(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Error against effective draws: what each method pays for speed."""
    from posterity.plots.style import axes, colour, label, marker, new_figure, title

    figure = new_figure((8.4, 4.6))
    ax = axes(figure.add_subplot())
    shown = [name for name in found if "independent" not in name]
    for number, name in enumerate(shown):
        rows = found[name]
        ess = np.array([row["ess"] for row in rows])
        error = np.abs([row["var"] for row in rows])
        its = np.array([row["var_error"] for row in rows])
        seen = error > 2 * its
        look = {"color": colour(number), "marker": marker(number), "markersize": 6}
        line = "--" if number >= 7 else "-"
        ax.plot(ess, np.maximum(error, 2 * its), linewidth=1, linestyle=line, label=name, **look)
        # Within noise: an upper bound, drawn hollow.
        hollow = {**look, "markerfacecolor": "white", "linestyle": ""}
        ax.plot(ess[~seen], np.maximum(error, 2 * its)[~seen], **hollow)
    ax.set_xscale("log")
    ax.set_yscale("log")
    label(ax, "effective draws per 1,000 steps", "relative error of variances")
    title(ax, "Bias against speed: along a line the step size falls; hollow: two standard errors")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--figure", type=Path)
    settings = parser.parse_args()
    found = measured(settings.steps)
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "bias.json").write_text(json.dumps(found, indent=1) + "\n")
    (settings.out / "bias.md").write_text(table(found) + "\n")
    print(table(found))
    if settings.figure:
        draw(found, settings.figure)


if __name__ == "__main__":
    main()
