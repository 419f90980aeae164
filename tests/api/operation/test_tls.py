"""TLS: requests over HTTPS with a certificate that the client verifies."""

import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from tests.api.operation.test_server import PATH, running
from tests.api.toy import ToyEngine

BODY = {"model": "toy", "prompt": "~", "temperature": 0, "max_tokens": 3}


def test_requests_over_https(tmp_path: Path) -> None:
    """A client that trusts the authority is served; one that does not refuses the certificate."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(chain, append=True)
    certificate.private_key_pem.write_to_path(key)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with running(ToyEngine(), ssl_certfile=chain, ssl_keyfile=key) as (server, address):
        address = address.replace("http://", "https://")
        try:
            response = httpx.post(address + PATH, json=BODY, verify=trusting)
            assert response.status_code == 200 and response.json()["choices"][0]["text"]
            with httpx.stream(
                "POST", address + PATH, json=BODY | {"stream": True}, verify=trusting
            ) as r:
                assert list(r.iter_lines())[-2] == "data: [DONE]"
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                httpx.get(address + "/live", verify=ssl.create_default_context())
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(address.replace("https", "http") + "/live")
        finally:
            server.handle_exit(15, None)
