"""The fixture `leveret_server`."""

from typing import Iterator

import pytest

from .server import Server


@pytest.fixture
def leveret_server() -> Iterator[Server]:
    """A private server that is empty, and gone after the test."""
    with Server() as server:
        yield server
