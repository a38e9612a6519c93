"""leveret.celery with real workers: what a result says and what a message does happen together, whoever is killed."""

import base64
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from leveret import Server

pytest.importorskip("celery")
import kombu  # noqa: E402

import leveret.celery  # noqa: E402
from leveret.outbox import outbox  # noqa: E402

pytestmark = pytest.mark.timeout(180)

POOLS = [["--pool=prefork", "--concurrency=3"], ["--pool=threads", "--concurrency=3"], ["--pool=solo"]]
TASKS = 300
PATIENT = {"max_retries": 60, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.5}


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def app(server, monkeypatch):
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    sys.modules.pop("celery_app", None)
    app = importlib.import_module("celery_app")
    yield app
    app.app.close()


def environment(server):
    broker = server.amqp_url.replace("amqp://", "leveret://")
    return {"BROKER": broker, "BACKEND": f"leveret+{server.url}", "RESULTS": server.url}


class Worker:
    """A worker in a session of its own, so that its children go with it."""

    def __init__(self, server, *flags):
        self.server, self.flags = server, flags
        self.log = open(os.path.join(server.directory, f"worker-{time.monotonic_ns()}.log"), "w")
        program = os.path.join(os.path.dirname(__file__), "celery_app.py")
        self.process = subprocess.Popen(
            [sys.executable, program, *flags],
            env={**os.environ, **environment(server)},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def kill(self):
        """The worker, and with it its children."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def stop(self):
        """As one stops it: it ends what it has begun."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def text(self):
        with open(self.log.name) as log:
            return log.read()


@contextmanager
def working(server, *flags):
    worker = Worker(server, *flags)
    try:
        yield worker
    except BaseException:
        print(worker.text()[-6000:])
        raise
    finally:
        worker.kill()


def drained(server, seconds=40):
    """Nothing is ready, and nobody holds anything."""
    request = urllib.request.Request(f"{server.http_url}/api/queues/%2F/tasks")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with urllib.request.urlopen(request) as answer:
            report = json.load(answer)
        if report["messages_ready"] == 0 and report["messages_unacknowledged"] == 0:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[0])
def test_all_kinds_of_tasks(server, app, pool):
    with working(server, *pool) as worker:
        results = [app.count.delay(n) for n in range(50)]
        failure, early, again, slow = app.fail.delay(3), app.early.delay(4), app.again.delay(), app.slow.delay(5)
        app.forgotten.delay()
        assert [result.get(timeout=30) for result in results] == [n * n for n in range(50)]
        with pytest.raises(ValueError):
            failure.get(timeout=30)
        assert early.get(timeout=30) == -4
        assert again.get(timeout=30) == 2
        # Longer than its lease, which is extended meanwhile.
        assert slow.get(timeout=30) == "done"
        assert drained(server)
        client = server.redis()
        assert client.hgetall("counts") == {b"%d" % n: b"1" for n in range(50)}
        assert (client.get("slow"), client.get("again"), client.get("never")) == (b"1", b"1", None)
        assert client.get("refused") == b"1"
        worker.stop()
        assert "LeaseLost" not in worker.text()


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[0])
def test_results_exactly_once_whoever_is_killed(server, app, pool):
    random.seed(7)
    sent, kills = {}, 0
    workers = [Worker(server, *pool, f"--hostname=w{n}@%h") for n in range(2)]
    try:
        begun = time.monotonic()
        # However busy the machine is.
        while time.monotonic() - begun < 10 or kills < 3 or len(sent) < TASKS:
            assert time.monotonic() - begun < 90, f"{kills} kills and {len(sent)} tasks mean little"
            for _ in range(10):
                number = len(sent)
                sent[number] = app.count.apply_async((number,), retry=True, retry_policy=PATIENT)
            time.sleep(random.uniform(0.0, 0.2))
            if len(sent) % 100 == 0:
                if random.random() < 0.5:
                    server.kill()
                    server.start()
                else:
                    at = random.randrange(len(workers))
                    workers[at].kill()
                    workers[at] = Worker(server, *pool, f"--hostname=w{len(sent)}@%h")
                kills += 1
        assert drained(server, 60), "messages are left over"
        client = server.redis()
        counts = {int(number): int(count) for number, count in client.hgetall("counts").items()}
        assert set(counts.values()) == {1}, f"{sum(c != 1 for c in counts.values())} were counted otherwise than once"
        assert int(client.get("total")) == len(counts)
        # What was sent twice, because nobody knew, has one result as well.
        assert set(counts) == set(sent)
        assert all(result.get(timeout=10) == number * number for number, result in sent.items())
    except BaseException:
        for worker in workers:
            print(worker.text()[-3000:])
        raise
    finally:
        for worker in workers:
            worker.kill()


def hang(worker):
    """Stops it in the midst of a task. SIGSTOP is how a machine that hangs looks."""
    wait_for(worker, "received")
    os.kill(worker.process.pid, signal.SIGSTOP)


def wait_for(worker, text):
    deadline = time.monotonic() + 20
    while text not in worker.text():
        assert time.monotonic() < deadline, f"the worker does not say {text!r}"
        time.sleep(0.05)


def test_a_lost_lease_stores_nothing(server, app):
    with working(server, "--pool=solo") as worker:
        result = app.slow.delay(1)
        hang(worker)
        # Longer than the lease: the message is back, and nobody but this worker is there to take it.
        time.sleep(4)
        assert server.redis().execute_command("AMQP.LEN", "tasks") == 1
        os.kill(worker.process.pid, signal.SIGCONT)
        wait_for(worker, "LeaseLost")
        assert result.get(timeout=30) == "done"
        assert server.redis().get("slow") == b"1"
        assert drained(server)


def test_whoever_is_late_stores_nothing_over_a_result(server, app):
    with working(server, "--pool=solo", "--hostname=hangs@%h") as hangs:
        result = app.slow.delay(1)
        hang(hangs)
        with working(server, "--pool=solo", "--hostname=other@%h"):
            assert result.get(timeout=30) == "done"
            before = server.redis().get(f"celery-task-meta-{result.id}")
            os.kill(hangs.process.pid, signal.SIGCONT)
            wait_for(hangs, "succeeded")
            assert server.redis().get(f"celery-task-meta-{result.id}") == before
            assert server.redis().get("slow") == b"1"
            assert drained(server)


def test_a_consumer_of_kombu_without_an_event_loop(server):
    url = server.amqp_url.replace("amqp://", "leveret://")
    got = []
    headers = {"none": None, "yes": True, "list": [1, None, "two"], "table": {"inner": {"deep": 3}}, "text": "ä"}
    with kombu.Connection(url, transport_options={"redis_url": server.url, "lease": 60}) as connection:
        queue = kombu.Queue("kombu", durable=True)
        producer = connection.Producer()
        for number in range(5):
            producer.publish({"number": number}, routing_key="kombu", declare=[queue], headers=headers, priority=3)
        consumer = connection.Consumer([queue], on_message=got.append, prefetch_count=2)
        consumer.consume()
        with pytest.raises(socket.timeout):
            while True:
                connection.drain_events(timeout=0.3)
        # No more than it may hold.
        assert [message.payload["number"] for message in got] == [0, 1]
        first, second = got
        token = first.headers.pop(leveret.celery.TOKEN)
        assert first.headers == headers
        assert (first.delivery_tag, first.properties["priority"], first.delivery_info["routing_key"]) == (token, 3, "kombu")
        first.ack()
        # Once is enough, also if somebody else did it.
        leveret.celery.connect(server.url).execute_command("AMQP.ACK", second.delivery_tag)
        second.ack()
        del got[:]
        with pytest.raises(socket.timeout):
            while True:
                connection.drain_events(timeout=0.3)
        assert [message.payload["number"] for message in got] == [2, 3]
        got[0].reject()
        got[1].requeue()
        # What it has asked for meanwhile goes back.
        consumer.cancel()
    client = server.redis()
    assert client.execute_command("AMQP.LEN", "kombu") == 2
    numbers = [json.loads(body)["number"] for _, body, *_ in client.execute_command("AMQP.GET", "kombu", "COUNT", 9)]
    assert numbers == [3, 4]


def test_consumers_of_several_queues_share_the_prefetch_count(server):
    url = server.amqp_url.replace("amqp://", "leveret://")
    client = server.redis()
    got = []

    def publish(*queues):
        with outbox(client) as tx:
            for queue in queues:
                tx.publish("", queue, queue)

    def drain():
        del got[:]
        with pytest.raises(socket.timeout):
            while True:
                connection.drain_events(timeout=0.3)
        return sorted(message.body for message in got)

    with kombu.Connection(url, transport_options={"redis_url": server.url, "lease": 60}) as connection:
        queues = [kombu.Queue(name, durable=True) for name in ("first", "second", "third")]
        consumer = connection.Consumer(queues, on_message=got.append, prefetch_count=2)
        publish(*["first"] * 6, *["second"] * 2)
        consumer.consume()
        # However many queues there are, and none of them waits for ever for another.
        left = {"first": 6, "second": 2}
        for _ in range(4):
            for body in drain():
                left[body.decode() if isinstance(body, bytes) else body] -= 1
            assert len(got) == 2
            for name, count in left.items():
                assert client.execute_command("AMQP.LEN", name) == count
            for message in got[:]:
                message.ack()
            if sum(left.values()) == 4:
                assert left["second"] < 2
        assert sum(left.values()) == 0
        # Now they wait, each for as many as there is room for.
        assert drain() == []
        publish("third", "third", "third")
        assert len(drain()) == 2
        for message in got[:]:
            message.ack()
        assert len(drain()) == 1
        # All at once, while they wait.
        held = got[:]
        publish("first", "second", "third")
        assert len(drain()) == 1
        assert sum(client.execute_command("AMQP.LEN", name) for name in ("first", "second", "third")) == 2
        for message in held + got:
            message.ack()
        assert len(drain()) == 2
        for message in got[:]:
            message.ack()
        assert drain() == []
        # One that has gone takes nothing along.
        consumer.cancel_by_queue("first")
        publish("first", "second")
        assert len(drain()) == 1
        got[0].ack()
        consumer.cancel()
    assert [client.execute_command("AMQP.LEN", name) for name in ("first", "second", "third")] == [1, 0, 0]


def test_changes_need_a_lease(app):
    with pytest.raises(RuntimeError):
        app.leveret.celery.changes()
