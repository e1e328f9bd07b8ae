#!/usr/bin/env python3
"""Sees that today's programs read what earlier releases wrote, and keeps what a release writes.

    ./dev compat                      compare schemas with, and read the recordings of, each release
    ./dev compat --release VERSION    make the recordings of a release, once, when it is made
"""

import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

GOLDEN = pathlib.Path("tests/compat/golden")  # ./dev runs this in the root
DEMOS = ["demo-server-v0", "demo-server", "demo-server-v2"]
# Which programs must read a recording: each version of demo-server reads those of all others.
READERS = {name: [f"demo-server/{demo}" for demo in DEMOS] for name in DEMOS}
READERS["every_component"] = ["tests/compat/every_component"]


def tool(root, *arguments):
    return subprocess.run([str(root / "tests/compat/liveexec-compat"), *arguments]).returncode


def releases():
    return sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def check(root):
    worst = 0
    for release in releases():
        print(f"release {release}")
        today = root / "tests/compat/today.schemas"
        worst = max(worst, tool(root, "schemas", "--released", str(GOLDEN / release / "schemas"), "--today", str(today)))
        for recording in sorted(path for path in (GOLDEN / release).iterdir() if path.is_dir()):
            arguments = ["read", "--recording", str(recording)]
            for reader in READERS[recording.name]:
                arguments += ["--binary", str(root / reader)]
            sys.stdout.flush()
            worst = max(worst, tool(root, *arguments))
    return worst


class Server:
    """A program of the release, with nothing of this machine in what it records."""

    def __init__(self, program, arguments, work):
        self.control = work / "control"
        binary = work / program.name
        shutil.copy(program, binary)
        binary.chmod(0o755)
        self.process = subprocess.Popen(
            [str(binary)] + arguments, cwd=work, env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.port = int(re.search(r"listening on tcp [^ ]*:(\d+)", line).group(1))

    def connect(self, *commands):
        connection = socket.create_connection(("127.0.0.1", self.port))
        for command in commands:
            connection.sendall(command.encode())
            # The reply shows that it was done; what blocks sends none.
            connection.settimeout(0.2)
            try:
                connection.recv(65536)
            except TimeoutError:
                pass
        return connection

    def stop(self):
        self.process.terminate()
        self.process.wait()


def command(*words):
    return f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)


def fill_demo(server):
    """All kinds of values and of sessions. The connections must stay open."""
    filled = server.connect(
        command("SET", "string", "value"), command("SET", "expiring", "value", "EX", "100000000"),
        command("INCRBY", "counter", "41"), command("RPUSH", "list", "a", "b", "c"), command("SADD", "set", "x", "y"),
        command("ZADD", "sorted", "1.5", "one", "-2", "two"), command("HSET", "hash", "field", "value"),
        command("SETBIT", "bits", "7", "1"), command("SELECT", "3"), command("SET", "other", "database"),
        command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), command("CLIENT", "SETNAME", "filler"))
    return [
        filled,
        server.connect(command("HELLO", "3"), command("SUBSCRIBE", "news")),
        server.connect(command("PSUBSCRIBE", "n*")),
        server.connect(command("WATCH", "counter"), command("MULTI"), command("INCR", "counter")),
        server.connect(command("BLPOP", "nothing", "100000")),
        server.connect("*2\r\n$4\r\nECHO\r\n$10\r\nhalf"),
    ]


def record(root, name, work, target):
    if name == "every_component":
        server = Server(root / "tests/compat/every_component", [str(work / "control"), str(work)], work)
        clients = [server.connect("echo") for _ in range(3)]
    else:
        server = Server(root / "demo-server" / name, ["--port", "0", "--control", str(work / "control")], work)
        clients = fill_demo(server)
    try:
        return tool(root, "record", "--control", str(server.control), "--out", str(target))
    finally:
        for client in clients:
            client.close()
        server.stop()


def release(root, version):
    target = GOLDEN / version
    if target.exists():
        sys.exit(f"compat: {target} exists; what a release wrote does not change")
    target.mkdir(parents=True)
    shutil.copyfile(root / "tests/compat/today.schemas", target / "schemas")
    for name in READERS:
        with tempfile.TemporaryDirectory(prefix="liveexec-golden-", dir="/tmp") as work:
            if record(root, name, pathlib.Path(work), target / name) != 0:
                shutil.rmtree(target)
                sys.exit(f"compat: {name} could not be recorded")
    print(f"recorded in {target}: commit it")
    return check(root)


def main():
    parser = argparse.ArgumentParser(prog="./dev compat", description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="bazel-bin", help=argparse.SUPPRESS)
    parser.add_argument("--release", metavar="VERSION", help="record what this release writes")
    options = parser.parse_args()
    os.umask(0o022)
    root = pathlib.Path(options.root)
    sys.exit(release(root, options.release) if options.release else check(root))


if __name__ == "__main__":
    main()
