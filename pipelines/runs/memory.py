"""Memory that is not needed any more goes back to the operating system."""

from __future__ import annotations

import ctypes
import gc

__all__ = ["release_memory"]


def release_memory() -> None:
    """Collect objects in circles, and return the free pages of the C library's heap.

    glibc keeps what many arrays of middling size have left behind: over a gigabyte after the training of a million items.
    Other C libraries have no such call and nothing is done there.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
