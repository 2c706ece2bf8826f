"""Large arrays come from memory that the process keeps, not from mappings that go back to the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
import numpy as np
from ptycho_dist.distributed.devices import keep_freed_memory

class Info(ctypes.Structure):
    _fields_ = [(f"field_{number}", ctypes.c_size_t) for number in range(10)]  # 4: bytes in mappings

library = ctypes.CDLL(None)
if not hasattr(library, "mallinfo2"):
    print(-1)
    sys.exit()
library.mallinfo2.restype = Info
if sys.argv[1] == "kept":
    assert keep_freed_memory()
before = library.mallinfo2().field_4
array = np.ones(3_000_000)
print(library.mallinfo2().field_4 - before)
"""


def mapped_bytes(which: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, which], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


def test_keep_freed_memory_takes_large_arrays_from_memory_that_is_kept() -> None:
    kept = mapped_bytes("kept")
    if kept < 0:
        pytest.skip("this C library does not tell of its mappings")
    assert kept == 0
    assert mapped_bytes("default") >= 24_000_000
