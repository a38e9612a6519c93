"""The process itself: how it is told, what it prints, what it serves over HTTP, how it stops and when it refuses.

Everything as its user would do it: flags, environment, file, signals, curl.
"""
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pika
import redis
from prometheus_client.parser import text_string_to_metric_families

import checks
from checks import equal, holds
from server import Server, free_port


def get(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.getheader("content-type"), response.read().decode()


def printed(server):
    with open(server.log) as log:
        return log.read()


def refused(arguments, *words, **environment):
    """The process ends with an error at once; its one line says why."""
    command = [os.environ["LEVERET_BINARY"], *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, env={**os.environ, **environment})
    holds(ended.returncode == 1, f"{arguments} ended with {ended.returncode}: {ended.stderr}")
    for word in words:
        holds(word in ended.stderr, f"{arguments} says {ended.stderr!r}, without {word!r}")
    return ended.stderr


def greeting_and_http():
    with Server("serve") as server:
        text = printed(server)
        for url in [f"redis://127.0.0.1:{server.resp_port}", f"amqp://guest:guest@127.0.0.1:{server.amqp_port}/",
                    f"http://127.0.0.1:{server.http_port}/", server.data, "import redis"]:
            holds(url in text, f"the greeting lacks {url}:\n{text}")
        sample = "\n".join(line.strip() for line in text.splitlines() if line.startswith("  ") and "://" not in line)
        out = subprocess.run([sys.executable, "-c", sample], capture_output=True, text=True)
        equal((out.stdout.strip(), out.returncode), ("b'quick'", 0))

        r = server.redis()
        r.set("expiring", 1, ex=100)
        r.get("nothing")
        channel = server.amqp().channel()
        channel.queue_declare("jobs")
        for _ in range(3):
            channel.basic_publish("", "jobs", b"work")
        channel.basic_get("jobs")
        status, kind, body = get(server.http_port, "/health")
        equal((status, kind, json.loads(body)["status"]), (200, "application/json", "ok"))
        holds(json.loads(body)["position"] >= 2, body)
        status, kind, body = get(server.http_port, "/metrics")
        equal((status, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }
        equal(samples["leveret_keys", "0"], 2)
        equal(samples["leveret_keys_with_expiry", "0"], 1)
        equal(samples["leveret_queues",], 1)
        equal((samples["leveret_messages", "ready"], samples["leveret_messages", "unacked"]), (2, 1))
        equal(samples["leveret_connections", "amqp"], 1)
        holds(samples["leveret_keyspace_lookups_total", "miss"] >= 1, body)
        holds(samples["leveret_resident_memory_bytes",] > 1_000_000, body)
        holds(samples["leveret_commands_total",] >= 3, body)
        equal(get(server.http_port, "/nothing")[0], 404)
        equal(get(server.http_port, "/health", "DELETE")[0], 405)


def clean_stop():
    for number in [signal.SIGTERM, signal.SIGINT]:
        with Server("stop") as server:
            server.redis().set("a", "b")
            connection = server.amqp()
            server.process.send_signal(number)
            equal(server.process.wait(20), 0)
            try:
                connection.process_data_events(1)
            except pika.exceptions.ConnectionClosedByBroker as closed:
                shutdown = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
                equal((closed.reply_code, closed.reply_text), (320, shutdown))
            else:
                holds(False, "the AMQP client was not told")
            holds("everything is on disk" in printed(server), printed(server))
            server.start()
            equal(server.redis().get("a"), b"b")
    with Server("stop") as server:
        server.redis().set("a", "b")
        server.redis().shutdown()
        equal(server.process.wait(20), 0)
        holds("everything is on disk" in printed(server), printed(server))
        server.start()
        equal(server.redis().get("a"), b"b")


def stop_while_scripts_run():
    """A stop takes little more than a second, whatever scripts do, and none is there by half afterwards."""
    killed = (redis.ResponseError, "Script killed")
    dropped = (redis.ConnectionError, "")
    inside = "string.find(string.rep('a', 100000), '.-.-.-.-b')"
    whole = "everything is on disk"
    for script, (kind, text), said in [
        ("while true do end", killed, whole),
        ("while true do pcall(function() while true do end end) end", killed, whole),
        ("while true do redis.call('GET', 'before') end", killed, whole),
        ("redis.call('SET', 'half', 1) while true do end", dropped, "while a script ran"),
        ("redis.call('SET', 'half', 1) while true do redis.call('INCR', 'half') end", dropped, "while a script ran"),
        # In a function of C nobody is asked whether to go on.
        (inside, dropped, "while a script ran"),
        (f"redis.call('SET', 'half', 1) {inside}", dropped, "while a script ran"),
    ]:
        for fsync in ["everysec", "always"]:
            with Server("scripts", "--appendfsync", fsync, "--busy-reply-threshold", "20") as server:
                server.redis().set("before", "kept")
                ended = started(server, lambda r: r.eval(script, 0))
                server.process.send_signal(signal.SIGTERM)
                equal(server.process.wait(9), 0, script)
                answer = ended()
                holds(isinstance(answer, kind) and text in str(answer), f"{script} was answered with {answer!r}")
                holds(said in printed(server), printed(server))
                server.start()
                equal(server.redis().mget("before", "half"), [b"kept", None], script)
    with Server("scripts", "--busy-reply-threshold", "20") as server:
        # What a transaction has done beside a script is one commit with what is answered for that.
        def transaction(r):
            return r.pipeline().set("a", 1).eval("while true do end", 0).set("b", 2).execute(raise_on_error=False)

        ended = started(server, transaction)
        server.process.send_signal(signal.SIGTERM)
        equal(server.process.wait(9), 0)
        answers = ended()
        holds(answers[0] and answers[2] and "Script killed" in str(answers[1]), f"{answers}")
        server.start()
        equal(server.redis().mget("a", "b"), [b"1", b"2"])
        # Of many at once each is ended when its turn comes.
        many = started(server, lambda r: repeated(r.pipeline(transaction=False), 50).execute(raise_on_error=False))
        server.process.send_signal(signal.SIGTERM)
        equal(server.process.wait(9), 0)
        answers = many()
        equal([str(answer)[:13] for answer in answers], ["Script killed"] * 50)


def repeated(pipeline, count):
    for _ in range(count):
        pipeline.eval("while true do end", 0)
    return pipeline


def started(server, run):
    """Runs something in a thread until a script is seen to run; gives what waits for its end and gives what came out."""
    outcome = []

    def body():
        try:
            outcome.append(run(redis.Redis(port=server.resp_port, retry=None, socket_timeout=None)))
        except redis.RedisError as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    watcher = redis.Redis(port=server.resp_port, retry=None, socket_timeout=1)
    watcher.ping()
    thread.start()
    while True:
        try:
            watcher.ping()
            time.sleep(0.01)
        except redis.ResponseError as busy:
            holds("BUSY" in str(busy), str(busy))
            break
        except redis.TimeoutError:
            break

    def ended():
        thread.join(20)
        holds(not thread.is_alive(), "the client hears of the end")
        return outcome[0]

    return ended


def one_process_a_directory():
    with Server("lock") as server:
        server.redis().set("a", "b")
        refused(["serve", "--data-dir", server.data, "--resp-port", "0", "--amqp-port", "0", "--http-port", "0"],
                server.data, "another process")
        equal(server.redis().get("a"), b"b")
        port = str(server.resp_port)
        refused(["serve", "--data-dir", f"{server.data}2", "--bind", "127.0.0.1", "--resp-port", port], f"port {port}")
        port = str(server.http_port)
        refused(["serve", "--data-dir", f"{server.data}3", "--bind", "127.0.0.1", "--resp-port", "0", "--amqp-port", "0",
                 "--http-port", port], f"port {port}", "HTTP")


def ways_to_be_told():
    refused(["serve", "--no-such-key", "1"], "no-such-key", "--help")
    refused(["serve", "--resp-port", "seventy"], "resp-port", "seventy")
    refused(["serve", "--appendfsync", "sometimes"], "always", "everysec")
    refused(["serve"], "LEVERET_RESP_PORT", LEVERET_RESP_PORT="-1")
    refused(["serve", "--config", "/nowhere.toml"], "/nowhere.toml")
    refused(["serv"], "serv", "help")
    with Server("told") as server:
        equal(server.redis().config_get("appendfsync"), {"appendfsync": "everysec"})
    with Server("told", "--appendfsync", "always") as server:
        equal(server.redis().config_get("appendfsync"), {"appendfsync": "always"})
        equal(server.redis().config_set("appendfsync", "no"), True)
        equal(server.redis().config_get("appendfsync"), {"appendfsync": "no"})
    os.environ["LEVERET_MAXCLIENTS"] = "77"
    with Server("told") as server:
        path = os.path.join(server.directory, "leveret.toml")
        with open(path, "w") as file:
            file.write('appendfsync = "always"\nmaxclients = 5\n')
        server.kill()
        server.flags = ("--config", path)
        server.start()
        equal(server.redis().config_get("appendfsync"), {"appendfsync": "always"})
        equal(server.redis().config_get("maxclients"), {"maxclients": "77"})
        server.kill()
        server.flags = ("--config", path, "--maxclients", "99")
        server.start()
        equal(server.redis().config_get("maxclients"), {"maxclients": "99"})
    del os.environ["LEVERET_MAXCLIENTS"]


def checked_first():
    """`leveret check --config` says what a start would say, and nothing starts."""
    with tempfile.TemporaryDirectory() as folder:
        path, data = os.path.join(folder, "leveret.toml"), os.path.join(folder, "data")
        ports = ["--resp-port", "0", "--amqp-port", "0", "--http-port", "0"]
        for content, words in [
            ("no-such-key = 1", ["leveret.toml", "no-such-key"]),
            ("maxmemory = '100 elephants'", ["leveret.toml", "maxmemory", "100 elephants"]),
            ("appendfsync = 'sometimes'", ["appendfsync", "everysec"]),
            ("log-segment-bytes = 5", ["log-segment-bytes", "4096"]),
            ("resp_port = 77777", ["resp-port", "77777"]),
            # What CONFIG SET takes.
            ("slowlog-max-len = 'many'", ["slowlog-max-len", "many"]),
            ("maxmemory-samples = 0", ["maxmemory-samples", "0"]),
            ("client-query-buffer-limit = '5kb'", ["client-query-buffer-limit", "5kb"]),
            ("databases = 3", ["databases", "immutable"]),
            ("[server]\nport = 1", ["server"]),
            ("bind = ['127.0.0.1', 5]", ["bind"]),
            ("port 6379", ["leveret.toml", "TOML"]),
        ]:
            with open(path, "w") as file:
                file.write(content + "\n")
            said = [refused([verb, "--config", path, *more], *words)
                    for verb, more in [("check", []), ("check", ["--data-dir", data]), ("serve", ["--data-dir", data, *ports])]]
            equal(said[:2], said[2:] * 2, "all say the same")
            shutil.rmtree(data, ignore_errors=True)
        refused(["check", "--config", "/nowhere.toml"], "/nowhere.toml")
        refused(["check", "--config"], "--config needs one file")
        refused(["serve", "--config"], "--config needs one file")
        refused(["check", "--config", path + "2", "--maxclients", "5"], path + "2")
        with open(path, "w") as file:
            file.write(f'data-dir = "{data}"\nmaxmemory = "100mb"\nslowlog-max-len = 5\nbind = ["127.0.0.1", "::1"]\nport = 6379\n')
        refused(["check", "--config", path, "--maxclients", "few"], "maxclients", "few")
        refused(["check", "--config", path], "LEVERET_MAXCLIENTS", LEVERET_MAXCLIENTS="few")
        said = subprocess.run([os.environ["LEVERET_BINARY"], "check", "--config", path], capture_output=True, text=True)
        equal((said.returncode, said.stderr), (0, ""))
        holds(f"it can start with {path}" in said.stdout and f"--data-dir {data} does that" in said.stdout, said.stdout)
        equal(os.listdir(folder), ["leveret.toml"], "nothing is made")
        refused(["check", "--config", path, "--data-dir", data], "there is no data directory")


def rewritten():
    """CONFIG REWRITE keeps what it does not change; any name of CONFIG SET may stand in the file."""
    with Server("rewritten") as server:
        rewrite(server, os.path.join(server.directory, "leveret.toml"))


def rewrite(server, path):
    with open(path, "w") as file:
        file.write("# for the shop\nmaxclients = 77 # enough\nslowlog-max-len = 5\nlua-time-limit = 600\n")
    os.chmod(path, 0o600)
    os.symlink(path, path + ".link")
    server.kill()
    server.flags = ("--config", path + ".link", "--hash-max-listpack-entries", "9")
    os.environ["LEVERET_ZSET_MAX_LISTPACK_ENTRIES"] = "11"
    server.start()
    del os.environ["LEVERET_ZSET_MAX_LISTPACK_ENTRIES"]
    r = server.redis()
    equal(r.config_get("zset-max-listpack-entries"), {"zset-max-listpack-entries": "11"})
    equal(r.config_get("slowlog-max-len"), {"slowlog-max-len": "5"})
    equal(r.config_get("hash-max-listpack-entries"), {"hash-max-listpack-entries": "9"})
    equal(r.config_set("maxclients", 88), True)
    equal(r.config_set("notify-keyspace-events", "KEA"), True)
    equal(r.config_set("busy-reply-threshold", 700), True)
    equal(r.config_rewrite(), b"OK")
    with open(path) as file:
        text = file.read()
    equal(text, '# for the shop\nmaxclients = "88" # enough\nslowlog-max-len = 5\nlua-time-limit = "700"\n'
          'notify-keyspace-events = "AKE"\n')
    equal(os.stat(path).st_mode & 0o777, 0o600)
    server.kill()
    server.start()
    equal(server.redis().config_get("maxclients"), {"maxclients": "88"})
    equal(server.redis().config_get("busy-reply-threshold"), {"busy-reply-threshold": "700"})
    equal(server.redis().config_get("notify-keyspace-events"), {"notify-keyspace-events": "AKE"})
    refused(["serve", "--slowlog-max-len", "many", "--data-dir", server.data + "2", "--resp-port", "0", "--amqp-port", "0",
             "--http-port", "0"], "slowlog-max-len", "many")
    refused(["serve", "--no-such-key", "1"], "no-such-key")


def addresses():
    with Server("unix") as server:
        path = os.path.join(server.directory, "redis.sock")
        server.kill()
        server.flags = ("--unixsocket", path)
        server.start()
        equal(redis.Redis(unix_socket_path=path).ping(), True)
        server.kill()
        # What a killed server has left there is in nobody's way.
        server.start()
        equal(redis.Redis(unix_socket_path=path).ping(), True)
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            print("this machine has no IPv6; its listener is not tried")
            return
    with Server("ipv6", "--bind", "127.0.0.1", "::1") as server:
        equal(redis.Redis(host="::1", port=server.resp_port).ping(), True)


def failed_write_stops():
    """A write that fails ends the process before anything is answered; what was answered is there afterwards."""
    limit = 8 * 1024 * 1024
    with Server("full", "--log-segment-bytes", str(64 * 1024 * 1024)) as server:
        server.kill()
        # Python ignores SIGXFSZ; a child that keeps it so sees the error instead.
        server.start(restore_signals=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        r, acknowledged = server.redis(), 0
        try:
            while acknowledged < 1000:
                r.set(f"key:{acknowledged}", os.urandom(100_000))
                acknowledged += 1
        except redis.ConnectionError:
            pass
        equal(server.process.wait(20), 74)
        holds(10 < acknowledged < 100, f"{acknowledged} writes fitted")
        holds("stopping, because what was confirmed could be lost" in printed(server), printed(server)[-500:])
        server.start()
        equal(server.redis().exists(*[f"key:{i}" for i in range(acknowledged)]), acknowledged)


greeting_and_http()
clean_stop()
stop_while_scripts_run()
one_process_a_directory()
ways_to_be_told()
checked_first()
rewritten()
addresses()
failed_write_stops()
checks.passed()
