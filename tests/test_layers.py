"""Imports point one way, and the core knows nothing of gevent, sockets or TLS."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "geventws"
CORE = ["version", "exceptions", "kernels", "frames", "headers", "http11", "body", "url"]
CORE += ["proxy_protocol", "forwarding", "deflate", "compression", "messages", "handshake"]
CORE += ["events", "protocol"]
SHELL = ["switching", "stacks", "transport", "heartbeat", "offload", "stats", "metrics", "reports", "framelog"]
SHELL += ["hubs", "options", "connection", "sending", "receiving", "rawfile", "files", "websocket"]
SHELL += ["broadcast", "clients"]
SHELL += ["opening", "arrivals", "tls", "dial", "socks", "proxy", "environment", "cookies", "client"]
SHELL += ["retry", "outbox", "reconnection", "limits", "upgrader", "authentication"]
SHELL += ["stream", "handlers", "inherited", "server", "hosts", "draining", "wsgi"]
SHELL += ["integrations", "testing", "demo", "console", "inspection", "doctor", "__main__"]
ORDER = CORE + SHELL
IO = {"gevent", "greenlet", "socket", "_socket", "ssl", "select", "selectors", "threading", "asyncio"}


def source(name: str) -> str:
    """What a module, or all modules of a package, consist of."""
    paths = sorted((PACKAGE / name).glob("*.py")) or [PACKAGE / f"{name}.py"]
    return "".join(path.read_text() for path in paths)


def imports(name: str) -> tuple[set[str], set[str]]:
    """The package's own modules and the others that a module imports when it runs."""
    own: set[str] = set()
    others: set[str] = set()
    is_package = (PACKAGE / name).is_dir()
    for node in statements(ast.parse(source(name))):
        if isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            others.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and is_package and node.level == 1:
            continue  # within the package itself
        elif isinstance(node, ast.ImportFrom) and node.module:
            own.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            own |= {alias.name for alias in node.names}
    return own, others


def statements(tree: ast.AST):
    """All nodes but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from statements(node)


def test_every_module_has_its_place():
    found = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found - {"__init__", "acceleration"} == set(ORDER)


@pytest.mark.parametrize("name", CORE)
def test_the_core_does_no_io(name):
    own, others = imports(name)
    assert not others & IO
    assert own <= set(CORE)


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_what_stands_before_it(name):
    own, _ = imports(name)
    assert own <= {"acceleration", *ORDER[: ORDER.index(name)]}


@pytest.mark.parametrize("name", sorted(set(ORDER) - {"kernels"}))
def test_there_is_one_clock(name):
    assert "monotonic" not in source(name)
