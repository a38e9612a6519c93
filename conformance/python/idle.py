"""What is due happens though nobody says anything: messages expire that only the disk has, and what came over HTTP expires or is routed when it
is its time. Whoever waits for that is a Redis client, for the heartbeats of others would wake the server.
"""
import base64
import json
import socket
import time
import urllib.request

import pika

import checks
from checks import equal, holds
from server import Server

COUNT = 2000
TTL_MS = 1000
# So much later than it is due something may happen.
LATE = 1.5


def management(server, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/{path}", json.dumps(body).encode())
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def declare(server):
    connection = server.amqp()
    channel = connection.channel()
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "letters"}
    channel.queue_declare("letters", durable=True)
    channel.queue_declare("aging", durable=True, arguments={**letters, "x-message-ttl": TTL_MS})
    channel.queue_declare("mixed", durable=True, arguments=letters)
    channel.exchange_declare("later", "x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"})
    channel.queue_bind("letters", "later")
    connection.close()


def expire(server, queue, properties):
    """Nobody reads them, and nobody does anything until all of them must have become letters."""
    pipeline = server.redis().pipeline(transaction=False)
    for number in range(COUNT):
        pipeline.execute_command("AMQP.PUBLISH", "", queue, f"{number:08}" + "." * 300, *properties(number))
    equal(pipeline.execute(), [1] * COUNT, "what was published")
    time.sleep(TTL_MS / 1000 + LATE)
    # The answers are of the turn that this begins, which does one slice more at most.
    left, letters = (server.redis().execute_command("AMQP.LEN", name) for name in (queue, "letters"))
    equal((left, letters), (0, COUNT), f"{queue}: what is left, and letters")
    seen = []
    while len(seen) < COUNT:
        got = server.redis().execute_command("AMQP.GET", "letters", "COUNT", COUNT, "NOACK", "BLOCK", 1000)
        holds(got, f"{queue}: there are only {len(seen)} letters")
        seen += [message[1][:8] for message in got]
    equal(sorted(seen), [b"%08d" % number for number in range(COUNT)], f"{queue}: the letters")


def comes(server, what, act, seconds):
    """Somebody who waits hears of it in time."""
    with socket.create_connection(("127.0.0.1", server.resp_port)) as waiter:
        waiter.sendall(b"AMQP.GET letters BLOCK 0 NOACK\r\n")
        time.sleep(0.2)
        act()
        since = time.monotonic()
        waiter.settimeout(seconds + LATE)
        try:
            heard = waiter.recv(1000)
        except TimeoutError:
            raise AssertionError(f"{what}: nobody hears of it") from None
        holds(heard.startswith(b"*1\r\n"), f"{what}: {heard}")
        holds(time.monotonic() - since > seconds - 0.2, f"{what}: it came after {time.monotonic() - since} seconds")


def publish(server, exchange, key, **properties):
    message = {"routing_key": key, "payload": "x", "payload_encoding": "string", "properties": properties}
    equal(management(server, f"exchanges/%2F/{exchange}/publish", message), {"routed": True}, "the publishing")


for threads in 1, 3:
    with Server("idle", "--message-memory", "1kb", "--io-threads", str(threads)) as server:
        declare(server)
        comes(server, "one that expires", lambda: publish(server, "amq.default", "mixed", expiration="1000"), 1)
        comes(server, "one that is delayed", lambda: publish(server, "later", "", headers={"x-delay": 1000}), 1)
        expire(server, "aging", lambda _: [])
        expire(server, "mixed", lambda number: ["PROPS", "expiration", str(TTL_MS - number % 5 * 100)])
        transient = ["PROPS", "delivery-mode", "1"]
        expire(server, "aging", lambda _: transient)
checks.passed()
