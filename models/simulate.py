"""The simulated experiment for training and scoring: probe, objects, diffraction patterns.

Invariants: the physics and all constants are those of `src/detector` in the Rust crate. The probe
is fixed, and the model learns it. All random numbers come from a `torch.Generator`, so a seed always gives
the same frames. Index order is [batch, y, x]; phase is in radians, intensity in photons.

The experiment: a detector of N x N pixels and an object patch O of the same size.

    P = s exp(-(r/RADIUS)^8) exp(i pi r^2 / N),   r^2 = (x-N/2)^2 + (y-N/2)^2,   sum |P|^2 = PHOTONS
    I = |fftshift(fft2(ifftshift(P O)))|^2 / N^2,   counts = Poisson(I), at most 32767, int16

The curvature makes the far field an in-line hologram of the patch at unit magnification: a feature at object
offset r appears near detector offset r. It also distinguishes an object from its twin image.
"""

import math

import torch

N = 64
RADIUS = 16.0
PHOTONS = 1.0e6
COUNT_MAX = 32767
#: Only the middle WINDOW x WINDOW pixels are lit (outside it |P|^2 is below 4e-6 of its peak).
WINDOW = 40
#: Number of images in the pool for training windows, and the average number of windows cut from one image.
POOL, RENEW = 4096, 12


def radius_squared() -> torch.Tensor:
    """Squared distance from the centre pixel, (N, N) float64."""
    axis = torch.arange(N, dtype=torch.float64) - N // 2
    return axis[None, :] ** 2 + axis[:, None] ** 2


def probe() -> torch.Tensor:
    """The probe P, (N, N) complex128, sum |P|^2 = PHOTONS."""
    r2 = radius_squared()
    p = torch.polar(torch.exp(-((r2.sqrt() / RADIUS) ** 8)), math.pi * r2 / N)
    return p * math.sqrt(PHOTONS / p.abs().square().sum().item())


def probe_weight() -> torch.Tensor:
    """|P|^2 divided by its sum, (N, N) float32: the share of the light on each object pixel."""
    w = probe().abs().square()
    return (w / w.sum()).float()


def intensity(amplitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    """Noise-free patterns (B, N, N) in photons of patches (B, M, M), M even, centred in the field (M <= N).

    The code leaves out both shifts of the formula; the numbers are the same. `ifftshift` (and padding at the end
    instead of on both sides) changes only the phase of the far field. `fftshift` is the sign (-1)^(x+y) on the wave.
    """
    m = amplitude.shape[-1]
    a = (N - m) // 2
    if m not in _LIT:
        checker = 1.0 - 2.0 * (torch.arange(N)[:, None] + torch.arange(N)[None, :]).remainder(2)
        _LIT[m] = (probe() * checker)[a : a + m, a : a + m].to(torch.complex64)
    far = torch.view_as_real(torch.fft.fft2(torch.polar(amplitude, phase) * _LIT[m], s=(N, N)))
    return far.square().sum(-1) / N**2


_LIT: dict[int, torch.Tensor] = {}


def expose(pattern: torch.Tensor, gen: torch.Generator, exact: bool = True) -> torch.Tensor:
    """Counts with Poisson noise: int16 values as float32. `exact=False`: normal approximation, 10x faster."""
    if exact:
        counts = torch.poisson(pattern, generator=gen)
    else:
        counts = (pattern + pattern.sqrt() * torch.randn(pattern.shape, generator=gen)).round_().clamp_(min=0)
    return counts.clamp_(max=COUNT_MAX)


class Objects:
    """Random objects of many kinds, from a seed: layers of shapes, lines and gratings on a smooth background.

    `draw(count)` returns amplitude and phase of the lit window; the phase is not yet centred. Images are drawn into two
    pools that are renewed continuously. Each image is used about RENEW times, each time cut, rotated and scaled
    differently.
    """

    def __init__(self, seed: int):
        self.gen = torch.Generator().manual_seed(seed)
        self.pools, self.next = [None, None], [0, 0]

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.gen)

    def chance(self, p: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.gen) < p

    def fields(self, count: int, size: int) -> torch.Tensor:
        """Gaussian random fields with power-law spectra of different slope and cut-off, each scaled to span 1."""
        m = 1 << (size - 1).bit_length()
        f = torch.fft.rfftfreq(m)[None, :] ** 2 + torch.fft.fftfreq(m)[:, None] ** 2
        f = f.sqrt().clamp(min=0.5 / m)
        slope = self.uniform(1.0, 3.5, count, 1, 1)
        cut = torch.exp(self.uniform(math.log(0.02), math.log(0.2), count, 1, 1))
        filt = f ** (-slope) * torch.exp(-((f / cut) ** 2))
        noise = torch.fft.rfft2(torch.randn(count, m, m, generator=self.gen))
        field = torch.fft.irfft2(noise * filt, s=(m, m))[:, :size, :size]
        return span_one(field)

    def ramps(self, count: int, size: int) -> torch.Tensor:
        """Smooth gradients: a random quadratic over the window, each scaled to span 1."""
        t = torch.linspace(-1, 1, size)
        x, y = t[None, None, :], t[None, :, None]
        c = torch.randn(5, count, 1, 1, generator=self.gen)
        return span_one(c[0] * x + c[1] * y + 0.7 * (c[2] * x * x + c[3] * y * y + c[4] * x * y))

    def shapes(self, count: int, size: int, most: int = 9) -> torch.Tensor:
        """Layers of hard and soft shapes, each scaled to span 1: discs, domes, rectangles, wedges, gratings."""
        number = torch.randint(1, most + 1, (count,), generator=self.gen)
        one_height, tidy, one_kind = self.chance(0.5, count), self.chance(0.3, count), self.chance(0.4, count)
        kind_of = torch.randint(0, 6, (count,), generator=self.gen)
        scale_of = torch.exp(self.uniform(math.log(0.4), math.log(1.6), count))
        layer = torch.zeros(count, size, size)
        for k in range(most):
            rows = torch.nonzero(number > k).squeeze(1)
            kind = torch.where(one_kind[rows], kind_of[rows], torch.randint(0, 6, rows.shape, generator=self.gen))
            angle = self.uniform(0, 2 * math.pi, len(rows))
            angle = torch.where(tidy[rows], (angle / (math.pi / 2)).round() * (math.pi / 2), angle)
            height = torch.where(one_height[rows], torch.ones(len(rows)), torch.randn(len(rows), generator=self.gen))
            mask = self.masks(kind, angle, scale_of[rows], size)
            old = layer[rows]
            union = torch.maximum(old, mask)
            layer[rows] = torch.where(one_height[rows, None, None], union, old + height[:, None, None] * mask)
        return span_one(layer)

    def masks(self, kind: torch.Tensor, angle: torch.Tensor, scale: torch.Tensor, size: int) -> torch.Tensor:
        """One shape per row, from 0 outside to 1 inside. Edges are antialiased, or up to 4 pixels soft."""
        n = len(kind)
        t = torch.arange(size, dtype=torch.float32)
        x = t[None, None, :] - self.uniform(-0.1 * size, 1.1 * size, n, 1, 1)
        y = t[None, :, None] - self.uniform(-0.1 * size, 1.1 * size, n, 1, 1)
        c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        u, v = c * x + s * y, c * y - s * x
        a = (self.uniform(2, 16, n) * scale)[:, None, None]
        b = (self.uniform(1, 12, n) * scale)[:, None, None]
        edge = torch.where(self.chance(0.6, n), torch.ones(n), self.uniform(1, 4, n))[:, None, None]
        out = torch.empty(n, size, size)
        for value in range(6):
            i = torch.nonzero(kind == value).squeeze(1)
            if len(i) == 0:
                continue
            p, q, l, w = u[i], v[i], a[i], b[i]
            if value == 0:  # ellipse, almost a disc
                w = l * (0.7 + 0.3 * (w / w.max()))
                d = (((p / l) ** 2 + (q / w) ** 2).sqrt() - 1) * l
            elif value == 1:  # dome: a thick drop, like a cell
                out[i] = (1 - (p * p + q * q) / (1.3 * l) ** 2).clamp(min=0).sqrt()
                continue
            elif value == 2:  # rectangle
                d = torch.maximum(p.abs() - l, q.abs() - w)
            elif value == 3:  # line across the window
                d = q.abs() - w * 0.35
            elif value == 4:  # wedge
                half = (0.1 + 0.9 * torch.rand(len(i), 1, 1, generator=self.gen)) * 0.8
                d = torch.maximum(q.abs() * torch.cos(half) - p * torch.sin(half), p - 3 * l)
            else:  # grating, cut to a band
                period = 3 + 1.2 * w
                d = (((q / period) % 1 - 0.5).abs() - 0.25) * period
                d = torch.maximum(d, p.abs() - 2 * l)
            out[i] = (0.5 - d / edge[i]).clamp(0, 1)
        return out

    def layers(self, count: int, smooth: bool) -> torch.Tensor:
        """Images of span 1. Smooth images are fields, gradients or both; the others are shapes, some on a field."""
        over = torch.where(self.chance(0.5, count, 1, 1), torch.zeros(count, 1, 1), self.uniform(0, 1, count, 1, 1))
        if smooth:
            swap = self.chance(0.5, count, 1, 1)
            field, ramp = self.fields(count, N), self.ramps(count, N)
            return span_one(torch.where(swap, field, ramp) + over * torch.where(swap, ramp, field))
        over = torch.where(self.chance(0.5, count, 1, 1), over, 0.0)
        return span_one(self.shapes(count, N) + over * self.fields(count, N))

    def windows(self, count: int, smooth: bool) -> torch.Tensor:
        """`count` windows cut from a pool at random places, rotated and mirrored; some of its images are renewed."""
        if self.pools[smooth] is None:
            self.pools[smooth] = torch.cat([self.layers(256, smooth) for _ in range(POOL // 256)])
        pool, at, fresh = self.pools[smooth], self.next[smooth], max(1, count // RENEW)
        pool[at : at + fresh] = self.layers(fresh, smooth)[: POOL - at]
        self.next[smooth] = (at + fresh) % POOL
        pick = torch.randint(0, POOL, (count, 1, 1), generator=self.gen)
        start = torch.randint(0, N - WINDOW + 1, (2, count, 1), generator=self.gen)
        along = torch.arange(WINDOW).expand(2, count, WINDOW)
        along = start + torch.where(self.chance(0.5, 2, count, 1), along, WINDOW - 1 - along)
        cut = pool[pick, along[0][:, :, None], along[1][:, None, :]]
        cut = torch.where(self.chance(0.5, count, 1, 1), cut, cut.transpose(1, 2))
        return torch.where(self.chance(0.3, count, 1, 1), span_one(cut), cut)

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Amplitude (0.5..1) and phase (up to 5 rad from end to end) of `count` objects, (count, WINDOW, WINDOW).

        An object is up to two layers of shapes on a smooth background. Each layer has its own phase shift and its own
        absorption ratio; smooth layers absorb little. A third of the objects are of one material. In a
        few objects, layers without phase also absorb.
        """
        layer = torch.stack([self.windows(count, False), self.windows(count, False), self.windows(count, True)])
        alone = torch.randint(0, 4, (count, 1, 1), generator=self.gen)  # 0: only shapes, 1: only background
        turn = torch.stack([self.uniform(0.3, 1, count, 1, 1) * (alone != 1),
                            self.uniform(-1, 1, count, 1, 1) * (self.chance(0.4, count, 1, 1) & (alone > 1)),
                            self.uniform(-1, 1, count, 1, 1) * (alone > 1) + (alone == 1)])  # fmt: skip
        phase = (turn * layer).sum(0)
        span = torch.where(self.chance(0.9, count), self.uniform(0.3, 3.5, count), self.uniform(3.0, 5.0, count))
        sign = self.chance(0.5, count) * 2.0 - 1.0
        one_material = self.chance(0.35, count, 1, 1)
        depth = self.uniform(0.0, 0.4, 3, count, 1, 1) * torch.tensor([1, 1, 0.25])[:, None, None, None]
        stray = self.chance(0.9, count, 1, 1) & (turn.abs() < 0.05)  # a layer without phase rarely absorbs
        absorbed = torch.where(one_material, depth[0] * span_one(phase), (depth * ~stray * layer).sum(0))
        haze = self.uniform(0.0, 0.06, count, 1, 1) * self.windows(count, True)
        amplitude = self.uniform(0.92, 1.02, count, 1, 1) - absorbed - haze
        scale = (span * sign)[:, None, None] / turn.abs().sum(0).clamp(min=0.5)
        return amplitude.clamp(0.5, 1.0), phase * scale


def span_one(field: torch.Tensor) -> torch.Tensor:
    """Shifts and scales each image to the range 0 to 1 (a flat image becomes 0)."""
    low, high = field.amin((-2, -1), keepdim=True), field.amax((-2, -1), keepdim=True)
    return (field - low) / (high - low).clamp(min=1e-6)
