"""redis-py, unmodified, against one server: every command that is there, in RESP2 and RESP3, and the texts of refusals.

Prints how many checks ran; ends with an error when one fails or when too few ran.
"""
import asyncio
import os
import socket
import threading
import time

import redis
import redis.asyncio

import checks
from checks import equal

PORT = int(os.environ["LEVERET_RESP_PORT"])


def refused(call, text):
    checks.counted()
    try:
        answer = call()
    except redis.RedisError as error:
        assert text in str(error), f"refused with {error}, not with {text}"
    else:
        raise AssertionError(f"answered {answer!r} instead of {text}")


def strings(r):
    equal(r.set("k", "v"), True)
    equal(r.get("k"), b"v")
    equal(r.set("k", "w", nx=True), None)
    equal(r.set("missing", "w", xx=True), None)
    equal(r.set("k", "w", get=True), b"v")
    equal(r.set("k", "x", ex=100), True)
    equal(r.ttl("k"), 100)
    equal(r.set("k", "y", keepttl=True), True)
    equal(r.ttl("k"), 100)
    equal(r.set("k", "z", px=1), True)
    time.sleep(0.01)
    equal(r.get("k"), None)
    equal(r.mset({"a": 1, "b": 2}), True)
    equal(r.mget("a", "b", "none"), [b"1", b"2", None])
    equal(r.setnx("a", 3), False)
    equal(r.incr("a"), 2)
    equal(r.incrby("a", 40), 42)
    equal(r.decr("a"), 41)
    equal(r.append("a", "x"), 3)
    equal(r.strlen("a"), 3)
    refused(lambda: r.incr("a"), "value is not an integer or out of range")
    equal(r.getdel("a"), b"41x")
    equal(r.getex("b", ex=50), b"2")
    equal(r.ttl("b"), 50)
    equal(r.getex("b", persist=True), b"2")
    equal(r.ttl("b"), -1)
    big = os.urandom(3_000_000)
    equal(r.set("big", big), True)
    equal(r.get("big"), big)
    refused(lambda: r.execute_command("SET", "k", "v", "EX", "0"), "invalid expire time in 'set' command")
    refused(lambda: r.execute_command("SET", "k", "v", "NX", "XX"), "syntax error")
    refused(lambda: r.execute_command("GET"), "wrong number of arguments for 'get' command")
    refused(lambda: r.execute_command("NOPE", "x"), "unknown command 'NOPE', with args beginning with: 'x'")


def keys(r):
    r.flushall()
    r.mset({f"key:{i}": i for i in range(1000)})
    equal(r.dbsize(), 1000)
    equal(sorted(r.scan_iter("key:*", count=50)), sorted(f"key:{i}".encode() for i in range(1000)))
    equal(len(r.keys("key:99*")), 11)
    equal(r.exists("key:1", "key:2", "no"), 2)
    equal(r.type("key:1"), b"string")
    equal(r.delete("key:1", "no"), 1)
    equal(r.unlink("key:2"), 1)
    equal(r.expire("key:3", 100), True)
    equal(r.expire("key:3", 50, gt=True), False)
    equal(r.persist("key:3"), True)
    equal(r.pexpireat("key:3", int(time.time() * 1000) + 60_000), True)
    assert 59_000 < r.pttl("key:3") <= 60_000
    equal(r.expireat("key:4", 1), True)
    equal(r.exists("key:4"), 0)
    equal(r.ttl("no"), -2)
    assert r.randomkey().startswith(b"key:")
    equal(r.rename("key:5", "moved"), True)
    equal(r.get("moved"), b"5")
    refused(lambda: r.rename("key:5", "x"), "no such key")
    equal(r.flushdb(), True)
    equal(r.dbsize(), 0)


def lists(r):
    equal(r.rpush("l", "a", "b", "c"), 3)
    equal(r.lpush("l", "z"), 4)
    equal(r.llen("l"), 4)
    equal(r.lrange("l", 0, -1), [b"z", b"a", b"b", b"c"])
    equal(r.lrange("l", 5, 9), [])
    equal(r.lpop("l"), b"z")
    equal(r.rpop("l", 2), [b"c", b"b"])
    equal(r.lpop("l"), b"a")
    equal(r.exists("l"), 0)
    equal(r.lpop("l"), None)
    r.set("s", "x")
    refused(lambda: r.lpush("s", "y"), "Operation against a key holding the wrong kind of value")
    refused(lambda: r.execute_command("BLPOP", "l", "-1"), "timeout is negative")
    equal(r.blpop(["l", "m"], timeout=0.05), None)
    r.rpush("m", "now")
    equal(list(r.brpop(["l", "m"], timeout=1)), [b"m", b"now"])


def blocking(connect):
    waiting, got = connect(), []

    def wait(client):
        got.append(client.blpop("queue", timeout=5))

    first, second = threading.Thread(target=wait, args=(waiting,)), threading.Thread(target=wait, args=(connect(),))
    first.start()
    time.sleep(0.1)
    second.start()
    time.sleep(0.1)
    r = connect()
    r.rpush("queue", "one", "two")
    first.join()
    second.join()
    equal(sorted(list(x)[1] for x in got), [b"one", b"two"])
    equal(r.exists("queue"), 0)
    pipe = r.pipeline(transaction=True)
    pipe.blpop("queue", timeout=0)
    equal(pipe.execute(), [None])


def transactions(connect):
    r, other = connect(), connect()
    pipe = r.pipeline(transaction=True)
    pipe.set("t", 1)
    pipe.incr("t")
    pipe.lpush("t", "x")
    pipe.get("t")
    answers = pipe.execute(raise_on_error=False)
    equal(answers[:2], [True, 2])
    assert isinstance(answers[2], redis.ResponseError)
    equal(answers[3], b"2")
    with r.pipeline() as pipe:
        pipe.watch("t")
        other.set("t", 9)
        pipe.multi()
        pipe.set("t", 10)
        try:
            pipe.execute()
            raise AssertionError("a touched key did not abort")
        except redis.WatchError:
            equal(other.get("t"), b"9")
    refused(lambda: r.execute_command("EXEC"), "EXEC without MULTI")
    refused(lambda: r.execute_command("DISCARD"), "DISCARD without MULTI")
    plain = r.pipeline(transaction=False)
    for i in range(5000):
        plain.set(f"p{i}", i)
    equal(plain.execute(), [True] * 5000)


def pubsub(connect):
    r, listener = connect(), connect().pubsub()
    listener.subscribe("news")
    listener.psubscribe("n*")
    kinds = [listener.get_message(timeout=1)["type"] for _ in range(2)]
    equal(sorted(kinds), ["psubscribe", "subscribe"])
    equal(r.publish("news", "hello"), 2)
    messages = sorted((m["type"], m["data"]) for m in (listener.get_message(timeout=1) for _ in range(2)))
    equal(messages, [("message", b"hello"), ("pmessage", b"hello")])
    listener.unsubscribe()
    listener.punsubscribe()
    listener.close()
    time.sleep(0.05)
    equal(r.publish("news", "nobody"), 0)


def connection(connect, protocol):
    r = connect()
    equal(r.ping(), True)
    equal(r.echo("x"), b"x")
    assert r.client_id() > 0
    equal(r.client_setname("tester"), True)
    name = r.client_getname()
    equal(name if isinstance(name, str) else name.decode(), "tester")
    equal(r.client_info()["name"], "tester")
    equal(r.execute_command("CLIENT", "SETINFO", "LIB-NAME", "mine") in (True, b"OK", "OK"), True)
    assert r.command_count() > 50
    assert "get" in r.command()
    equal([k if isinstance(k, str) else k.decode() for k in r.command_getkeys("MSET", "a", 1, "b", 2)], ["a", "b"])
    equal(r.config_get("appendonly"), {"appendonly": "yes"})
    equal(r.config_set("appendfsync", "always"), True)
    equal(r.set("always", 1), True)
    equal(r.config_set("appendfsync", "everysec"), True)
    refused(lambda: r.config_set("nope", 1), "Unknown option or number of arguments for CONFIG SET - 'nope'")
    info = r.info()
    equal(info["server_name"], "leveret")
    equal(info["redis_mode"], "standalone")
    one = redis.Redis(port=PORT, db=9, protocol=protocol)
    one.set("in nine", 1)
    equal(one.exists("in nine"), 1)
    equal(r.exists("in nine"), 0)
    one.flushdb()
    refused(lambda: r.execute_command("SELECT", "16"), "DB index is out of range")
    refused(lambda: r.execute_command("AUTH", "x"), "AUTH <password> called without any password")
    equal(r.execute_command("RESET") in (b"RESET", "RESET"), True)


async def asynchronous(protocol):
    r = redis.asyncio.Redis(port=PORT, protocol=protocol, max_connections=300)
    await r.set("async", 1)
    answers = await asyncio.gather(*(r.incr("async") for _ in range(200)))
    equal(sorted(answers), list(range(2, 202)))
    pipe = r.pipeline()
    pipe.get("async")
    equal(await pipe.execute(), [b"201"])
    await r.aclose()


def goodbye():
    """Data and the end of the stream in one packet: answered, and the connection is gone."""
    r = redis.Redis(port=PORT)
    before = r.info("clients")["connected_clients"]
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", PORT)) as s:
            s.sendall(b"PING\r\n")
            s.shutdown(socket.SHUT_WR)
            equal(s.recv(100), b"+PONG\r\n")
    time.sleep(0.2)
    equal(r.info("clients")["connected_clients"], before)


def writes_first():
    """A client that writes everything before it reads an answer."""
    count, value = 100_000, b"x" * 1000
    commands = b"SET unread %s\r\n" % value + b"GET unread\r\n" * count
    with socket.create_connection(("127.0.0.1", PORT)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        s.settimeout(30)
        s.sendall(commands)
        expected, got = b"+OK\r\n" + (b"$1000\r\n" + value + b"\r\n") * count, bytearray()
        while len(got) < len(expected) and (chunk := s.recv(1 << 20)):
            got += chunk
    equal(got == expected, True)


def limits():
    """Who asks waits for the disk. Clients that are silent for too long, that send without end, and that hold too much are
    cut off; others are not."""
    r = redis.Redis(port=PORT)

    def connected(seconds=10):
        s = socket.create_connection(("127.0.0.1", PORT), timeout=seconds)
        s.sendall(b"PING\r\n")
        assert s.recv(100) == b"+PONG\r\n"
        return s

    def is_cut_off(s):
        try:
            return s.recv(1) == b""
        except ConnectionResetError:
            return True

    for i in range(200):
        r.set("k", i)
        equal(r.execute_command("WAITAOF", 1, 0, 5000), [1, 0])

    idle, listening = connected(), connected()
    listening.sendall(b"SUBSCRIBE c\r\n")
    listening.recv(100)
    r.config_set("timeout", 1)
    equal(is_cut_off(idle), True)
    # This one was idle, too.
    r.connection_pool.disconnect()
    r.config_set("timeout", 0)
    r.publish("c", "still there")
    equal(b"still there" in listening.recv(100), True)

    r.config_set("client-query-buffer-limit", "1mb")
    sender = connected()
    try:
        sender.sendall(b"*2\r\n$4\r\nECHO\r\n$4000000\r\n" + b"x" * 3_000_000)
        cut = is_cut_off(sender)
    except (BrokenPipeError, ConnectionResetError):
        cut = True
    equal(cut, True)
    r.config_set("client-query-buffer-limit", "1gb")

    # Each keeps the beginning of a command.
    small, large, spared = connected(), connected(), connected()
    spared.sendall(b"CLIENT NO-EVICT ON\r\n")
    spared.recv(100)
    for s, size in (small, 1_000), (large, 2_000_000), (spared, 3_000_000):
        s.sendall(b"*2\r\n$4\r\nECHO\r\n$4000000\r\n" + b"x" * size)
    before = r.info("stats")["evicted_clients"]
    r.config_set("maxmemory-clients", "1mb")
    equal(is_cut_off(large), True)
    equal(r.info("stats")["evicted_clients"], before + 1)
    spared.sendall(b"x" * 1_000_000 + b"\r\n")
    equal(spared.recv(10), b"$4000000\r\n")
    r.config_set("maxmemory-clients", 0)


def main():
    goodbye()
    limits()
    writes_first()
    for protocol in (2, 3):
        def connect():
            return redis.Redis(port=PORT, protocol=protocol)

        r = connect()
        r.flushall()
        strings(r)
        keys(r)
        lists(r)
        blocking(connect)
        transactions(connect)
        pubsub(connect)
        connection(connect, protocol)
        asyncio.run(asynchronous(protocol))
    assert checks.made >= 190, f"only {checks.made} checks ran"
    checks.passed()


main()
