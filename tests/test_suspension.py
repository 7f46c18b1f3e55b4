import gevent, pytest
@pytest.mark.parametrize("count", [900, 1100,1300,1500,1700,2000,2500])
def test_all_messages_of_one_read_are_delivered_while_recv_waits(pair, count):
    ws, peer = pair
    got = []
    def read():
        for m in ws: got.append(m)
    g = gevent.spawn(read)
    gevent.sleep(0)
    peer.send_bytes(b"".join(peer.frame(1, b"hi", ) for _ in range(count)))
    gevent.sleep(0.3)
    n = len(got)
    g.kill()
    assert n == count
