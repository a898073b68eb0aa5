"""How a finished run, or one that is looked at, becomes a posterior."""

from __future__ import annotations

from typing import Any

import numpy as np

from posterity.data.batches import Batches
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Code, Result
from posterity.distributions.draws import AbstractDraws
from posterity.distributions.spooled import SpooledDraws
from posterity.methods.method import AbstractMethod
from posterity.model.arguments import Arguments
from posterity.posterior import AnyPosterior, posterior_of
from posterity.run.draw_store import Keeping
from posterity.run.watching import Finished


def wrap(
    method: AbstractMethod,
    target: Any,
    batches: Batches | Arguments,
    finished: Finished,
    seed: int,
    seconds: float,
    last: bool,
    keeping: Keeping | None,
) -> AnyPosterior:
    """The posterior of a run.

    Args:
        method, target, batches: what ran. finished: what it left behind. seed: the run's.
        seconds: how long it took. last: whether this is its end, where its chains are diagnosed,
            and not a look at it. keeping: where its draws are; None of a method that keeps none.
    """
    history, draws = _history(method, finished)
    report = method.report(target)
    numbers = method.numbers(finished.state, finished.memory)
    if numbers is not None:
        report["learned"] = {
            slot.name: float(slot.constrain(number)) for slot, number in zip(target.slots, numbers)
        }
        target = target.at(numbers)
    distribution = (
        draws  # in a file
        if isinstance(draws, SpooledDraws)
        else method.finish(target, finished.state, draws, finished.memory)
    )
    advice = method.advice(target, history.fields, finished.memory) if history.fields else []
    settings = {
        "method": type(method).__name__,
        **{name: _plain(value) for name, value in vars(method).items()},
        "seed": int(seed),
        "steps_made": finished.steps,
        "seconds": seconds,
        **report,
    }
    diagnostics = None
    if last and method.collects and isinstance(distribution, AbstractDraws):
        # Imported where there are chains: any other fit is spared about 10 ms of it.
        from posterity.diagnostics.diagnose import diagnose_fit

        diagnostics = diagnose_fit(target, distribution, history.fields, batches.full, settings)
        advice = list(dict.fromkeys([*advice, *diagnostics.advice]))
    result = _result(method, finished, advice, keeping.note if keeping else "")
    return posterior_of(
        target,
        distribution,
        history=history,
        settings=settings,
        result=result,
        diagnostics=diagnostics,
        method=method,
    )


def _history(
    method: AbstractMethod, finished: Finished
) -> tuple[History, np.ndarray | SpooledDraws | None]:
    """What the kept steps reported, and the kept draws."""
    kept = [stretch for stretch in finished.stretches if stretch.kept]
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
    single = not method.collects
    fields = {name: values[0] if single else values for name, values in info.items()}
    if len(drawn) < 2:
        return History(fields), drawn[0] if drawn else None
    whole = [np.asarray(d.theta if isinstance(d, SpooledDraws) else d) for d in drawn]
    return History(fields), np.concatenate(whole, axis=1)


def _result(method: AbstractMethod, finished: Finished, advice: list[str], where: str) -> Result:
    failures = sum(int((~stretch.info["ok"]).sum()) for stretch in finished.stretches)
    warnings = []
    if method.temperature != 1:
        what = "drawn at temperature" if method.collects else "the KL was weighted by"
        warnings.append(
            f"Tempered: {what} {method.temperature:g}, so this is not the Bayesian posterior of "
            "the model."
        )
    if failures:
        warnings.append(
            f"{failures} of {finished.steps} steps were not finite; they were not made, and the "
            "step size was halved each time. Standardise the data or tighten the priors."
        )
    steps = f"{finished.steps:,} steps"
    if finished.lost:
        code, message = (
            Code.FAILED,
            (
                f"After {steps} no finite step could be made any more; the last finite state is "
                "kept. Lower the step size, standardise the data or tighten the priors."
            ),
        )
    elif finished.interrupted:
        code, message = Code.INTERRUPTED, f"Interrupted after {steps}; what was fitted is kept."
    elif finished.converged:
        code, message = Code.CONVERGED, f"Converged after {steps}."
    else:
        code, message = Code.COMPLETED, f"All {steps} were made."
    message = " ".join(filter(None, [message, method.note, where]))
    return Result(code, message, (*warnings, *advice))


def _plain(value: Any) -> Any:
    """A setting as plain data for files and reports."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return "given by the user"
