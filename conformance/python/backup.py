"""`leveret backup`, `restore` and `check` as an operator uses them: backups of a server under load hold everything that was confirmed
before they began, transactions are whole, a point in time is cut exactly there, what is killed in the middle harms nothing, and
what was damaged afterwards is found.
"""
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pika
import redis

import checks
from checks import equal, holds
from server import Server

# So small that a few seconds have many segments and checkpoints.
FLAGS = ["--log-segment-bytes", "262144", "--auto-aof-rewrite-min-size", "500kb", "--auto-aof-rewrite-percentage", "50"]
PERSISTENT = pika.BasicProperties(delivery_mode=2)
WRITERS = 3


def leveret(*arguments, code=0):
    ended = subprocess.run([os.environ["LEVERET_BINARY"], *arguments], capture_output=True, text=True, timeout=120)
    equal(ended.returncode, code, f"{arguments}: {ended.stdout}{ended.stderr}")
    return ended.stdout + ended.stderr


def files(folder):
    return {name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest() for name in sorted(os.listdir(folder))}


def copies(folder):
    return [name for name in os.listdir(folder) if name.endswith((".segment", ".checkpoint", ".bodies"))]


@contextlib.contextmanager
def restored(archive, *flags, settings=()):
    """A server on what was restored from the backups."""
    server = Server("restored", *FLAGS, *settings)
    try:
        said = leveret("restore", "--from", archive, "--data-dir", server.data, *flags)
        server.restored_to = int(re.search(r"restored up to position (\d+)", said)[1])
        with server:
            yield server
    finally:
        shutil.rmtree(server.directory, ignore_errors=True)


class Load:
    """Clients that note what they were answered."""

    def __init__(self, server):
        self.server, self.stopping, self.errors = server, False, []
        self.notes = [{"counter": 0, "list": 0, "both": 0} for _ in range(WRITERS)]
        self.confirmed, self.tried = 0, 0
        channel = server.amqp().channel()
        for number in range(WRITERS):
            channel.queue_declare(f"both:{number}", durable=True)
        channel.queue_declare("confirmed", durable=True)
        runs = [lambda notes=notes, number=number: self.write(number, notes) for number, notes in enumerate(self.notes)]
        self.threads = [threading.Thread(target=self.guarded, args=[run], daemon=True) for run in [*runs, self.publish]]
        for thread in self.threads:
            thread.start()

    def guarded(self, run):
        try:
            run()
        except Exception as error:
            self.errors.append(error)

    def write(self, number, notes):
        r = self.server.redis()
        while not self.stopping:
            notes["counter"] = r.incr(f"counter:{number}")
            notes["list"] = r.rpush(f"list:{number}", os.urandom(100))
            with r.pipeline(transaction=True) as pipe:
                value = os.urandom(200)
                pipe.set(f"left:{number}", value).incr(f"both:{number}").set(f"right:{number}", value)
                pipe.execute_command("AMQP.PUBLISH", "", f"both:{number}", notes["both"] + 1)
                notes["both"] = pipe.execute()[1]

    def publish(self):
        channel = self.server.amqp().channel()
        channel.confirm_delivery()
        while not self.stopping:
            self.tried += 1
            channel.basic_publish("", "confirmed", b"%d" % self.tried, PERSISTENT)
            self.confirmed = self.tried

    def now(self):
        return [dict(notes) for notes in self.notes], self.confirmed

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"
        assert not self.errors, self.errors


def bodies(channel, queue):
    count = channel.queue_declare(queue, durable=True).method.message_count
    there = [int(channel.basic_get(queue, auto_ack=True)[2]) for _ in range(count)]
    return there


def check_restored(server, least, most):
    """Between what was confirmed before the backup and what had been asked for when it was through."""
    r, channel = server.redis(), server.amqp().channel()
    (notes, confirmed), (notes_after, tried) = least, most
    for number, (before, after) in enumerate(zip(notes, notes_after)):
        counter, length, both = int(r.get(f"counter:{number}") or 0), r.llen(f"list:{number}"), int(r.get(f"both:{number}") or 0)
        holds(before["counter"] <= counter <= after["counter"] + 1, f"INCR: {before} {counter} {after}")
        holds(before["list"] <= length <= after["list"] + 1, f"RPUSH: {before} {length} {after}")
        holds(before["both"] <= both <= after["both"] + 1, f"EXEC: {before} {both} {after}")
        equal(r.get(f"left:{number}"), r.get(f"right:{number}"), "two keys of one transaction")
        equal(bodies(channel, f"both:{number}"), list(range(1, both + 1)), "a key and a queue of one transaction")
    there = bodies(channel, "confirmed")
    equal(there, list(range(1, len(there) + 1)), "messages in order, none twice")
    holds(confirmed <= len(there) <= tried + 1, f"{confirmed} messages were confirmed, there are {len(there)}")


def under_load(server, archive):
    """Backups while everybody writes; some are killed."""
    load = Load(server)
    moments = []
    for round in range(8):
        time.sleep(random.uniform(0.1, 0.6))
        if round % 3 == 1:
            command = [os.environ["LEVERET_BINARY"], "backup", "--data-dir", server.data, "--to", archive]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                time.sleep(random.uniform(0, 0.08))
                process.kill()
            continue
        least = load.now()
        said = leveret("backup", "--data-dir", server.data, "--to", archive, "--point-in-time")
        notes, _ = load.now()
        position = int(re.search(r"up to position (\d+)", said)[1])
        moments.append((position, least, (notes, load.tried)))
        holds("cannot be restored" not in said, said)
        if round in (2, 5):
            with restored(archive) as copy:
                check_restored(copy, *moments[-1][1:])
    # Beside a running server nothing is wrong and nothing is changed.
    holds("it can start on" in leveret("check", "--data-dir", server.data), "a check beside the server")
    holds("it is the one that is written to" in leveret("log", "explain", "--data-dir", server.data), "explain beside the server")
    load.stop()
    leveret("backup", "--data-dir", server.data, "--to", archive)
    for position, least, most in moments:
        # Each backup can still be had.
        with restored(archive, "--to-position", str(position)) as copy:
            equal(copy.restored_to, position, "the end of a backup")
            check_restored(copy, least, most)
    with open(server.log) as log:
        checkpoints = log.read().count("a checkpoint was made")
    holds(checkpoints >= 3, f"too few checkpoints to mean anything: {checkpoints}")
    holds(min(notes["both"] for notes in load.notes) > 50 and load.confirmed > 50, f"too little load: {load.now()}")


def point_in_time(server, archive):
    """Numbered markers at known times; between two of them the cut is exactly there."""
    r = server.redis()
    before, after, between = {}, {}, {}
    for number in range(1, 25):
        before[number] = time.time() * 1000
        with r.pipeline(transaction=True) as pipe:
            pipe.set("marker", number).rpush("markers", number).execute_command("AMQP.PUBLISH", "", "markers", number)
            pipe.execute()
        after[number] = time.time() * 1000
        time.sleep(0.03)
        between[number] = int((after[number] + time.time() * 1000) / 2)
        if number % 6 == 0:
            leveret("backup", "--data-dir", server.data, "--to", archive)
        if number % 9 == 0:
            r.save()
    leveret("backup", "--data-dir", server.data, "--to", archive)
    for number in (1, 5, 6, 7, 9, 10, 17, 18, 19, 23):
        seconds, ms = divmod(between[number], 1000)
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03}Z"
        with restored(archive, "--to-time", text) as copy:
            there = copy.redis()
            equal(int(there.get("marker")), number, f"the last marker before {text}")
            equal([int(n) for n in there.lrange("markers", 0, -1)], list(range(1, number + 1)), "all before")
            channel = copy.amqp().channel()
            equal(bodies(channel, "markers"), list(range(1, number + 1)), "and the messages of the same commits")
            position = copy.restored_to
        # It is the last commit before that time, and the next one is the next marker.
        with restored(archive, "--to-position", str(position + 1)) as copy:
            equal(int(copy.redis().get("marker")), number + 1, "one position more")
    said = leveret("restore", "--from", archive, "--data-dir", archive + "-x", "--to-time", "2099-01-01T00:00:00Z", code=1)
    holds("the last backup was made before that time" in said, said)
    equal(copies(archive + "-x"), [], "a refusal leaves nothing")
    said = leveret("restore", "--from", archive, "--data-dir", archive + "-first", "--to-position", "0")
    holds("nothing had been committed then" in said, said)
    said = leveret("restore", "--from", archive, "--data-dir", archive + "-x", "--to-time", "yesterday", code=1)
    holds("is no time such as" in said, said)


def after_the_end(server, archive):
    """The server stops, and is killed; it goes on, and so do its backups."""
    server.kill()
    said = leveret("backup", "--data-dir", server.data, "--to", archive)
    holds("cannot be restored" not in said, said)
    server.start()
    server.redis().set("after", "the kill")
    said = leveret("backup", "--data-dir", server.data, "--to", archive)
    holds("cannot be restored" not in said, said)
    with restored(archive) as copy:
        equal(copy.redis().get("after"), b"the kill", "it goes on")
        copy.redis().set("another", "life")
        said = leveret("backup", "--data-dir", copy.data, "--to", archive)
        server.redis().set("this", "life")
        said = leveret("backup", "--data-dir", server.data, "--to", archive, code=1)
        holds("does not go on where the last backup here has ended" in said, said)


def damaged(archive):
    """A bit of each file."""
    names = [name for name in os.listdir(archive) if name.endswith((".segment", ".checkpoint", ".bodies", ".backup"))]
    lists = sorted(name for name in names if name.endswith(".backup"))
    newest = open(os.path.join(archive, lists[-1])).read()
    for name in sorted(names):
        if not name.endswith(".backup") and name not in newest:
            continue
        path = os.path.join(archive, name)
        whole = open(path, "rb").read()
        # The list may name fewer bytes than there are by now.
        size = re.search(rf"{name} bytes (\d+)", newest)
        at = random.randrange(int(size[1]) if size else len(whole))
        # An older list is left out, unless it says that another version has made it.
        is_old = name in lists[:-1]
        at += is_old and at == len("leveret backup ")
        open(path, "wb").write(whole[:at] + bytes([whole[at] ^ (1 << random.randrange(8))]) + whole[at + 1:])
        target = archive + "-damaged"
        said = leveret("restore", "--from", archive, "--data-dir", target, code=0 if is_old else 1)
        holds(f"{name} is damaged at byte" in said, said)
        if is_old:
            shutil.rmtree(target)
        else:
            equal(copies(target), [], "nothing of it is left")
        open(path, "wb").write(whole)
    leveret("restore", "--from", archive, "--data-dir", target)


def broken_off(archive):
    """A restore that is killed leaves a directory with which no server starts, and which can be restored again."""
    server = Server("half", *FLAGS)
    mark = os.path.join(server.data, "RESTORING")
    with open(server.log, "w"):
        pass
    for _ in range(50):
        shutil.rmtree(server.data, ignore_errors=True)
        command = [os.environ["LEVERET_BINARY"], "restore", "--from", archive, "--data-dir", server.data]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not os.path.exists(mark) and process.poll() is None:
                time.sleep(0.0005)
            process.kill()
        if os.path.exists(mark):
            break
    holds(os.path.exists(mark), "a restore was killed in the middle")
    for command in (server.command, [os.environ["LEVERET_BINARY"], "check", "--data-dir", server.data]):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
        holds(ended.returncode == 1 and "was not finished" in ended.stderr, f"{ended}")
    said = leveret("backup", "--data-dir", server.data, "--to", archive + "-y", code=1)
    holds("was not finished" in said, said)
    leveret("restore", "--from", archive, "--data-dir", server.data)
    said = leveret("restore", "--from", archive, "--data-dir", server.data, code=1)
    holds("is not empty" in said, said)
    with server:
        holds(server.redis().dbsize() > 0, "it is there")


CRC32C = [0] * 256
for i in range(256):
    value = i
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    CRC32C[i] = value


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC32C[(crc ^ byte) & 0xFF]
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def before_an_upgrade(archive):
    """What a start would say, without a byte changed."""
    data = archive + "-check"
    leveret("restore", "--from", archive, "--data-dir", data)
    before = files(data)
    said = leveret("check", "--data-dir", data)
    holds(re.search(r"reads segments of format 1, blocks of format 1, checkpoints of format 1", said), said)
    counted = re.search(r"(\d+) keys in 1 databases, 0 libraries; 1 vhosts, (\d+) exchanges, 5 queues, (\d+) messages", said)
    holds(counted and int(counted[1]) > 10 and int(counted[3]) > 100 and said.endswith(f"it can start on {data}\n"), said)
    equal(files(data), before, "nothing has changed")
    segment = os.path.join(data, max(name for name in os.listdir(data) if name.endswith(".segment")))
    whole = open(segment, "rb").read()
    # A segment of a format of tomorrow.
    head = whole[:8] + (2).to_bytes(4, "little")
    open(segment, "wb").write(head + crc32c(head + whole[16:32]) + whole[16:])
    said = leveret("check", "--data-dir", data, code=1)
    holds("it cannot start on" in said and "segment format 2 is not known to this version" in said, said)
    # What a crash leaves.
    open(segment, "wb").write(whole + b"torn")
    said = leveret("check", "--data-dir", data)
    holds("its end is torn in" in said and "it can start on" in said, said)
    equal(open(segment, "rb").read(), whole + b"torn", "nothing is cut")
    open(segment, "wb").write(whole)
    checkpoint = os.path.join(data, max(name for name in os.listdir(data) if name.endswith(".checkpoint")))
    content = open(checkpoint, "rb").read()
    open(checkpoint, "wb").write(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    said = leveret("check", "--data-dir", data, code=1)
    holds("it cannot start on" in said and "is damaged at byte" in said, said)
    open(checkpoint, "wb").write(content)
    open(os.path.join(data, "ARCHIVED"), "w").write("segment many\n")
    holds("cannot be understood" in leveret("check", "--data-dir", data, code=1), "a start refuses that")
    os.remove(os.path.join(data, "ARCHIVED"))
    holds("it can start on" in leveret("check", "--data-dir", data), "it was all that was wrong")
    holds("there is no data directory" in leveret("check", "--data-dir", data + "/none", code=1), "a wrong name")
    config = archive + ".toml"
    open(config, "w").write("no-such-key = 1\n")
    holds("there is no key 'no-such-key'" in leveret("check", "--config", config, "--data-dir", data, code=1), "a wrong setting")


def gaps(directory):
    """Without --point-in-time the log goes with the checkpoints, and that is told."""
    with Server("gaps", *FLAGS) as server:
        archive, r = os.path.join(directory, "gaps"), server.redis()

        def fill(name):
            for i in range(2000):
                r.set(f"{name}:{i}", os.urandom(600))

        def segments():
            return sum(name.endswith(".segment") for name in os.listdir(server.data))

        fill("a")
        leveret("backup", "--data-dir", server.data, "--to", archive)
        r.set("in", "the gap")
        fill("b")
        r.save()
        said = leveret("backup", "--data-dir", server.data, "--to", archive)
        gap = re.search(r"points between (\d+) and (\d+) cannot be restored; with --point-in-time the server keeps it", said)
        holds(gap, said)
        holds(f"points between {gap[1]} and {gap[2]} cannot be restored" in leveret("restore", "--from", archive, "--list"), "the list says so")
        said = leveret("restore", "--from", archive, "--data-dir", archive + "-x", "--to-position", str(int(gap[1]) + 1), code=1)
        holds(f"The last point before is --to-position {gap[1]}" in said, said)
        for position in gap.groups():
            with restored(archive, "--to-position", position) as copy:
                equal(copy.redis().exists("in"), int(position == gap[2]), "before and behind the gap")
        leveret("backup", "--data-dir", server.data, "--to", archive, "--point-in-time")
        fill("c")
        fill("d")
        r.save()
        holds(segments() > 8, f"segments wait: {segments()}")
        holds("it stays until 'leveret backup' has it" in leveret("log", "explain", "--data-dir", server.data), "explain says so")
        said = leveret("backup", "--data-dir", server.data, "--to", archive + "-other", "--point-in-time", code=1)
        holds("the log is kept for the backups in" in said, said)
        holds("cannot be restored" not in leveret("backup", "--data-dir", server.data, "--to", archive), "no gap")
        # Even across a start.
        fill("e")
        r.save()
        server.kill()
        server.start()
        r = server.redis()
        holds("cannot be restored" not in leveret("backup", "--data-dir", server.data, "--to", archive), "no gap")
        time.sleep(2)
        holds(segments() < 8, f"what was waited for is gone: {segments()}")
        said = leveret("backup", "--data-dir", server.data, "--to", archive, "--keep", "1s")
        holds("old backups" in said, said)
        with restored(archive) as copy:
            equal(copy.redis().dbsize(), 10_001, "everything")
        holds("nothing is kept" in leveret("backup", "--data-dir", server.data, "--forget"), "the end of it")
        holds("nothing was kept" in leveret("backup", "--data-dir", server.data, "--forget"), "once is enough")
        holds("is not empty" in leveret("backup", "--data-dir", server.data, "--to", server.directory, code=1), "a wrong directory")
        holds("inside the data directory" in leveret("backup", "--data-dir", server.data, "--to", server.data + "/b", code=1), "a bad place")


BACKLOG = "backlog"
FILLER = b"." * 1500
# Next to nothing: what is not taken at once is on the disk only.
LITTLE = ["--message-memory", "50kb"]


class Backlog:
    """A queue whose messages only the log has, and what is known of it at each position."""

    def __init__(self, server):
        self.server, self.first, self.next, self.moments = server, 0, 0, []
        self.open()

    def open(self):
        self.channel = self.server.amqp().channel()
        self.channel.queue_declare(BACKLOG, durable=True)
        self.channel.queue_declare("thin", durable=True)
        self.channel.tx_select()

    def publish(self, count):
        for _ in range(count):
            self.channel.basic_publish("", BACKLOG, b"%d" % self.next + FILLER, PERSISTENT)
            # So that little of a segment is left when the others are gone.
            if self.next % 10 == 0:
                self.channel.basic_publish("", "thin", b"%d" % self.next + FILLER, PERSISTENT)
            self.next += 1
            if self.next % 100 == 0:
                self.channel.tx_commit()
        self.channel.tx_commit()

    def take(self, count):
        for _ in range(count):
            _, _, body = self.channel.basic_get(BACKLOG, auto_ack=True)
            equal(body[:10], (b"%d" % self.first + FILLER)[:10], "the next one")
            self.first += 1

    def backup(self, archive, *flags):
        said = leveret("backup", "--data-dir", self.server.data, "--to", archive, *flags)
        holds("cannot be restored" not in said, said)
        self.moments.append((int(re.search(r"up to position (\d+)", said)[1]), self.first, self.next))

    def save(self):
        r = self.server.redis()
        r.bgsave()
        while r.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.05)


def check_backlog(server, first, next):
    """Every message, in order and as it was."""
    for queue, numbers in ((BACKLOG, range(first, next)), ("thin", range(0, next, 10))):
        channel = server.amqp().channel()
        equal(channel.queue_declare(queue, durable=True).method.message_count, len(numbers), f"messages in {queue}")
        channel.basic_qos(prefetch_count=300)
        there = []
        for method, _, body in channel.consume(queue, inactivity_timeout=30) if numbers else []:
            holds(method, f"{queue} stops after {len(there)} of {len(numbers)}")
            there.append(body)
            if len(there) == len(numbers):
                channel.basic_ack(method.delivery_tag, multiple=True)
                break
            if len(there) % 100 == 0:
                channel.basic_ack(method.delivery_tag, multiple=True)
        channel.connection.close()
        equal([body.removesuffix(FILLER) for body in there], [b"%d" % number for number in numbers], queue)


def paged(directory):
    """A backlog that only the disk has: backups have all of it, for every point that they have."""
    with Server("paged", *FLAGS, *LITTLE) as server:
        archive, backlog = os.path.join(directory, "paged"), Backlog(server)
        backlog.publish(1500)
        backlog.backup(archive, "--point-in-time")
        for round in range(4):
            backlog.publish(1500)
            backlog.save()
            backlog.backup(archive)
            backlog.take(1300)
            backlog.save()
            backlog.backup(archive)
            if round == 2:
                server.kill()
                backlog.backup(archive)
                server.start()
                backlog.open()
        left = [name for name in os.listdir(archive) if name.endswith(".bodies")]
        holds(len(left) > 3, f"nothing was left of segments: {os.listdir(archive)}")
        newest = open(os.path.join(archive, max(name for name in os.listdir(archive) if name.endswith(".backup")))).read()
        holds("\nbodies " in newest, newest)
        for data in (server.data, archive + "-paged"):
            if data != server.data:
                leveret("restore", "--from", archive, "--data-dir", data)
            said = leveret("check", "--data-dir", data)
            holds(re.search(r"read: \d+ files for \d+ messages in queues that only they have", said), said)
        said = leveret("log", "verify", "--data-dir", archive + "-paged")
        holds("in queues that only they have" in said and "the log is whole" in said, said)
        holds("only it has" in leveret("log", "explain", "--data-dir", archive + "-paged"), "explain knows them")
        # A start believes what it does not read; a check does not.
        bodies_file = os.path.join(archive + "-paged", max(name for name in os.listdir(archive + "-paged") if name.endswith(".bodies")))
        whole = open(bodies_file, "rb").read()
        open(bodies_file, "wb").write(whole[:-1] + bytes([whole[-1] ^ 1]))
        said = leveret("check", "--data-dir", archive + "-paged", code=1)
        holds("is damaged at byte" in said and "a server starts" in said, said)
        said = leveret("log", "verify", "--data-dir", archive + "-paged", code=4)
        holds("is damaged at byte" in said, said)
        for position, first, next in backlog.moments:
            with restored(archive, "--to-position", str(position), settings=LITTLE) as copy:
                equal(copy.restored_to, position, "the end of a backup")
                check_backlog(copy, first, next)
        damaged(archive)
        # What the last second needs is enough for the end.
        time.sleep(1)
        leveret("backup", "--data-dir", server.data, "--to", archive, "--keep", "1s")
        with restored(archive) as copy:
            check_backlog(copy, backlog.first, backlog.next)


def main():
    with Server("backup", *FLAGS) as server:
        archive = os.path.join(server.directory, "backups")
        leveret("backup", "--data-dir", server.data, "--to", archive, "--point-in-time")
        server.amqp().channel().queue_declare("markers", durable=True)
        under_load(server, archive)
        point_in_time(server, archive)
        after_the_end(server, archive)
        damaged(archive)
        broken_off(archive)
        before_an_upgrade(archive)
        gaps(server.directory)
        paged(server.directory)
        server.process.send_signal(signal.SIGTERM)
        equal(server.process.wait(), 0, "the end of a clean stop")
    checks.passed()


main()
