"""Servers with gigabytes of data, over the Redis protocol: filling them, and what an upgrade of them costs (benchmark 2,
and the outages of benchmark 3)."""

import json
import os
import socket
import subprocess
import threading

from context import GIB, memory_available
from memory import Sampler, memory_of_session, shared_memory
from processes import Failure
from stall import running, take_turns

VALUE_BYTES = 1024
BATCH = 512


def fill(port, total, value_bytes=VALUE_BYTES):
    """SETs of random values, which no server can compress, until `total` bytes of them are there."""
    count = total // value_bytes
    noise = os.urandom(value_bytes + 65536)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        replies = connection.makefile("rb")
        failures = []

        def read_replies():
            for _ in range(count):
                if replies.readline() != b"+OK\r\n":
                    failures.append(True)
                    return

        reader = threading.Thread(target=read_replies)
        reader.start()
        head = b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$" + str(value_bytes).encode() + b"\r\n"
        for first in range(0, count, BATCH):
            parts = []
            for number in range(first, min(first + BATCH, count)):
                key = b"key:%d" % number
                at = number * 7919 % 65536
                parts += (head % (len(key), key), noise[at:at + value_bytes], b"\r\n")
            connection.sendall(b"".join(parts))
        reader.join()
    if failures:
        raise Failure("a SET was refused")


def mode_options(context, mode):
    """demo-server's option for its key space, in the builds that have it."""
    option = "--" + mode
    if not context.demo_has(option):
        return None
    return (option,)


def resident(context):
    """Benchmark 2: the key space in resident memory."""
    if not context.wants("resident_", "peak_memory"):
        return
    options = mode_options(context, "resident")
    if options is None:
        for name in ("resident_0g", "resident_1g", "resident_4g", "peak_memory"):
            context.figures.missing(name, "this demo-server has no --resident")
        return
    context.say("stall against resident state")
    sizes = [size for size in (0, 1, 4) if (size + 2) * GIB < memory_available()]
    try:
        shared = shared_memory()
        makers = [("resident_{}g".format(size), lambda: context.demo_server(*options), "resp", True) for size in sizes]
        with running(context, makers, 100) as systems:
            for system, size in zip(systems, sizes):
                fill(system.server.port, size * GIB, 1024 if size < 4 else 16384)
            take_turns(systems, context.repeats(10, 3))
            for system in systems:
                context.figures.add(system.name, system.stalls, "ms",
                                    "resident_0g" if system.name != "resident_0g" else None,
                                    "ratio <= 1.2" if system.name == "resident_4g" else None)
            others = [system.server for system in systems[:-1]]
            shared += sum(shmem_share(server) for server in others)
            add_peak(context, "peak_memory", systems[-1], shared, "ratio <= 1.1")
    except Failure as failure:
        context.figures.missing("resident_4g", str(failure))
        context.figures.missing("peak_memory", str(failure))


def shmem_share(server):
    """Bytes of shared memory that a server holds: what its memory files have allocated."""
    total = 0
    for fd in os.listdir("/proc/{}/fd".format(server.pid)):
        try:
            path = "/proc/{}/fd/{}".format(server.pid, fd)
            if "memfd:" in os.readlink(path):
                total += os.stat(path).st_blocks * 512
        except OSError:
            continue
    return total


def add_peak(context, name, system, shared, goal=None):
    """Memory of a server's processes, and of memory files beyond `shared`, while it is upgraded."""
    peaks, befores = [], []
    for _ in range(context.repeats(5, 2)):
        befores.append(memory_of_session(system.server.session, shared) / 2**20)
        with Sampler(lambda: memory_of_session(system.server.session, shared)) as sampler:
            system.upgrade()
        peaks.append(sampler.peak / 2**20)
    context.figures.add(name + "_before", befores, "MiB")
    context.figures.add(name, peaks, "MiB", name + "_before", goal)


def portable(context):
    """Benchmark 2: 1 GiB on the heap, by Cap'n Proto; against what exporting all of it takes."""
    if not context.wants("portable_1g"):
        return
    context.say("stall with 1 GiB on the portable path")
    options = mode_options(context, "heap") or ()
    try:
        shared = shared_memory()
        makers = [("portable_1g", lambda: context.demo_server(*options), "resp", True)]
        with running(context, makers, 100) as (system,):
            fill(system.server.port, GIB)
            take_turns([system], context.repeats(7, 2))
            context.figures.add("portable_1g", system.stalls, "ms", "export_all_1g", "ratio <= 0.1")
            context.figures.add("portable_1g_blackout", system.blackouts, "ms", "export_all_1g", "ratio <= 0.1")
            add_peak(context, "peak_memory_heap", system, shared)
    except Failure as failure:
        context.figures.missing("portable_1g", str(failure))
    output = subprocess.run(
        [context.program("tests/bench/export_all"), str(GIB // VALUE_BYTES), str(VALUE_BYTES),
         str(context.repeats(7, 3))], check=True, stdout=subprocess.PIPE, text=True).stdout
    context.figures.add("export_all_1g", [time / 1e6 for time in json.loads(output)["export_ns"]], "ms")


def portable_sizes(context):
    """For benchmark 6: the portable path against its size."""
    if not context.wants("portable_64m", "portable_256m"):
        return
    context.say("stall against the portable state")
    options = mode_options(context, "heap") or ()
    makers = [("portable_{}m".format(size), lambda: context.demo_server(*options), "resp", True)
              for size in (0, 64, 256)]
    try:
        with running(context, makers, 100) as systems:
            for system in systems:
                fill(system.server.port, int(system.name.split("_")[1][:-1]) << 20)
            take_turns(systems, context.repeats(7, 2))
            for system in systems:
                context.figures.add(system.name, system.stalls, "ms")
    except Failure as failure:
        context.figures.missing("portable_256m", str(failure))


