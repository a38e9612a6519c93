"""Random commands of every type against Leveret and Debian's redis-server side by side: the answers must be the same.

The seed is printed; `SEED=7` chooses another, `SEED=random` any. Left out is what Redis itself leaves open: the order of a set, ranges by
name over different scores, how a value is kept.
"""
import os
import random
import subprocess
import time

import redis

from server import Server, free_port

COMMANDS = 25_000
REDIS = "/usr/bin/redis-server"
SEED = random.randrange(1 << 30) if os.environ.get("SEED") == "random" else int(os.environ.get("SEED", 1))
RNG = random.Random(SEED)


def pick(*words):
    return lambda: RNG.choice(words)


KEY, VALUE = pick("a", "b", "c", "d"), pick("1", "x", "-5", "", "hello world", "3.5", "99999")
NUMBER, SCORE = pick(*"-100 -3 -2 -1 0 1 2 3 10".split()), pick(*"1 2.5 -1 inf -inf 0 (1".split())
END, BIT, JOIN = pick("LEFT", "RIGHT"), pick("0", "1"), pick("MIN", "MAX", "SUM")
CONDITION, SECONDS = pick("NX", "XX", "GT", "LT", "CH", "INCR"), pick("100", "-1", "x")
LOG, PLACE, ELEMENT = pick("log1", "log2", "log1", "geo1"), pick("geo1", "geo2", "geo1", "log2"), lambda: str(RNG.randrange(3000))
LONGITUDE, LATITUDE = (lambda: str(RNG.uniform(-181, 180))), (lambda: str(RNG.uniform(-85, 85)))
MEMBER, DISTANCE, UNIT = (lambda: f"m{RNG.randrange(40)}"), pick("0", "7.5", "900", "20000", "-1", "x"), pick(*"m km ft mi ly".split())
OPTION = pick("WITHDIST", "WITHCOORD", "WITHHASH", "ASC", "DESC", "ANY", "XX")

# k: key, v: value, n: number, s: score, e: end, b: bit, j: aggregate, c: condition, t: seconds, h: a HyperLogLog,
# f: an element of it, g: places, x and y: longitude and latitude, m: a member there, d: distance, u: unit, o: option; everything else is said.
PLACES = {"k": KEY, "v": VALUE, "n": NUMBER, "s": SCORE, "e": END, "b": BIT, "j": JOIN, "c": CONDITION, "t": SECONDS}
PLACES |= {"h": LOG, "f": ELEMENT, "g": PLACE, "x": LONGITUDE, "y": LATITUDE, "m": MEMBER, "d": DISTANCE, "u": UNIT, "o": OPTION}
LINES = """
SET k v|GET k|APPEND k v|INCR k|INCRBY k n|SETRANGE k n v|GETRANGE k n n|SETBIT k n b|GETBIT k n|BITCOUNT k n n
BITPOS k b n|STRLEN k|GETSET k v|GETDEL k|SETNX k v|MSETNX k v k v|BITOP AND k k k|BITFIELD k INCRBY u3 n n GET i5 2
DEL k|EXISTS k k|TYPE k|RENAME k k|RENAMENX k k|COPY k k|PERSIST k|EXPIRE k t|TTL missing|TOUCH k k
RPUSH k v v|LPUSH k v|LPOP k|RPOP k n|LRANGE k n n|LINDEX k n|LSET k n v|LINSERT k BEFORE v v|LREM k n v|LTRIM k n n
LPOS k v COUNT n|LPOS k v RANK n|LMOVE k k e e|LMPOP 2 k k e COUNT n|LLEN k|RPOPLPUSH k k|LPUSHX k v
HSET k v v|HGET k v|HDEL k v|HINCRBY k v n|HGETALL k|HLEN k|HSETNX k v v|HMGET k v v|HSTRLEN k v|HINCRBYFLOAT k v n
SADD k v n|SREM k v|SCARD k|SMOVE k k v|SINTERSTORE k k k|SDIFFSTORE k k k|SUNIONSTORE k k k|SINTERCARD 2 k k|SISMEMBER k v
ZADD k s v|ZADD k c s v|ZRANGE k n n WITHSCORES|ZRANGE k s s BYSCORE|ZRANGE k s s BYSCORE REV LIMIT n n|ZRANK k v|ZREVRANK k v
ZINCRBY k n v|ZREM k v|ZCOUNT k s s|ZPOPMIN k n|ZPOPMAX k|ZUNIONSTORE k 2 k k WEIGHTS n n|ZINTERSTORE k 2 k k AGGREGATE j
SORT k ALPHA|SORT k DESC LIMIT n n|SORT k ALPHA BY nosort GET # STORE k|SORT k ALPHA STORE k
PFADD h f f f|PFADD h f f f f f f f f f f f f|PFADD h|PFCOUNT h|PFCOUNT h h|PFMERGE h h h|PFMERGE h|GET h|PFDEBUG DECODE h|PFDEBUG ENCODING h
GEOADD g x y m x y m x y m|GEOADD g c x y m|GEODIST g m m u|GEOHASH g m m|GEOPOS g m m|ZRANGE g n n WITHSCORES|ZREM g m
GEOSEARCH g FROMMEMBER m BYRADIUS d u o|GEOSEARCH g FROMLONLAT x y BYBOX d d u o o|GEOSEARCH g FROMLONLAT x y BYRADIUS d u COUNT 3 o
GEOSEARCHSTORE g g FROMMEMBER m BYBOX d d u COUNT 30|GEORADIUS g x y d u o o|GEORADIUS g x y d u STORE g|GEORADIUSBYMEMBER_RO g m d u o
ZREMRANGEBYRANK k n n|ZREMRANGEBYSCORE k s s|ZDIFF 2 k k WITHSCORES|ZSCORE k v|ZMPOP 2 k k MIN COUNT n|ZRANGESTORE k k n n
"""
COMMAND_LINES = [line.split() for line in LINES.replace("\n", "|").split("|") if line]


def ask(client, command):
    try:
        answer = client.execute_command(*command)
    except redis.ResponseError as error:
        return f"error: {error}"
    return sorted(map(str, answer)) if command[0] == "HGETALL" and isinstance(answer, list) else answer


def plain(port):
    """A client that does not interpret answers."""
    client = redis.Redis(port=port, protocol=2)
    client.response_callbacks.clear()
    return client


def exchange(ours, theirs, key):
    """A value that goes to the other server and back is the same."""
    payloads = ours.execute_command("DUMP", key), theirs.execute_command("DUMP", key)
    assert (payloads[0] is None) == (payloads[1] is None), f"SEED={SEED}: only one has {key}"
    if payloads[0] is not None:
        for server, payload in ((theirs, payloads[0]), (ours, payloads[1])):
            assert server.execute_command("RESTORE", key, 0, payload, "REPLACE") == b"OK", f"SEED={SEED}: {payload!r}"


def main():
    port, checks = free_port(), 0
    reference = subprocess.Popen([REDIS, "--bind", "127.0.0.1", "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
    try:
        with Server("differential") as server:
            ours, theirs = plain(server.resp_port), plain(port)
            for _ in range(500):
                try:
                    theirs.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.02)
            for _ in range(COMMANDS):
                command = [PLACES[word]() if word in PLACES else word for word in RNG.choice(COMMAND_LINES)]
                left, right = ask(ours, command), ask(theirs, command)
                assert left == right, f"SEED={SEED}: {command}: {left!r} instead of {right!r}"
                checks += 1
                if checks % 20 == 0:
                    exchange(ours, theirs, RNG.choice([KEY, LOG, PLACE])())
    finally:
        reference.kill()
        reference.wait()
    print(f"seed {SEED}")
    print(f"{checks} checks passed")


main()
