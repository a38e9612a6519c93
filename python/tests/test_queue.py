"""What the standard library's cases do not ask: other processes, crashes, `shutdown`, names, serializers."""

import json
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time

import pytest
import redis

from leveret import (
    Empty,
    Full,
    JoinableQueue,
    LifoQueue,
    PriorityQueue,
    Queue,
    Server,
    ShutDown,
    SimpleQueue,
)

spawn = multiprocessing.get_context("spawn")
pytestmark = pytest.mark.usefixtures("client")


def produce(queue, first, count):
    for n in range(first, first + count):
        queue.put(n)


def consume(queue, results):
    while True:
        item = queue.get()
        if item is None:
            queue.task_done()
            return
        results.put((os.getpid(), item))
        queue.task_done()


def test_producers_and_consumers_in_other_processes():
    with JoinableQueue(maxsize=10) as queue, SimpleQueue() as results:
        producers = [spawn.Process(target=produce, args=(queue, 1000 * i, 100)) for i in range(2)]
        consumers = [spawn.Process(target=consume, args=(queue, results)) for _ in range(2)]
        for process in producers + consumers:
            process.start()
        for process in producers:
            process.join()
        queue.join()
        for _ in consumers:
            queue.put(None)
        for process in consumers:
            process.join()
            assert process.exitcode == 0
        got = [results.get_nowait() for _ in range(200)]
        assert sorted(item for _, item in got) == [*range(100), *range(1000, 1100)]
        # Of one producer's items each consumer sees the order in which they were put in.
        for pid in {pid for pid, _ in got}:
            for first in (0, 1000):
                mine = [item for who, item in got if who == pid and first <= item < first + 1000]
                assert mine == sorted(mine)
        assert results.empty() and queue.unfinished_tasks == 0


def test_order_by_priority_across_processes():
    with PriorityQueue() as queue:
        producers = [spawn.Process(target=produce, args=(queue, first, 60)) for first in (30, 0)]
        for process in producers:
            process.start()
        produce(queue, 45, 10)
        for process in producers:
            process.join()
        got = [queue.get_nowait() for _ in range(130)]
        assert got == sorted([*range(30, 90), *range(60), *range(45, 55)])


def wait_for_ever(queue, started):
    started.put(1)
    queue.get()


@pytest.mark.parametrize("kind", [Queue, SimpleQueue])
def test_a_waiting_consumer_that_is_killed_keeps_nobody_waiting(kind):
    with kind() as queue, SimpleQueue() as started:
        process = spawn.Process(target=wait_for_ever, args=(queue, started))
        process.start()
        started.get(timeout=30)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        thread = threading.Timer(0.1, queue.put, ("item",))
        thread.start()
        assert queue.get(timeout=20) == "item"
        thread.join()


def test_a_durable_queue_outlives_a_crash_of_the_server(tmp_path):
    with Server(directory=str(tmp_path)) as server:
        queue = Queue(name="orders", client=server.url, durable=True)
        for n in range(20):
            queue.put(n)
        assert queue.get() == 0
        server.kill()
        server.start()
        again = Queue(name="orders", client=server.url)
        assert [again.get_nowait() for _ in range(19)] == list(range(1, 20))
        assert again.unfinished_tasks == 20


def test_names_are_shared_and_queues_without_one_end_with_their_maker(client):
    one, other = Queue(name="orders"), Queue(name="orders")
    one.put("x")
    one.close()
    assert other.get_nowait() == "x"
    other.delete()
    with LifoQueue() as nameless:
        nameless.put(1)
        copy = pickle.loads(pickle.dumps(nameless))
        assert copy.get_nowait() == 1
        copy.close()
        nameless.put(2)
        assert nameless.qsize() == 1
    assert client.dbsize() == 0
    with pytest.raises(ValueError, match="is closed"):
        nameless.put(3)


def test_a_bound_that_only_the_producer_knows_is_kept():
    producer, consumer = Queue(1, name="bounded"), Queue(name="bounded")
    producer.put(1)
    thread = threading.Timer(0.2, consumer.get)
    thread.start()
    began = time.monotonic()
    producer.put(2, timeout=20)
    # Sooner than a waiter looks by itself.
    assert time.monotonic() - began < 3
    thread.join()
    assert consumer.get_nowait() == 2


def test_a_put_whose_answer_is_lost_is_not_sent_again(client):
    """A server that takes the command and closes the connection instead of answering."""
    heard = []
    listener = socket.create_server(("127.0.0.1", 0))

    def hear():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    if b"RPUSH" in data:
                        heard.append(data)
                        break
                    connection.sendall(b"+OK\r\n" * data.count(b"*"))

    threading.Thread(target=hear, daemon=True).start()
    url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0?protocol=2"
    for queue in (SimpleQueue(name="q", client=url), pickle.loads(pickle.dumps(SimpleQueue(name="q", client=url)))):
        with pytest.raises(redis.exceptions.ConnectionError):
            queue.put(1)
    listener.close()
    assert len(heard) == 2


def test_another_serializer(client):
    class Plain:
        dumps = staticmethod(lambda item: json.dumps(item).encode())
        loads = staticmethod(json.loads)

    with SimpleQueue(name="plain", serializer=Plain) as queue:
        queue.put({"n": 1})
        assert client.lrange("{plain}:items", 0, -1) == [b'{"n": 1}']
        assert queue.get() == {"n": 1}


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
def test_shutdown(kind):
    with kind(2) as queue:
        queue.put(1)
        queue.put(2)
        raised = []

        def blocked():
            try:
                queue.put(3)
            except ShutDown:
                raised.append(True)

        threads = [threading.Thread(target=blocked) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        queue.shutdown()
        for thread in threads:
            thread.join(3)
        assert raised == [True] * 3 and queue.is_shutdown
        assert sorted([queue.get(), queue.get()]) == [1, 2]
        with pytest.raises(ShutDown):
            queue.get()
        with pytest.raises(ShutDown):
            queue.put_nowait(1)


def test_an_immediate_shutdown_drops_what_is_there_and_ends_joins():
    with Queue() as queue:
        for n in range(3):
            queue.put(n)
        thread = threading.Thread(target=queue.join)
        thread.start()
        time.sleep(0.2)
        queue.shutdown(immediate=True)
        thread.join(3)
        assert not thread.is_alive() and queue.qsize() == 0
        with pytest.raises(ShutDown):
            queue.get(block=False)


def test_priorities_that_cannot_be_compared_are_refused():
    with PriorityQueue() as queue:
        queue.put((1, "a"))
        with pytest.raises(TypeError):
            queue.put("b")
        assert queue.get_nowait() == (1, "a")


def test_many_priorities_between_two_neighbours():
    with PriorityQueue() as queue:
        queue.put(0.0)
        items = [1 / (n + 1) for n in range(150)]
        for item in items:
            queue.put(item)
        assert [queue.get_nowait() for _ in range(151)] == sorted([0.0, *items])


def test_full_and_empty_are_the_standard_librarys():
    import queue as standard

    assert Full is standard.Full and Empty is standard.Empty
