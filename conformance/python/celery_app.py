"""A Celery application on one Leveret: broker amqp://, results redis://, a real worker with its defaults.

2,000 plain tasks and chains; the server is killed with SIGKILL in the middle and restarted. Every result must arrive.
Then everything else that an application uses: see celery_features.py and celery_delays.py.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

from celery import Celery, chain, group

import celery_features
from server import Server

PLAIN, CHAINS = 2000, 50


def configured():
    app = Celery("celery_app", broker=os.environ["CELERY_BROKER"], backend=os.environ["CELERY_BACKEND"])
    app.conf.update(
        task_acks_late=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_publish_retry_policy={"max_retries": 30, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.5},
        broker_transport_options={"confirm_publish": True},
        redis_retry_on_timeout=True,
        result_backend_transport_options={"retry_policy": {"timeout": 30.0, "max_retries": 60, "interval_max": 0.5}},
        beat_schedule={"beat": {"task": "celery_app.beat", "schedule": 0.5}},
        worker_send_task_events=True,
    )
    return app


if __name__ != "__main__":
    app = configured()

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def total(numbers):
        return sum(numbers)

    @app.task
    def fail():
        raise RuntimeError("because it should")

    @app.task
    def sleep(seconds):
        time.sleep(seconds)

    @app.task
    def when():
        return time.time()

    @app.task(bind=True, max_retries=3)
    def stubborn(self, what):
        if what == "never" or self.request.retries < 2:
            raise self.retry(exc=ValueError("not yet"), countdown=0.1)
        return self.request.retries

    @app.task
    def beat():
        app.backend.client.rpush("beats", time.time())


def persistently(call, seconds=60):
    """Tries again while the server is away, as an application's own retry would."""
    end = time.time() + seconds
    while True:
        try:
            return call()
        except Exception:
            if time.time() > end:
                raise
            time.sleep(0.2)


def main():
    with Server("celery") as server:
        run(server)


def tell(server, chains):
    """What of the chains is there: which results, and how many tasks wait."""
    results, queue = server.redis(), server.amqp().channel().queue_declare("celery", passive=True).method
    print(f"the queue has {queue.message_count} ready tasks and {queue.consumer_count} consumers")
    for i, last in enumerate(chains):
        ids = [last.parent.parent.id, last.parent.id, last.id]
        stored = [results.get(f"celery-task-meta-{id}") for id in ids]
        if not all(stored):
            print(f"chain {i}: results of {ids} are {stored}")


def run(server):
    os.environ["CELERY_BROKER"] = f"amqp://guest:guest@127.0.0.1:{server.amqp_port}//"
    os.environ["CELERY_BACKEND"] = f"redis://127.0.0.1:{server.resp_port}/0"
    here = os.path.dirname(os.path.abspath(__file__))
    log = open(os.path.join(server.directory, "worker.log"), "w")
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2", "--loglevel", "WARNING"],
        cwd=here, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )
    try:
        # The sender only sends; its results are read from where the worker puts them.
        # Without confirms a client cannot know that a broker it lost has taken a message.
        sender_app = Celery("sender", broker=os.environ["CELERY_BROKER"])
        sender_app.conf.broker_transport_options = {"confirm_publish": True}

        ids = []

        def send():
            for i in range(PLAIN):
                ids.append((persistently(lambda i=i: sender_app.send_task("celery_app.add", (i, 1))).id, i + 1))

        sender = threading.Thread(target=send)
        sender.start()
        while len(ids) < PLAIN // 4:
            time.sleep(0.01)
        server.kill()
        server.start()
        sender.join()
        results = server.redis()
        end = time.time() + 90
        missing = dict(ids)
        while missing and time.time() < end:
            for id, expected in list(missing.items()):
                stored = results.get(f"celery-task-meta-{id}")
                if stored:
                    value = json.loads(stored)["result"]
                    assert value == expected, f"{id}: {value!r} instead of {expected!r}"
                    del missing[id]
            time.sleep(0.2)
        assert not missing, f"{len(missing)} of {PLAIN} results did not arrive"
        sys.path.insert(0, here)
        import celery_app

        add = celery_app.add
        chains = [chain(add.s(i, 1), add.s(2), add.s(3))() for i in range(CHAINS)]
        try:
            assert [c.get(timeout=60) for c in chains] == [i + 6 for i in range(CHAINS)]
        except Exception:
            tell(server, chains)
            raise
        assert group(add.s(i, i) for i in range(20))().get(timeout=60) == [2 * i for i in range(20)]
        print(f"{PLAIN} tasks over a SIGKILL, {CHAINS} chains and a group: every result arrived")
        checks = celery_features.run(celery_app.app, celery_app, server)
        import celery_delays

        checks += celery_delays.run(server)
        print(f"{PLAIN + CHAINS + 20 + checks} checks passed")
    except BaseException:
        log.flush()
        print(open(log.name).read()[-4000:], file=sys.stderr)
        raise
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


if __name__ == "__main__":
    main()
    # Celery's result objects unsubscribe while the interpreter goes down; there is nothing left to be told.
    sys.stdout.flush()
    os._exit(0)
