"""Leveret from Python: queues as the standard library has them, messages and keys in one commit, a private server."""

from ._client import connect
from .queue import (
    Empty,
    Full,
    JoinableQueue,
    LifoQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    SimpleQueue,
)
from .server import Server, find_binary

__all__ = [
    "Empty",
    "Full",
    "JoinableQueue",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "Server",
    "ShutDown",
    "SimpleQueue",
    "connect",
    "find_binary",
]

__version__ = "0.1.0"
