"""A PVXS client that prints what it sees of one PV, as JSON lines.

    p4p_client.py PV TCP_PORT UDP_PORT COUNT

It prints a line for each update, with all fields of it, and ends after COUNT updates.
"""
import json
import queue
import sys

import numpy
from p4p.client.thread import Context
from p4p.client.thread import Disconnected

name, tcp, udp, count = sys.argv[1:4] + [int(sys.argv[4])]
updates = queue.Queue()
context = Context(
    "pva",
    nt=False,
    conf={
        "EPICS_PVA_ADDR_LIST": "",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_NAME_SERVERS": "127.0.0.1:" + tcp,
        "EPICS_PVA_BROADCAST_PORT": udp,
    },
)


def plain(value):
    """`value` as JSON has it; arrays as type and bytes."""
    if isinstance(value, numpy.ndarray):
        return [value.dtype.str, value.tobytes().hex()]
    if hasattr(value, "todict"):
        return plain(value.todict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, numpy.generic):
        return value.item()
    return value


def seen(value):
    """Values are converted at once: p4p may use them again."""
    if isinstance(value, Disconnected):
        return
    line = plain(value)
    line["id"] = value.getID()
    updates.put(line)


subscription = context.monitor(name, seen, request="record[queueSize=64]field()", notify_disconnect=True)
for _ in range(count):
    print(json.dumps(updates.get()), flush=True)
