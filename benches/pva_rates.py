"""A pvaPy consumer that only copies pixels: pva_rates.py PV QUEUE LAST

Monitors PV with a server queue of QUEUE updates, until the frame LAST has come or SIGTERM. Prints as JSON how many frames
came and how many of the numbers between the first and the last of them did not.
"""

import json
import signal
import sys
import threading

import numpy
import pvaccess

name, queue, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
over = threading.Event()
seen = {"frames": 0, "first": None, "last": 0, "bytes": 0}


def take(update):
    value = update["value"][0]
    if not value:
        return
    number = update["uniqueId"]
    pixels = numpy.array(next(iter(value.values())), copy=True)
    if seen["first"] is None:
        seen["first"] = number
    seen["frames"] += 1
    seen["bytes"] += pixels.nbytes
    seen["last"] = number
    if number >= last:
        over.set()


signal.signal(signal.SIGTERM, lambda *_: over.set())
channel = pvaccess.Channel(name, pvaccess.PVA)
channel.monitor(take, f"record[queueSize={queue}]field()")
print("monitoring", flush=True)
while not over.wait(0.2):
    pass
channel.stopMonitor()
numbers = seen["last"] - seen["first"] + 1 if seen["frames"] else 0
print(json.dumps({"frames": seen["frames"], "missing": numbers - seen["frames"], "bytes": seen["bytes"]}), flush=True)
