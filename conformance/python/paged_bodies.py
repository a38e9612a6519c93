"""Messages that only the disk has: a backlog far beyond `message-memory` takes little memory, survives a restart and a kill, comes
out in order, and gives its space on the disk back. Getting, looking at and purging such messages is what it always is.
Transient messages take little memory, too, and nothing of them is left by a restart. So do messages that a consumer holds, that wait
in exchanges, and that streams keep.
"""
import base64
import json
import os
import subprocess
import tempfile
import time
import urllib.request

import pika

import checks
from checks import holds
from server import Server

COUNT = 100_000
BODY = b"." * 500
# Of some 60 MB of bodies, and four times as much as they take in memory.
MEMORY = 4 * 1024 * 1024
# A process, what passes through it, 32 bytes for each message, and what a start reads a segment into.
RESIDENT_MAX = 72 * 1024 * 1024
SEGMENT = 4 * 1024 * 1024
PERSISTENT = pika.BasicProperties(delivery_mode=2)
TRANSIENT = pika.BasicProperties(delivery_mode=1)


def resident_bytes(server):
    with open(f"/proc/{server.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def management(server, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/{path}")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    request.add_header("Content-Type", "application/json")
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data) as answer:
        return json.load(answer)


def report(server, queue="backlog"):
    return management(server, f"queues/%2F/{queue}")


def publish(server, queue, numbers, properties=lambda number: PERSISTENT, durable=True, arguments=None, exchange=""):
    connection = server.amqp()
    channel = connection.channel()
    if queue:
        channel.queue_declare(queue, durable=durable, arguments=arguments)
    # Not one by one: a transaction is confirmed as a whole.
    channel.tx_select()
    for number in numbers:
        channel.basic_publish(exchange, queue, b"%d" % number + BODY, properties(number))
        if number % 1000 == 999:
            channel.tx_commit()
    channel.tx_commit()
    connection.close()


def is_number(body, number):
    return body == b"%d" % number + BODY


def consume(server, queue, expected, count, step=1):
    """Takes so many messages, which are in order from `expected` on, by steps; gives the next number."""
    connection = server.amqp()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=300)
    end = expected + count * step
    for method, _, body in channel.consume(queue, inactivity_timeout=30):
        holds(method and is_number(body, expected), f"{(body or b'nothing')[:10]} came, {expected} was next")
        expected += step
        if expected % (100 * step) == 0 or expected == end:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if expected == end:
            break
    channel.cancel()
    connection.close()
    return expected


def is_small(server, when):
    resident = resident_bytes(server)
    holds(resident < RESIDENT_MAX, f"{resident >> 20} MB are resident {when}")


def tool(server, name):
    """What `leveret log` says of a directory."""
    command = [os.environ["LEVERET_BINARY"], "log", name, "--data-dir", server.data]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def gives_space_back(server, when):
    """It is looked ten times a second whether that is possible."""
    for _ in range(100):
        used = sum(entry.stat().st_size for entry in os.scandir(server.data))
        if used <= 6 * SEGMENT:
            break
        time.sleep(0.1)
    holds(used <= 6 * SEGMENT, f"{used >> 20} MB are on the disk though {when}")


def get_and_look(server, expected, queue="backlog"):
    """Takes single messages in all ways there are; gives the next number."""
    connection = server.amqp()
    channel = connection.channel()
    for _ in range(700):
        _, _, body = channel.basic_get(queue, auto_ack=True)
        holds(body is not None and is_number(body, expected), f"{(body or b'nothing')[:10]} was got, not {expected}")
        expected += 1
    # What is rejected stands where it stood.
    for _ in range(3):
        method, _, body = channel.basic_get(queue)
        holds(is_number(body, expected), f"{body[:10]} was got, not {expected}")
        channel.basic_reject(method.delivery_tag, requeue=True)
    connection.close()
    wanted = {"count": 1500, "ackmode": "ack_requeue_true", "encoding": "auto"}
    seen = management(server, f"queues/%2F/{queue}/get", wanted)
    holds(len(seen) == 1500, f"{len(seen)} messages can be looked at")
    for number, message in enumerate(seen, expected):
        holds(is_number(message["payload"].encode(), number), f"{message['payload'][:10]} is shown, not {number}")
    seen = management(server, f"queues/%2F/{queue}/get", {**wanted, "count": 600, "ackmode": "ack_requeue_false"})
    for message in seen:
        holds(is_number(message["payload"].encode(), expected), f"{message['payload'][:10]} is taken, not {expected}")
        expected += 1
    return expected


def spilled(server):
    """Files of transient messages, and bytes that they take."""
    files = [entry.stat() for entry in os.scandir(server.data) if entry.name.endswith(".spill")]
    return len(files), sum(file.st_blocks * 512 for file in files)


def nothing_is_spilled(server, when):
    for _ in range(100):
        if spilled(server) == (0, 0):
            break
        time.sleep(0.1)
    holds(spilled(server) == (0, 0), f"{spilled(server)} files and bytes are left though {when}")


def transient(flags):
    """Messages that the log does not have."""

    def of_both(number):
        return PERSISTENT if number % 4 == 0 else TRANSIENT

    all_bytes = COUNT * len(BODY)
    with Server("spilled-bodies", *flags) as server:
        publish(server, "passing", range(COUNT), lambda _: TRANSIENT, durable=False)
        told = report(server, "passing")
        holds(told["messages_paged_out"] > COUNT * 8 // 10, f"{told['messages_paged_out']} are on disk only")
        holds(told["messages_ram"] + told["messages_paged_out"] == COUNT, f"{told}")
        files, used = spilled(server)
        holds(files > 5 and used > all_bytes * 8 // 10, f"{files} files of {used} bytes have been spilled")
        is_small(server, "with the backlog")
        next_number = consume(server, "passing", 0, COUNT // 4)
        next_number = get_and_look(server, next_number, "passing")
        # Space comes back as they leave, though what came last is still there.
        for _ in range(100):
            if spilled(server)[1] <= used * 85 // 100:
                break
            time.sleep(0.1)
        holds(spilled(server)[1] <= used * 85 // 100, f"{spilled(server)} of {used} bytes are left")
        consume(server, "passing", next_number, COUNT - next_number)
        is_small(server, "when it was drained")
        nothing_is_spilled(server, "all was drained")

        # In one queue with others, and in one that the log has nothing of beside one of which it has all.
        publish(server, "mixed", range(COUNT), of_both)
        is_small(server, "with a mixed queue")
        next_number = consume(server, "mixed", 0, COUNT // 4)

        # What is too old becomes a letter, in order.
        letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-message-ttl": 3000}
        publish(server, "dead", [], durable=False)
        publish(server, "aging", range(20_000), lambda _: TRANSIENT, durable=False, arguments=letters)
        consume(server, "dead", 0, 20_000)

        # One message in three queues is written once. What the letters took has been given back by then.
        time.sleep(1)
        connection = server.amqp()
        channel = connection.channel()
        before = spilled(server)[1]
        for name in ("first", "second", "third"):
            channel.queue_declare(name, exclusive=True)
            channel.queue_bind(name, "amq.fanout")
        publish(server, "", range(60_000), lambda _: TRANSIENT, exchange="amq.fanout")
        once, used = 60_000 * len(BODY), spilled(server)[1] - before
        holds(once * 8 // 10 < used < once * 3 // 2, f"{used} bytes were spilled of {once} in three queues")
        for name in ("third", "first", "second"):
            expected = 0
            for _, _, body in channel.consume(name, auto_ack=True, inactivity_timeout=30):
                holds(body is not None and is_number(body, expected), f"{(body or b'')[:10]} came, not {expected}")
                expected += 1
                if expected == 60_000:
                    break
            channel.cancel()
        connection.close()

        # Who looks at the directory, or copies it, sees nothing of it.
        holds(spilled(server)[0] > 0, "nothing is spilled any more")
        with tempfile.TemporaryDirectory() as archive:
            command = [os.environ["LEVERET_BINARY"], "backup", "--data-dir", server.data, "--to", archive]
            subprocess.run(command, check=True, capture_output=True)
            copied = os.listdir(archive)
            holds(copied and not any(name.endswith(".spill") for name in copied), f"{copied} were copied")
        server.kill()
        holds(spilled(server)[0] > 0, "nothing is left by a kill")
        tool(server, "explain")
        tool(server, "verify")
        server.start()
        holds(spilled(server) == (0, 0), f"{spilled(server)} files and bytes are left after a start")
        consume(server, "mixed", next_number + -next_number % 4, (COUNT - next_number) // 4, step=4)
        holds(report(server, "mixed")["messages"] == 0, "something is left")

        # Those are in a durable queue, and the queue goes with all of them.
        publish(server, "mixed", range(COUNT), lambda _: TRANSIENT)
        holds(spilled(server)[0] > 5, f"{spilled(server)[0]} files have been spilled")
        connection = server.amqp()
        connection.channel().queue_delete("mixed")
        nothing_is_spilled(server, "the queue was deleted")
        publish(server, "passing", range(COUNT // 4), lambda _: TRANSIENT, durable=False)
        server.process.terminate()
        server.process.wait()
        holds(spilled(server) == (0, 0), f"{spilled(server)} files and bytes are left by a stop")


def take_all(channel, queue, numbers, **how):
    """Takes messages, which have these numbers in order; gives the last delivery tag."""
    numbers, tag = iter(numbers), None
    expected = next(numbers)
    for method, _, body in channel.consume(queue, inactivity_timeout=30, **how):
        holds(method and is_number(body, expected), f"{(body or b'nothing')[:10]} came, {expected} was next")
        tag = method.delivery_tag
        if "arguments" in how and tag % 100 == 0:
            channel.basic_ack(tag, multiple=True)
        expected = next(numbers, None)
        if expected is None:
            break
    return tag


def held_and_kept(flags):
    """Messages that a consumer holds, that wait in an exchange, and that a stream keeps."""
    count = 60_000
    with Server("held-bodies", *flags) as server:
        publish(server, "held", range(count))
        connection = server.amqp()
        channel = connection.channel()
        take_all(channel, "held", range(count))
        told = report(server, "held")
        holds(told["messages_unacknowledged"] == count, f"{told['messages_unacknowledged']} are held")
        holds(told["messages_unacknowledged_ram"] < count // 5, f"{told['messages_unacknowledged_ram']} are in memory")
        is_small(server, "with what is held")
        server.redis().bgsave()
        channel.close()
        # What came back is there in order, and what is held again survives a kill.
        channel = connection.channel()
        tag = take_all(channel, "held", range(count // 2))
        channel.basic_ack(tag, multiple=True)
        channel.tx_select()
        channel.tx_commit()
        server.kill()
        server.start()
        is_small(server, "after a kill")
        consume(server, "held", count // 2, count - count // 2)
        holds(report(server, "held")["messages"] == 0, "something is left")

        publish(server, "kept", range(count), arguments={"x-queue-type": "stream"})
        is_small(server, "with a stream")
        for start, first in (("first", 0), (count // 2, count // 2), ("last", count - 1)):
            channel = server.amqp().channel()
            channel.basic_qos(prefetch_count=300)
            take_all(channel, "kept", range(first, count), arguments={"x-stream-offset": start})
        is_small(server, "when a stream was read")
        server.process.terminate()
        server.process.wait()
        server.start()
        channel = server.amqp().channel()
        channel.basic_qos(prefetch_count=300)
        take_all(channel, "kept", range(count), arguments={"x-stream-offset": "first"})
        is_small(server, "when a stream was read after a start")
        channel.connection.close()

        connection = server.amqp()
        channel = connection.channel()
        channel.exchange_declare("later", "x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"})
        channel.queue_declare("due", durable=True)
        channel.queue_bind("due", "later")
        delayed = pika.BasicProperties(delivery_mode=2, headers={"x-delay": 25_000})
        publish(server, "", range(count // 2), lambda _: delayed, exchange="later")
        is_small(server, "with what waits")
        server.kill()
        server.start()
        holds(report(server, "due")["messages"] == 0, "something did not wait")
        consume(server, "due", 0, count // 2)


def main():
    flags = ["--message-memory", str(MEMORY), "--log-segment-bytes", str(SEGMENT)]
    with Server("paged-bodies", *flags, "--auto-aof-rewrite-min-size", str(2 * SEGMENT)) as server:
        publish(server, "backlog", range(COUNT))
        told = report(server)
        holds(told["messages"] == COUNT, f"{told['messages']} messages are there")
        holds(told["messages_paged_out"] > COUNT * 8 // 10, f"{told['messages_paged_out']} are on disk only")
        holds(told["messages_ram"] + told["messages_paged_out"] == COUNT, f"{told}")
        holds(told["message_bytes_ram"] <= MEMORY, f"{told['message_bytes_ram']} bytes are in memory")
        is_small(server, "with the backlog")
        next_number = consume(server, "backlog", 0, COUNT // 4)
        next_number = get_and_look(server, next_number)
        # Others come and go meanwhile, and checkpoints are made.
        publish(server, "other", range(20_000))
        server.redis().bgsave()
        for _ in range(300):
            if not server.redis().info("persistence")["rdb_bgsave_in_progress"]:
                break
            time.sleep(0.1)
        server.kill()
        told = tool(server, "explain")
        holds("only it has" in told, f"nothing is kept for messages:\n{told}")
        told = tool(server, "verify")
        holds("in queues that only they have" in told, f"nothing is said of what is kept:\n{told}")
        server.start()
        is_small(server, "after a kill")
        told = report(server)
        holds(told["messages"] == COUNT - next_number, f"{told['messages']} are left of {COUNT - next_number}")
        next_number = consume(server, "backlog", next_number, COUNT // 4)
        consume(server, "other", 0, 20_000)
        is_small(server, "while it is drained")
        server.process.terminate()
        server.process.wait()
        server.start()
        consume(server, "backlog", next_number, COUNT - next_number)
        holds(report(server)["messages"] == 0, "something is left")
        gives_space_back(server, "it was drained")
        # What nobody will see is not read.
        publish(server, "purged", range(60_000))
        connection = server.amqp()
        count = connection.channel().queue_purge("purged").method.message_count
        holds(count == 60_000, f"{count} messages were purged")
        gives_space_back(server, "it was purged")
        connection.close()
    transient(flags)
    held_and_kept(flags)
    checks.passed()


main()
