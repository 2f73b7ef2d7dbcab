"""Writes tests/data: small arrays from numpy and onnxruntime, with which the Rust tests compare their results.

No number here comes from beamflow itself. The physics reference uses numpy's FFT in float64 and not `simulate.py`.
The model references are onnxruntime's float32 outputs on seeded frames. With the versions in requirements.txt, the
script gives the same values again, except for the last few bits.

    python models/make_references.py                                              # physics, and the project's model
    python models/make_references.py --shared ../shared/models/ptychoNN_8.onnx    # also the shared 128 x 128 model

Files, all `.npy`; images are [y, x], x is the column:

    diffraction_reference           (64, 64) float64          noise-free |F{P O}|^2 of `reference_object`
    ptychonn_64_frames              (8, 64, 64) int16         frames of a held-out scan, with Poisson noise
    ptychonn_64_amplitude, _phase   (8, 1, 64, 64) float32    the model's outputs for them
    shared_ptychonn_8_input         (8, 1, 128, 128) int16    seeded counts
    shared_ptychonn_8_output        (8, 1, 128, 128) float32  the shared model's output for them, cast to float32
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime

from score import scan, scene

N = 64
RADIUS = 16.0
PHOTONS = 1.0e6


def probe() -> np.ndarray:
    """Complex probe (64, 64): soft disc, defocus curvature, sum |P|^2 = PHOTONS. All values are float64."""
    y, x = np.mgrid[0:N, 0:N].astype(np.float64)
    r2 = (x - N / 2) ** 2 + (y - N / 2) ** 2
    p = np.exp(-((np.sqrt(r2) / RADIUS) ** 8)) * np.exp(1j * np.pi * r2 / N)
    return p * np.sqrt(PHOTONS / np.sum(np.abs(p) ** 2))


def reference_object() -> np.ndarray:
    """An object from a closed formula, complex (64, 64); x is the column index, y the row index."""
    y, x = np.mgrid[0:N, 0:N].astype(np.float64)
    phase = 0.8 * np.sin(0.21 * x) + 0.5 * np.cos(0.13 * y + 0.05 * x)
    amplitude = 0.8 + 0.2 * np.cos(0.17 * x - 0.11 * y)
    return amplitude * np.exp(1j * phase)


def intensity(exit_wave: np.ndarray) -> np.ndarray:
    """Far field |F{P.O}|^2 in photons, unitary, zero frequency at index 32."""
    field = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(exit_wave)))
    return np.abs(field) ** 2 / N**2


def session(path: Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU."""
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def model_reference(path: Path) -> dict[str, np.ndarray]:
    """Eight frames spread over a scan of three materials, and the model's outputs for them."""
    frames = scan(*scene(7, 3), 7)[0][45::110][:8]
    names = ["amplitude", "phase"]
    outputs = session(path).run(names, {"diffraction": frames[:, None].astype(np.float32)})
    return {"ptychonn_64_frames": frames} | {f"ptychonn_64_{n}": o for n, o in zip(names, outputs)}


def shared_reference(path: Path) -> dict[str, np.ndarray]:
    """Speckle-like counts for the shared model. Its one input and one output have fixed shapes."""
    rng = np.random.default_rng(8)
    model = session(path)
    entry = model.get_inputs()[0]
    y, x = np.mgrid[0:128, 0:128] - 64.0
    spots = np.abs(np.fft.fft2(rng.standard_normal(entry.shape) * (np.hypot(y, x) < 20))) ** 2
    counts = rng.poisson(0.05 * spots * np.exp(-(y * y + x * x) / 30.0**2)).astype(np.int16)
    output = model.run(None, {entry.name: counts.astype(np.float32)})[0]
    return {"shared_ptychonn_8_input": counts, "shared_ptychonn_8_output": output}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tests/data"))
    parser.add_argument("--model", type=Path, default=Path("models/ptychonn_64.onnx"))
    parser.add_argument("--shared", type=Path, help="the shared ptychoNN_8.onnx; default: its arrays stay unchanged")
    args = parser.parse_args()
    arrays = {"diffraction_reference": intensity(probe() * reference_object())} | model_reference(args.model)
    if args.shared:
        arrays |= shared_reference(args.shared)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(args.out / f"{name}.npy", array)
        print(f"{name}: {array.shape} {array.dtype}, {array.min():.4g} to {array.max():.4g}")


if __name__ == "__main__":
    main()
