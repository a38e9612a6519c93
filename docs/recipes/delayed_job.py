"""A job that starts later, unless it is called off before."""

import os
import time

import pika
import redis

from leveret.outbox import outbox, take

client = redis.Redis.from_url(os.environ["LEVERET_URL"])
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.exchange_declare("later", "x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"})
channel.queue_declare("reminders", durable=True)
channel.queue_bind("reminders", "later", "remind")


def remind(customer, seconds):
    with outbox(client) as tx:
        tx.set(f"reminder:{customer}", "waits")
        tx.publish("later", "remind", customer, headers={"x-delay": int(seconds * 1000)})


def call_off(customer):
    """Whether the job was still waiting."""
    for id, _due, _exchange, _key, body, *_ in client.execute_command("AMQP.SCHEDULED", "EXCHANGE", "later"):
        if body == customer.encode() and client.execute_command("AMQP.CANCEL", id):
            client.delete(f"reminder:{customer}")
            return True
    return False


began = time.monotonic()
remind("ann", 0.5)
remind("bob", 3600)
assert client.get("reminder:ann") == client.get("reminder:bob") == b"waits"
assert call_off("bob") and not call_off("bob")
message = take(client, "reminders", block=30)
assert message.body == b"ann" and time.monotonic() - began >= 0.5
with outbox(client) as tx:
    tx.delete("reminder:ann")
    tx.ack(message)
assert not client.execute_command("AMQP.SCHEDULED", "EXCHANGE", "later")
assert not client.exists("reminder:ann", "reminder:bob")
