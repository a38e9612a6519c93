"""Which server is meant when none is named, and clients that can go to another process."""

import os
from typing import Any, Dict, Optional, Tuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

DEFAULT_URL = "redis://127.0.0.1:6379/0"

Recipe = Tuple[type, Dict[str, Any]]


def connect(url: Optional[str] = None) -> "redis.Redis":
    """A client of the server at `url`, of `LEVERET_URL`, or of the usual port on this machine."""
    # Waiting commands take as long as the caller wants; answers stay bytes.
    return redis.Redis.from_url(
        url or os.environ.get("LEVERET_URL") or DEFAULT_URL, socket_timeout=None, max_connections=2**31, retry=_once()
    )


def recipe(client: "redis.Redis") -> Recipe:
    """What another process needs to make the same client: settings only, no sockets and no callbacks."""
    pool = client.connection_pool
    plain = (str, bytes, int, float, bool, type(None))
    kwargs = {name: value for name, value in pool.connection_kwargs.items() if isinstance(value, plain)}
    return pool.connection_class, kwargs


def cook(made: Recipe) -> "redis.Redis":
    """A client from a recipe."""
    connection_class, kwargs = made
    settings = {"max_connections": 2**31, **kwargs, "retry": _once()}
    return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=connection_class, **settings))


def _once() -> Retry:
    """No second try: a `put` whose answer was lost may have happened, and must not happen twice."""
    return Retry(NoBackoff(), 0)
