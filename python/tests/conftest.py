"""One server for the tests that need no private one."""

import pytest

from leveret import Server


@pytest.fixture(scope="session")
def shared_server():
    with Server() as server:
        yield server


@pytest.fixture
def client(shared_server, monkeypatch):
    monkeypatch.setenv("LEVERET_URL", shared_server.url)
    with shared_server.redis() as client:
        client.flushall()
        yield client
