"""The permessage-deflate extension (RFC 7692): its settings and its negotiation.

A sender's *context* is its LZ77 window; with context takeover (section 7.1.1) it lives on from message to message.
`compression` does the work.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .exceptions import InvalidHeader
from .frames import Side
from .headers import Extension, Parameter, format_extensions

NAME = "permessage-deflate"

_SERVER_NO_CONTEXT_TAKEOVER = "server_no_context_takeover"
_CLIENT_NO_CONTEXT_TAKEOVER = "client_no_context_takeover"
_SERVER_MAX_WINDOW_BITS = "server_max_window_bits"
_CLIENT_MAX_WINDOW_BITS = "client_max_window_bits"

_MIN_WINDOW_BITS = 8
_MAX_WINDOW_BITS = 15

# Section 7.1.2: a decimal integer from 8 to 15 without leading zeroes. So it is compared as text.
_WINDOW_BITS = {str(bits): bits for bits in range(_MIN_WINDOW_BITS, _MAX_WINDOW_BITS + 1)}

_COMPRESS_RANGES = {
    "level": (-1, 9),
    "memLevel": (1, 9),
    "strategy": (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED),
    "wbits": (_MIN_WINDOW_BITS, _MAX_WINDOW_BITS),
}
_LIBRARY = ("compressobj", "decompressobj", "error")
_DECOMPRESS_RANGES = {"wbits": (_MIN_WINDOW_BITS, _MAX_WINDOW_BITS)}


@dataclass(frozen=True)
class Parameters:
    """What both sides agreed on (RFC 7692 section 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = _MAX_WINDOW_BITS
    client_max_window_bits: int = _MAX_WINDOW_BITS

    def context_takeover(self, sender: Side) -> bool:
        """Whether ``sender`` may refer back to its earlier messages."""
        return not (self.server_no_context_takeover if sender is Side.SERVER else self.client_no_context_takeover)

    def window_bits(self, sender: Side) -> int:
        """The base-2 logarithm of how many bytes ``sender`` may refer back."""
        return self.server_max_window_bits if sender is Side.SERVER else self.client_max_window_bits


@dataclass(frozen=True, eq=False)
class PerMessageDeflate:
    """The settings of permessage-deflate for a client or a server.

    Raises ValueError or TypeError where a setting is not valid.

    Attributes:
        server_no_context_takeover: whether the server begins each message with an empty window, which saves memory
            between messages and costs compression. True: a client demands it, a server does it. False: a client
            refuses an answer that has it, a server declines an offer that demands it. None: as the peer wishes.
        client_no_context_takeover: the same for the client's messages. True: a client does it and says so, a server
            demands it. False: a client refuses an answer that demands it, a server does not take up the client's
            hint. None: as the peer wishes.
        server_max_window_bits: 8 to 15, the base-2 logarithm of the server's window in bytes. A client demands at most
            this much, a server uses at most this much. None: as the peer wishes, or else 15.
        client_max_window_bits: 8 to 15, the same for the client's window. A client uses at most this much and says so;
            a server demands at most this much, and declines an offer that does not let it. None or True: a client
            offers to do as the server wishes, a server agrees to what the client names. False: a client does not offer
            it, a server does not ask for it. What nobody limits is 15.
        threshold: messages shorter than this many bytes are sent uncompressed.
        compress_options: zlib's ``level`` (-1 to 9, default 1), ``memLevel`` (1 to 9, default 8), ``strategy`` (0 to
            4, default 0) and ``wbits`` (8 to 15: use a smaller window than was agreed on). A context takes up to
            2**(wbits + 2) + 2**(memLevel + 9) bytes, 256 KiB by default.
        decompress_options: ``wbits`` (8 to 15: hold a larger window than was agreed on, for a peer that does not keep
            to it). A context takes about 2 * 2**wbits bytes, 64 KiB by default.
        concurrency_limit: at most this many large messages are compressed or decompressed in threads at once, over all
            connections of a hub that have the same limit.
        library: a module with the functions of zlib (``compressobj``, ``decompressobj``, ``error``), such as
            ``zlib_ng.zlib_ng``, to use in place of the one that `compression` chooses. Windows of 8 bits, and those of
            less than 15 bits for receiving, are left to zlib in any case.
    """

    server_no_context_takeover: bool | None = None
    client_no_context_takeover: bool | None = None
    server_max_window_bits: int | None = None
    client_max_window_bits: int | bool | None = None
    threshold: int = 1024
    compress_options: Mapping[str, int] | None = None
    decompress_options: Mapping[str, int] | None = None
    concurrency_limit: int = 10
    library: Any = None

    def __post_init__(self) -> None:
        _check_flag(_SERVER_NO_CONTEXT_TAKEOVER, self.server_no_context_takeover)
        _check_flag(_CLIENT_NO_CONTEXT_TAKEOVER, self.client_no_context_takeover)
        if self.server_max_window_bits is not None:
            _check_int(_SERVER_MAX_WINDOW_BITS, self.server_max_window_bits, _MIN_WINDOW_BITS, _MAX_WINDOW_BITS)
        if self._client_limit is not None:
            _check_int(_CLIENT_MAX_WINDOW_BITS, self._client_limit, _MIN_WINDOW_BITS, _MAX_WINDOW_BITS)
        _check_int("threshold", self.threshold, 0)
        _check_int("concurrency_limit", self.concurrency_limit, 1)
        if self.library is not None and not all(hasattr(self.library, name) for name in _LIBRARY):
            raise TypeError(f"library must be a module like zlib, not {self.library!r}")
        # Copies, so that what was checked stays as it is.
        for name, ranges in (("compress_options", _COMPRESS_RANGES), ("decompress_options", _DECOMPRESS_RANGES)):
            object.__setattr__(self, name, _checked_options(name, getattr(self, name), ranges))

    @property
    def _client_limit(self) -> int | None:
        """``client_max_window_bits`` where it is a number."""
        bits = self.client_max_window_bits
        return None if isinstance(bits, bool) else bits

    def offers(self) -> list[Extension]:
        """What a client with these settings puts into its request."""
        offer: list[Parameter] = []
        if self.server_no_context_takeover:
            offer.append((_SERVER_NO_CONTEXT_TAKEOVER, None))
        if self.client_no_context_takeover:
            offer.append((_CLIENT_NO_CONTEXT_TAKEOVER, None))
        if self.server_max_window_bits is not None:
            offer.append((_SERVER_MAX_WINDOW_BITS, str(self.server_max_window_bits)))
        if self.client_max_window_bits is not False:
            bits = self._client_limit
            offer.append((_CLIENT_MAX_WINDOW_BITS, None if bits is None else str(bits)))
        return [(NAME, offer)]

    def accept(self, offers: Iterable[Extension]) -> tuple[Extension, Parameters] | None:
        """What a server with these settings answers to the first offer that it can accept, and what holds then.

        None where there is no such offer (RFC 7692 sections 5.1 and 7.1). Other extensions are passed over.
        """
        for name, parameters in offers:
            if name != NAME:
                continue
            try:
                answer = self._answer(_read_parameters(parameters, in_answer=False))
            except ValueError:
                continue  # section 7.1: an offer that is not valid is declined
            agreed = Parameters(
                _SERVER_NO_CONTEXT_TAKEOVER in answer,
                _CLIENT_NO_CONTEXT_TAKEOVER in answer,
                answer.get(_SERVER_MAX_WINDOW_BITS) or _MAX_WINDOW_BITS,
                answer.get(_CLIENT_MAX_WINDOW_BITS) or _MAX_WINDOW_BITS,
            )
            return (NAME, [(key, None if bits is None else str(bits)) for key, bits in answer.items()]), agreed
        return None

    def _answer(self, offer: dict[str, int | None]) -> dict[str, int | None]:
        """The parameters with which a server accepts an offer; raises ValueError where it declines it."""
        answer: dict[str, int | None] = {}
        if self.server_no_context_takeover is False and _SERVER_NO_CONTEXT_TAKEOVER in offer:
            raise ValueError("the client demands server_no_context_takeover")
        if self.server_no_context_takeover or _SERVER_NO_CONTEXT_TAKEOVER in offer:
            answer[_SERVER_NO_CONTEXT_TAKEOVER] = None
        demanded = self.client_no_context_takeover
        if demanded or (demanded is None and _CLIENT_NO_CONTEXT_TAKEOVER in offer):
            answer[_CLIENT_NO_CONTEXT_TAKEOVER] = None
        bits = _smaller(self.server_max_window_bits, offer.get(_SERVER_MAX_WINDOW_BITS))
        if bits is not None:
            answer[_SERVER_MAX_WINDOW_BITS] = bits
        if _CLIENT_MAX_WINDOW_BITS in offer:
            bits = _smaller(self._client_limit, offer[_CLIENT_MAX_WINDOW_BITS])
            if bits is not None and self.client_max_window_bits is not False:
                answer[_CLIENT_MAX_WINDOW_BITS] = bits
        elif self._client_limit is not None:
            # Section 7.1.2.2: a server cannot limit the window of a client that did not offer it.
            raise ValueError("the client does not offer client_max_window_bits")
        return answer

    def confirm(self, answer: Extension) -> Parameters:
        """What holds when a server answers this to what `offers` gave to a client.

        Raises InvalidHeader where the answer is not a valid answer to that offer (RFC 7692 section 7.1).
        """
        name, parameters = answer
        try:
            if name != NAME:
                raise ValueError("it was not offered")
            return self._confirm(_read_parameters(parameters, in_answer=True))
        except ValueError as error:
            raise InvalidHeader("Sec-WebSocket-Extensions", format_extensions([answer]), str(error)) from None

    def _confirm(self, answer: dict[str, int | None]) -> Parameters:
        # A server may ask for any of these unasked, save for client_max_window_bits. What the client offered of the
        # server_ ones is a demand, which the server accepts by answering it. What it offered of the client_ ones is a
        # hint, which holds whatever the server answers, even a larger window (sections 7.1.1 and 7.1.2).
        for name in (_SERVER_NO_CONTEXT_TAKEOVER, _CLIENT_NO_CONTEXT_TAKEOVER):
            if name in answer and getattr(self, name) is False:
                raise ValueError(f"{name} is ruled out")
        if self.server_no_context_takeover and _SERVER_NO_CONTEXT_TAKEOVER not in answer:
            raise ValueError("server_no_context_takeover was demanded")
        server_bits = answer.get(_SERVER_MAX_WINDOW_BITS)
        limit = self.server_max_window_bits
        if limit is not None and (server_bits is None or server_bits > limit):
            raise ValueError(f"server_max_window_bits of at most {limit} was demanded")
        if self.client_max_window_bits is False and _CLIENT_MAX_WINDOW_BITS in answer:
            raise ValueError("client_max_window_bits was not offered")
        return Parameters(
            _SERVER_NO_CONTEXT_TAKEOVER in answer,
            _CLIENT_NO_CONTEXT_TAKEOVER in answer or self.client_no_context_takeover is True,
            server_bits or _MAX_WINDOW_BITS,
            _smaller(self._client_limit, answer.get(_CLIENT_MAX_WINDOW_BITS)) or _MAX_WINDOW_BITS,
        )


def _check_flag(name: str, value: object) -> None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} must be True, False or None, not {value!r}")


def _check_int(name: str, value: object, least: int, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least or (most is not None and value > most):
        wanted = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {wanted}, not {value}")


def _checked_options(
    name: str, options: Mapping[str, int] | None, ranges: Mapping[str, tuple[int, int]]
) -> Mapping[str, int]:
    if options is None:
        return MappingProxyType({})
    if not isinstance(options, Mapping):
        raise TypeError(f"{name} must be a mapping, not {options!r}")
    for key, value in options.items():
        if key not in ranges:
            raise ValueError(f"{name} may have {', '.join(ranges)}, not {key!r}")
        _check_int(f"{name}[{key!r}]", value, *ranges[key])
    return MappingProxyType(dict(options))


def _read_parameters(parameters: Iterable[Parameter], *, in_answer: bool) -> dict[str, int | None]:
    """The parameters of one offer or answer, window bits as numbers; ValueError where section 7.1 is broken."""
    read: dict[str, int | None] = {}
    for name, value in parameters:
        if name in read:
            raise ValueError(f"{name} is there twice")
        if name in (_SERVER_NO_CONTEXT_TAKEOVER, _CLIENT_NO_CONTEXT_TAKEOVER):
            if value is not None:
                raise ValueError(f"{name} has a value")
            read[name] = None
        elif name == _CLIENT_MAX_WINDOW_BITS and value is None and not in_answer:
            read[name] = None
        elif name in (_SERVER_MAX_WINDOW_BITS, _CLIENT_MAX_WINDOW_BITS):
            if value not in _WINDOW_BITS:
                raise ValueError(f"{name} is not a number from {_MIN_WINDOW_BITS} to {_MAX_WINDOW_BITS}")
            read[name] = _WINDOW_BITS[value]
        else:
            raise ValueError(f"{name} is not a parameter of {NAME}")
    return read


def _smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two limits, where None is no limit."""
    return min((bits for bits in (one, other) if bits is not None), default=None)
