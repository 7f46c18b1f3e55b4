"""The hub is never held for more than 10 ms by the library, however large a message is and however many there are.

CPU time of the thread is what counts here.
"""

from __future__ import annotations

import gevent
import pytest
from serving import MS, echo
from tools.links import reset
from tools.measuring import HubHeld
from tools.tasks import start
from tools.timing import let_hub_run
from tools.wire import BINARY, CONTINUATION, PING, TEXT

from geventws.deflate import Parameters, PerMessageDeflate

LIMIT = 10 * MS
MIB = 2**20


@pytest.fixture
def transport():
    return "unix"


def spread(call):
    """Run it in a greenlet of its own, and see how long the hub was held."""
    with HubHeld() as held:
        result = start(call).result(20)
    return result, held


def text_of(size):
    return "Grüße, 世界! " * (size // 20)


KINDS = {"binary": (BINARY, bytes(MIB)), "text": (TEXT, text_of(MIB).encode()[:MIB].decode(errors="ignore").encode())}


@pytest.mark.parametrize("kind", KINDS)
def test_by_a_message_of_the_default_limit(make_pair, kind):
    """It is unmasked, checked and handed out."""
    opcode, payload = KINDS[kind]
    ws, peer = make_pair()
    frame = peer.frame(opcode, payload)
    sending = start(peer.send_bytes, frame)
    _, held = spread(ws.recv)
    sending.result()
    assert held.longest <= LIMIT


@pytest.mark.parametrize("kind", KINDS)
def test_by_sending_a_message_of_a_mebibyte(make_pair, kind):
    opcode, payload = KINDS[kind]
    ws, peer = make_pair()
    message = payload.decode() if opcode == TEXT else payload

    def drain():
        got = 0
        while got < len(payload):
            got += len(peer.sock.recv(65536))

    draining = start(drain)
    _, held = spread(lambda: (ws.send(message), ws.flush()))
    draining.result()
    assert held.longest <= LIMIT


@pytest.mark.parametrize("size", [100_000, 4 * MIB])
def test_by_compression(make_pair, size):
    ws, peer = make_pair(deflate=Parameters(), settings=PerMessageDeflate())
    payload = text_of(size)

    def drain():
        while True:
            if not peer.sock.recv(65536):
                return

    draining = start(drain)
    _, held = spread(lambda: (ws.send(payload), ws.flush()))
    ws.terminate()
    draining.result()
    assert held.longest <= LIMIT + len(payload.encode()) / MIB * 2 * MS  # the copy of the text in UTF-8


FLOODS = {
    "empty messages": lambda peer: peer.frame(TEXT) * 30_000,
    "messages of one byte": lambda peer: peer.frame(BINARY, b"x") * 30_000,
    "pings": lambda peer: peer.frame(PING) * 30_000,
    "fragments": lambda peer: peer.frame(BINARY, fin=False) + peer.frame(CONTINUATION, b"x", fin=False) * 30_000,
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("program", ["takes all", "takes none"])
def test_by_a_flood(make_pair, flood, program):
    ws, peer = make_pair()
    data = FLOODS[flood](peer)

    def swallow():
        while peer.sock.recv(65536):
            pass

    swallowing = start(swallow)
    receiving = start(lambda: [None for _ in ws]) if program == "takes all" else None
    with HubHeld() as held:
        try:
            with gevent.Timeout(0.5, False):
                peer.send_bytes(data)
        finally:
            let_hub_run(3)
    ws.terminate()
    swallowing.join()
    if receiving is not None:
        receiving.join()
    assert held.longest <= LIMIT


def test_a_quiet_connection_is_served_beside_a_flood(serving):
    """Its answers take few turns of the hub, in each of which no more than one read of the flood is served."""
    server = serving.start(echo)
    loud = [serving.open(server) for _ in range(3)]
    quiet = serving.open(server)
    flooding, swallowing = [], []

    def flood(peer):
        data = peer.frame(BINARY, b"x") * 1000
        while True:
            peer.send_bytes(data)

    def swallow(peer):
        while peer.sock.recv(65536):
            pass

    for peer in loud:
        flooding.append(gevent.spawn(flood, peer))
        swallowing.append(gevent.spawn(swallow, peer))
    turns = []
    for number in range(20):
        with HubHeld() as held:
            quiet.text(str(number))
            assert quiet.read_message() == str(number)
        turns.append(held.longest)
    gevent.killall(flooding + swallowing)
    for peer in loud:
        reset(peer.sock)
    turns.sort()
    assert turns[-2] <= 3 * LIMIT
