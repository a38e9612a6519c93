"""A minute of load on both worlds at once, with kill -9 for the server and for its workers at random moments: each message goes
through four stages, and each stage of each message must have been done exactly once.

Twenty workers in processes of their own (`chaos_worker.py`), half of each protocol, take from the same queues and change the same
keys. What they change, what they publish and what they acknowledge is one commit; so in the end counters are equal to messages, and
nothing is left over. At last two workers that acknowledge in a commit of their own must be noticed, or these checks would prove nothing.
CHAOS_SEED picks the dice, CHAOS_SECONDS the time.
"""
import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pika
import redis

from chaos_worker import PERSISTENT, STAGES, queue
from server import Server

SECONDS = float(os.environ.get("CHAOS_SECONDS", 60))
WORKERS = 20
# With more messages than that in the first stage the feeder waits.
BACKLOG_MAX = 150
DRAINED_AFTER_MAX = 120
CHECKS = 0


class Wrong(Exception):
    """Something was done twice, by half or not at all."""


def check(holds, text):
    global CHECKS
    CHECKS += 1
    if not holds:
        raise Wrong(text)


class Feeder(threading.Thread):
    """Publishes numbers with confirms, each once; what was not confirmed may be there or not."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.error = server, None
        self.tried, self.confirmed, self.is_over = 0, set(), threading.Event()

    def run(self):
        while not self.is_over.is_set():
            try:
                self.feed()
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.05)
            except Exception as error:
                self.error = error
                return

    def feed(self):
        connection = self.server.amqp()
        channel = connection.channel()
        channel.confirm_delivery()
        while not self.is_over.is_set():
            if channel.queue_declare(queue(0), passive=True).method.message_count > BACKLOG_MAX:
                connection.sleep(0.05)
                continue
            for _ in range(20):
                self.tried += 1
                channel.basic_publish("", queue(0), b"%d" % self.tried, PERSISTENT, mandatory=True)
                self.confirmed.add(self.tried)
        connection.close()

    def stop(self):
        self.is_over.set()
        self.join(60)
        assert not self.is_alive(), "the feeder does not end"
        if self.error:
            raise self.error


class Workers:
    """Processes; each is ended by its number, whatever happens."""

    def __init__(self, server, dice):
        self.server, self.dice, self.processes, self.kills = server, dice, [], 0

    def __enter__(self):
        for number in range(WORKERS):
            self.processes.append(self.spawn("resp" if number % 2 else "amqp"))
        return self

    def __exit__(self, *_):
        for _, process in self.processes:
            process.kill()
            process.wait()

    def spawn(self, kind):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "chaos_worker.py")
        words = [kind, self.dice.randrange(1 << 30), self.server.resp_port, self.server.amqp_port]
        command = [sys.executable, program, *map(str, words)]
        return kind, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill_one(self):
        at = self.dice.randrange(len(self.processes))
        kind, process = self.processes[at]
        process.kill()
        process.wait()
        self.kills += 1
        self.processes[at] = self.spawn(kind)

    def check(self):
        """None has ended by itself."""
        for kind, process in self.processes:
            if process.poll() is not None:
                raise AssertionError(f"a worker of {kind} ended:\n{process.stderr.read().decode()}")


def make_queues(server):
    connection = server.amqp()
    for stage in range(STAGES):
        kind = {"x-queue-type": "quorum", "x-delivery-limit": -1} if stage % 2 else None
        connection.channel().queue_declare(queue(stage), durable=True, arguments=kind)
    connection.close()


def held(server):
    """Messages of each queue that are ready, and those that somebody holds, over a channel or a lease."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/queues")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    with urllib.request.urlopen(request) as answer:
        return {one["name"]: (one["messages_ready"], one["messages_unacknowledged"]) for one in json.load(answer)}


def drain(server, workers):
    """Nobody is killed any more, and nothing new comes."""
    end = time.monotonic() + DRAINED_AFTER_MAX
    while any(sum(counts) for counts in held(server).values()):
        workers.check()
        if time.monotonic() > end:
            raise Wrong(f"after {DRAINED_AFTER_MAX} seconds there are {held(server)}")
        time.sleep(0.1)


def check_all(server, tried, confirmed):
    """Counters, marks and queues say the same: each message was at each stage once."""
    r = server.redis()
    there = held(server)
    check(sorted(there) == [queue(stage) for stage in range(STAGES)], f"the queues are {sorted(there)}")
    for name, counts in there.items():
        check(counts == (0, 0), f"{name} has {counts} ready and unacknowledged messages")
        check(r.execute_command("AMQP.LEN", name) == 0, f"{name} has a length")
    with r.pipeline(transaction=False) as pipe:
        for message in range(1, tried + 1):
            pipe.hgetall(f"marks:{message}")
            pipe.get(f"at:{message}")
        answers = pipe.execute()
    done = 0
    whole = {b"%d" % stage: b"1" for stage in range(STAGES)}
    for message in range(1, tried + 1):
        marks, at = answers[2 * message - 2], answers[2 * message - 1]
        if not marks and message not in confirmed:
            check(at is None, f"message {message} has no stage behind it and is at {at}")
            continue
        done += 1
        check(marks == whole, f"message {message} was at these stages so many times: {marks}")
        check(at == b"%d" % (STAGES - 1), f"message {message} ended at stage {at}")
    for stage in range(STAGES):
        count = int(r.get(f"counter:{stage}"))
        check(count == done, f"stage {stage} was counted {count} times for {done} messages")
    commits = {kind.decode(): int(count) for kind, count in r.hgetall("commits").items()}
    check(sum(commits.values()) == done * STAGES, f"there are {commits} commits for {done} messages")
    return done, commits


def storm(server, workers, dice):
    """Kills until the time is over; gives how often it was the server."""
    kills, end = 0, time.monotonic() + SECONDS
    next_kill, next_death = [time.monotonic() + dice.uniform(0.3, 1) for _ in range(2)]
    while (now := time.monotonic()) < end:
        if now >= next_kill:
            server.kill()
            # Now and then it is away for a while, and now and then it does not live long.
            time.sleep(dice.choice([0, 0, 0.2]))
            server.start()
            kills += 1
            next_kill = time.monotonic() + dice.choice([dice.uniform(0.02, 0.3), dice.uniform(0.3, 3)])
        if now >= next_death:
            workers.check()
            workers.kill_one()
            next_death = now + dice.uniform(0.1, 0.8)
        time.sleep(0.005)
    return kills


def careless_is_noticed(server, dice, tried, confirmed):
    """Two messages more, whose first workers die between commit and ack."""
    channel = server.amqp().channel()
    for kind in ("careless-resp", "careless-amqp"):
        tried += 1
        channel.basic_publish("", queue(0), b"%d" % tried, PERSISTENT)
        process = Workers(server, dice).spawn(kind)[1]
        try:
            assert process.wait(30) == 1, "a careless worker did not get its message"
        finally:
            process.kill()
            process.wait()
    with Workers(server, dice) as workers:
        drain(server, workers)
    try:
        check_all(server, tried, confirmed)
    except Wrong as wrong:
        print(f"careless workers are noticed: {wrong}")
    else:
        raise AssertionError("messages were acknowledged in commits of their own and nothing was wrong: these checks prove nothing")


def main():
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(1 << 30)))
    print(f"seed {seed}", flush=True)
    dice = random.Random(seed)
    # So small that a life has several segments and checkpoints, and the disk has most messages.
    flags = ["--log-segment-bytes", "1048576", "--auto-aof-rewrite-min-size", "300kb", "--auto-aof-rewrite-percentage", "20"]
    flags += ["--message-memory", "2kb"]
    with Server("chaos", *flags) as server:
        make_queues(server)
        feeder = Feeder(server)
        feeder.start()
        with Workers(server, dice) as workers:
            kills = storm(server, workers, dice)
            feeder.stop()
            drain(server, workers)
        confirmed = feeder.confirmed
        done, commits = check_all(server, feeder.tried, confirmed)
        # And the log says the same.
        server.kill()
        server.start()
        check_all(server, feeder.tried, confirmed)
        said = {what.decode(): int(count) for what, count in server.redis().hgetall("said").items()}
        print(f"{kills} kills of the server, {workers.kills} of workers")
        print(f"{done} messages, {len(confirmed)} of them confirmed; commits {commits}; {said}")
        assert kills >= SECONDS / 6, f"the server was killed too seldom to mean anything: {kills}"
        assert workers.kills >= SECONDS / 3, f"workers were killed too seldom to mean anything: {workers.kills}"
        assert all(commits[kind] > 5 * SECONDS for kind in ("resp", "amqp")), f"too little was done to mean anything: {commits}"
        assert said.get("lease lost") and said.get("counted by others"), f"nobody was late and nobody collided: {said}"
        with open(server.log) as log:
            checkpoints = log.read().count("a checkpoint was made")
        assert checkpoints, "no checkpoint was made"
        careless_is_noticed(server, dice, feeder.tried, confirmed)
    print(f"{CHECKS} checks passed")


main()
