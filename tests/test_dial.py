from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from tools.timing import let_hub_run, stopwatch, wait_until

from geventws import dial as module
from geventws.dial import dial, dial_unix, resolve

INET, INET6 = socket.AF_INET, socket.AF_INET6
Address = tuple[int, tuple[Any, ...]]


@pytest.fixture
def good() -> Iterator[Address]:
    """An address where somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield INET, listener.getsockname()


@pytest.fixture
def refusing() -> Address:
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return INET, sock.getsockname()


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address that does not answer: its listener's queue is full."""
    waiting = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = socket.socket()
            sock.settimeout(0)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        let_hub_run()
        yield INET, listener.getsockname()
        for sock in waiting:
            sock.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAGGER", 0.02)


def test_connection_is_made_and_not_blocking(good: Address) -> None:
    with dial([good]) as sock:
        assert sock.getpeername() == good[1]
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_next_address_is_tried_at_once_where_one_refuses(good: Address, refusing: Address) -> None:
    with stopwatch() as watch, dial([refusing, refusing, good]) as sock:
        assert sock.getpeername() == good[1]
    assert watch.seconds < 0.5


def test_next_address_is_tried_beside_one_that_is_silent(good: Address, silent: Address) -> None:
    with stopwatch() as watch, dial([silent, silent, good]) as sock:
        assert sock.getpeername() == good[1]
    assert watch.seconds < 0.5


def test_first_address_may_still_win(good: Address, silent: Address, refusing: Address) -> None:
    with dial([good, silent, refusing]) as sock:
        assert sock.getpeername() == good[1]


def test_next_address_is_tried_where_one_cannot_even_begin(good: Address) -> None:
    with dial([(-1, good[1]), good]) as sock:
        assert sock.getpeername() == good[1]


def test_error_of_the_last_attempt_is_raised(refusing: Address) -> None:
    with pytest.raises(ConnectionRefusedError):
        dial([(-1, refusing[1]), refusing])


def test_host_without_an_address_is_an_oserror() -> None:
    with pytest.raises(OSError) as caught:
        dial([])
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_address_that_cannot_be_reached_is_an_oserror() -> None:
    with pytest.raises(OSError):
        dial([(INET, ("255.255.255.255", 9))])


def test_source_address_is_used(good: Address) -> None:
    with dial([good], ("127.0.0.3", 0)) as sock:
        assert sock.getsockname()[0] == "127.0.0.3"


def test_source_address_that_is_not_ours_is_an_oserror(good: Address) -> None:
    with pytest.raises(OSError):
        dial([good], ("192.0.2.1", 0))


def test_kill_closes_all_sockets(silent: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    begin = module._begin

    def recorded(*arguments: Any) -> Any:
        made.append(begin(*arguments))
        return made[-1]

    monkeypatch.setattr(module, "_begin", recorded)
    dialing = gevent.spawn(dial, [silent, silent])
    wait_until(lambda: len(made) == 2)
    dialing.kill()
    assert [sock.fileno() for sock in made] == [-1, -1]


def test_families_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(INET6, "a"), (INET6, "b"), (INET6, "c"), (INET, "d")]

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        assert (host, port) == ("example.com", 80)
        return [(family, 1, 6, "", (name, port)) for family, name in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert [address[0] for _, address in resolve("example.com", 80)] == ["a", "d", "b", "c"]
    found.reverse()
    assert [address[0] for _, address in resolve("example.com", 80)] == ["d", "c", "b", "a"]
    found.clear()
    assert resolve("example.com", 80) == []


def test_numeric_addresses_are_resolved_as_they_are() -> None:
    assert resolve("127.0.0.1", 80) == [(INET, ("127.0.0.1", 80))]
    assert resolve("::1", 80) == [(INET6, ("::1", 80, 0, 0))]


def test_unix_sockets_are_reached(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with dial_unix(path) as sock:
            assert sock.getpeername() == path


def test_missing_unix_socket_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dial_unix(str(tmp_path / "nothing"))
