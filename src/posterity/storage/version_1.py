"""Files of format 1, as descriptions of format 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Json = Any

# Format 1 kept what was found among what was asked for.
FOUND = ("learned", "estimators", "steps_made", "seconds")
# In these methods the weight of the KL was called the temperature.
WEIGHTED = ("ADVI", "DADVI", "IVON")
ARRAYS = {
    "Gaussian": ("mean", "sd"),
    "FullRank": ("mean", "chol"),
    "LowRank": ("mean", "sd", "factor"),
    "Flow": ("mean", "sd", "weights"),
    "Draws": ("theta",),
}
REMEMBERED = {"x": "x", "y": "y", "shares": "shares", "counts": "weights"}
RENAMED = {"init_sd": "init_scale"}  # settings
WRAPPED = ("TransformedDistribution", "expanded", "event")


def upgraded(
    description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> tuple[Json, dict[str, np.ndarray]]:
    """The description and the arrays that format 2 would have.

    Raises:
        ValueError, KeyError, TypeError: it is no description.
    """
    return _Upgrade(dict(description), dict(tensors)).description()


class _Upgrade:
    def __init__(self, old: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        self.old, self.tensors = old, tensors
        self.settings = dict(old["settings"])
        self.facts = {name: self.settings.pop(name) for name in FOUND if name in self.settings}

    def description(self) -> tuple[Json, dict[str, np.ndarray]]:
        weights = {"kl_weight": 1.0, "temperature": 1.0}
        if "temperature" in self.settings:
            weighs = self.settings.get("method") in WEIGHTED
            name = "kl_weight" if weighs else "temperature"
            weights[name] = self.settings[name] = self.settings.pop("temperature")
        for name, now in RENAMED.items():
            if name in self.settings:
                self.settings[now] = self.settings.pop(name)
        new = {
            "format": 2,
            "target": self._target(weights),
            "parameters": self.old["parameters"],
            "distribution": self._posterior(self.old, ""),
            "settings": _plain(self.settings),
            "facts": _plain(self.facts),
            "result": self.old["result"],
            "diagnostics": self.old.get("diagnostics"),
            "probe": None,
        }
        return new, self.tensors

    def _target(self, weights: dict[str, float]) -> Json:
        model = self.old["model"]
        if model.get("program"):
            program = {"$given": "model", "why": "the model is a NumPyro program"}
            arguments = {"$given": "data", "why": "the data of a NumPyro program"}
            return _stored("targets.Program", program=program, arguments=arguments, **weights)
        if "needs_model" in model:
            given = {"$given": "model", "why": str(model["needs_model"])}
            parts = {"net": given, "prior": given, "likelihood": given}
        else:
            parts = {
                "net": self._net(model["net"]),
                "prior": self._prior(model),
                "likelihood": self._likelihood(model["likelihood"]),
            }
        row = {"name": "", "shape": self.old["x_shape"], "dtype": "float", "columns": None}
        leaf = {"$stored": "inputs.Leaf", "parts": row}
        inputs = _stored("inputs.Spec", leaves=[leaf], structure="array")
        shapes = {"inputs": inputs, "y_shape": self.old["y_shape"], "rows": self.old["rows"]}
        return _stored("targets.Net", **parts, **shapes, **weights)

    def _posterior(self, kind: Json, prefix: str) -> Json:
        """A distribution over θ, whose arrays begin with `prefix`."""
        name = kind["distribution"]
        if name == "Mixture":
            return self._mixture(kind["components"], prefix)
        sizes = {key: kind["flow"][key] for key in ("layers", "width")} if name == "Flow" else {}
        arrays = {field: {"$array": prefix + field} for field in ARRAYS[name]}
        return _stored(f"distributions.{name}", **arrays, **sizes)

    def _mixture(self, name: str, prefix: str) -> Json:
        if name not in ("Gaussian", "FullRank", "LowRank"):
            raise ValueError(f"a mixture of {name} is none of this library's.")
        stacks = {field: np.asarray(self.tensors.pop(prefix + field)) for field in ARRAYS[name]}
        parts = []
        for number in range(len(next(iter(stacks.values())))):
            arrays = {
                field: self._put(f"{prefix}components.{number}.{field}", stack[number])
                for field, stack in stacks.items()
            }
            parts.append(_stored(f"distributions.{name}", **arrays))
        weights = {"$array": f"{prefix}mixture"}
        return _stored("distributions.Mixture", weights=weights, components=parts)

    def _prior(self, model: Json) -> Json:
        rules = [[pattern, self._distribution(rule)] for pattern, rule in model["prior"]]
        prior = _stored("priors.ByPath", rules=rules)
        if model.get("joint"):
            joint = model["joint"]
            parameters = [
                _stored("layout.Parameter", path=path, shape=shape, start=start, stop=stop)
                for path, shape, start, stop in joint["parameters"]
            ]
            unknowns = {path: self._distribution(d) for path, d in joint["unknowns"].items()}
            density = self._posterior(self.old["prior_density"], "prior.")
            prior = _stored(
                "priors.Joint",
                base=prior,
                density=density,
                parameters=parameters,
                unknowns=unknowns,
            )
        if model.get("remembered"):
            arrays = {name: {"$array": f"remembered.{old}"} for name, old in REMEMBERED.items()}
            known = {"base_weight": 1.0, **model["remembered"]}
            prior = _stored("priors.Remembered", base=prior, **arrays, **known)
        return prior

    def _net(self, data: Json) -> Json:
        if data["type"] != "MLP":
            args = dict(data["args"])
            if isinstance(args.get("activation"), dict):
                args["activation"] = {"$function": args["activation"]["function"]}
            return _stored(f"nets.{data['type']}", **args)
        first, *hidden, last = data["sizes"]
        activation = {"$function": data["activation"]}
        sizes = {"in_size": first, "hidden": hidden, "out_size": last}
        return _stored("nets.MLP", **sizes, activation=activation, use_bias=data["use_bias"])

    def _likelihood(self, data: Json) -> Json:
        parts = {name: value for name, value in data.items() if name != "type"}
        if "scale" in parts:
            parts["scale"] = self._scale(parts["scale"])
        return _stored(f"likelihoods.{data['type']}", **parts)

    def _scale(self, scale: Json) -> Json:
        if isinstance(scale, dict):
            return self._distribution(scale)
        if isinstance(scale, str) and scale != "net":  # a learned number, written as a text
            return self._put("likelihood.scale", np.asarray(float(scale)))
        return scale

    def _distribution(self, data: Json) -> Json:
        kind = data["type"]
        new: dict[str, Any] = {"$numpyro": kind}
        if "base" in data:
            new["base"] = self._distribution(data["base"])
        if "transforms" in data:
            new["transforms"] = [
                {"$transform": part["type"], "args": self._args(part["args"])}
                for part in data["transforms"]
            ]
        new |= {name: data[name] for name in ("shape", "dims") if name in data}
        if kind not in WRAPPED:
            new["args"] = self._args(data["args"])
        return new

    def _args(self, args: Json) -> Json:
        return {name: self._number(value) for name, value in args.items()}

    def _number(self, value: Json) -> Json:
        if isinstance(value, dict) and "float" in value:
            return {"$float": value["float"]}
        if isinstance(value, dict):
            array = np.array(value["array"], np.float64).reshape([int(n) for n in value["shape"]])
            return self._put(f"number.{len(self.tensors)}", array)
        return value

    def _put(self, name: str, array: np.ndarray) -> Json:
        self.tensors[name] = array
        return {"$array": name}


def _stored(name: str, **parts: Json) -> Json:
    return {"$stored": name, "parts": parts}


def _plain(value: Json) -> Json:
    """JSON as it was, where lists are lists."""
    if isinstance(value, list):
        return {"$list": [_plain(part) for part in value]}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value
