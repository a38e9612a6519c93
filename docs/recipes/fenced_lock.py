"""A lock whose holder has a number. What it protects refuses smaller numbers, so a holder that was away does no harm."""

import os
import time

import redis

client = redis.Redis.from_url(os.environ["LEVERET_URL"])

ACQUIRE = client.register_script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], fence, 'PX', ARGV[1])
return fence
""")
RELEASE = client.register_script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")
# The largest number that has written lies beside what is written: here the resource itself looks.
WRITE = client.register_script("""
if tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
return 1
""")

# The braces keep the keys in one slot.
LOCK = ["{report}:lock", "{report}:fence"]


def acquire(seconds):
    """The number, or 0 if somebody else has the lock."""
    return ACQUIRE(keys=LOCK, args=[int(seconds * 1000)])


slow = acquire(0.1)
assert slow and not acquire(10)
time.sleep(0.2)
quick = acquire(10)
assert quick > slow
assert WRITE(keys=["{report}"], args=[quick, "new"]) == 1
# The first holder comes back and believes that it still has the lock.
assert WRITE(keys=["{report}"], args=[slow, "old"]) == 0
assert RELEASE(keys=LOCK[:1], args=[slow]) == 0
assert client.hget("{report}", "value") == b"new"
assert RELEASE(keys=LOCK[:1], args=[quick]) == 1 and acquire(1) > quick
