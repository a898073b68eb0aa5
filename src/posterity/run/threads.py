"""Chains that run in step or apart, and what they report."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from posterity.methods.method import Stretch
from posterity.run.draw_store import Keeping
from posterity.run.loop import Loop


class Lane:
    """Chains that run in step, and what they have reported since the stretch began."""

    def __init__(self, loop: Loop, made: int, chain: int = 0) -> None:
        self.loop = loop
        self.made = made
        self.chain = chain  # the number of the first
        self.left = 0  # steps of the present segment
        self.infos: list[dict[str, np.ndarray]] = []
        self.kept = 0  # draws of each chain, in this stretch


def split(loop: Loop, apart: bool) -> list[Lane]:
    """One lane, or one for each chain."""
    made, chains = int(loop.steps), loop.keys.shape[0]
    if not apart or chains == 1:
        return [Lane(loop, made)]
    # No buffer may be shared, as each lane's dispatch takes those it is given.
    steps, *host = jax.device_get(loop[1:])
    lanes = []
    for chain in range(chains):
        part = jax.tree.map(lambda leaf, c=chain: np.array(leaf[c : c + 1]), host)
        lanes.append(Lane(Loop(loop.keys[chain : chain + 1], steps.copy(), *part), made, chain))
    return lanes


def joined(lanes: list[Lane], keys: jax.Array) -> Loop:
    """The lanes as one loop again, as far as the last of them has come."""
    if len(lanes) == 1:
        return lanes[0].loop
    host = [jax.device_get(lane.loop[2:]) for lane in lanes]
    together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *host)
    steps: Any = np.asarray(min(lane.made for lane in lanes), np.int32)
    return Loop(keys, steps, *together)


def reported(lanes: list[Lane], keeping: Keeping | None) -> Stretch:
    """What all lanes have reported; of an interrupted run, as far as the last has come."""
    infos = [
        {name: np.concatenate([info[name] for info in lane.infos], axis=1) for name in first}
        for lane in lanes
        for first in lane.infos[:1]
    ]
    steps = min(next(iter(info.values())).shape[1] for info in infos)
    if len(infos) < len(lanes):  # before every lane had its turn
        infos, steps = infos[:1] * len(lanes), 0
    info = {name: np.concatenate([i[name][:, :steps] for i in infos]) for name in infos[0]}
    count = min(lane.kept for lane in lanes)
    return Stretch(info, keeping.first(count) if keeping and count else None)
