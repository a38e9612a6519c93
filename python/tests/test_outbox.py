"""Keys and messages in one commit, in threads and asyncio."""

import asyncio
import threading
import time

import pika
import pytest
import redis
import redis.asyncio

from leveret.outbox import AsyncWorker, LeaseLost, Worker, outbox, take, take_async


@pytest.fixture
def orders(client, shared_server):
    """A queue of its own name, and what of it is left."""
    connection = pika.BlockingConnection(pika.URLParameters(shared_server.amqp_url))
    channel = connection.channel()
    for queue in ("orders", "receipts"):
        channel.queue_delete(queue)
        channel.queue_declare(queue, durable=True)
    yield channel
    connection.close()


def count(client, queue):
    return client.execute_command("AMQP.LEN", queue)


def test_change_publish_and_ack_are_one_commit(client, orders):
    with outbox(client) as tx:
        tx.publish("", "orders", b"7", headers={"h": "v"}, properties={"priority": 3, "type": "order"})
    message = take(client, "orders")
    assert (message.body, message.exchange, message.routing_key, message.redelivered) == (b"7", "", "orders", False)
    assert message.properties["headers"] == {"h": b"v"} and message.properties["priority"] == 3
    with outbox(client) as tx:
        tx.set("order:7", "paid").incr("paid")
        tx.publish("", "receipts", message.body)
        tx.ack(message)
    assert tx.results == [True, 1, 1, 1]
    assert (client.get("order:7"), count(client, "orders"), count(client, "receipts")) == (b"paid", 0, 1)


def test_headers_have_the_types_of_python(client, orders):
    headers = {"text": "1", "bytes": b"2", "whole": 3, "part": 0.5, "true": True, "no": False}
    with outbox(client) as tx:
        tx.publish("", "orders", b"7", headers=headers)
    got = take(client, "orders").properties["headers"]
    # RESP2 has no booleans, and its floats are text.
    assert float(got.pop("part")) == 0.5
    assert got == {"text": b"1", "bytes": b"2", "whole": 3, "true": 1, "no": 0}


def test_an_exchange_that_is_not_there_drops_everything(client, orders):
    with pytest.raises(redis.exceptions.ExecAbortError, match="no exchange 'missing'"):
        with outbox(client) as tx:
            tx.set("order:7", "paid")
            tx.publish("missing", "", b"7")
    assert not client.exists("order:7")


def test_an_exception_drops_everything(client, orders):
    with pytest.raises(KeyError):
        with outbox(client) as tx:
            tx.set("key", 1)
            tx.publish("", "orders", b"7")
            raise KeyError
    assert client.get("key") is None and count(client, "orders") == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_lost_lease_refuses_everything(shared_server, orders, protocol):
    client = shared_server.redis(protocol=protocol)
    with outbox(client) as tx:
        tx.publish("", "orders", b"7")
    late = take(client, "orders", lease=0.05)
    in_time = take(client, "orders", block=5)
    assert in_time.redelivered and in_time.body == late.body
    with pytest.raises(LeaseLost):
        with outbox(client) as tx:
            tx.set("key", "late")
            tx.publish("", "receipts", b"late")
            tx.ack(late)
    assert client.get("key") is None and count(client, "receipts") == 0
    with outbox(client) as tx:
        tx.set("key", "in time")
        tx.ack(in_time)
    assert client.get("key") == b"in time" and count(client, "orders") == 0


def test_what_another_error_is_stays_it(client, orders):
    with pytest.raises(redis.ResponseError, match="NOT_FOUND"):
        with outbox(client) as tx:
            tx.publish("nowhere", "", b"7")


def test_a_worker_keeps_its_lease_while_the_handler_works(client, orders):
    with outbox(client) as tx:
        tx.publish("", "orders", b"7")

    def slow(message, tx):
        time.sleep(0.6)
        assert take(client, "orders") is None
        tx.incr("done")

    assert Worker(client, "orders", slow, lease=0.2).once(block=5)
    assert client.get("done") == b"1" and count(client, "orders") == 0


def test_a_handler_that_raises_gives_its_message_back(client, orders):
    with outbox(client) as tx:
        tx.publish("", "orders", b"7")

    def bad(message, tx):
        tx.set("key", 1)
        raise KeyError(message.body)

    with pytest.raises(KeyError):
        Worker(client, "orders", bad).once(block=5)
    assert client.get("key") is None and count(client, "orders") == 1
    with pytest.raises(KeyError):
        Worker(client, "orders", bad, requeue=False).once(block=5)
    assert count(client, "orders") == 0


def test_two_workers_do_each_message_once(client, orders):
    with outbox(client) as tx:
        for n in range(100):
            tx.publish("", "orders", str(n))
    workers = [Worker(client, "orders", lambda m, tx: tx.hincrby("done", m.body, 1)) for _ in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while client.hlen("done") < 100 and time.monotonic() < deadline:
        time.sleep(0.02)
    for worker in workers:
        worker.stop()
    for thread in threads:
        thread.join()
    assert client.hgetall("done") == {str(n).encode(): b"1" for n in range(100)}


def test_asyncio(shared_server, client, orders):
    async def main():
        async with redis.asyncio.Redis.from_url(shared_server.url) as aio:
            async with outbox(aio) as tx:
                tx.publish("", "orders", b"7")
            message = await take_async(aio, "orders", lease=0.05)
            await asyncio.sleep(0.1)
            with pytest.raises(LeaseLost):
                async with outbox(aio) as tx:
                    tx.set("key", "late")
                    tx.ack(message)

            async def slow(message, tx):
                await asyncio.sleep(0.5)
                assert await take_async(aio, "orders") is None
                tx.set("key", message.body)

            assert await AsyncWorker(aio, "orders", slow, lease=0.2).once(block=5)

    asyncio.run(main())
    assert client.get("key") == b"7" and count(client, "orders") == 0
