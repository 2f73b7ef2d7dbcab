"""A PVXS server of one NTNDArray PV, driven by JSON lines on standard input.

    p4p_server.py PV TCP_PORT UDP_PORT [any]

It prints {"tcp": PORT} when it listens, and {"done": COMMAND} after each command:

    {"post": FIELDS}    posts the fields that are given; the others are not marked as changed
    {"close": true}     ends all that clients do with the PV
    {"open": true}      serves it again, idle

With `any`, the field `value` is an any and not a union, as QSRV has it.
"""
import json
import sys

import numpy
from p4p import Type, Value
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.thread import SharedPV

name, tcp, udp = sys.argv[1:4]
kind, identity, fields = NTNDArray.buildType().aspy()
if "any" in sys.argv:
    fields = [(field, "v" if field == "value" else spec) for field, spec in fields]
structure = Type(fields, id=identity)


def value(given):
    """A Value with the given fields, and only those marked."""
    made = Value(structure, {})
    for field, content in given.items():
        if field == "value":
            member, dtype, data = content
            array = numpy.frombuffer(bytes.fromhex(data), dtype)
            made["value"] = array if "any" in sys.argv else (member, array)
        elif field in ("timeStamp", "dataTimeStamp"):
            made[field] = {"secondsPastEpoch": content[0], "nanoseconds": content[1]}
        elif field == "dimension":
            made[field] = [{"size": size} for size in content]
        elif field == "attribute":
            made[field] = [{"name": key, "value": item} for key, item in content]
        elif field == "parameters":
            made["codec.parameters"] = tuple(content)
        elif field == "codec":
            made["codec.name"] = content
        else:
            made[field] = content
    return made


pv = SharedPV(initial=Value(structure, {}))
server = Server(
    providers=[{name: pv}],
    conf={
        "EPICS_PVAS_SERVER_PORT": tcp,
        "EPICS_PVAS_BROADCAST_PORT": udp,
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
    },
)
print(json.dumps({"tcp": int(server.conf()["EPICS_PVAS_SERVER_PORT"])}), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if "post" in command:
        pv.post(value(command["post"]))
    elif "close" in command:
        pv.close(destroy=True)
    elif "open" in command:
        pv.open(Value(structure, {}))
    print(json.dumps({"done": next(iter(command))}), flush=True)
