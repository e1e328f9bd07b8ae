#!/usr/bin/env python3
"""Runs servers under a systemd of their own, the real one, and upgrades them by systemctl reload.

systemd is booted as PID 1 of namespaces of its own (boot.sh): nothing of the machine changes. As root, on a machine
that may mount cgroups. Started by ./dev systemd.
"""

import argparse
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
INSIDE = pathlib.Path("/srv/liveexec")
PATIENCE_SECONDS = 60
UPGRADES = 10


class Systemd:
    """Boots; ends with everything in it."""

    def __init__(self, work, units):
        self.log = open(work / "systemd.log", "w+", encoding="utf-8", errors="replace")
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts",
                   str(HERE / "boot.sh"), str(work), str(units)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        start_new_session=True)
        self.pid = None
        until(self._boots, "systemd does not come up: see " + self.log.name)

    def _boots(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            sys.exit("systemd ended:\n" + self.log.read())
        children = pathlib.Path("/proc/{0}/task/{0}/children".format(self.process.pid)).read_text().split()
        if not children:
            return False
        self.pid = children[0]
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def run(self, *command):
        return subprocess.run(["nsenter", "--target", self.pid, "--mount", "--pid", "--uts", "--root", "--wd", *command],
                              check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def systemctl(self, *arguments):
        return self.run("systemctl", *arguments)

    def show(self, unit, name):
        return self.systemctl("show", "--value", "--property", name, unit).stdout.strip()

    def state(self, unit):
        return self.show(unit, "ActiveState") + " " + self.show(unit, "SubState")

    def close(self):
        self.process.kill()  # unshare takes PID 1 with it, and that all the others
        self.process.wait()


def until(condition, complaint):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            sys.exit("systemd: " + complaint)
        time.sleep(0.05)


class Checks:
    def __init__(self):
        self.failed = 0

    def check(self, what, right, detail=""):
        self.failed += not right
        print("{:<5} {}{}".format("ok" if right else "FAIL", what, "" if right or not detail else ": " + str(detail)),
              flush=True)


class Counter(threading.Thread):
    """Increments a key on one connection, over and over: each reply must be the next number."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.stopping = False
        self.count = 0
        self.problem = None

    def run(self):
        replies = self.connection.makefile("rb")
        try:
            while not self.stopping:
                self.connection.sendall(b"INCR count\r\n")
                reply = replies.readline()
                self.count += 1
                if reply != b":%d\r\n" % self.count:
                    self.problem = "reply {} was {}".format(self.count, reply)
                    return
        except OSError as error:
            self.problem = str(error)

    def finish(self):
        self.stopping = True
        self.join()
        return self.problem


def ask(port, command):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.makefile("rb").readline().decode().strip()


def upgrades(systemd, checks, bin_directory, port):
    """Type=notify, ExecReload: what systemd sees of upgrades, good ones and bad ones, under load."""
    started = systemd.systemctl("start", "demo.service")
    checks.check("Type=notify: start returns when the server serves", started.returncode == 0, started.stdout)
    pid = systemd.show("demo.service", "MainPID")
    counter = Counter(port)
    counter.start()
    load = subprocess.Popen(["redis-benchmark", "-p", str(port), "-t", "get,set", "-n", "100000000", "-q"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reloads = []
    for number in range(UPGRADES):
        install(bin_directory / ("demo-server-v2" if number % 2 == 0 else "demo-server"), bin_directory / "next")
        reloads.append(systemd.systemctl("reload", "demo.service"))
    bad = [one.stdout for one in reloads if one.returncode != 0]
    checks.check("{} reloads under redis-benchmark, each of them an upgrade".format(UPGRADES), not bad, bad)
    checks.check("the status names version and upgrades", re.search("v1.*{}".format(UPGRADES),
                 systemd.show("demo.service", "StatusText")), systemd.show("demo.service", "StatusText"))

    install(pathlib.Path("/bin/true"), bin_directory / "next")
    refused = systemd.systemctl("reload", "demo.service")
    checks.check("a reload to a foreign program fails", refused.returncode != 0)
    checks.check("and the status says why", "E_" in systemd.show("demo.service", "StatusText"),
                 systemd.show("demo.service", "StatusText"))
    rolled_back = systemd.run(str(INSIDE / "bin/liveexec"), "upgrade", "--control", "/run/demo/control",
                              "--binary", str(INSIDE / "bin/segv-upgrade"))
    checks.check("a program that crashes after exec is rolled back", "E_CRASH" in rolled_back.stdout,
                 rolled_back.stdout)
    checks.check("and the status says so", "rolled back" in systemd.show("demo.service", "StatusText"),
                 systemd.show("demo.service", "StatusText"))

    checks.check("the unit is active (running) after all of that", systemd.state("demo.service") == "active running",
                 systemd.state("demo.service"))
    checks.check("one main PID, and no restart", systemd.show("demo.service", "MainPID") == pid and
                 systemd.show("demo.service", "NRestarts") == "0", systemd.show("demo.service", "MainPID"))
    problem = counter.finish()
    checks.check("one connection throughout, {:,} replies, each the right one".format(counter.count), not problem, problem)
    checks.check("redis-benchmark still runs", load.poll() is None, load.poll())
    load.terminate()
    output = load.communicate()[0]
    checks.check("and has seen no error", "rror" not in output, output[-300:])
    stopped = systemd.systemctl("stop", "demo.service")
    checks.check("stop ends it", stopped.returncode == 0 and systemd.show("demo.service", "Result") == "success",
                 stopped.stdout)


def crash(systemd, checks):
    """FileDescriptorStoreMax: listeners and journal outlive the process."""
    systemd.systemctl("start", "keeper.service")
    pid = systemd.show("keeper.service", "MainPID")
    control = str(INSIDE / "keeper/run/control")
    liveexec = str(INSIDE / "bin/liveexec")
    upgraded = systemd.run(liveexec, "upgrade", "--control", control, "--binary",
                           str(INSIDE / "bin/victim-v2"))
    checks.check("a server whose listeners are in the fd store is upgraded", upgraded.returncode == 0, upgraded.stdout)
    kept = systemd.show("keeper.service", "NFileDescriptorStore")
    checks.check("systemd keeps its listeners and its journal", int(kept or 0) >= 3, kept)
    port = listening_port(systemd, pid)
    systemd.systemctl("kill", "--signal=KILL", "--kill-who=main", "keeper.service")
    until(lambda: systemd.show("keeper.service", "SubState") != "running", "keeper does not die")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as meanwhile:
        meanwhile.sendall(b"while nobody serves")
        until(lambda: systemd.state("keeper.service") == "active running", "keeper is not started again")
        reply = meanwhile.recv(100)
    checks.check("who connects while it is dead is served by the next start", reply == b"while nobody serves", reply)
    checks.check("another process", systemd.show("keeper.service", "MainPID") != pid)
    history = json.loads(systemd.run(liveexec, "history", "--json", "--control", control).stdout)["history"]
    checks.check("with the journal: the upgrade counts as failed (E_DIED)",
                 len(history) == 1 and history[0]["code"] == "E_DIED", history)
    systemd.systemctl("stop", "keeper.service")


def listening_port(systemd, pid):
    """Of the only TCP listener of a process in there."""
    output = systemd.run("ss", "--listening", "--tcp", "--numeric", "--processes", "--no-header").stdout
    for line in output.splitlines():
        if "pid={},".format(pid) in line:
            return int(re.search(r":(\d+)\s", line).group(1))
    sys.exit("systemd: the server does not listen:\n" + output)


def install(source, target):
    """As a package manager does it: a new file, renamed over the old one."""
    shutil.copy(source, str(target) + ".new")
    pathlib.Path(str(target) + ".new").rename(target)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(prog="./dev systemd", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="bazel-bin", help=argparse.SUPPRESS)
    programs = pathlib.Path(parser.parse_args().programs).resolve()
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="lxsystemd.") as directory:
        work = pathlib.Path(directory)
        bin_directory = work / "share" / "bin"
        (work / "overlay").mkdir()
        (work / "units").mkdir()
        bin_directory.mkdir(parents=True)
        (work / "share" / "keeper" / "run").mkdir(parents=True, mode=0o700)
        for source, name in (("demo-server/demo-server", "demo-server"), ("demo-server/demo-server-v2", "demo-server-v2"),
                             ("handoff/cli/liveexec", "liveexec"), ("tests/e2e/bad/bad_server", "segv-upgrade"),
                             ("tests/faults/victim/v1", "victim"), ("tests/faults/victim/v2", "victim-v2")):
            shutil.copy(programs / source, bin_directory / name)
        port = free_port()
        for unit in (HERE / "units").iterdir():
            (work / "units" / unit.name).write_text(unit.read_text().replace("PORT", str(port)))
        systemd = Systemd(work, work / "units")
        try:
            print("      " + systemd.systemctl("--version").stdout.splitlines()[0])
            upgrades(systemd, checks, bin_directory, port)
            crash(systemd, checks)
        finally:
            systemd.close()
    print("{} failed".format(checks.failed) if checks.failed else "systemd noticed nothing but what it was told.")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
