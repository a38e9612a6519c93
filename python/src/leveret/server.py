"""Finding the `leveret` binary, and private servers: free ports, a directory of their own, gone when they are closed."""

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from typing import Any, List, Optional

import redis


def find_binary() -> str:
    """The server's program: `LEVERET_BINARY`, what the wheel installed, or the first one in `PATH`."""
    named = os.environ.get("LEVERET_BINARY")
    if named:
        return named
    name = "leveret.exe" if os.name == "nt" else "leveret"
    # The wheel puts it there; an environment that is not activated does not have that folder in PATH.
    installed = os.path.join(sysconfig.get_path("scripts"), name)
    if os.access(installed, os.X_OK):
        return installed
    found = shutil.which(name)
    if not found:
        raise FileNotFoundError("there is no program 'leveret': install the wheel, or set LEVERET_BINARY")
    return found


class Server:
    """A server on free ports of 127.0.0.1.

    Without `directory` its data is in a temporary one that `close` removes. `flags` are added to `leveret serve`.
    """

    def __init__(self, *flags: str, directory: Optional[str] = None, binary: Optional[str] = None) -> None:
        self.flags = flags
        self.binary = binary or find_binary()
        self._temporary = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="leveret-")
        self.process: Optional["subprocess.Popen[bytes]"] = None
        self.resp_port = self.amqp_port = self.http_port = 0

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def url(self) -> str:
        """For `redis.Redis.from_url`."""
        return f"redis://127.0.0.1:{self.resp_port}/0"

    @property
    def amqp_url(self) -> str:
        """For clients of RabbitMQ."""
        return f"amqp://guest:guest@127.0.0.1:{self.amqp_port}/%2F"

    @property
    def http_url(self) -> str:
        """The management API, `/health` and `/metrics`."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def data(self) -> str:
        """The data directory."""
        return os.path.join(self.directory, "data")

    @property
    def log(self) -> str:
        """The file with what the server says."""
        return os.path.join(self.directory, "server.log")

    def start(self, wait: float = 30.0) -> None:
        """Starts the server, on the ports that it had if it ran before, and waits until it answers."""
        again = self.resp_port != 0
        # Somebody else may take a port between its choice and its use.
        for attempt in range(1 if again else 5):
            if not again:
                self.resp_port, self.amqp_port, self.http_port = _free_ports(3)
            try:
                self._start(time.monotonic() + wait)
                return
            except RuntimeError:
                if again or attempt == 4:
                    raise

    def _start(self, deadline: float) -> None:
        command: List[str] = [self.binary, "serve", "--bind", "127.0.0.1", "--data-dir", self.data]
        command += ["--resp-port", str(self.resp_port), "--amqp-port", str(self.amqp_port)]
        command += ["--http-port", str(self.http_port), *self.flags]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self._answers():
            if self.process.poll() is not None:
                with open(self.log, errors="replace") as log_text:
                    told = log_text.read()[-2000:]
                raise RuntimeError(f"leveret ended with {self.process.returncode}:\n{told}")
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError("leveret does not answer")
            time.sleep(0.002)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.resp_port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                # Any answer: with a password it is a refusal.
                return probe.recv(1) != b""
        except OSError:
            return False

    def stop(self) -> None:
        """Ends the server in order; its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server as a crash does; its data stays."""
        self._end(getattr(signal, "SIGKILL", signal.SIGTERM))

    def _end(self, how: int) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def close(self) -> None:
        """Ends the server; its data goes, unless `directory` was given."""
        if self._temporary:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            self.stop()

    def redis(self, **options: Any) -> "redis.Redis":
        """A client."""
        return redis.Redis.from_url(self.url, **options)


def _free_ports(count: int) -> List[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
