"""The six tutorials that everybody begins with, and the one on publisher confirms, with pika: hello world, work queues,
publish/subscribe, routing, topics, RPC. Each program of a tutorial has a connection of its own, as it would have as a
process; those that wait for messages have a thread of their own.
"""
import os
import threading
import time

import pika

import checks
from checks import equal

PORT = int(os.environ["LEVERET_AMQP_PORT"])
SECONDS_MAX = 20


def connect():
    return pika.BlockingConnection(pika.ConnectionParameters("localhost", PORT))


class Program:
    """A program that consumes until it is stopped. `begin` declares what it needs and says what to consume."""

    def __init__(self, begin):
        self.got, self.failure = [], None
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(begin,), daemon=True)
        self.thread.start()
        assert self.ready.wait(SECONDS_MAX) and not self.failure, self.failure

    def _run(self, begin):
        try:
            self.connection = connect()
            self.channel = self.connection.channel()
            begin(self, self.channel)
            self.connection.add_callback_threadsafe(self.ready.set)
            self.channel.start_consuming()
            self.connection.close()
        except Exception as failure:
            self.failure = failure
            self.ready.set()

    def wait(self, count):
        end = time.time() + SECONDS_MAX
        while len(self.got) < count and time.time() < end:
            assert not self.failure, self.failure
            time.sleep(0.005)
        return self.got

    def stop(self):
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)
        self.thread.join(SECONDS_MAX)
        assert not self.thread.is_alive() and not self.failure, self.failure


def hello_world():
    def receive(program, channel):
        channel.queue_declare(queue="hello")
        channel.basic_consume("hello", lambda c, m, p, body: program.got.append(body), auto_ack=True)

    receiver = Program(receive)
    sender = connect()
    channel = sender.channel()
    channel.queue_declare(queue="hello")
    channel.basic_publish(exchange="", routing_key="hello", body="Hello World!")
    sender.close()
    equal(receiver.wait(1), [b"Hello World!"])
    receiver.stop()


def work_queues():
    tasks = [b"task" + b"." * (i % 3) for i in range(20)]

    def worker(program, channel):
        channel.queue_declare(queue="task_queue", durable=True)
        channel.basic_qos(prefetch_count=1)

        def work(c, method, properties, body):
            equal(properties.delivery_mode, 2)
            time.sleep(body.count(b".") * 0.005)
            program.got.append(body)
            c.basic_ack(method.delivery_tag)

        channel.basic_consume("task_queue", work)

    def dying(program, channel):
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume("task_queue", lambda c, m, p, body: program.got.append(body))

    new_task = connect()
    channel = new_task.channel()
    channel.queue_declare(queue="task_queue", durable=True)
    # A worker that dies with a task in its hands: another one does it.
    first = Program(dying)
    for task in tasks:
        properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
        channel.basic_publish("", "task_queue", task, properties)
    equal(first.wait(1), [tasks[0]])
    workers = [Program(worker), Program(worker)]
    first.stop()
    end = time.time() + SECONDS_MAX
    while sum(len(worker.got) for worker in workers) < len(tasks) and time.time() < end:
        time.sleep(0.005)
    equal(sorted(workers[0].got + workers[1].got), sorted(tasks))
    equal(all(worker.got for worker in workers), True)
    for one in workers:
        one.stop()
    equal(channel.queue_declare("task_queue", passive=True).method.message_count, 0)
    new_task.close()


def subscriber(exchange, kind, keys):
    """A program with a queue of its own, bound by each key."""

    def begin(program, channel):
        channel.exchange_declare(exchange=exchange, exchange_type=kind)
        queue = channel.queue_declare(queue="", exclusive=True).method.queue
        for key in keys:
            channel.queue_bind(exchange=exchange, queue=queue, routing_key=key)
        channel.basic_consume(
            queue, lambda c, m, p, body: program.got.append((m.routing_key, body.decode())), auto_ack=True
        )

    return Program(begin)


def emit(exchange, kind, messages):
    emitter = connect()
    channel = emitter.channel()
    channel.exchange_declare(exchange=exchange, exchange_type=kind)
    for key, body in messages:
        channel.basic_publish(exchange=exchange, routing_key=key, body=body)
    emitter.close()


def publish_subscribe():
    emit("logs", "fanout", [("", "nobody listens")])
    subscribers = [subscriber("logs", "fanout", [""]) for _ in range(3)]
    emit("logs", "fanout", [("", "info: Hello World!"), ("", "bye")])
    for one in subscribers:
        equal(one.wait(2), [("", "info: Hello World!"), ("", "bye")])
        one.stop()


def routing():
    some = subscriber("direct_logs", "direct", ["error"])
    every = subscriber("direct_logs", "direct", ["info", "warning", "error"])
    logs = [("info", "started"), ("debug", "detail"), ("error", "Run. Run. Or it will explode."), ("warning", "hot")]
    emit("direct_logs", "direct", logs)
    equal(every.wait(3), [log for log in logs if log[0] != "debug"])
    equal(some.wait(1), [logs[2]])
    some.stop()
    every.stop()


def topics():
    keys = {"#": 6, "kern.*": 2, "*.critical": 2, "lazy.#": 3, "*.*.rabbit": 1}
    programs = {key: subscriber("topic_logs", "topic", [key]) for key in keys}
    both = subscriber("topic_logs", "topic", ["kern.*", "*.critical"])
    sent = ["kern.critical", "kern.info", "cron.critical", "lazy", "lazy.orange.male.rabbit", "lazy.pink.rabbit"]
    emit("topic_logs", "topic", [(key, "a message") for key in sent])
    wanted = {
        "#": sent,
        "kern.*": sent[:2],
        "*.critical": [sent[0], sent[2]],
        "lazy.#": sent[3:],
        "*.*.rabbit": sent[5:],
    }
    for key, program in programs.items():
        equal([got for got, _ in program.wait(keys[key])], wanted[key])
        program.stop()
    # A message that two bindings want comes once.
    equal([got for got, _ in both.wait(3)], sent[:3])
    both.stop()


def rpc():
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    def serve(program, channel):
        channel.queue_declare(queue="rpc_queue")
        channel.basic_qos(prefetch_count=1)

        def on_request(c, method, properties, body):
            answer = pika.BasicProperties(correlation_id=properties.correlation_id)
            c.basic_publish("", properties.reply_to, str(fib(int(body))), answer)
            c.basic_ack(method.delivery_tag)
            program.got.append(body)

        channel.basic_consume("rpc_queue", on_request)

    server = Program(serve)
    client = connect()
    channel = client.channel()
    callback_queue = channel.queue_declare(queue="", exclusive=True).method.queue
    answers = {}
    channel.basic_consume(
        callback_queue, lambda c, m, properties, body: answers.update({properties.correlation_id: int(body)}), auto_ack=True
    )
    for n in range(12):
        properties = pika.BasicProperties(reply_to=callback_queue, correlation_id=f"call {n}")
        channel.basic_publish("", "rpc_queue", str(n), properties)
        end = time.time() + SECONDS_MAX
        while f"call {n}" not in answers and time.time() < end:
            client.process_data_events(time_limit=1)
        equal(answers.get(f"call {n}"), fib(n))
    client.close()
    server.stop()


def confirms():
    """One by one, in batches, and as they come."""
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    persistent = pika.BasicProperties(delivery_mode=2)
    for i in range(50):
        # It raises if the message is refused or comes back.
        channel.basic_publish("", queue, str(i), persistent, mandatory=True)
    equal(channel.queue_declare(queue, passive=True).method.message_count, 50)
    try:
        channel.basic_publish("", "nobody", "lost", mandatory=True)
        raise AssertionError("a message to nobody did not come back")
    except pika.exceptions.UnroutableError as error:
        equal(error.messages[0].body, b"lost")
    connection.close()

    outstanding, confirmed = set(), []

    def on_open(connection):
        connection.channel(on_open_callback=on_channel)

    def on_channel(channel):
        channel.confirm_delivery(ack_nack_callback=lambda frame: on_confirm(channel, frame.method))
        channel.queue_declare("confirmed", durable=True, callback=lambda _: publish(channel))

    def publish(channel):
        for tag in range(1, 1001):
            outstanding.add(tag)
            channel.basic_publish("", "confirmed", str(tag), persistent)

    def on_confirm(channel, method):
        assert isinstance(method, pika.spec.Basic.Ack), method
        tags = {tag for tag in outstanding if tag <= method.delivery_tag} if method.multiple else {method.delivery_tag}
        confirmed.extend(sorted(tags))
        outstanding.difference_update(tags)
        if not outstanding:
            channel.connection.close()

    parameters = pika.ConnectionParameters("localhost", PORT)
    select = pika.SelectConnection(
        parameters, on_open_callback=on_open, on_close_callback=lambda connection, _: connection.ioloop.stop()
    )
    timer = threading.Timer(SECONDS_MAX, lambda: select.ioloop.add_callback_threadsafe(select.ioloop.stop))
    timer.start()
    select.ioloop.start()
    timer.cancel()
    equal(confirmed, list(range(1, 1001)))
    connection = connect()
    channel = connection.channel()
    equal(channel.queue_purge("confirmed").method.message_count, 1000)
    channel.queue_delete("confirmed")
    connection.close()


def main():
    for tutorial in (hello_world, work_queues, publish_subscribe, routing, topics, rpc, confirms):
        tutorial()
    checks.passed()


main()
