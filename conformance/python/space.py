"""The space on disk is bounded: however much is written, a directory holds no more than twice the live data and four segments,
except while a checkpoint is being written. Keys are overwritten, messages come and go, and after a kill everything is there.
"""
import os
import time

import pika

import checks
from checks import holds
from server import Server

SEGMENT = 1024 * 1024
KEYS = 6000
VALUE = b"v" * 1024
# Some hundred times what is live.
WRITTEN = 160 * 1024 * 1024


def directory_bytes(folder):
    total = 0
    for name in os.listdir(folder):
        try:
            total += os.path.getsize(os.path.join(folder, name))
        except FileNotFoundError:
            pass
    return total


def share_used(server, r):
    """Bytes used, as a share of those that are allowed; 0 while a checkpoint is being written, or before the first one."""
    before = r.info("persistence")
    used = directory_bytes(server.data)
    after = r.info("persistence")
    if not before["rdb_saves"] or before["aof_rewrite_in_progress"] or after["aof_rewrite_in_progress"]:
        return 0
    return used / (2 * after["aof_base_size"] + 4 * SEGMENT)


def main():
    flags = ["--log-segment-bytes", str(SEGMENT), "--auto-aof-rewrite-min-size", str(4 * SEGMENT)]
    with Server("space", *flags) as server:
        r, connection = server.redis(), server.amqp()
        channel = connection.channel()
        channel.queue_declare("passing", durable=True)
        channel.queue_declare("staying", durable=True)
        persistent = pika.BasicProperties(delivery_mode=2)
        for number in range(500):
            channel.basic_publish("", "staying", b"%d" % number + b"." * 1000, persistent)
        written, worst, number = 0, 0.0, 0
        while written < WRITTEN:
            pipe = r.pipeline(transaction=False)
            for _ in range(200):
                pipe.set(f"key:{number % KEYS}", b"%d" % number + VALUE)
                number += 1
            pipe.execute()
            for _ in range(20):
                channel.basic_publish("", "passing", VALUE, persistent)
            while channel.basic_get("passing", auto_ack=True)[0]:
                pass
            written += 220 * len(VALUE)
            # Slower than the disk, so that the state is a steady one.
            time.sleep(0.012)
            share = share_used(server, r)
            if share > 1:
                # The server looks every 100 ms whether a checkpoint is due, and may have had no processor for that.
                time.sleep(1)
                share = share_used(server, r)
            holds(share <= 1, f"{share:.0%} of the space that is allowed is used")
            worst = max(worst, share)
        saves = r.info("persistence")["rdb_saves"]
        holds(saves > 10, f"only {saves} checkpoints were made")
        connection.close()
        server.kill()
        server.start()
        r, connection = server.redis(), server.amqp()
        values = r.mget([f"key:{key}" for key in range(KEYS)])
        for key, value in enumerate(values):
            last = (number - 1 - key) // KEYS * KEYS + key
            holds(value == b"%d" % last + VALUE, f"key:{key} is {value[:20]!r}, {last} was written")
        channel = connection.channel()
        for expected in range(500):
            got = channel.basic_get("staying", auto_ack=True)[2]
            holds(got is not None and got.split(b".")[0] == b"%d" % expected, f"message {expected} is {got!r}")
        connection.close()
    print(f"{written >> 20} MiB written, {saves} checkpoints; at most {worst:.0%} of the space that is allowed")
    checks.passed()


main()
