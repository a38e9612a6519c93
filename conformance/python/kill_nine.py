"""Twenty times: load, SIGKILL at a random moment, restart, and everything that was answered is there, nothing half.

Writers note what was acknowledged: counters, lists, transactions that set two keys to the same value, and persistent
messages that were confirmed.
"""
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pika
import redis

BINARY = os.environ["LEVERET_BINARY"]
ROUNDS = 20
WRITERS = 4


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(directory, port, amqp_port):
    server = subprocess.Popen(
        [BINARY, "serve", "--bind", "127.0.0.1", "--data-dir", directory, "--resp-port", str(port), "--amqp-port", str(amqp_port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(500):
        try:
            redis.Redis(port=port).ping()
            return server
        except redis.ConnectionError:
            assert server.poll() is None, f"the server ended with {server.returncode}"
            time.sleep(0.02)
    raise AssertionError("the server does not answer")


class Writer(threading.Thread):
    def __init__(self, port, number, acked):
        super().__init__()
        self.port, self.number, self.acked = port, number, acked

    def run(self):
        r = redis.Redis(port=self.port, retry=None)
        counter, pushed = f"counter:{self.number}", f"list:{self.number}"
        try:
            while True:
                self.acked[counter] = r.incr(counter)
                self.acked[pushed] = r.rpush(pushed, os.urandom(20))
                value = os.urandom(8)
                with r.pipeline(transaction=True) as pipe:
                    pipe.set(f"left:{self.number}", value)
                    pipe.set(f"right:{self.number}", value)
                    pipe.execute()
                self.acked["transactions"] = self.acked.get("transactions", 0) + 1
        except redis.RedisError:
            pass


class Publisher(threading.Thread):
    """Publishes numbers, persistent; `confirmed` gets each one that the server has confirmed."""

    def __init__(self, port, first, confirmed):
        super().__init__()
        self.port, self.next, self.confirmed = port, first, confirmed

    def run(self):
        try:
            channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port)).channel()
            channel.queue_declare("confirmed", durable=True)
            channel.confirm_delivery()
            while True:
                channel.basic_publish("", "confirmed", b"%d" % self.next, pika.BasicProperties(delivery_mode=2))
                self.confirmed.append(self.next)
                self.next += 1
        except (pika.exceptions.AMQPError, OSError):
            pass


def check_messages(amqp_port, confirmed):
    """Every confirmed message is in the queue, in order; it is left there."""
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", amqp_port))
    channel = connection.channel()
    channel.queue_declare("confirmed", durable=True)
    there = []
    while True:
        method, _, body = channel.basic_get("confirmed")
        if not method:
            break
        there.append(int(body))
    connection.close()
    assert there == sorted(there), "messages changed places"
    lost = set(confirmed) - set(there)
    assert not lost, f"{len(lost)} of {len(confirmed)} confirmed messages are lost"


def check(port, acked):
    r = redis.Redis(port=port)
    for number, notes in enumerate(acked):
        counter, length = int(r.get(f"counter:{number}") or 0), r.llen(f"list:{number}")
        assert counter >= notes.get(f"counter:{number}", 0), f"an acknowledged INCR is lost: {counter} {notes}"
        assert length >= notes.get(f"list:{number}", 0), f"an acknowledged RPUSH is lost: {length} {notes}"
        assert r.get(f"left:{number}") == r.get(f"right:{number}"), "half a transaction"


def main():
    directory, port, amqp_port = tempfile.mkdtemp(prefix="leveret-kill-"), free_port(), free_port()
    confirmed = []
    acked = [{} for _ in range(WRITERS)]
    server = None
    try:
        for _ in range(ROUNDS):
            server = start(directory, port, amqp_port)
            check(port, acked)
            check_messages(amqp_port, confirmed)
            writers = [Writer(port, number, notes) for number, notes in enumerate(acked)]
            # One number behind the last confirmed may have been taken unconfirmed.
            writers.append(Publisher(amqp_port, confirmed[-1] + 2 if confirmed else 0, confirmed))
            for writer in writers:
                writer.start()
            time.sleep(random.uniform(0.1, 0.5))
            server.send_signal(signal.SIGKILL)
            server.wait()
            for writer in writers:
                writer.join()
        server = start(directory, port, amqp_port)
        check(port, acked)
        check_messages(amqp_port, confirmed)
        assert len(confirmed) > 100, f"too few messages to mean anything: {len(confirmed)}"
        writes = sum(sum(notes.values()) for notes in acked)
        assert writes > 1000, f"too little was written to mean anything: {writes}"
        print(f"{ROUNDS} kills, {writes} acknowledged writes, {len(confirmed)} confirmed messages, nothing lost")
    finally:
        if server:
            server.kill()
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)


main()
