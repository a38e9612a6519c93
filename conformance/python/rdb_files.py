"""Snapshots of real servers: filled with random values of every type and encoding, saved, imported, compared in full, exported
and loaded back into the server they came from. Files that are damaged, or would replace something, must change nothing.

Debian's redis-server always takes part; the newest Redis and Valkey when `cargo xtask peers` has brought them. `SEED=7` chooses
other values.
"""
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import redis

import checks
from checks import equal, holds
from server import Server, free_port

SEED = int(os.environ.get("SEED", 1))
RNG = random.Random(SEED)
BINARY = os.environ["LEVERET_BINARY"]
ROOT = os.environ.get("LEVERET_PEERS")


class Peer:
    """A real server with a folder of its own."""

    def __init__(self, program, *flags, root=None):
        self.program, self.flags, self.root = program, flags, root
        self.folder = tempfile.mkdtemp(prefix="rdb-", dir=os.path.join(root, "tmp") if root else None)
        os.chmod(self.folder, 0o777)
        self.port, self.process = free_port(), None

    @property
    def file(self):
        return os.path.join(self.folder, "dump.rdb")

    def __enter__(self):
        inner = "/" + os.path.relpath(self.folder, self.root) if self.root else self.folder
        words = ["chroot", self.root] if self.root else []
        words += [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", inner]
        words += ["--enable-debug-command", "yes", "--list-compress-depth", "1", *self.flags]
        with open(os.path.join(self.folder, "log"), "a") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        for _ in range(1000):
            try:
                if self.redis().ping():
                    return self
            except redis.exceptions.RedisError:
                if self.process.poll() is not None:
                    with open(os.path.join(self.folder, "log")) as log:
                        raise AssertionError(f"{self.program} ended:\n" + log.read()[-2000:])
                time.sleep(0.02)
        raise AssertionError(f"{self.program} does not answer")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def redis(self, db=0):
        return redis.Redis(port=self.port, db=db, retry=None)


def word(most=20):
    return bytes(RNG.choice(b"abcdefgh\x00\xff 0123456789") for _ in range(RNG.randrange(most)))


def number():
    bits = RNG.choice([3, 7, 8, 12, 13, 15, 16, 23, 24, 31, 32, 62])
    return str(RNG.randrange(1 << bits) * RNG.choice([1, -1])).encode()


def long_text():
    return RNG.choice([b"x", b"abc", b"0123456789"]) * RNG.choice([30, 100, 1000, 4000])


def element():
    return RNG.choice([number, word, word, number, long_text])()


def small():
    return RNG.choice([number, word])()


def fill_stream(r, key):
    r.delete(key)
    names = [word(8) + b"n" for _ in range(3)]
    ids = []
    for i in range(RNG.choice([1, 5, 120, 260])):
        fields = {name: element() for name in names} if RNG.random() < 0.7 else {word(5) + b"f": element()}
        ids.append(r.xadd(key, fields, id=f"{1000 + i // 3}-{i}"))
    for one in RNG.sample(ids, len(ids) // 4):
        r.xdel(key, one)
    for group in (b"g1", b"g\xff2"):
        r.xgroup_create(key, group, id=RNG.choice(["0", "$", ids[len(ids) // 2]]))
        r.xreadgroup(group, "reader", {key: ">"}, count=RNG.choice([1, 7, 50]))
        r.xreadgroup(group, b"other\x00", {key: ">"}, count=3)
        r.execute_command("XGROUP", "CREATECONSUMER", key, group, "idle")
        pending = [one["message_id"] for one in r.xpending_range(key, group, "-", "+", 5)]
        for id in pending[:2]:
            r.xack(key, group, id)
        for id in pending[2:4]:
            r.execute_command("XCLAIM", key, group, "thief", 0, id, "RETRYCOUNT", 7)
    if RNG.random() < 0.2:
        r.xtrim(key, maxlen=0, approximate=False)


def fill(peer, rounds, fields_go):
    later = int(time.time() * 1000) + 3_600_000
    for db in (0, 1, 15):
        r = peer.redis(db)
        for i in range(rounds):
            p = r.pipeline(transaction=False)
            size = RNG.choice([1, 3, 40, 200, 600])
            p.set(f"string:{i}", element())
            p.set(b"binary\x00\xff:%d" % i, word(60))
            p.set(f"raw:{i}", RNG.randbytes(RNG.choice([0, 1, 63, 64, 16383, 16384, 70000])))
            p.rpush(f"list:{i}", *[element() for _ in range(size)])
            p.rpush(f"integers:{i}", *[number() for _ in range(size)])
            p.sadd(f"intset:{i}", *[number() for _ in range(size)])
            p.sadd(f"set:{i}", *[small() for _ in range(size)])
            p.sadd(f"long set:{i}", *[element() for _ in range(size)])
            p.hset(f"hash:{i}", mapping={small(): small() for _ in range(size)})
            p.hset(f"long hash:{i}", mapping={element(): element() for _ in range(size)})
            score = RNG.choice([lambda: RNG.uniform(-1e9, 1e9), lambda: RNG.randrange(-5, 99), lambda: RNG.choice(["inf", "-inf", 1e300, 0, -0.0, 5e-324])])
            p.zadd(f"zset:{i}", {small(): score() for _ in range(size)})
            p.zadd(f"long zset:{i}", {element(): score() for _ in range(size)})
            if fields_go:
                p.hset(f"fields:{i}", mapping={b"f%d" % j: small() for j in range(size)})
                for j in range(0, size, 3):
                    p.execute_command("HPEXPIREAT", f"fields:{i}", later + RNG.randrange(10**9), "FIELDS", 1, f"f{j}")
                p.hset(f"fields gone:{i}", mapping={"stays": small(), "goes": small()})
                p.execute_command("HPEXPIREAT", f"fields gone:{i}", int(time.time() * 1000) + 1500, "FIELDS", 1, "goes")
            p.pfadd(f"log:{i}", *[small() for _ in range(size)])
            p.setbit(f"bits:{i}", RNG.randrange(5000), 1)
            p.execute()
            for key in RNG.sample([f"string:{i}", f"list:{i}", f"set:{i}", f"hash:{i}", f"zset:{i}"], 2):
                r.pexpireat(key, later + RNG.randrange(10**10))
            r.set(f"overdue:{i}", "gone", px=1)
            r.rpush(f"overdue list:{i}", "gone")
            r.pexpire(f"overdue list:{i}", 1)
            fill_stream(r, f"stream:{i}")
        r.xgroup_create("empty stream", "g", id="0", mkstream=True)
    r = peer.redis()
    # More than one piece each.
    for part in range(20):
        r.sadd("large set", *[b"member-%d-%d" % (part, i) for i in range(4000)])
        r.rpush("large list", *[RNG.randbytes(30) for _ in range(4000)])
        r.hset("large hash", mapping={b"field-%d-%d" % (part, i): RNG.randbytes(12) for i in range(4000)})
        r.zadd("large zset", {b"member-%d-%d" % (part, i): RNG.random() for i in range(4000)})
        p = r.pipeline(transaction=False)
        for i in range(1500):
            p.xadd("large stream", {"text": RNG.randbytes(20), "n": i})
        p.execute()
    r.set("large string", b"leveret " * 700_000)
    r.execute_command("FUNCTION", "LOAD", "REPLACE", "#!lua name=hares\nredis.register_function('hop', function(k, a) return a[1] end)")


def stream_facts(r, key, active):
    full = r.execute_command("XINFO", "STREAM", key, "FULL", "COUNT", 0)
    full = dict(zip(full[::2], full[1::2])) if isinstance(full, list) else full
    full = {k.decode() if isinstance(k, bytes) else k: v for k, v in full.items()}
    facts = {k: full[k] for k in ("length", "last-generated-id", "max-deleted-entry-id", "entries-added", "entries")}
    facts["groups"] = []
    for group in full["groups"]:
        group = dict(zip(group[::2], group[1::2])) if isinstance(group, list) else group
        group = {k.decode() if isinstance(k, bytes) else k: v for k, v in group.items()}
        consumers = []
        for c in group["consumers"]:
            c = dict(zip(c[::2], c[1::2])) if isinstance(c, list) else c
            c = {k.decode() if isinstance(k, bytes) else k: v for k, v in c.items()}
            names = ["name", "seen-time", "pel-count", "pending"] + ["active-time"] * active
            consumers.append([c[n] for n in names])
        facts["groups"].append([group[n] for n in ("name", "last-delivered-id", "entries-read", "pel-count", "pending")] + [sorted(consumers, key=str)])
    facts["groups"].sort(key=str)
    return facts


def value(r, key, kind, fields_go, active):
    if kind == b"string":
        return r.get(key)
    if kind == b"list":
        return r.lrange(key, 0, -1)
    if kind == b"set":
        return sorted(r.smembers(key))
    if kind == b"zset":
        return sorted((member, struct.pack("<d", score + 0.0)) for member, score in r.zrange(key, 0, -1, withscores=True))
    if kind == b"hash":
        all = r.hgetall(key)
        if not fields_go:
            return all
        names = sorted(all)
        return list(zip(names, (all[n] for n in names), r.execute_command("HPEXPIRETIME", key, "FIELDS", len(names), *names)))
    return stream_facts(r, key, active)


def contents(at, fields_go, active=False):
    """Everything a client can see, but how it is kept."""
    everything = {}
    for db in range(16):
        r = at(db)
        for key in r.scan_iter(count=1000):
            kind = r.type(key)
            if kind != b"none":
                everything[db, key] = (kind, r.pexpiretime(key), value(r, key, kind, fields_go, active))
    return everything


def compare(got, expected, what):
    equal(sorted(map(str, got)), sorted(map(str, expected)), f"{what}: the names of the keys")
    for place, facts in expected.items():
        equal(got[place], facts, f"{what}: {place}")


def leveret(*arguments):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=300)


def succeeds(*arguments):
    ended = leveret(*arguments)
    holds(ended.returncode == 0, f"{arguments} ended with {ended.returncode}: {ended.stderr}")
    return ended.stdout


def refused(*arguments, says=()):
    ended = leveret(*arguments)
    holds(ended.returncode == 1, f"{arguments} was not refused: {ended.stdout}")
    for part in says:
        holds(part in ended.stderr, f"{ended.stderr!r} lacks {part!r}")
    return ended.stderr


def at_of(server):
    return lambda db: redis.Redis(port=server.resp_port, db=db, retry=None)


def stopped(server):
    server.process.send_signal(signal.SIGTERM)
    equal(server.process.wait(), 0, "the end of a clean stop")
    server.process = None


def there_and_back(name, program, root, fields_go, active, dialect, *flags):
    """Fill, save, import, compare; export, load, compare."""
    peer = Peer(program, *flags, root=root)
    back = Peer(program, root=root)
    try:
        with peer:
            peer.redis().execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
            fill(peer, 6, fields_go)
            peer.redis().save()
            saved = shutil.copy(peer.file, peer.file + ".saved")
            time.sleep(1.7)
            expected = contents(peer.redis, fields_go, active)
        holds(len(expected) > 250, "there is something to compare")
        with Server("rdb", "--enable-debug-command", "yes") as server:
            stopped(server)
            said = succeeds("import", saved, "--data-dir", server.data)
            holds(f"{len(expected)} keys and 1 libraries" in said, f"{name}: {said}")
            holds("keys were left out because their time is up" in said, f"{name}: {said}")
            server.start()
            compare(contents(at_of(server), fields_go, active), expected, f"{name}, imported")
            r = server.redis()
            equal(r.execute_command("FCALL", "hop", 0, "far"), b"far", "a function")
            digest = r.execute_command("DEBUG", "DIGEST")
            stopped(server)
            said = succeeds("export", back.file, "--data-dir", server.data, "--for", dialect)
            holds(f"{len(expected)} keys and 1 libraries" in said, f"{name}: {said}")
            newer = active and (fields_go or dialect == "valkey")
            with back:
                shown = contents(back.redis, fields_go, newer)
                wanted = expected
                if active and not newer:
                    wanted = {k: v for k, v in expected.items() if v[0] != b"stream"}
                    shown = {k: v for k, v in shown.items() if v[0] != b"stream"}
                compare(shown, wanted, f"{name}, exported")
                equal(back.redis().execute_command("FCALL", "hop", 0, "back"), b"back", "a function")
            # And into ours again. When a consumer was last active is in the newer type only.
            succeeds("import", back.file, "--data-dir", server.data, "--flush")
            server.start()
            if newer or not active:
                equal(server.redis().execute_command("DEBUG", "DIGEST"), digest, f"{name}: what was exported is the same")
        print(f"{name}: {len(expected)} keys there and back", flush=True)
        return saved
    finally:
        shutil.rmtree(back.folder, ignore_errors=True)
        peer_folders.append(peer.folder)


peer_folders = []


def damage(saved):
    """What is wrong in a file is told with its place, and nothing was changed."""
    with open(saved, "rb") as file:
        whole = file.read()
    with Server("rdb-damage") as server:
        server.redis().set("kept", 1)
        stopped(server)
        broken = os.path.join(server.directory, "broken.rdb")
        for _ in range(25):
            cut = RNG.randrange(len(whole))
            with open(broken, "wb") as file:
                file.write(whole[:cut])
            refused("import", broken, "--data-dir", server.data, says=["at byte "])
            at = RNG.randrange(len(whole))
            with open(broken, "wb") as file:
                file.write(whole[:at] + bytes([whole[at] ^ 1 << RNG.randrange(8)]) + whole[at + 1:])
            refused("import", broken, "--data-dir", server.data)
        with open(broken, "wb") as file:
            file.write(whole + b"*1\r\n$4\r\nPING\r\n")
        refused("import", broken, "--data-dir", server.data, says=[f"at byte {len(whole)}: more follows"])
        # Without a checksum nothing is compared.
        with open(broken, "wb") as file:
            file.write(whole[:-8] + bytes(8))
        succeeds("import", broken, "--data-dir", server.data)
        server.start()
        holds(server.redis().get("kept") == b"1" and server.redis().dbsize() > 50, "what was there and what came")


def small_file(*parts, version=b"REDIS0010"):
    handle, path = tempfile.mkstemp(suffix=".rdb")
    with os.fdopen(handle, "wb") as file:
        file.write(version + b"".join(parts) + b"\xff" + bytes(8))
    return path


def string(text):
    return bytes([len(text)]) + text


def decisions():
    """What is there already, what only a module understands, what no server writes."""
    def key(name, text):
        return b"\x00" + string(name) + string(text)

    two = small_file(b"\xfe\x00", key(b"a", b"new"), key(b"b", b"new"))
    with Server("rdb-decisions") as server:
        r = server.redis()
        r.set("a", "old")
        r.set("c", "old")
        digest = lambda: {key: r.get(key) for key in sorted(r.keys())}
        stopped(server)
        refused("import", two, "--data-dir", server.data, says=["1 of the keys are there already", "'a' of database 0", "Nothing was changed"])
        server.start()
        equal(digest(), {b"a": b"old", b"c": b"old"}, "refused")
        refused("import", two, "--data-dir", server.data, says=["in use by another process", str(server.process.pid)])
        refused("export", two, "--data-dir", server.data, "--replace", says=["in use by another process"])
        stopped(server)
        succeeds("import", two, "--data-dir", server.data, "--replace")
        server.start()
        equal(digest(), {b"a": b"new", b"b": b"new", b"c": b"old"}, "replaced")
        stopped(server)
        succeeds("import", two, "--data-dir", server.data, "--flush")
        server.start()
        equal(digest(), {b"a": b"new", b"b": b"new"}, "flushed")
        stopped(server)
        # A set of two equal members in two pieces is seen in the second pass only.
        many = b"".join(string(b"%060d" % i) for i in range(20_000))
        twice = small_file(key(b"first", b"1"), b"\x02" + string(b"set") + b"\x80" + struct.pack(">I", 20_001) + many + string(b"%060d" % 0))
        refused("import", twice, "--data-dir", server.data, says=["key 'set' of database 0 has something twice", "Up to 1 keys had been imported before"])
        for arguments in (server.command[1:], ["export", two + "x", "--data-dir", server.data]):
            refused(*arguments, says=["was not finished", "IMPORTING"])
        succeeds("import", two, "--data-dir", server.data, "--flush")
        server.start()
        equal(digest(), {b"a": b"new", b"b": b"new"}, "once more")
    module = b"\x07" + string(b"json") + b"\x81" + (0x24F4F3B5A0C00003).to_bytes(8, "big") + b"\x05" + string(b"{}") + b"\x00"
    aux = b"\xf7\x81" + (0x24F4F3B5A0C00003).to_bytes(8, "big") + b"\x02\x02" + b"\x04" + bytes(8) + b"\x03" + bytes(4) + b"\x00"
    info = b"\xf4\x0a\x01\x00" + b"\xfb\x03\x00" + b"\xf8\x07" + b"\xf9\x05" + b"\xfd" + struct.pack("<i", 2_000_000_000)
    # A stream of Redis 7.2's form, as Redis 8.6 and 8.8 go on with it.
    pack = b"".join([b"\x01\x01", b"\x00\x01", b"\x01\x01", b"\x81f\x02", b"\x00\x01", b"\x02\x01", b"\x00\x01", b"\x00\x01", b"\x81v\x02", b"\x04\x01"])
    pack = struct.pack("<IH", len(pack) + 7, 10) + pack + b"\xff"
    entries = b"\x01" + string(struct.pack(">QQ", 5, 1)) + string(pack) + b"\x01" + b"\x05\x01" + b"\x05\x01" + b"\x00\x00" + b"\x01"
    group = b"\x01" + string(b"g") + b"\x00\x00\x00" + b"\x00" + b"\x00"
    eight_six = b"\x1a" + string(b"s") + entries + group + b"\x40\x64\x40\x64\x00\x00\x00"
    eight_eight = b"\x1b" + string(b"s") + entries + group + b"\x00" + b"\x40\x64\x40\x64\x00\x00\x00"
    producers = b"\x1a" + string(b"s") + entries + group + b"\x40\x64\x40\x64\x01" + string(b"p") + b"\x00\x00\x00"
    tests = [
        ([b"\x15" + string(b"s") + entries + group], [], "1 keys", []),
        ([eight_six], [], "1 keys", []),
        ([eight_eight], [], "1 keys", []),
        ([aux, info, key(b"a", b"1")], [], "1 keys", ["What the module"]),
        ([module, key(b"a", b"1")], ["--without-modules"], "1 keys", ["1 keys were left out because only a module"]),
        ([b"\x02" + string(b"empty") + b"\x00", key(b"a", b"1")], [], "1 keys", ["1 keys were left out because nothing"]),
        ([b"\xfd" + struct.pack("<i", 5) + key(b"a", b"1")], [], "0 keys", ["time is up"]),
        # Redis 7.4's release candidates, Redis 8.4, Valkey 9.
        ([b"\x16" + string(b"h") + b"\x01" + b"\x00" + string(b"f") + string(b"v")], [], "1 keys", []),
        ([b"\xf3\x01" + bytes(4) + b"\x02\x05\x00" + key(b"a", b"1")], [], "1 keys", []),
    ]
    for parts, flags, count, says in tests:
        with tempfile.TemporaryDirectory() as folder:
            said = succeeds("import", small_file(*parts), "--data-dir", folder, *flags)
            for text in [count, *says]:
                holds(text in said, f"{said!r} lacks {text!r}")
    valkey = b"\x16" + string(b"h") + b"\x02" + string(b"f") + string(b"v") + b"\xff" * 8 + string(b"g") + string(b"w") + struct.pack("<q", 99)
    with tempfile.TemporaryDirectory() as folder:
        holds("1 keys" in succeeds("import", small_file(valkey, version=b"VALKEY080"), "--data-dir", folder), "Valkey's hash")
        refusals = [
            (small_file(valkey), "the value of key 'h'"),
            (small_file(producers), "the value of key 's'"),
            (small_file(module), "has a value of the module type"),
            (small_file(b"\xfe\x10"), "at byte 9: database 16: there are 16 here"),
            (small_file(b"\x1c" + string(b"k")), "at byte 9: key 'k' of database 0 has type 28, which is not known"),
            (small_file(b"\xf6"), "release candidate of Redis 7.0"),
            (small_file(b"\xf5" + string(b"no library")), "at byte 9: a library of functions is refused"),
            (small_file(b"\xf3" + string(b"job"), version=b"VALKEY080"), "slots were being moved"),
            (small_file(key(b"a", b"1"), version=b"RODIS0010"), "at byte 0: this is no snapshot"),
            (small_file(b"\x00" + string(b"a") + b"\x81" + b"\x7f" + b"\xff" * 7), "at byte 12: the value of key 'a'"),
            (small_file(b"\x00" + string(b"a") + b"\x80" + b"\x10" + b"\x00" * 3), "the file ends in the value of key 'a'"),
        ]
        for path, says in refusals:
            refused("import", path, "--data-dir", folder, "--replace", says=[says])
        refused("import", two + "nothing", "--data-dir", folder, says=["cannot read"])
        refused("export", two, "--data-dir", folder + "nothing", "--replace", says=["there is no data directory"])
        refused("export", two, "--data-dir", folder, says=["is there already"])


def restored(root):
    """DUMP of each server is understood by RESTORE of ours."""
    for program in ("redis-server", "valkey-server"):
        peer = Peer(program, root=root)
        with peer, Server("rdb-restore") as server:
            theirs, ours = peer.redis(), server.redis()
            theirs.hset("h", mapping={"f": 1, "g": 2})
            theirs.execute_command("HPEXPIREAT", "h", 99_999_999_999_999 // 50, "FIELDS", 1, "f")
            theirs.zadd("z", {"a": 1.5})
            for key in "hz":
                ours.restore(key, 0, theirs.dump(key))
            equal(ours.hgetall("h"), theirs.hgetall("h"), program)
            equal(ours.execute_command("HPEXPIRETIME", "h", "FIELDS", 2, "f", "g"), theirs.execute_command("HPEXPIRETIME", "h", "FIELDS", 2, "f", "g"), program)
            equal(ours.zrange("z", 0, -1, withscores=True), [(b"a", 1.5)], program)
        shutil.rmtree(peer.folder)


print(f"SEED={SEED}")
try:
    saved = there_and_back("redis 7", "/usr/bin/redis-server", None, False, False, "oldest")
    there_and_back("redis 7, plain", "/usr/bin/redis-server", None, False, False, "oldest", "--rdbcompression", "no", "--rdbchecksum", "no",
                   "--set-max-intset-entries", "0", "--hash-max-listpack-entries", "0", "--zset-max-listpack-entries", "0", "--list-max-listpack-size", "2")
    damage(saved)
    decisions()
    if ROOT:
        there_and_back("redis 8", "redis-server", ROOT, True, True, "oldest")
        there_and_back("redis 8, plain", "redis-server", ROOT, True, True, "oldest", "--hash-max-listpack-entries", "0", "--set-max-listpack-entries", "0")
        there_and_back("valkey 9", "valkey-server", ROOT, True, True, "valkey")
        there_and_back("valkey 9, without fields that go", "valkey-server", ROOT, False, True, "oldest")
        restored(ROOT)
finally:
    for folder in peer_folders:
        shutil.rmtree(folder, ignore_errors=True)
checks.passed()
