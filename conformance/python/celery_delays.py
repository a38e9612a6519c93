"""An application of Celery with a quorum queue: the worker then leaves delays to the broker, which holds a task in up to 28
levels of queues that dead-letter into each other, and the worker has nothing to keep.
"""
import os
import signal
import subprocess
import sys
import time

from celery import Celery
from kombu import Exchange, Queue

DELAYS = (1, 2, 3, 5, 6, 9)
SECONDS_MAX = 30


def configured():
    app = Celery("celery_delays", broker=os.environ["CELERY_BROKER"], backend=os.environ["CELERY_BACKEND"])
    app.conf.update(
        task_queues=[
            Queue(
                "delayed",
                Exchange("delayed", type="topic"),
                routing_key="delayed",
                queue_arguments={"x-queue-type": "quorum"},
            )
        ],
        task_default_queue="delayed",
        task_default_exchange="delayed",
        task_default_exchange_type="topic",
        task_default_routing_key="delayed",
        broker_connection_retry_on_startup=True,
    )
    return app


app = configured()


@app.task
def when():
    return time.time()


@app.task(bind=True, max_retries=2)
def later(self):
    if self.request.retries < 2:
        raise self.retry(countdown=1)
    return self.request.retries


def waiting(server):
    """How many tasks wait in the levels."""
    channel = server.amqp().channel()
    levels = [channel.queue_declare(f"celery_delayed_{level}", passive=True).method for level in range(28)]
    return sum(level.message_count for level in levels)


def run(server):
    log = open(os.path.join(server.directory, "delays.log"), "w")
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_delays", "worker", "--concurrency", "1", "-n", "delays@here", "-l", "INFO"],
        cwd=os.path.dirname(os.path.abspath(__file__)), stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )
    checks = 0
    try:
        assert when.delay().get(timeout=SECONDS_MAX), "a task without a delay"
        started = time.time()
        results = [(delay, when.apply_async(countdown=delay)) for delay in DELAYS]
        years = when.apply_async(countdown=2**28 - 1)
        # The first one may have come by now.
        assert waiting(server) >= len(DELAYS), "the broker holds them"
        retried = later.delay()
        for delay, result in results:
            took = result.get(timeout=SECONDS_MAX) - started
            # Every second that it waits is the broker's; the rest is the worker's.
            assert delay <= took < delay + 5, f"{took} instead of {delay} seconds"
            checks += 1
        assert retried.get(timeout=SECONDS_MAX) == 2, "a retry waits, too"
        assert not years.ready() and waiting(server) == 1, "eight years are not over"
        return checks + 5
    except BaseException:
        log.flush()
        print(open(log.name).read()[-4000:], file=sys.stderr)
        raise
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
