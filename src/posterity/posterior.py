"""The posterior: what a fit returns."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from posterity import memory, storable
from posterity.checks import Settings
from posterity.counts import checked_draws, checked_seed
from posterity.data.batches import as_batches
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Code, Result
from posterity.diagnostics.summary import Summary
from posterity.distributions import named
from posterity.distributions.distribution import AbstractDistribution, Correlations
from posterity.forks import refuse_fork
from posterity.inputs import as_inputs
from posterity.model.arguments import Arguments, as_arguments
from posterity.model.net_target import Batch, Target
from posterity.model.program_target import ProgramTarget
from posterity.model.target import AbstractTarget

# What a fit does not need is imported when it is first asked for.
if TYPE_CHECKING:
    from posterity.diagnostics.diagnose import Diagnostics
    from posterity.diagnostics.elbo import ELBO
    from posterity.diagnostics.khat import KHat
    from posterity.distributions.prior_of_predictions import Remembered
    from posterity.distributions.prior_of_weights import JointPrior
    from posterity.model.model import Model
    from posterity.model.program import ProgramModel
    from posterity.predict.predictive import Predictive

Seed = int | jax.Array
DRAWS = 1_000  # where draws are made on demand and no number is given


class AbstractPosterior:
    """A distribution over the unknowns of a model, and what it took to find it.

    Attributes:
        target: the model as log densities of flat unconstrained θ.
        distribution: a density such as `Gaussian`, or stored `Draws`, over θ.
        history: what every step reported: `history.elbo`, …
        settings: what was asked: the method, its settings and the seed, as plain data.
        facts: what was found beside the distribution, as plain data: ``steps_made``, ``seconds``,
            ``learned`` numbers, the ``estimators`` that weights got, ``step_size``, …
        result: how the run ended, with every warning.
        diagnostics: whether its chains have converged; None of other methods, and of a posterior
            that was looked at before its run had ended. See `diagnose`.
        method: what fitted it; None of a posterior that no fit of this process made.
    """

    target: AbstractTarget

    def __init__(
        self,
        distribution: AbstractDistribution,
        *,
        history: History | None = None,
        settings: dict[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
        result: Result | None = None,
        diagnostics: Diagnostics | None = None,
        method: Any = None,
    ) -> None:
        self.distribution = distribution
        self.history = history or History({})
        self.settings = settings or {}
        self.facts = facts or {}
        self.result = result or Result(Code.COMPLETED, "Built by hand.")
        self.diagnostics = diagnostics
        self.method = method
        self.facts = {} if facts is None else facts

    @property
    def learned(self) -> dict[str, float]:
        """The values found for numbers marked `po.learned`, by name."""
        return dict(self.facts.get("learned", {}))

    def sample(self, draws: int | None = None, *, seed: Seed = 0) -> jax.Array | np.ndarray:
        """Draws of flat unconstrained θ.

        Args:
            draws: how many. None for all that a sampler stored, by chain, or 1,000 of a density.
                Of stored draws fewer are an evenly thinned part, and more begin again.
            seed: an integer or a JAX key.

        Returns:
            θ with axes (chain, draw, D): one chain of as many draws as were asked for. All stored
            draws that are in a file come back mapped: NumPy reads what is touched.

        Raises:
            ValueError: `draws` is no whole number from 1.
        """
        if draws is None and self.distribution.stored is not None:
            return self.distribution.theta  # type: ignore[attr-defined]
        refuse_fork("sample")
        count = checked_draws(DRAWS if draws is None else draws)
        size = self.target.size
        memory.refuse_size("draws", f"{count:,} draws of {size:,} numbers", [count, size])
        return self.distribution.sample(as_key(seed), count)

    def weights(self, path: str, *, draws: int | None = None, seed: Seed = 0) -> np.ndarray:
        """Draws of one named, constrained quantity; `posterior[path]` is short for it.

        Args:
            path: its name, such as ``layers.0.weight`` or ``likelihood.scale``; of a program, that
                of a latent or a deterministic site.
            draws, seed: as in `sample`.

        Returns:
            An array with axes (chain, draw, *shape of the quantity).

        Raises:
            KeyError: there is no such quantity; the message lists those there are.
        """
        known = (*self.target.paths, *self.target.derived)
        if path not in known:
            raise KeyError(f"no parameter {path!r}; there are {', '.join(known)}.")
        return self.named((str(path),), draws=draws, seed=seed)[path]

    def __getitem__(self, path: str) -> np.ndarray:
        return self.weights(path)

    def named(
        self, paths: tuple[str, ...], *, draws: int | None = None, seed: Seed = 0
    ) -> dict[str, np.ndarray]:
        """`weights` of several names, from the same draws."""
        refuse_fork("weights")
        if draws is None and self.distribution.stored is not None:
            return named.of_draws(self.target, self.distribution, paths)  # type: ignore[arg-type]
        theta = self.sample(draws, seed=seed)
        return jax.tree.map(np.asarray, named.of_theta(self.target, jnp.asarray(theta), paths))

    def summary(self) -> Summary:
        """A table of the parameters: size, and range of posterior means and sds."""
        return Summary.of(self.target, self.distribution)

    def save(self, path: str | Path) -> Path:
        """Write the posterior to one file; see `posterity.load`.

        The file is safetensors with a JSON description: no code, no pickle. It is written to a
        temporary name, synced and renamed, so that a crash leaves the old file or the new one.

        Args:
            path: where; the suffix ``.safetensors`` is added where there is none.

        Returns:
            The path written.

        Raises:
            TypeError: the distribution is of a class of your own that is not `po.stored`.
        """
        from posterity.storage.file import write

        self._settle()
        return write(
            path,
            self.target,
            self.distribution,
            self.history,
            self.settings,
            self.facts,
            self.result,
            self.diagnostics,
        )

    def _settle(self) -> None:
        """Find the facts that are found when they are first needed: a file must have them."""

    def to_arviz(self, *, draws: int | None = None, seed: Seed = 0) -> Any:
        """The posterior for ArviZ: `InferenceData` of 0.x, or a `DataTree` of 1.x.

        Args:
            draws, seed: as in `sample`.

        Raises:
            ImportError: ArviZ is not installed.
        """
        from posterity.storage.arviz import to_arviz

        paths = (*self.target.paths, *self.target.derived)
        values = self.named(paths, draws=draws, seed=seed)
        told = self.distribution, self.history, self.settings, self.facts
        return to_arviz(values, *told, *self._names())

    def _names(self) -> tuple[dict[tuple[str, int], Any], dict[str, Any]]:
        """Path and axis of a quantity → names along it; and other names, by what they are of."""
        return {}, {}

    def _diagnosed(self, x: np.ndarray | None) -> Diagnostics:
        refuse_fork("diagnose")
        if self.distribution.stored is None:
            raise TypeError(
                f"diagnose: {self.settings.get('method')} found a density, which has no chains; "
                "po.pareto_khat says how good it is."
            )
        from posterity.diagnostics.diagnose import diagnose

        return diagnose(
            self.target,
            self.distribution,  # type: ignore[arg-type]
            self.history.fields,
            x,
            settings=self.settings,
            cause=str(self.facts.get("precision", "")),
        )

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: without a method that functions of the user's belong to."""
        state = dict(vars(self))
        if not all(map(_is_plain, vars(self.method).values() if self.method else ())):
            state["method"] = None
        return state

    def __copy__(self) -> Self:
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = self.__copy__()
        shared = {"method": self.method}  # its settings never change
        vars(made).update(copy.deepcopy({**vars(self), "method": None}, memo), **shared)
        return made

    def __repr__(self) -> str:
        kind = type(self.distribution).__name__
        return (
            f"{type(self).__name__}({self.settings.get('method')}, {kind} over {self.target.size} "
            f"parameters, {self.result.code.value})"
        )


class Posterior(AbstractPosterior):
    """The posterior of a net: a distribution over its weights and the likelihood's unknowns.

    Args:
        target: the model as log densities of θ.
        distribution: over θ. These two are enough to predict.
        reference: training rows, at which it is decided how many draws predictions need.
        parts: history, settings, facts, result, diagnostics, method; see `AbstractPosterior`.

    >>> import jax.numpy as jnp, posterity as po
    >>> from posterity.distributions.normal import Gaussian
    >>> from posterity.model.net_target import Target
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> target = Target.build(model, (1,), (), rows=10)
    >>> posterior = po.Posterior(target, Gaussian(jnp.zeros(2), jnp.ones(2)))
    >>> posterior.predict([[0.0], [1.0]]).mean.shape
    (2,)
    """

    target: Target

    def __init__(
        self,
        target: Target,
        distribution: AbstractDistribution,
        *,
        reference: Any = None,
        **parts: Any,
    ) -> None:
        super().__init__(distribution, **parts)
        self.target = target
        self._reference = reference

    @property
    def predictive_draws(self) -> int:
        """How many draws predictions are made of: decided once, and a fact from then on.

        As many as give predictive means at training rows to 3.2 % of the predictive sd; see
        `posterity.predict.enough.draws_needed`. 1,000, or all that are stored, where no training
        rows are known.
        """
        if "predictive_draws" not in self.facts:
            self.facts["predictive_draws"] = self._draws_needed()
        return int(self.facts["predictive_draws"])

    def _settle(self) -> None:
        if self._reference is not None:
            _ = self.predictive_draws

    def _draws_needed(self) -> int:
        if self._reference is None:
            return self.distribution.stored or DRAWS
        from posterity.predict.enough import draws_needed

        found = self.diagnostics and self.diagnostics.predictions
        effective = found.ess_bulk if found and np.isfinite(found.ess_bulk) else None
        return draws_needed(self.target, self.distribution, self._reference, effective)

    def predict(
        self, x: Any, *, draws: int | None = None, seed: int = 0, progress: bool | None = None
    ) -> Predictive:
        """The predictive distribution at new inputs.

            p(y | x, data) = ∫ p(y | x, θ) q(θ) dθ ≈ (1/S) Σₛ p(y | x, θₛ)

        Args:
            x: inputs (rows, ...), as in `fit`. Columns of a data frame are put right by name.
            draws: S; None for `predictive_draws`, which depends on the posterior alone.
            seed: the draws' random seed.
            progress: show a bar; None shows one on a terminal once it takes a second.

        Returns:
            A `Predictive` with mean, sd, probabilities, labels, quantiles and the split of the
            uncertainty. It is computed in a stream: memory does not grow with `draws`. Rows that
            single precision cannot hold are in double precision. A warning names rows that this
            cannot hold either, and says where y has no mean or variance.

        Raises:
            ValueError: `x` is not finite, or its rows have another shape than in `fit`.
            TypeError: the model is a NumPyro program; see `replicate`.
        """
        from posterity.predict.bar import progress as showing
        from posterity.predict.predictive import predict

        refuse_fork("predict")
        wrong = Settings("predict")
        wrong.flags(none=True, progress=progress)
        wrong.refuse(TypeError)
        draws = self.predictive_draws if draws is None else draws
        with showing(progress):
            return predict(self.target, self.distribution, x, draws, seed)

    def _names(self) -> tuple[dict[tuple[str, int], Any], dict[str, Any]]:
        target = self.target
        columns = target.inputs.columns
        names = {"x_columns": columns, "y_columns": target.y_columns}
        seen = [name for n, name in enumerate(columns or ()) if n not in target.columns]
        axes = {target.net.column_axis: seen} if seen and target.net.column_axis else {}
        return axes, {what: given for what, given in names.items() if given}

    def update(
        self,
        data: Any,
        method: Any = None,
        *,
        correlations: Correlations | None = None,
        remember: Any = None,
        seed: int = 0,
        **settings: Any,
    ) -> Posterior:
        """Learn from new data: this posterior is the prior.

            p(θ | old, new) ∝ q(θ) p(new | θ),   q this posterior over all of θ, noise included

        For a net give `remember`. The normals that stand for a posterior in the space of weights
        hold only near it, and new rows can move a net's weights far; its predictions stay.

        Args:
            data: the new rows ``(x, y)`` alone, N is their number; the old rows and the first
                prior are in q already.
            method: a method such as `po.NUTS`; None for the one that made this posterior, with its
                settings.
            correlations: what of q is kept; see `as_prior`.
            remember: inputs (m, ...) at which to remember what this posterior predicts, in place of
                its weights; see `as_prior`.
            seed: the run's random seed.
            settings: ``progress``, ``init``, ``every``, ``call``, ``spool`` and ``cpu_kernels`` of
                `fit`; by default a run starts at this posterior's centre, or at draws of it. Of
                several starts of a variational fit that remembers, all but one are modes that
                descent finds from there, and `ADVI` steps 0.3 times as far as it chooses elsewhere.

        Returns:
            The new posterior, `po.learned` numbers as found. A warning if this one is unfinished,
            or if the normals that stand for its draws predict otherwise than the draws at the new
            rows.

        Raises:
            TypeError, ValueError: the model is a NumPyro program; this posterior is a point, or
                its method is not known any more.

        >>> import numpy as np, posterity as po
        >>> x = np.linspace(-1, 1, 40)[:, None]
        >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
        >>> method = po.ADVI(family="full-rank", steps=1_000)
        >>> first = po.fit(model, (x[:20], x[:20, 0]), method, progress=False)
        >>> second = first.update((x[20:], x[20:, 0]), progress=False)
        >>> bool(second.weights("layers.0.weight").std() < first.weights("layers.0.weight").std())
        True
        >>> third = first.update((x[20:], x[20:, 0]), remember=x[:20:2], progress=False)
        >>> bool(abs(third.predict(x[:20]).mean - x[:20, 0]).max() < 0.1)
        True
        """
        from posterity.run.update import update

        return update(self, data, method, correlations, remember, seed, **settings)

    def as_prior(
        self, correlations: Correlations | None = None, *, remember: Any = None
    ) -> JointPrior | Remembered:
        """This posterior as the prior of a `Model`, over weights and noise together.

            p(θ) = q(θ)

        Normals and mixtures of them are the prior as they are. Draws become normals: one per mode,
        of weight its share of the draws, or several where held-out draws ask for them. Chains whose
        means are at most two sds apart in every element of θ are one mode. Covariances are full,
        with shrunk correlations, where a mode has two draws per parameter at least, for up to 2,000
        parameters; else low rank plus diagonal. A flow is drawn from, and treated likewise.

        With `remember`, what is kept is what the posterior predicts at these inputs, each of which
        stands for w rows of the old data:

            log p(θ) = 1/T log p₀(θ) + Σᵢ wᵢ E log p(y | xᵢ, θ) + a constant
            wᵢ = min( N / (κ T m), aleatoric variance / epistemic variance at xᵢ )

        with the first prior p₀, the N rows seen so far, m inputs, the weight κ of the KL and the
        temperature T (1 unless they were set), and y of the predicted mean and aleatoric variance.
        So it says nothing where nothing was known. It departs from Bayes' rule by two
        approximations: the old rows are replaced by equally many that lie where they were expected,
        which counts the first prior in them a second time; and rows between remembered inputs are
        not told apart from those at them.

        Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal"; Titsias et al. 2020,
        "Functional regularisation for continual learning".

        Args:
            correlations: ``"full"``, ``"low-rank"`` (ten directions, and every sd), or ``"none"``
                (the mean and sd of each element alone); None for all that there are.
            remember: inputs (m, ...) that cover those of the data seen so far, such as some of
                them or a grid; targets are not needed. The fit goes through all m at every step.

        Returns:
            A prior for a `Model` of the same net. Of the likelihood's unknowns it replaces the
            priors of those of the same names; those that only this posterior has are integrated
            out. A fit then starts at draws of the prior. One that remembers predictions cannot be
            drawn from.

        Raises:
            TypeError, ValueError: the model is a NumPyro program, or this posterior is a point;
                both arguments are given; `remember` is not finite, or has rows of another shape
                than in `fit`. `Model` and `fit` list the paths of parameters that differ.

        >>> import numpy as np, posterity as po
        >>> x = np.linspace(-1, 1, 40)[:, None]
        >>> net, likelihood = po.nets.MLP(1, [3], 1), po.likelihoods.Normal(0.1)
        >>> model = po.Model(net, po.priors.Normal(), likelihood)
        >>> posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=500), progress=False)
        >>> heavier = po.Model(net, posterior.as_prior(), po.likelihoods.StudentT(4.0, 0.1))
        >>> po.prior_predictive(heavier, x, draws=7).shape
        (7, 40)
        """
        refuse_fork("as_prior")
        if remember is None:
            from posterity.distributions.as_prior import as_prior

            return as_prior(self.target, self.distribution, correlations)
        if correlations is not None:
            raise ValueError(
                "correlations, remember: give one of them. The weights' correlations are not kept "
                "where predictions are remembered in their place."
            )
        from posterity.predict.remember import remembered

        return remembered(self.target, self.distribution, remember, self.predictive_draws)

    def diagnose(self, x: Any) -> Diagnostics:
        """Whether the chains agree in what they predict at inputs of your own.

        Args:
            x: inputs (rows, ...), as in `fit`; held-out ones, or those that matter. Left out for a
                NumPyro program, whose sites are compared.

        Returns:
            `Diagnostics`: r-hat and effective sample sizes of predictions and named numbers,
            what the sampler reported, and `advice`, a sentence for each failure.

        Raises:
            TypeError: the posterior holds no chains, as that of variational inference.
            ValueError: `x` is missing, not finite, or has rows of another shape than in `fit`.

        >>> import numpy as np, posterity as po
        >>> x = np.linspace(-1, 1, 50)[:, None]
        >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
        >>> nuts = po.NUTS(chains=2, warmup=200, draws=500)
        >>> posterior = po.fit(model, (x, 2 * x[:, 0]), nuts, progress=False)
        >>> bool(posterior.diagnose(x + 2).predictions.rhat < 1.05)
        True
        """
        if x is None:
            raise ValueError("x: give the inputs at which predictions are to be compared.")
        return self._diagnosed(as_inputs(x, self.target.inputs))

    def whole(self, data: Any) -> Batch:
        """All of given data as one batch of the model, checked as in `fit`."""
        target = self.target
        batches = as_batches(
            data,
            target.likelihood,
            None,
            inputs=target.inputs,
            y_columns=target.y_columns,
            spare=None,
        )
        return batches.full


class ProgramPosterior(AbstractPosterior):
    """The posterior of a NumPyro program: a distribution over its latent sites.

    Args:
        target: the program as log densities of θ. distribution: over θ.
        parts: history, settings, result, diagnostics and method; see `AbstractPosterior`.
    """

    target: ProgramTarget

    def __init__(
        self, target: ProgramTarget, distribution: AbstractDistribution, **parts: Any
    ) -> None:
        super().__init__(distribution, **parts)
        self.target = target

    def replicate(
        self, *args: Any, draws: int | None = None, seed: int = 0, **kwargs: Any
    ) -> dict[str, np.ndarray]:
        """New data from a NumPyro program: its observed and deterministic sites, by draw.

            y_new ~ ∫ p(y_new | z) p(z | y) dz

        Args:
            args, kwargs: arguments of the program, such as new inputs; none for those of the fit.
                Observed sites are drawn whether or not they are given, as many as are given.
            draws: how many; None for 1,000, or for all stored draws of a sampler.
            seed: the draws' random seed.

        Returns:
            Site → array with axes (draw, *shape of the site).

        Raises:
            TypeError: the model is a net; see `predict`.
            ValueError: the program does not take such arguments, or they are not finite.
        """
        from posterity.predict.replicate import replicate

        refuse_fork("replicate")
        draws = checked_draws(self.distribution.stored or DRAWS if draws is None else draws)
        return replicate(self.target, self.distribution, args, kwargs, draws, seed)

    def diagnose(self) -> Diagnostics:
        """Whether the chains agree in the latent and deterministic sites.

        Returns:
            `Diagnostics`, as of the posterior of a net.

        Raises:
            TypeError: the posterior holds no chains, as that of variational inference.
        """
        return self._diagnosed(None)

    def whole(self, data: Any) -> Arguments:
        """Arguments of the program, checked as in `fit`."""
        return as_arguments(data)

    def __getattr__(self, name: str) -> Any:
        known = {
            "predict": "has no x: use posterior.replicate(*args, draws=, seed=)",
            "update": "has its priors in it: write posterior.summary() into it by hand",
            "as_prior": "has its priors in it: write posterior.summary() into it by hand",
        }
        if name in known:
            raise AttributeError(f"{name}: the model is a NumPyro program, which {known[name]}.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def posterior_of(
    target: AbstractTarget, distribution: AbstractDistribution, **parts: Any
) -> Posterior | ProgramPosterior:
    """The posterior of a net or of a program, as the target is."""
    kind: Any = Posterior if target.predicts else ProgramPosterior
    return kind(target, distribution, **parts)


def elbo(posterior: AnyPosterior, data: Any, *, draws: int = 10_000, seed: int = 0) -> ELBO:
    """The evidence lower bound of a posterior with a density, evaluated on all of the data.

        ELBO = E_q[ log p(y | x, θ) + log p(θ) − log q(θ) ] ≤ log p(y | x)

    Every term is by Monte Carlo, so that it checks what the fit computed in closed form.

    Args:
        posterior: a posterior whose distribution has a density: all that variational fits return.
        data: what it was fitted to.
        draws: draws of θ.
        seed: random seed.

    Returns:
        `ELBO(value, error)` with the standard error of the value.

    Raises:
        TypeError: the posterior holds draws, which have no density.
    """
    from posterity.diagnostics.elbo import elbo

    refuse_fork("elbo")
    batch = posterior.whole(data)
    return elbo(posterior.target, posterior.distribution, batch, draws, seed)


def pareto_khat(posterior: AnyPosterior, data: Any, *, draws: int = 2_000, seed: int = 0) -> KHat:
    """Whether a variational posterior is near the exact one, by the tail of its density ratio.

        rₛ = p(y, θₛ | x) / q(θₛ),   θₛ ~ q,   s = 1 … S

    A generalised Pareto distribution is fitted to the min(S/5, 3√S) largest rₛ; its shape k says
    how many moments of r there are. k near 0 and below: q covers the posterior. Up to
    min(1 − 1/log₁₀ S, 0.7), expectations under q can be corrected by S draws. Above, q misses parts
    of the posterior: it is too narrow, or elsewhere.

    k looks at all of θ at once, and so is stricter than most uses: predictions may be good where k
    is large, as the weights of a network have symmetries that no single normal covers.

    Args:
        posterior: a posterior whose distribution has a density: what variational fits return.
        data: the pair ``(x, y)`` it was fitted to.
        draws: S, draws of θ from q; 100 at least.
        seed: random seed.

    Returns:
        `KHat(value, message, threshold, draws)`; print it for the verdict.

    Raises:
        TypeError: the posterior holds draws, which have no density.
        ValueError: too few draws, or a draw at which the density is NaN.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, 2 * x[:, 0]), po.ADVI(steps=4_000), progress=False)
    >>> po.pareto_khat(posterior, (x, 2 * x[:, 0])).good
    True

    Yao, Vehtari, Simpson & Gelman 2018, "Yes, but did it work?", ICML; Vehtari et al. 2024, "Pareto
    smoothed importance sampling", JMLR 25, for the tail and the thresholds; Zhang & Stephens 2009,
    Technometrics 51, for the fit. A tempered posterior is compared with the tempered density.
    """
    from posterity.diagnostics.khat import pareto_khat

    refuse_fork("pareto_khat")
    batch = posterior.whole(data)
    return pareto_khat(posterior.target, posterior.distribution, batch, draws, seed)


def load(
    path: str | Path, *, model: Model | ProgramModel | None = None, data: Any = None
) -> AnyPosterior:
    """Read a posterior that `Posterior.save` wrote.

    Nothing in the file is executed: it holds arrays, and a description from which only this
    library's nets, priors and likelihoods, NumPyro's distributions, and what is `po.stored` are
    built.

    Args:
        path: the file; the suffix ``.safetensors`` may be left out.
        model: the model that was fitted. Needed where the file does not describe it: a net,
            activation or distribution of your own that is not `po.stored`, or a NumPyro program.
            Where given, it must be the file's: what the file describes is compared, and the rest
            must answer as it did at a few draws and rows of random numbers kept in the file.
        data: for a program the data that were fitted, as its sites may depend on them; a file
            holds none.

    Returns:
        The posterior, exactly as it was saved; a warning where it was saved in double precision,
        and this process computes in single. Draws that would take more than half of the memory
        there is stay in the file and are read when they are needed: keep it where it is.

    Raises:
        FileNotFoundError: there is no such file.
        PosteriorFileError: the file is truncated, altered, foreign, or of another model; the
            message names the part.

    >>> import numpy as np, posterity as po, tempfile, os
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, x[:, 0]), po.MAP(steps=10), progress=False)
    >>> path = posterior.save(os.path.join(tempfile.mkdtemp(), "line"))
    >>> po.load(path).predict(x).mean.shape
    (20,)
    """
    from posterity.storage.file import read

    refuse_fork("load")
    parts = read(path, model=model, data=data)
    return posterior_of(
        parts.target,
        parts.distribution,
        history=parts.history,
        settings=parts.settings,
        facts=parts.facts,
        result=parts.result,
        diagnostics=parts.diagnostics,
    )


def _is_plain(value: Any) -> bool:
    """Whether a setting goes into a pickle: plain data, and what is registered, as schedules."""
    plain = value is None or isinstance(value, (bool, int, float, str))
    return plain or storable.name_of(type(value)) is not None


def as_key(seed: Seed) -> jax.Array:
    """A JAX key from an integer or a key.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(seed, jax.Array):
        typed = jax.dtypes.issubdtype(seed.dtype, jax.dtypes.prng_key)
        if typed or (seed.dtype == np.uint32 and seed.ndim == 1):  # as jax.random.PRNGKey makes
            return seed
    return jax.random.key(checked_seed(seed))


AnyPosterior = Posterior | ProgramPosterior
