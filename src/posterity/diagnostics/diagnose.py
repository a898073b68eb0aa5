"""Diagnostics of Markov chains, in the space of functions first."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np

from posterity.diagnostics import advice, other_chains
from posterity.diagnostics.advice import Sampler
from posterity.diagnostics.convergence import Mixing, bfmi, mcse_mean, mixing
from posterity.diagnostics.monitored import Quantities, monitor
from posterity.diagnostics.monitored import noise as monitored_noise
from posterity.diagnostics.other_chains import Change
from posterity.distributions.draws import Draws
from posterity.inputs import row_count, take
from posterity.model.net_target import Target
from posterity.model.target import AbstractTarget

ROWS = 100  # training rows at which a fit compares predictions,
WORK = 2e9  # or as many as keep rows × draws × parameters below this,
FEWEST_ROWS = 10  # but not fewer
NAMED_ROWS = 20  # named numbers in a table
REMARK = (
    "Weights of a network are label-symmetric: chains that predict alike may differ in every "
    "weight, so these figures mislead in both directions. Judge by the predictions."
)


@dataclasses.dataclass(frozen=True)
class Worst:
    """The worst figures of many quantities, each with the quantity it is of.

    Attributes:
        count: how many quantities there were; constant: how many of them never change.
        rhat, ess_bulk, ess_tail: the largest r-hat, the least effective sample sizes; NaN where
            nothing changes or there are fewer than four draws per chain.
        rhat_at, ess_bulk_at, ess_tail_at: of which quantity: ``row 12``, ``layers.0.weight[1, 0]``.
    """

    count: int
    constant: int
    rhat: float
    rhat_at: str
    ess_bulk: float
    ess_bulk_at: str
    ess_tail: float
    ess_tail_at: str


@dataclasses.dataclass(frozen=True)
class Named:
    """Figures of one named number, in its own (constrained) units."""

    name: str
    mean: float
    sd: float
    mcse: float
    rhat: float
    ess_bulk: float
    ess_tail: float


@dataclasses.dataclass(frozen=True)
class Diagnostics:
    """Whether chains have converged, judged by what they predict; printing it gives a table.

    Attributes:
        chains, draws: how many chains, and kept draws of each.
        step: every how many-th draw the figures of quantities are of; 1 unless there are many.
        predictions: of E[y | x, θ] at held inputs; None where the model has none.
        named: of the likelihood's unknowns, hyperparameters and the sites of a program.
        weights: of elements of a network's θ, which `remark` warns of.
        sampler: what the sampler reported.
        advice: a sentence for each thing that went wrong; empty for good chains.
    """

    chains: int
    draws: int
    step: int
    predictions: Worst | None
    named: tuple[Named, ...]
    weights: Worst | None
    sampler: Sampler
    advice: tuple[str, ...]

    @property
    def length(self) -> str:
        """How many chains of how many draws, in words."""
        return f"{self.chains:,} chain{'s' * (self.chains > 1)} of {self.draws:,} draws"

    @property
    def remark(self) -> str:
        """What to know of the figures of weights; empty where there are none."""
        return REMARK if self.weights else ""

    def to_json(self) -> dict[str, Any]:
        """Plain data, for files and machines; figures that are not finite are strings."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Diagnostics:
        """The inverse of `to_json`."""
        sampler = dict(data["sampler"])
        if sampler["bfmi"] is not None:
            sampler["bfmi"] = tuple(map(float, sampler["bfmi"]))
        return cls(
            chains=int(data["chains"]),
            draws=int(data["draws"]),
            step=int(data["step"]),
            predictions=_made(Worst, data["predictions"]),
            named=tuple(_made(Named, row) for row in data["named"]),
            weights=_made(Worst, data["weights"]),
            sampler=_made(Sampler, sampler),
            advice=tuple(map(str, data["advice"])),
        )

    def table(self) -> list[dict[str, str]]:
        """Rows of r-hat and effective sample sizes: predictions, named numbers, weights."""
        rows = []
        if self.predictions:
            rows.append(_worst_row("predictions", self.predictions))
        named = self.named
        if len(named) > NAMED_ROWS:  # then those that are worst
            named = tuple(sorted(named, key=lambda number: -np.nan_to_num(number.rhat)))
        for number in named[:NAMED_ROWS]:
            figures = (number.rhat, number.ess_bulk, number.ess_tail)
            rows.append(_row(number.name, *zip(figures, ("", "", ""))))
        if self.weights:
            rows.append(_worst_row("weights", self.weights))
        return rows

    def facts(self) -> dict[str, str]:
        """What the sampler reported, in words: name → figure."""
        s = self.sampler
        found: dict[str, str] = {}
        if s.divergences is not None:
            found["divergent steps"] = f"{s.divergences:,} of {s.steps:,}"
        if s.depth_hits is not None:
            found["steps of the longest path"] = f"{s.depth_hits:,} of {s.steps:,}"
        if s.acceptance is not None:
            found["mean acceptance"] = f"{s.acceptance:.2f}"
        if s.leapfrogs is not None:
            found["leapfrogs per step"] = f"{s.leapfrogs:.1f}"
        if s.bfmi is not None:
            found["E-BFMI by chain"] = ", ".join(f"{value:.2f}" for value in s.bfmi)
        return found

    def __str__(self) -> str:
        table = self.table()
        heads = list(_row("", *[(math.nan, "")] * 3))
        lines = [heads, *([row[head] for head in heads] for row in table)] if table else []
        widths = [max(len(line[at]) for line in lines) for at in range(len(heads))] if table else []
        said = [self.length]
        said += ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        said += [f"{name}: {figure}" for name, figure in self.facts().items()]
        return "\n".join([*said, *([self.remark] if self.remark else []), *self.advice])


def diagnose(
    target: AbstractTarget,
    draws: Draws,
    fields: Mapping[str, np.ndarray],
    x: Any,
    *,
    rows: np.ndarray | None = None,
    settings: Mapping[str, Any] | None = None,
    cause: str = "",
) -> Diagnostics:
    """Figures and advice about chains.

    Args:
        target: the model as densities of θ.
        draws: the chains' draws; at most 4,000 of them all, or 250 per chain, are used.
        fields: what every kept step reported, (chain, step) each; of a Hamiltonian sampler
            ``divergent``, ``depth``, ``energy``, ``acceptance_rate`` and ``leapfrogs``.
        x: inputs (rows, ...) at which predictions are compared; None for a model without.
        rows: numbers of these rows, where they are a part of more.
        settings: of the method; ``target_acceptance`` and ``max_depth`` are looked at.
        cause: why steps diverged, as a sentence, where that is known.
    """
    theta = np.asarray(draws.theta)
    monitored = monitor(target, draws, x, rows)
    sampler = _sampler(fields, settings or {})
    said = advice.on_chains(theta)
    judged = not len(advice.standing(theta))  # of a chain that stands all has been said
    worst: dict[str, Worst] = {}
    named: tuple[Named, ...] = ()

    @functools.cache
    def change() -> Change | None:
        """What other chains would predict; asked only where chains are apart."""
        if monitored.predictions is None or len(theta) < other_chains.FEWEST:
            return None
        of_net = cast(Target, target)
        noise = monitored_noise(of_net, draws, x)
        values, log_joint = monitored.predictions.values, fields.get("log_joint")
        found = other_chains.change(values, noise, log_joint)
        # The sd of a class is of its probability, and says nothing more.
        return found._replace(sd=0 * found.sd) if of_net.likelihood.classes else found

    kinds = {
        "predictions": monitored.predictions,
        "named quantities": monitored.named,
        "weights": monitored.weights,
    }
    for what, quantities in kinds.items():
        if quantities is None:
            continue
        found = mixing(quantities.values)
        worst[what] = _worst(quantities, found)
        if judged and what != "weights":
            more = advice.on_mixing(what, quantities, found, change)
            once = any(sentence.startswith(advice.LITTLE) for sentence in said)
            said += [s for s in more if not (once and s.startswith(advice.LITTLE))]
        if what == "named quantities":
            named = _each(quantities, found)
    said += advice.on_sampler(sampler, settings or {}, cause)
    return Diagnostics(
        chains=theta.shape[0],
        draws=theta.shape[1],
        step=monitored.step,
        predictions=worst.get("predictions"),
        named=named,
        weights=worst.get("weights"),
        sampler=sampler,
        advice=tuple(dict.fromkeys(said)),
    )


def diagnose_fit(
    target: AbstractTarget,
    draws: Draws,
    fields: Mapping[str, np.ndarray],
    data: Any,
    settings: Mapping[str, Any],
    cause: str = "",
) -> Diagnostics:
    """`diagnose` at up to 100 evenly spaced rows of the data of a fit; fewer for large nets."""
    x = getattr(data, "x", None)
    if x is None:
        return diagnose(target, draws, fields, None, settings=settings, cause=cause)
    stored = min(draws.stored, 4_000)
    most = int(np.clip(WORK / (stored * target.size), FEWEST_ROWS, ROWS))
    count = row_count(x)
    rows = np.linspace(0, count - 1, min(most, count)).astype(int)
    some = take(jax.tree.map(np.asarray, x), rows)
    return diagnose(target, draws, fields, some, rows=rows, settings=settings, cause=cause)


def _worst(quantities: Quantities, found: Mixing) -> Worst:
    figures: list[Any] = [math.nan, ""] * len(found)
    if not np.isnan(found.rhat).all():
        at = [int(np.nanargmax(found.rhat)), *(int(np.nanargmin(ess)) for ess in found[1:])]
        figures = []
        for place, values in zip(at, found):
            figures += [float(values[place]), quantities.labels[place]]
    values = quantities.values
    constant = int((values == values[:1, :1]).all(axis=(0, 1)).sum())
    return Worst(len(quantities.labels), constant, *figures)


def _each(quantities: Quantities, found: Mixing) -> tuple[Named, ...]:
    values = np.asarray(quantities.values, float)
    columns = (values.mean((0, 1)), values.std((0, 1)), mcse_mean(values), *found)
    return tuple(
        Named(label, *map(float, figures)) for label, *figures in zip(quantities.labels, *columns)
    )


def _sampler(fields: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Sampler:
    steps = next((values.size for values in fields.values() if values.ndim == 2), 0)
    if not steps:
        return Sampler(0)
    found: dict[str, Any] = {}
    if "divergent" in fields:
        found["divergences"] = int(fields["divergent"].sum())
    if "depth" in fields and settings.get("max_depth") is not None:
        found["depth_hits"] = int((fields["depth"] >= settings["max_depth"]).sum())
    for name, field in (("acceptance", "acceptance_rate"), ("leapfrogs", "leapfrogs")):
        if field in fields:
            found[name] = float(fields[field].mean())
    if "energy" in fields:
        found["bfmi"] = tuple(map(float, bfmi(fields["energy"])))
    return Sampler(steps, **found)


# -- plain data and words -------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _made(kind: type, data: Mapping[str, Any] | None) -> Any:
    """A dataclass of numbers and names from plain data."""
    if data is None:
        return None
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    return kind(
        **{name: float(data[name]) if types[name] == "float" else data[name] for name in types}
    )


def _worst_row(name: str, worst: Worst) -> dict[str, str]:
    return _row(
        name,
        (worst.rhat, worst.rhat_at),
        (worst.ess_bulk, worst.ess_bulk_at),
        (worst.ess_tail, worst.ess_tail_at),
    )


def _row(name: str, rhat: Any, bulk: Any, tail: Any) -> dict[str, str]:
    def said(figure: tuple[float, str], digits: str) -> str:
        value, at = figure
        if math.isnan(value):
            return "–"
        return f"{value:{digits}}" + (f" ({at})" if at else "")

    return {
        "quantity": name,
        "r-hat": said(rhat, ".3f"),
        "bulk ESS": said(bulk, ",.0f"),
        "tail ESS": said(tail, ",.0f"),
    }
