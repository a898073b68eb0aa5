"""Networks from elsewhere: Equinox modules, Flax NNX modules and plain functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np

from posterity.nets.net import AbstractNet, Params
from posterity.storable import stored


@stored("nets.Functions")
class FunctionNet(AbstractNet):
    """A net from two functions: `init(key) -> params` and `apply(params, x) -> outputs`."""

    init_function: Callable[[jax.Array], Params] = eqx.field(static=True)
    apply_function: Callable[[Params, Any], jax.Array] = eqx.field(static=True)

    def init(self, key: jax.Array) -> Params:
        """The user's initial parameters."""
        return self.init_function(key)

    def apply(self, params: Params, x: Any) -> jax.Array:
        """The user's outputs for rows `x`."""
        return self.apply_function(params, x)


@stored("nets.Equinox")
class EquinoxNet(AbstractNet):
    """An Equinox module of one example, mapped over the rows.

    Its floating-point arrays are the parameters. Where the inputs are a tuple or a dictionary of
    arrays, the module is called with one row of it, as one argument.
    """

    holds_weights: ClassVar[bool] = True
    module: eqx.Module

    @property
    def rowwise(self) -> bool:
        """True: the module is mapped over the rows."""
        return True

    def __check_init__(self) -> None:
        stateful = (eqx.nn.BatchNorm, eqx.nn.SpectralNorm)
        for part in jax.tree.leaves(self.module, is_leaf=lambda m: isinstance(m, eqx.nn.Dropout)):
            if isinstance(part, eqx.nn.Dropout) and part.p > 0 and not part.inference:
                raise ValueError(
                    "net: it contains an active Dropout layer, whose noise the posterior would "
                    "not know about; the prior regularises instead. Remove it, or switch it off "
                    "with eqx.nn.inference_mode(net)."
                )
        for part in jax.tree.leaves(self.module, is_leaf=lambda m: isinstance(m, stateful)):
            if isinstance(part, stateful):
                raise ValueError(
                    f"net: it contains {type(part).__name__}, whose running state depends on the "
                    "batch, so that rows would not be independent given the weights. Use "
                    "LayerNorm, GroupNorm or RMSNorm."
                )

    def init(self, key: jax.Array) -> Params:
        """The floating-point arrays that the module holds."""
        del key
        return eqx.filter(self.module, eqx.is_inexact_array)

    def apply(self, params: Params, x: Any) -> jax.Array:
        """The module with its arrays replaced by `params`, mapped over the rows of `x`."""
        module: Any = eqx.combine(
            params, eqx.filter(self.module, eqx.is_inexact_array, inverse=True)
        )
        return jax.vmap(module)(x)


class NNXNet(AbstractNet):
    """A Flax NNX module that takes whole batches; its `nnx.Param` variables are the parameters.

    What else it holds (keys that recurrent cells carry, statistics that are frozen) stays as it is.
    """

    holds_weights: ClassVar[bool] = True
    graph: Any = eqx.field(static=True)
    held: Any
    rest: Any

    def init(self, key: jax.Array) -> Params:
        """The `nnx.Param` values that the module holds."""
        del key
        return self.held

    def apply(self, params: Params, x: Any) -> jax.Array:
        """The module with its parameters replaced by `params`, applied to the batch `x`."""
        return self._called(params, self.rest, x)

    def _called(self, params: Params, rest: Any, x: Any) -> jax.Array:
        from flax import nnx

        state = nnx.State(jax.tree.map(nnx.Param, params))
        # New variables: what a call changes in them (a cell counts its keys) goes with them.
        return nnx.merge(self.graph, state, jax.tree.map(lambda leaf: leaf, rest))(x)

    def check(self, x: Any) -> None:
        """Refuse a module whose outputs depend on the random keys that it holds."""
        keys = [leaf for leaf in jax.tree.leaves(self.rest) if _is_key(leaf)]
        if not keys:
            return

        def outputs(number: int) -> jax.Array:
            def other(leaf: Any) -> Any:
                return jax.random.fold_in(leaf, number) if _is_key(leaf) else leaf

            return self._called(self.held, jax.tree.map(other, self.rest), x)

        first, second = map(np.asarray, (outputs(1), outputs(2)))
        if not np.array_equal(first, second, equal_nan=True):
            raise ValueError(
                "net: the outputs of the NNX module depend on random keys that it holds: it draws "
                "noise, or a random initial carry, which the posterior would not know about. "
                "Switch it off with net.eval(), or remove it."
            )


def _is_key(leaf: Any) -> bool:
    return eqx.is_array(leaf) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _from_nnx(module: Any) -> NNXNet:
    from flax import nnx

    _refuse_active(module)
    split: Any = nnx.split  # its types promise a variadic tuple
    graph, params, rest = split(module, nnx.Param, ...)
    known = nnx.RngState, nnx.BatchStat
    kinds = sorted(
        {type(v).__name__ for _, v in nnx.to_flat_state(rest) if not isinstance(v, known)}
    )
    if kinds:
        raise ValueError(
            f"net: the NNX module holds {', '.join(kinds)} beside its Params. A Bayesian net has "
            "no state but its weights: make them Params, plain arrays or numbers, or remove them."
        )
    return NNXNet(graph, nnx.to_pure_dict(params), rest)


def _refuse_active(module: Any) -> None:
    """Refuse layers that are random, or that make rows depend on each other, unless switched off.

    Raises:
        ValueError: there is one; the message names it by path.
    """
    from flax import nnx

    for path, part in nnx.iter_modules(module):
        name = f"{type(part).__name__} ({'.'.join(map(str, path)) or 'itself'})"
        rate = getattr(part, "rate", None) or getattr(part, "dropout_rate", None)
        if rate and not getattr(part, "deterministic", True):
            raise ValueError(
                f"net: the NNX module contains an active {name}, whose noise the posterior would "
                "not know about; the prior regularises instead. Remove it, or switch it off with "
                "net.eval()."
            )
        if not getattr(part, "use_running_average", True):
            raise ValueError(
                f"net: the NNX module contains an active {name}, whose statistics are those of "
                "the batch (BatchStat), so that rows would not be independent given the weights. "
                "Use LayerNorm or GroupNorm, or freeze its statistics with net.eval()."
            )


def as_net(given: Any) -> AbstractNet:
    """`given` as a net the core can use.

    Args:
        given: one of `posterity.nets`; an Equinox module that maps one example to its outputs; a
            Flax NNX module that maps a batch; or a pair of functions ``(init, apply)`` with
            ``init(key) -> params`` and ``apply(params, x) -> outputs`` for a batch. Inputs that are
            a tuple or a dictionary of arrays are passed as one argument.

    Raises:
        TypeError: none of these.
        ValueError: the module has dropout or batch statistics that are not switched off.
    """
    if isinstance(given, AbstractNet):
        return given
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return FunctionNet(*given)
    if isinstance(given, eqx.Module):
        return EquinoxNet(given)
    flax = sys.modules.get("flax")
    if flax is not None and isinstance(given, flax.nnx.Module):
        return _from_nnx(given)
    linen = sys.modules.get("flax.linen")
    if linen is not None and isinstance(given, linen.Module):
        raise TypeError(
            "net: a Flax Linen module holds no parameters; give two functions of it, with some "
            "rows of x: (lambda key: net.init(key, x[:1]), net.apply)."
        )
    raise TypeError(
        "net: expected one of po.nets, an Equinox module, a Flax NNX module or a pair of functions "
        f"(init, apply), got {type(given).__name__}."
    )
