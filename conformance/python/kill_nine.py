"""Twenty times: load, SIGKILL at a random moment, restart, and everything that was answered is there, nothing half.

Writers note what was acknowledged: counters, lists, and transactions that set two keys to the same value.
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

import redis

BINARY = os.environ["LEVERET_BINARY"]
ROUNDS = 20
WRITERS = 4


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(directory, port):
    server = subprocess.Popen(
        [BINARY, "serve", "--bind", "127.0.0.1", "--data-dir", directory, "--resp-port", str(port)],
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


def check(port, acked):
    r = redis.Redis(port=port)
    for number, notes in enumerate(acked):
        counter, length = int(r.get(f"counter:{number}") or 0), r.llen(f"list:{number}")
        assert counter >= notes.get(f"counter:{number}", 0), f"an acknowledged INCR is lost: {counter} {notes}"
        assert length >= notes.get(f"list:{number}", 0), f"an acknowledged RPUSH is lost: {length} {notes}"
        assert r.get(f"left:{number}") == r.get(f"right:{number}"), "half a transaction"


def main():
    directory, port = tempfile.mkdtemp(prefix="leveret-kill-"), free_port()
    acked = [{} for _ in range(WRITERS)]
    server = None
    try:
        for _ in range(ROUNDS):
            server = start(directory, port)
            check(port, acked)
            writers = [Writer(port, number, notes) for number, notes in enumerate(acked)]
            for writer in writers:
                writer.start()
            time.sleep(random.uniform(0.1, 0.5))
            server.send_signal(signal.SIGKILL)
            server.wait()
            for writer in writers:
                writer.join()
        server = start(directory, port)
        check(port, acked)
        writes = sum(sum(notes.values()) for notes in acked)
        assert writes > 1000, f"too little was written to mean anything: {writes}"
        print(f"{ROUNDS} kills, {writes} acknowledged writes, nothing lost")
    finally:
        if server:
            server.kill()
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)


main()
