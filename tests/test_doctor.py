from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from geventws import WebSocketServer, compression, doctor, kernels
from geventws.__main__ import main
from geventws.doctor import HINT, OK, WRONG, Finding
from geventws.handlers import echo


def texts(findings: Iterable[Finding], verdict: str) -> str:
    return "\n".join(str(finding) for finding in findings if finding.verdict == verdict)


def seen(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str = "looked_at") -> list[Finding]:
    """What is said of an application whose module has this source."""
    (folder / "looked_at.py").write_text(source)
    monkeypatch.chdir(folder)
    return list(doctor.check_application(doctor._inspect("application", name)))


def configured(folder: Path, source: str) -> list[Finding]:
    """What is said of a configuration of gunicorn."""
    pytest.importorskip("gunicorn")
    (folder / "conf.py").write_text(source)
    return list(doctor.check_gunicorn(doctor._inspect("gunicorn", str(folder / "conf.py"))))


class TestVersions:
    def test_those_that_are_new_enough_are_well(self) -> None:
        findings = list(doctor.check_versions())
        assert {finding.verdict for finding in findings} == {OK}
        assert "gevent" in texts(findings, OK)

    @pytest.mark.parametrize("package", ["gevent", "gunicorn", "greenlet"])
    def test_one_that_is_too_old_is_wrong(self, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "version", lambda name: "1.2rc3" if name == package else "99.0")
        wrong = texts(doctor.check_versions(), WRONG)
        assert f"{package} 1.2rc3 is too old" in wrong
        assert f"pip install '{package}>=" in wrong
        assert wrong.count(WRONG) == 1

    def test_gunicorn_need_not_be_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def version(name: str) -> str:
            if name == "gunicorn":
                raise doctor.PackageNotFoundError(name)
            return "99.0"

        monkeypatch.setattr(doctor, "version", version)
        assert "gunicorn" not in "".join(map(str, doctor.check_versions()))


class TestCompiledParts:
    @pytest.fixture(autouse=True)
    def variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("GEVENTWS_PURE_PYTHON", "PURE_PYTHON"):
            monkeypatch.delenv(name, raising=False)

    def test_missing_ones_are_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "__file__", "kernels.py")
        assert "C compiler" in texts(doctor.check_compiled(), WRONG)

    @pytest.mark.parametrize("name", ["GEVENTWS_PURE_PYTHON", "PURE_PYTHON"])
    def test_variable_that_turns_them_off_is_named(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "__file__", "kernels.py")
        monkeypatch.setenv(name, "1")
        assert f"unset {name}" in texts(doctor.check_compiled(), WRONG)

    def test_those_that_run_are_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "__file__", "kernels.abi3.so")
        assert "the compiled part runs" in texts(doctor.check_compiled(), OK)

    @pytest.mark.parametrize("fast, verdict", [(None, HINT), (object(), OK)])
    def test_faster_zlib_is_a_hint(self, fast: Any, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compression, "fast", fast)
        assert [finding.verdict for finding in doctor.check_zlib()] == [verdict]


@pytest.mark.parametrize(
    "limit, connections, verdict",
    [
        (1024, None, HINT),
        (1024, 1000, HINT),
        (1024, 1024, WRONG),
        (100_000, 1000, OK),
        (100_000, 200_000, WRONG),
        (resource.RLIM_INFINITY, 200_000, OK),
    ],
)
def test_descriptors_must_be_enough(
    limit: int, connections: int | None, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    [finding] = doctor.check_descriptors(connections)
    assert finding.verdict == verdict
    assert bool(finding.remedy) == (verdict != OK)


class TestApplication:
    def test_one_that_patches_first_is_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = "from gevent import monkey\nmonkey.patch_all()\nimport ssl\nfrom socket import socket\n"
        assert "patches in time" in texts(seen(tmp_path, monkeypatch, source), OK)

    def test_one_that_does_not_patch_is_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "does not patch" in texts(seen(tmp_path, monkeypatch, "application = print\n"), OK)

    def test_one_that_patches_after_ssl_is_wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = "import ssl\nfrom gevent import monkey\nmonkey.patch_all()\n"
        findings = seen(tmp_path, monkeypatch, source)
        assert "too late, after the import of ssl" in texts(findings, WRONG)
        assert "first line" in texts(findings, WRONG)
        assert not texts(findings, OK)

    def test_modules_that_keep_what_was_patched_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "sleepy.py").write_text("from time import sleep\n")
        source = "import sleepy\nfrom gevent import monkey\nmonkey.patch_all()\n"
        assert "sleepy (time.sleep)" in texts(seen(tmp_path, monkeypatch, source), WRONG)

    @pytest.mark.parametrize(
        "body",
        [
            "with upgrade(request.environ): pass",
            "return geventws.upgrade(request.environ)",
            "return geventws.wsgi.upgrade(request.environ)",
            "return chat",
            "request.environ['wsgi.websocket'].receive()",
            "Server.accept(request.environ)",
        ],
    )
    def test_flask_route_without_websocket_is_named(
        self, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("flask")
        source = f"""
import geventws, geventws.wsgi
from flask import Flask, request
from geventws import WebSocketApp, upgrade
from geventws.integrations.simple_websocket import Server
app = Flask(__name__)
chat = WebSocketApp(print)

@app.route("/page")
def page():
    return "a page"

@app.route("/right")
@app.route("/right", websocket=True)
def right():
    upgrade(request.environ)

@app.route("/wrong")
def wrong():
    {body}
"""
        findings = seen(tmp_path, monkeypatch, source, "looked_at:app")
        assert texts(findings, WRONG).count(WRONG) == 1
        assert "/wrong with 400" in texts(findings, WRONG)
        assert "websocket=True" in texts(findings, WRONG)

    @pytest.mark.parametrize(
        "source, name, told",
        [
            ("1 / 0\n", "looked_at", "ZeroDivisionError"),
            ("", "looked_at:app", "looked_at has no app"),
            ("", "nothing", "No module named 'nothing'"),
            ("import sys; sys.exit(3)\n", "looked_at", "SystemExit: 3"),
            ("import os; os._exit(3)\n", "looked_at", "it ended with status 3"),
        ],
    )
    def test_one_that_cannot_be_imported_is_told(
        self, source: str, name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert told in texts(seen(tmp_path, monkeypatch, source, name), WRONG)


class TestGunicorn:
    def test_sync_worker_is_wrong(self, tmp_path: Path) -> None:
        wrong = texts(configured(tmp_path, "workers = 2\n"), WRONG)
        assert "sync" in wrong
        assert 'worker_class = "gevent"' in wrong

    def test_threads_are_a_hint(self, tmp_path: Path) -> None:
        assert "gthread" in texts(configured(tmp_path, "worker_class = 'gthread'\n"), HINT)

    @pytest.mark.parametrize("worker", ["gevent", "gevent_pywsgi"])
    def test_worker_that_cuts_connections_off_is_a_hint(self, worker: str, tmp_path: Path) -> None:
        assert "graceful_close" in texts(configured(tmp_path, f"worker_class = '{worker}'\n"), HINT)

    @pytest.mark.parametrize(
        "source",
        [
            "worker_class = 'geventws.integrations.gunicorn.Worker'\n",
            "from geventws.integrations.gunicorn import graceful_close\n"
            "worker_class = 'gevent'\npost_worker_init = graceful_close()\n",
        ],
    )
    def test_worker_that_closes_is_well(self, source: str, tmp_path: Path) -> None:
        assert [finding.verdict for finding in configured(tmp_path, source)] == [OK]

    def test_configuration_that_fails_is_told(self, tmp_path: Path) -> None:
        assert "cannot be loaded" in texts(configured(tmp_path, "1 / 0\n"), WRONG)


class TestProxies:
    def test_one_in_the_environment_is_a_hint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("wss_proxy", "http://ada:secret@proxy.example:3128")
        [finding] = doctor.check_proxies()
        assert finding.verdict == HINT
        assert "proxy.example:3128" in finding.text
        assert "secret" not in finding.text

    def test_one_that_does_not_concern_the_url_is_not_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("wss_proxy", "http://proxy.example:3128")
        assert not list(doctor.check_proxies("ws://localhost"))

    def test_one_that_makes_no_sense_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("all_proxy", "nonsense://x")
        assert "all_proxy" in texts(doctor.check_proxies(), WRONG)


class TestURL:
    def test_websocket_is_well(self) -> None:
        with WebSocketServer(("127.0.0.1", 0), echo) as server:
            server.start()
            [finding] = doctor.check_url(f"ws://127.0.0.1:{server.address[1]}")
        assert finding.verdict == OK

    def test_server_that_closes_at_once_is_wrong(self) -> None:
        with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.terminate()) as server:
            server.start()
            findings = list(doctor.check_url(f"ws://127.0.0.1:{server.address[1]}"))
        assert [finding.verdict for finding in findings] == [WRONG]

    @pytest.mark.parametrize(
        "status, remedy",
        [
            (200, "pass on Upgrade and Connection"),
            (400, "websocket=True"),
            (403, "origins="),
            (404, "path"),
            (418, "pass on Upgrade and Connection"),
            (426, "pass on Upgrade and Connection"),
            (502, "see whether it runs"),
            (503, "max_connections"),
            (505, "HTTP/1.1"),
        ],
    )
    def test_another_answer_is_wrong_and_has_a_remedy(self, status: int, remedy: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            answering = gevent.spawn(self.answer, listener, status)
            [finding] = doctor.check_url(f"ws://127.0.0.1:{listener.getsockname()[1]}")
            answering.get()
        assert finding.verdict == WRONG
        assert f"answered {status}" in finding.text
        assert remedy in finding.remedy

    @staticmethod
    def answer(listener: Any, status: int) -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(f"HTTP/1.1 {status} Reason\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    def test_server_that_is_not_there_is_wrong(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        assert "see whether the server runs" in texts(doctor.check_url(url), WRONG)

    def test_url_that_is_none_is_wrong(self) -> None:
        assert texts(doctor.check_url("ftp://example.com"), WRONG)


class TestCommand:
    @pytest.fixture(autouse=True)
    def all_is_well(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(kernels, "__file__", "kernels.abi3.so")
        monkeypatch.setattr(resource, "getrlimit", lambda which: (100_000, 100_000))
        monkeypatch.chdir(tmp_path)

    def test_status_is_0_where_all_is_well(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor"]) == 0
        assert WRONG not in capsys.readouterr().out

    def test_status_is_1_where_something_is_wrong(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "nothing:application"]) == 1
        assert "\n       -> " in capsys.readouterr().out

    def test_configuration_is_that_of_the_working_directory(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("gunicorn")
        (tmp_path / "gunicorn.conf.py").write_text("worker_class = 'gevent'\nworker_connections = 200_000\n")
        assert main(["doctor"]) == 1
        output = capsys.readouterr().out
        assert "worker_connections is 200000" in output
        assert "graceful_close" in output

    def test_url_is_connected_to(self, capsys: pytest.CaptureFixture[str]) -> None:
        with WebSocketServer(("127.0.0.1", 0), echo) as server:
            server.start()
            assert main(["doctor", "--url", f"ws://127.0.0.1:{server.address[1]}"]) == 0
        assert "is a WebSocket" in capsys.readouterr().out
