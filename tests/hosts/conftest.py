from __future__ import annotations

from collections.abc import Iterator

import pytest
from host_process import Host
from tools import certificates


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a test says cannot be under a host."""
    impossible = [item for item in items if is_impossible(item)]
    if impossible:
        config.hook.pytest_deselected(items=impossible)
        items[:] = [item for item in items if item not in impossible]


def is_impossible(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("not_under")
    return marker is not None and item.callspec.params["process"].host in marker.args  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The paths of a certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = certificates.authority().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return [str(folder / "certificate.pem"), str(folder / "key.pem")]


@pytest.fixture
def host(process: Host) -> Iterator[Host]:
    """The host that a module runs, its `process`; it logs no traceback, unless the test forgets the log."""
    process.turn_page()
    yield process
    process.hang_up()
    assert "Traceback" not in process.log
    assert "ERROR" not in process.log
