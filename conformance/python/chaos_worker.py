"""A worker of `chaos`: takes a message of any stage, changes keys, publishes the message to the next stage and acknowledges it, in
one commit. Over Redis' protocol under a lease, with `WATCH` and `MULTI`; or over AMQP in `tx`, with commands as messages.

    chaos_worker.py KIND SEED RESP_PORT AMQP_PORT

It lives until it is killed, or until nobody holds the other end of its standard input.
"""
import os
import random
import sys
import threading
import time

import pika
import redis

STAGES = 4
PERSISTENT = pika.BasicProperties(delivery_mode=2)
LEASE_MS = 3000
SHORT_LEASE_MS = 40


def queue(stage):
    return f"stage:{stage}"


def commands(stage, message, kind):
    """What is changed for a message at a stage, but for the counter."""
    return [["HINCRBY", f"marks:{message}", stage, 1], ["SET", f"at:{message}", stage], ["HINCRBY", "commits", kind, 1]]


class Resp:
    """Any token of any connection of the pool: what matters is who has it."""

    kind = "resp"
    gone = (redis.ConnectionError, redis.TimeoutError)

    def __init__(self, resp_port, _):
        self.redis = redis.Redis(port=resp_port, retry=None)

    def work(self):
        while True:
            stage = random.randrange(STAGES)
            is_late = random.random() < 0.02
            lease = SHORT_LEASE_MS if is_late else LEASE_MS
            count = random.choice([1, 1, 1, 3])
            taken = self.redis.execute_command("AMQP.GET", queue(stage), "COUNT", count, "LEASE", lease, "BLOCK", 20)
            if taken and is_late:
                time.sleep(2 * SHORT_LEASE_MS / 1000)
            if taken and random.random() < 0.02:
                self.give_back(taken.pop()[0])
            if taken:
                self.commit(stage, [entry[0] for entry in taken], [int(entry[1]) for entry in taken])

    def give_back(self, token):
        try:
            self.redis.execute_command("AMQP.NACK", token)
        except redis.ResponseError as error:
            # It was late, or the server is another one.
            assert str(error).startswith("LEASELOST"), error
            self.redis.hincrby("said", "lease lost", 1)

    def commit(self, stage, tokens, messages):
        counter = f"counter:{stage}"
        reads = random.random() < 0.5
        while True:
            with self.redis.pipeline() as pipe:
                try:
                    if reads:
                        pipe.watch(counter)
                        count = int(pipe.get(counter) or 0)
                    pipe.multi()
                    self.change(pipe, stage, messages)
                    if reads:
                        pipe.set(counter, count + len(messages))
                    else:
                        pipe.incrby(counter, len(messages))
                    acks = [["AMQP.ACK", *tokens]] if random.random() < 0.5 else [["AMQP.ACK", token] for token in tokens]
                    for ack in acks:
                        pipe.execute_command(*ack)
                    pipe.execute()
                    return
                except redis.WatchError:
                    # Somebody else has counted; the lease is as good as before.
                    self.redis.hincrby("said", "counted by others", 1)
                except redis.exceptions.ExecAbortError as error:
                    assert "because the lease" in str(error), error
                    self.redis.hincrby("said", "lease lost", 1)
                    return

    def change(self, pipe, stage, messages):
        for message in messages:
            for command in commands(stage, message, self.kind):
                pipe.execute_command(*command)
            if stage + 1 < STAGES:
                pipe.execute_command("AMQP.PUBLISH", "", queue(stage + 1), message, "MANDATORY")


class Amqp:
    """Consumes all queues, or gets from one after the other."""

    kind = "amqp"
    gone = (pika.exceptions.AMQPError, OSError)

    def __init__(self, _, amqp_port):
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", amqp_port))
        self.channel = connection.channel()
        self.channel.tx_select()

    def work(self):
        if random.random() < 0.5:
            self.channel.basic_qos(prefetch_count=3)
            for stage in range(STAGES):
                self.channel.basic_consume(
                    queue(stage), lambda _, method, __, body, stage=stage: self.commit(stage, method.delivery_tag, int(body))
                )
            self.channel.start_consuming()
        while True:
            found = False
            for stage in random.sample(range(STAGES), STAGES):
                method, _, body = self.channel.basic_get(queue(stage))
                if method:
                    found = True
                    self.commit(stage, method.delivery_tag, int(body))
            if not found:
                time.sleep(0.02)

    def commit(self, stage, tag, message):
        self.say(stage, message)
        self.channel.basic_ack(tag)
        if random.random() < 0.02:
            # Nothing of it has happened, and what was acknowledged is still held.
            self.channel.tx_rollback()
            self.commit(stage, tag, message)
        else:
            self.channel.tx_commit()

    def say(self, stage, message):
        for words in [["INCR", f"counter:{stage}"], *commands(stage, message, self.kind)]:
            self.channel.basic_publish("leveret.commands", "", body(words))
        if stage + 1 < STAGES:
            self.channel.basic_publish("", queue(stage + 1), b"%d" % message, PERSISTENT)


def body(words):
    """A command as a line, or as an array."""
    words = [str(word) for word in words]
    if random.random() < 0.5:
        return " ".join(words).encode()
    return "".join([f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]).encode()


class CarelessResp(Resp):
    """Changes and publishes in one commit, and would acknowledge in another one, if it lived to see it."""

    def commit(self, stage, tokens, messages):
        with self.redis.pipeline() as pipe:
            pipe.incrby(f"counter:{stage}", len(messages))
            self.change(pipe, stage, messages)
            pipe.execute()
        os._exit(1)


class CarelessAmqp(Amqp):
    """Likewise."""

    def commit(self, stage, tag, message):
        self.say(stage, message)
        self.channel.tx_commit()
        os._exit(1)


KINDS = {"resp": Resp, "amqp": Amqp, "careless-resp": CarelessResp, "careless-amqp": CarelessAmqp}


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


def main():
    threading.Thread(target=end_with_parent, daemon=True).start()
    kind, seed, resp_port, amqp_port = KINDS[sys.argv[1]], *map(int, sys.argv[2:])
    random.seed(seed)
    while True:
        try:
            kind(resp_port, amqp_port).work()
        except kind.gone:
            time.sleep(0.02)


if __name__ == "__main__":
    main()
