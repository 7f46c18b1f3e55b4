"""What the connections of a hub share."""

from __future__ import annotations

import pytest
from gevent import get_hub
from tools.links import unix_pair
from tools.timing import burn, wait_until

from geventws.hubs import HOLD, Backlog, shared
from geventws.transport import Owner, Transport


class Receiver(Owner):
    """Nothing is received here."""


class Tedious(Transport):
    """Writing takes long."""

    flushed: list[Tedious]

    def flush(self):
        burn(HOLD)
        super().flush()
        self.flushed.append(self)


@pytest.fixture
def transports():
    made, others = [], []
    for _ in range(4):
        mine, other = unix_pair()
        made.append(Tedious(mine, Receiver(), get_hub(), shared().buffer, shared().gathering))
        made[-1].flushed = []
        others.append(other)
    yield made
    for transport, other in zip(made, others, strict=True):
        transport.close()
        other.close()


def test_a_backlog_is_written_by_the_hub(transports):
    backlog = Backlog(get_hub())
    for transport in transports:
        transport.put(b"bytes")
        backlog.add(transport)
        assert transport.buffered == 5
    wait_until(lambda: not any(transport.buffered for transport in transports))


def test_the_hub_runs_between_the_slices_of_a_backlog(transports):
    backlog = Backlog(get_hub())
    done = []
    for transport in transports:
        transport.flushed = done
        backlog.add(transport)
    wait_until(lambda: done)
    assert len(done) < 4
    wait_until(lambda: len(done) == 4)
    assert done == transports


def test_one_that_is_closed_meanwhile_does_no_harm(transports):
    backlog = Backlog(get_hub())
    for transport in transports[:2]:
        transport.put(b"bytes")
        backlog.add(transport)
    transports[0].close()
    wait_until(lambda: not transports[1].buffered)
