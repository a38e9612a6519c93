"""What a full disk does: writers are refused with the reason, publishers are blocked and told why, readers and consumers go on, nothing
is answered that is not there afterwards, and everything goes on by itself when there is space again. And other trouble:
a directory that may not be written to, a clock that goes back, a disk that is full when the server starts or stops.

It mounts a small file system, so only root can run it.
"""
import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pika
import redis

import checks
from checks import equal, holds
from server import Server
from small_disk import small_disk

MEGABYTES = 12
MISCONF = "MISCONF Errors writing to the AOF file: No space left on device"


def small(name, *flags):
    """Hardly any room, and all of it for whoever takes it."""
    return small_disk(name, f"{MEGABYTES}m", "--disk-free-limit", "0", *flags)


def stop(server):
    server.process.send_signal(signal.SIGTERM)
    equal(server.process.wait(), 0, "the end of a clean stop")
    server.process = None


class Filling:
    """A file that takes what space is left; freed by its end."""

    def __init__(self, server, leave=0):
        self.path = os.path.join(server.data, "somebody else's")
        with open(self.path, "wb", buffering=0) as file:
            try:
                while (stat := os.statvfs(server.data)).f_bavail * stat.f_frsize > leave:
                    file.write(b"x" * min(65536, stat.f_bavail * stat.f_frsize - leave))
            except OSError as error:
                # Who else writes was quicker.
                assert error.errno == errno.ENOSPC, error

    def free(self):
        os.unlink(self.path)


def until(what, condition, seconds=10):
    for _ in range(int(seconds * 100)):
        try:
            if condition():
                break
        except redis.ResponseError:
            pass
        time.sleep(0.01)
    holds(condition(), f"it does not come to this: {what}")


def refused(call, *args):
    try:
        call(*args)
    except redis.ResponseError as error:
        equal(str(error), MISCONF, "the refusal")
        return
    raise AssertionError(f"{call} {args} was not refused")


def health(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    connection.request("GET", "/health")
    response = connection.getresponse()
    return response.status, json.loads(response.read())["status"]


def writer(server, answered, pending):
    """Writes until it is refused; remembers what was answered, and what was sent and never answered."""
    s = socket.create_connection(("127.0.0.1", server.resp_port))
    s.settimeout(1)
    for i in range(100_000):
        key = f"{threading.get_ident()}:{i}"
        value = "v" * 2000
        s.sendall(f"*3\r\n$3\r\nSET\r\n${len(key)}\r\n{key}\r\n$2000\r\n{value}\r\n".encode())
        try:
            answer = s.recv(200)
        except TimeoutError:
            pending.append((s, key))
            return
        if answer.startswith(b"-"):
            equal(answer.decode().strip(), "-" + MISCONF, "the refusal")
            return
        equal(answer, b"+OK\r\n", "an answer")
        answered.append(key)


def full(fsync):
    with small(f"full-{fsync}", "--appendfsync", fsync) as server:
        server.start()
        r = server.redis()
        r.set("before", 1)
        r.set("short", "gone soon", px=1500)
        connection = server.amqp()
        told = []
        channel = connection.channel()
        channel.queue_declare("jobs", durable=True)
        channel.confirm_delivery()
        for i in range(20):
            channel.basic_publish("", "jobs", b"job %d" % i, pika.BasicProperties(delivery_mode=2))
        blocker = redis.Redis(port=server.resp_port, retry=None, socket_timeout=90)
        waiting = []
        waiter = threading.Thread(target=lambda: waiting.append(blocker.blpop("never", 60)), daemon=True)
        waiter.start()

        answered, pending = [], []
        threads = [threading.Thread(target=writer, args=(server, answered, pending)) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        holds(len(answered) > 500, f"only {len(answered)} writes were answered")
        # Refused now, at once, with the reason; so is PING, as Redis does it.
        for call in [lambda: r.set("x", 1), lambda: r.delete("before"), lambda: r.ping(), lambda: r.lpush("never", 1),
                     lambda: r.eval("return redis.pcall('set', 'x', 1)", 0), lambda: r.execute_command("AMQP.PUBLISH", "", "jobs", "x"),
                     lambda: r.blpop("never", 1)]:
            refused(call)
        try:
            with r.pipeline() as p:
                p.get("before")
                p.set("x", 1)
                p.execute()
            raise AssertionError("the transaction was not refused")
        except redis.ResponseError as error:
            holds(MISCONF in str(error) or "EXECABORT" in str(error), str(error))
        # Readers go on, of everything that was answered, and of keys whose time is up.
        equal(r.get("before"), b"1", "a read")
        equal(r.eval("return redis.call('get', 'before')", 0), b"1", "a script that reads")
        for key in answered[::50]:
            equal(server.redis().strlen(key), 2000, "what was answered can be read")
        time.sleep(1.6)
        equal(r.get("short"), None, "a key whose time is up")
        equal(r.info("persistence")["aof_last_write_status"], "err", "INFO")
        equal(health(server), (503, "disk full"), "/health")
        # Consumers go on; publishers are told.
        consumer = server.amqp().channel()
        for i in range(10):
            method, _, body = consumer.basic_get("jobs")
            equal(body, b"job %d" % i, "consumers go on")
            consumer.basic_ack(method.delivery_tag)
        confirmed = []
        published = server.amqp()
        # While it waits for a confirm the blocking connection itself tells nobody.
        published._impl.add_on_connection_blocked_callback(lambda _, method: told.append(method.method.reason))
        published._impl.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))

        def publish():
            publisher = published.channel()
            publisher.confirm_delivery()
            publisher.basic_publish("", "jobs", b"late", pika.BasicProperties(delivery_mode=2))
            confirmed.append("late")

        publishing = threading.Thread(target=publish, daemon=True)
        publishing.start()
        publishing.join(1)
        equal(confirmed, [], "nothing is confirmed while the disk is full")
        equal(told, ["low on disk"], "who publishes is told")
        for s, _ in pending:
            s.settimeout(0.01)
            try:
                raise AssertionError(f"{s.recv(100)} was answered while it is not written")
            except TimeoutError:
                pass
        holds(server.process.poll() is None, "the server runs")

        # Space again.
        assert subprocess.run(["mount", "-o", f"remount,size={MEGABYTES + 8}m", server.data]).returncode == 0
        until("writes are taken again", lambda: r.set("after", 1))
        for s, key in pending:
            s.settimeout(10)
            equal(s.recv(100), b"+OK\r\n", "who waited is answered")
            answered.append(key)
        publishing.join(10)
        equal(confirmed, ["late"], "what waited is confirmed")
        equal(told, ["low on disk", "unblocked"], "who publishes is told")
        equal(r.lpush("never", "something"), 1, "who waited for a key")
        waiter.join(10)
        equal(waiting, [(b"never", b"something")], "who waited for a key")
        equal(health(server), (200, "ok"), "/health")
        equal(r.info("persistence")["aof_last_write_status"], "ok", "INFO")
        equal(r.ping(), True, "PING")
        until("an overdue key is removed", lambda: r.dbsize() == len(answered) + 2)
        # Nothing that was answered is lost, nothing that was refused is there.
        server.kill()
        server.start()
        r = server.redis()
        for key in answered:
            equal(r.strlen(key), 2000, f"{key} was answered")
        equal(sorted(r.keys()), sorted([b"before", b"after", *[key.encode() for key in answered]]), "and nothing else")
        bodies = []
        channel = server.amqp().channel()
        while (got := channel.basic_get("jobs", auto_ack=True))[0]:
            bodies.append(got[2])
        equal(bodies, [b"job %d" % i for i in range(10, 20)] + [b"late"], "the queue")
        print(f"full, {fsync}: {len(answered)} answered, {len(pending)} waited", flush=True)


def killed_while_full():
    """What waited for space may be lost, what was answered not."""
    with small("full-killed") as server:
        server.start()
        answered, pending = [], []
        threads = [threading.Thread(target=writer, args=(server, answered, pending)) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        refused(server.redis().set, "x", 1)
        server.kill()
        # Not a byte more, and it starts, and reads.
        server.start()
        keys = {key.decode() for key in server.redis().keys()}
        equal([key for key in answered if key not in keys], [], "what was answered is there")
        equal(sorted(keys - set(answered) - {key for _, key in pending}), [], "and nothing that was refused")


def back_and_forth():
    """Full and free again, while many write."""
    with small("full-often") as server:
        server.start()
        r, answered, refusals, stopped = server.redis(), [], [], threading.Event()

        def write(name):
            mine = redis.Redis(port=server.resp_port, retry=None, socket_timeout=60)
            for i in range(1_000_000):
                if stopped.is_set():
                    return
                try:
                    mine.set(f"{name}:{i % 40}", f"{i}" * 300)
                    answered.append((name, i))
                except redis.ResponseError as error:
                    equal(str(error), MISCONF, "the refusal")
                    refusals.append(i)
                    time.sleep(0.01)

        threads = [threading.Thread(target=write, args=(n,)) for n in "abc"]
        [t.start() for t in threads]
        for _ in range(6):
            filling = Filling(server, leave=40_000)
            until("it is full", lambda: health(server)[0] == 503)
            refused(r.set, "x", 1)
            filling.free()
            until("there is space", lambda: health(server)[0] == 200)
            before = len(answered)
            until("writers go on", lambda: len(answered) > before + 5)
        stopped.set()
        [t.join() for t in threads]
        last = {}
        for name, i in answered:
            last[f"{name}:{i % 40}"] = i
        server.kill()
        server.start()
        for key, i in last.items():
            equal(server.redis().get(key).decode(), f"{i}" * 300, f"the last answered value of {key}")
        print(f"back and forth: {len(answered)} answered, {len(refusals)} refused", flush=True)


def at_start_and_stop():
    with small("full-start") as server:
        Filling(server)
        refusal = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
        # The lock cannot say whose it is; or the first write finds out.
        holds(refusal.returncode == 1 and "No space left on device" in refusal.stderr and server.data in refusal.stderr, f"{refusal}")
    with small("full-stop") as server:
        server.start()
        r = server.redis()
        r.set("kept", 1)
        filling = Filling(server)
        answered, pending = [], []
        writer(server, answered, pending)
        stop(server)
        filling.free()
        server.start()
        holds(all(server.redis().exists(key) for key in ["kept", *answered]), "what was answered")


def import_without_space():
    """What is half there is not taken for the whole."""
    with small("full-import") as server:
        snapshot = os.path.join(server.directory, "large.rdb")
        keys = 4000
        with open(snapshot, "wb") as file:
            file.write(b"REDIS0010")
            for i in range(keys):
                name = b"%d" % i
                file.write(b"\x00" + bytes([len(name)]) + name + b"\x50\x00" + b"v" * 4096)
            file.write(b"\xff" + bytes(8))

        def importing(*flags):
            command = [os.environ["LEVERET_BINARY"], "import", snapshot, "--data-dir", server.data, *flags]
            return subprocess.run(command, capture_output=True, text=True, timeout=60)

        ended = importing()
        said = re.search(r"No space left on device.*\nUp to (\d+) keys had been imported before", ended.stderr)
        holds(ended.returncode == 1 and said and 0 < int(said[1]) < keys, f"{ended}")
        ended = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
        holds(ended.returncode == 1 and "was not finished" in ended.stderr, f"{ended}")
        assert subprocess.run(["mount", "-o", "remount,size=64m", server.data]).returncode == 0
        ended = importing("--replace")
        holds(ended.returncode == 0 and f"{keys} keys" in ended.stdout, f"{ended}")
        server.start()
        equal(server.redis().dbsize(), keys, "all of it")
        # Killed on the way.
        stop(server)
        command = [os.environ["LEVERET_BINARY"], "import", snapshot, "--data-dir", server.data, "--flush"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while not os.path.exists(os.path.join(server.data, "IMPORTING")):
                assert process.poll() is None, "it was quicker"
                time.sleep(0.001)
            process.kill()
        ended = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
        holds(ended.returncode == 1 and "was not finished" in ended.stderr, f"{ended}")
        equal(importing("--flush").returncode, 0, "once more")
        server.start()
        equal(server.redis().dbsize(), keys, "all of it")


def backup_without_space():
    """A backup and a restore onto a disk that is too small: told, nothing half, and the same again when there is space."""
    def leveret(*arguments):
        return subprocess.run([os.environ["LEVERET_BINARY"], *arguments], capture_output=True, text=True, timeout=60)

    with small("backup") as disk, Server("backup-source") as server:
        r = server.redis()
        for i in range(5000):
            r.set(i, os.urandom(4096))
        archive = os.path.join(disk.data, "backups")
        making = ["backup", "--data-dir", server.data, "--to", archive]
        ended = leveret(*making)
        holds(ended.returncode == 1 and re.search(r"cannot write the copy of \S+: No space left on device", ended.stderr), f"{ended}")
        equal([name for name in os.listdir(archive) if name.endswith((".tmp", ".backup"))], [], "nothing half")
        r.set("meanwhile", "on")
        subprocess.run(["mount", "-o", "remount,size=64m", disk.data], check=True)
        equal(leveret(*making).returncode, 0, "with space")
        subprocess.run(["mount", "-o", "remount,size=30m", disk.data], check=True)
        target = os.path.join(disk.data, "restored")
        restoring = ["restore", "--from", archive, "--data-dir", target]
        ended = leveret(*restoring)
        holds(ended.returncode == 1 and "No space left on device" in ended.stderr, f"{ended}")
        equal(sorted(os.listdir(target)), ["BACKUP", "LOCK"], "nothing half")
        subprocess.run(["mount", "-o", "remount,size=64m", disk.data], check=True)
        ended = leveret(*restoring)
        holds(ended.returncode == 0 and "5001 keys" in ended.stdout, f"{ended}")
        # From a directory that may only be read.
        subprocess.run(["mount", "-o", "remount,ro", disk.data], check=True)
        elsewhere = os.path.join(server.directory, "elsewhere")
        ended = leveret("backup", "--data-dir", target, "--to", elsewhere)
        equal(ended.returncode, 0, f"{ended}")
        ended = leveret("restore", "--from", archive, "--data-dir", elsewhere + "-restored")
        holds(ended.returncode == 0 and "5001 keys" in ended.stdout, f"{ended}")
        subprocess.run(["mount", "-o", "remount,rw", disk.data], check=True)


def may_not_write():
    with small("read-only") as server:
        server.start()
        server.redis().set("a", 1)
        stop(server)
        subprocess.run(["mount", "-o", "remount,ro", server.data], check=True)
        refusal = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
        holds(refusal.returncode == 1, f"{refusal}")
        holds(f"cannot use the data directory {server.data}: " in refusal.stderr and "Read-only file system" in refusal.stderr, refusal.stderr)
        ended = subprocess.run([os.environ["LEVERET_BINARY"], "log", "verify", "--data-dir", server.data], capture_output=True, text=True)
        holds(ended.returncode == 0 and "the log is whole" in ended.stdout, f"looking is possible: {ended}")
        ended = subprocess.run([os.environ["LEVERET_BINARY"], "check", "--data-dir", server.data], capture_output=True, text=True)
        holds(ended.returncode == 1 and f"cannot write to {server.data}: Read-only file system" in ended.stderr, f"a check says so: {ended}")
        subprocess.run(["mount", "-o", "remount,rw", server.data], check=True)


for fsync in ("everysec", "always"):
    full(fsync)
killed_while_full()
back_and_forth()
at_start_and_stop()
import_without_space()
backup_without_space()
may_not_write()
checks.passed()
