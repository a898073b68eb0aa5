"""How near each method comes to NUTS on two moons, by what it predicts: a table.

python benchmarks/fidelity.py [--seeds 2] [--steps 200000] [--out benchmarks/results/fidelity.md]

The reference is one long run of NUTS; it must have an r-hat below 1.01, or nothing is written. What
is compared is the probability of class 1 on 50 x 50 points over [-2, 2]², which hold the data.
Samplers make the same number of steps in batches of 50, half of them before the first kept draw,
and choose their own step sizes, but for one row; variational methods stop by themselves.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import posterity as po

CHAINS, THIN, BATCH = 4, 10, 50
DRAWS = 10_000  # of a density, where it is not draws
RHAT = 1.01  # the most that the reference may have
EDGE = 2.0
HEAD = (
    *("method", "r-hat", "mean difference of p", "largest", "mean difference of sd(p)"),
    *("test NLL", "gradients of rows, millions", "seconds"),
)


class Surface(NamedTuple):
    """Probability of class 1 and its sd over draws, at every point; NLL of the test rows."""

    probs: np.ndarray
    sd: np.ndarray
    nll: float


class Found(NamedTuple):
    """One fit, as the table has it. r-hat is NaN where there are no chains."""

    rhat: float
    mean: float
    largest: float
    sd: float
    nll: float
    gradients: float
    seconds: float


def methods(steps: int) -> dict[str, Any]:
    """The rows of the table: library defaults, and the same number of steps for samplers."""
    kept = steps // 2
    run: dict[str, Any] = {
        "chains": CHAINS,
        "draws": kept // THIN,
        "thin": THIN,
        "warmup": steps - kept,
        "batch_size": BATCH,
    }
    return {
        "ADVI, mean-field": po.ADVI(),
        "ADVI, full-rank": po.ADVI(family="full-rank"),
        "IVON": po.IVON(),
        "SGLD": po.SGLD(**run),
        "pSGLD": po.SGLD(preconditioner="rmsprop", **run),
        "SGHMC": po.SGHMC(**run),
        "SGNHT": po.SGNHT(**run),
        "SGFS, B = I": po.SGFS(**run),
        "SGFS, B = Fisher": po.SGFS(preconditioner="fisher", **run),
        "SGFS, B = Fisher, ε = 0.1": po.SGFS(preconditioner="fisher", step_size=0.1, **run),
    }


def reference(steps: int) -> po.NUTS:
    """NUTS, long enough for an r-hat of 1.00."""
    draws = steps // 50
    return po.NUTS(chains=CHAINS, warmup=draws // 4, draws=draws)


def grid(side: int) -> np.ndarray:
    """Points over [-2, 2]², (side², 2)."""
    ticks = np.linspace(-EDGE, EDGE, side)
    return np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)


def moons() -> po.Model:
    """2-5-5-1, tanh, no biases, N(0, 1) on the weights."""
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    return po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())


def surface(posterior: po.Posterior, test: tuple[np.ndarray, np.ndarray]) -> Surface:
    """What a posterior predicts, by all its draws."""
    draws = posterior.distribution.stored or DRAWS
    pred = posterior.predict(grid(50), draws=draws)
    nll = po.metrics.nll(test[1], posterior.predict(test[0], draws=draws))
    return Surface(np.asarray(pred.probs[:, 1]), np.sqrt(pred.epistemic), nll)


def compare(posterior: po.Posterior, method: Any, seen: Surface, truth: Surface) -> Found:
    """One fit against the reference."""
    off = np.abs(seen.probs - truth.probs)
    sd = float(np.abs(seen.sd - truth.sd).mean())
    seconds = float(posterior.facts["seconds"])
    millions = gradients(posterior, method) / 1e6
    return Found(rhat(posterior), off.mean(), off.max(), sd, seen.nll, millions, seconds)


def rhat(posterior: po.Posterior) -> float:
    """The largest r-hat of predictions on 8 x 8 points of the grid; NaN without chains."""
    if not posterior.distribution.stored:
        return float("nan")
    return posterior.diagnose(grid(8)).predictions.rhat


def gradients(posterior: po.Posterior, method: Any) -> float:
    """Gradients of single rows that the run took; NUTS' in its warm-up are not known."""
    rows = posterior.target.rows
    if isinstance(method, po.NUTS):
        return rows * float(posterior.history.leapfrogs.sum())
    if posterior.distribution.stored:
        return BATCH * method.total_steps * method.chains
    return rows * posterior.facts["steps_made"] * method.draws


def line(name: str, found: list[Found]) -> str:
    """A row: means over seeds, the largest r-hat, and the seconds of what is compiled already."""
    mean = {field: statistics.fmean(getattr(f, field) for f in found) for field in Found._fields}
    worst = max(f.rhat for f in found)
    cells = [
        name,
        "–" if np.isnan(worst) else f"{worst:.3f}",
        f"{mean['mean']:.4f}",
        f"{mean['largest']:.3f}",
        f"{mean['sd']:.4f}",
        f"{mean['nll']:.4f}",
        f"{mean['gradients']:,.0f}",
        f"{min(f.seconds for f in found):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--steps", type=int, default=200_000, help="of each chain, warm-up included"
    )
    parser.add_argument("--only", help="comma-separated rows")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/fidelity.md")
    given = parser.parse_args()
    x, y, *test = po.data.moons()
    model = moons()
    nuts = reference(given.steps)

    def fit(method: Any, seed: int) -> tuple[po.Posterior, Surface]:
        posterior = po.fit(model, (x, y), method, seed=seed, progress=False)
        return posterior, surface(posterior, test)

    posterior, truth = fit(nuts, 0)
    found = rhat(posterior)
    length = posterior.distribution.shape
    print(f"NUTS: {length[0]} x {length[1]:,} draws, r-hat {found:.4f}, NLL {truth.nll:.4f}")
    if not found < RHAT:
        raise SystemExit(f"the reference has not converged: r-hat {found:.3f}; draw longer.")
    rule = ["---"] + ["---:"] * (len(HEAD) - 1)
    table = [f"| {' | '.join(cells)} |" for cells in (HEAD, rule)]
    rows = {"NUTS, another seed": nuts} | methods(given.steps)
    chosen = rows if given.only is None else {name: rows[name] for name in given.only.split(",")}
    for name, method in chosen.items():
        runs = []
        for seed in range(1, 1 + (1 if method is nuts else given.seeds)):
            posterior, seen = fit(method, seed)
            runs.append(compare(posterior, method, seen, truth))
            print(f"  {name}, seed {seed}: {runs[-1]}; {posterior.result.warnings}", flush=True)
        table.append(line(name, runs))
        print(table[-1], flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page(table, nuts, found, truth, given))
    print(given.out.read_text())


def page(
    table: list[str], nuts: po.NUTS, found: float, truth: Surface, given: argparse.Namespace
) -> str:
    """The table with what is needed to read it."""
    return "\n".join(
        [
            "# Fidelity to NUTS on two moons",
            "",
            f"2-5-5-1, tanh, no biases, N(0, 1) weights, 500 rows. Reference: NUTS, {CHAINS} "
            f"chains of {nuts.warmup:,} + {nuts.draws:,} draws, r-hat {found:.4f}, test NLL "
            f"{truth.nll:.4f}. *p* is the probability of class 1 on 50 x 50 points over [-2, 2]²; "
            "for two classes its difference is the total variation distance of the predictive "
            "distributions, so one column is both. *sd(p)* is over draws. r-hat: the largest over "
            f"8 x 8 of the points, {CHAINS} chains. Samplers make {given.steps:,} steps per chain "
            f"in batches of {BATCH}, half of them warm-up, keep every {THIN}th, and choose their "
            f"step sizes unless the row has one. Means over {given.seeds} seeds; the largest "
            "r-hat; the seconds of the faster fit. The first row is what the reference's own Monte "
            "Carlo error amounts to. Gradients leave out NUTS' warm-up, and those that the "
            "samplers' warm-up takes for its step size. Repeat with `python "
            "benchmarks/fidelity.py`.",
            "",
            *table,
            "",
        ]
    )


if __name__ == "__main__":
    main()
