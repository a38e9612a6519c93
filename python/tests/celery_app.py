"""The application of test_celery.py, and its worker: `python celery_app.py`, with the pool as an argument."""

import os
import sys
import time

from celery import Celery

import leveret.celery

app = Celery("celery_app", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    task_acks_late=True,
    task_default_queue="tasks",
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"redis_url": os.environ["RESULTS"], "lease": 3, "confirm_publish": True},
    worker_cancel_long_running_tasks_on_connection_loss=False,
    result_backend_transport_options={"retry_policy": {"timeout": 30.0, "max_retries": 60, "interval_max": 0.5}},
)


@app.task
def count(number):
    # The result says how often it was stored: once.
    leveret.celery.changes().hincrby("counts", number, 1).incr("total")
    time.sleep(0.002)
    return number * number


@app.task
def fail(number):
    leveret.celery.changes().incr("never")
    raise ValueError(number)


@app.task
def slow(seconds):
    leveret.celery.changes().incr("slow")
    time.sleep(seconds)
    return "done"


@app.task(acks_late=False)
def early(number):
    return -number


@app.task(ignore_result=True)
def forgotten():
    try:
        leveret.celery.changes().incr("never")
    except RuntimeError:
        # Nobody stores its result, so there is no commit that they could be part of.
        leveret.celery.connect(os.environ["RESULTS"]).incr("refused")


@app.task(bind=True)
def again(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    leveret.celery.changes().incr("again")
    return self.request.retries


if __name__ == "__main__":
    app.worker_main(["worker", "--loglevel=INFO", "--without-gossip", "--without-mingle", *sys.argv[1:]])
