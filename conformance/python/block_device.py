"""Trouble of a real file system on a block device, which a memory file system does not have: a disk that hangs for a while, and one
that fails when something is written to it or synced. The device is a loop over a file, and what is wrong is wrong below that file.

It makes loop devices and mounts them, so only root can run it.
"""
import contextlib
import os
import shutil
import subprocess
import threading
import time

import pika
import redis

import checks
from checks import equal, holds
from server import Server

PERSISTENT = pika.BasicProperties(delivery_mode=2)
OWN_MEGABYTES = 8
# A failing disk is found within so many writes of 64 KiB.
WRITES_MAX = 5000


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def mounted(where, *words):
    os.makedirs(where)
    run("mount", *words, where)
    try:
        yield
    finally:
        run("umount", "-l", where)


@contextlib.contextmanager
def device(file, megabytes):
    """A block device over a file that has no blocks yet but for those of the file system itself: only data is lost with it."""
    with open(file, "w") as sparse:
        sparse.truncate(megabytes << 20)
    name = run("losetup", "--find", "--show", file)
    try:
        # The loop takes a write for done of which a part was, so each is a page.
        with open(f"/sys/block/{os.path.basename(name)}/queue/max_sectors_kb", "w") as limit:
            limit.write("4")
        # All of its own stands in front, and is written once.
        run("mkfs.ext4", "-q", "-F", "-N", "1024", "-J", "size=4", "-E", "packed_meta_blocks=1,nodiscard", name)
        run("dd", f"if={name}", f"of={name}", "bs=1M", f"count={OWN_MEGABYTES}", "conv=notrunc,fsync")
        yield name
    finally:
        run("losetup", "--detach", name)


def end(server):
    if server.process and server.process.poll() is None:
        server.process.kill()
        server.process.wait()


def hangs():
    """While nothing reaches the disk nothing is confirmed, everybody who needs no disk goes on, and what was sent is there afterwards."""
    server = Server("hanging", "--log-segment-bytes", str(16 << 20))
    below, inner = os.path.join(server.directory, "below"), os.path.join(server.directory, "inner")
    try:
        with mounted(below, "-t", "tmpfs", "-o", "size=256m", "leveret-test"), device(f"{below}/outer", 200) as outer:
            with mounted(inner, outer), device(f"{inner}/disk", 128) as disk, mounted(server.data, disk):
                server.start()
                hanging(server, inner)
                end(server)
    finally:
        end(server)
        shutil.rmtree(server.directory, ignore_errors=True)


def hanging(server, inner):
    reader, connection = server.redis(), server.amqp()
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", "q", b"before", PERSISTENT)
    reader.set("a", "before")
    run("fsfreeze", "--freeze", inner)
    confirmed = threading.Event()

    def publish():
        channel.basic_publish("", "q", b"meanwhile", PERSISTENT)
        confirmed.set()

    publisher = threading.Thread(target=publish)
    try:
        publisher.start()
        # The answers of everysec leave when the kernel has what was written.
        for number in range(1000):
            equal(reader.set("a", number), True)
            equal(reader.get("a"), b"%d" % number)
        other = server.amqp()
        passing = other.channel()
        passing.queue_declare("passing", exclusive=True)
        for number in range(1000):
            passing.basic_publish("", "passing", b"%d" % number)
        for number in range(1000):
            equal(passing.basic_get("passing", auto_ack=True)[2], b"%d" % number, "transient messages go on")
        other.close()
        holds(not confirmed.is_set(), "a message is confirmed that the disk does not have")
    finally:
        run("fsfreeze", "--unfreeze", inner)
    publisher.join(60)
    holds(confirmed.is_set(), "the confirm comes when the disk goes on")
    server.kill()
    server.start()
    equal(server.redis().get("a"), b"999")
    channel = server.amqp().channel()
    equal([channel.basic_get("q", auto_ack=True)[2] for _ in range(2)], [b"before", b"meanwhile"])


def fails(fsync):
    """The first write or sync that fails ends the server: what it has answered since it might not be there. What it had
    answered before is, on a disk that works again."""
    server = Server("failing", "--log-segment-bytes", str(4 << 20), "--appendfsync", fsync)
    below = os.path.join(server.directory, "below")
    try:
        with mounted(below, "-t", "tmpfs", "-o", "size=32m", "leveret-test"), device(f"{below}/disk", 512) as disk:
            with mounted(server.data, disk):
                server.start()
                keys, confirmed = failing(server)
                said = open(server.log).read()
            # Whoever replaces the disk has what was on it.
            run("mount", "-o", "remount,size=600m", below)
            subprocess.run(["fsck.ext4", "-p", disk], capture_output=True)
            os.rmdir(server.data)
            with mounted(server.data, disk):
                server.start()
                r = server.redis()
                if fsync == "always":
                    for number in range(keys):
                        equal(r.strlen(f"key:{number}"), 65536, f"key {number} was answered")
                channel = server.amqp().channel()
                for number in range(confirmed):
                    equal(channel.basic_get("q", auto_ack=True)[2][:8], b"%08d" % number, f"message {number} was confirmed")
                end(server)
        reasons = "Input/output error", "No space left on device", "Read-only file system"
        holds("stopping" in said and any(reason in said for reason in reasons), f"the reason is said: {said[-2000:]}")
    finally:
        end(server)
        shutil.rmtree(server.directory, ignore_errors=True)


def failing(server):
    """Keys and messages that were answered before the server ended."""
    r, channel = server.redis(), server.amqp().channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()
    keys = confirmed = 0
    try:
        for number in range(WRITES_MAX):
            r.set(f"key:{number}", b"x" * 65536)
            keys += 1
            channel.basic_publish("", "q", b"%08d" % number, PERSISTENT)
            confirmed += 1
    except (redis.RedisError, pika.exceptions.AMQPError, OSError) as error:
        print(f"after {keys} keys and {confirmed} messages: {error!r}")
    holds(confirmed > 10, "the disk works at first")
    holds(server.process.wait(60) not in (None, 0), "a server does not go on when its disk has failed")
    return keys, confirmed


hangs()
for fsync in ("everysec", "always"):
    fails(fsync)
checks.passed()
