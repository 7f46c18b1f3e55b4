from __future__ import annotations

import pytest
from tools import certificates


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The paths of a certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = certificates.authority().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return [str(folder / "certificate.pem"), str(folder / "key.pem")]
