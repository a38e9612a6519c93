"""`leveret log` as its user sees it: what a dump tells, that looking changes nothing, what a verification says of a whole, a torn
and a damaged log, and what a repair would lose, loses and keeps. And what is said of files that are there for messages only, when one is
damaged or missing.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pika

import checks
from checks import equal, holds
from server import Server


def log(*arguments, code=0):
    ended = subprocess.run([os.environ["LEVERET_BINARY"], "log", *arguments], capture_output=True, text=True, timeout=60)
    equal(ended.returncode, code, f"log {arguments}: {ended.stdout}{ended.stderr}")
    return ended.stdout + ended.stderr


def files(folder):
    return {name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest() for name in sorted(os.listdir(folder))}


def stopped(server):
    server.process.send_signal(signal.SIGTERM)
    equal(server.process.wait(), 0, "the end of a clean stop")
    server.process = None


def fill(server):
    r = server.redis()
    r.set("hare", "quick")
    r.set("session", b"\x00\xff" * 3, px=9_000_000)
    r.rpush("list", "a", "b")
    r.hset("hash", mapping={"field": "value"})
    r.sadd("set", "m")
    r.zadd("zset", {"m": 1.5, "n": float("inf")})
    r.xadd("stream", {"f": "v"}, id="5-1")
    r.xgroup_create("stream", "g", id="0")
    r.xreadgroup("g", "c", {"stream": ">"})
    r.set("long", "x" * 5000)
    r.rename("hare", "leveret")
    with r.pipeline() as p:
        p.incr("n")
        p.append("n", "0")
        p.execute()
    r.acl_setuser("ann", enabled=True, passwords=["+secret"])
    r.function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
    channel = server.amqp().channel()
    channel.queue_declare("jobs", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", "jobs", b"work", pika.BasicProperties(delivery_mode=2))
    channel.basic_get("jobs", auto_ack=True)
    channel.queue_delete("jobs")


def dumped(server):
    fill(server)
    for verb in ("dump", "verify", "repair"):
        said = log(verb, "--data-dir", server.data, code=1)
        holds(f"is in use by another process (pid {server.process.pid})" in said, said)
    said = log("explain", "--data-dir", server.data)
    holds("00000000000000000001.segment" in said and "it is the one that is written to" in said, said)
    stopped(server)
    before = files(server.data)
    text = log("dump", "--data-dir", server.data)
    for line in [
        r'^\d+ 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z put db=0 key="hare" value="quick"$',
        r'put with deadline db=0 deadline_ms=\d{13} key="session" value="\\x00\\xff',
        r'list push right db=0 key="list" elements=\["a" "b"\]$',
        r'hash set db=0 key="hash" fields_and_values=\["field" "value"\]$',
        r'set add db=0 key="set" members=\["m"\]$',
        r'sorted set put db=0 key="zset" items=\[1\.5:"m" inf:"n"\]$',
        r'stream add db=0 entry=5-1 key="stream" fields_and_values=\["f" "v"\]$',
        r'stream deliver db=0 .* group="g" consumer="c" deliveries=\[5-1:\d+:1\]$',
        r'value="x{120}"… \(5000 bytes\)$',
        r'rename db=0 from="hare" to="leveret"$',
        r'user put name="ann" .*passwords=\[\(\d+ bytes, not shown\)\]',
        r'library put name="lib" text="#!lua name=lib',
        r'queue declare vhost=0 queue=\d+ flags=0 name="jobs"',
        r'message exchange="" routing_key="jobs" properties=".*" body="work"$',
        r'enqueue queue=\d+ seq=\d+ deadline_ms=\d+$',
        r'settle queue=\d+ seq=\d+$',
        r'queue delete queue=\d+$',
    ]:
        holds(re.search(line, text, re.MULTILINE), f"{line} is not in\n{text}")
    holds("secret" not in text, "a password is shown")
    lines = text.splitlines()
    objects = [json.loads(line) for line in log("dump", "--data-dir", server.data, "--json").splitlines()]
    equal([f"{o['position']} {o['change']}" for o in objects],
          [re.sub(r"^(\d+) \S+ ((?:[a-z]+ ?)+?)( [a-z_]+=.*)?$", r"\1 \2", line).strip() for line in lines], "both forms")
    values = {(o["change"], o["fields"].get("key")): o["fields"] for o in objects}
    equal(values["put", "long"]["value"], "x" * 5000, "JSON has everything")
    equal(values["put with deadline", "session"]["value"], {"base64": "AP8A/wD/"}, "what is no text")
    equal(values["sorted set put", "zset"]["items"], [{"score": 1.5, "member": "m"}, {"score": "inf", "member": "n"}], "a list of pairs")
    equal(values["list push right", "list"]["elements"], ["a", "b"], "a list")
    position = next(o["position"] for o in objects if o["fields"].get("key") == "n")
    both = [o["change"] for o in objects if o["position"] == position]
    equal(len(both), 2, "a transaction is one commit")
    equal(log("dump", "--data-dir", server.data, "--from", str(position), "--to", str(position)).count("\n"), 2, "one position")
    holds("x" * 5000 in log("dump", "--data-dir", server.data, "--full"), "--full shortens nothing")
    said = log("verify", "--data-dir", server.data)
    last = objects[-1]["position"]
    holds(f"1 segments, {last} records" in said and f"positions 1 to {last}" in said and "the log is whole" in said, said)
    said = log("repair", "--data-dir", server.data, "--yes")
    holds("nothing to repair" in said, said)
    after = files(server.data)
    equal({n: h for n, h in after.items() if n != "LOCK"}, {n: h for n, h in before.items() if n != "LOCK"}, "nothing has changed")
    return last


def broken(server, last):
    segment = os.path.join(server.data, "00000000000000000001.segment")
    whole = open(segment, "rb").read()
    used = len(whole.rstrip(b"\x00"))

    def with_bytes(content):
        open(segment, "wb").write(content)

    # What a crash leaves behind the end.
    with_bytes(whole[:used] + b"\x00" * 40 + b"torn" + whole[used + 44:])
    before = files(server.data)
    said = log("verify", "--data-dir", server.data, code=3)
    holds("the log is torn in 00000000000000000001.segment at byte" in said and "it was never confirmed" in said, said)
    holds("the log is torn" in log("dump", "--data-dir", server.data, code=3), "a dump says so")
    equal(files(server.data), before, "looking changes nothing")
    # A flipped bit in the middle of what had been synced.
    at = used // 2
    with_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
    before = files(server.data)
    said = log("verify", "--data-dir", server.data, code=4)
    place = re.search(r"damaged in 00000000000000000001.segment at byte (\d+): a block's checksum is wrong, although position (\d+) had been synced", said)
    holds(place, said)
    holds(f"positions up to {last} can be made out there" in said, said)
    equal(files(server.data), before, "looking changes nothing")
    refused = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
    holds(refused.returncode == 1 and f"is damaged at byte {place[1]}" in refused.stderr, refused.stderr)
    said = log("repair", "--data-dir", server.data, code=4)
    kept = int(place[2]) - 1
    holds(f"loses every commit after position {kept}; --yes does it. Nothing was changed" in said, said)
    equal({n: h for n, h in files(server.data).items() if n != "LOCK"}, {n: h for n, h in before.items() if n != "LOCK"}, "nothing has changed")
    said = log("repair", "--data-dir", server.data, "--yes")
    holds(f"the log ends with position {kept} now" in said, said)
    beside = f"{segment}.cut-at-{place[1]}"
    equal(open(beside, "rb").read(), (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])[int(place[1]):], "what was cut is kept")
    holds(f"positions 1 to {kept}" in log("verify", "--data-dir", server.data), "it is whole again")
    server.start()
    equal(server.redis().exists("hare", "leveret"), 1, "what stood before is there")
    server.redis().set("after", 1)
    stopped(server)
    holds("the log is whole" in log("verify", "--data-dir", server.data), "and goes on")


BACKLOG = 8000
# So much is in the segment that is written to when the checkpoint is made.
IN_NEWEST = 400_000


def used_of_newest(server):
    newest = max(name for name in os.listdir(server.data) if name.endswith(".segment"))
    return len(open(os.path.join(server.data, newest), "rb").read().rstrip(b"\x00"))


def backlog(server):
    """Messages that only the disk has: of the first half few are left of each segment. Gives their numbers."""
    channel = server.amqp().channel()
    for queue in ("jobs", "passing"):
        channel.queue_declare(queue, durable=True)
    left = [i for i in range(BACKLOG) if i >= BACKLOG // 2 or i % 12 == 0]
    wanted = set(left)
    for i in range(BACKLOG):
        channel.basic_publish("", "jobs" if i in wanted else "passing", b"%08d" % i + b"x" * 800, pika.BasicProperties(delivery_mode=2))
    channel.queue_declare("jobs", passive=True)
    channel.queue_purge("passing")
    while used_of_newest(server) < IN_NEWEST:
        for i in range(left[-1] + 1, left[-1] + 101):
            channel.basic_publish("", "jobs", b"%08d" % i + b"x" * 800, pika.BasicProperties(delivery_mode=2))
            left.append(i)
        channel.queue_declare("jobs", passive=True)
    server.redis().save()
    server.kill()
    return left


def drained(server, queue="jobs"):
    numbers = []
    while got := server.redis().execute_command("AMQP.GET", queue, "NOACK", "BLOCK", "1000", "COUNT", "500"):
        numbers += [int(message[1][:8]) for message in got]
    return numbers


def of_messages(server):
    """One file that is there for messages only is damaged or missing: nothing is removed, and everybody says which one it is."""
    left = backlog(server)
    whole = server.data + "-whole"
    shutil.copytree(server.data, whole)
    holding = [line.split()[0] for line in log("explain", "--data-dir", whole).splitlines() if "only it has" in line]
    segments, bodies = ([name for name in holding if name.endswith(kind)] for kind in (".segment", ".bodies"))
    holds(len(segments) > 1 and len(bodies) > 1, f"{holding}")

    def leveret(*arguments):
        ended = subprocess.run([os.environ["LEVERET_BINARY"], *arguments], capture_output=True, text=True, timeout=60)
        equal(ended.returncode, 1, f"{arguments}: {ended}")
        return ended.stderr

    def begin(name):
        shutil.rmtree(server.data)
        shutil.copytree(whole, server.data)
        return os.path.join(server.data, name)

    def all_say(what, is_missing=False):
        before = files(server.data)
        for code, verb in ((4, "verify"), (4, "repair")):
            said = log(verb, "--data-dir", server.data, code=code)
            holds(what in said, said)
        said = log("repair", "--data-dir", server.data, *([] if is_missing else ["--yes"]), code=4)
        holds("Nothing was changed" in said, said)
        for arguments in (["check"], ["backup", "--to", server.data + "-backup"]):
            said = leveret(*arguments, "--data-dir", server.data)
            holds(what in said, said)
            shutil.rmtree(server.data + "-backup", ignore_errors=True)
        equal({n: h for n, h in files(server.data).items() if n != "LOCK"}, {n: h for n, h in before.items() if n != "LOCK"}, "nothing has changed")

    for name in (bodies[0], bodies[len(bodies) // 2], segments[0], segments[len(segments) // 2]):
        # A byte of its head.
        path = begin(name)
        with open(path, "r+b") as file:
            file.seek(20)
            byte = file.read(1)
            file.seek(20)
            file.write(bytes([byte[0] ^ 0xff]))
        all_say(f"{name} is damaged at byte 0")
        server.start()
        holds(name in open(server.log).read(), "a start says which one it is")
        equal(drained(server), left, f"{name}: everything else of it can be read")
        server.kill()
        # Nothing of it is there.
        path = begin(name)
        os.truncate(path, 0)
        all_say(f"{name} is damaged at byte 0")
        server.start()
        r = server.redis()
        numbers = drained(server)
        holds(len(numbers) < len(left) and numbers == left[:len(numbers)], f"{name}: {len(numbers)} before what is lost")
        equal(r.execute_command("AMQP.LEN", "jobs"), len(left) - len(numbers), "the others wait")
        r.set("meanwhile", name)
        r.save()
        holds(os.path.exists(path), f"{name} is still there")
        server.kill()
        # The file is not there.
        os.unlink(begin(name))
        all_say(f"{name[:20]}.segment, or what was left of it, is missing", is_missing=True)
        refused = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
        holds(refused.returncode == 1 and f"{name[:20]}.segment, or what was left of it, is missing" in refused.stderr, refused.stderr)
        # If there is no copy of it, its messages are given up: the queue is purged, everything else goes on.
        said = log("repair", "--data-dir", server.data, code=4)
        missing = int(re.search(r"(\d+) messages of positions \d+ to \d+ are missing", said)[1])
        log("repair", "--data-dir", server.data, "--yes")
        holds("is damaged at byte 0" in log("verify", "--data-dir", server.data, code=4), "it is awaited")
        server.start()
        equal(drained(server), numbers, f"{name}: what stands before it")
        r = server.redis()
        waiting = r.execute_command("AMQP.LEN", "jobs")
        holds(0 < missing <= waiting == len(left) - len(numbers), f"{missing} are missing, {waiting} wait")
        channel = server.amqp().channel()
        channel.basic_publish("", "passing", b"another")
        equal(channel.basic_get("passing", auto_ack=True)[2], b"another", "other queues go on")
        channel.queue_purge("jobs")
        channel.basic_publish("", "jobs", b"00000007")
        equal(drained(server), [7], "and so does this one")
        server.kill()
    begin(segments[0])
    holds("the log is whole" in log("verify", "--data-dir", server.data), "what was put back")
    server.start()
    equal(drained(server), left, "all of them")


def where_it_goes_on(server):
    """The segment that has the checkpoint's position is missing or unreadable: nothing goes for that, and after a repair only what it had is
    lost, whatever is written, restarted and checkpointed afterwards.
    """
    left = backlog(server)
    whole = server.data + "-whole"
    shutil.copytree(server.data, whole)
    newest = max(name for name in os.listdir(whole) if name.endswith(".segment"))
    copies = [name for name in os.listdir(whole) if name.endswith(".bodies")]
    holds(copies, os.listdir(whole))
    for damage in (os.unlink, lambda path: os.truncate(path, 0), lambda path: open(path, "r+b").write(b"\xff" * os.path.getsize(path))):
        shutil.rmtree(server.data)
        shutil.copytree(whole, server.data)
        damage(os.path.join(server.data, newest))
        before = files(server.data)
        said = log("verify", "--data-dir", server.data, code=4)
        holds(newest in said and "a server refuses to start" in said, said)
        refused = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
        holds(refused.returncode == 1 and newest in refused.stderr, refused.stderr)
        said = log("repair", "--data-dir", server.data, code=4)
        messages = int(re.search(r"and (\d+) messages of before", said)[1])
        holds(0 < messages < len(left), said)
        equal({n: h for n, h in files(server.data).items() if n != "LOCK"}, {n: h for n, h in before.items() if n != "LOCK"}, "nothing has changed")
        log("repair", "--data-dir", server.data, "--yes")
        for _ in range(2):
            server.start()
            holds(all(os.path.exists(os.path.join(server.data, name)) for name in copies), "no start removes a copy")
            stopped(server)
        server.start()
        channel = server.amqp().channel()
        channel.queue_declare("later", durable=True)
        for i in range(3000):
            channel.basic_publish("", "later", b"%08d" % i + b"y" * 800, pika.BasicProperties(delivery_mode=2))
        channel.queue_declare("later", passive=True)
        server.redis().save()
        stopped(server)
        server.start()
        numbers = drained(server)
        waiting = server.redis().execute_command("AMQP.LEN", "jobs")
        equal(numbers, left[:len(left) - waiting], "what other files have")
        # The newest, which the checkpoint has as a whole, stand behind what is lost.
        holds(messages <= waiting < messages + 100, f"{waiting} wait, {messages} are lost")
        equal(drained(server, "later"), list(range(3000)), "what was written since")
        stopped(server)
    # What the checkpoint has anyway is not needed: only messages of there wait.
    shutil.rmtree(server.data)
    shutil.copytree(whole, server.data)
    with open(os.path.join(server.data, newest), "r+b") as file:
        file.write(b"\xff" * 200)
    said = log("verify", "--data-dir", server.data, code=4)
    found = re.search(newest + r" is damaged at byte 0: .*, and only there were (\d+) messages; a server starts", said)
    holds(found, said)
    messages = int(found[1])
    server.start()
    holds(newest in open(server.log).read(), "a start says which file is damaged")
    numbers = drained(server)
    holds(0 < messages < len(left) - len(numbers), f"{messages} are damaged, {len(left) - len(numbers)} wait")
    equal(numbers, left[:len(numbers)], "what other files have")
    # One byte of its head is not missed by anybody.
    server.kill()
    shutil.rmtree(server.data)
    shutil.copytree(whole, server.data)
    with open(os.path.join(server.data, newest), "r+b") as file:
        file.seek(20)
        file.write(b"\xff")
    said = log("verify", "--data-dir", server.data)
    holds(f"the head of {newest} is damaged" in said and "the log is whole" in said, said)
    server.start()
    equal(drained(server), left, "all of them")
    stopped(server)
    equal(open(os.path.join(server.data, newest), "rb").read(32), open(os.path.join(whole, newest), "rb").read(32), "it is mended")


def never_synced(server):
    """Nothing was synced while it was written: damage after a clean stop is damage, and what a start cuts otherwise is kept."""
    r = server.redis()
    for i in range(3000):
        r.set(f"key:{i}", b"x" * 1000)
    whole = server.data + "-whole"
    segment = os.path.join(server.data, "00000000000000000001.segment")

    def damage():
        with open(segment, "r+b") as file:
            file.seek(100_000)
            file.write(b"\xfe\xfe")

    server.kill()
    shutil.copytree(server.data, whole)
    damage()
    said = log("verify", "--data-dir", server.data, code=3)
    holds("it is not known to have been synced" in said, said)
    damaged = open(segment, "rb").read()
    server.start()
    there = server.redis().dbsize()
    holds(0 < there < 3000, f"{there} keys")
    holds("not known to have been synced, and was cut and kept" in open(server.log).read(), "a start says so")
    server.kill()
    kept = [name for name in os.listdir(server.data) if ".segment.cut" in name]
    later = sorted(name for name in os.listdir(whole) if name.endswith(".segment"))[1:]
    for name in later:
        equal(open(os.path.join(server.data, name + ".cut"), "rb").read(), open(os.path.join(whole, name), "rb").read(), name)
    [rest] = [name for name in kept if ".cut-at-" in name]
    equal(open(os.path.join(server.data, rest), "rb").read(), damaged[int(rest.rsplit("-", 1)[1]):], "the rest of the first")
    # The same after a clean stop.
    shutil.rmtree(server.data)
    shutil.copytree(whole, server.data)
    server.start()
    stopped(server)
    damage()
    said = log("verify", "--data-dir", server.data, code=4)
    holds(f"positions up to 3000 can be made out there" in said, said)
    refused = subprocess.run(server.command, capture_output=True, text=True, timeout=20)
    holds(refused.returncode == 1 and "had been synced, as" in refused.stderr, refused.stderr)


with Server("log-tools", "--appendfsync", "always") as server:
    broken(server, dumped(server))
with Server("log-tools-messages", "--message-memory", "20kb", "--log-segment-bytes", str(1 << 20)) as server:
    of_messages(server)
with Server("log-tools-beginning", "--message-memory", "20kb", "--log-segment-bytes", str(1 << 20)) as server:
    where_it_goes_on(server)
with Server("log-tools-never-synced", "--appendfsync", "no", "--log-segment-bytes", str(1 << 20)) as server:
    never_synced(server)
with tempfile.TemporaryDirectory() as folder:
    holds("there is no data directory" in log("verify", "--data-dir", folder + "/none", code=1), "a wrong name")
    equal(os.path.exists(folder + "/none"), False, "nothing is made")
    holds("0 segments, 0 records" in log("verify", "--data-dir", folder), "an empty directory")
    equal(os.listdir(folder), [], "nothing is made")
    holds("there is no 'log mend'" in log("mend", code=1), "a wrong verb")
checks.passed()
