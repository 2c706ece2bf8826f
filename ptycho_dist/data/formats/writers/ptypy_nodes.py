"""HDF5 nodes as ptypy stores them: each says in an attribute of which Python type it was."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

_VERSION = "0.1"


def mark_file(file: h5py.File) -> None:
    """Write what ptypy expects at the root."""
    now = time.asctime()
    file.attrs.update({"h5rw_version": _VERSION, "ctime": now, "mtime": now})


def write_node(group: h5py.Group, name: str, value: Any, **filters: Any) -> h5py.Dataset | h5py.Group:
    """Write a value: a mapping, an array, a number, a string, or None.

    Parameters
    ----------
    group, name
        Where.
    value
        What.
    **filters
        Keywords that compress an array.
    """
    if isinstance(value, Mapping):
        node = group.create_group(name)
        node.attrs["type"] = "dict"
        for key, one in value.items():
            write_node(node, key, one)
        return node
    kind = "None" if value is None else _type_of(value)
    stored = np.zeros(1) if value is None else value
    dataset = group.create_dataset(name, data=stored, **filters)
    dataset.attrs["type"] = kind
    return dataset


def _type_of(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "array" if np.ndim(value) else "scalar"
