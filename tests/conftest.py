"""What tests get: a check that nothing is left behind, connected sockets, a WebSocket with a scripted peer."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gevent import get_hub, ssl
from tools import certificates
from tools.endpoint import make_peer, make_websocket
from tools.leaks import Snapshot, kill_greenlets
from tools.links import TRANSPORTS, tcp_pair, tls_pair, unix_pair
from tools.peer import Peer
from tools.proxying import Listener

OUTCOME = pytest.StashKey[bool]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has a tox environment of its own, elsewhere."""
    markers = ((item, item.get_closest_marker("only_where")) for item in items)
    elsewhere = [item for item, marker in markers if marker is not None and not marker.args[0]]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[OUTCOME] = report.passed
    return report


@pytest.fixture(scope="session", autouse=True)
def no_proxies() -> Iterator[None]:
    """No proxy of the environment stands between the tests, or the programs that they start, and their servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def warmed_up() -> None:
    """Make what gevent makes once per process."""
    get_hub().threadpool.apply(int)


@pytest.fixture(scope="session")
def test_count() -> Iterator[int]:
    return itertools.count()


@pytest.fixture(autouse=True)
def spare_what_is_old(warmed_up: None, test_count: Iterator[int]) -> None:
    """The look at the heap before and after each test passes over what was frozen, above all pytest's own reports."""
    if next(test_count) % 200 == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def hub_errors(spare_what_is_old: None, request: pytest.FixtureRequest) -> Iterator[list[tuple[Any, BaseException]]]:
    """Fails the test when an error reaches the hub or a greenlet, an active watcher or a descriptor is left behind.

    A test that expects errors in the hub takes this fixture, looks at the list of (context, error) and clears it.
    """
    hub = get_hub()
    errors: list[tuple[Any, BaseException]] = []

    def record(context: Any, kind: type, value: BaseException, traceback: Any) -> None:
        errors.append((context, value))
        if isinstance(value, hub.SYSTEM_ERROR):
            type(hub).handle_error(hub, context, kind, value, traceback)

    hub.handle_error = record
    before = Snapshot()
    yield errors
    passed = request.node.stash.get(OUTCOME, False)
    left = before.settle(1 if passed else 0)
    hub.handle_error = type(hub).handle_error.__get__(hub)
    kill_greenlets(left)
    if passed:  # a failed test has already said what is wrong
        assert not errors, f"errors in the hub: {errors}"
        assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def server_context() -> ssl.SSLContext:
    return certificates.server_context()


@pytest.fixture(scope="session")
def client_context() -> ssl.SSLContext:
    return certificates.client_context()


@pytest.fixture(scope="session")
def mutual_server_context() -> ssl.SSLContext:
    return certificates.mutual_server_context()


@pytest.fixture(scope="session")
def mutual_client_context() -> ssl.SSLContext:
    return certificates.mutual_client_context()


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["client", "server"])
def role(request: pytest.FixtureRequest) -> str:
    """The role of the endpoint under test."""
    return str(request.param)


LinkMaker = Callable[..., tuple[Any, Any]]
PairMaker = Callable[..., tuple[Any, Peer]]


@pytest.fixture
def make_link(transport: str, client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> Iterator[LinkMaker]:
    """Makes pairs (client's socket, server's socket) over the transport; ``buffers=`` makes narrow ones."""
    opened: list[Any] = []

    def make(buffers: int | None = None) -> tuple[Any, Any]:
        if transport == "tls":
            link = tls_pair(client_context, server_context, buffers)
        else:
            link = tcp_pair(buffers) if transport == "tcp" else unix_pair(buffers)
        opened.extend(link)
        return link

    yield make
    for sock in opened:
        sock.close()


@pytest.fixture
def link(make_link: LinkMaker) -> tuple[Any, Any]:
    """A connected pair (client's socket, server's socket)."""
    return make_link()


@pytest.fixture
def open_websocket() -> Iterator[Callable[..., Any]]:
    """`make_websocket`, which ends at the latest with the test."""
    opened: list[Any] = []

    def make(sock: Any, role: str, **arguments: Any) -> Any:
        opened.append(make_websocket(sock, role, **arguments))
        return opened[-1]

    yield make
    for ws in opened:
        ws.terminate()


@pytest.fixture
def make_pair(make_link: LinkMaker, open_websocket: Callable[..., Any], role: str) -> PairMaker:
    """Makes pairs (WebSocket under test, scripted peer) in each role and over each transport.

    ``buffers=`` makes a narrow link, ``deflate=`` (deflate.Parameters) turns compression on, ``peer_timeout=`` is for
    the peer; the rest are arguments of WebSocket and fields of websocket.Options.
    """

    def make(*, buffers: int | None = None, peer_timeout: float = 5, **arguments: Any) -> tuple[Any, Peer]:
        client, server = make_link(buffers)
        mine, other = (client, server) if role == "client" else (server, client)
        peer = make_peer(other, role, deflate=arguments.get("deflate"), timeout=peer_timeout)
        return open_websocket(mine, role, **arguments), peer

    return make


@pytest.fixture
def pair(make_pair: PairMaker) -> tuple[Any, Peer]:
    """A WebSocket under test with default options, and its scripted peer."""
    return make_pair()


@pytest.fixture
def listen() -> Iterator[Callable[..., int]]:
    """Starts a `Listener` and returns its port."""
    listeners: list[Listener] = []

    def begin(play: Callable[[Any], object], **options: Any) -> int:
        listeners.append(Listener(play, **options))
        return listeners[-1].port

    yield begin
    for listener in listeners:
        listener.stop()
