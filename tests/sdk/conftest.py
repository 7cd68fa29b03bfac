"""One stand for all SDK tests. The SDKs get a base URL and a key and nothing else; that they trust the
generated certificate is said to the whole process."""

import os

import pytest

from stand import PROXIES, Stand


@pytest.fixture(scope="session")
def farebox():
    stand = Stand()
    try:
        for name in PROXIES:
            os.environ.pop(name, None)
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"]:
            os.environ[name] = stand.connection["ca_file"]
        yield stand
    finally:
        stand.stop()


@pytest.fixture
def caller(farebox):
    return farebox.caller()


@pytest.fixture
def limited(farebox):
    """May call once."""
    return farebox.caller(calls_an_hour=1)


@pytest.fixture
def wrong(farebox):
    return farebox.wrong()
