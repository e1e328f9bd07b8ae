#!/usr/bin/python3
"""A client library that knows nothing of upgrades (python3-redis) works while the server upgrades.

    client_library_test.py LIVEEXEC V1 V0 V2 [THREADS]

One thread upgrades the server from version to version without a pause. Each scenario is repeated until
upgrades have fallen into it. Any exception of the library and any wrong answer fails the test.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import traceback

import redis

UPGRADES_PER_SCENARIO = 3
PATIENCE_S = 120


class Server:
    def __init__(self, binary, threads, directory):
        self.control = os.path.join(directory, "run", "control")
        self._process = subprocess.Popen(
            [binary, "--port", "0", "--threads", threads, "--control", self.control], stdout=subprocess.PIPE, text=True
        )
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError("the server ended before it listened")
            if match := re.match(r"listening on tcp \S+:(\d+)", line):
                self.port = int(match.group(1))
            if " ready " in line:
                break
        # Nobody else reads what it prints after each upgrade.
        self._reader = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._reader.start()

    @property
    def pid(self):
        return self._process.pid

    def client(self, **options):
        return redis.Redis(
            port=self.port, socket_timeout=PATIENCE_S, decode_responses=True, health_check_interval=0, **options
        )

    def stop(self):
        self._process.terminate()
        return self._process.wait(PATIENCE_S)


class Upgrades:
    """Upgrades in a thread of its own, for as long as the body of the with statement runs."""

    def __init__(self, liveexec, control, binaries):
        self.done = 0
        self.failure = None
        self._changed = threading.Condition()
        self._stop = False
        self._command = [liveexec, "upgrade", "--control", control, "--binary"]
        self._binaries = itertools.cycle(binaries)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        self._thread.join()

    def _run(self):
        while not self._stop and self.failure is None:
            result = subprocess.run(self._command + [next(self._binaries)], capture_output=True, text=True, check=False)
            with self._changed:
                if result.returncode == 0:
                    self.done += 1
                else:
                    self.failure = result.stdout + result.stderr
                self._changed.notify_all()

    def wait_for(self, more):
        with self._changed:
            goal = self.done + more
            self._changed.wait_for(lambda: self.done >= goal or self.failure is not None, PATIENCE_S)
            if self.done < goal:
                raise RuntimeError(f"no upgrade: {self.failure}")

    def repeat(self, scenario):
        """Runs it until enough upgrades fell into it."""
        goal = self.done + UPGRADES_PER_SCENARIO
        for number in itertools.count():
            scenario(number)
            if self.failure is not None:
                raise RuntimeError(self.failure)
            if self.done >= goal:
                return


def check(actual, expected):
    if actual != expected:
        raise AssertionError(f"got {actual!r}, expected {expected!r}")


def pipelines(server, upgrades):
    client = server.client()

    def once(number):
        with client.pipeline(transaction=number % 2 == 0) as pipe:
            for i in range(200):
                pipe.set(f"key:{i}", f"{number}:{i}").get(f"key:{i}").incr("count").hset("hash", i, number)
            replies = pipe.execute()
        check(replies[1::4], [f"{number}:{i}" for i in range(200)])
        check(replies[2::4], list(range(number * 200 + 1, number * 200 + 201)))

    upgrades.repeat(once)


def competing_transactions(server, upgrades):
    """Two clients add to one number under WATCH; each retries when the other one was first."""
    clients = [server.client(), server.client()]
    clients[0].set("sum", 0)
    added = [0, 0]

    def add(which):
        def body(pipe):
            value = int(pipe.get("sum"))
            pipe.multi()
            pipe.set("sum", value + 1)

        for _ in range(20):
            clients[which].transaction(body, "sum")
            added[which] += 1

    def once(_):
        other = threading.Thread(target=add, args=(1,))
        other.start()
        add(0)
        other.join()
        check(int(clients[0].get("sum")), sum(added))

    upgrades.repeat(once)


def subscriptions(server, upgrades):
    publisher = server.client()
    listener = server.client().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.psubscribe("weather.*")
    listener.ping("there")
    while (listener.get_message(timeout=PATIENCE_S) or {}).get("type") != "pong":
        pass

    def once(number):
        check(publisher.publish("news", number), 1)
        check(publisher.publish("weather.today", number), 1)
        for channel in ("news", "weather.today"):
            message = listener.get_message(timeout=PATIENCE_S)
            check((message["channel"], message["data"]), (channel, str(number)))

    upgrades.repeat(once)
    listener.close()


def blocking_pops(server, upgrades):
    producer = server.client()
    consumer = server.client()
    results = []
    consumed = threading.Semaphore(0)
    stop = "stop"

    def consume():
        while True:
            results.append(consumer.blpop(["queue", "other queue"], timeout=0))
            consumed.release()
            if results[-1][1] == stop:
                return

    thread = threading.Thread(target=consume)
    thread.start()

    def once(number):
        if number % 10 == 0:
            upgrades.wait_for(1)  # the consumer waits across it
        producer.rpush("queue" if number % 2 else "other queue", number)
        if not consumed.acquire(timeout=PATIENCE_S):
            raise RuntimeError("an element was not delivered")
        check(results[-1][1], str(number))

    try:
        upgrades.repeat(once)
    finally:
        producer.rpush("queue", stop)
        thread.join()
    # One that nobody serves ends by its timeout, which goes on across upgrades.
    check(producer.blpop("nothing", timeout=1), None)


def scans(server, upgrades):
    """Whoever stays through a whole iteration is seen, though the server is replaced in its middle."""
    client = server.client(db=3)
    client.mset({f"stays:{i}": i for i in range(500)})
    client.zadd("set", {f"member:{i}": i for i in range(500)})
    expected = {f"stays:{i}" for i in range(500)}

    def once(number):
        client.set(f"comes:{number}", 1)
        client.delete(f"comes:{number - 1}")
        check(set(client.scan_iter(match="stays:*", count=7)), expected)
        check(len({member for member, _ in client.zscan_iter("set", count=50)}), 500)

    upgrades.repeat(once)


def connection_settings(server, upgrades):
    client = server.client(db=5, client_name="settled", single_connection_client=True)
    identity = client.client_id()

    def once(_):
        check(client.client_getname(), "settled")
        check(client.client_id(), identity)
        check(client.client_info()["db"], 5)
        upgrades.wait_for(1)

    upgrades.repeat(once)
    client.close()


SCENARIOS = (pipelines, competing_transactions, subscriptions, blocking_pops, scans, connection_settings)


def main(liveexec, first, older, newer, threads="1"):
    failed = 0
    liveexec, first, older, newer = map(os.path.realpath, (liveexec, first, older, newer))
    with tempfile.TemporaryDirectory(prefix="lx-") as directory:
        server = Server(first, threads, directory)
        try:
            with Upgrades(liveexec, server.control, [newer, older, first]) as upgrades:
                for scenario in SCENARIOS:
                    try:
                        scenario(server, upgrades)
                        print(f"ok    {scenario.__name__}, {upgrades.done} upgrades so far")
                    except Exception:  # pylint: disable=broad-except
                        failed += 1
                        print(f"FAIL  {scenario.__name__}\n{traceback.format_exc()}")
            check(server.client().info("server")["process_id"], server.pid)
        finally:
            code = server.stop()
    check(code, 0)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
