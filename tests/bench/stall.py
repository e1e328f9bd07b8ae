"""How long an upgrade keeps a ping-pong client waiting: against connections, heap, fds (benchmarks 1, 2 and 6).

All systems of a comparison run at the same time, and take turns round by round, so that what else happens on the
machine hits all of them."""

import contextlib
import subprocess
import time

from context import GIB, memory_available
from processes import Failure

MILLISECONDS = 1e6
SETTLE_SECONDS = 0.3

SIZES = {"1": 1, "1k": 1000, "10k": 10000, "19k": 19000, "100k": 100000}


class System:
    """A server with its client. `ours`: failures count, and there is a journal."""

    def __init__(self, context, name, server, connections, protocol, ours):
        self.context = context
        self.name = name
        self.server = server
        self.ours = ours
        self.client = context.stall_client(server, connections, protocol)
        self.stalls = []
        self.wholes = []
        self.blackouts = []

    def upgrade(self, prepare=None):
        """One upgrade; `prepare` is something to say before it."""
        if prepare:
            self.client.ask("say " + prepare)
        seen = self._ask_for_upgrade() if self.ours else self.client.ask("upgrade")
        self.stalls.append(seen["stall_ns"] / MILLISECONDS)
        self.wholes.append(seen["whole_ns"] / MILLISECONDS)
        self.server.await_calm()
        time.sleep(SETTLE_SECONDS)

    def _ask_for_upgrade(self):
        try:
            seen = self.client.ask("upgrade")
        except Failure as failure:
            self.context.failed.append(failure.failed)
            raise Failure("{}; {}".format(failure, self._last_outcome())) from failure
        self.context.failed.append(0)
        entry = self.context.last_upgrade(self.server)
        if entry["outcome"] != "committed":
            raise Failure(self._last_outcome())
        self.blackouts.append(entry["blackout_ms"])
        return seen

    def _last_outcome(self):
        try:
            entry = self.context.last_upgrade(self.server)
        except (LookupError, subprocess.CalledProcessError):
            return "its journal cannot be had"
        return "its journal: {outcome} {code} {message}".format(**entry).strip()

    def check(self):
        """Every connection still works."""
        failed = self.client.ask("check")["failed"]
        if self.ours:
            self.context.failed.append(failed)
        elif failed:
            raise Failure("{} lost {} connections".format(self.name, failed))

    def forget(self):
        """What was measured so far was to warm up."""
        self.stalls, self.wholes, self.blackouts = [], [], []


@contextlib.contextmanager
def running(context, makers, connections):
    """`makers`: (name, server maker, protocol, ours). Yields the systems; Failure when a limit forbids them."""
    with contextlib.ExitStack() as stack:
        systems = []
        for name, make, protocol, ours in makers:
            server = stack.enter_context(make())
            system = System(context, name, server, connections, protocol, ours)
            stack.enter_context(system.client)
            if system.client.skipped:
                raise Failure(system.client.skipped)
            systems.append(system)
        yield systems


def take_turns(systems, repeats, prepare=None):
    """One upgrade of each that does not count, then `repeats` rounds; who is first changes."""
    for number in range(repeats + 1):
        if number == 1:
            for system in systems:
                system.forget()
        shift = number % len(systems)
        for system in systems[shift:] + systems[:shift]:
            system.upgrade(prepare)
    for system in systems:
        system.check()


def systems_of_connections(context):
    return [("stall", context.demo_server, "resp", True),
            ("echo", context.echo_server, "echo", True),
            ("floor_rebuild", lambda: context.other_server("floor_rebuild"), "echo", False),
            ("floor_inherit", lambda: context.other_server("floor_inherit"), "echo", False)]


def add_connections(figures, label, systems):
    references = {"1": ("floor_rebuild_1", "ratio <= 3"), "10k": ("floor_rebuild_10k", "ratio <= 0.3"),
                  "19k": ("stall_1", "ratio <= 3"), "100k": ("stall_1", "ratio <= 3")}
    for system in systems:
        if system.name == "stall":
            reference, goal = references.get(label, ("floor_rebuild_" + label, None))
            figures.add("stall_" + label, system.stalls, "ms", reference, goal)
            figures.add("stall_{}_since_signal".format(label), system.wholes, "ms", "stall_" + label)
            figures.add("blackout_" + label, system.blackouts, "ms", "stall_" + label)
            if label == "10k":
                figures.add("stall_10k_growth", system.stalls, "ms", "stall_1", "ratio <= 2.5")
            if label == "19k":
                figures.add("stall_19k_floor", system.stalls, "ms", "floor_rebuild_19k")
        elif system.name == "echo":
            figures.add("echo_" + label, system.stalls, "ms", "floor_rebuild_" + label)
        else:
            figures.add("{}_{}".format(system.name, label), system.stalls, "ms")


def connections(context):
    """Benchmark 1."""
    for label, count in SIZES.items():
        name = "stall_" + label
        if not context.wants(name, "stall_{}_growth".format(label), "stall_{}_floor".format(label)):
            continue
        context.say("stall at {} connections".format(count))
        repeats = context.repeats(20 if count < 10000 else 12, 3)
        try:
            with running(context, systems_of_connections(context), count) as systems:
                take_turns(systems, repeats)
                add_connections(context.figures, label, systems)
        except Failure as failure:
            context.figures.missing(name, str(failure))


def heap(context):
    """Benchmark 2, the heap: anonymous memory in small pages, filled anew before each upgrade."""
    if not context.wants("heap_"):
        return
    context.say("stall against the heap")
    sizes = [0, 1, 4, 8]
    fitting = [size for size in sizes if (size + 1) * GIB < memory_available()]
    makers = [("heap_{}g".format(size), lambda size=size: context.ballast_server(heap_mib=size << 10), "echo", True)
              for size in fitting]
    try:
        with running(context, makers, 100) as systems:
            take_turns(systems, context.repeats(10, 2), prepare="fill")
            for system in systems:
                context.figures.add(system.name, system.stalls, "ms", "heap_0g" if system.name != "heap_0g" else None,
                                    "ratio <= 1.2" if system.name == "heap_8g" else None)
    except Failure as failure:
        context.figures.missing("heap_8g", str(failure))
    for size in set(sizes) - set(fitting):
        context.figures.missing("heap_{}g".format(size), "this machine has too little free memory")


def fds(context):
    """For benchmark 6: carried fds that are no connections."""
    if not context.wants("fds_"):
        return
    context.say("stall against carried fds")
    makers = [("fds_{}".format(count), lambda count=count: context.ballast_server(fds=count), "echo", True)
              for count in (0, 1000, 4000, 16000)]
    try:
        with running(context, makers, 1) as systems:
            take_turns(systems, context.repeats(10, 2))
            for system in systems:
                context.figures.add(system.name, system.stalls, "ms", "fds_0" if system.name != "fds_0" else None)
    except Failure as failure:
        context.figures.missing("fds_16000", str(failure))
