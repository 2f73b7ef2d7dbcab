#!/usr/bin/env python3
"""Writes frames.bin, frames compressed by the libraries that areaDetector's peers use, and frames.txt, which has the place of
each: name, offset, bytes.

    pip install -r ../../../benches/codec_requirements.txt
    python3 make.py

The pixels come from a formula, which crates/frame/src/codec/tests.rs has as well, so they are not stored. The exception is
JPEG, which loses some: what PIL decodes is stored beside it.
"""

import io
import pathlib
import struct
import zlib

import bitshuffle
import blosc
import lz4.block
import numpy
from PIL import Image

HERE = pathlib.Path(__file__).parent
DTYPES = ["uint8", "int16", "uint32", "float64"]
# Less than a block; no multiple of 8 pixels; several blocks.
SHAPES = [(3, 5), (23, 41), (64, 96)]


def pixels(dtype, height, width):
    """A smooth hill with some noise: every value has an exact form in all four types."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.int64)
    hill = 100 - ((2 * y - height) ** 2 + (2 * x - width) ** 2) * 100 // (height**2 + width**2)
    noise = ((y * width + x) * 2654435761 % 2**32 >> 26) - 58
    counts = numpy.maximum(hill, 30) - 30 + numpy.maximum(noise, 0)
    if dtype == "int16":
        counts = counts * 7 - 40
    if dtype == "uint32":
        counts = counts * 40503
    if dtype == "float64":
        return counts * 0.25 - 3
    return counts.astype(dtype)


def lz4hdf5(raw, block_size):
    """The stream of HDF5's LZ4 filter: https://github.com/nexusformat/HDF5-External-Filter-Plugins/tree/master/LZ4"""
    stream = struct.pack(">QI", len(raw), block_size)
    for start in range(0, len(raw), block_size):
        block = raw[start : start + block_size]
        packed = lz4.block.compress(block, store_size=False)
        if len(packed) >= len(block):
            packed = block
        stream += struct.pack(">I", len(packed)) + packed
    return stream


frames, index = b"", ""


def write(name, data):
    global frames, index
    index += f"{name} {len(frames)} {len(data)}\n"
    frames += data


for dtype in DTYPES:
    for height, width in SHAPES:
        frame = pixels(dtype, height, width)
        raw, size = frame.tobytes(), frame.itemsize
        name = f"{dtype}-{height}x{width}"
        write(f"{name}.lz4", lz4.block.compress(raw, store_size=False))
        write(f"{name}.lz4hdf5", lz4hdf5(raw, 4096))
        bits = bitshuffle.compress_lz4(frame.ravel()).tobytes()
        write(f"{name}.bslz4", bits)
        write(f"{name}.hdf5.bslz4", struct.pack(">QI", len(raw), 8192) + bits)
        write(f"{name}.zlib", zlib.compress(raw, 6))
        for inner in ["blosclz", "lz4", "zlib", "zstd"]:
            for shuffle, kind in enumerate(["plain", "bytes", "bits"]):
                blosc.set_blocksize(0 if inner == "lz4" else 4096)
                packed = blosc.compress(raw, typesize=size, clevel=5, shuffle=shuffle, cname=inner)
                write(f"{name}.{inner}-{kind}.blosc", packed)
        if dtype == "uint8":
            jpeg = io.BytesIO()
            Image.fromarray(frame).save(jpeg, "jpeg", quality=90)
            write(f"{name}.jpeg", jpeg.getvalue())
            write(f"{name}.jpeg.raw", numpy.asarray(Image.open(jpeg)).tobytes())
(HERE / "frames.bin").write_bytes(frames)
(HERE / "frames.txt").write_text(index)
