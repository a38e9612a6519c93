"""Twenty times: load, SIGKILL at a random moment, restart, and everything that was answered is there, nothing half.

Writers note what was acknowledged: counters, lists, transactions over two keys, transactions over a key and a queue, and
persistent messages that were confirmed, some of them consumed and acked. A queue that is bound to `leveret.keyspace` has exactly
one message for each change of its key. In the end a part of the log is destroyed on
purpose: the same checks must then find a loss, or they would prove nothing.
"""
import os
import random
import threading
import time

import pika
import redis

from server import Server

ROUNDS = 20
WRITERS = 3
CHECKS = 0
DESTROYED_BYTES = 64 * 1024
PERSISTENT = pika.BasicProperties(delivery_mode=2)


class Loss(Exception):
    """Something that was acknowledged is not there, or something is there by half."""


def check(holds, text):
    global CHECKS
    CHECKS += 1
    if not holds:
        raise Loss(text)


class Client(threading.Thread):
    """Works until the server is gone. Whatever else goes wrong is kept and raised by `join`."""

    def __init__(self, server, notes):
        super().__init__(daemon=True)
        self.server, self.notes, self.error = server, notes, None

    def run(self):
        try:
            self.work()
        except (redis.ConnectionError, redis.TimeoutError, pika.exceptions.AMQPError, OSError):
            pass
        except Exception as error:
            self.error = error

    def join(self, timeout=30):
        super().join(timeout)
        assert not self.is_alive(), f"{type(self).__name__} does not see that the server is gone"
        if self.error:
            raise self.error


class Writer(Client):
    def work(self):
        r, notes = self.server.redis(), self.notes
        number = notes["number"]
        while True:
            notes["counter"] = r.incr(f"counter:{number}")
            notes["list"] = r.rpush(f"list:{number}", os.urandom(20))
            with r.pipeline(transaction=True) as pipe:
                value = os.urandom(8)
                pipe.set(f"left:{number}", value).set(f"right:{number}", value).execute()
            with r.pipeline(transaction=True) as pipe:
                pipe.incr(f"both:{number}")
                pipe.execute_command("AMQP.PUBLISH", "", f"both:{number}", notes["both"] + 1)
                notes["both"] = pipe.execute()[0]


class Publisher(Client):
    """Publishes numbers; `confirmed` gets each one that the server has confirmed."""

    def work(self):
        channel = self.server.amqp().channel()
        channel.confirm_delivery()
        while True:
            self.notes["tried"] += 1
            channel.basic_publish("", "confirmed", b"%d" % self.notes["tried"], PERSISTENT)
            self.notes["confirmed"].append(self.notes["tried"])


class Worker(Client):
    """Takes every other message and acks it; what it may have acked need not be there afterwards."""

    def work(self):
        channel = self.server.amqp().channel()
        for method, _, body in channel.consume("confirmed"):
            if int(body) % 2:
                self.notes["acked"].add(int(body))
                channel.basic_ack(method.delivery_tag)


def bodies(connection, queue):
    """Everything in a queue, in order, as numbers; it is left there."""
    channel = connection.channel()
    count = channel.queue_declare(queue, durable=True).method.message_count
    there = []
    if count:
        for method, _, body in channel.consume(queue, inactivity_timeout=10):
            check(method, f"{queue} said {count} messages and has {len(there)}")
            there.append(int(body))
            if len(there) == count:
                break
    channel.close()
    return there


def declare_captured(connection, number):
    """How many changes of a counter its queue has."""
    channel = connection.channel()
    count = channel.queue_declare(f"captured:{number}", durable=True).method.message_count
    channel.queue_bind(f"captured:{number}", "leveret.keyspace", f"0.incrby.counter:{number}")
    channel.close()
    return count


def check_all(server, writers, messages):
    r, connection = server.redis(), server.amqp()
    for notes in writers:
        number = notes["number"]
        counter, length = int(r.get(f"counter:{number}") or 0), r.llen(f"list:{number}")
        captured = declare_captured(connection, number)
        check(captured == counter, f"the key was changed {counter} times, the queue has {captured} messages of it")
        check(counter >= notes["counter"], f"INCR answered {notes['counter']}, there is {counter}")
        check(counter <= notes["counter"] + 1, f"INCR answered {notes['counter']}, there is {counter}: never sent")
        check(length >= notes["list"], f"RPUSH answered {notes['list']}, there are {length}")
        check(r.get(f"left:{number}") == r.get(f"right:{number}"), "two keys of one transaction differ")
        both = int(r.get(f"both:{number}") or 0)
        check(both >= notes["both"], f"EXEC answered {notes['both']}, there is {both}")
        there = bodies(connection, f"both:{number}")
        check(there == list(range(1, both + 1)), f"the key says {both} messages, the queue has {there[-3:]} at its end")
        # What was executed and not answered counts from now on.
        notes.update(counter=counter, list=length, both=both)
    there = bodies(connection, "confirmed")
    check(there == sorted(set(there)), "messages changed places or came twice")
    lost = set(messages["confirmed"]) - set(there) - messages["acked"]
    check(not lost, f"{len(lost)} of {len(messages['confirmed'])} confirmed messages are lost, {sorted(lost)[:3]} …")
    check(not there or there[-1] <= messages["tried"], "a message that nobody published")
    connection.close()


def load(server, writers, messages):
    clients = [Writer(server, notes) for notes in writers] + [Publisher(server, messages), Worker(server, messages)]
    for client in clients:
        client.start()
    time.sleep(random.uniform(0.1, 0.5))
    server.kill()
    for client in clients:
        client.join()


def destroy_end_of_log(directory):
    """Overwrites the end of what the newest segments hold with zeroes, as a disk that lied about a sync would."""
    left = DESTROYED_BYTES
    segments = [name for name in os.listdir(directory) if name.endswith(".segment")]
    for name in sorted(segments, reverse=True):
        path = os.path.join(directory, name)
        with open(path, "r+b") as file:
            content = file.read().rstrip(b"\0")
            cut = min(left, max(0, len(content) - 4096))
            file.seek(len(content) - cut)
            file.write(b"\0" * cut)
        left -= cut
        if not left:
            return
    raise AssertionError(f"{directory} holds no log that is long enough to be cut")


def main():
    writers = [{"number": number, "counter": 0, "list": 0, "both": 0} for number in range(WRITERS)]
    messages = {"tried": 0, "confirmed": [], "acked": set()}
    # So small that a life has several segments and checkpoints.
    flags = ["--log-segment-bytes", "1048576", "--auto-aof-rewrite-min-size", "300kb", "--auto-aof-rewrite-percentage", "20"]
    # And so little memory for messages that the disk has most of them.
    flags += ["--message-memory", "2kb"]
    with Server("kill", *flags) as server:
        check_all(server, writers, messages)
        for _ in range(ROUNDS):
            load(server, writers, messages)
            server.start()
            check_all(server, writers, messages)
        writes = sum(notes["counter"] + notes["list"] + notes["both"] for notes in writers)
        with open(server.log) as log:
            checkpoints = log.read().count("a checkpoint was made")
        assert checkpoints >= ROUNDS // 2, f"too few checkpoints to mean anything: {checkpoints}"
        assert writes > 1000, f"too little was written to mean anything: {writes}"
        assert len(messages["confirmed"]) > 100, f"too few messages to mean anything: {len(messages['confirmed'])}"
        assert len(messages["acked"]) > 50, f"too few acks to mean anything: {len(messages['acked'])}"

        load(server, writers, messages)
        destroy_end_of_log(server.data)
        try:
            server.start()
            check_all(server, writers, messages)
        except Loss as loss:
            print(f"a destroyed log is noticed: {loss}")
        except AssertionError as error:
            # What is behind the checkpoint was shorter than what was destroyed.
            assert "the server ended" in str(error), error
            print(f"a destroyed log is refused: {error}")
        else:
            raise AssertionError("the log was destroyed and nothing was missed: these checks prove nothing")
    print(f"{ROUNDS} kills, {writes} acknowledged writes, {len(messages['confirmed'])} confirmed messages, nothing lost")
    print(f"{CHECKS} checks passed")


main()
