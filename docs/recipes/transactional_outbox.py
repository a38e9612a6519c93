"""A key and a message about it, in one commit."""

import os

import pika
import redis

from leveret.outbox import outbox

client = redis.Redis.from_url(os.environ["LEVERET_URL"], decode_responses=True)
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.exchange_declare("shop", "topic", durable=True)
channel.queue_declare("shipping", durable=True)
channel.queue_bind("shipping", "shop", "order.paid")


def pay(order, card):
    with outbox(client) as tx:
        tx.hset(f"order:{order}", mapping={"state": "paid"})
        tx.publish("shop", "order.paid", order, properties={"content-type": "text/plain"})
        if card == "refused":
            # Nothing has been sent yet, so nothing has to be undone.
            raise PermissionError(card)


pay("7", "accepted")
try:
    pay("8", "refused")
except PermissionError:
    pass

assert client.hget("order:7", "state") == "paid" and not client.exists("order:8")
assert channel.basic_get("shipping", auto_ack=True)[2] == b"7"
assert channel.basic_get("shipping") == (None, None, None)
