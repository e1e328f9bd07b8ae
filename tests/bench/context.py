"""What all benchmarks share: where the programs are, how much to do, what was found."""

import json
import os
import subprocess
import sys
import tempfile

from figures import Figures
from processes import Client, Server

GIB = 1 << 30
LISTENING = r"^listening on tcp .*:(\d+)$"


class Context:
    def __init__(self, programs, quick, only):
        self.programs = os.path.abspath(programs)
        self.quick = quick
        self.only = only
        self.figures = Figures()
        self.failed = []  # failed requests, for each run of ours
        self._root = tempfile.TemporaryDirectory(prefix="lxbench.")
        self._help = None

    def close(self):
        self._root.cleanup()

    def wants(self, *names):
        """Whether any of these figures is asked for. A name that ends in _ stands for all that begin so."""
        if not self.only:
            return True
        return any(asked == name or (name.endswith("_") and asked.startswith(name))
                   for asked in self.only for name in names)

    def say(self, text):
        print("bench: " + text, file=sys.stderr, flush=True)

    def repeats(self, full, quick):
        return quick if self.quick else full

    def program(self, path):
        return os.path.join(self.programs, path)

    def directory(self):
        """Of one server's own; short, for UNIX sockets."""
        return tempfile.mkdtemp(dir=self._root.name)

    # --- our servers

    def demo_has(self, option):
        if self._help is None:
            self._help = subprocess.run([self.program("demo-server/demo-server"), "--help"], check=True,
                                        stdout=subprocess.PIPE, text=True).stdout
        return option in self._help

    def demo_server(self, *options, program="demo-server/demo-server"):
        directory = self.directory()
        control = directory + "/run/control"
        return Server([self.program(program), "--port", "0", "--control", control, *options], LISTENING, directory,
                      control=control)

    def echo_server(self):
        directory = self.directory()
        control = directory + "/run/control"
        return Server([self.program("examples/echo"), "0", control], LISTENING, directory, control=control)

    def ballast_server(self, heap_mib=0, fds=0):
        directory = self.directory()
        control = directory + "/run/control"
        return Server([self.program("tests/bench/ballast_server"), "0", control, str(heap_mib), str(fds)], LISTENING,
                      directory, control=control)

    def other_server(self, name):
        """One of tests/bench that takes its port as its argument."""
        return Server([self.program("tests/bench/" + name), "0"], LISTENING, self.directory())

    def last_upgrade(self, server):
        """The newest entry of the server's journal."""
        output = subprocess.run(
            [self.program("handoff/cli/liveexec"), "history", "--json", "--limit", "1", "--control", server.control],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        return json.loads(output)["history"][-1]

    # --- clients

    def stall_client(self, server, connections, protocol):
        return Client([self.program("tests/bench/stall_client"), "--port", str(server.port), "--pid", str(server.pid),
                       "--connections", str(connections), "--protocol", protocol])

    def load_client(self, server, protocol, busy, paced):
        return Client([self.program("tests/bench/load_client"), "--port", str(server.port), "--pid", str(server.pid),
                       "--protocol", protocol, "--busy", str(busy), "--paced", str(paced)])


def memory_available():
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0
