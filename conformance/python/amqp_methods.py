"""pika, unmodified, against one server: exchanges, queues, publishing, consuming, settling, and the texts of refusals;
then one commit over both worlds with redis-py.

Prints how many checks ran; ends with an error when one fails or when too few ran.
"""
import datetime
import decimal
import os
import time

import pika
import redis

import checks
from checks import equal

PORT, RESP_PORT = int(os.environ["LEVERET_AMQP_PORT"]), int(os.environ["LEVERET_RESP_PORT"])
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def connect(**options):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", PORT, **options))


def closed(connection, call, code, text):
    """The call closes its channel (or connection) with this code and text."""
    checks.counted()
    channel = connection.channel()
    why = []
    channel._impl.add_on_close_callback(lambda _, reason: why.append(reason))
    try:
        call(channel)
        for _ in range(20):
            if not why:
                connection.process_data_events(0.1)
    except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker) as error:
        why.append(error)
    assert why, f"nothing was refused, expected {text}"
    assert (why[0].reply_code, why[0].reply_text) == (code, text), (why[0].reply_code, why[0].reply_text)


def drain(channel, queue, count):
    got = []
    while len(got) < count:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        assert method, f"{queue} has only {len(got)} of {count}"
        got.append(body)
    return got


def routing(c):
    ch = c.channel()
    for kind, key, hit, miss in [("direct", "k", "k", "other"), ("fanout", "", "any", None), ("topic", "a.*.#", "a.b.c.d", "b.a")]:
        ch.exchange_declare(f"x-{kind}", kind, durable=True)
        queue = ch.queue_declare("", exclusive=True).method.queue
        assert queue.startswith("amq.gen-") and len(queue) == 30
        ch.queue_bind(queue, f"x-{kind}", key)
        ch.basic_publish(f"x-{kind}", hit, kind.encode())
        if miss:
            ch.basic_publish(f"x-{kind}", miss, b"missed")
        equal(drain(ch, queue, 1), [kind.encode()])
        equal(ch.basic_get(queue)[0], None)
        ch.queue_unbind(queue, f"x-{kind}", key)
        ch.basic_publish(f"x-{kind}", hit, b"unbound")
        equal(ch.basic_get(queue)[0], None)
        ch.exchange_delete(f"x-{kind}")
    ch.exchange_declare("outer", "fanout")
    ch.exchange_declare("inner", "direct")
    ch.exchange_bind("inner", "outer", "")
    queue = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(queue, "inner", "k")
    ch.basic_publish("outer", "k", b"through")
    equal(drain(ch, queue, 1), [b"through"])
    ch.close()


def settling(c):
    ch = c.channel()
    ch.queue_declare("order", durable=True)
    ch.queue_purge("order")
    ch.confirm_delivery()
    for body in (b"a", b"b", b"c"):
        ch.basic_publish("", "order", body, PERSISTENT)
    first = ch.basic_get("order")[0]
    second = ch.basic_get("order")[0]
    ch.basic_nack(second.delivery_tag, requeue=True)
    ch.basic_reject(first.delivery_tag, requeue=True)
    got = [ch.basic_get("order") for _ in range(3)]
    equal([(body, method.redelivered) for method, _, body in got], [(b"a", True), (b"b", True), (b"c", False)])
    equal([method.message_count for method, _, _ in got], [2, 1, 0])
    ch.basic_ack(got[1][0].delivery_tag, multiple=True)
    ch.close()
    ch = c.channel()
    equal(drain(ch, "order", 1), [b"c"])
    try:
        ch.confirm_delivery()
        ch.basic_publish("", "no such queue", b"x", mandatory=True)
        raise AssertionError("an unroutable message was not returned")
    except pika.exceptions.UnroutableError as error:
        equal(error.messages[0].method.reply_code, 312)
    ch.close()


def consuming(c):
    ch = c.channel()
    queue = ch.queue_declare("", exclusive=True).method.queue
    ch.basic_qos(prefetch_count=2)
    got = []
    tag = ch.basic_consume(queue, lambda _, method, __, body: got.append((method.delivery_tag, body)))
    assert tag
    for i in range(6):
        ch.basic_publish("", queue, b"%d" % i)
    c.process_data_events(0.3)
    equal([body for _, body in got], [b"0", b"1"])
    ch.basic_ack(got[1][0], multiple=True)
    c.process_data_events(0.3)
    equal([body for _, body in got], [b"0", b"1", b"2", b"3"])
    ch.basic_cancel(tag)
    ch.basic_recover(requeue=True)
    equal(drain(ch, queue, 4), [b"2", b"3", b"4", b"5"])
    cancelled = []
    ch.add_on_cancel_callback(cancelled.append)
    ch.basic_consume(queue, lambda *_: None)
    c.channel().queue_delete(queue)
    c.process_data_events(0.3)
    equal(len(cancelled), 1)
    ch.close()


def contents(c):
    ch = c.channel()
    queue = ch.queue_declare("", exclusive=True).method.queue
    headers = {
        "i": 1, "neg": -1, "big": 2**40, "s": "é", "b": True, "n": None, "d": decimal.Decimal("1.5"),
        "t": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), "l": [1, "a", {"x": 1}], "bytes": b"\x00\xff",
    }
    properties = pika.BasicProperties(
        content_type="t/x", content_encoding="e", headers=headers, delivery_mode=2, priority=4, correlation_id="c", reply_to="r",
        expiration="60000", message_id="m", timestamp=1, type="ty", user_id="guest", app_id="a", cluster_id="cl",
    )
    body = os.urandom(1024 * 1024)
    ch.basic_publish("", queue, body, properties)
    _, back, same = ch.basic_get(queue, auto_ack=True)
    equal(same, body)
    equal(vars(back), vars(properties))
    ttl = ch.queue_declare("", exclusive=True, arguments={"x-message-ttl": 100}).method.queue
    ch.basic_publish("", ttl, b"soon gone")
    ch.basic_publish("", queue, b"gone", pika.BasicProperties(expiration="50"))
    ch.basic_publish("", queue, b"stays")
    time.sleep(0.4)
    equal(ch.basic_get(ttl)[0], None)
    equal(drain(ch, queue, 1), [b"stays"])
    ch.queue_declare("expiring", arguments={"x-expires": 100})
    time.sleep(0.4)
    closed(c, lambda k: k.queue_declare("expiring", passive=True), 404, "NOT_FOUND - no queue 'expiring' in vhost '/'")
    ch.close()


def refusals(c):
    ch = c.channel()
    ch.queue_declare("mine", exclusive=True)
    locked = (
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally declared on "
        "another connection or the exclusive property value does not match that of the original declaration."
    )
    other = connect()
    closed(other, lambda k: k.queue_declare("mine", exclusive=True), 405, locked)
    other.close()
    for call, code, text in [
        (lambda k: k.queue_declare("no", passive=True), 404, "NOT_FOUND - no queue 'no' in vhost '/'"),
        (lambda k: k.exchange_declare("no", passive=True), 404, "NOT_FOUND - no exchange 'no' in vhost '/'"),
        (lambda k: k.exchange_declare("x", "nope"), 406, "PRECONDITION_FAILED - unknown exchange type 'nope'"),
        (lambda k: k.queue_declare("amq.x"), 403, "ACCESS_REFUSED - queue name 'amq.x' contains reserved prefix 'amq.*'"),
        (lambda k: k.exchange_delete("amq.direct"), 403, "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed"),
        (lambda k: k.queue_bind("mine", "", "k"), 403, "ACCESS_REFUSED - operation not permitted on the default exchange"),
        (
            lambda k: k.queue_declare("mine", exclusive=True, auto_delete=True), 406,
            "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'mine' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            lambda k: k.queue_declare("other", exclusive=True, arguments={"x-expires": 0}), 406,
            "PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'other' in vhost '/': {value_zero,0}",
        ),
        (lambda k: k.basic_publish("no", "k", b"x"), 404, "NOT_FOUND - no exchange 'no' in vhost '/'"),
        (lambda k: k.basic_ack(99), 406, "PRECONDITION_FAILED - unknown delivery tag 99"),
        (
            lambda k: k.basic_publish("", "x", b"x", pika.BasicProperties(expiration="abc")), 406,
            "PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
        ),
        (
            lambda k: k.basic_publish("", "x", b"x", pika.BasicProperties(user_id="bob")), 406,
            "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'",
        ),
    ]:
        closed(c, call, code, text)
    closed(connect(), lambda k: k.basic_recover(requeue=False), 540, "NOT_IMPLEMENTED - requeue=false")
    try:
        connect(credentials=pika.PlainCredentials("guest", "wrong"))
        raise AssertionError("a wrong password was taken")
    except pika.exceptions.ProbableAuthenticationError:
        equal(True, True)
    ch.close()


def transactions(c):
    ch, other = c.channel(), c.channel()
    queue = ch.queue_declare("", exclusive=True).method.queue
    ch.tx_select()
    ch.basic_publish("", queue, b"1")
    equal(other.basic_get(queue)[0], None)
    ch.tx_commit()
    method, _, body = ch.basic_get(queue)
    equal(body, b"1")
    ch.basic_ack(method.delivery_tag)
    ch.basic_publish("", queue, b"2")
    ch.tx_rollback()
    ch.basic_reject(method.delivery_tag, requeue=True)
    ch.tx_commit()
    equal(drain(other, queue, 1), [b"1"])
    closed(c, lambda k: k.tx_commit(), 406, "PRECONDITION_FAILED - channel is not transactional")
    ch.close()
    other.close()


def leaving(c):
    ch = c.channel()
    dead = ch.queue_declare("", exclusive=True).method.queue
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    work = ch.queue_declare("", exclusive=True, arguments={"x-max-length": 1, **letters}).method.queue
    ch.basic_publish("", work, b"first")
    ch.basic_publish("", work, b"second")
    _, properties, body = ch.basic_get(dead, auto_ack=True)
    equal((body, properties.headers["x-death"][0]["reason"]), (b"first", "maxlen"))
    method, _, _ = ch.basic_get(work)
    ch.basic_reject(method.delivery_tag, requeue=False)
    _, properties, body = ch.basic_get(dead, auto_ack=True)
    equal((body, properties.headers["x-first-death-reason"]), (b"second", "rejected"))
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    full = ch.queue_declare("", exclusive=True, arguments=full).method.queue
    confirmed = c.channel()
    confirmed.confirm_delivery()
    confirmed.basic_publish("", full, b"taken")
    try:
        confirmed.basic_publish("", full, b"refused")
        raise AssertionError("a full queue took a message")
    except pika.exceptions.NackError:
        equal(drain(ch, full, 1), [b"taken"])
    ch.exchange_declare("later", "x-delayed-message", auto_delete=True, arguments={"x-delayed-type": "fanout"})
    ch.queue_bind(work, "later")
    ch.basic_publish("later", "", b"waited", pika.BasicProperties(headers={"x-delay": 300}))
    equal(ch.basic_get(work)[0], None)
    time.sleep(0.6)
    equal(drain(ch, work, 1), [b"waited"])
    confirmed.close()
    ch.close()


def both_worlds(c):
    ch, r = c.channel(), redis.Redis(port=RESP_PORT)
    ch.queue_declare("both", durable=True)
    ch.queue_purge("both")
    with r.pipeline(transaction=True) as pipe:
        pipe.set("order", "paid")
        pipe.execute_command("AMQP.PUBLISH", "", "both", "paid", "PROPS", "content-type", "text/plain", "HEADERS", 1, "h", "v")
        equal(pipe.execute(), [True, 1])
    method, properties, body = ch.basic_get("both", auto_ack=True)
    equal((body, properties.content_type, properties.delivery_mode, properties.headers), (b"paid", "text/plain", 2, {"h": "v"}))
    with r.pipeline() as pipe:
        pipe.watch("order")
        redis.Redis(port=RESP_PORT).set("order", "touched")
        pipe.multi()
        pipe.execute_command("AMQP.PUBLISH", "", "both", "never")
        try:
            pipe.execute()
            raise AssertionError("a touched key did not abort")
        except redis.WatchError:
            equal(ch.basic_get("both")[0], None)


def main():
    for part in (routing, settling, consuming, contents, refusals, transactions, leaving, both_worlds):
        connection = connect(heartbeat=5)
        part(connection)
        connection.close()
    assert checks.made >= 50, f"only {checks.made} checks ran"
    checks.passed()


main()
