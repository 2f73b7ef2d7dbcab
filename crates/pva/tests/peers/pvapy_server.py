"""A pvAccessCPP server of one NTNDArray PV, driven by JSON lines on standard input.

    pvapy_server.py PV

Its ports are in the environment. It prints {"ready": true}, and {"done": COMMAND} after each command:

    {"post": {"dtype": NUMPY_TYPE, "shape": [H, W], "data": HEX, "uniqueId": N, "codec": NAME or null}}

With a codec, `data` are the compressed bytes and `dtype` is the type of the pixels.
"""
import json
import sys

import numpy
import pvaccess
from pvapy.utility.adImageUtility import AdImageUtility

server = pvaccess.PvaServer(sys.argv[1], pvaccess.NtNdArray())
server.start()
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    post = command["post"]
    data = bytes.fromhex(post["data"])
    height, width = post["shape"]
    if post["codec"]:
        update = AdImageUtility.generateNtNdArray2D(
            post["uniqueId"],
            numpy.frombuffer(data, "uint8"),
            nx=width,
            ny=height,
            dtype=post["dtype"],
            compressorName=post["codec"],
        )
    else:
        image = numpy.frombuffer(data, post["dtype"]).reshape(height, width)
        update = AdImageUtility.generateNtNdArray2D(post["uniqueId"], image)
    server.update(update)
    print(json.dumps({"done": "post"}), flush=True)
