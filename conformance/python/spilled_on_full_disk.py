"""What transient messages may take of a disk: never what `disk-free-limit` leaves to the log. Then they stay in memory. And when the disk is full
all the same, Redis clients take messages out as AMQP consumers do, and what that gives back ends it.

It mounts a small file system, so only root can run it.
"""
import contextlib
import os
import socket
import time

import redis

import checks
from checks import equal, holds
from small_disk import small_disk

MEGABYTE = 1 << 20
DISK = 64 * MEGABYTE
FREE_MIN = 24 * MEGABYTE
# What is written between two looks, of the log, too, and a segment that is prepared.
SLACK = 5 * MEGABYTE
# Of 72 MB together.
COUNT = 2400
BODY = "." * 30_000
TRANSIENT = ["PROPS", "delivery-mode", "1"]


def free(server):
    stat = os.statvfs(server.data)
    return stat.f_bavail * stat.f_frsize


def spilled(server):
    files = (entry.stat() for entry in os.scandir(server.data) if entry.name.endswith(".spill"))
    return sum(file.st_blocks * 512 for file in files)


def until(what, condition, seconds=20):
    for _ in range(seconds * 20):
        if condition():
            break
        time.sleep(0.05)
    holds(condition(), f"it does not come to this: {what}")


def publish(server, queue, numbers, *properties):
    pipeline = server.redis().pipeline(transaction=False)
    for number in numbers:
        pipeline.execute_command("AMQP.PUBLISH", "", queue, f"{number:08}{BODY}", *properties)
        if number % 100 == 99:
            equal(pipeline.execute(), [1] * 100, "what was published")


def take(server, queue, numbers):
    """Takes these, in order."""
    r, numbers = server.redis(), list(numbers)
    while numbers:
        got = r.execute_command("AMQP.GET", queue, "COUNT", min(100, len(numbers)), "NOACK", "BLOCK", 2000)
        holds(got, f"{queue}: {len(numbers)} messages do not come")
        for message in got:
            equal(message[1][:8], b"%08d" % numbers.pop(0), f"{queue}: the message")


def fill(server):
    """Somebody else takes what space there is."""
    path = os.path.join(server.data, "somebody else's")
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return path


def is_refused(call):
    try:
        call()
    except redis.ResponseError as error:
        return "MISCONF " in str(error)
    return False


def declare(server):
    connection = server.amqp()
    channel = connection.channel()
    for queue in "passing", "kept":
        channel.queue_declare(queue, durable=True)
    connection.close()


with small_disk("spilled-on-full-disk", DISK, "--message-memory", "200kb", "--disk-free-limit", str(FREE_MIN)) as server:
    server.start()
    declare(server)
    publish(server, "passing", range(COUNT), *TRANSIENT)
    holds(spilled(server) > 20 * MEGABYTE, f"only {spilled(server)} bytes are spilled")
    holds(free(server) > FREE_MIN - SLACK, f"{free(server)} bytes are left")
    # That is the log's.
    publish(server, "kept", range(300))
    equal(server.redis().set("key", "value"), True, "a write")
    server.redis().wait(0, 0)
    take(server, "passing", range(COUNT))
    take(server, "kept", range(300))
    until("space is given back", lambda: spilled(server) == 0)
    # The log has taken some for good, until a checkpoint.
    server.redis().bgsave()
    until("the disk has space", lambda: free(server) > FREE_MIN + 10 * MEGABYTE)
    # It is spilled again as soon as there is space.
    time.sleep(6)
    publish(server, "passing", range(300), *TRANSIENT)
    holds(spilled(server) > MEGABYTE, f"only {spilled(server)} bytes are spilled")
    take(server, "passing", range(300))

with small_disk("spilled-on-full-disk", DISK, "--message-memory", "200kb", "--disk-free-limit", "0") as server:
    server.start()
    declare(server)
    publish(server, "passing", range(1000), *TRANSIENT)
    publish(server, "kept", range(100))
    holds(spilled(server) > 20 * MEGABYTE, f"only {spilled(server)} bytes are spilled")
    r = server.redis()
    # What is delivered is in the log by the thousand.
    token = r.execute_command("AMQP.GET", "kept")[0][0]
    fill(server)
    with socket.create_connection(("127.0.0.1", server.resp_port)) as unanswered:
        # Whichever does not fit is not answered until there is space.
        command = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$30000\r\n" + b"." * 30_000 + b"\r\n"
        for _ in range(200):
            unanswered.sendall(command)
            unanswered.settimeout(1)
            try:
                unanswered.recv(100)
            except TimeoutError:
                break
        holds(is_refused(lambda: r.set("key", "value")), "the disk is not full")
        holds(is_refused(lambda: r.execute_command("AMQP.PUBLISH", "", "passing", "x")), "somebody publishes")
        # It is answered when it is written: nobody may be told of what a kill would take back.
        settler = socket.create_connection(("127.0.0.1", server.resp_port))
        settler.sendall(b"AMQP.ACK %s\r\n" % token)
        settler.settimeout(0.5)
        try:
            holds(not settler.recv(100), "it was answered")
        except TimeoutError:
            checks.counted()
        # A lease is not in the log, so nothing waits.
        leased = r.execute_command("AMQP.GET", "kept")[0][0]
        equal(r.execute_command("AMQP.EXTEND", leased, 5000), 1, "a lease")
        equal(r.pipeline().execute_command("AMQP.EXTEND", leased, 5000).execute(), [1], "a lease in a transaction")
        equal(r.eval("return redis.call('AMQP.EXTEND', ARGV[1], 5000)", 0, leased), 1, "a lease in a script")
        writing = r.pipeline().execute_command("AMQP.EXTEND", leased, 50).set("key", 1)
        holds(is_refused(writing.execute), "EXEC writes")
        holds(is_refused(lambda: r.eval("return redis.call('SET', 'key', 1)", 0)), "a script writes")
        equal(r.execute_command("AMQP.NACK", leased), 1, "what goes back")
        # Neither are these, and what they give back ends it.
        take(server, "passing", range(1000))
        until("space is given back", lambda: not is_refused(lambda: r.set("key", "value")))
        settler.settimeout(10)
        equal(settler.recv(100), b":1\r\n", "the acknowledgement")
        unanswered.settimeout(10)
        equal(unanswered.recv(100), b"+OK\r\n", "the write that did not fit")
    server.kill()
    server.start()
    equal(r.get("key"), b"value", "the key")
    take(server, "kept", range(1, 100))
checks.passed()
