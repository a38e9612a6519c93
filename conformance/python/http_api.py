"""The management API and `leveret ctl` beside pika and redis-py, and a server that is killed in between: what was answered
is there afterwards.

Prints how many checks ran; ends with an error when one fails or when too few ran.
"""
import base64
import hashlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pika
import redis

import checks
from checks import equal, holds
from server import Server


class Api:
    def __init__(self, server, user="guest", password="guest"):
        self.url = f"http://127.0.0.1:{server.http_port}/api"
        self.authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def __call__(self, method, path, body=None):
        """The status and the answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": self.authorization, "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None

    def get(self, path):
        status, answer = self("GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def done(self, status, method, path, body=None):
        equal(self(method, path, body)[0], status)


def amqp(server, user="guest", password="guest", vhost="/", name=None):
    credentials = pika.PlainCredentials(user, password)
    properties = {"connection_name": name} if name else None
    parameters = pika.ConnectionParameters(
        "127.0.0.1", server.amqp_port, vhost, credentials, client_properties=properties, blocked_connection_timeout=5)
    return pika.BlockingConnection(parameters)


def refused(call, *parts):
    try:
        call()
    except Exception as error:
        text = str(error) + str(error.args).replace("\\'", "'")
        holds(all(part in text for part in parts), text)
        return
    raise AssertionError(f"not refused: {parts}")


def who_may_ask(server, api):
    equal(Api(server, "guest", "wrong")("GET", "/whoami"), (401, {"error": "not_authorized", "reason": "Login failed"}))
    equal(api.get("/whoami"), {"name": "guest", "tags": ["administrator"], "is_internal_user": True})
    api.done(201, "PUT", "/users/ann", {"password": "pw", "tags": ""})
    ann = Api(server, "ann", "pw")
    equal(ann("GET", "/overview")[1]["reason"], "Not management user")
    api.done(204, "PUT", "/users/ann", {"password": "pw", "tags": "management"})
    equal(ann("GET", "/users"), (401, {"error": "not_authorised", "reason": "Not administrator user"}))
    equal(ann.get("/vhosts"), [])
    equal(ann.get("/queues"), [])
    equal(ann("GET", "/queues/%2F")[0], 401)
    equal(ann("GET", "/nonsense")[0], 404)


def one_user_of_both_worlds(server, api):
    """A user of the API logs in over AMQP, and over RESP once it has rules; ACL's users have permissions once they get them."""
    api.done(201, "PUT", "/vhosts/shop", {"description": "of hats", "tags": "a,b"})
    equal(api.get("/vhosts/shop")["tags"], ["a", "b"])
    refused(lambda: amqp(server, "ann", "pw", "shop"), "access to vhost 'shop' refused for user 'ann'")
    api.done(201, "PUT", "/permissions/shop/ann", {"configure": "^own", "write": ".*", "read": ".*"})
    equal(api.get("/users/ann/permissions"), [{"user": "ann", "vhost": "shop", "configure": "^own", "write": ".*", "read": ".*"}])
    with amqp(server, "ann", "pw", "shop") as c:
        c.channel().queue_declare("own1", durable=True)
        refused(lambda: c.channel().queue_declare("theirs"), "configure access to queue 'theirs' in vhost 'shop'")
    refused(lambda: redis.Redis(port=server.resp_port, username="ann", password="pw").ping(), "invalid username-password")
    r = server.redis()
    equal(r.execute_command("ACL", "SETUSER", "ann", "on", "+ping", "+get", "~a*"), b"OK")
    a = redis.Redis(port=server.resp_port, username="ann", password="pw")
    equal(a.ping(), True)
    equal(a.get("a1"), None)
    refused(lambda: a.get("b1"), "No permissions to access a key")
    equal(r.execute_command("ACL", "SETUSER", "bob", "on", ">secret", "+@all", "~*"), b"OK")
    holds("bob" not in [user["name"] for user in api.get("/users")], "bob has nothing to do with RabbitMQ yet")
    api.done(201, "PUT", "/permissions/shop/bob", {"configure": "", "write": "", "read": ""})
    with amqp(server, "bob", "secret", "shop") as c:
        refused(lambda: c.channel().basic_get("own1"), "read access to queue 'own1'")
    # A password changes for all.
    user = api.get("/users/ann")
    equal(user["hashing_algorithm"], "leveret_password_hashing_argon2id")
    api.done(204, "PUT", "/users/ann", {"password": "other", "tags": "management"})
    refused(lambda: amqp(server, "ann", "pw", "shop"), "ACCESS_REFUSED - Login was refused")
    refused(lambda: redis.Redis(port=server.resp_port, username="ann", password="pw").ping(), "invalid username-password")
    equal(redis.Redis(port=server.resp_port, username="ann", password="other").ping(), True)
    # RabbitMQ's hashes are taken as they are.
    salt = b"salt"
    hashed = base64.b64encode(salt + hashlib.sha256(salt + b"old").digest()).decode()
    api.done(201, "PUT", "/users/old", {"password_hash": hashed, "tags": ["monitoring"]})
    equal(Api(server, "old", "old").get("/whoami")["tags"], ["monitoring"])
    equal(api.get("/users/old")["password_hash"], hashed)


def kept(server, api):
    """Everything that was answered is there after a kill."""
    paths = ["/users", "/vhosts?columns=name,description,tags", "/permissions", "/policies", "/exchanges", "/parameters"]

    def lasting():
        queues = [row["name"] for row in api.get("/queues") if row["durable"]]
        bindings = [(row["source"], row["destination"]) for row in api.get("/bindings") if row["source"]]
        return [api.get(path) for path in paths], queues, sorted(b for b in bindings if b[1] in queues)

    before = lasting()
    before[0][4] = [row for row in before[0][4] if row["durable"]]
    server.kill()
    server.start()
    equal(lasting(), before)


def things(server, api):
    api.done(201, "PUT", "/exchanges/%2F/x", {"type": "topic", "durable": True})
    api.done(204, "PUT", "/exchanges/%2F/x", {"type": "topic", "durable": True})
    equal(api("PUT", "/exchanges/%2F/x", {"type": "fanout"})[0], 400)
    api.done(201, "PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-max-length": 10}})
    equal(api("POST", "/bindings/%2F/e/x/q/q", {"routing_key": "a.#", "arguments": {"n": 1}})[0], 201)
    bindings = api.get("/queues/%2F/q/bindings")
    equal([(b["source"], b["routing_key"], b["arguments"]) for b in bindings], [("", "q", {}), ("x", "a.#", {"n": 1})])
    props = urllib.parse.quote(bindings[1]["properties_key"], safe="")
    equal(api.get(f"/bindings/%2F/e/x/q/q/{props}")["routing_key"], "a.#")
    message = {"properties": {"delivery_mode": 2, "headers": {"h": [1, "b"]}}, "routing_key": "a.b", "payload": "hello", "payload_encoding": "string"}
    large = message | {"properties": {"headers": {"h": "x" * 65536}}}
    holds("more than 65536 bytes" in api("POST", "/exchanges/%2F/amq.topic/publish", large)[1]["reason"], "no frame has it")
    equal(api("POST", "/exchanges/%2F/x/publish", message), (200, {"routed": True}))
    got = api("POST", "/queues/%2F/q/get", {"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"})[1]
    equal([(m["payload"], m["properties"]["headers"], m["redelivered"]) for m in got], [("hello", {"h": [1, "b"]}, False)])
    got = api("POST", "/queues/%2F/q/get", {"count": 5, "ackmode": "ack_requeue_false", "encoding": "base64"})[1]
    equal([(base64.b64decode(m["payload"]), m["redelivered"]) for m in got], [(b"hello", True)])
    equal(api.get("/queues/%2F/q")["messages"], 0)
    api.done(204, "DELETE", f"/bindings/%2F/e/x/q/q/{props}")
    equal(api("POST", "/exchanges/%2F/x/publish", message), (200, {"routed": False}))
    for i in range(7):
        api("POST", "/exchanges/%2F/amq.default/publish", {**message, "routing_key": "q", "payload": str(i)})
    equal(api.get("/queues/%2F/q?columns=name,messages"), {"name": "q", "messages": 7})
    api.done(204, "DELETE", "/queues/%2F/q/contents")
    equal(api.get("/queues/%2F/q?columns=messages"), {"messages": 0})
    for i in range(25):
        api.done(201, "PUT", f"/queues/%2F/many{i:02}", {"durable": False})
    page = api.get("/queues?page=2&page_size=10&name=many&sort=name&sort_reverse=true&columns=name")
    equal([row["name"] for row in page["items"]], [f"many{i:02}" for i in range(14, 4, -1)])
    equal((page["filtered_count"], page["page_count"], page["page"]), (25, 3, 2))
    equal(len(api.get("/queues?name=%5Emany0&use_regex=true&page=1")["items"]), 10)
    for i in range(25):
        api.done(204, "DELETE", f"/queues/%2F/many{i:02}")


def unsaid(api):
    """What a body does not say, names in paths, and methods that nothing has."""
    api.done(201, "PUT", "/queues/%2F/brief", {})
    api.done(201, "PUT", "/exchanges/%2F/brief", {})
    equal([api.get(f"/{what}/%2F/brief")["durable"] for what in ("queues", "exchanges")], [False, False])
    equal(api("POST", "/definitions", {"queues": [{"name": "said", "vhost": "/"}]})[0], 204)
    equal(api.get("/queues/%2F/said")["durable"], True)
    equal(api("PUT", "/queues/%2F/far", {"node": "rabbit@far"}), (400, {"error": "bad_request", "reason": "Node rabbit@far is not a cluster member"}))
    rights = {"configure": "", "write": "", "read": ""}
    equal(api("PUT", "/permissions/%2F/nobody", rights), (400, {"error": "bad_request", "reason": "vhost_or_user_not_found"}))
    equal(api("PUT", "/topic-permissions/%2F/nobody", {"exchange": "amq.topic"} | rights)[0], 400)
    for method, path in [("POST", "/queues/%2F/q"), ("PUT", "/overview"), ("GET", "/queues/%2F/q/get"), ("POST", "/nonsense")]:
        equal(api(method, path, {} if method != "GET" else None), (405, None))
    api.done(404, "GET", "/nonsense")
    for key in ["a+b/#", "two words", "x~y", "%41"]:
        api.done(201, "POST", "/bindings/%2F/e/amq.topic/q/brief", {"routing_key": key})
    names = {b["routing_key"]: b["properties_key"] for b in api.get("/bindings/%2F/e/amq.topic/q/brief")}
    equal(names, {"a+b/#": "a%2Bb%2F%23", "two words": "two+words", "x~y": "x%7Ey", "%41": "%2541"})
    for key, name in names.items():
        for written in (name, key, urllib.parse.quote(key, safe="")):
            found = api.get(f"/bindings/%2F/e/amq.topic/q/brief/{urllib.parse.quote(written, safe='')}")
            equal(found["routing_key"], key)
        api.done(204, "DELETE", f"/bindings/%2F/e/amq.topic/q/brief/{urllib.parse.quote(name, safe='')}")
    policy = {"pattern": "^brief$", "definition": {"max-length": 5}, "apply-to": "queues"}
    api.done(201, "PUT", "/operator-policies/%2F/small", policy)
    row = {"value": policy | {"priority": 0}, "vhost": "/", "component": "operator_policy", "name": "small"}
    equal([api.get("/parameters"), api.get("/parameters/operator_policy/%2F"), api.get("/parameters/operator_policy/%2F/small")], [[row], [row], row])
    api.done(204, "DELETE", "/operator-policies/%2F/small")
    api.done(201, "PUT", "/queues/%2F/counts", {"durable": True, "arguments": {"x-queue-type": "quorum", "x-delivery-limit": 7}})
    api.done(201, "PUT", "/queues/%2F/ever", {"durable": True, "arguments": {"x-queue-type": "quorum", "x-delivery-limit": -1}})
    equal([api.get(f"/queues/%2F/{name}")["delivery_limit"] for name in ("counts", "ever")], [7, "unlimited"])
    retry = {"delayed-retry-type": "failed", "delayed-retry-min": 60000, "delayed-retry-max": 90000}
    for wrong in [{"delayed-retry-type": "failed"}, retry | {"delayed-retry-max": 1}, retry | {"delayed-retry-type": "some"}, {"delayed-retry-min": 0}]:
        api.done(400, "PUT", "/policies/%2F/retry", {"pattern": "^counts$", "definition": wrong})
    api.done(201, "PUT", "/policies/%2F/retry", {"pattern": "^counts$", "definition": retry})
    c = amqp(server).channel()
    c.basic_publish("", "counts", "comes later")
    c.basic_reject(c.basic_get("counts")[0].delivery_tag, requeue=True)
    c.connection.close()
    row = api.get("/queues/%2F/counts")
    equal([row[f"messages{part}"] for part in ("", "_ready", "_unacknowledged", "_delayed")], [1, 0, 0, 1])
    equal(row["delayed_retry"], "failed (min: 60000ms, max: 90000ms)")
    api.done(204, "DELETE", "/policies/%2F/retry")
    for name in ("brief", "said", "counts", "ever"):
        api.done(204, "DELETE", f"/queues/%2F/{name}")
    api.done(204, "DELETE", "/exchanges/%2F/brief")


def policies_count_at_once(server, api):
    with amqp(server) as c:
        ch = c.channel()
        ch.queue_declare("limited")
        api.done(201, "PUT", "/policies/%2F/short", {"pattern": "^lim", "definition": {"max-length": 2}, "apply-to": "queues"})
        for i in range(5):
            ch.basic_publish("", "limited", str(i))
        equal([ch.basic_get("limited", auto_ack=True)[2] for _ in range(3)], [b"3", b"4", None])
        row = api.get("/queues/%2F/limited")
        equal((row["policy"], row["effective_policy_definition"]), ("short", {"max-length": 2}))
        api.done(201, "PUT", "/operator-policies/%2F/shorter", {"pattern": ".*", "definition": {"max-length": 1}})
        equal(api.get("/queues/%2F/limited")["effective_policy_definition"], {"max-length": 1})
        for i in range(5):
            ch.basic_publish("", "limited", str(i))
        equal([ch.basic_get("limited", auto_ack=True)[2] for _ in range(2)], [b"4", None])
        api.done(204, "DELETE", "/operator-policies/%2F/shorter")
        # What was published before a policy goes when it comes.
        ch.queue_declare("full")
        for i in range(5):
            ch.basic_publish("", "full", str(i))
        equal(ch.queue_declare("full", passive=True).method.message_count, 5)
        api.done(201, "PUT", "/policies/%2F/full", {"pattern": "^full$", "definition": {"max-length": 3}})
        for _ in range(100):
            if ch.queue_declare("full", passive=True).method.message_count == 3:
                break
            time.sleep(0.05)
        equal(ch.queue_declare("full", passive=True).method.message_count, 3)
        # An alternate exchange by policy.
        ch.exchange_declare("narrow", "direct")
        ch.queue_declare("rest")
        ch.exchange_declare("wide", "fanout")
        ch.queue_bind("rest", "wide")
        api.done(201, "PUT", "/policies/%2F/ae", {"pattern": "^narrow$", "apply-to": "exchanges", "definition": {"alternate-exchange": "wide"}})
        ch.basic_publish("narrow", "nobody", b"unroutable")
        equal(ch.basic_get("rest", auto_ack=True)[2], b"unroutable")
    api.done(204, "DELETE", "/policies/%2F/short")
    equal(api("DELETE", "/policies/%2F/short")[0], 404)


def what_leads_to_the_other_side(server, api):
    """A maker of policies lets Redis' subscribers hear no more than its rules for channels say, and nobody tells of changes of keys."""
    api.done(201, "PUT", "/users/cleo", {"password": "pw", "tags": "policymaker"})
    server.redis().execute_command("ACL", "SETUSER", "cleo", "on", "+@all", "~*", "resetchannels", "&own.*")
    api.done(201, "PUT", "/permissions/%2F/cleo", {"configure": ".*", "write": ".*", "read": ".*"})
    cleo = Api(server, "cleo", "pw")
    for definition in [
        {"dead-letter-exchange": "leveret.pubsub", "dead-letter-routing-key": "secret"},
        {"alternate-exchange": "leveret.pubsub"},
        {"max-length": 1, "dead-letter-exchange": "leveret.pubsub"},
    ]:
        cleo.done(401, "PUT", "/policies/%2F/loud", {"pattern": "^cleo", "definition": definition})
        equal(api("GET", "/policies/%2F/loud")[0], 404)
    # A key alone leads nowhere. (RabbitMQ: rabbit_policies)
    cleo.done(201, "PUT", "/policies/%2F/quiet", {"pattern": "^cleo", "definition": {"dead-letter-routing-key": "secret"}})
    cleo.done(204, "PUT", "/policies/%2F/quiet", {"pattern": "^cleo", "definition": {"dead-letter-exchange": "amq.direct"}})
    server.redis().execute_command("ACL", "SETUSER", "cleo", "allchannels")
    cleo.done(201, "PUT", "/policies/%2F/loud", {"pattern": "^cleo", "definition": {"alternate-exchange": "leveret.pubsub"}})
    api.done(401, "POST", "/bindings/%2F/e/amq.topic/e/leveret.keyspace", {"routing_key": "#"})
    file = {"bindings": [{"vhost": "/", "source": "amq.topic", "destination": "leveret.keyspace", "destination_type": "exchange", "routing_key": "#"}]}
    api.done(400, "POST", "/definitions", file)
    equal(api.get("/bindings/%2F/e/amq.topic/e/leveret.keyspace"), [])
    # By a policy, too, nothing comes there.
    api.done(201, "PUT", "/policies/%2F/forged", {"pattern": "^forge$", "definition": {"alternate-exchange": "leveret.keyspace"}})
    with amqp(server) as c:
        ch = c.channel()
        ch.queue_declare("heard")
        ch.queue_bind("heard", "leveret.keyspace", "#")
        ch.exchange_declare("forge", "direct")
        ch.basic_publish("forge", "0.set.user:7", b"user:7")
        equal(ch.basic_get("heard", auto_ack=True)[2], None)
        server.redis().set("user:7", "v")
        equal(ch.basic_get("heard", auto_ack=True)[2], b"user:7")
        ch.queue_delete("heard")
        ch.exchange_delete("forge")
    for name in ["quiet", "loud", "forged"]:
        api.done(204, "DELETE", f"/policies/%2F/{name}")
    api.done(204, "DELETE", "/users/cleo")


def limits(server, api):
    api.done(204, "PUT", "/vhost-limits/shop/max-connections", {"value": 0})
    refused(lambda: amqp(server, "ann", "other", "shop"), "connection limit (0) is reached")
    api.done(204, "DELETE", "/vhost-limits/shop/max-connections")
    api.done(204, "PUT", "/vhost-limits/shop/max-queues", {"value": 1})
    equal(api.get("/vhost-limits/shop"), [{"vhost": "shop", "value": {"max-queues": 1}}])
    with amqp(server, "ann", "other", "shop") as c:
        refused(lambda: c.channel().queue_declare("own2"), "queue limit in vhost 'shop' (1) is reached")
        c.channel().queue_declare("own1", durable=True)
    api.done(204, "PUT", "/user-limits/ann/max-channels", {"value": 1})
    with amqp(server, "ann", "other", "shop") as c:
        c.channel()
        refused(lambda: c.channel(), "maximum allowed user limit of (1)")
    api.done(204, "DELETE", "/user-limits/ann/max-channels")


def alarms(server, api):
    """Memory is short: publishers wait and hear why, consumers go on; nothing is lost."""
    r = server.redis()
    with amqp(server) as c, amqp(server) as other:
        ch, heard = c.channel(), []
        ch.queue_declare("patient")
        ch.basic_publish("", "patient", b"before")
        c.add_on_connection_blocked_callback(lambda _, frame: heard.append(frame.method.reason))
        c.add_on_connection_unblocked_callback(lambda _, frame: heard.append("unblocked"))
        equal(api("GET", "/health/checks/alarms"), (200, {"status": "ok"}))
        equal(r.config_set("vm-memory-high-watermark", "1mb"), True)
        status, answer = api("GET", "/health/checks/alarms")
        equal((status, answer["alarms"]), (503, [{"node": "rabbit@localhost", "resource": "memory"}]))
        ch.basic_publish("", "patient", b"waits")
        c.process_data_events(1)
        equal(heard, ["low on memory"])
        och = other.channel()
        equal([och.basic_get("patient", auto_ack=True)[2] for _ in range(2)], [b"before", None])
        equal(r.set("a", "b"), True)
        equal(r.config_set("vm-memory-high-watermark", "0.9"), True)
        for _ in range(50):
            c.process_data_events(0.1)
            if len(heard) == 2:
                break
        equal(heard, ["low on memory", "unblocked"])
        equal(och.basic_get("patient", auto_ack=True)[2], b"waits")
        equal(r.config_set("disk-free-limit", "1000000gb"), True)
        ch.basic_publish("", "patient", b"waits too")
        c.process_data_events(1)
        equal(heard[-1], "low on disk")
        equal(r.config_set("disk-free-limit", "1mb"), True)
        for _ in range(50):
            c.process_data_events(0.1)
            if len(heard) == 4:
                break
        equal(och.basic_get("patient", auto_ack=True)[2], b"waits too")


def connections(server, api):
    c = amqp(server, name="mine")
    ch = c.channel()
    ch.confirm_delivery()
    ch.basic_qos(prefetch_count=7)
    ch.queue_declare("consumed")
    ch.basic_consume("consumed", lambda *_: None, consumer_tag="tag")
    row = next(row for row in api.get("/connections") if row["user_provided_name"] == "mine")
    equal((row["user"], row["vhost"], row["channels"], row["protocol"]), ("guest", "/", 1, "AMQP 0-9-1"))
    name = urllib.parse.quote(row["name"], safe="")
    channel = api.get(f"/connections/{name}/channels")[0]
    equal((channel["confirm"], channel["prefetch_count"], channel["consumer_count"]), (True, 7, 1))
    consumer = next(row for row in api.get("/consumers/%2F") if row["consumer_tag"] == "tag")
    equal((consumer["queue"], consumer["prefetch_count"], consumer["ack_required"]), ({"name": "consumed", "vhost": "/"}, 7, True))
    equal(api.get("/queues/%2F/consumed")["consumer_details"][0]["consumer_tag"], "tag")
    api.done(204, "DELETE", f"/connections/{name}")
    refused(lambda: c.process_data_events(2), "CONNECTION_FORCED - Closed via management plugin")
    for _ in range(100):
        if api("GET", f"/connections/{name}")[0] == 404:
            break
        time.sleep(0.05)
    equal(api("GET", f"/connections/{name}")[0], 404)


def definitions(server, api):
    exported = api.get("/definitions")
    with Server("imported") as other:
        there = Api(other)
        equal(there("POST", "/definitions", exported)[0], 204)
        again = there.get("/definitions")
        for part in ["users", "vhosts", "permissions", "topic_permissions", "policies", "queues", "exchanges", "bindings"]:
            equal(again[part], exported[part])
        with amqp(other, "ann", "other", "shop") as c:
            c.channel().queue_declare("own1", passive=True)
        # A file that is wrong changes nothing that can be seen.
        wrong = {"vhosts": [{"name": "new"}], "policies": [{"name": "p", "vhost": "/", "pattern": "x", "definition": {"nonsense": 1}}]}
        equal(there("POST", "/definitions", wrong)[0], 400)
        equal(there("GET", "/vhosts/new")[0], 404)
        for wrong in [
                {"vhosts": [{"name": "new"}], "queues": [{"name": "q", "vhost": "new", "arguments": {"x-max-length": -1}}]},
                {"vhosts": [{"name": "new"}], "exchanges": [{"name": "x", "vhost": "new", "type": "zz"}]},
                {"vhosts": [{"name": "new"}], "bindings": [{"source": "no", "vhost": "new", "destination": "no", "destination_type": "queue"}]},
                {"vhosts": [{"name": "new"}], "permissions": [{"user": "nobody", "vhost": "new", "configure": "", "write": "", "read": ""}]}]:
            equal(there("POST", "/definitions", wrong)[0], 400)
            equal(there("GET", "/vhosts/new")[0], 404)
        equal(there("POST", "/definitions/shop", {"queues": [{"name": "added", "durable": True, "auto_delete": False, "arguments": {}}]})[0], 204)
        equal(there.get("/queues/shop/added")["durable"], True)


def ctl(server, *args, status=0, stdin=None):
    command = [os.environ["LEVERET_BINARY"], "ctl", "--url", f"http://127.0.0.1:{server.http_port}", *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    equal((done.returncode, args), (status, args))
    return done.stdout if status == 0 else done.stderr


def on_the_command_line(server, api):
    holds("already exists" in ctl(server, "add_user", "ann", "pw", status=1), "ann is there")
    ctl(server, "add_user", "cid", stdin="from stdin\n")
    ctl(server, "authenticate_user", "cid", "from stdin")
    holds("Login failed" in ctl(server, "authenticate_user", "cid", "wrong", status=1), "a wrong password")
    ctl(server, "set_user_tags", "cid", "management", "policymaker")
    ctl(server, "authenticate_user", "cid", "from stdin")
    ctl(server, "add_vhost", "cellar", "--description", "cool", "--default-queue-type", "quorum")
    ctl(server, "set_permissions", "-p", "cellar", "cid", ".*", ".*", ".*")
    equal(ctl(server, "-q", "list_permissions", "-p", "cellar").splitlines()[0].split("\t")[:2], ["cid", ".*"])
    with amqp(server, "cid", "from stdin", "cellar") as c:
        c.channel().queue_declare("wine", durable=True)
    equal(api.get("/queues/cellar/wine")["type"], "quorum")
    equal(ctl(server, "-q", "list_queues", "-p", "cellar", "name", "type"), "wine\tquorum\n")
    ctl(server, "set_policy", "-p", "cellar", "--apply-to", "queues", "--priority", "3", "old", "^wine", '{"message-ttl": 1000}')
    equal(json.loads(ctl(server, "--json", "list_policies", "-p", "cellar"))[0]["priority"], 3)
    holds("Listing users" in ctl(server, "list_users"), "as rabbitmqctl")
    holds("Leveret" in ctl(server, "status"), "the status")
    holds("there is no 'frobnicate'" in ctl(server, "frobnicate", status=1), "an unknown verb")
    holds("usage: leveret ctl set_permissions" in ctl(server, "set_permissions", "cid", status=1), "too few arguments")
    path = os.path.join(server.directory, "definitions.json")
    ctl(server, "export_definitions", path)
    ctl(server, "delete_vhost", "cellar")
    equal(api("GET", "/vhosts/cellar")[0], 404)
    ctl(server, "import_definitions", path)
    equal(api.get("/queues/cellar/wine")["type"], "quorum")
    ctl(server, "delete_user", "cid")


def gone(server, api):
    """Who is deleted is out at once, on both sides."""
    c = amqp(server, "ann", "other", "shop")
    r = redis.Redis(port=server.resp_port, username="ann", password="other", retry=None)
    equal(r.ping(), True)
    api.done(204, "DELETE", "/users/ann")
    refused(lambda: c.process_data_events(2), "CONNECTION_FORCED - user 'ann' was deleted")
    refused(lambda: r.ping(), "invalid username-password")
    api.done(204, "DELETE", "/vhosts/shop")
    equal(api("GET", "/vhosts/shop")[0], 404)
    equal(api.get("/users/bob/permissions") if api("GET", "/users/bob")[0] == 200 else [], [])


with Server("http") as server:
    api = Api(server)
    who_may_ask(server, api)
    one_user_of_both_worlds(server, api)
    things(server, api)
    unsaid(api)
    policies_count_at_once(server, api)
    what_leads_to_the_other_side(server, api)
    limits(server, api)
    alarms(server, api)
    connections(server, api)
    kept(server, api)
    definitions(server, api)
    on_the_command_line(server, api)
    gone(server, api)

assert checks.made >= 150, checks.made
checks.passed()
