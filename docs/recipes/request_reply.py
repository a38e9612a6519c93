"""Questions over AMQP; an answer is cached in the commit that sends it, and whoever asks again finds it there."""

import os
import threading
import time
import uuid

import pika
import redis

from leveret.outbox import Worker

client = redis.Redis.from_url(os.environ["LEVERET_URL"])
worked_out = []


def answer(message, tx):
    question = message.body.decode()
    worked_out.append(question)
    asked = message.properties
    result = str(sum(map(int, question.split("+"))))
    tx.publish("", asked["reply-to"], result, properties={"correlation-id": asked["correlation-id"]})


class Asker:
    def __init__(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
        self.channel = self.connection.channel()
        self.channel.queue_declare("questions", durable=True)
        self.channel.basic_consume("amq.rabbitmq.reply-to", self.answered, auto_ack=True)
        self.answers = {}

    def answered(self, _channel, _method, properties, body):
        self.answers[properties.correlation_id] = body

    def ask(self, question):
        cached = client.get(f"answer:{question}")
        if cached is not None:
            return cached
        id, until = self.send(question), time.monotonic() + 30
        while id not in self.answers:
            if time.monotonic() > until:
                raise TimeoutError(question)
            self.connection.process_data_events(1)
        return self.answers.pop(id)

    def send(self, question):
        id = str(uuid.uuid4())
        properties = pika.BasicProperties(
            delivery_mode=2,
            correlation_id=id,
            reply_to="amq.rabbitmq.reply-to",
            headers={"x-reply-key": f"answer:{question}", "x-reply-ttl": 60_000},
        )
        self.channel.basic_publish("", "questions", question, properties)
        return id


# It does not wait for its answer.
gone = Asker()
gone.send("1+1")
gone.connection.close()

asker = Asker()
worker = Worker(client, "questions", answer)
thread = threading.Thread(target=worker.run)
thread.start()
try:
    assert asker.ask("3+4") == b"7"
    assert asker.ask("3+4") == b"7"
    # Questions are answered in their order: this one was before.
    assert client.get("answer:1+1") == b"2"
    assert asker.ask("1+1") == b"2"
    assert 0 < client.pttl("answer:1+1") <= 60_000
finally:
    worker.stop()
    thread.join()
assert worked_out == ["1+1", "3+4"]
