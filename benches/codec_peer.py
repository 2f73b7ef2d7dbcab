"""Compresses frames and decodes them again, with Python's libraries: the peer of benches/codec.rs.

    python codec_peer.py FOLDER SIDE

Reads FOLDER/frames, int16 frames of SIDE x SIDE pixels, writes FOLDER/NAME.K, frame K compressed, for each name that it prints. Then
it reads names, and answers each with the seconds that a frame took to be decoded.
"""

import io
import os
import pathlib
import sys
import time
import zlib

os.environ["OMP_NUM_THREADS"] = "1"

import bitshuffle
import blosc
import lz4.block
import numpy
from PIL import Image

folder = pathlib.Path(sys.argv[1])
side = int(sys.argv[2])
frames = numpy.fromfile(folder / "frames", "int16").reshape(-1, side, side)
shape, dtype, size = frames.shape[1:], frames.dtype, frames.itemsize
blosc.set_nthreads(1)


def chunk(frame, inner):
    return blosc.compress(frame.tobytes(), typesize=size, shuffle=blosc.BITSHUFFLE, cname=inner)


def jpeg(frame):
    file = io.BytesIO()
    Image.fromarray(numpy.minimum(frame, 255).astype("uint8")).save(file, "jpeg")
    return file.getvalue()


def bits_back(payload):
    bits = numpy.frombuffer(payload, "uint8")
    return bitshuffle.decompress_lz4(bits, shape, dtype)


CODECS = {
    "lz4": (
        lambda frame: lz4.block.compress(frame.tobytes(), store_size=False),
        lambda payload: lz4.block.decompress(payload, uncompressed_size=frames[0].nbytes),
    ),
    "bslz4": (lambda frame: bitshuffle.compress_lz4(frame).tobytes(), bits_back),
    "blosc-lz4": (lambda frame: chunk(frame, "lz4"), blosc.decompress),
    "blosc-zstd": (lambda frame: chunk(frame, "zstd"), blosc.decompress),
    "zlib": (lambda frame: zlib.compress(frame.tobytes(), 1), zlib.decompress),
    "jpeg": (jpeg, lambda payload: Image.open(io.BytesIO(payload)).load()),
}

payloads = {name: [encode(frame) for frame in frames] for name, (encode, _) in CODECS.items()}
for name, compressed in payloads.items():
    for k, payload in enumerate(compressed):
        (folder / f"{name}.{k}").write_bytes(payload)
print(*CODECS, flush=True)
for line in sys.stdin:
    name = line.strip()
    begun = time.perf_counter()
    for payload in payloads[name]:
        CODECS[name][1](payload)
    print((time.perf_counter() - begun) / len(frames), flush=True)
