"""Independent normals."""

from __future__ import annotations

from typing import Any

import numpyro.distributions as dist

from posterity.checks import Settings
from posterity.priors.prior import Prior
from posterity.priors.settings import number, positive


def Normal(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent normal priors on every parameter of the net.

        w ~ N(loc, scale²)

    Args:
        loc: mean; a number, or `po.learned`.
        scale: standard deviation; a positive number, or `po.learned`.

    Returns:
        A `Prior` for all parameters. For different priors on different parameters give `Model` a
        dictionary of patterns instead.

    Raises:
        ValueError: `scale` is not positive and finite, or `loc` is not finite.

    >>> Normal(0, 1).latents({"layers.0.weight": (5, 2)})["layers.0.weight"].scale
    1.0
    """
    wrong = Settings("priors.Normal")
    loc, scale = number(wrong, loc=loc), positive(wrong, scale=scale)
    wrong.refuse()
    return Prior((("*", dist.Normal(loc, scale)),))
