"""LeNet-5 training steps by PyTorch, plain and with bayesian-torch's layers."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from bayesian_torch.layers import (
    Conv2dFlipout,
    Conv2dReparameterization,
    LinearFlipout,
    LinearReparameterization,
)

IMPORT_SECONDS = _imports.seconds()
BATCH = 128
LAYERS = {
    "plain": (nn.Conv2d, nn.Linear),
    "flipout": (Conv2dFlipout, LinearFlipout),
    "shared": (Conv2dReparameterization, LinearReparameterization),
}


class LeNet(nn.Module):
    """The same net of either kind of layer; the Bayesian ones return (output, KL)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        conv, linear = LAYERS[kind]
        self.bayesian = kind != "plain"
        self.conv = nn.ModuleList(conv(a, b, 5, padding=2) for a, b in ((1, 6), (6, 16), (16, 120)))
        self.dense = nn.ModuleList((linear(5880, 84), linear(84, 10)))

    def _layer(self, layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return layer(x) if self.bayesian else (layer(x), torch.zeros(()))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kls = []
        for index, layer in enumerate(self.conv):
            x, kl = self._layer(layer, x)
            x = F.relu(x) if index == 2 else F.max_pool2d(F.relu(x), 2)
            kls.append(kl)
        x, kl = self._layer(self.dense[0], x.flatten(1))
        out, last = self._layer(self.dense[1], F.relu(x))
        return out, sum([*kls, kl, last])


def main() -> None:
    args = arguments()
    data = load(args.data)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    x = torch.from_numpy(np.moveaxis(data.x_train, -1, 1).copy())
    y = torch.from_numpy(data.y_train)
    net = LeNet(args.layers)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def train(steps: int) -> float:
        for _ in range(steps):
            chosen = torch.randint(0, len(x), (BATCH,))
            optimizer.zero_grad()
            out, kl = net(x[chosen])
            loss = F.cross_entropy(out, y[chosen]) + kl / len(x)
            loss.backward()
            optimizer.step()
        return float(loss)

    first, _ = timed(lambda: train(10))
    fitted()
    seconds, loss = timed(lambda: train(args.steps))
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        steps=args.steps,
        steps_per_second=args.steps / seconds,
        final_loss=loss,
    )


main()
