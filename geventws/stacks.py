"""Memory for the frames of greenlets: what one that has ended leaves is used for the next one."""

from __future__ import annotations


def keep_stacks() -> None:
    """Keep the memory of the first frames of greenlets that have ended, 64 times 16 KiB at most, for those to come.

    CPython, from 3.11 on, maps 16 KiB for the frames of each greenlet and unmaps them at its end, which takes two
    thirds of the time of starting and ending a greenlet. In C this puts something in front of the arena allocator of
    the process (by PyObject_SetArenaAllocator), and so serves all of its greenlets, not only those of connections. It
    cannot be taken back. Plain Python cannot do it, and leaves things as they are.
    """
