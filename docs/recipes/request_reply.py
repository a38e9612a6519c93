"""Questions over AMQP; an answer is cached in the commit that sends it, and asked for again it is not worked out again."""

import os
import threading
import uuid

import pika
import redis

from leveret.outbox import Worker

client = redis.Redis.from_url(os.environ["LEVERET_URL"])
worked_out = []


def answer(message, tx):
    question = message.body.decode()
    cached = client.get(f"answer:{question}")
    if cached is None:
        worked_out.append(question)
        cached = str(sum(map(int, question.split("+")))).encode()
        tx.set(f"answer:{question}", cached, ex=60)
    asked = message.properties
    tx.publish("", asked["reply-to"], cached, properties={"correlation-id": asked["correlation-id"]})


class Asker:
    def __init__(self):
        self.channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
        self.channel.queue_declare("questions", durable=True)
        self.replies = self.channel.queue_declare("", exclusive=True).method.queue

    def ask(self, question):
        cached = client.get(f"answer:{question}")
        if cached is not None:
            return cached
        return self.ask_anyway(question)

    def ask_anyway(self, question):
        id = str(uuid.uuid4())
        properties = pika.BasicProperties(reply_to=self.replies, correlation_id=id)
        self.channel.basic_publish("", "questions", question, properties)
        for _, replied, body in self.channel.consume(self.replies, auto_ack=True, inactivity_timeout=30):
            if replied is None:
                raise TimeoutError(question)
            # An answer that comes after somebody has given up is nobody's.
            if replied.correlation_id == id:
                self.channel.cancel()
                return body


asker = Asker()
worker = Worker(client, "questions", answer)
thread = threading.Thread(target=worker.run)
thread.start()
try:
    assert asker.ask("3+4") == b"7"
    assert asker.ask("3+4") == b"7"
    assert asker.ask_anyway("3+4") == b"7"
    assert asker.ask("1+1") == b"2"
finally:
    worker.stop()
    thread.join()
assert worked_out == ["3+4", "1+1"]
