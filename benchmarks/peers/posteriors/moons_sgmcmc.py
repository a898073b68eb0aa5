"""Moons by the samplers of `posteriors`, as its documentation writes them."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, Data, arguments, fitted, load, moons_accuracy, report, timed

_imports = Clock()
import numpy as np
import posteriors
import torch
from torch import Tensor, nn
from torch.func import functional_call

IMPORT_SECONDS = _imports.seconds()

SHARE = 50  # it makes so much fewer steps than the others, which its rate does not depend on
HIDDEN = 5
THIN = 10
FRICTION = 10.0  # per unit of time; 0.1 in a step
Params = dict[str, Tensor]


def sampler(name: str, net: nn.Module, rows: int) -> posteriors.types.Transform:
    """SGLD or SGHMC for N(0, 1) weights, with the step sizes of the other rows."""

    def log_posterior(params: Params, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = batch
        logits = functional_call(net, params, (x,))[:, 0]
        each = -nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        prior = posteriors.diag_normal_log_prob(params, normalize=False)
        return prior + rows / len(x) * each, logits

    if name == "sgld":
        return posteriors.sgmcmc.sgld.build(log_posterior, lr=1e-4)
    return posteriors.sgmcmc.sghmc.build(log_posterior, lr=1e-2, alpha=FRICTION)


def run(
    name: str, data: Data, steps: int, batch_size: int, inplace: bool, seed: int
) -> list[Params]:
    """The draws that are kept of one chain; every epoch visits all rows once."""
    torch.manual_seed(seed)
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    net = nn.Sequential(
        nn.Linear(2, HIDDEN, bias=False),
        nn.Tanh(),
        nn.Linear(HIDDEN, HIDDEN, bias=False),
        nn.Tanh(),
        nn.Linear(HIDDEN, 1, bias=False),
    )
    transform = sampler(name, net, len(x))
    state = transform.init(dict(net.named_parameters()))
    draws, number = [], 0
    while number < steps:
        for chosen in torch.randperm(len(x)).split(batch_size):
            state, _ = transform.update(state, (x[chosen], y[chosen]), inplace=inplace)
            number += 1
            if number % THIN == 0:
                draws.append({path: value.clone() for path, value in state.params.items()})
    return draws


def weights(draws: list[Params]) -> tuple[np.ndarray, ...]:
    """Of the later half, as (draw, in, out) like everybody else's."""
    late = draws[len(draws) // 2 :]
    first, second, last = (
        np.stack([draw[name].detach().numpy().T for draw in late]) for name in list(late[0].keys())
    )
    return first, second, last[..., 0]


def main() -> None:
    args = arguments()
    data = load(args.data)
    torch.set_num_threads(1)  # a second one makes it no faster
    steps = max(args.steps // SHARE, 100)
    name, _, how = args.method.partition("-")

    def fit(seed: int) -> list[Params]:
        return run(name, data, steps, args.batch_size, how == "inplace", seed)

    first, draws = timed(lambda: fit(0))
    fitted()
    second, _ = timed(lambda: fit(1))
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        second_fit_seconds=second,
        steps=steps,
        steps_per_second=steps / second,
        loop_steps_per_second=steps / second,  # nothing but the loop
        test_accuracy=moons_accuracy(weights(draws), data),
    )


main()
