"""WebSockets behind nginx and HAProxy, with the configurations that docs/deployment.md shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from host_process import Host, Kind, close, end
from reverse_proxy import ReverseProxy
from tools import wire

from geventws.__main__ import main

pytest.importorskip("gunicorn")
pytest.importorskip("werkzeug")

HOSTS = [Kind("pywsgi", patched=False), Kind("gevent"), Kind("gevent_pywsgi")]
PROXIES = ["nginx", "haproxy"]
BY_DEFAULT = {  # what nginx passes on where it is told nothing but proxy_pass
    "proxy_http_version 1.1;": "",
    "proxy_set_header Upgrade $http_upgrade;": "",
    "proxy_set_header Connection $connection_upgrade;": "",
    "proxy_set_header Host $http_host;": "",
}
EVIL: dict[str, str | None] = {"Origin": "https://evil.example"}


@pytest.fixture(scope="module", params=HOSTS, ids=lambda kind: kind.host)
def process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, client_context: Any, certificate: Any
) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with Host(request.param, folder, client_context, certificate, "proxied_application") as host:
        yield host


@pytest.fixture
def host(process: Host) -> Iterator[Host]:
    """The host, which logs no traceback."""
    process.turn_page()
    yield process
    assert "Traceback" not in process.log


@pytest.fixture(scope="module", params=PROXIES)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, process: Host
) -> Iterator[ReverseProxy]:
    with ReverseProxy(request.param, process.port, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
def proxy(running: ReverseProxy) -> Iterator[ReverseProxy]:
    yield running
    running.hang_up()


def test_messages_and_early_frames_pass(host: Host, proxy: ReverseProxy) -> None:
    peer = proxy.open("/echo", wire.frame(wire.TEXT, b"early", key=b"abcd"))
    assert peer.read_message() == "early"
    for size in (0, 126, 2**22):
        sending = gevent.spawn(peer.binary, b"x" * size)
        assert peer.read_message() == b"x" * size
        sending.get()
    close(peer)
    assert host.wait_for_access().status == "101"


def test_page_of_the_site_may_connect_and_others_may_not(host: Host, proxy: ReverseProxy) -> None:
    assert proxy.ask("/echo", EVIL).status == 403
    close(proxy.open("/echo", headers={"Origin": f"http://{proxy.place}"}))
    close(proxy.open("/echo", headers={"Host": "example.com", "Origin": "https://example.com"}))


def test_client_cannot_say_what_host_the_site_has(host: Host, proxy: ReverseProxy) -> None:
    assert proxy.ask("/echo", {**EVIL, "X-Forwarded-Host": "evil.example"}).status == 403


def test_trusted_proxy_says_what_host_the_site_has(host: Host, proxy: ReverseProxy) -> None:
    headers: dict[str, str | None] = {"X-Forwarded-Host": "example.com"}
    close(proxy.open("/trusting", headers={**headers, "Origin": "https://example.com"}))
    assert proxy.ask("/trusting", {**headers, **EVIL}).status == 403


def test_address_is_what_the_proxy_saw_and_not_what_the_client_says(host: Host, proxy: ReverseProxy) -> None:
    for path in ("/address", "/client"):
        peer = proxy.open(path, headers={"X-Forwarded-For": "6.6.6.6"})
        assert peer.read_message() == "127.0.0.1"
        peer.finish_close()


@pytest.mark.parametrize("path", ["/behind-two", "/listed"])
def test_who_comes_to_a_first_trusted_proxy_is_the_client(host: Host, proxy: ReverseProxy, path: str) -> None:
    peer = proxy.open(path, headers={"X-Forwarded-For": "6.6.6.6, 192.0.2.1"})
    assert peer.read_message() == "192.0.2.1"
    peer.finish_close()


def test_clients_of_a_proxy_are_counted_apart(host: Host, proxy: ReverseProxy) -> None:
    first = proxy.open("/few", headers={"X-Forwarded-For": "192.0.2.1"})
    assert proxy.ask("/few", {"X-Forwarded-For": "192.0.2.1"}).status == 429
    close(proxy.open("/few", headers={"X-Forwarded-For": "192.0.2.2"}))
    close(first)


def test_refused_upgrade_is_an_ordinary_response(host: Host, proxy: ReverseProxy) -> None:
    response = proxy.ask("/echo", {"Sec-WebSocket-Version": "7"})
    assert response.status == 426
    assert response.headers["Sec-WebSocket-Version"] == "13, 8"


def test_client_that_goes_without_a_close_frame_is_no_error(host: Host, proxy: ReverseProxy) -> None:
    peer = proxy.open("/echo")
    peer.text("x")
    assert peer.read_message() == "x"
    peer.reset()
    assert host.wait_for_access().status == "101"


@pytest.mark.parametrize(
    "changes, status",
    [
        pytest.param({"proxy_http_version 1.1;": "proxy_http_version 1.0;"}, 505, id="HTTP/1.0"),
        pytest.param({"proxy_set_header Upgrade $http_upgrade;": ""}, 426, id="Upgrade"),
    ],
)
def test_nginx_that_does_not_pass_the_upgrade_on_is_told_apart(
    host: Host, tmp_path: Path, changes: dict[str, str], status: int
) -> None:
    with ReverseProxy("nginx", host.port, tmp_path, changes) as proxy:
        assert proxy.ask("/echo").status == status


def test_doctor_tells_a_proxy_that_passes_the_upgrade_on_from_one_that_drops_it(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends: list[int] = []
    verdicts: list[str] = []
    for number, changes in enumerate([{}, BY_DEFAULT]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ReverseProxy("nginx", host.port, folder, changes) as proxy:
            ends.append(main(["doctor", "--url", f"ws://{proxy.place}/echo"]))
        [verdict] = [line for line in capsys.readouterr().out.splitlines() if proxy.place in line]
        verdicts.append(verdict)
    assert re.match(r"ok .* is a WebSocket", verdicts[0])
    assert ends[1] == 1  # the first is for what else is there to say about this environment
    assert re.match(r"WRONG .* answered 426 .*: the application has got no Upgrade", verdicts[1])


def test_silent_connection_that_nginx_cuts_off_has_no_close_frame(host: Host, tmp_path: Path) -> None:
    with ReverseProxy("nginx", host.port, tmp_path, {"proxy_read_timeout 1h": "proxy_read_timeout 100ms"}) as proxy:
        end(proxy.open("/echo"))


def test_silent_connection_that_haproxy_cuts_off_has_no_close_frame(host: Host, tmp_path: Path) -> None:
    with ReverseProxy("haproxy", host.port, tmp_path, {"timeout tunnel 1h": "timeout tunnel 100ms"}) as proxy:
        end(proxy.open("/echo"))
