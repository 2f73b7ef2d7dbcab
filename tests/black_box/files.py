"""Prints what h5py finds in a file, as one line of JSON: python files.py PATH [swmr]"""

import json
import sys

import h5py


def plain(value):
    return value.decode() if isinstance(value, bytes) else value.item() if hasattr(value, "item") else value


def attributes(thing):
    return {name: plain(value) for name, value in thing.attrs.items()}


with h5py.File(sys.argv[1], "r", swmr="swmr" in sys.argv[2:]) as file:
    data = file["entry/data"]
    groups = {}
    of_groups = {group: attributes(file["entry"][group]) for group in file["entry"]}
    for group in file["entry"]:
        for name, dataset in file["entry"][group].items():
            values = [None if value != value else value for value in dataset[()].ravel().tolist()]
            groups.setdefault(group, {})[name] = {
                "shape": dataset.shape,
                "dtype": str(dataset.dtype),
                "attributes": attributes(dataset),
                "values": values,
            }
    print(
        json.dumps(
            {
                "entry": attributes(file["entry"]),
                "data": attributes(data),
                "attributes": of_groups,
                "groups": groups,
            }
        )
    )
