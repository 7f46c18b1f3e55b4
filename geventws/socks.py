"""The dialogue with a SOCKS proxy (SOCKS4, SOCKS4a, RFC 1928, RFC 1929): PySocks' own, over any stream.

PySocks is used as it is, with two things in place of its own: the functions of ``socket`` are gevent's, so that it
waits in the hub in an unpatched process too, and a length is written as one byte, where PySocks makes two of 128 and
more. Names, addresses and the connection to the proxy are the caller's.
"""

from __future__ import annotations

import builtins
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

import gevent.socket

from .exceptions import ProxyError
from .frames import Buffer
from .opening import receive, send_all
from .url import ProxyURL, bracketed


class _Octet(int):
    """What PySocks gets from ``chr`` for a length."""

    def encode(self) -> bytes:
        return bytes((self,))


class _Given(bytes):
    """A user name or a password that is there even if it is empty, which PySocks would take for none."""

    def __bool__(self) -> bool:
        return True


def _import(name: str, *arguments: Any) -> Any:
    return gevent.socket if name == "socket" else builtins.__import__(name, *arguments)


def _cooperative_copy() -> Any:
    """PySocks executed once more, in a namespace of its own: the program's copy of it stays as it is."""
    spec: Any = find_spec("socks")
    if spec is None:
        raise ModuleNotFoundError("No module named 'socks': geventws needs PySocks", name="socks")
    module = module_from_spec(spec)
    names = vars(module)
    names["__builtins__"] = vars(builtins) | {"__import__": _import, "chr": _Octet}
    exec(spec.loader.get_code("socks"), names)  # noqa: S102 (the installed module, by its own loader)
    return module


if TYPE_CHECKING:
    import socks as pysocks
else:
    pysocks = _cooperative_copy()

RefusedCredentials = pysocks.SOCKS5AuthError
"""What is behind the ProxyError where a SOCKS5 proxy does not take the user name and the password, or their lack."""


def request_connection(stream: Any, proxy: ProxyURL, host: str, port: int) -> None:
    """Ask the SOCKS proxy at the other end of a non-blocking stream to connect it to a host.

    Nothing of what follows the proxy's reply is read. The host is an address, or a name for the proxy to resolve.
    Raises ProxyError where the proxy refuses or does not keep to the protocol; OSError.
    """
    dialogue: Any = _Dialogue(stream, proxy)
    negotiate = dialogue._negotiate_SOCKS4 if proxy.scheme.startswith("socks4") else dialogue._negotiate_SOCKS5
    step = f"the request for {bracketed(host)}:{port}"
    try:
        negotiate(host, port)
    except (pysocks.SOCKS4Error, pysocks.SOCKS5Error) as error:
        code, _, words = error.msg.partition(": ")
        text = f"the proxy {proxy} refused {step}: {words} (SOCKS reply {int(code, 16)})"
        raise ProxyError(text, proxy=str(proxy), step=step, reply=int(code, 16)) from error
    except pysocks.ProxyError as error:
        raise ProxyError(f"{step} to the proxy {proxy} failed: {error}", proxy=str(proxy), step=step) from error


class _Dialogue(pysocks.socksocket):
    """PySocks' half of the dialogue, on a stream that is connected already; it has no socket of its own."""

    def __init__(self, stream: Any, proxy: ProxyURL) -> None:
        kind = pysocks.SOCKS4 if proxy.scheme.startswith("socks4") else pysocks.SOCKS5
        self.proxy = (kind, proxy.host, proxy.port, True, *_credentials(proxy))
        self._stream = stream
        self._timeout = None  # there is one deadline over all, which is the caller's

    def makefile(self, *_: Any) -> Any:  # type: ignore[override]
        return _File(self._stream)


class _File:
    """The stream as PySocks reads and writes it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._unsent = bytearray()

    def write(self, data: Buffer) -> None:
        self._unsent += data

    def flush(self) -> None:
        send_all(self._stream, bytes(self._unsent))
        self._unsent.clear()

    def read(self, size: int) -> bytes:
        return receive(self._stream, size)

    def close(self) -> None:
        """Leave the stream open."""


def _credentials(proxy: ProxyURL) -> tuple[bytes | None, bytes | None]:
    if proxy.username is None:
        return None, None
    return _Given(proxy.username.encode()), _Given((proxy.password or "").encode())
