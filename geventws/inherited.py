"""Listening sockets that a process is started with: those of systemd's socket activation, or a descriptor's number."""

from __future__ import annotations

import os
from typing import Any

from gevent import socket

_FIRST = 3  # sd_listen_fds(3)
_DESCRIPTOR = "fd://"
_SYSTEMD = "systemd"


def systemd_sockets() -> list[tuple[str, Any]]:
    """The listening sockets that systemd, or who speaks as it does (sd_listen_fds(3)), has passed to this process.

    Returns pairs of a name and a gevent socket, in the order of the unit files; the name is that of
    ``FileDescriptorName=``, by default the socket unit's. Empty where the process was started in another way. A process
    that forks calls this before. The sockets are not inherited by the programs that it starts.

    Raises ValueError where the environment, or what was passed, makes no sense.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    number = os.environ.get("LISTEN_FDS", "")
    if not (number.isascii() and number.isdecimal()):
        raise ValueError(f"LISTEN_FDS in the environment is not a number: {number!r}")
    descriptors = range(_FIRST, _FIRST + int(number))
    names = os.environ["LISTEN_FDNAMES"].split(":") if "LISTEN_FDNAMES" in os.environ else ["unknown"] * int(number)
    if len(names) != len(descriptors):
        raise ValueError(f"LISTEN_FDNAMES in the environment has {len(names)} names for {number} sockets")
    return [(name, listening_socket(descriptor)) for name, descriptor in zip(names, descriptors, strict=True)]


def listening_socket(descriptor: int) -> Any:
    """A gevent socket for a descriptor, which is its own from then on.

    Raises ValueError where the descriptor is not that of a listening stream socket.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except (OSError, OverflowError) as error:
        raise ValueError(f"descriptor {descriptor} is not a listening socket: {error}") from None
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()  # it is somebody else's
        raise ValueError(f"descriptor {descriptor} is not a listening socket")
    os.set_inheritable(descriptor, False)
    return sock


def is_inherited(listener: Any) -> bool:
    """Whether a listener is one that the process is started with: ``fd://3``, ``systemd`` or ``systemd:name``."""
    return isinstance(listener, str) and (listener.startswith(_DESCRIPTOR) or listener.partition(":")[0] == _SYSTEMD)


def inherited_socket(listener: str) -> Any:
    """The listening socket of such a name; raises ValueError where there is none, or more than one."""
    if listener.startswith(_DESCRIPTOR):
        number = listener.removeprefix(_DESCRIPTOR)
        if not (number.isascii() and number.isdecimal()):
            raise ValueError(f"a descriptor is given as fd://3, not {listener!r}")
        return listening_socket(int(number))
    _, colon, name = listener.partition(":")
    passed = systemd_sockets()
    if not passed:
        raise ValueError("systemd has passed no sockets to this process: LISTEN_FDS and LISTEN_PID do not say so")
    found = [sock for passed_name, sock in passed if not colon or passed_name == name]
    if len(found) == 1:
        for _, sock in passed:
            if sock is not found[0]:
                sock.detach()
        return found[0]
    for _, sock in passed:
        sock.detach()
    names = ", ".join(passed_name for passed_name, _ in passed)
    if not found:
        raise ValueError(f"systemd has passed no socket of the name {name!r}, but: {names}")
    raise ValueError(f"systemd has passed {len(passed)} sockets: take systemd:NAME, or systemd_sockets(): {names}")
