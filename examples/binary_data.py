"""Binary messages: anything that lays its bytes open can be sent, and its bytes go out as they lie in memory.

That is bytes, bytearray and memoryview, arrays of the standard library and of numpy, and whatever else supports the
buffer protocol. What arrives is bytes. The server here doubles numbers; it runs in the same process::

    python examples/binary_data.py
"""

from __future__ import annotations

from array import array

from geventws import WebSocket, WebSocketServer, connect

try:
    import numpy
except ImportError:
    numpy = None


def double(ws: WebSocket) -> None:
    for message in ws:
        numbers = array("f", message)
        for i, number in enumerate(numbers):
            numbers[i] = 2 * number
        ws.send(numbers)


def main() -> None:
    with WebSocketServer(("127.0.0.1", 0), double) as server:
        server.start()
        with connect(f"ws://127.0.0.1:{server.address[1]}") as ws:
            ws.send(array("f", [0.5, 1.5, 2.5]))
            print("array:", list(array("f", ws.recv(timeout=5))))
            if numpy is not None:
                ws.send(numpy.linspace(0, 1, 5, dtype=numpy.float32))
                print("numpy:", numpy.frombuffer(ws.recv(timeout=5), dtype=numpy.float32).tolist())


if __name__ == "__main__":
    main()
