"""How a finished run, or one that is looked at, becomes a posterior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from posterity import storable
from posterity.data.batches import Batches
from posterity.diagnostics import verdict
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Code, Result
from posterity.distributions.draws import Draws
from posterity.distributions.spool import is_mapped
from posterity.methods.method import AbstractMethod
from posterity.model.arguments import Arguments
from posterity.posterior import AnyPosterior, posterior_of
from posterity.run import single_precision
from posterity.run.draw_store import DrawStore
from posterity.run.progress import Finished, Interrupt

if TYPE_CHECKING:
    from posterity.diagnostics.diagnose import Diagnostics

UNDRAWN = (
    "The run was interrupted in the warm-up: nothing was drawn, and the posterior is the point "
    "that each chain had come to. Fit again before it is used."
)
UNDIAGNOSED = (
    "The diagnosis of the chains was interrupted: whether they have converged is not known. "
    "posterior.diagnose(x) finds it."
)
UNKNOWN = "given by the user"  # in the place of a setting that is no plain data
REFERENCE = 64  # training rows at which it is decided how many draws predictions need


def wrap(
    method: AbstractMethod,
    target: Any,
    batches: Batches | Arguments,
    finished: Finished,
    seed: int,
    seconds: float,
    interrupt: Interrupt | None,
    store: DrawStore | None,
    notes: list[str],
) -> AnyPosterior:
    """The posterior of a run.

    Args:
        method, target, batches: what ran. finished: what it left behind. seed: the run's.
        seconds: how long it took. interrupt: at the run's end, where its chains are diagnosed, what
            hears Ctrl-C meanwhile; None for a look at it. store: where its draws are; None of a
            method that keeps none. notes: sentences about the data.
    """
    info, draws = _history(method, finished)
    found = method.finish(target, finished.state, draws, finished.memory)
    target = _placed(found.target)
    advice = method.advice(target, info, finished.memory) if info else []
    settings = asked(method, seed)
    facts = {"steps_made": finished.steps, "seconds": seconds, **found.facts}
    distribution = _placed(found.distribution)
    # An optimiser of one chain has a history of steps alone.
    single = method.chains == 1 and not method.collects
    history = {name: values[0] if single else values for name, values in info.items()}
    cause = ""
    if interrupt and _in_trouble(finished, info):
        cause = single_precision.of_run(target, batches.full, distribution)
        facts |= {"precision": cause} if cause else {}
    diagnostics = None
    if interrupt and method.collects and distribution.stored is not None:
        diagnostics, said = _diagnosed(
            target,
            distribution,
            history,
            batches,
            settings,
            cause,
            interrupt,
            drawn=draws is not None,
            interrupted=finished.interrupted,
        )
        advice = list(dict.fromkeys([*advice, *said]))
    elif interrupt and not (finished.lost or finished.interrupted):
        advice = [*advice, *_judged(method, target, distribution, info, batches, finished)]
    if cause:  # before advice about chains, of which it may be the reason
        advice = sorted(advice, key=lambda sentence: cause not in sentence)
    note = store.note if store else ""
    result = _result(method, finished, [*notes, *advice], note, cause)
    rows: Any = batches
    parts = {"reference": rows.some(REFERENCE).x} if target.predicts else {}
    return posterior_of(
        target,
        distribution,
        history=History(history),
        settings=settings,
        facts={name: _as_fact(value) for name, value in facts.items()},
        result=result,
        diagnostics=diagnostics,
        method=method,
        **parts,
    )


def _diagnosed(
    target: Any,
    distribution: Any,
    history: dict[str, np.ndarray],
    batches: Batches | Arguments,
    settings: dict[str, Any],
    cause: str,
    interrupt: Interrupt,
    *,
    drawn: bool,
    interrupted: bool,
) -> tuple[Diagnostics | None, tuple[str, ...]]:
    """Figures of the chains, and what they mean; a Ctrl-C leaves them out and keeps the draws."""
    if not drawn:
        return None, (UNDRAWN,)
    if interrupt.asked and not interrupted:  # since the loop ended
        return None, (UNDIAGNOSED,)
    # Imported where there are chains: any other fit is spared about 10 ms of it.
    from posterity.diagnostics.diagnose import diagnose_fit

    try:
        with interrupt.raising():
            found = diagnose_fit(target, distribution, history, batches.full, settings, cause)
    except KeyboardInterrupt:
        return None, (UNDIAGNOSED,)
    return found, found.advice


def _judged(
    method: AbstractMethod,
    target: Any,
    distribution: Any,
    info: dict[str, np.ndarray],
    batches: Any,
    finished: Finished,
) -> list[str]:
    """Sentences where an optimiser has learned nothing, or too little to be judged."""
    if said := verdict.on_steps(finished.steps, method.fewest_steps):
        return said
    rows = int(target.rows)
    rise = info.get(method.figure)
    if rise is not None and not method.knows_convergence:
        said = verdict.on_rise(rise, rows, finished.steps)
        if getattr(method, "optimizer", None) is not None:
            said = said or verdict.on_pace(rise, finished.steps)
    began = getattr(method, "init_scale", None)
    if began is not None and distribution.stored is None:
        said = [*said, *verdict.on_width(np.asarray(distribution.mean_and_sd()[1]), began)]
    if not target.predicts:
        return [*said, *verdict.on_density(target, distribution, batches)]
    used = method.batch_size or rows
    count = verdict.rows_for(finished.steps, used, method.evaluations, rows)
    if distribution.stored is not None:
        thetas = np.asarray(distribution.even(0, min(verdict.MODES, distribution.stored)))
    else:
        thetas = np.asarray(distribution.centre())[None]
    try:
        found = verdict.on_predictions(target, thetas, batches.some(count))
    except Exception as error:  # of a user's net or likelihood: the fit is kept
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        found = [f"Cannot judge: predictions at training rows failed ({why})."]
    return [*said, *found]


def _placed(tree: Any) -> Any:
    """With its arrays where JAX computes, but for those in a file."""

    def place(leaf: Any) -> Any:
        here = isinstance(leaf, np.ndarray) and not is_mapped(leaf)
        return jax.device_put(leaf) if here else leaf

    return jax.tree.map(place, tree)


def _history(
    method: AbstractMethod, finished: Finished
) -> tuple[dict[str, np.ndarray], Draws | None]:
    """What the kept steps reported (chain, step), and the kept draws."""
    kept = [stretch for stretch in finished.stretches if np.any(stretch.kept)]
    names = kept[0].info if kept else {}
    skip = method.warmup if method.collects else 0
    info = {
        name: np.concatenate([stretch.info[name] for stretch in kept], axis=1)[:, skip:]
        for name in names
    }
    if method.collects:
        steps = next(iter(info.values())).shape[1] if info else 0
        of_result = method.keeps(np.arange(steps))
        if not of_result.all():
            info = {name: values[:, of_result] for name, values in info.items()}
    drawn = [stretch.draws for stretch in kept if stretch.draws is not None]
    if not drawn:
        return info, None
    # Joined draws are in memory, and so no mapped array, as they would be called otherwise.
    joined = drawn[0] if len(drawn) == 1 else np.concatenate([*map(np.asarray, drawn)], axis=1)
    return info, Draws(joined)


def _failures(finished: Finished) -> int:
    """How many steps could not be made."""
    return sum(int((~stretch.info["ok"]).sum()) for stretch in finished.stretches)


def _in_trouble(finished: Finished, info: dict[str, np.ndarray]) -> bool:
    """Whether steps failed or diverged, of which single precision may be the cause."""
    diverged = "divergent" in info and bool(info["divergent"].any())
    return diverged or _failures(finished) > 0


def _result(
    method: AbstractMethod, finished: Finished, advice: list[str], where: str, cause: str
) -> Result:
    failures = _failures(finished)
    warnings = []
    for what, value in (
        ("drawn at temperature", method.temperature),
        ("the KL was weighted by", method.kl_weight),
    ):
        if value != 1:
            warnings.append(
                f"Tempered: {what} {value:g}, so this is not the Bayesian posterior of the model."
            )
    if failures:
        remedy = cause or "Standardise the data or tighten the priors."
        warnings.append(
            f"{failures} of {finished.steps} steps were not finite; they were not made, and the "
            f"step size was halved each time. {remedy}"
        )
    steps = f"{finished.steps:,} steps"
    if finished.lost:
        remedy = cause or "Lower the step size, standardise the data or tighten the priors."
        code, message = (
            Code.FAILED,
            f"After {steps} no finite step could be made any more; the last finite state is kept. "
            f"{remedy}",
        )
    elif finished.interrupted:
        code, message = Code.INTERRUPTED, f"Interrupted after {steps}; what was fitted is kept."
    elif finished.converged:
        code, message = Code.CONVERGED, f"Converged after {steps}."
    else:
        code, message = Code.COMPLETED, f"All {steps} were made."
    message = " ".join(filter(None, [message, method.note, where]))
    return Result(code, message, (*warnings, *advice))


def asked(method: AbstractMethod, seed: int) -> dict[str, Any]:
    """The method, its settings and the seed as plain data; `update.made_by` reads it."""
    settings = {name: _plain(value) for name, value in vars(method).items()}
    return {"method": type(method).__name__, **settings, "seed": int(seed)}


def _plain(value: Any) -> Any:
    """A setting as plain data for files and reports."""
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        value = np.asarray(value).tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value) in (list, tuple):
        return [_plain(part) for part in value]
    if name := storable.name_of(type(value)):  # a family, a schedule
        parts = {part: _plain(given) for part, given in storable.parts_of(value).items()}
        return {"stored": name, "parts": parts}
    return UNKNOWN


def _as_fact(value: Any) -> Any:
    """What was found, as plain data: arrays as lists, and None for a number that is not finite."""
    if isinstance(value, dict):
        return {str(name): _as_fact(each) for name, each in value.items()}
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _as_fact(np.asarray(value).tolist())
    if isinstance(value, (list, tuple)):
        return [_as_fact(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _plain(value)
