"""Real proxies as processes on free ports of the loopback, each started when it is first needed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tools import certificates
from tools.timing import wait_until

USER, PASSWORD = "ada", "s3cret"
PPROXY = "import asyncio; asyncio.set_event_loop(asyncio.new_event_loop()); import pproxy.server as s; s.main()"


class Daemons:
    """The running proxies; ``folder`` is readable for all, since some proxies give up their rights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: dict[tuple[str, ...], int] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._services: list[Path] = []
        leaf = certificates.authority().issue_cert("localhost", "127.0.0.1", "::1")
        self._key, self._chain = folder / "key.pem", folder / "chain.pem"
        leaf.private_key_pem.write_to_path(str(self._key))
        for part in leaf.cert_chain_pems:
            part.write_to_path(str(self._chain), append=True)

    def port(self, tool: str, *traits: str) -> int:
        """The port of a proxy of this kind, which is started unless it runs; ``traits`` are "auth" and "tls"."""
        if (tool, *traits) not in self._ports:
            port = free_port()
            starter = getattr(self, f"_{tool}")
            self._start(starter(port, "auth" in traits, "tls" in traits), port)
            self._ports[(tool, *traits)] = port
        return self._ports[(tool, *traits)]

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has started and left behind
            process.wait()
        for service in self._services:
            service.unlink(missing_ok=True)

    def _start(self, command: list[str], port: int) -> None:
        with open(self._folder / f"{port}.log", "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        self._processes.append(process)
        try:
            wait_until(lambda: process.poll() is not None or listens(port), timeout=15)
            assert process.poll() is None, f"{command[0]} has ended"
        except AssertionError as error:
            told = (self._folder / f"{port}.log").read_text(errors="replace")
            raise RuntimeError(f"{command} does not listen on {port}: {error}\n{told}") from None

    def _file(self, name: str, text: str) -> str:
        path = self._folder / name
        path.write_text(text)
        return str(path)

    # How each is started: a method for each tool, which returns the command.

    def _tinyproxy(self, port: int, auth: bool, tls: bool) -> list[str]:
        lines = [f"Port {port}", "Listen 127.0.0.1", "Allow 127.0.0.1", "LogLevel Critical"]
        lines += [f"BasicAuth {USER} {PASSWORD}"] if auth else []
        return [tool("tinyproxy"), "-d", "-c", self._file(f"tinyproxy-{port}", "\n".join(lines) + "\n")]

    def _stunnel(self, port: int, auth: bool, tls: bool) -> list[str]:
        """TLS in front of tinyproxy."""
        behind = self.port("tinyproxy", *(["auth"] if auth else []))
        text = f"""foreground = yes
pid =
syslog = no
[proxy]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{behind}
cert = {self._chain}
key = {self._key}
"""
        return [tool("stunnel4"), self._file(f"stunnel-{port}", text)]

    def _squid(self, port: int, auth: bool, tls: bool) -> list[str]:
        squid = tool("squid")
        version = subprocess.run([squid, "-v"], capture_output=True, text=True, check=False).stdout
        if "--with-openssl" not in version:
            pytest.skip("needs squid-openssl: this squid has no TLS of its own")
        lines = [f"http_port 127.0.0.1:{port}"]
        if tls:
            lines = [f"https_port 127.0.0.1:{port} tls-cert={self._chain} tls-key={self._key}"]
        if auth:
            hashed = subprocess.check_output([tool("openssl"), "passwd", "-apr1", PASSWORD], text=True).strip()
            users = self._file(f"squid-users-{port}", f"{USER}:{hashed}\n")
            lines += [
                f"auth_param basic program /usr/lib/squid/basic_ncsa_auth {users}",
                "acl known proxy_auth REQUIRED",
            ]
        lines += ["http_access allow known" if auth else "http_access allow all", "http_access deny all"]
        lines += ["cache deny all", "access_log none", f"cache_log {self._file(f'squid-log-{port}', '')}"]
        lines += ["pid_filename none", "pinger_enable off", "shutdown_lifetime 0 seconds", "visible_hostname localhost"]
        Path(self._folder, f"squid-log-{port}").chmod(0o666)
        return [squid, "-N", "-f", self._file(f"squid-{port}", "\n".join(lines) + "\n")]

    def _proxy_py(self, port: int, auth: bool, tls: bool) -> list[str]:
        module("proxy")
        command = [sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", str(port)]
        command += ["--num-workers", "1", "--num-acceptors", "1", "--log-level", "ERROR"]
        command += ["--basic-auth", f"{USER}:{PASSWORD}"] if auth else []
        return command + (["--cert-file", str(self._chain), "--key-file", str(self._key)] if tls else [])

    def _pproxy(self, port: int, auth: bool, tls: bool) -> list[str]:
        module("pproxy")
        schemes = "http+ssl" if tls else "http+socks4+socks5"
        url = f"{schemes}://127.0.0.1:{port}" + (f"/#{USER}:{PASSWORD}" if auth else "")
        command = [sys.executable, "-c", PPROXY, "-l", url]
        return command + (["--ssl", f"{self._chain},{self._key}"] if tls else [])

    def _pproxy_unknown(self, port: int, auth: bool, tls: bool) -> list[str]:
        """One that has let nobody in yet: it remembers the addresses of those it has let in."""
        return self._pproxy(port, auth, tls)

    def _dante(self, port: int, auth: bool, tls: bool) -> list[str]:
        users = "user.privileged: root\nuser.unprivileged: nobody\n" if os.getuid() == 0 else ""
        service = f"pam.servicename: {self._pam_service(port)}" if auth else ""
        text = f"""logoutput: stderr
internal: 127.0.0.1 port = {port}
external: lo
socksmethod: {"pam.username" if auth else "none"}
clientmethod: none
{users}client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0
{service}
}}
socks pass {{ from: 127.0.0.0/8 to: ::/0
{service}
}}
"""
        return [tool("danted"), "-f", self._file(f"dante-{port}", text)]

    def _pam_service(self, port: int) -> str:
        """A service of PAM, through which dante knows one user, who has no account in the system."""
        if os.getuid() != 0:
            pytest.skip("needs root: dante asks PAM for its users, and PAM's services are in /etc")
        known = self._file(f"dante-known-{port}", "")
        # dante does not wait for its children, so that PAM learns no exit status; this writes down who is let in.
        script = f"""#!/bin/sh
[ "$PAM_USER:$(tr -d '\\0')" = "{USER}:{PASSWORD}" ] && echo {USER} > {known} || : > {known}
"""
        path = Path(self._file(f"dante-look-{port}", script))
        path.chmod(0o755)
        service = Path("/etc/pam.d", f"geventws-tests-{port}")
        self._services.append(service)
        service.write_text(f"""auth optional pam_exec.so expose_authtok quiet {path}
auth required pam_listfile.so item=user sense=allow onerr=fail file={known}
account required pam_permit.so
""")
        return service.name

    def _microsocks(self, port: int, auth: bool, tls: bool) -> list[str]:
        command = [tool("microsocks"), "-i", "127.0.0.1", "-p", str(port)]
        return command + (["-u", USER, "-P", PASSWORD] if auth else [])

    def _ssh(self, port: int, auth: bool, tls: bool) -> list[str]:
        """``ssh -D`` to an sshd of its own."""
        return [tool("ssh"), "-N", "-D", f"127.0.0.1:{port}", "-o", "ExitOnForwardFailure=yes", *self.ssh_arguments()]

    def _sshd(self, port: int, auth: bool, tls: bool) -> list[str]:
        key = self._folder / f"ssh-key-{port}"
        subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        text = f"""ListenAddress 127.0.0.1:{port}
HostKey {key}
AuthorizedKeysFile {key}.pub
StrictModes no
UsePAM no
PidFile none
"""
        return [tool("sshd"), "-D", "-e", "-f", self._file(f"sshd-{port}", text)]

    def ssh_arguments(self) -> list[str]:
        """What ``ssh`` needs to get into an sshd that is started here."""
        tool("ssh")
        port = self.port("sshd")
        options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes", "LogLevel=ERROR"]
        words = [word for option in options for word in ("-o", option)]
        return ["-F", "none", "-i", str(self._folder / f"ssh-key-{port}"), "-p", str(port), *words, "127.0.0.1"]


def tool(name: str) -> str:
    """Where a program is; skips the test where it is not."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"needs {name}")
    return path


def module(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the Python package that has the module {name}")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
