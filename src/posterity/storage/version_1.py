"""Files of format 1: what they say, in the words of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FOUND = ("steps_made", "seconds", "learned", "estimators")  # which stood among the settings
OPTIMISERS = ("ADVI", "IVON", "DADVI", "MAP")  # whose `temperature` was the weight of the KL
RENAMED = {"init_sd": "init_scale"}


def upgraded(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a file of format 1, as one of today would have it.

    What was found is taken out of the settings, and `temperature` is sorted by method: an
    optimiser's was the weight of the KL, and a sampler's is the temperature of all.

    >>> old = {"settings": {"method": "ADVI", "temperature": 0.5, "seconds": 3.0}}
    >>> new = upgraded(old)
    >>> new["settings"], new["facts"]
    ({'method': 'ADVI', 'kl_weight': 0.5}, {'seconds': 3.0})
    >>> new["kl_weight"], new["temperature"]
    (0.5, 1.0)
    """
    given = dict(description["settings"])
    facts = {name: given.pop(name) for name in FOUND if name in given}
    for old, new in RENAMED.items():
        if old in given:
            given[new] = given.pop(old)
    weights = {"kl_weight": 1.0, "temperature": 1.0}
    if "temperature" in given:
        optimises = given.get("method") in OPTIMISERS
        name = "kl_weight" if optimises else "temperature"
        given[name] = weights[name] = given.pop("temperature")
    return {**description, **weights, "settings": given, "facts": facts}
