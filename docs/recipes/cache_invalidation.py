"""A cache inside a process that is never stale, and an index that misses nothing while nobody keeps it."""

import os

import pika
import redis

from leveret.outbox import outbox, take

client = redis.Redis.from_url(os.environ["LEVERET_URL"])
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()


class Cache:
    """What was read stays until it changes: by whom, and how, does not matter."""

    def __init__(self):
        self.values = {}
        # It goes with the connection: what is cached then has to go, too.
        self.queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(self.queue, "leveret.keyspace", "0.*.product.#")
        channel.queue_bind(self.queue, "leveret.keyspace", "0.flushdb")

    def get(self, key):
        self.hear()
        if key not in self.values:
            self.values[key] = client.get(key)
        return self.values[key]

    def hear(self):
        while True:
            method, properties, key = channel.basic_get(self.queue, auto_ack=True)
            if method is None:
                return
            if properties.headers["event"] == "flushdb":
                self.values.clear()
            else:
                self.values.pop(key.decode(), None)


def index_changes():
    """Brings the index up to date: each step of it, and that it is done, is one commit."""
    while (message := take(client, "index")) is not None:
        name = client.get(message.body)
        with outbox(client) as tx:
            if name is None:
                tx.hdel("index", message.body)
            else:
                tx.hset("index", message.body, name)
            tx.ack(message)


client.set("product.1", "lamp")
cache = Cache()
assert cache.get("product.1") == b"lamp"
client.set("product.1", "desk lamp")
assert cache.get("product.1") == b"desk lamp"
assert cache.get("product.1") is cache.get("product.1")

# Nobody keeps the index now; what changes meanwhile waits, in the order in which it has happened.
channel.queue_declare("index", durable=True)
channel.queue_bind("index", "leveret.keyspace", "0.*.product.#")
client.mset({"product.2": "chair", "product.3": "table"})
with client.pipeline(transaction=True) as both:
    both.rename("product.3", "product.4").append("product.4", " of oak")
    both.execute()
client.delete("product.2")
client.set("other", "is not indexed")
index_changes()
assert client.hgetall("index") == {b"product.4": b"table of oak"}

# Keys whose time is up are changes like others.
client.expire("product.4", 0)
assert cache.get("product.4") is None
index_changes()
assert not client.exists("index")
cache.get("product.1")
client.flushdb()
assert cache.get("product.1") is None
