"""Scores an ONNX model on held-out scans, with the steps of the demo: simulate, reconstruct, level, stitch, compare.

    python models/score.py models/ptychonn_64.onnx [--png scan.png]

The objects here (a Siemens star, discs, a smooth background) come from other code and other seeds than the training
objects. Frames have true Poisson noise, as int16. The model runs in onnxruntime.
Every figure is for phase with the constant removed, in radians:

    constant   error of a constant phase: median |phase - median phase| over the well-covered area
    median     median |error| of the stitched phase in this area, with levelled patches (`level`)
    ratio      median / constant: at most 0.5 is required, 0.33 is the target
    plain      the same ratio without levelling
    patch      |P|^2-weighted mean |error| of single patches before stitching, divided by that of a constant phase
    amplitude  median |error| of the stitched amplitude
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from simulate import N, expose, intensity, probe_weight

STEP, JITTER, SIDE = 6, 1, 30


def scene(seed: int, materials: int) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and phase of a held-out object that spans 2 to 3 rad, float32, large enough for the scan.

    With one material, absorption is proportional to phase. With three, star, discs and background each have their own
    absorption ratio.
    """
    rng = np.random.default_rng(seed)
    size = (SIDE - 1) * STEP + N + 2 * JITTER
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    cy, cx = size / 2 + rng.uniform(-15, 15, 2)
    angle, r = np.arctan2(y - cy, x - cx), np.hypot(y - cy, x - cx)
    spokes = rng.integers(10, 19)
    edge = np.sin(spokes * angle + rng.uniform(0, 6)) * r / spokes  # approximate signed distance to the nearest edge
    star = np.clip(0.5 + edge, 0, 1) * np.clip(rng.uniform(60, 80) - r, 0, 1) * np.clip(r - 8, 0, 1)
    cells = np.zeros_like(r)
    for _ in range(rng.integers(10, 18)):
        dy, dx, a = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(6, 18)
        q = np.hypot(y - dy, x - dx) / a
        shape = np.sqrt(np.clip(1 - q * q, 0, 1)) if rng.random() < 0.6 else np.clip((1 - q) * a, 0, 1)
        cells = np.maximum(cells, shape * rng.uniform(0.5, 1.0))
    u, v, w = rng.uniform(0.008, 0.022, 3)
    smooth = 0.5 + 0.25 * np.sin(u * 2 * x + 1) * np.cos(v * 2 * y) + 0.25 * np.sin(w * (x + y) + seed)
    star = rng.uniform(0.8, 1.0) * np.where(cells > 0, 0, star)
    smooth = rng.uniform(0.5, 1.0) * smooth
    thick = star + cells + smooth
    thick = (thick - thick.min()) / np.ptp(thick)
    phase = rng.uniform(2.0, 3.0) * rng.choice([-1, 1]) * thick
    if materials == 1:
        amplitude = 0.98 - rng.uniform(0.1, 0.35) * thick
    else:
        ratios = rng.uniform((0.2, 0.1, 0.0), (0.35, 0.25, 0.08))
        amplitude = 0.98 - np.tensordot(ratios, np.stack((star, cells, smooth)), 1)
    return amplitude.astype(np.float32), phase.astype(np.float32)


def scan(amplitude: np.ndarray, phase: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (SIDE^2, N, N) int16 and the corner (y, x) of each patch, in raster order."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.mgrid[0:SIDE, 0:SIDE], -1).reshape(-1, 2) * STEP + JITTER
    corners = grid + rng.integers(-JITTER, JITTER + 1, grid.shape)
    a = torch.from_numpy(cut(amplitude, corners))
    patterns = intensity(a, torch.from_numpy(cut(phase, corners)))
    return expose(patterns, torch.Generator().manual_seed(seed)).numpy().astype(np.int16), corners


def cut(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the N x N patches at these corners."""
    return np.stack([image[y : y + N, x : x + N] for y, x in corners])


def stitch(
    patches: np.ndarray, corners: np.ndarray, shape: tuple[int, int], free: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean image and its weight. With `free`, a constant is added to each patch, fitted by least squares.

    Weights are |P|^2. The first pass fits each patch, in raster order, to the patches before it. Further passes fit
    each patch to the mean of all, until no constant changes by more than 1e-4 (Gauss-Seidel).
    """
    w = probe_weight().numpy().astype(np.float64)
    total, weight = np.zeros(shape), np.zeros(shape)
    offset = np.zeros(len(patches))
    at = [(slice(y, y + N), slice(x, x + N)) for y, x in corners]
    for j, (patch, here) in enumerate(zip(patches, at)):
        if free and j:
            seen = w * weight[here]
            mean = total[here] / np.maximum(weight[here], 1e-12)
            offset[j] = np.sum(seen * (mean - patch)) / max(np.sum(seen), 1e-30)
        total[here] += w * (patch + offset[j])
        weight[here] += w
    for _ in range(500 if free else 0):
        most = 0.0
        for j, (patch, here) in enumerate(zip(patches, at)):
            move = np.sum(w * (total[here] / np.maximum(weight[here], 1e-12) - patch)) - offset[j]
            offset[j] += move
            total[here] += w * move
            most = max(most, abs(move))
        if most < 1e-4:
            break
    return total / np.maximum(weight, 1e-12), weight


def level(amplitude: np.ndarray, phase: np.ndarray, seen: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The phase patches with their tilt corrected by the stitched amplitude `seen`. Needs no frames and no truth.

    Ehrenfest's law relates the model's outputs: the pattern's centre of mass is (N / 2 pi) * mean of grad phi + mean
    of r, both weighted by |P|^2 A^2. The model gets the sum right but confuses the two terms: if a patch's amplitude
    leans too far to one side, its phase is tilted in the opposite direction by the same amount. Amplitude has no free
    constant, so the mean of many overlapping patches leans far less than a single patch. The difference between the two
    is the tilt that is corrected.
    """
    w = probe_weight().numpy().astype(np.float64)
    axis = np.arange(N) - N / 2

    def lean(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        light = w * a * a
        total = light.sum((1, 2))
        return (light.sum(1) @ axis) / total, (light.sum(2) @ axis) / total

    (x, y), (seen_x, seen_y) = lean(amplitude), lean(cut(seen, corners))
    tilt_x, tilt_y = (2 * np.pi / N) * (x - seen_x), (2 * np.pi / N) * (y - seen_y)
    return phase + tilt_x[:, None, None] * axis[None, None, :] + tilt_y[:, None, None] * axis[None, :, None]


def score(session: onnxruntime.InferenceSession, seed: int, materials: int) -> tuple[dict, tuple]:
    """Returns the figures of one scan, and the images (truth, reconstruction, error, covered)."""
    true_amplitude, true_phase = scene(seed, materials)
    frames, corners = scan(true_amplitude, true_phase, seed)
    began = time.perf_counter()
    parts = [session.run(["amplitude", "phase"], {"diffraction": f[:, None].astype(np.float32)})
             for f in np.array_split(frames, len(frames) // 8)]  # fmt: skip
    seconds = time.perf_counter() - began
    amplitude, phase = (np.concatenate(p)[:, 0].astype(np.float64) for p in zip(*parts))
    w = probe_weight().numpy()
    truth = cut(true_phase, corners)
    truth = truth - np.sum(truth * w, (1, 2), keepdims=True)
    patch = np.mean(np.sum(np.abs(phase - truth) * w, (1, 2))) / np.mean(np.sum(np.abs(truth) * w, (1, 2)))
    seen, weight = stitch(amplitude, corners, true_phase.shape, free=False)
    covered = weight > 0.5 * np.median(weight[weight > 0.1 * weight.max()])
    constant = np.median(np.abs(true_phase[covered] - np.median(true_phase[covered])))
    ratio = {}
    for name, patches in (("plain", phase), ("levelled", level(amplitude, phase, seen, corners))):
        error = stitch(patches, corners, true_phase.shape, free=True)[0] - true_phase
        error -= np.median(error[covered])
        median = np.median(np.abs(error[covered]))
        ratio[name] = median / constant
    figures = {
        "seed": seed,
        "materials": materials,
        "span": float(np.ptp(true_phase[covered])),
        "constant": float(constant),
        "median": median,
        "ratio": ratio["levelled"],
        "plain": ratio["plain"],
        "patch": patch,
        "amplitude": np.median(np.abs(seen - true_amplitude)[covered]),
        "frames/s": len(frames) / seconds,
    }
    return figures, (true_phase, error + true_phase, error, covered)


def draw(images: tuple, path: Path) -> None:
    """Draws truth, reconstruction and difference side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    true, found, error, covered = images
    low, high = true[covered].min(), true[covered].max()
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6))
    for axis, image, title, limits in (
        (axes[0], true, "true phase", (low, high)),
        (axes[1], found, "reconstructed phase", (low, high)),
        (axes[2], error, "difference", (-1, 1)),
    ):
        shown = axis.imshow(np.where(covered, image, np.nan), vmin=limits[0], vmax=limits[1], cmap="viridis")
        axis.set_title(title + " (rad)")
        axis.axis("off")
        figure.colorbar(shown, ax=axis, shrink=0.8)
    figure.tight_layout()
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--seeds", type=int, default=4, help="scans with one material, and as many with three")
    parser.add_argument("--first", type=int, default=100, help="seed of the first scan of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--png", type=Path, help="the file for a picture of the first scan")
    args = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(str(args.model), options, providers=["CPUExecutionProvider"])
    rows = []
    for materials in (1, 3):
        for seed in range(args.first, args.first + args.seeds):
            figures, images = score(session, seed, materials)
            if not rows:
                print("".join(f"{name:>11}" for name in figures))
                if args.png:
                    draw(images, args.png)
            rows.append(figures)
            cells = (f"{v:11.3f}" if isinstance(v, float) else f"{v!s:>11}" for v in figures.values())
            print("".join(cells), flush=True)
    for name in ("median", "ratio", "plain", "patch", "amplitude"):
        values = [row[name] for row in rows]
        print(f"{name:>10}: mean {np.mean(values):.3f}, worst {np.max(values):.3f}")


if __name__ == "__main__":
    main()
