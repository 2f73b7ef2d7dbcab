"""Trains the reconstruction model on frames that it simulates during training, and exports it as ONNX.

The exported file has the input `diffraction` (batch, 1, 64, 64) float32 with raw counts; negative values are
read as 0. It has the outputs `amplitude` and `phase` (radians), each (batch, 1, 64, 64). The batch is dynamic. The
|P|^2-weighted mean of each phase is zero. Outside the middle 40 x 40 pixels no light falls, and both outputs are zero.

    python models/train.py --minutes 60 --out models/ptychonn_64.onnx

Each frame is used once, so the model cannot overfit. The learning rate depends on the training time: it rises for the
first 3 % of `--minutes` and falls as a cosine to zero at the end. The file is exported again at every
checkpoint. The convolutions use bfloat16 (`--float32` switches this off); the export is float32.
"""

import argparse
import math
import tempfile
import time
import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from network import Net, middle
from simulate import N, RADIUS, WINDOW, Objects, expose, intensity, probe_weight

MARGIN = (N - WINDOW) // 2
#: The |P|^2-weighted mean of |x| under the probe, pixels.
MEAN_X = 6.1


class Exported(nn.Module):
    """The net in the exported form: two named outputs, phase centred, padded to the size of the frame."""

    def __init__(self, net: Net):
        super().__init__()
        self.net = net

    def forward(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.net(counts)
        phase = out[:, 1:2]
        phase = phase - (phase * self.net.whole.weight).mean(dim=(2, 3), keepdim=True)
        return F.pad(out[:, 0:1], (MARGIN,) * 4), F.pad(phase, (MARGIN,) * 4)


def export(net: Net, path: Path) -> None:
    """Writes the ONNX file (opset 17, dynamic batch) under a temporary name, folds constants, and renames it."""
    model = Exported(net).eval()
    draft = path.with_suffix(".part")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.zeros(2, 1, N, N),), str(draft), opset_version=17, dynamo=False,
            input_names=["diffraction"], output_names=["amplitude", "phase"],
            dynamic_axes={name: {0: "batch"} for name in ("diffraction", "amplitude", "phase")},
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # standard operators only
    options.optimized_model_filepath = str(draft)
    onnxruntime.InferenceSession(draft.read_bytes(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(draft)
    share(graph.graph)
    onnx.save(graph, draft)
    draft.replace(path)
    net.train()


def share(graph: onnx.GraphProto) -> None:
    """Replaces equal constants by a single one."""
    kept: dict[tuple, str] = {}
    name_of = {}
    for c in graph.initializer:
        if c.raw_data:
            name_of[c.name] = kept.setdefault((c.data_type, tuple(c.dims), c.raw_data), c.name)
    for node in graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = name_of.get(name, name)
    for c in [c for c in graph.initializer if name_of.get(c.name, c.name) != c.name]:
        graph.initializer.remove(c)


class Lesson:
    """Batches of frames with their expected outputs, and the loss on them."""

    def __init__(self, seed: int):
        self.objects = Objects(seed)
        self.weight = middle(probe_weight()[None, None], WINDOW)[0]
        ramp = self.weight[0] * (torch.arange(WINDOW) - WINDOW / 2)
        self.ramps = torch.stack((ramp, (self.weight[0].T * (torch.arange(WINDOW) - WINDOW / 2)).T))
        self.spread = (self.ramps[0] * (torch.arange(WINDOW) - WINDOW / 2)).sum()  # the probe's mean x^2
        self.ramps /= self.spread

    def batch(self, count: int, exact: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Counts (count, 1, 64, 64), and amplitude and centred phase (count, 2, 40, 40)."""
        amplitude, phase = self.objects.draw(count)
        counts = expose(intensity(amplitude, phase), self.objects.gen, exact)
        return counts[:, None], torch.stack((amplitude, self.centred(phase)), 1)

    def centred(self, phase: torch.Tensor) -> torch.Tensor:
        return phase - (phase * self.weight).sum((-2, -1), keepdim=True)

    def errors(self, out: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Per frame: |P|^2-weighted mean absolute error of amplitude and of centred phase, and the cost of tilts.

        The tilt of the phase is fitted with weights |P|^2. An amplitude that leans to one side costs as much as the
        tilt that moves the pattern by the same distance. Both are in radians, over the probe's mean |x|.
        """
        amplitude = ((out[:, 0] - truth[:, 0]).abs() * self.weight).sum((-2, -1))
        error = self.centred(out[:, 1]) - truth[:, 1]
        tilt = (error[:, None] * self.ramps).sum((-2, -1)).abs().sum(-1)
        lean = (self.lean(out) - self.lean(truth)).abs().sum(-1) * (2 * math.pi / N)
        return amplitude, (error.abs() * self.weight).sum((-2, -1)), (tilt + lean) * MEAN_X

    def lean(self, image: torch.Tensor) -> torch.Tensor:
        """The mean position at which light leaves the patch, pixels in x and y, (count, 2)."""
        light = image[:, :1].square()
        spread = self.ramps * self.spread
        return (light * spread).sum((-2, -1)) / ((light * self.weight).sum((-2, -1)) + 1e-3)


def evaluate(net: Net, counts: torch.Tensor, truth: torch.Tensor, lesson: Lesson) -> str:
    """Returns the errors on a fixed set of frames, in float32."""
    net.eval()
    with torch.no_grad():
        out = torch.cat([net(part) for part in counts.split(256)])
    net.train()
    amplitude, phase, tilt = lesson.errors(out, truth)
    ratio = phase.mean() / (truth[:, 1].abs() * lesson.weight).sum((-2, -1)).mean()
    phase, amplitude, tilt = phase.mean(), amplitude.mean(), tilt.mean()
    return f"phase {phase:.4f} rad = {ratio:.3f} of constant, amplitude {amplitude:.4f}, tilt {tilt:.4f}"


def settle(net: Net, lesson: Lesson, batches: int = 96, count: int = 128) -> None:
    """Before an export: computes batch-norm statistics over many frames, then removes the remaining mean tilt.

    During training, these statistics come only from the last few hundred frames. Their error tilts all patches
    by the same amount, about a milliradian per pixel, and stitching would accumulate this over the scan.
    """
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean
        for _ in range(batches):
            net(lesson.batch(count)[0])
        for layer in norms:
            layer.momentum = 0.1
        net.eval()
        tilts = []
        for _ in range(batches):
            counts, truth = lesson.batch(count)
            tilts.append(((net(counts)[:, 1:] - truth[:, 1:]) * lesson.ramps).sum((-2, -1)))
        net.whole.last[2].bias[:2] -= torch.cat(tilts).mean(0) * RADIUS
        net.train()


def average(net: nn.Module, minutes: float) -> float:
    """Gives all workers the mean gradient. Returns their mean training time, so that all stop at the same step."""
    grads = [p.grad for p in net.parameters()]
    flat = torch.cat([g.flatten() for g in grads] + [torch.tensor([minutes])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for g, part in zip(grads, flat.split([g.numel() for g in grads] + [1])):
        g.copy_(part.view_as(g))
    return flat[-1].item()


def train(rank: int, args: argparse.Namespace) -> None:
    """Runs one worker with one thread. All workers have the same weights. The first one tests, prints and exports."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", args.meeting, rank=rank, world_size=args.workers)
    torch.manual_seed(args.seed)
    net = Net(*args.widths).to(memory_format=torch.channels_last)
    lesson, held_out = Lesson(args.seed + rank), Lesson(args.seed + 1000)
    if rank == 0:
        print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters", flush=True)
        test = held_out.batch(512, exact=True)
    if args.start:
        net.load_state_dict(torch.load(args.start), strict=False)
    optimiser = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=0.01)

    count = args.batch // args.workers
    frames, trained, shown, saved, mean = 0, 0.0, 0.0, 0.0, 0.0
    while trained < args.minutes:
        while args.pause_file and args.pause_file.exists():
            time.sleep(2)
        began = time.monotonic()
        done = trained / args.minutes
        scale = min(1.0, done / 0.03 + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = args.rate * scale
        counts, truth = lesson.batch(count)
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.float32):
            out = net(counts)
        amplitude, phase, tilt = lesson.errors(out, truth)
        loss = (phase + amplitude + tilt).mean()
        optimiser.zero_grad()
        loss.backward()
        trained = average(net, trained + (time.monotonic() - began) / 60)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        frames += count * args.workers
        mean = 0.99 * mean + 0.01 * loss.item() if mean else loss.item()
        end = trained >= args.minutes
        if rank == 0 and (trained - shown >= args.minutes / 60 or end):
            shown = trained
            score = evaluate(net, *test, held_out)
            print(f"{trained:6.1f} min {frames:9d} frames, loss {mean:.4f}, held out: {score}", flush=True)
        if rank == 0 and (trained - saved >= args.every or end):
            saved = trained
            if end:
                settle(net, lesson)
            export(net, args.out)
            if args.checkpoint:
                torch.save(net.state_dict(), args.checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="training time without pauses")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--batch", type=int, default=64, help="frames per step, all workers together")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (AdamW)")
    parser.add_argument("--widths", type=int, nargs=4, default=[24, 48, 96, 128], help="channels, finest grid first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="no bfloat16 while training")
    parser.add_argument("--every", type=float, default=5.0, help="minutes between checkpoints")
    parser.add_argument("--out", type=Path, default=Path("ptychonn_64.onnx"))
    parser.add_argument("--checkpoint", type=Path, help="also keep the weights here (.pt)")
    parser.add_argument("--start", type=Path, help="begin with these weights (.pt)")
    parser.add_argument("--pause-file", type=Path, help="training waits while this file exists")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.meeting = f"file://{folder}/meeting"
        torch.multiprocessing.spawn(train, (args,), nprocs=args.workers)


if __name__ == "__main__":
    main()
