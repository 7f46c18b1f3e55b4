"""The examples are run as their docstrings say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from programs import Program
from tools import certificates

from geventws import connect

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBER = r"\d+\.\d{3}"


def program(name: str, *arguments: str) -> Program:
    return Program(str(EXAMPLES / name), *arguments)


def output_of(name: str, *arguments: str) -> str:
    with program(name, *arguments) as running:
        status, output, errors = running.finish()
    assert (status, errors) == (0, "")
    return output


def test_echo() -> None:
    with program("echo.py", "serve", "--port", "0") as server:
        port = server.address().rpartition(":")[2]
        assert output_of("echo.py", "connect", "--port", port, "hello", "world") == "hello\nworld\n"
        server.signal()
        assert server.finish() == (0, "", "")


def test_chat() -> None:
    with program("chat.py", "--port", "0") as server:
        url = server.address()
        with connect(f"{url}/?name=Ada") as ada:
            assert ada.recv(timeout=5) == "Ada came in, 1 here"
            with connect(f"{url}/?name=Grace") as grace:
                assert [ws.recv(timeout=5) for ws in (ada, grace)] == ["Grace came in, 2 here"] * 2
                grace.send("hello")
                assert ada.recv(timeout=5) == "Grace: hello"
            assert ada.recv(timeout=5) == "Grace left, 1 here"
        server.signal()
        assert server.finish() == (0, "", "")


def test_authentication() -> None:
    assert output_of("authentication.py") == "with the right password: hello ada\nwith a wrong one: 401 Who are you?\n"


def test_binary_data() -> None:
    pytest.importorskip("numpy")
    assert output_of("binary_data.py") == "array: [1.0, 3.0, 5.0]\nnumpy: [0.0, 0.5, 1.0, 1.5, 2.0]\n"


def test_heartbeat() -> None:
    lines = output_of("heartbeat.py", "0.5").splitlines()
    assert sorted(lines[:2]) == ["server: lifeless says hello", "server: lively says hello"]
    assert lines[2:] == [
        "server: lifeless no longer answers",
        "server: lively said goodbye; its last ping took some time",
    ]


def test_tls(tmp_path: Path) -> None:
    authority = certificates.authority()
    leaf = authority.issue_cert("localhost")
    chain, key, trusted = (tmp_path / name for name in ("chain.pem", "key.pem", "authority.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(chain))
    leaf.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trusted))
    lines = output_of("tls.py", str(chain), str(key), str(trusted)).splitlines()
    assert lines[0] == "nobody else can read this"
    assert lines[1].startswith("without that trust: ")


def test_round_trip_time() -> None:
    assert re.fullmatch(f"ping: +{NUMBER} ms\nmessage: {NUMBER} ms\n", output_of("round_trip_time.py"))


def test_round_trip_time_to_a_given_server() -> None:
    with program("echo.py", "serve", "--port", "0") as server:
        assert output_of("round_trip_time.py", server.address()).startswith("ping: ")


def test_every_example_has_a_test_and_says_how_to_run_it() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert f"test_{path.stem}" in globals(), path.name
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8")
