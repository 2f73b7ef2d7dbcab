"""A pvAccessCPP client that prints what it sees of one PV, as JSON lines.

    pvapy_client.py PV COUNT

Where the server is is in the environment. It prints a line for each update, with all fields of it, and ends after
COUNT updates. An image is printed as AdImageUtility, which viewers use, reads it.
"""
import json
import queue
import sys

import numpy
import pvaccess
from pvapy.utility.adImageUtility import AdImageUtility

updates = queue.Queue()


def plain(value):
    """`value` as JSON has it; arrays as type and bytes."""
    if isinstance(value, numpy.ndarray):
        return [value.dtype.str, value.tobytes().hex()]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, numpy.generic):
        return value.item()
    return value


def seen(update):
    """Called for each update."""
    line = {"structure": plain(update.toDict())}
    if "dimension" in update and update["dimension"] and not update["codec"]["name"]:
        _, image, width, height, _, mode, field = AdImageUtility.reshapeNtNdArray(update)
        line["image"] = {"width": width, "height": height, "mode": mode, "field": field, "pixels": plain(image)}
    updates.put(line)


channel = pvaccess.Channel(sys.argv[1])
channel.monitor(seen, "field()")
for _ in range(int(sys.argv[2])):
    print(json.dumps(updates.get()), flush=True)
channel.stopMonitor()
