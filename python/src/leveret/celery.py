"""Celery: a task's result is stored and its message is acknowledged in one commit. A result is there if and only if its message
is done with, whatever is killed in between.

    import leveret.celery

    app = Celery(broker="leveret://guest:guest@host:5672//", backend="leveret+redis://host:6379/0")
    app.conf.task_acks_late = True

The transport is kombu's for AMQP, but that consumers who acknowledge take messages under a lease: the lease's token goes with the
task's headers to whoever runs it, a child of the pool or a thread, and what the parent acknowledges later is done already. A task
whose lease is over stores nothing, for somebody else has its message.

What a task changes in keys can be part of that commit, and then it happens once:

    @app.task
    def pay(order):
        leveret.celery.changes().set(f"order:{order}", "paid").incr("payments")

It holds for tasks with `acks_late` that store their results: of success, and of failure if failures are acknowledged. What a task
publishes (chains, callbacks, retries) is published before, and may come twice.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections import OrderedDict
from typing import Any, Callable, Dict, List, Optional

import amqp
import celery.states
import redis
from celery import current_task
from celery.app.backends import BACKEND_ALIASES
from celery.app.trace import get_actual_ignore_result
from celery.backends.redis import RedisBackend
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from ._client import connect
from .outbox import LeaseLost, Outbox, outbox, refusals

__all__ = ["Backend", "LeaseLost", "Transport", "changes"]

# In the headers of a message, and so in the request of a task.
TOKEN = "leveret_token"
CHANGES = "leveret_changes"
LEASE_SECONDS = 30.0
# A consumer without a prefetch count takes as many.
COUNT_MAX = 100
# Tokens that this process has settled by itself are known for so long.
SETTLED_MAX = 100_000

TRANSPORT_ALIASES["leveret"] = "leveret.celery:Transport"
BACKEND_ALIASES["leveret"] = "leveret.celery:Backend"


class Settled:
    """Tokens that this process has acknowledged or given back, without a result."""

    def __init__(self) -> None:
        self._tokens: "OrderedDict[str, None]" = OrderedDict()
        self._lock = threading.Lock()

    def add(self, token: str) -> None:
        with self._lock:
            self._tokens[token] = None
            if len(self._tokens) > SETTLED_MAX:
                self._tokens.popitem(last=False)

    def __contains__(self, token: str) -> bool:
        with self._lock:
            return token in self._tokens


SETTLED = Settled()


def changes() -> Outbox:
    """What the task that runs now changes and publishes in the commit of its result: methods of redis-py's pipeline, and `publish`."""
    request = current_task.request if current_task else None
    collected: Optional[Outbox] = getattr(request, CHANGES, None)
    if collected is None:
        backend = current_task.backend if current_task else None
        stores = isinstance(backend, Backend) and not get_actual_ignore_result(current_task, request)
        if not stores or not backend.token_of(request, celery.states.SUCCESS):
            raise RuntimeError("changes() is for tasks with acks_late that store results, taken over leveret://")
        collected = outbox(backend.client)
        setattr(request, CHANGES, collected)
    return collected


class Backend(RedisBackend):
    """Celery's backend for Redis, with the acknowledgement in the commit of the result."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._storing = threading.local()

    def token_of(self, request: Any, state: str) -> Optional[str]:
        """The token that is settled with such a state."""
        token = getattr(request, TOKEN, None)
        task = self.app.tasks.get(getattr(request, "task", None)) if token else None
        if task is None or not task.acks_late or token in SETTLED:
            return None
        if state == celery.states.SUCCESS:
            return token
        # Whoever wants failures back in the queue, or at the dead letter exchange, has the parent say so.
        acks = getattr(task, "acks_on_failure", None)
        acks = task.acks_on_failure_or_timeout if acks is None else acks
        return token if state == celery.states.FAILURE and acks else None

    def mark_as_failure(self, task_id, exc, *args, **kwargs):  # type: ignore[no-untyped-def]
        # The task will be run again, or has been: it has not failed, and nobody is called back.
        if not isinstance(exc, LeaseLost):
            super().mark_as_failure(task_id, exc, *args, **kwargs)

    def _store_result(self, task_id, result, state, traceback=None, request=None, **kwargs):  # type: ignore[no-untyped-def]
        self._storing.token = self.token_of(request, state)
        # Of a task that has failed nothing is kept.
        self._storing.changes = getattr(request, CHANGES, None) if state == celery.states.SUCCESS else None
        try:
            return super()._store_result(task_id, result, state, traceback=traceback, request=request, **kwargs)
        finally:
            self._storing.token = self._storing.changes = None

    def _set(self, key, value, expires=None):  # type: ignore[no-untyped-def]
        token = getattr(self._storing, "token", None)
        if token is None:
            return super()._set(key, value, expires)
        expires = self.expires if expires is None else expires
        collected = self._storing.changes
        with self.client.pipeline() as pipe:
            while True:
                pipe.watch(key)
                there = pipe.get(key)
                if there is not None and self._is_over(there, value):
                    return None
                pipe.multi()
                pipe.command_stack.extend(collected.command_stack if collected else [])
                pipe.set(key, value, ex=expires or None)
                pipe.publish(key, value)
                pipe.execute_command("AMQP.ACK", token)
                try:
                    with refusals():
                        pipe.execute()
                    return None
                except redis.WatchError:
                    continue

    def _is_over(self, there: bytes, value: Any) -> bool:
        """Stored by an earlier try whose answer was lost; or the task was sent twice, and the other one was faster."""
        same = value.encode() if isinstance(value, str) else value
        return bool(there == same or self.decode_result(there)["status"] == celery.states.SUCCESS)


class Taker:
    """One consumer: a connection on which one `AMQP.GET` waits."""

    def __init__(self, leases: "Leases", channel: "Channel", queue: str, callback: Callable[[Any], Any]) -> None:
        self.leases, self.channel, self.queue, self.callback = leases, channel, queue, callback
        self.connection = leases.client.connection_pool.make_connection()
        self.connection.connect()
        self.fd = self.connection._sock.fileno()
        self.connection.send_command("CLIENT", "ID")
        self.id = self.connection.read_response()
        # It has asked, and there is no answer yet; for how many; and whether that comes only when there are messages.
        self.waits, self.asked, self.blocks = False, 0, False
        # Nothing was there when it asked last.
        self.is_empty = False

    def ask(self, room: int, blocks: bool) -> None:
        self.waits, self.asked, self.blocks = True, min(room, COUNT_MAX), blocks
        lease = int(self.leases.seconds * 1000)
        words = ["AMQP.GET", self.queue, "VHOST", self.leases.vhost, "COUNT", self.asked, "LEASE", lease]
        self.connection.send_command(*words, *(["BLOCK", 0] if blocks else []))

    def withdraw(self) -> None:
        """Asks for nothing any more: there is an answer now, an empty one if there was none before."""
        if self.waits and self.blocks:
            is_answered = self.leases.client.client_unblock(self.id) or self.connection.can_read(timeout=0)
            self.blocks = not is_answered

    def take(self) -> None:
        """Reads an answer that is there, and hands its messages over."""
        with self.leases.lock:
            if not self.waits:
                # It can be nothing but the end of the connection.
                raise redis.ConnectionError("the server has closed the connection")
            self.waits = False
            try:
                messages = self.connection.read_response()
            except redis.ResponseError as error:
                # As when a queue is deleted that somebody consumes from.
                raise amqp.ConsumerCancelled(str(error))
            messages = self.leases.fitting(self, messages)
            raws = [self.leases.message(self.channel, self.queue, *message) for message in messages]
        try:
            for raw in raws:
                self.callback(raw)
        finally:
            self.leases.ask(self.channel)

    def close(self, is_lost: bool) -> None:
        with self.leases.lock:
            try:
                if self.waits and not is_lost:
                    # Then there is an answer, and what is in it was not handed over and is for others.
                    self.leases.client.client_unblock(self.id)
                    if self.connection.can_read(timeout=1):
                        for token, *_ in self.connection.read_response():
                            self.leases.client.execute_command("AMQP.NACK", token)
            except redis.RedisError:
                # It comes back by itself.
                pass
            self.connection.disconnect()


class Leases:
    """What the consumers of one connection hold, and who keeps it from running out."""

    def __init__(self, url: Optional[str], seconds: float, vhost: str) -> None:
        self.seconds, self.vhost = seconds, vhost
        base = connect(url)
        settings = {**base.connection_pool.connection_kwargs, "protocol": 3, "decode_responses": False}
        pool = redis.ConnectionPool(connection_class=base.connection_pool.connection_class, **settings)
        self.client = redis.Redis(connection_pool=pool)
        self.takers: Dict[str, Taker] = {}
        self.held: Dict[str, "Channel"] = {}
        self.lock = threading.RLock()
        self.loop: Any = None
        self._over = threading.Event()
        self._keeper: Optional[threading.Thread] = None

    def room(self, channel: "Channel") -> int:
        if not channel.prefetch:
            return COUNT_MAX
        return channel.prefetch - sum(1 for holder in self.held.values() if holder is channel)

    def ask(self, channel: "Channel") -> None:
        """Asks for messages if there is room for some. Where several consumers share the room, each looks in its turn whether
        there is something; only when there is nothing anywhere all of them wait, and who gets something then calls the others back."""
        with self.lock:
            room = self.room(channel)
            takers = [taker for taker in list(self.takers.values()) if taker.channel is channel]
            for taker in takers:
                if taker.asked > room:
                    taker.withdraw()
            idle = [taker for taker in takers if not taker.waits]
            if room <= 0:
                # Until there is room again something may have come.
                for taker in takers:
                    taker.is_empty = False
            elif not channel.prefetch or len(takers) == 1:
                for taker in idle:
                    taker.ask(room, blocks=True)
            else:
                untried = [taker for taker in idle if not taker.is_empty]
                if untried:
                    for taker in takers:
                        taker.withdraw()
                if all(taker.blocks for taker in takers if taker.waits):
                    for taker in untried[:1] or idle:
                        taker.ask(room, blocks=not untried)

    def fitting(self, taker: Taker, messages: List[Any]) -> List[Any]:
        """What there is room for: two that waited may have got something at the same time. The rest goes back."""
        taker.is_empty = not messages
        if not messages:
            return messages
        for tag, other in list(self.takers.items()):
            if other.channel is taker.channel:
                other.is_empty = False
            if other is taker:
                # The others are first next time.
                self.takers[tag] = self.takers.pop(tag)
        room = max(self.room(taker.channel), 0) if taker.channel.prefetch else len(messages)
        if len(messages) <= room:
            return messages
        # What could not is back by itself.
        with contextlib.suppress(redis.ResponseError):
            self.client.execute_command("AMQP.NACK", *(token for token, *_ in messages[room:]))
        return messages[:room]

    def consume(self, channel: "Channel", queue: str, tag: str, callback: Callable[[Any], Any]) -> None:
        taker = self.takers[tag] = Taker(self, channel, queue, callback)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="leveret leases", daemon=True)
            self._keeper.start()
        if self.loop is not None:
            self._add_reader(taker)
        self.ask(channel)

    def cancel(self, tag: str, is_lost: bool = False) -> bool:
        taker = self.takers.pop(tag, None)
        if taker is not None:
            self._remove_reader(taker)
            taker.close(is_lost)
        return taker is not None

    def register(self, loop: Any) -> None:
        self.loop = loop
        for taker in self.takers.values():
            self._add_reader(taker)

    def _add_reader(self, taker: Taker) -> None:
        self.loop.add_reader(taker.fd, taker.take)

    def _remove_reader(self, taker: Taker) -> None:
        if self.loop is not None:
            self.loop.remove_reader(taker.fd)

    def message(
        self, channel: "Channel", queue: str, token: bytes, body: bytes, exchange: bytes, key: bytes, again: Any, props: Any
    ) -> amqp.Message:
        """As if it came over AMQP; its delivery tag is its token."""
        tag = token.decode()
        self.held[tag] = channel
        properties = {_text(name).replace("-", "_"): _text(value) for name, value in props.items()}
        headers = properties.pop("headers", {})
        headers[TOKEN] = tag
        message = amqp.Message(body, channel=channel, application_headers=headers, **properties)
        message.delivery_info = {
            "consumer_tag": queue,
            "delivery_tag": tag,
            "redelivered": bool(again),
            "exchange": exchange.decode(),
            "routing_key": key.decode(),
        }
        return message

    def settle(self, token: str, *words: str) -> None:
        """Of a lease that is over there is nothing to settle: a result has settled it, or it is somebody else's."""
        with self.lock:
            self.held.pop(token, None)
        command, *rest = words
        try:
            self.client.execute_command(command, token, *rest)
        except redis.ResponseError as error:
            if not str(error).startswith("LEASELOST"):
                raise
        else:
            SETTLED.add(token)
        for channel in {taker.channel for taker in list(self.takers.values())}:
            self.ask(channel)

    def give_back(self) -> None:
        """At the end of a connection the messages that are held are for others."""
        for tag in list(self.takers):
            self.cancel(tag)
        for token in list(self.held):
            self.settle(token, "AMQP.NACK")

    def close(self) -> None:
        """What is held comes back when its lease is over."""
        self._over.set()
        for tag in list(self.takers):
            self.cancel(tag, is_lost=True)
        self.client.close()

    def wait(self, fd: int, timeout: Optional[float]) -> List[int]:
        """What has something to read: this one, and those of the consumers."""
        poll = select.poll()
        for each in (fd, *(taker.fd for taker in self.takers.values())):
            poll.register(each, select.POLLIN)
        return [ready for ready, _ in poll.poll(None if timeout is None else timeout * 1000)]

    def _keep(self) -> None:
        while not self._over.wait(self.seconds / 3):
            with self.lock:
                tokens = list(self.held)
            try:
                with self.client.pipeline(transaction=False) as pipe:
                    for token in tokens:
                        pipe.execute_command("AMQP.EXTEND", token, int(self.seconds * 1000))
                    for token, answer in zip(tokens, pipe.execute(raise_on_error=False)):
                        if isinstance(answer, redis.ResponseError):
                            self.lost(token)
            except redis.RedisError:
                # Who takes messages notices it, too.
                continue

    def lost(self, token: str) -> None:
        """It holds no longer; whether by a result or for lack of time makes no difference."""
        with self.lock:
            self.held.pop(token, None)


def _text(value: Any) -> Any:
    """What kombu expects: text where it is text."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return [_text(item) for item in value]
    if isinstance(value, dict):
        return {_text(name): _text(item) for name, item in value.items()}
    return value


class Channel(pyamqp.Channel):
    """A channel whose deliveries are leases, if they are to be acknowledged."""

    prefetch = 0

    @property
    def leases(self) -> Leases:
        return self.connection.leases

    def basic_qos(self, prefetch_size, prefetch_count, a_global, **kwargs):  # type: ignore[no-untyped-def]
        self.prefetch = prefetch_count
        self.leases.ask(self)
        return super().basic_qos(prefetch_size, prefetch_count, a_global, **kwargs)

    def basic_consume(self, queue="", consumer_tag="", no_local=False, no_ack=False, exclusive=False, **kwargs):  # type: ignore[no-untyped-def]
        if no_ack or exclusive:
            return super().basic_consume(queue, consumer_tag, no_local, no_ack, exclusive, **kwargs)
        tag = consumer_tag or f"leveret-{os.getpid()}-{time.monotonic_ns()}"
        self.leases.consume(self, queue, tag, kwargs["callback"])
        return tag

    def basic_cancel(self, consumer_tag, **kwargs):  # type: ignore[no-untyped-def]
        if not self.leases.cancel(consumer_tag):
            return super().basic_cancel(consumer_tag, **kwargs)
        # It may have been its turn.
        self.leases.ask(self)

    def basic_ack(self, delivery_tag, multiple=False, **kwargs):  # type: ignore[no-untyped-def]
        if not isinstance(delivery_tag, str):
            return super().basic_ack(delivery_tag, multiple, **kwargs)
        self.settle(delivery_tag, "AMQP.ACK")

    def basic_reject(self, delivery_tag, requeue, **kwargs):  # type: ignore[no-untyped-def]
        if not isinstance(delivery_tag, str):
            return super().basic_reject(delivery_tag, requeue, **kwargs)
        self.settle(delivery_tag, "AMQP.NACK", "REQUEUE" if requeue else "DROP")

    def settle(self, token: str, *words: str) -> None:
        if self.connection is None:
            # The token may be good still, but a new connection has other leases; it runs out.
            raise amqp.RecoverableConnectionError("connection already closed")
        self.leases.settle(token, *words)


class Connection(pyamqp.Connection):
    """A connection of AMQP, and those over which its consumers take messages."""

    Channel = Channel

    def __init__(self, *args: Any, redis_url: Optional[str] = None, lease: float = LEASE_SECONDS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leases = Leases(redis_url, lease, kwargs.get("virtual_host") or "/")

    def collect(self) -> None:
        self.leases.close()
        super().collect()


class Transport(pyamqp.Transport):
    """`leveret://`: AMQP as it is, and leases for those who acknowledge.

    Options of `broker_transport_options`: `redis_url`, where to take messages (`LEVERET_URL`, or the usual port, if it is not given),
    and `lease`, seconds after which the messages of a worker that was killed come back (30).
    """

    Connection = Connection

    connection_errors = (*pyamqp.Transport.connection_errors, redis.ConnectionError, redis.TimeoutError)
    recoverable_connection_errors = (
        *pyamqp.Transport.recoverable_connection_errors,
        redis.ConnectionError,
        redis.TimeoutError,
    )

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        connection.leases.register(loop)

    def drain_events(self, connection: Any, timeout: Optional[float] = None, **kwargs: Any) -> None:
        if not connection.leases.takers:
            return super().drain_events(connection, timeout=timeout, **kwargs)
        ready = connection.leases.wait(connection.sock.fileno(), timeout)
        if not ready:
            raise socket.timeout("timed out")
        for taker in list(connection.leases.takers.values()):
            if taker.fd in ready:
                taker.take()
        if connection.sock is not None and connection.sock.fileno() in ready:
            super().drain_events(connection, timeout=timeout, **kwargs)

    def close_connection(self, connection: Any) -> None:
        try:
            connection.leases.give_back()
        except redis.RedisError:
            # They come back by themselves.
            pass
        super().close_connection(connection)
