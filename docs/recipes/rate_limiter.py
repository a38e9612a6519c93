"""A consumer that takes no more than so many messages a second, however many consumers there are."""

import os
import threading
import time

import pika
import redis

from leveret.outbox import outbox, take

PER_SECOND, AT_ONCE = 20, 5

client = redis.Redis.from_url(os.environ["LEVERET_URL"])
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.queue_declare("mails", durable=True)
for n in range(20):
    channel.basic_publish("", "mails", str(n))

# The key is the time at which the next one would be due if all came evenly. The answer is how many milliseconds to wait.
PERMIT = client.register_script("""
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local step, burst = 1000 / ARGV[1], ARGV[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = due - (burst - 1) * step - now
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', due + step), 'PX', math.ceil(due + step - now) + 1000)
return 0
""")


def consume(sent):
    while True:
        # The permit first: a message that waits for one would be held from others.
        while wait := PERMIT(keys=["rate:mails"], args=[PER_SECOND, AT_ONCE]):
            time.sleep(wait / 1000)
        message = take(client, "mails")
        if message is None:
            return
        with outbox(client) as tx:
            tx.sadd("mailed", message.body)
            tx.ack(message)
        sent.append(time.monotonic())


began, sent = time.monotonic(), []
threads = [threading.Thread(target=consume, args=(sent,)) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert client.scard("mailed") == 20
# Five at once, the other fifteen one every 50 ms.
assert max(sent) - began >= (20 - AT_ONCE) / PER_SECOND - 0.05
