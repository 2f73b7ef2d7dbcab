"""The reconstruction network: from the counts of one diffraction pattern to amplitude and phase of the lit patch.

It is a PtychoNN-style encoder-decoder with skip connections. A small second branch handles properties of the pattern
as a whole. Invariants: the input is raw counts, without preprocessing; brightness is not normalised, because
it determines the amplitude; under autocast, everything except plain convolutions stays float32.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from simulate import N, PHOTONS, RADIUS, WINDOW, probe_weight


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    layers = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    return nn.Sequential(*layers)


def up(c_in: int, c_out: int) -> nn.Sequential:
    """Transposed convolution to twice the size, batch norm, ReLU."""
    layers = nn.ConvTranspose2d(c_in, c_out, 2, 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, c: int):
        super().__init__()
        self.first = conv(c, c)
        self.second = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(self.first(x)))


def middle(x: torch.Tensor, size: int) -> torch.Tensor:
    """Returns the middle size x size pixels."""
    a = (int(x.shape[-1]) - size) // 2
    return x[:, :, a : a + size, a : a + size]


class Whole(nn.Module):
    """Properties of the pattern as a whole: brightness, offset from the centre, width. Float32 everywhere.

    A tilt of the phase moves the pattern by hundredths of a pixel, and stitching accumulates tilts over the whole scan.
    So the slow part of the phase is a separate output: coefficients of x, y and x^2 + y^2. They come from the
    pattern's moments, from the deepest grid, and from an exact law (Ehrenfest's): for any exit wave P O

        centre of mass of |F{P O}|^2 = N / 2 pi * (mean of grad phi) + mean of r,   means weighted by |P O|^2

    The amount by which the current patch misses this law is its tilt, if its amplitude is right.
    """

    def __init__(self, c: int):
        super().__init__()
        y, x = (torch.stack(torch.meshgrid(*[torch.arange(N) - N / 2] * 2, indexing="ij")) / RADIUS).float()
        moments = torch.stack((x * 0 + 1, x * 20, y * 20, (x * x + y * y) * 5))[None] * (N**2 / PHOTONS)
        slope = torch.tensor([[[[0, 0, 0], [-0.5, 0, 0.5], [0, 0, 0]]], [[[0, -0.5, 0], [0, 0, 0], [0, 0.5, 0]]]])
        weight = middle(probe_weight()[None, None], WINDOW) * WINDOW**2
        shapes = middle(torch.stack((x, y, x * x + y * y))[None], WINDOW)
        fixed = {"moments": moments, "slope": slope, "weight": weight, "shapes": shapes, "ones": torch.ones(1, 3, 1, 1)}
        for name, value in fixed.items():
            self.register_buffer(name, value, persistent=False)
        self.lift = nn.Conv2d(4, c, 1)
        self.deep = nn.Conv2d(c, 12, 2)
        self.last = nn.Sequential(nn.Conv2d(18, 48, 1), nn.ReLU(), nn.Conv2d(48, 3, 1))
        self.balance = nn.Conv2d(2, 3, 1, bias=False)
        for layer in (self.lift, self.last[2], self.balance):
            nn.init.zeros_(layer.weight)

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        """Returns the four moments, (B, 4, 1, 1). All except the first are divided by the brightness."""
        m = (counts * self.moments).mean(dim=(2, 3), keepdim=True)
        return torch.cat((m[:, :1], m[:, 1:] / (m[:, :1] + 1e-3)), 1)

    def missed(self, moments: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The tilt in x and y that `drawn` (B, 2, 40, 40) lacks by the law, in radians per RADIUS: (B, 2, 1, 1)."""
        light = drawn[:, :1] * drawn[:, :1] * self.weight
        total = light.mean(dim=(2, 3), keepdim=True) + 1e-3
        centre = (light * self.shapes).mean(dim=(2, 3), keepdim=True)[:, :2] / total
        slope = (light * F.conv2d(drawn[:, 1:], self.slope, padding=1)).mean(dim=(2, 3), keepdim=True) / total
        return (2 * math.pi * RADIUS**2 / N) * (moments[:, 1:3] * (1 / 20) - centre) - RADIUS * slope

    def slow(self, moments: torch.Tensor, deepest: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Returns the slow part of the phase, (B, 1, 40, 40)."""
        seen = self.deep(F.avg_pool2d(deepest.float(), 2)).relu()
        missed = self.missed(moments, drawn)
        sizes = self.last(torch.cat((seen, moments, missed), 1)) + self.balance(missed)
        return F.conv2d(sizes * self.shapes, self.ones)


class Net(nn.Module):
    """From counts (B, 1, 64, 64) to amplitude and phase of the middle 40 x 40 pixels, (B, 2, 40, 40).

    The pattern is a hologram at unit magnification. So input pixel (y, x) corresponds to output pixel (y, x), and the
    skips line up. The expensive layers run on grids of 16, 8 and 4. The decoder keeps only the pixels under the probe.
    """

    def __init__(self, c1: int = 24, c2: int = 48, c3: int = 96, c4: int = 128):
        super().__init__()
        self.stem = nn.Conv2d(1, c2, 8, 4, 2)
        self.place = nn.Parameter(torch.zeros(1, c2, N // 4, N // 4))  # position embedding
        self.norm = nn.Sequential(nn.BatchNorm2d(c2), nn.ReLU())
        self.enc2 = Residual(c2)
        self.enc3 = nn.Sequential(conv(c2, c3, stride=2), Residual(c3))
        self.enc4 = nn.Sequential(conv(c3, c4, stride=2), Residual(c4))
        self.up3, self.dec3 = up(c4, c3), conv(2 * c3, c3)
        self.up2, self.dec2 = up(c3, c2), conv(2 * c2, c2, padding=0)  # 14 -> 12
        self.up1, self.dec1 = up(c2, c1), nn.Sequential(conv(c1, c1, padding=0), conv(c1, c1, padding=0))
        self.fine = up(c1, 12)
        self.head = nn.Conv2d(12, 2, 3, 1, 1)
        self.whole = Whole(c4)
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = torch.tensor([0.85, 0.0])

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            counts = counts.relu()
            x = self.stem(counts.sqrt() * (1 / 32)) + self.place
            moments = self.whole(counts)
            lift = self.whole.lift(moments)
        e2 = self.enc2(self.norm(x))
        e3 = self.enc3(e2)
        e4 = self.enc4(e3)
        d3 = self.dec3(torch.cat((self.up3(e4 + lift), e3), 1))
        d2 = self.dec2(torch.cat((middle(self.up2(d3), 14), middle(e2, 14)), 1))
        fine = self.fine(self.dec1(self.up1(d2)))
        with torch.autocast("cpu", enabled=False):
            out = self.head(fine.float())
            return torch.cat((out[:, :1], out[:, 1:] + self.whole.slow(moments, e4, out)), 1)
