"""The standard library's queues, on a server: the same methods, exceptions and waiting, between threads, processes and machines.

Each operation is one script, so that it happens whole. Who has to wait waits in the server for a bell, a list that has
a token while there is something to do. Whoever takes the token tries, and each try puts the bells right again.
"""

import importlib
import itertools
import os
import pickle
import queue as standard
import time
import types
import uuid
from queue import Empty, Full
from typing import Any, Callable, Dict, Generic, List, Optional, Tuple, TypeVar, Union

import redis

from . import _client, _scripts

if hasattr(standard, "ShutDown"):
    ShutDown = standard.ShutDown
else:

    class ShutDown(Exception):  # type: ignore[no-redef]
        """Raised by `put` and `get` of a queue that was shut down."""


__all__ = ["Empty", "Full", "JoinableQueue", "LifoQueue", "PriorityQueue", "Queue", "ShutDown", "SimpleQueue"]

T = TypeVar("T")

# A waiter that is killed between taking a token and acting on it keeps the others asleep for at most so long.
LOOK_AGAIN_SECONDS = 5.0


class _Module(str):
    """The name of a module that is the serializer."""


class _Shared(Generic[T]):
    """What all queues have: a name on a server, a client, a serializer, an end."""

    def __init__(
        self,
        *,
        name: Optional[str] = None,
        client: Union["redis.Redis", str, None] = None,
        serializer: Any = pickle,
        durable: bool = False,
    ) -> None:
        # A queue without a name is nobody's but its maker's and of those to whom it is handed, and ends with the maker's `close`.
        self._owner = name is None
        self.name = name or f"leveret:queue:{uuid.uuid4().hex}"
        self.serializer = serializer
        self.durable = durable
        self._closed = False
        self._connect(client if isinstance(client, redis.Redis) else _client.connect(client))

    def _connect(self, client: "redis.Redis") -> None:
        self._client = client
        # The braces keep all keys of a queue in one slot.
        self._keys = [f"{{{self.name}}}:{part}" for part in ("items", "state", "get", "put", "join")]
        timeout = client.connection_pool.connection_kwargs.get("socket_timeout")
        self._look_again = min(LOOK_AGAIN_SECONDS, timeout / 2) if timeout else LOOK_AGAIN_SECONDS

    def __getstate__(self) -> Dict[str, Any]:
        state = dict(self.__dict__)
        state["_client"] = _client.recipe(self._client)
        state["_owner"] = False
        # A module cannot be pickled, its name can.
        if isinstance(self.serializer, types.ModuleType):
            state["serializer"] = _Module(self.serializer.__name__)
        return state

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.serializer, _Module):
            self.serializer = importlib.import_module(self.serializer)
        self._connect(_client.cook(state["_client"]))

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.name!r}>"

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """This object is no longer used. A queue without a name is deleted when its maker closes it."""
        if not self._closed:
            self._closed = True
            if self._owner:
                self.delete()

    def delete(self) -> None:
        """Removes the queue and its items from the server."""
        self._client.delete(*self._keys)

    def _open(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def _run(self, script: str, *args: Any) -> Any:
        answer = _scripts.run(self._client, script, self._keys, args, self.durable)
        return answer

    def _wait(self, bell: str, deadline: Optional[float]) -> bool:
        """Waits for a bell. False when the time is over."""
        seconds = self._look_again
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            seconds = min(seconds, left)
        # Zero would wait for ever.
        self._client.blpop([bell], timeout=max(seconds, 0.001))
        return True


def _deadline(timeout: Optional[float]) -> Optional[float]:
    if timeout is None:
        return None
    if timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return time.monotonic() + timeout


class Queue(_Shared[T]):
    """First in, first out: `queue.Queue` and `multiprocessing.JoinableQueue`.

    `name` is how other programs find the queue; without one it ends with `close` or `with`. `client` is a redis-py
    client or a URL. `serializer` has `dumps` and `loads`. With `durable` each operation waits until the disk has it.
    """

    _kind = "fifo"

    def __init__(
        self,
        maxsize: int = 0,
        *,
        name: Optional[str] = None,
        client: Union["redis.Redis", str, None] = None,
        serializer: Any = pickle,
        durable: bool = False,
    ) -> None:
        super().__init__(name=name, client=client, serializer=serializer, durable=durable)
        self.maxsize = maxsize

    def put(self, item: T, block: bool = True, timeout: Optional[float] = None) -> None:
        """Puts an item in; waits for room, at most `timeout` seconds, or raises `Full`."""
        self._open()
        deadline = _deadline(timeout) if block and self.maxsize > 0 else None
        # A subclass that replaces `_put` may rely on there being room, as it may in the standard library.
        look_first = type(self)._put not in _OURS
        while True:
            state = self._run(_scripts.ROOM[self._kind], self.maxsize) if look_first else _scripts.DONE
            if state == _scripts.DONE:
                try:
                    state = self._put(item)
                except BaseException:
                    self._ring()
                    raise
            if state == _scripts.SHUT:
                raise ShutDown
            if state != _scripts.NOT_NOW:
                return
            if not block or not self._wait(self._keys[3], deadline):
                raise Full

    def get(self, block: bool = True, timeout: Optional[float] = None) -> T:
        """Takes an item out; waits for one, at most `timeout` seconds, or raises `Empty`."""
        self._open()
        deadline = _deadline(timeout) if block else None
        look_first = type(self)._get not in _OURS
        while True:
            state = self._run(_scripts.ANY[self._kind]) if look_first else _scripts.DONE
            if state == _scripts.DONE:
                try:
                    return self._get()
                except _NothingThere as why:
                    state = why.state
                except BaseException:
                    self._ring()
                    raise
            if state == _scripts.SHUT:
                raise ShutDown
            if not block or not self._wait(self._keys[2], deadline):
                raise Empty

    def put_nowait(self, item: T) -> None:
        """`put` without waiting."""
        self.put(item, block=False)

    def get_nowait(self) -> T:
        """`get` without waiting."""
        return self.get(block=False)

    def qsize(self) -> int:
        """How many items there are."""
        return self._qsize()

    def empty(self) -> bool:
        """Whether there are none."""
        return self._qsize() == 0

    def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= self._qsize()

    def task_done(self) -> None:
        """An item that was taken is dealt with."""
        if self._run(_scripts.TASK_DONE[self._kind]) == _scripts.NOT_NOW:
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Waits until every item that was put in is dealt with."""
        while self._run(_scripts.FINISHED[self._kind]) == _scripts.NOT_NOW:
            self._wait(self._keys[4], None)

    def shutdown(self, immediate: bool = False) -> None:
        """Nothing more goes in, and `get` raises `ShutDown` when nothing is left, or with `immediate` at once."""
        self._run(_scripts.SHUTDOWN[self._kind], int(immediate))

    def join_thread(self) -> None:
        """Nothing: items are on the server when `put` returns. `multiprocessing` has it."""

    def cancel_join_thread(self) -> None:
        """Nothing, for the same reason."""

    @property
    def unfinished_tasks(self) -> int:
        """Items that were put in and not yet dealt with."""
        return int(self._client.hget(self._keys[1], "unfinished") or 0)

    @property
    def is_shutdown(self) -> bool:
        """Whether somebody has called `shutdown`."""
        return bool(self._client.hexists(self._keys[1], "shutdown"))

    def _qsize(self) -> int:
        return self._client.llen(self._keys[0])

    def _put(self, item: T) -> int:
        return self._run(_scripts.PUT[self._kind], self.maxsize, self.serializer.dumps(item))

    def _get(self) -> T:
        state, value = self._run(_scripts.TAKE[self._kind])
        if state != _scripts.DONE:
            raise _NothingThere(state)
        return self._load(value)

    def _load(self, value: bytes) -> T:
        return self.serializer.loads(value)

    def _ring(self) -> None:
        """For the others, when a token was taken in vain."""
        self._run(_scripts.RING[self._kind])


class _NothingThere(Exception):
    """Somebody else was faster, or the queue is shut down."""

    def __init__(self, state: int) -> None:
        super().__init__(state)
        self.state = state


class JoinableQueue(Queue[T]):
    """`multiprocessing.JoinableQueue`: `Queue` under its other name."""


class LifoQueue(Queue[T]):
    """Last in, first out: `queue.LifoQueue`."""

    _kind = "lifo"


class PriorityQueue(Queue[T]):
    """The least item first: `queue.PriorityQueue`. Items are compared with `<` by whoever puts one in; the server only keeps the order.

    Of equal items the oldest is first, which the standard library does not promise.
    """

    _kind = "priority"

    def _qsize(self) -> int:
        return self._client.zcard(self._keys[0])

    def _load(self, value: bytes) -> T:
        return self.serializer.loads(value[_ID_BYTES:])

    def _put(self, item: T) -> int:
        # Equal items are members of one sorted set, which wants them to differ.
        value = os.urandom(_ID_BYTES) + self.serializer.dumps(item)
        while True:
            before, after = self._neighbours(item)
            state = self._run(_scripts.PUT[self._kind], self.maxsize, value, before, after)
            if state != _scripts.MOVED:
                return state

    def _neighbours(self, item: T) -> Tuple[bytes, bytes]:
        """The last member that is not greater, and the first that is; empty at the ends.

        Others go on meanwhile, so this may be wrong when it is used: whoever inserts checks that the two still are neighbours.
        """
        before = after = b""
        low, high = 0, -1
        while True:
            first, last, members = self._run(_scripts.PROBE, low, high)
            if not members:
                return before, after
            ranks = _spread(first, last)
            for rank, member in zip(ranks, members):
                if item < self._load(member):  # type: ignore[operator]
                    after, high = member, rank - 1
                    break
                before, low = member, rank + 1
            else:
                high = last
            if low > high or high < 0:
                return before, after


def _spread(first: int, last: int) -> List[int]:
    """The ranks that the script shows: all, or equally far from each other."""
    step = (last - first) // _scripts.PROBES + 1
    return list(itertools.islice(range(first, last + 1, step), _scripts.PROBES + 1))


_ID_BYTES = 16
_OURS: Tuple[Callable[..., Any], ...] = (Queue._put, Queue._get, PriorityQueue._put)


class SimpleQueue(_Shared[T]):
    """Without bounds and tasks: `queue.SimpleQueue` and `multiprocessing.SimpleQueue`. One list, and nothing else."""

    def put(self, item: T, block: bool = True, timeout: Optional[float] = None) -> None:
        """Puts an item in. It never waits; the arguments are those of the standard library."""
        self._open()
        _scripts.command(self._client, self.durable, "RPUSH", self._keys[0], self.serializer.dumps(item))

    def get(self, block: bool = True, timeout: Optional[float] = None) -> T:
        """Takes an item out; waits for one, at most `timeout` seconds, or raises `Empty`."""
        self._open()
        deadline = _deadline(timeout) if block else None
        value = _scripts.command(self._client, self.durable, "LPOP", self._keys[0])
        while value is None:
            seconds = self._look_again
            if deadline is not None:
                seconds = min(seconds, deadline - time.monotonic())
            if not block or seconds <= 0:
                raise Empty
            taken = _scripts.command(self._client, self.durable, "BLPOP", self._keys[0], max(seconds, 0.001))
            value = taken[1] if taken else None
        return self.serializer.loads(value)

    def put_nowait(self, item: T) -> None:
        """`put`."""
        self.put(item)

    def get_nowait(self) -> T:
        """`get` without waiting."""
        return self.get(block=False)

    def qsize(self) -> int:
        """How many items there are."""
        return self._client.llen(self._keys[0])

    def empty(self) -> bool:
        """Whether there are none."""
        return self.qsize() == 0
