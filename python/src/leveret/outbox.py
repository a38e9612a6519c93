"""Keys and messages in one commit: change, publish and acknowledge together, or not at all. For threads and for asyncio.

    with outbox(client) as tx:
        tx.set("order:7", "paid")
        tx.publish("", "receipts", b"order 7")
        tx.ack(message.token)

A lease that is over refuses the commit as a whole, with `LeaseLost`: somebody else has the message by now. So does an
exchange or queue that is not there, with redis-py's `ExecAbortError`. As in Redis, what one command finds wrong when it is
executed (a wrong type) does not undo the others: it is raised after the commit. And as in redis-py, a client with a `retry` policy may send a commit twice when its connection
breaks; one with a lease in it happens once nevertheless, and the second try is `LeaseLost`.
"""

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Iterator, List, Mapping, Optional, Union

import redis
import redis.asyncio
from redis.exceptions import ResponseError

__all__ = [
    "AsyncWorker",
    "LeaseLost",
    "Message",
    "Outbox",
    "Worker",
    "keep",
    "keep_async",
    "outbox",
    "take",
    "take_async",
]

LEASE_SECONDS = 30.0


class LeaseLost(Exception):
    """The message is somebody else's by now; nothing of the commit has happened."""


@dataclass(frozen=True)
class Message:
    """A message under a lease."""

    token: bytes
    body: bytes
    exchange: str
    routing_key: str
    redelivered: bool
    properties: Dict[str, Any] = field(default_factory=dict)


class Outbox:
    """What is collected for one commit: every method of redis-py's pipeline, and those below."""

    def __init__(self, client: Union["redis.Redis", "redis.asyncio.Redis"]) -> None:
        self._pipeline: Any = client.pipeline(transaction=True)
        self.results: List[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: Union[bytes, str],
        *,
        vhost: Optional[str] = None,
        properties: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, Any]] = None,
        mandatory: bool = False,
    ) -> "Outbox":
        """Publishes to an exchange of the AMQP side. Persistent, unless the properties say `delivery-mode` 1.

        Headers are what they are in Python: strings, bytes, integers, floats and booleans.
        """
        command: List[Any] = ["AMQP.PUBLISH", exchange, routing_key, body]
        if vhost is not None:
            command += ["VHOST", vhost]
        for name, value in (headers or {}).items():
            command += ["HEADER", name, *_typed(value)]
        if mandatory:
            command.append("MANDATORY")
        # The properties go to the end of the command.
        if properties:
            command += ["PROPS", *_flat(properties)]
        self._pipeline.execute_command(*command)
        return self

    def ack(self, *tokens: Union[bytes, Message]) -> "Outbox":
        """The messages are done with."""
        self._pipeline.execute_command("AMQP.ACK", *map(_token, tokens))
        return self

    def nack(self, *tokens: Union[bytes, Message], requeue: bool = True) -> "Outbox":
        """The messages go back into their places, or are rejected for good and go to the dead letter exchange."""
        self._pipeline.execute_command("AMQP.NACK", *map(_token, tokens), "REQUEUE" if requeue else "DROP")
        return self

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                with refusals():
                    self.results = self._pipeline.execute()
        finally:
            self._pipeline.reset()

    async def __aenter__(self) -> "Outbox":
        return self

    async def __aexit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                with refusals():
                    self.results = await self._pipeline.execute()
        finally:
            await self._pipeline.reset()


def outbox(client: Union["redis.Redis", "redis.asyncio.Redis"]) -> Outbox:
    """A commit: `with outbox(client) as tx`, or `async with` for a client of asyncio. An exception inside drops it."""
    return Outbox(client)


def take(
    client: "redis.Redis",
    queue: str,
    *,
    lease: float = LEASE_SECONDS,
    block: Optional[float] = None,
    vhost: Optional[str] = None,
) -> Optional[Message]:
    """Takes a message for `lease` seconds. Waits for one at most `block` seconds, 0 for ever; without `block` not at all."""
    return _first(client.execute_command(*_get(queue, lease, block, vhost)))


async def take_async(
    client: "redis.asyncio.Redis",
    queue: str,
    *,
    lease: float = LEASE_SECONDS,
    block: Optional[float] = None,
    vhost: Optional[str] = None,
) -> Optional[Message]:
    """`take` for asyncio."""
    return _first(await client.execute_command(*_get(queue, lease, block, vhost)))


@contextlib.contextmanager
def keep(client: "redis.Redis", message: Message, lease: float = LEASE_SECONDS) -> Iterator[threading.Event]:
    """Extends the lease of a message while the block runs. The event is set when the lease is lost nevertheless."""
    over, lost = threading.Event(), threading.Event()

    def extend() -> None:
        # Three tries in a lease: one may be late.
        while not over.wait(lease / 3):
            try:
                client.execute_command("AMQP.EXTEND", message.token, _ms(lease))
            except ResponseError:
                lost.set()
                return
            except redis.exceptions.ConnectionError:
                continue

    thread = threading.Thread(target=extend, name="leveret-lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()


@contextlib.asynccontextmanager
async def keep_async(
    client: "redis.asyncio.Redis", message: Message, lease: float = LEASE_SECONDS
) -> AsyncIterator[asyncio.Event]:
    """`keep` for asyncio."""
    lost = asyncio.Event()

    async def extend() -> None:
        while True:
            await asyncio.sleep(lease / 3)
            try:
                await client.execute_command("AMQP.EXTEND", message.token, _ms(lease))
            except ResponseError:
                lost.set()
                return
            except redis.exceptions.ConnectionError:
                continue

    task = asyncio.ensure_future(extend())
    try:
        yield lost
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Worker:
    """Takes messages one after the other and calls `handler(message, tx)`; what it puts into `tx` and the acknowledgement are one commit.

    A handler that raises has changed nothing; its message goes back (`requeue`), or is rejected for good, and the
    exception is raised. A lease that is lost is nobody's error: whoever has the message now does the work.
    """

    def __init__(
        self,
        client: "redis.Redis",
        queue: str,
        handler: Callable[[Message, Outbox], Any],
        *,
        lease: float = LEASE_SECONDS,
        vhost: Optional[str] = None,
        requeue: bool = True,
    ) -> None:
        self.client, self.queue, self.handler = client, queue, handler
        self.lease, self.vhost, self.requeue = lease, vhost, requeue
        self._stopped = threading.Event()

    def stop(self) -> None:
        """The message at hand is the last one. A worker that waits for one notices within a second."""
        self._stopped.set()

    def run(self) -> None:
        """Works until `stop`."""
        while not self._stopped.is_set():
            self.once(block=1.0)

    def once(self, block: Optional[float] = None) -> bool:
        """One message, if there is one within `block` seconds. Whether its commit has happened."""
        message = take(self.client, self.queue, lease=self.lease, block=block, vhost=self.vhost)
        if message is None:
            return False
        try:
            with outbox(self.client) as tx:
                with keep(self.client, message, self.lease):
                    self.handler(message, tx)
                tx.ack(message)
            return True
        except LeaseLost:
            return False
        except Exception:
            with contextlib.suppress(LeaseLost), outbox(self.client) as back:
                back.nack(message, requeue=self.requeue)
            raise


class AsyncWorker:
    """`Worker` for asyncio, with a coroutine as handler. It ends when its task is cancelled."""

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        queue: str,
        handler: Callable[[Message, Outbox], Awaitable[Any]],
        *,
        lease: float = LEASE_SECONDS,
        vhost: Optional[str] = None,
        requeue: bool = True,
    ) -> None:
        self.client, self.queue, self.handler = client, queue, handler
        self.lease, self.vhost, self.requeue = lease, vhost, requeue

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            await self.once(block=1.0)

    async def once(self, block: Optional[float] = None) -> bool:
        """As in `Worker`."""
        message = await take_async(self.client, self.queue, lease=self.lease, block=block, vhost=self.vhost)
        if message is None:
            return False
        try:
            async with outbox(self.client) as tx:
                async with keep_async(self.client, message, self.lease):
                    await self.handler(message, tx)
                tx.ack(message)
            return True
        except LeaseLost:
            return False
        except Exception:
            with contextlib.suppress(LeaseLost):
                async with outbox(self.client) as back:
                    back.nack(message, requeue=self.requeue)
            raise


def _get(queue: str, lease: float, block: Optional[float], vhost: Optional[str]) -> List[Any]:
    command: List[Any] = ["AMQP.GET", queue, "LEASE", _ms(lease)]
    if block is not None:
        # A wait that is shorter than the server's unit is not one for ever.
        command += ["BLOCK", _ms(block) if block else 0]
    if vhost is not None:
        command += ["VHOST", vhost]
    return command


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _first(answer: Any) -> Optional[Message]:
    if not answer:
        return None
    token, body, exchange, routing_key, redelivered, properties = answer[0]
    return Message(
        token=_bytes(token),
        body=_bytes(body),
        exchange=_text(exchange),
        routing_key=_text(routing_key),
        redelivered=bool(redelivered),
        properties=_table(properties),
    )


def _table(pairs: Any) -> Dict[str, Any]:
    """RESP2 has flat arrays where RESP3 has maps."""
    if not isinstance(pairs, dict):
        pairs = dict(zip(pairs[::2], pairs[1::2]))
    table = {_text(name): value for name, value in pairs.items()}
    if isinstance(table.get("headers"), (list, dict)):
        table["headers"] = _table(table["headers"])
    return table


def _bytes(value: Any) -> bytes:
    # A client with `decode_responses` gives text.
    return value.encode() if isinstance(value, str) else value


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _token(given: Union[bytes, Message]) -> bytes:
    return given.token if isinstance(given, Message) else given


def _typed(value: Any) -> List[Any]:
    if isinstance(value, bool):
        return ["BOOLEAN", "true" if value else "false"]
    if isinstance(value, int):
        return ["INTEGER", value]
    if isinstance(value, float):
        return ["DOUBLE", repr(value)]
    return ["STRING", value]


def _flat(pairs: Mapping[str, Any]) -> List[Any]:
    return [part for pair in pairs.items() for part in pair]


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        # EXEC names the lease instead of the error of the single command.
        discarded = isinstance(error, redis.exceptions.ExecAbortError) and "the lease '" in str(error)
        if discarded or "LEASELOST" in str(error):
            raise LeaseLost(str(error)) from error
        raise
