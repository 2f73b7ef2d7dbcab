"""A typical Python batch-map sidecar, for comparison with beamflow.

It collects a read batch, computes it batch by batch with onnxruntime, and then responds; nothing overlaps.

    pip install -r benches/requirements.txt
    beamflow bench --peer "python=python benches/peer.py --model MODEL.onnx" --model-path MODEL.onnx --frames FRAMES.npy

Without --model it computes nothing and returns the centre of each frame as float32.
"""

import argparse
import io
from collections.abc import AsyncIterable

import numpy as np
from pynumaflow.batchmapper import BatchMapAsyncServer, BatchMapper, BatchResponse, BatchResponses, Datum, Message

# The sidecar's default --output-size.
OUTPUT = 64


class Model:
    """An .onnx model on all CPU cores."""

    def __init__(self, path: str):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        outputs = self.session.get_outputs()
        self.tags = [output.name for output in outputs] if len(outputs) > 1 else [None]
        # A model with a fixed batch accepts no other batch.
        self.rows = self.input.shape[0] if isinstance(self.input.shape[0], int) else None
        self.channels = len(self.input.shape) == 4

    def run(self, frames: np.ndarray) -> list[np.ndarray]:
        rows = len(frames)
        if self.rows:
            frames = np.pad(frames, ((0, self.rows - rows), (0, 0), (0, 0)))
        if self.channels:
            frames = frames[:, None]
        outputs = self.session.run(None, {self.input.name: frames})
        return [np.squeeze(output[:rows], axis=1) if self.channels else output[:rows] for output in outputs]


class Nothing:
    """No model: returns the centre of each frame."""

    tags = [None]

    def run(self, frames: np.ndarray) -> list[np.ndarray]:
        height, width = frames.shape[1:]
        top, left = (height - OUTPUT) // 2, (width - OUTPUT) // 2
        return [frames[:, top : top + OUTPUT, left : left + OUTPUT]]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


class Sidecar(BatchMapper):
    def __init__(self, model, batch_size: int):
        self.model = model
        self.batch_size = batch_size

    async def handler(self, datums: AsyncIterable[Datum]) -> BatchResponses:
        collected = [datum async for datum in datums]
        responses = BatchResponses()
        for start in range(0, len(collected), self.batch_size):
            batch = collected[start : start + self.batch_size]
            frames = np.stack([self.frame(datum) for datum in batch]).astype(np.float32)
            outputs = self.model.run(frames)
            for row, datum in enumerate(batch):
                response = BatchResponse.from_id(datum.id)
                for tag, output in zip(self.model.tags, outputs):
                    tags = [tag] if tag else None
                    response.append(Message(npy(output[row]), keys=datum.keys, tags=tags))
                responses.append(response)
        return responses

    @staticmethod
    def frame(datum: Datum) -> np.ndarray:
        height, width = (int(side) for side in datum.headers["x-frame-shape"].split("x"))
        return np.frombuffer(datum.value, dtype=datum.headers["x-frame-dtype"]).reshape(height, width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sock-path", required=True)
    parser.add_argument("--server-info-path", required=True)
    parser.add_argument("--model")
    parser.add_argument("--bsz-size", type=int, default=8)
    args = parser.parse_args()
    model = Model(args.model) if args.model else Nothing()
    sidecar = Sidecar(model, args.bsz_size)
    BatchMapAsyncServer(sidecar, sock_path=args.sock_path, server_info_file=args.server_info_path).start()


if __name__ == "__main__":
    main()
