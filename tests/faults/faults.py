"""Faults that the tests must notice: one edit of one place of the source each.

They are what a tired author or a hasty reviewer lets pass: a factor, a sign, a key, an index. The
table says where the text stands, what takes its place, and which test files should see it first.
`run.py` puts them in, one at a time.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Fault:
    """An edit that makes the library wrong, but leaves it importable.

    Attributes:
        name: what is wrong. file: where, from src/posterity on.
        old: text that is there exactly once. new: what takes its place.
        tests: up to three test files, from tests on, or tests in them (``file.py::test_it``), that
            are run first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS: tuple[Fault, ...] = (
    # -- data -------------------------------------------------------------------------------------
    Fault(
        "permutation-with-repeats",
        "data/batches.py",
        "lambda key: permutation(key, self.room, self.rows)",
        "lambda key: jax.random.randint(key, (self.room,), 0, self.rows)",
        ("data/test_batches.py::test_every_pass_uses_every_row_exactly_once",),
    ),
    Fault(
        "permutation-of-the-room-too",
        "data/batches.py",
        "permutation(key, self.room, self.rows)",
        "permutation(key, self.room)",
        ("data/test_batches.py::test_every_pass_uses_every_row_exactly_once",),
    ),
    Fault(
        "spare-room-drawn",
        "data/batches.py",
        "jax.random.randint(key, (self.room,), 0, self.rows, jnp.int32)",
        "jax.random.randint(key, (self.room,), 0, self.room, jnp.int32)",
        ("data/test_batches.py",),
    ),
    Fault(
        "permutation-used-twice",
        "data/batches.py",
        "order.epoch + self._passes + 1, self._passes)",
        "order.epoch + self._passes, self._passes)",
        ("data/test_batches.py::test_every_pass_uses_every_row_exactly_once",),
    ),
    Fault(
        "variance-as-scale",
        "data/scaling.py",
        "largest * np.sqrt((((array - loc) / largest) ** 2).mean(0))",
        "largest**2 * (((array - loc) / largest) ** 2).mean(0)",
        ("data/test_tables.py",),
    ),
    Fault(
        "scales-of-test-rows-too",
        "data/preprocessing.py",
        "Standardizer.fit(_encoded(table, names, categories)[train])",
        "Standardizer.fit(_encoded(table, names, categories))",
        ("data/test_tables.py",),
    ),
    Fault(
        "pixels-over-256",
        "data/images.py",
        "np.divide(pixels[..., None], 255, dtype=np.float32)",
        "np.divide(pixels[..., None], 256, dtype=np.float32)",
        ("data/test_images.py",),
    ),
    Fault(
        "digest-of-a-table-not-compared",
        "data/datasets.py",
        "hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest() != TABLES[name].sha256",
        "hashlib.sha256(x.tobytes()).hexdigest() == TABLES[name].sha256",
        ("data/test_datasets.py::test_a_table_with_other_numbers_is_refused_and_not_kept",),
    ),
    Fault(
        "test-and-training-rows-exchanged",
        "data/datasets.py",
        "return Split(x[~test], y[~test], x[test], y[test])",
        "return Split(x[test], y[test], x[~test], y[~test])",
        ("data/test_datasets.py::test_uci_tables",),
    ),
    # -- speed on CPUs ----------------------------------------------------------------------------
    Fault(
        "kernels-cannot-be-switched-off",
        "cpu/kernels.py",
        'os.environ.get(VARIABLE, "").lower() not in OFF',
        'os.environ.get(VARIABLE, "") != OFF',
        ("cpu/test_kernels.py",),
    ),
    # -- nets and their lowering ------------------------------------------------------------------
    Fault(
        "update-gate-exchanged",
        "nets/rnn.py",
        "return (1 - z) * n + z * h",
        "return z * n + (1 - z) * h",
        ("nets/test_rnn.py::test_the_net_is_the_loop_over_time",),
    ),
    Fault(
        "normalisation-over-rows",
        "nets/resnet.py",
        "jnp.mean(u**2, axis=(1, 2), keepdims=True)",
        "jnp.mean(u**2, axis=(0, 1, 2), keepdims=True)",
        ("nets/test_resnet.py::test_the_net_is_the_loop_over_pixels",),
    ),
    Fault(
        "pool-padded-with-zeros",
        "nets/parts.py",
        "x, -jnp.inf, lax.max,",
        "x, 0.0, lax.max,",
        ("nets/test_cnn.py::test_half_windows_at_the_border_see_nothing_but_the_image",),
    ),
    Fault(
        "fan-out-for-fan-in",
        "nets/mlp.py",
        ".reshape(fan_out, fan_in) / fan_in**0.5",
        ".reshape(fan_out, fan_in) / fan_out**0.5",
        (
            "nets/test_mlp.py::test_init_draws_weights_with_variance_one_over_fan_in_and_zero_biases",
        ),
    ),
    Fault(
        "kernel-not-turned",
        "cpu/conv/spectra.py",
        "return axis.before - axis.dilation * np.arange(axis.kernel)",
        "return axis.dilation * np.arange(axis.kernel) - axis.before",
        ("cpu/conv/test_convolution.py::test_convolutions_with_derivatives",),
    ),
    Fault(
        "period-too-short",
        "cpu/conv/spectra.py",
        "max(axis.size + axis.before, top + axis.reach - axis.before, top + 1)",
        "max(axis.size, top + axis.reach - axis.before, top + 1)",
        ("cpu/conv/test_spectra.py::test_the_period_is_long_enough_for_every_axis",),
    ),
    Fault(
        "highest-wave-counted-twice",
        "cpu/conv/spectra.py",
        "1 if f in (0, period - f) else 2",
        "1 if f == 0 else 2",
        ("cpu/conv/test_spectra.py::test_the_way_back_is_the_inverse",),
    ),
    Fault(
        "last-of-equals-has-the-gradient",
        "cpu/conv/pooling.py",
        "jnp.where(other > best, float(index), place)",
        "jnp.where(other >= best, float(index), place)",
        ("cpu/conv/test_pooling.py::test_max_pooling_takes_the_first_of_equals",),
    ),
    # -- priors and likelihoods -------------------------------------------------------------------
    Fault(
        "slab-and-spike-exchanged-in-draws",
        "priors/scale_mixture.py",
        "jnp.where(slab, self.scale_1, self.scale_2)",
        "jnp.where(slab, self.scale_2, self.scale_1)",
        ("test_learnable.py::test_the_mixture_is_a_density_and_its_draws_have_its_moments",),
    ),
    Fault(
        "student-scale-taken-for-sd",
        "likelihoods/student_t.py",
        "return dist.StudentT(self.df, loc, scale, validate_args=False)",
        "return dist.StudentT(\n"
        "            self.df, loc, scale * np.sqrt((self.df - 2) / self.df), validate_args=False\n"
        "        )",
        ("likelihoods/test_likelihoods.py",),
    ),
    Fault(
        "poisson-cdf-off-by-one",
        "likelihoods/poisson.py",
        "jax.scipy.special.gammaincc(jnp.maximum(whole, 0) + 1, given.rate)",
        "jax.scipy.special.gammaincc(jnp.maximum(whole, 1), given.rate)",
        ("likelihoods/test_likelihoods.py",),
    ),
    Fault(
        "entropy-of-the-other-class",
        "likelihoods/classes.py",
        "jax.nn.softplus(-size) + jax.nn.sigmoid(-size) * size",
        "jax.nn.softplus(-size) + jax.nn.sigmoid(size) * size",
        ("likelihoods/test_likelihoods.py",),
    ),
    # -- densities --------------------------------------------------------------------------------
    Fault(
        "batch-not-scaled",
        "model/target.py",
        "return self.rows / each.shape[0] * jnp.sum(each)",
        "return jnp.sum(each)",
        ("model/test_target.py::test_the_average_over_a_partition_is_the_full_value_and_gradient",),
    ),
    Fault(
        "filled-rows-counted",
        "model/net_target.py",
        "each if self.mask is None else jnp.where(self.mask, each, 0)",
        "each",
        ("data/test_batches.py",),
    ),
    Fault(
        "filled-rows-scaled",
        "model/target.py",
        "if batch.mask is not None:",
        "if False:",
        ("contract/test_contract.py::test_conjugate_regression",),
    ),
    Fault(
        "kl-per-row",
        "model/target.py",
        "self.kl_weight * warm * kl",
        "self.kl_weight * warm * kl / self.rows",
        ("model/test_target.py::test_the_elbo_takes_the_whole_kl",),
    ),
    Fault(
        "batch-noise-of-a-mean",
        "model/target.py",
        "self.rows * (self.rows / batch) * covariance",
        "self.rows * (self.rows / batch**2) * covariance",
        (
            "methods/sgmcmc/test_sgfs.py::test_without_noise_of_its_own_a_step_is_newton_s_over_gamma",
        ),
    ),
    Fault(
        "jacobian-left-out",
        "layout.py",
        "jnp.sum(self.prior.log_prob(value)) + (log_det if jacobian else 0.0)",
        "jnp.sum(self.prior.log_prob(value))",
        ("model/test_target.py::test_log_prior_is_numpyros_plus_the_jacobian",),
    ),
    Fault(
        "jacobian-of-a-joint-density-left-out",
        "layout.py",
        "return log_density + (log_det if jacobian else 0.0)",
        "return log_density",
        (
            "priors/test_unknowns.py::test_a_joint_density_of_positive_latents_counts_their_jacobian",
        ),
    ),
    Fault(
        "jacobian-counted-twice",
        "distributions/prior_of_weights.py",
        "return log_prob if jacobian else log_prob - self.constrain(theta)[1]",
        "return log_prob + self.constrain(theta)[1] if jacobian else log_prob",
        ("run/test_update.py::test_the_log_prior_is_q_over_unconstrained_theta",),
    ),
    Fault(
        "shares-of-what-is-remembered-equal",
        "distributions/prior_of_predictions.py",
        "self.prior.counts[:, None] * self.prior.shares * each",
        "self.prior.counts[:, None] * each / self.prior.shares.shape[1]",
        (
            "distributions/test_prior_of_predictions.py::test_it_is_the_base_and_a_weighted_sum_over_targets",
        ),
    ),
    Fault(
        "likelihood-counted-twice",
        "model/program_target.py",
        "hide=list(self.observed)",
        "hide=[]",
        ("model/test_program_target.py::test_log_joint_is_numpyros",),
    ),
    Fault(
        "learned-number-lost",
        "methods/vi/advi.py",
        "target = target.at(numbers)",
        "target = target.at_start()",
        ("test_learnable.py::test_the_posteriors_model_has_the_learned_number",),
    ),
    # -- variational inference --------------------------------------------------------------------
    Fault(
        "kl-closed-form-wrong-by-a-factor",
        "methods/vi/objectives.py",
        "- 1) - jnp.log(ratio))",
        "- 1) - 0.5 * jnp.log(ratio))",
        ("model/test_target.py::test_kl_to_a_normal_prior_is_exact",),
    ),
    Fault(
        "landing-not-stuck",
        "methods/vi/objectives.py",
        "family.log_prob(jax.lax.stop_gradient(phi), thetas)",
        "family.log_prob(phi, thetas)",
        ("methods/vi/test_families.py::test_sticking_the_landing_has_no_noise_at_the_optimum",),
    ),
    Fault(
        "antithetic-sign-lost",
        "methods/vi/advi.py",
        "noise = jnp.concatenate([noise, -noise])",
        "noise = jnp.concatenate([noise, noise])",
        ("methods/vi/test_advi.py::test_of_a_pair_of_draws_the_gradient_of_the_mean_is_exact",),
    ),
    Fault(
        "cosine-inverted",
        "methods/vi/advi.py",
        "0.5 * (1 + jnp.cos(jnp.pi * at / length))",
        "0.5 * (1 - jnp.cos(jnp.pi * at / length))",
        ("methods/vi/test_advi.py::test_the_step_size_is_the_peak_of_the_schedule",),
    ),
    Fault(
        "tail-not-averaged",
        "methods/vi/advi.py",
        "weight = 1 / jnp.maximum(into_tail + 1, 1)",
        "weight = jnp.ones_like(into_tail)",
        ("methods/vi/test_advi.py::test_the_average_is_of_the_last_fifth",),
    ),
    Fault(
        "worst-cycle-kept",
        "methods/vi/cycles.py",
        "better = gain > (-doubt if self.polishing else 0.0)",
        "better = gain < (-doubt if self.polishing else 0.0)",
        ("methods/vi/test_advi.py::test_the_cycle_with_the_highest_elbo_counts",),
    ),
    Fault(
        "curvature-in-wrong-units",
        "methods/vi/ivon.py",
        "weight * ((curvature / sd + prior.precision)",
        "weight * ((curvature + prior.precision)",
        ("methods/vi/test_ivon.py::test_the_fixed_point_is_the_mean_field_optimum",),
    ),
    Fault(
        "prior-mean-ignored",
        "methods/vi/ivon.py",
        "prior.precision * (state.mean - prior.loc)",
        "prior.precision * state.mean",
        ("methods/vi/test_ivon.py::test_a_prior_per_element_is_met_in_mean_and_sd",),
    ),
    Fault(
        "response-not-tempered",
        "methods/vi/dadvi.py",
        "chol=response(hessian, unit, target.kl_weight)",
        "chol=response(hessian, unit, 1.0)",
        ("methods/vi/test_dadvi.py::test_a_tempered_target_has_the_tempered_optimum_and_response",),
    ),
    Fault(
        "gain-of-the-step-doubled",
        "methods/vi/newton.py",
        "gain = -0.5 * jnp.vdot(end.step, gradient + end.residual)",
        "gain = -jnp.vdot(end.step, gradient + end.residual)",
        ("methods/vi/test_newton.py", "methods/vi/test_dadvi.py"),
    ),
    Fault(
        "factor-transposed-in-draws",
        "methods/vi/families/full_rank.py",
        "noise @ self.chol(phi).T",
        "noise @ self.chol(phi)",
        ("methods/vi/test_families.py::test_moments_are_those_of_the_draws",),
    ),
    Fault(
        "determinant-of-low-rank-halved",
        "methods/vi/families/low_rank.py",
        "return alone - jnp.sum(jnp.log(jnp.diag(chol)))",
        "return alone - 0.5 * jnp.sum(jnp.log(jnp.diag(chol)))",
        ("methods/vi/test_families.py::test_closed_and_sampled_kl_agree",),
    ),
    Fault(
        "noise-shared-between-rows",
        "methods/vi/advi.py",
        "flat = draw_noise(chosen, key, different * rows, float_dtype(), once)",
        "flat = draw_noise(chosen, key, different, float_dtype(), once)\n"
        "        flat = jax.tree.map(lambda leaf: jnp.repeat(leaf, rows, 0), flat)",
        ("methods/vi/test_estimators.py::test_in_a_fit_every_row_has_noise_of_its_own",),
    ),
    Fault(
        "sd-added-for-variance",
        "methods/vi/estimators/random_array.py",
        "bind(x * x, weight.sd * weight.sd)",
        "bind(jnp.abs(x), weight.sd) ** 2",
        ("methods/vi/test_estimators.py::test_mean_value_and_gradient_agree",),
    ),
    Fault(
        "output-sign-lost",
        "methods/vi/estimators/random_array.py",
        "self.r * bind(flipped, weight.deviation)",
        "bind(flipped, weight.deviation)",
        ("methods/vi/test_estimators.py::test_an_examples_output_is_that_of_one_weight",),
    ),
    # -- Markov chain Monte Carlo -----------------------------------------------------------------
    Fault(
        "momentum-against-the-gradient",
        "methods/mcmc/paths.py",
        "half + 0.5 * step * gradient, gradient, log_joint)",
        "half - 0.5 * step * gradient, gradient, log_joint)",
        ("methods/mcmc/test_paths.py::test_leapfrog_is_reversible",),
    ),
    Fault(
        "stale-gradient",
        "methods/mcmc/paths.py",
        "half + 0.5 * step * gradient, gradient, log_joint)",
        "half + 0.5 * step * point.gradient, gradient, log_joint)",
        ("methods/mcmc/test_paths.py::test_leapfrog_is_reversible",),
    ),
    Fault(
        "accept-always",
        "methods/mcmc/paths.py",
        "accept = jnp.log(uniform) < change",
        "accept = jnp.isfinite(change)",
        ("methods/mcmc/test_paths.py::test_fixed_length_leaves_the_target_as_it_is",),
    ),
    Fault(
        "late-leaves-favoured",
        "methods/mcmc/paths.py",
        "jnp.log(self.thresholds[half.first + half.n]) < change - weight",
        "jnp.log(self.thresholds[half.first + half.n]) < change - half.sums[0]",
        ("methods/mcmc/test_paths.py::test_the_tree_draws_as_brute_force_says",),
    ),
    Fault(
        "metric-not-inverted",
        "methods/mcmc/mass_matrix.py",
        "return noise / jnp.sqrt(self.var)",
        "return noise * jnp.sqrt(self.var)",
        (
            "methods/mcmc/test_paths.py::test_momenta_have_the_inverse_of_what_velocity_multiplies_by",
        ),
    ),
    Fault(
        "sd-where-the-metric-wants-variance",
        "methods/mcmc/warmup.py",
        "return Diagonal(weight * moments + floor)",
        "return Diagonal(jnp.sqrt(weight * moments) + floor)",
        (
            "methods/mcmc/test_warmup.py::test_diagonal_and_dense_are_the_moments_of_the_last_window",
        ),
    ),
    Fault(
        "one-dimension-too-many",
        "methods/mcmc/microcanonical.py",
        "return unit(new), (size - 1) * won",
        "return unit(new), size * won",
        ("methods/mcmc/test_microcanonical.py::test_the_error_of_a_step_is_of_third_order",),
    ),
    Fault(
        "sign-of-the-energy-error",
        "methods/mcmc/mamclmc.py",
        "ended(begin, end, -error, accept",
        "ended(begin, end, error, accept",
        ("methods/mcmc/test_microcanonical.py::test_adjusted_paths_leave_the_target_as_it_is",),
    ),
    Fault(
        "length-and-acceptance-by-one-key",
        "methods/mcmc/hmc.py",
        "jax.random.randint(length_key, (), 1, 2 * self.leapfrogs)",
        "(jax.random.uniform(accept_key) * (2 * self.leapfrogs - 1)).astype(int) + 1",
        (
            "methods/mcmc/test_paths.py::test_of_hmc_the_length_of_a_path_says_nothing_of_its_acceptance",
        ),
    ),
    Fault(
        "welford-squares-of-the-old-mean",
        "methods/mcmc/tuning.py",
        "moments.squares + off * (theta - mean)",
        "moments.squares + off * off",
        ("methods/mcmc/test_tuning.py",),
    ),
    Fault(
        "swaps-the-wrong-way",
        "methods/mcmc/ladder.py",
        "jnp.diff(betas) * -jnp.diff(log_likelihood)",
        "jnp.diff(betas) * jnp.diff(log_likelihood)",
        ("methods/mcmc/test_tempering.py::test_swaps_leave_every_temperature_its_law",),
    ),
    Fault(
        "gradient-not-tempered",
        "methods/mcmc/replicas.py",
        "gradient=old.prior_gradient + beta * old.gradient",
        "gradient=old.prior_gradient + old.gradient",
        ("methods/mcmc/test_tempering.py::test_short_steps_keep_the_energy_at_every_temperature",),
    ),
    # -- stochastic gradients ---------------------------------------------------------------------
    Fault(
        "langevin-noise-of-half-the-variance",
        "methods/sgmcmc/sgld.py",
        "jnp.sqrt(2 * step_size * now.heat)",
        "jnp.sqrt(step_size * now.heat)",
        ("methods/sgmcmc/test_sgld.py::test_a_step_is_blackjax_s",),
    ),
    Fault(
        "friction-of-first-order",
        "methods/sgmcmc/sghmc.py",
        "var = (1 - keep**2) * half.heat",
        "var = 2 * (1 - keep) * half.heat",
        ("methods/sgmcmc/test_underdamped.py::test_friction_takes_as_much_as_noise_gives",),
    ),
    Fault(
        "noise-used-twice",
        "methods/sgmcmc/sgnht.py",
        "half.heat, noise[1]) + half.kick",
        "half.heat, noise[0]) + half.kick",
        ("methods/sgmcmc/test_underdamped.py::test_friction_takes_as_much_as_noise_gives",),
    ),
    Fault(
        "sign-of-the-control-variate",
        "methods/sgmcmc/variates.py",
        "return anchor.gradient - jax.grad(target.scaled_log_likelihood)(anchor.theta, batch)",
        "return jax.grad(target.scaled_log_likelihood)(anchor.theta, batch) - anchor.gradient",
        (
            "methods/sgmcmc/test_variates.py::test_gradients_are_unbiased_and_have_less_noise_near_the_anchor",
        ),
    ),
    Fault(
        "rows-of-a-pass-counted-twice",
        "methods/sgmcmc/variates.py",
        "counts = (first + jnp.arange(size) < target.rows)",
        "counts = (first + jnp.arange(size) >= 0)",
        ("methods/sgmcmc/test_variates.py::test_the_first_pass_gathers_the_gradient_of_all_rows",),
    ),
    Fault(
        "cycle-samples-one-step-late",
        "methods/sgmcmc/schedules.py",
        "t % self.cycle >= self.explore",
        "t % self.cycle > self.explore",
        ("methods/sgmcmc/test_schedules.py::test_cycles_keep_what_they_sample_and_nothing_else",),
    ),
    Fault(
        "noise-of-two-gradients",
        "methods/sgmcmc/learning.py",
        "change = 0.5 * (gradient - learned.last) ** 2",
        "change = (gradient - learned.last) ** 2",
        ("methods/sgmcmc/test_learning.py::test_noise_is_the_variance_of_a_batch_gradient",),
    ),
    Fault(
        "noise-tempered-as-information",
        "methods/sgmcmc/sgfs.py",
        "batch.y.shape[0]) / heat**2",
        "batch.y.shape[0]) / heat",
        ("methods/sgmcmc/test_sgfs.py::test_a_tempered_step_is_newton_s_on_the_tempered_density",),
    ),
    Fault(
        "sd-and-variance-of-the-base",
        "curvature/diagonal.py",
        "jnp.sqrt(heat * inverse * base) * noise",
        "jnp.sqrt(heat * inverse) * base * noise",
        ("curvature/test_fisher.py::test_moves_have_the_mean_and_covariance_of_the_equation",),
    ),
    Fault(
        "chunks-merged-wrong",
        "curvature/row_gradients.py",
        "jnp.sqrt(before * share) * off",
        "jnp.sqrt(before) * off",
        ("curvature/test_fisher.py::test_covariance_is_that_of_a_loop_over_rows",),
    ),
    # -- the run ----------------------------------------------------------------------------------
    Fault(
        "keys-repeat-with-every-dispatch",
        "run/loop.py",
        "numbers = loop.steps + jnp.arange(room + 1)",
        "numbers = jnp.arange(room + 1)",
        ("run/test_threads.py::test_the_size_of_dispatches_changes_no_bit",),
    ),
    Fault(
        "retreat-to-the-bad-state",
        "run/loop.py",
        "method.retreat(good))",
        "method.retreat(state))",
        ("run/test_fit.py::test_the_state_that_is_kept_has_a_finite_density",),
    ),
    Fault(
        "chains-share-a-key",
        "run/start.py",
        "lambda chain: jax.random.fold_in(jax.random.key(seed), chain)",
        "lambda chain: jax.random.fold_in(jax.random.key(seed), 0 * chain)",
        ("run/test_start.py::test_net_starts_have_zero_biases_and_differ_by_chain_and_start",),
    ),
    Fault(
        "thinning-off-by-one",
        "run/runner.py",
        "thin * np.arange(1, count // thin + 1) - 1",
        "thin * np.arange(count // thin)",
        ("methods/sgmcmc/test_schedules.py::test_a_thinned_draw_is_the_last_of_its_steps",),
    ),
    Fault(
        "ctrl-c-swallowed",
        "run/progress.py",
        "self.asked = True",
        "self.asked = self.asked or False",
        ("run/test_interrupt.py::test_the_first_ctrl_c_returns_what_was_fitted",),
    ),
    Fault(
        "numbers-counted-for-bytes",
        "run/draw_store.py",
        "int(np.prod(shape, dtype=np.int64)) * dtype.itemsize",
        "int(np.prod(shape, dtype=np.int64))",
        ("run/test_draw_store.py::test_the_threshold_counts_draws_and_history",),
    ),
    Fault(
        "mode-of-the-unconstrained",
        "methods/map.py",
        "target.log_joint(theta, batch, jacobian=False)",
        "target.log_joint(theta, batch)",
        ("methods/test_map.py",),
    ),
    # -- the posterior ----------------------------------------------------------------------------
    Fault(
        "draws-by-the-transposed-factor",
        "distributions/normal.py",
        "return self.mean + self.chol @ noise",
        "return self.mean + self.chol.T @ noise",
        ("distributions/test_mixture.py::test_draws_have_the_moments",),
    ),
    Fault(
        "stored-draws-not-spread",
        "distributions/draws.py",
        "return np.argsort(np.argsort(turns)).astype(np.int32)",
        "return np.arange(total).astype(np.int32)",
        ("test_posterior.py::test_a_thinned_sample_visits_every_draw_once_and_evenly",),
    ),
    Fault(
        "variance-between-modes-left-out",
        "distributions/mixture.py",
        "jnp.sqrt(self.weights @ (sds**2 + (means - mean) ** 2))",
        "jnp.sqrt(self.weights @ sds**2)",
        ("distributions/test_mixture.py::test_draws_have_the_moments",),
    ),
    Fault(
        "aleatoric-and-epistemic-exchanged",
        "predict/predictive.py",
        "aleatoric=_add_classes(found.var, target.likelihood),\n        epistemic=",
        "epistemic=_add_classes(found.var, target.likelihood),\n        aleatoric=",
        ("predict/test_predictive.py::test_mean_and_variances_are_numpys_over_the_same_draws",),
    ),
    Fault(
        "epistemic-with-denominator-less-one",
        "predict/predictive.py",
        "found.m2 / draws, target",
        "found.m2 / max(draws - 1, 1), target",
        ("predict/test_predictive.py::test_mean_and_variances_are_numpys_over_the_same_draws",),
    ),
    Fault(
        "density-not-rescaled",
        "predict/predictive.py",
        "return each - np.log(self._scale) * int(np.prod(self._target_shape))",
        "return each",
        ("predict/test_predictive.py::test_rescaled_predictions_are_in_the_units_of_y",),
    ),
    Fault(
        "welford-merge-wrong",
        "predict/stream.py",
        "step**2 * old.n * n / total",
        "step**2 * n",
        ("predict/test_predictive.py::test_mean_and_variances_are_numpys_over_the_same_draws",),
    ),
    Fault(
        "one-draw-too-many",
        "predict/stream.py",
        "(index < source.stop).astype",
        "(index <= source.stop).astype",
        ("predict/test_predictive.py::test_mean_and_variances_are_numpys_over_the_same_draws",),
    ),
    Fault(
        "noise-shared-between-draws",
        "predict/stream.py",
        "jax.random.fold_in(jax.random.fold_in(source.key, index), 1)",
        "jax.random.fold_in(source.key, 1)",
        ("predict/test_predictive.py::test_raw_targets_have_the_predictive_moments",),
    ),
    Fault(
        "count-quantile-off-by-one",
        "predict/quantiles.py",
        "return np.floor(upper)",
        "return np.floor(lower)",
        (
            "predict/test_quantiles.py::test_quantiles_of_counts_are_the_smallest_count_that_suffices",
        ),
    ),
    Fault(
        "cutoff-of-the-other-class",
        "predict/refusal.py",
        "np.full_like(points, 1 - cutoff)",
        "np.full_like(points, cutoff)",
        ("predict/test_refusal.py",),
    ),
    Fault(
        "rhat-not-split",
        "diagnostics/convergence.py",
        "return np.concatenate([block[..., :half], block[..., -half:]], axis=1)",
        "return block[..., : 2 * half]",
        ("diagnostics/test_convergence.py",),
    ),
    Fault(
        "energy-changes-over-sd",
        "diagnostics/convergence.py",
        "energies.var(axis=1, ddof=1)",
        "energies.std(axis=1, ddof=1)",
        ("diagnostics/test_convergence.py", "statistical/test_known_bad.py"),
    ),
    Fault(
        "best-sample-size-for-the-worst",
        "diagnostics/diagnose.py",
        "int(np.nanargmin(ess))",
        "int(np.nanargmax(ess))",
        ("diagnostics/test_diagnose.py", "statistical/test_known_bad.py"),
    ),
    Fault(
        "tail-one-draw-short",
        "diagnostics/khat.py",
        "3 * math.sqrt(count))) - 1], NO_WEIGHT)",
        "3 * math.sqrt(count)))], NO_WEIGHT)",
        ("diagnostics/test_khat.py",),
    ),
    Fault(
        "rows-known-by-sds",
        "predict/remember.py",
        "np.where(epistemic > 0, aleatoric / epistemic, np.inf)",
        "np.where(epistemic > 0, np.sqrt(aleatoric / epistemic), np.inf)",
        ("predict/test_remember.py::test_rows_known",),
    ),
    Fault(
        "shares-of-normals-forgotten",
        "distributions/em.py",
        "np.log(share) - scale",
        "-scale",
        ("distributions/test_em.py",),
    ),
    # -- files ------------------------------------------------------------------------------------
    Fault(
        "checksum-not-compared",
        "storage/file.py",
        "if digest(text, tensors) != checksum:",
        "if len(digest(text, tensors)) != len(checksum):",
        ("storage/test_file.py::test_an_edited_header_is_refused",),
    ),
    Fault(
        "temperature-lost-on-load",
        "model/net_target.py",
        "return cls.build(model, inputs, y_shape, rows, kl_weight, temperature)",
        "return cls.build(model, inputs, y_shape, rows, kl_weight)",
        (
            "storage/test_file.py::test_the_temperature_of_a_sampler_and_the_degrees_of_freedom_are_in_its_file",
        ),
    ),
    Fault(
        "degrees-of-freedom-lost",
        "likelihoods/student_t.py",
        "self.df = float(df)",
        "self.df = 4.0",
        (
            "storage/test_file.py::test_the_temperature_of_a_sampler_and_the_degrees_of_freedom_are_in_its_file",
        ),
    ),
    Fault(
        "infinite-arrays-read",
        "storable.py",
        "if not np.isfinite(array).all():",
        "if np.isnan(array).any():",
        ("storage/test_file.py::test_values_that_are_not_finite_are_refused",),
    ),
    Fault(
        "digest-without-shapes",
        "storage/tensors.py",
        'head = f"\\n{name} {tensor.dtype.str} {tensor.shape}\\n"',
        'head = f"\\n{name} {tensor.dtype.str}\\n"',
        ("storage/test_file.py::test_the_checksum_is_of_shapes_and_dtypes_too",),
    ),
    Fault(
        "spool-writes-another-chain",
        "distributions/spool.py",
        "chain * self.array.strides[0] + at",
        "chain * self.array.strides[1] + at",
        ("distributions/test_spooled.py", "run/test_draw_store.py"),
    ),
    Fault(
        "window-from-its-beginning",
        "predict/source.py",
        "return self.theta[index - self.first]",
        "return self.theta[index]",
        ("distributions/test_spooled.py::test_predictions_are_the_same_to_the_last_bit",),
    ),
    Fault(
        "file-written-in-place",
        "files.py",
        'handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)',
        "handle, name = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), str(path)",
        ("test_files.py",),
    ),
    Fault(
        "cached-files-count-as-taken",
        "memory.py",
        "int(limit) - int(used) + (",
        "int(limit) - int(used) - (",
        ("test_memory.py",),
    ),
    # -- metrics, figures, reports and the command line -------------------------------------------
    Fault(
        "ties-count-as-wins",
        "metrics.py",
        "int(np.sum(below + up_to))",
        "int(np.sum(2 * up_to))",
        ("test_metrics.py",),
    ),
    Fault(
        "coverage-of-the-mean",
        "metrics.py",
        'pred.interval(p, of="y")',
        'pred.interval(p, of="mean")',
        ("test_metrics.py",),
    ),
    Fault(
        "band-of-the-mean-only",
        "plots/bands.py",
        'wide = pred.interval(interval, of="y")',
        'wide = pred.interval(interval, of="mean")',
        ("test_plots.py::test_band_shows_mean_two_intervals_and_data",),
    ),
    Fault(
        "bars-the-wrong-way-round",
        "plots/observed.py",
        "sides = means - bounds[0], bounds[1] - means",
        "sides = bounds[1] - means, means - bounds[0]",
        ("test_plots.py::test_predicted_observed",),
    ),
    Fault(
        "axes-swapped",
        "plots/surfaces.py",
        "return of(pred).reshape(self.mesh[0].shape)",
        "return of(pred).reshape(self.mesh[0].shape).T",
        ("test_plots.py::test_probability_surface_shows_the_prediction",),
    ),
    Fault(
        "heads-of-the-other-rows",
        "reports.py",
        '"heads": [(rows.name, rows.used) for rows in sets]',
        '"heads": [(rows.name, rows.used) for rows in sets[::-1]]',
        ("test_reports.py::test_metrics_of_test_and_training_rows",),
    ),
    Fault(
        "bounds-of-the-other-class",
        "cli/predicting.py",
        "np.stack([1 - upper, lower], 1), np.stack([1 - lower, upper], 1)",
        "np.stack([1 - lower, lower], 1), np.stack([1 - upper, upper], 1)",
        ("test_cli.py::test_samplers_and_two_classes",),
    ),
    Fault(
        "trained-on-test-rows",
        "cli/fitting.py",
        "train = (x[~held_out], y[~held_out])",
        "train = (x, y)",
        ("test_cli.py::test_fit_prints_one_json_object_and_remarks_elsewhere",),
    ),
    Fault(
        "scores-in-mixed-units",
        "cli/fitting.py",
        "y if output is None else output.inverse(y)",
        "y",
        ("test_cli.py::test_public_tables",),
    ),
)
