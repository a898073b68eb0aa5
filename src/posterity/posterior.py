"""The posterior: what a fit returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import equinox as eqx
import jax
import numpy as np

from posterity.data.batches import as_batches
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Result
from posterity.diagnostics.summary import Summary
from posterity.distributions import named
from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.draws import AbstractDraws
from posterity.distributions.spooled import SpooledDraws
from posterity.inputs import as_inputs
from posterity.model.arguments import Arguments, as_arguments
from posterity.model.net_target import Batch, Target
from posterity.model.program_target import ProgramTarget
from posterity.model.target import AbstractTarget

if TYPE_CHECKING:
    from posterity.diagnostics.diagnose import Diagnostics
    from posterity.distributions.as_prior import Correlations
    from posterity.distributions.prior_of_predictions import Remembered
    from posterity.distributions.prior_of_weights import JointPrior
    from posterity.methods.method import AbstractMethod
    from posterity.predict.predictive import Predictive

Seed = int | jax.Array


class Posterior:
    """A distribution over the weights of a model, and what it took to find it.

    Attributes:
        target: the model as densities of θ: a `Target`, or the `ProgramTarget` of a program.
        distribution: a density such as `Gaussian`, or stored `Draws`, over flat unconstrained θ.
        history: what every step reported: `history.elbo`, …
        settings: the method, its settings and the seed, as plain data.
        result: how the run ended, with every warning.
        diagnostics: whether its chains have converged, at training rows; None of other methods, and
            of a posterior that was looked at before its run had ended. See `diagnose`.
        method: what fitted it; None of a posterior from a file.
    """

    def __init__(
        self,
        target: AbstractTarget,
        distribution: AbstractDistribution,
        history: History,
        settings: dict[str, Any],
        result: Result,
        diagnostics: Diagnostics | None = None,
        method: AbstractMethod | None = None,
    ) -> None:
        # Typed as a net's, which most uses need; that of a program refuses them in a sentence.
        self.target = cast(Target, target)
        self.distribution = distribution
        self.history = history
        self.settings = settings
        self.result = result
        self.diagnostics = diagnostics
        self.method = method

    @property
    def learned(self) -> dict[str, float]:
        """The values found for numbers marked `po.learned`, by name."""
        return dict(self.settings.get("learned", {}))

    def sample(self, seed: Seed, n: int) -> jax.Array:
        """`n` draws of flat unconstrained θ.

        Args:
            seed: an integer or a JAX key.
            n: number of draws, over all chains. A sampler's stored draws come back as they are
                where `n` is their number; fewer are an evenly thinned part, more begin again.

        Returns:
            θ with axes (chain, draw, D). All draws of a sampler that are in a file come back
            mapped: a NumPy array that reads what is touched.
        """
        if n < 1:
            raise ValueError(f"n: at least one draw is needed, not {n}.")
        if isinstance(self.distribution, SpooledDraws):
            return self.distribution.sample(as_key(seed), int(n))
        return _sample(self.distribution, as_key(seed), int(n))

    def weights(self, path: str, *, n: int = 1_000, seed: Seed = 0) -> np.ndarray:
        """Draws of one named, constrained parameter.

        Args:
            path: its name, such as ``layers.0.weight`` or ``likelihood.scale``; of a program, that
                of a latent or a deterministic site.
            n: number of draws, where draws are made on demand; a sampler gives all of its own.
            seed: an integer or a JAX key.

        Returns:
            An array with axes (chain, draw, *shape of the parameter).

        Raises:
            KeyError: there is no such parameter; the message lists those there are.
        """
        known = (*self.target.paths, *self.target.derived)
        if path not in known:
            raise KeyError(f"no parameter {path!r}; there are {', '.join(known)}.")
        return self.named((str(path),), n, seed)[path]

    def named(self, paths: tuple[str, ...], n: int, seed: Seed) -> dict[str, np.ndarray]:
        """`weights` of several names, from the same draws."""
        if isinstance(self.distribution, AbstractDraws):
            return named.of_draws(self.target, self.distribution, paths)
        theta = self.sample(seed, n)
        return jax.tree.map(np.asarray, named.of_theta(self.target, theta, paths))

    def predict(self, x: Any, *, draws: int | None = None, seed: int = 0) -> Predictive:
        """The predictive distribution at new inputs.

            p(y | x, data) = ∫ p(y | x, θ) q(θ) dθ ≈ (1/S) Σₛ p(y | x, θₛ)

        Args:
            x: inputs (rows, ...), as in `fit`. Columns of a data frame are put right by name.
            draws: S; None for 1,000, or for all stored draws of a sampler.
            seed: the draws' random seed.

        Returns:
            A `Predictive` with mean, sd, probabilities, labels, quantiles and the split of the
            uncertainty. It is computed in a stream: memory does not grow with `draws`.

        Raises:
            ValueError: `x` is not finite, or its rows have another shape than in `fit`.
            TypeError: the model is a NumPyro program; see `replicate`.
        """
        if isinstance(self.target, ProgramTarget):
            raise TypeError(
                "predict: the model is a NumPyro program, which has no x; use "
                "posterior.replicate(*args, draws=, seed=) with the program's arguments."
            )
        from posterity.predict.predictive import predict

        if draws is None:
            draws = self.distribution.stored or 1_000
        return predict(self, x, draws, seed)

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
        if not isinstance(self.target, ProgramTarget):
            raise TypeError("replicate: the model is a net; use posterior.predict(x).raw(of='y').")
        from posterity.predict.replicate import replicate

        if draws is None:
            draws = self.distribution.stored or 1_000
        return replicate(self, args, kwargs, draws, seed)

    def update(
        self,
        data: Any,
        method: AbstractMethod | None = None,
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
            settings: ``progress``, ``init``, ``every``, ``call`` and ``spool`` of `fit`; by default
                a run starts at this posterior's centre, or at draws of it. Of several starts of
                a variational fit that remembers, all but one are modes that descent finds from
                there, and `ADVI` steps 0.3 times as far as it chooses elsewhere.

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

            log p(θ) = log p₀(θ) + Σᵢ wᵢ E log p(y | xᵢ, θ) + a constant
            wᵢ = min( N / m, aleatoric variance / epistemic variance at xᵢ )

        with the first prior p₀, the N rows seen so far (divided by a temperature), and y of the
        predicted mean and aleatoric variance. So it says nothing where nothing was known. It
        departs from Bayes' rule by two approximations: the old rows are replaced by equally many
        that lie where they were expected, which counts the first prior in them a second time; and
        rows between remembered inputs are not told apart from those at them.

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
        from posterity.distributions.as_prior import as_prior

        return as_prior(self, correlations, remember)

    def whole(self, data: Any) -> Batch | Arguments:
        """All of given data as one batch of the model, checked as in `fit`."""
        if isinstance(self.target, ProgramTarget):
            return as_arguments(data)
        target = self.target
        return as_batches(data, target.likelihood, None, inputs=target.inputs).full

    def diagnose(self, x: Any = None) -> Diagnostics:
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
        from posterity.diagnostics.diagnose import diagnose

        if not isinstance(self.distribution, AbstractDraws):
            raise TypeError(
                f"diagnose: {self.settings['method']} found a density, which has no chains; "
                "po.pareto_khat says how good it is."
            )
        inputs = None
        if not isinstance(self.target, ProgramTarget):
            if x is None:
                raise ValueError("x: give the inputs at which predictions are to be compared.")
            inputs = as_inputs(x, self.target.inputs)
        return diagnose(
            self.target, self.distribution, self.history.fields, inputs, settings=self.settings
        )

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
        """
        from posterity.storage.file import save

        return save(self, Path(path))

    def to_arviz(self, *, n: int = 1_000, seed: Seed = 0) -> Any:
        """The posterior for ArviZ: `InferenceData` of 0.x, or a `DataTree` of 1.x.

        Args:
            n: number of draws where they are made on demand.
            seed: an integer or a JAX key.
        """
        from posterity.storage.arviz import to_arviz

        return to_arviz(self, n, seed)

    def __repr__(self) -> str:
        kind = type(self.distribution).__name__
        return (
            f"Posterior({self.settings['method']}, {kind} over {self.target.size} parameters, "
            f"{self.result.code.value})"
        )


def as_key(seed: Seed) -> jax.Array:
    """A JAX key from an integer or a key."""
    if isinstance(seed, (int, np.integer)):
        return jax.random.key(int(seed))
    return seed


@eqx.filter_jit
def _sample(distribution: AbstractDistribution, key: jax.Array, n: int) -> jax.Array:
    return distribution.sample(key, n)
