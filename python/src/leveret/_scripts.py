"""The scripts of the queues: what must happen whole. Each ends with the bells as they should be."""

import hashlib
from typing import Any, Dict, Sequence

import redis

DONE, NOT_NOW, SHUT, MOVED = 1, 0, 2, 3

# How many members one look at a sorted set shows.
PROBES = 15

_HEAD = """
local items, state = KEYS[1], KEYS[2]
local function size() return redis.call('%(size)s', items) end
local function shut() return redis.call('HEXISTS', state, 'shutdown') == 1 end
local function number(field) return tonumber(redis.call('HGET', state, field) or '0') end
local function set(bell, on)
  local is = redis.call('EXISTS', bell) == 1
  if on and not is then redis.call('RPUSH', bell, '1') end
  if is and not on then redis.call('DEL', bell) end
end
local function ring()
  local n, most, over = size(), number('maxsize'), shut()
  set(KEYS[3], n > 0 or over)
  -- Without a bound nobody waits for room.
  set(KEYS[4], over or (most > 0 and n < most))
  set(KEYS[5], number('unfinished') <= 0 and redis.call('EXISTS', state) == 1)
end
local function room(most)
  if shut() then return 2 end
  -- Whoever takes has to know the bound of whoever waits.
  if number('maxsize') ~= most then redis.call('HSET', state, 'maxsize', most) end
  if most > 0 and size() >= most then return 0 end
  return 1
end
"""

_KINDS: Dict[str, Dict[str, str]] = {
    "fifo": {"size": "LLEN", "pop": "redis.call('LPOP', items)"},
    "lifo": {"size": "LLEN", "pop": "redis.call('RPOP', items)"},
    "priority": {"size": "ZCARD", "pop": "redis.call('ZPOPMIN', items)[1]"},
}


def _each(body: str) -> Dict[str, str]:
    return {kind: _HEAD % words + body.replace("POP", words["pop"]) for kind, words in _KINDS.items()}


# A look before the change keeps the change of a queue that is full from being made.
ROOM = _each("local may = room(tonumber(ARGV[1])) ring() return may")
ANY = _each("ring() if size() > 0 then return 1 end if shut() then return 2 end return 0")
RING = _each("ring() return 1")

_PUT_LIST = """
local may = room(tonumber(ARGV[1]))
if may == 1 then
  redis.call('RPUSH', items, ARGV[2])
  redis.call('HINCRBY', state, 'unfinished', 1)
end
ring()
return may
"""

# Between two neighbours; when their scores leave no number between them, all get new ones.
_PUT_BETWEEN = """
local may = room(tonumber(ARGV[1]))
if may ~= 1 then ring() return may end
local before, after = ARGV[3], ARGV[4]
local at = 0
if before ~= '' then
  local rank = redis.call('ZRANK', items, before)
  if not rank then ring() return 3 end
  at = rank + 1
end
local next = redis.call('ZRANGE', items, at, at)[1] or ''
if next ~= after then ring() return 3 end
local function score(member) return tonumber(redis.call('ZSCORE', items, member)) end
local function between()
  if before == '' and after == '' then return 0 end
  if before == '' then return score(after) - 1 end
  if after == '' then return score(before) + 1 end
  return (score(before) + score(after)) / 2
end
local middle = between()
if (before ~= '' and middle <= score(before)) or (after ~= '' and middle >= score(after)) then
  for rank, member in ipairs(redis.call('ZRANGE', items, 0, -1)) do redis.call('ZADD', items, rank, member) end
  middle = between()
end
redis.call('ZADD', items, string.format('%.17g', middle), ARGV[2])
redis.call('HINCRBY', state, 'unfinished', 1)
ring()
return 1
"""

PUT = _each(_PUT_LIST)
PUT["priority"] = _HEAD % _KINDS["priority"] + _PUT_BETWEEN

# Members between two ranks, and the ranks between which they are.
PROBE = """
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
local most = redis.call('ZCARD', KEYS[1]) - 1
if last < 0 or last > most then last = most end
local members = {}
-- A step of nothing would never end.
if last < first then return {first, last, members} end
local step = math.floor((last - first) / PROBES) + 1
for rank = first, last, step do
  members[#members + 1] = redis.call('ZRANGE', KEYS[1], rank, rank)[1]
end
return {first, last, members}
""".replace("PROBES", str(PROBES))

TAKE = _each(
    """
local got = {0, false}
if size() > 0 then got = {1, POP} elseif shut() then got = {2, false} end
ring()
return got
"""
)

TASK_DONE = _each(
    """
local left = number('unfinished') - 1
if left < 0 then return 0 end
redis.call('HSET', state, 'unfinished', left)
ring()
return 1
"""
)

FINISHED = _each("ring() if number('unfinished') > 0 then return 0 end return 1")

SHUTDOWN = _each(
    """
redis.call('HSET', state, 'shutdown', 1)
if ARGV[1] == '1' then
  redis.call('HSET', state, 'unfinished', math.max(0, number('unfinished') - size()))
  redis.call('DEL', items)
end
ring()
return 1
"""
)

_digests: Dict[str, str] = {}


def run(client: "redis.Redis", script: str, keys: Sequence[str], args: Sequence[Any], durable: bool) -> Any:
    """Runs a script, which the server may not know yet."""
    digest = _digests.get(script)
    if digest is None:
        digest = _digests[script] = hashlib.sha1(script.encode()).hexdigest()
    try:
        return command(client, durable, "EVALSHA", digest, len(keys), *keys, *args)
    except redis.exceptions.NoScriptError:
        return command(client, durable, "EVAL", script, len(keys), *keys, *args)


def command(client: "redis.Redis", durable: bool, *args: Any) -> Any:
    """Executes a command; a durable one is on the disk when this returns."""
    if not durable:
        return client.execute_command(*args)
    # WAITAOF is about what its own connection has written.
    with client.pipeline(transaction=False) as both:
        both.execute_command(*args)
        both.execute_command("WAITAOF", 1, 0, 0)
        return both.execute()[0]
