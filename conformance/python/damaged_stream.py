"""A stream of which one segment of the log has a flipped byte: what stands before it is delivered, and what is read from behind it; the
server says which file it is, once, and does not try again without rest; other queues go on. When the byte is right again, so is the stream.
"""
import glob
import os
import signal
import subprocess
import time

import pika

import checks
from checks import equal, holds
from server import Server

COUNT = 3000
# So many are one commit, and so one block.
TOGETHER = 10
WRONG = COUNT // 2
BODY = b"." * 500
PERSISTENT = pika.BasicProperties(delivery_mode=2)
# Little memory, and some messages in each of many files.
FLAGS = ["--message-memory", "64kb", "--log-segment-bytes", "65536"]


def body_of(number):
    return b"%d" % number + BODY


def publish(server, queue, numbers, **arguments):
    with server.amqp() as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments=arguments and {"x-queue-type": arguments["kind"]})
        channel.tx_select()
        for number in numbers:
            channel.basic_publish("", queue, body_of(number), PERSISTENT)
            if number % TOGETHER == TOGETHER - 1:
                channel.tx_commit()
        channel.tx_commit()


class Reader:
    """Somebody who reads the stream from an offset on."""

    def __init__(self, server, offset):
        self.connection = server.amqp()
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=100)
        self.seen = []
        self.channel.basic_consume("stream", self.take, arguments={"x-stream-offset": offset})

    def take(self, channel, method, properties, body):
        self.seen.append((properties.headers["x-stream-offset"], body))
        channel.basic_ack(method.delivery_tag)

    def reads(self, numbers, what):
        """Exactly these come, and nothing more for a while."""
        until = time.monotonic() + 30
        while len(self.seen) < len(numbers) and time.monotonic() < until:
            self.connection.process_data_events(0.1)
        self.connection.process_data_events(0.5)
        equal(len(self.seen), len(numbers), f"{what}: so many messages")
        for seen, number in zip(self.seen, numbers):
            equal(seen, (number, body_of(number)), what)
        self.seen.clear()


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def place_of(server, number):
    for path in sorted(glob.glob(os.path.join(server.data, "*.segment"))):
        with open(path, "rb") as file:
            at = file.read().find(body_of(number))
        if at >= 0:
            return path, at + len(body_of(number)) // 2
    raise AssertionError(f"message {number} is in no segment")


def complaints(server):
    with open(server.log) as log:
        return [line for line in log if "cannot be read" in line]


def cpu_seconds(server):
    with open(f"/proc/{server.process.pid}/stat") as stat:
        words = stat.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def checkpoint(server):
    """So that a start does not read the segments."""
    before = server.redis().lastsave()
    server.redis().bgsave()
    for _ in range(300):
        persistence = server.redis().info("persistence")
        if not persistence["rdb_bgsave_in_progress"]:
            break
        time.sleep(0.1)
    equal((persistence["rdb_last_bgsave_status"], server.redis().lastsave() >= before), ("ok", True))


def check(server, code):
    command = [os.environ["LEVERET_BINARY"], "check", "--data-dir", server.data]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    equal(ended.returncode, code, f"check: {ended.stdout}{ended.stderr}")
    return ended.stdout + ended.stderr


def stopped(server):
    server.process.send_signal(signal.SIGTERM)
    equal(server.process.wait(30), 0, "the end of a clean stop")


def damaged(server, name):
    """With a wrong byte in that file."""
    first = Reader(server, "first")
    first.reads(range(WRONG), "what stands before the damage")
    said = complaints(server)
    equal(len(said), 1, f"it is said once: {said}")
    holds(f"{name} is damaged at byte" in said[0], said[0])
    behind = Reader(server, COUNT - 500)
    behind.reads(range(COUNT - 500, COUNT), "what stands behind it, far away")
    # All others go on, also those of whose messages only the disk has most.
    publish(server, "other", range(COUNT))
    with server.amqp() as connection:
        channel = connection.channel()
        for number in range(COUNT):
            equal(channel.basic_get("other", auto_ack=True)[2], body_of(number), "another queue goes on")
        equal(channel.basic_get("other", auto_ack=True)[2], None)
    equal(server.redis().set("a", "b"), True)
    # A thread that spins has used at least a part of this time; whoever tries it again each second, next to nothing.
    used, began = cpu_seconds(server), time.monotonic()
    time.sleep(4)
    used, elapsed = cpu_seconds(server) - used, time.monotonic() - began
    holds(used < elapsed / 4, f"{used} s of CPU in {elapsed} s for nothing")
    equal(len(complaints(server)), 1, "it is still said once")
    return first


with Server("damaged-stream", *FLAGS) as server:
    publish(server, "stream", range(COUNT), kind="stream")
    segments = glob.glob(os.path.join(server.data, "*.segment"))
    holds(len(segments) > 10, f"{len(segments)} segments")
    path, at = place_of(server, WRONG + TOGETHER // 2)
    name = os.path.basename(path)
    holds(min(segments) < path < max(segments), f"{name} is in the middle")
    checkpoint(server)
    stopped(server)
    check(server, 0)
    flip(path, at)
    said = check(server, 1)
    holds(f"{name} is damaged at byte" in said and "a server starts" in said, said)
    server.start()
    first = damaged(server, name)
    # Somebody has a copy of the file.
    flip(path, at)
    first.reads(range(WRONG, COUNT), "all the rest, when it can be read")
    Reader(server, "first").reads(range(COUNT), "all of it")
    stopped(server)
    check(server, 0)
checks.passed()
