"""fit: a method turns a model and data into a posterior."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import os
import time
from collections.abc import Callable
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from posterity.alike import alike
from posterity.checks import Settings, is_whole, said
from posterity.cpu.compile import use_compilation_cache
from posterity.data.batches import Pair, as_pair
from posterity.diagnostics import units
from posterity.diagnostics.result import Code
from posterity.forks import refuse_fork
from posterity.methods.method import AbstractMethod, of_chain
from posterity.model.arguments import as_arguments
from posterity.model.model import Model
from posterity.model.net_target import Target
from posterity.model.program import ProgramModel
from posterity.model.program_target import ProgramTarget
from posterity.model.rowwise import ROWS, refuse_mixing
from posterity.posterior import AnyPosterior, Posterior, ProgramPosterior
from posterity.run.draw_store import Folder, open_store
from posterity.run.failed_start import origin, why
from posterity.run.finish import wrap
from posterity.run.loop import spare_rows
from posterity.run.progress import Bar, Finished, Interrupt, Peek, Watcher
from posterity.run.runner import run
from posterity.run.start import WORDS, Init, start_points

NOTHING_YET = "while looking for a start; nothing has been fitted yet"
BEFORE_THE_FIRST = "before the first step; nothing has been fitted yet"


@overload
def fit(
    model: Model,
    data: Any,
    method: AbstractMethod,
    *,
    seed: int = ...,
    progress: bool | None = ...,
    init: Init = ...,
    every: int | None = ...,
    call: Callable[[Any], object] | None = ...,
    spool: Folder = ...,
    cpu_kernels: bool = ...,
) -> Posterior: ...
@overload
def fit(
    model: ProgramModel,
    data: Any,
    method: AbstractMethod,
    *,
    seed: int = ...,
    progress: bool | None = ...,
    init: Init = ...,
    every: int | None = ...,
    call: Callable[[Any], object] | None = ...,
    spool: Folder = ...,
    cpu_kernels: bool = ...,
) -> ProgramPosterior: ...
def fit(
    model: Model | ProgramModel,
    data: Any,
    method: AbstractMethod,
    *,
    seed: int = 0,
    progress: bool | None = None,
    init: Init = "net",
    every: int | None = None,
    call: Callable[[Any], object] | None = None,
    spool: Folder = None,
    cpu_kernels: bool = True,
) -> AnyPosterior:
    """Fit a model to data by a method.

        posterior(θ) ∝ prior(θ) ∏ᵢ p(yᵢ | xᵢ, θ)

    Args:
        model: net, prior and likelihood; or a program, by `Model.from_numpyro`.
        data: a pair ``(x, y)``: x one array (rows, ...) of NumPy, JAX, pandas or polars, or a tuple
            or dictionary of arrays, which the net gets as one argument; y (rows,) or
            (rows, targets). Integers that the net indexes with stay integers; all else becomes
            floats. For a program, a tuple of positional arguments or a dictionary of
            keyword arguments. They are checked once, here.
        method: `ADVI`, `IVON`, `DADVI`, `MAP`, `NUTS`, `HMC`, `MCLMC`, `MAMCLMC`,
            `ParallelTempering`, `SGLD`, `SGHMC`, `SGNHT`, `SGFS`.
        seed: the run's random seed; the same seed gives the same posterior.
        progress: show a progress bar; None shows one on a terminal.
        init: where to start: ``"net"`` (the net's own initial weights; for a program, uniform in
            (−2, 2) on the unconstrained scale), ``"prior"``, θ as an array, named
            parameters as a dictionary, or a `Posterior`. Or another method, such as
            ``po.MAP(steps=5_000)``: each chain then starts from a short fit of its own by that
            method, a deep ensemble that a sampler takes on (Sommer et al. 2024, 2025).
        every, call: after every so many steps, ``call(posterior)`` with the posterior as it then
            is, to look at, test or save it. If it returns something true, the run ends there.
        spool: where a sampler's draws go. None: to memory, or if they would take more than half of
            what is free, to a temporary file that goes with the posterior; a warning says so before
            the run. A folder: to a new file ``draws.npy`` there, (chain, draw, D). True: to a
            temporary file. False: to memory. The posterior gives the same numbers either way.
        cpu_kernels: False leaves the net's convolutions on CPUs to JAX, in this fit and in what
            its posterior predicts; a file does not keep it. ``POSTERITY_CPU_KERNELS=off`` does so
            for the whole process. The numbers agree to rounding.

    Returns:
        The posterior. `posterior.result` says how the run ended and what to beware of; an
        interrupted run (Ctrl-C) returns what was fitted so far.

    Raises:
        KeyboardInterrupt: it was interrupted before the first step.
        TypeError, ValueError: an argument is not what it must be; the message names it, the first
            bad index and the remedy. Also where no finite step can be made from the start.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [5], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, np.sin(x[:, 0])), po.ADVI(steps=1_000), progress=False)
    >>> posterior.predict(x).mean.shape
    (50,)
    """
    refuse_fork("fit")
    if not isinstance(model, (Model, ProgramModel)):
        raise TypeError(f"model: expected a po.Model, got {type(model).__name__}.")
    if not isinstance(method, AbstractMethod):
        raise TypeError(
            f"method: expected a method such as po.ADVI(), got {type(method).__name__}."
        )
    _check_settings(seed, progress, init, every, call, spool, cpu_kernels)
    # Said before a method in place of `init` is replaced by the starts that it finds.
    start = functools.partial(origin, init, seed)
    if isinstance(init, AbstractMethod):
        init = _members(model, data, init, method.chains, seed, cpu_kernels)
    use_compilation_cache()
    target, batches, notes = _prepare(model, data, method, cpu_kernels)
    _refuse_unlearned(method, target)
    method.check(target)
    keys, thetas = start_points(
        init, target, seed, range(method.chains), method.start_count(target)
    )
    began = time.perf_counter()

    def posterior_of(finished: Finished, interrupt: Interrupt | None = None) -> AnyPosterior:
        seconds = time.perf_counter() - began
        return wrap(method, target, batches, finished, seed, seconds, interrupt, kept, notes)

    peek = _peek(every, call, posterior_of)
    watcher = _watcher(method, progress)
    kept = open_store(method, target.size, spool) if method.collects else None
    stuck = False
    # Open until the posterior is made: what has been drawn is not lost to a Ctrl-C after the loop.
    with Interrupt() as interrupt:
        try:
            finished = run(method, target, batches, keys, thetas, watcher, interrupt, peek, kept)
            stuck = _made_no_finite_step(finished)
            _refuse_no_finite_step(finished, start, target, thetas, batches)
            _refuse_no_step(finished)
        except BaseException:
            if kept:  # draws of any use that are in a folder stay there
                kept.give_up(useless=stuck)
            raise
        return posterior_of(finished, interrupt)


def _check_settings(
    seed: Any, progress: Any, init: Any, every: Any, call: Any, spool: Any, cpu_kernels: Any
) -> None:
    """Refuse settings of a run that are out of their range, all in one message.

    Raises:
        TypeError, ValueError: any is; TypeError where all are of the wrong kind.
    """
    wrong = Settings("fit")
    if not is_whole(seed):
        wrong.add("seed", f"must be an integer, not {said(seed)}")
    wrong.flags(none=True, progress=progress)
    wrong.flags(cpu_kernels=cpu_kernels)
    if isinstance(init, str) and init not in WORDS:
        wrong.add("init", f'as a word is "net" or "prior", not {init!r}')
    elif init is None or isinstance(init, (bool, numbers.Number)):
        wrong.add("init", f'must be "net", "prior", θ, a posterior or a method, not {said(init)}')
    wrong.counts(none=True, every=every)
    wrong.functions(none=True, call=call)
    if (every is None) != (call is None):
        wrong.say("every and call go together; give both or neither", "every", "call")
    if not (spool is None or isinstance(spool, (bool, str, os.PathLike))):
        wrong.add("spool", f"must be a folder, True, False or None, not {said(spool)}")
    kinds = {"seed", "progress", "call", "spool", "cpu_kernels"}
    wrong.refuse(TypeError if wrong.named & kinds else ValueError)


def _members(
    model: Model | ProgramModel,
    data: Any,
    method: AbstractMethod,
    chains: int,
    seed: int,
    cpu_kernels: bool,
) -> np.ndarray:
    """Starts (chain, D): what `method` finds from `chains` seeds of its own."""
    name = type(method).__name__
    if method.collects:
        raise ValueError(
            f"init: {name} draws and does not optimise; start from po.MAP or po.ADVI, or give its "
            "posterior."
        )
    # Seeds from the run's, so that neighbouring seeds have no member in common.
    seeds = np.random.SeedSequence(seed % 2**32).generate_state(chains)
    method = dataclasses.replace(method, chains=1)  # type: ignore[type-var]
    if method.in_step:
        return _together(model, data, method, [int(s) for s in seeds], cpu_kernels)
    settings: dict[str, Any] = {"progress": False, "cpu_kernels": cpu_kernels}
    members = (fit(model, data, method, seed=int(s), **settings) for s in seeds)
    return np.stack([*map(as_start, members)])


def _together(
    model: Model | ProgramModel,
    data: Any,
    method: AbstractMethod,
    seeds: list[int],
    cpu_kernels: bool,
) -> np.ndarray:
    """What fits of several seeds would end at (chain, D), as chains of one loop."""
    use_compilation_cache()
    method = dataclasses.replace(method, chains=len(seeds))  # type: ignore[type-var]
    target, batches, _ = _prepare(model, data, method, cpu_kernels)
    _refuse_unlearned(method, target)
    method.check(target)
    starts = [start_points("net", target, s, [0], method.start_count(target)) for s in seeds]
    keys = jnp.concatenate([key for key, _ in starts])
    thetas = jnp.concatenate([theta for _, theta in starts], axis=1)
    with Interrupt() as interrupt:
        finished = run(method, target, batches, keys, thetas, Watcher(), interrupt)
    _refuse_no_finite_step(
        finished, functools.partial(origin, "net", seeds[0]), target, thetas, batches
    )
    if finished.interrupted:
        raise KeyboardInterrupt(NOTHING_YET)
    return np.stack([method.theta(of_chain(finished.state, k)) for k in range(len(seeds))])


def as_start(member: AnyPosterior) -> np.ndarray:
    """The centre of a fit that another is to start at: θ (D,).

    Raises:
        KeyboardInterrupt: it was interrupted. That was meant for the run that has not begun.
    """
    if member.result.code is Code.INTERRUPTED:
        raise KeyboardInterrupt(NOTHING_YET)
    return np.asarray(member.distribution.centre())


def _prepare(
    model: Any, data: Any, method: AbstractMethod, cpu_kernels: bool
) -> tuple[Any, Any, list[str]]:
    """The target, the data as what hands out its batches, and sentences about the data."""
    if not model.predicts:
        if not cpu_kernels:
            raise ValueError(
                "cpu_kernels: a program's convolutions are JAX's own already; leave it out."
            )
        _refuse_net_settings(method)
        arguments = as_arguments(data)
        weights = method.kl_weight, method.temperature
        notes = units.notes_of_arguments(data)
        return alike(ProgramTarget.build(alike(model), arguments, *weights)), arguments, notes
    pair = data if isinstance(data, Pair) else as_pair(data, model.likelihood)
    shapes = pair.x.spec, pair.y.shape[1:]
    weights = method.kl_weight, method.temperature
    named = pair.y_columns
    target = alike(Target.build(model, *shapes, pair.x.rows, *weights, y_columns=named))
    target = dataclasses.replace(target, cpu_kernels=cpu_kernels)
    batches = pair.batches(
        method.batch_size,
        target.inputs,
        features_first=model.net.features_first,
        replacement=method.replacement,
        spare=spare_rows(method, target),
    )
    _refuse_mixing(target, pair)
    real = model.likelihood.kind == "regression"
    notes = units.notes(pair.x, target.inputs, pair.given, pair.y_columns, real=real)
    return target, batches, notes


def _refuse_mixing(target: Target, pair: Pair) -> None:
    """Refuse a net that does not compute each row by itself, which a few rows of x show."""
    if target.net.rowwise:
        return
    rows = np.linspace(0, pair.x.rows - 1, min(ROWS, pair.x.rows)).astype(int)
    x = pair.x.taken(rows).converted(target.inputs)
    if target.columns:
        x = np.delete(x, target.columns, axis=1)
    refuse_mixing(target.net, target.template_params(), x)


def _refuse_net_settings(method: AbstractMethod) -> None:
    """Refuse what needs to know the rows of the data, or the products of a net."""
    name = type(method).__name__
    if method.batch_size is not None:
        raise ValueError(
            f"{name}: batch_size={method.batch_size} needs data that fall into independent rows, "
            "which of a NumPyro program is not known. Leave batch_size out: every step then uses "
            "all of the data."
        )
    estimator = getattr(method, "estimator", "shared")
    if estimator != "shared":
        raise ValueError(
            f'{name}: estimator="{estimator}" needs the products of a net; for a NumPyro program '
            'use estimator="shared".'
        )


def _peek(
    every: int | None,
    call: Callable[[Any], object] | None,
    posterior_of: Callable[[Finished], AnyPosterior],
) -> Peek | None:
    if every is None or call is None:
        return None
    return Peek(every, lambda finished: call(posterior_of(finished)))


def _refuse_unlearned(method: AbstractMethod, target: Target) -> None:
    if target.slots and not method.learns:
        raise ValueError(
            f"model: {target.slots[0].name} is po.learned, which only a method with an ELBO can "
            f"optimise; {type(method).__name__} cannot. Give it a prior distribution, a number, or "
            "fit with po.ADVI."
        )


def _watcher(method: AbstractMethod, progress: bool | None) -> Watcher:
    if progress is None:
        progress = os.isatty(2)
    return Bar(type(method).__name__, method.figure) if progress else Watcher()


def _made_no_finite_step(finished: Finished) -> bool:
    """Whether no step could be made at all, so that there is no posterior to return."""
    # A chain may give up before another has made its first step.
    begun = bool(finished.steps) or finished.lost
    return begun and not any(s.info["ok"].any() for s in finished.stretches)


def _refuse_no_step(finished: Finished) -> None:
    """What was interrupted before its first step is no fit.

    Raises:
        KeyboardInterrupt: so it was.
    """
    if finished.interrupted and not finished.steps:
        raise KeyboardInterrupt(BEFORE_THE_FIRST)


def _refuse_no_finite_step(
    finished: Finished, start: Callable[[], str], target: Any, thetas: jax.Array, batches: Any
) -> None:
    if _made_no_finite_step(finished):
        raise ValueError(
            f"init: no finite step could be made from the start ({start()}); "
            f"{why(target, thetas[0, 0], batches.full)}"
        )
