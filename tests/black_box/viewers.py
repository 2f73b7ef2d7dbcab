"""A client of pva-sink's PVs that decodes what it gets as viewers do, and prints what they would show, as JSON lines.

    viewers.py CLIENT PV TCP_PORT UDP_PORT COUNT

CLIENT is `pvxs` (p4p) or `pvaccess` (pvaPy). A line for each update of the PV; those without an image are left out. It ends
after COUNT lines. An update that a viewer would not show is a line with the reason.
"""
import json
import os
import queue
import sys

client, name, tcp, udp, count = *sys.argv[1:5], int(sys.argv[5])
os.environ.update(
    EPICS_PVA_AUTO_ADDR_LIST="NO",
    EPICS_PVA_ADDR_LIST="",
    EPICS_PVA_NAME_SERVERS="127.0.0.1:" + tcp,
    EPICS_PVA_BROADCAST_PORT=udp,
)
import numpy  # noqa: E402

updates = queue.Queue()


class NotShown(Exception):
    pass


def demand(condition, why):
    if not condition:
        raise NotShown(why)


def attributes(data):
    return {attribute["name"]: attribute["value"] for attribute in data["attribute"]}


class C2DataViewer:
    """What c2dataviewer's image viewer does with an update: skips one with the time or the number of the one before, needs
    two dimensions and a mono ColorMode, an array that is not empty and fills them, and scales by minimum and maximum."""

    last = None

    def show(self, data):
        identity = (data["timeStamp"]["secondsPastEpoch"], data["timeStamp"]["nanoseconds"]), data["uniqueId"]
        if self.last is not None:
            demand(identity[0] > self.last[0], "the time is not later")
            demand(identity[1] != self.last[1], "the number is that of the image before")
        self.last = identity
        width, height = (dimension["size"] for dimension in data["dimension"])
        demand(attributes(data)["ColorMode"] == 0, "ColorMode")
        pixels = data["pixels"]
        demand(pixels.size == width * height > 0, "size")
        demand(data["codec"]["name"] == "", "codec")
        image = pixels.reshape((height, width))
        low, high = float(pixels.min()), float(pixels.max())
        demand(numpy.isfinite(low) and numpy.isfinite(high), "no scale")
        return {"image": image.tolist(), "low": low, "high": high}


class Phoebus:
    """What Phoebus' decoder needs: an int in codec.parameters, compressed or not, and all fields of the dimensions."""

    def show(self, data):
        parameters = data["codec"]["parameters"]
        demand(isinstance(parameters, int) and not isinstance(parameters, bool), f"codec.parameters is {parameters!r}")
        demand(parameters == {"float32": 9}[pixels_type(data)], "codec.parameters does not name the type")
        for dimension in data["dimension"]:
            found = [dimension[key] for key in ("size", "offset", "fullSize", "binning", "reverse")]
            size = dimension["size"]
            demand(found == [size, 0, size, 1, False], f"dimension {found}")
        mode = attributes(data)["ColorMode"]
        demand(isinstance(mode, int), "ColorMode is no number")
        demand(data["compressedSize"] == data["uncompressedSize"] == data["pixels"].nbytes, "sizes")


def pixels_type(data):
    return data["pixels"].dtype.name


class DashPva:
    """DashPVA takes the number as the index of a position, and what it knows from attributes."""

    def show(self, data):
        demand(data["uniqueId"] >= 0, "no index")
        known = attributes(data)
        return {"index": data["uniqueId"], "position": [known.get("PositionX"), known.get("PositionY")]}


def from_pvxs(value):
    """A value as all viewers here take it: the array of the union, attributes with bare values."""
    data = value.todict()
    data["pixels"] = value.value
    data["codec"] = {"name": value.codec.name, "parameters": value.codec.parameters}
    data["attribute"] = [{"name": a.name, "value": a.value} for a in value.attribute]
    return data


def from_pvaccess(value):
    data = value.toDict()
    union = data["value"][0] if data["value"] else {}
    data["pixels"] = next(iter(union.values()), None)
    data["codec"]["parameters"] = data["codec"]["parameters"][0]["value"] if data["codec"]["parameters"] else None
    for attribute in data["attribute"]:
        attribute["value"] = attribute["value"][0]["value"]
    return data


viewers = [C2DataViewer(), Phoebus(), DashPva()]


def seen(data):
    """Called for each update, whose arrays may be used again after it."""
    if not data["dimension"]:
        return
    line = {}
    try:
        for viewer in viewers:
            line.update(viewer.show(data) or {})
        line["latency"] = attributes(data)["LatencyMs"]
        line["taken"] = [data["dataTimeStamp"]["secondsPastEpoch"], data["dataTimeStamp"]["nanoseconds"]]
    except (NotShown, KeyError, TypeError, ValueError) as error:
        line = {"not shown": repr(error)}
    updates.put(line)


if client == "pvxs":
    from p4p.client.thread import Context

    context = Context("pva", nt=False)
    if name.endswith(":image"):
        subscription = context.monitor(name, lambda value: seen(from_pvxs(value)), request="record[queueSize=1000]field()")
    else:
        subscription = context.monitor(name, lambda value: updates.put({"number": value.value}))
else:
    import pvaccess

    channel = pvaccess.Channel(name)
    channel.monitor(lambda value: seen(from_pvaccess(value)), "field()")
for _ in range(count):
    print(json.dumps(updates.get()), flush=True)
os._exit(0)
