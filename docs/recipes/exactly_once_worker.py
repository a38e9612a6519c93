"""A worker whose result and acknowledgement are one commit: what a late or dying worker did does not count."""

import os
import threading

import pika
import redis

from leveret.outbox import LeaseLost, Worker, outbox, take

client = redis.Redis.from_url(os.environ["LEVERET_URL"], decode_responses=True)
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.queue_declare("payments", durable=True)
for n in range(1, 51):
    channel.basic_publish("", "payments", str(n))

# A worker that takes a message and then is away for longer than its lease.
late = take(client, "payments", lease=0.05)


def book(message, tx):
    tx.incrby("balance", int(message.body))
    tx.rpush("booked", message.body)


workers = [Worker(client, "payments", book) for _ in range(3)]
threads = [threading.Thread(target=worker.run) for worker in workers]
for thread in threads:
    thread.start()
while client.llen("booked") < 50:
    threads[0].join(0.02)
for worker in workers:
    worker.stop()
for thread in threads:
    thread.join()

try:
    with outbox(client) as tx:
        book(late, tx)
        tx.ack(late)
    raise SystemExit("the late worker was believed")
except LeaseLost:
    pass

assert int(client.get("balance")) == sum(range(1, 51))
assert sorted(map(int, client.lrange("booked", 0, -1))) == list(range(1, 51))
