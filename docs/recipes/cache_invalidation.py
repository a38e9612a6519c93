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
        # Changes of all keys at once.
        channel.queue_bind(self.queue, "leveret.keyspace", "0.flushdb")
        channel.queue_bind(self.queue, "leveret.keyspace", "0.swapdb")

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
            if properties.headers["event"] in ("flushdb", "swapdb"):
                self.values.clear()
            else:
                self.values.pop(key.decode(), None)


def index_changes(describe=bytes):
    """Brings the index up to date: each step of it, and that it is done, is one commit."""
    while (message := take(client, "index")) is not None:
        while not index_change(message, describe):
            pass


def index_change(message, describe):
    """False if the key has changed since it was read: another worker may have indexed by then what is newer."""
    try:
        with outbox(client) as tx:
            tx.watch(message.body)
            name = tx.get(message.body)
            tx.multi()
            if name is None:
                tx.hdel("index", message.body)
            else:
                tx.hset("index", message.body, describe(name))
            tx.ack(message)
    except redis.WatchError:
        return False
    return True


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


def slowly(name):
    """Meanwhile the product changes, and another worker is faster."""
    if name == b"stool":
        client.set("product.5", "bar stool")
        index_changes()
    return name


# Of two workers the last one has not indexed what is older.
client.set("product.5", "stool")
index_changes(slowly)
assert client.hget("index", "product.5") == b"bar stool"
client.delete("product.5")
index_changes()

# Keys whose time is up are changes like others.
client.expire("product.4", 0)
assert cache.get("product.4") is None
index_changes()
assert not client.exists("index")
cache.get("product.1")
client.flushdb()
assert cache.get("product.1") is None

# What was read in one database is not what is in the other.
client.set("product.1", "stool")
assert cache.get("product.1") == b"stool"
client.swapdb(0, 1)
assert cache.get("product.1") is None
