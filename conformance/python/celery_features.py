"""What a Celery application does all day beside running tasks: remote control, events as `celery events` and Flower read
them, ETA, retries, revoking, rate limits, groups and chords, queues that come and go, and beat. A worker of the
application is running, with `-E`.
"""
import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

from celery import chord, group
from celery.exceptions import ChordError, TaskRevokedError

SECONDS_MAX = 30
CHECKS = 0


def check(condition, what):
    global CHECKS
    CHECKS += 1
    assert condition, what


def until(call, seconds=SECONDS_MAX):
    """What a call gives as soon as that is something."""
    end = time.time() + seconds
    while True:
        got = call()
        if got or time.time() > end:
            return got
        time.sleep(0.05)


def only(replies):
    """What the one worker has replied."""
    assert replies and len(replies) == 1, replies
    reply = replies if isinstance(replies, dict) else replies[0]
    return next(iter(reply.values()))


class Events:
    """Everything that is announced, and the state that follows from it: what Flower keeps."""

    def __init__(self, app):
        self.app, self.state, self.got = app, app.events.State(), []
        self.stopped = threading.Event()
        self.connection = app.connection()
        self.receiver = app.events.Receiver(self.connection, handlers={"*": self.take})
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped.is_set():
            try:
                self.receiver.capture(limit=None, timeout=0.2, wakeup=False)
            except TimeoutError:
                pass

    def take(self, event):
        self.state.event(event)
        self.got.append(event)

    def of(self, id):
        return [event["type"] for event in self.got if event.get("uuid") == id]

    def stop(self):
        self.stopped.set()
        self.thread.join(SECONDS_MAX)
        self.connection.close()


def control(app, tasks, server):
    """What Flower asks the workers, and the broker's management API."""
    inspect = app.control.inspect(timeout=5, limit=1)
    check(only(app.control.ping(timeout=5, limit=1)) == {"ok": "pong"}, "ping")
    stats = only(inspect.stats())
    check(stats["broker"]["transport"] == "amqp" and stats["pool"]["max-concurrency"] == 2, stats)
    check("celery_app.add" in only(inspect.registered()), "registered")
    check([queue["name"] for queue in only(inspect.active_queues())] == ["celery"], "active queues")
    check(only(inspect.conf())["task_acks_late"] is True, "conf")
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/queues/%2F")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    queues = {queue["name"]: queue for queue in json.load(urllib.request.urlopen(request, timeout=10))}
    check(queues["celery"]["consumers"] == 1, queues["celery"])
    check({"messages", "messages_ready", "messages_unacknowledged"} <= set(queues["celery"]), queues["celery"])
    check(any(name.endswith(".celery.pidbox") for name in queues), queues)


def events(app, tasks, server):
    log = open(os.path.join(server.directory, "events.log"), "w+")
    dump = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", "events", "--dump"],
        cwd=os.path.dirname(os.path.abspath(__file__)), stdout=log, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    seen = Events(app)
    try:
        # The first ones may be announced before anybody listens.
        check(until(lambda: any(e["type"] == "worker-heartbeat" for e in seen.got)), "a heartbeat")
        result = tasks.add.delay(20, 22)
        check(result.get(timeout=SECONDS_MAX) == 42, "a result")
        wanted = ["task-received", "task-started", "task-succeeded"]
        check(until(lambda: [e for e in seen.of(result.id) if e != "task-sent"] == wanted), seen.of(result.id))
        task = seen.state.tasks[result.id]
        check((task.state, task.result, task.name) == ("SUCCESS", "42", "celery_app.add"), task)
        check([worker.alive for worker in seen.state.workers.values()] == [True], seen.state.workers)
        failed = tasks.fail.delay()
        check(until(lambda: "task-failed" in seen.of(failed.id)), seen.of(failed.id))
        check("because it should" in seen.state.tasks[failed.id].exception, seen.state.tasks[failed.id])

        def dumped():
            tasks.add.delay(1, 1)
            text = open(log.name).read()
            return "task succeeded" in text.lower() and "celery_app.add" in text

        check(until(dumped), open(log.name).read())
    finally:
        dump.kill()
        dump.wait()
        seen.stop()


def eta(app, tasks, server):
    before = time.time()
    results = [tasks.when.apply_async(countdown=seconds) for seconds in (1.5, 0.5, 1)]
    check(until(lambda: len(only(app.control.inspect(timeout=5, limit=1).scheduled())) > 0, 1.2), "scheduled")
    ran = [result.get(timeout=SECONDS_MAX) - before for result in results]
    check(ran[1] < ran[2] < ran[0], ran)
    check(ran[0] >= 1.5 and ran[1] >= 0.5 and ran[2] >= 1, ran)
    expired = tasks.when.apply_async(countdown=0.5, expires=0.2)
    check(until(lambda: expired.state == "REVOKED"), f"an expired task is {expired.state}")


def retries(app, tasks, server):
    result = tasks.stubborn.delay("third time")
    check(result.get(timeout=SECONDS_MAX) == 2, "retries")
    hopeless = tasks.stubborn.delay("never")
    try:
        hopeless.get(timeout=SECONDS_MAX)
        raise AssertionError("a task without hope has succeeded")
    except ValueError as error:
        check(str(error) == "not yet", error)


def revoking(app, tasks, server):
    running = tasks.sleep.delay(60)
    inspect = app.control.inspect(timeout=5, limit=1)
    check(until(lambda: running.id in [task["id"] for task in only(inspect.active())]), "active")
    app.control.revoke(running.id, terminate=True, signal="SIGKILL")
    try:
        running.get(timeout=SECONDS_MAX)
        raise AssertionError("a revoked task has succeeded")
    except TaskRevokedError:
        check(running.state == "REVOKED", running.state)
    waiting = tasks.add.apply_async((1, 1), countdown=1)
    reply = app.control.revoke(waiting.id, reply=True, timeout=5, limit=1)
    check(waiting.id in only(reply)["ok"], reply)
    check(waiting.id in only(inspect.revoked()), "revoked")
    check(until(lambda: waiting.state == "REVOKED"), f"a revoked task is {waiting.state}")


def rate_limit(app, tasks, server):
    reply = app.control.rate_limit("celery_app.when", "5/s", reply=True, timeout=5, limit=1)
    check(only(reply) == {"ok": "new rate limit set successfully"}, reply)
    ran = group(tasks.when.s() for _ in range(8))().get(timeout=SECONDS_MAX)
    check(max(ran) - min(ran) > 0.9, f"eight tasks at five a second took {max(ran) - min(ran)} s")
    app.control.rate_limit("celery_app.when", "0", reply=True, timeout=5, limit=1)


def canvas(app, tasks, server):
    nested = group(tasks.add.s(1, 1), group(tasks.add.s(i, i) for i in range(3)))
    check(nested().get(timeout=SECONDS_MAX) == [2, 0, 2, 4], "a group in a group")
    total = chord(tasks.add.s(i, i) for i in range(20))(tasks.total.s())
    check(total.get(timeout=SECONDS_MAX) == 380, "a chord")
    after = (tasks.add.s(1, 2) | group(tasks.add.s(i) for i in range(3)) | tasks.total.s() | tasks.add.s(1))()
    check(after.get(timeout=SECONDS_MAX) == 13, "a chain over a group")
    broken = chord([tasks.add.s(1, 1), tasks.fail.s()])(tasks.total.s())
    check(until(lambda: broken.state == "FAILURE"), broken.state)
    check(isinstance(broken.result, ChordError) and "because it should" in str(broken.result), broken.result)


def queues(app, tasks, server):
    reply = app.control.add_consumer("extra", reply=True, timeout=5, limit=1)
    check("ok" in only(reply), reply)
    check(tasks.add.apply_async((2, 3), queue="extra").get(timeout=SECONDS_MAX) == 5, "another queue")
    reply = app.control.cancel_consumer("extra", reply=True, timeout=5, limit=1)
    check("ok" in only(reply), reply)
    connection = server.amqp()
    extra = lambda: connection.channel().queue_declare("extra", passive=True).method
    # The worker replies before it does so.
    check(until(lambda: extra().consumer_count == 0), "nobody consumes")
    left = tasks.add.apply_async((2, 3), queue="extra")
    check(until(lambda: extra().message_count == 1), "it waits")
    connection.close()
    app.control.add_consumer("extra", reply=True, timeout=5, limit=1)
    check(left.get(timeout=SECONDS_MAX) == 5, "it is done when there is a consumer again")


def beat(app, tasks, server):
    schedule = os.path.join(server.directory, "beat")
    log = open(schedule + ".log", "w")
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", "beat", "--schedule", schedule, "--pidfile=", "-l", "WARNING"],
        cwd=os.path.dirname(os.path.abspath(__file__)), stdout=log, stderr=subprocess.STDOUT,
    )
    redis = server.redis()
    try:
        check(until(lambda: redis.llen("beats") >= 4), open(log.name).read())
    finally:
        process.terminate()
        process.wait()
    beats = [float(at) for at in redis.lrange("beats", 0, 3)]
    gaps = [later - at for at, later in zip(beats, beats[1:])]
    check(all(0.2 < gap < 3 for gap in gaps), gaps)


def run(app, tasks, server):
    for part in (control, events, eta, retries, revoking, rate_limit, canvas, queues, beat):
        started = time.time()
        part(app, tasks, server)
        print(f"{part.__name__}: {time.time() - started:.1f} s")
    return CHECKS
