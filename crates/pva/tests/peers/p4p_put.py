"""A PVXS client that tries to change a PV.

    p4p_put.py PV TCP_PORT UDP_PORT

It prints {"refused": TEXT}, or {"changed": true}.
"""
import json
import sys

from p4p.client.thread import Context, RemoteError

name, tcp, udp = sys.argv[1:4]
context = Context(
    "pva",
    conf={
        "EPICS_PVA_ADDR_LIST": "",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_NAME_SERVERS": "127.0.0.1:" + tcp,
        "EPICS_PVA_BROADCAST_PORT": udp,
    },
)
try:
    context.put(name, 5.0, timeout=30.0)
    print(json.dumps({"changed": True}), flush=True)
except RemoteError as error:
    print(json.dumps({"refused": str(error)}), flush=True)
