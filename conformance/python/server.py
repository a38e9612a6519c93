"""A server that a program starts, kills and starts again on the same directory and ports."""
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pika
import redis


def free_port():
    """None that the kernel gives to clients, so that a server that was killed finds its port again."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return port


class Server:
    """`with Server("name") as server:` is a running server; afterwards nothing of it is left."""

    def __init__(self, name, *flags):
        self.directory = tempfile.mkdtemp(prefix=f"leveret-{name}-")
        self.resp_port, self.amqp_port, self.http_port = free_port(), free_port(), free_port()
        self.flags, self.process = flags, None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        if kind:
            with open(self.log) as log:
                print(log.read()[-4000:])
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def data(self):
        return os.path.join(self.directory, "data")

    @property
    def log(self):
        return os.path.join(self.directory, "server.log")

    @property
    def command(self):
        command = [os.environ["LEVERET_BINARY"], "serve", "--bind", "127.0.0.1", "--data-dir", self.data]
        command += ["--resp-port", str(self.resp_port), "--amqp-port", str(self.amqp_port)]
        return command + ["--http-port", str(self.http_port), *self.flags]

    def start(self, **options):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, **options)
        for _ in range(1500):
            try:
                self.redis().ping()
                return
            except redis.ConnectionError:
                assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
                time.sleep(0.02)
        raise AssertionError("the server does not answer")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def redis(self):
        return redis.Redis(port=self.resp_port, retry=None)

    def amqp(self):
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.amqp_port))
