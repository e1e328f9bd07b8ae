"""docs/benchmarks.md and its plots, from the figures alone: ./dev bench-report [JSON [DIRECTORY]].

Writing it again from the same JSON gives the same text."""

import json
import os
import sys

import plots
from figures import met

SECTIONS = (
    ("Stall against connections", ("stall_", "blackout_", "echo_", "floor_"), "stall_connections.svg", """
The longest time that a ping-pong client waits for a reply, from 100 ms before to 200 ms after the
program changes, beside N - 1 idle connections: `stall_N` for demo-server, `echo_N` for the echo
example. `floor_rebuild_N` and `floor_inherit_N` are minimal static programs that do nothing but
exec themselves with all fds inherited; one adds each connection to a new epoll set, the other
inherits the set too. `stall_N_since_signal` has the longest wait since the request for the
upgrade, rehearsal included; `blackout_N` is what the server's own journal says.
"""),
    ("Stall against memory", ("heap_", "resident_", "portable_", "export_"), "stall_memory.svg", """
`heap_N` is a server with that much anonymous memory in small pages, which exec has to take down.
`resident_N` is demo-server with its keys in resident memory, `portable_N` with its keys on the
heap, carried as Cap'n Proto images. `export_all_1g` is what it takes to write 1 GiB of keys as
one image: what the portable path would need in its blackout without any preparation.
"""),
    ("Stall against carried fds", ("fds_",), None, """
A server with that many eventfds in a component of its own, beside its one connection.
"""),
    ("Upgrades under load, here and elsewhere",
     ("upgrade_", "nginx_", "haproxy_", "tableflip_", "outage_", "redis_restart_", "failed_"), "peers.svg", """
4 clients with a request under way at all times, and 1,000 that send one every 100 ms, all on
keep-alive connections that they make anew when the server closes them. `failed`: requests whose
connection ended before the reply, or was refused. `dropped`: connections that the server ended.
`worst`: the longest wait of a request that was answered. `all_new`: until each connection is
served by the new program. `upgrade` is demo-server (PING); nginx is upgraded by USR2 and QUIT,
HAProxy by USR2 to its master, tableflip by SIGHUP (GET / that answers with a PID). The PID that is
kept or not is that of the process that serves: HAProxy's master keeps its own.

`outage_1g` is the longest time without any reply when demo-server is upgraded with 1 GiB of data
(1,048,576 random values of 1 KiB), `redis_restart_1g` when redis-server saves, ends and starts
again with the same. `failed_requests` counts all failures of all runs of ours.
"""),
    ("Memory during an upgrade", ("peak_memory",), None, """
Anonymous memory of all of the server's processes, address spaces that are shared counted once,
and all memory files; sampled every 2 ms. `_before` is the same just before.
"""),
    ("Steady state", ("overhead", "demo_", "direct_", "plain_"), None, """
User-mode instructions per request, by the processor's counter where it is there, otherwise by
callgrind. `direct_*` is the same server linked without the upgrader: no thread, no signal, no
control socket of the framework. `plain_echo` is written on libuv's own streams, so the difference
to it is what buffered streams cost that can cross. While nothing is upgraded nothing of the
framework runs, and it has no thread: in a process with two, libc's cancellable calls (epoll_wait,
read, send) each take some 47 instructions more to switch cancellation on and off. They go on doing
so once there was a second thread: after an upgrade that was abandoned, or `liveexec doctor`, until
the next one that commits.
"""),
    ("demo-server against redis-server", ("throughput_", "redis_throughput_"), "throughput.svg", """
redis-benchmark, 50 connections, values of 64 bytes, 10,000 keys; `_p16` with 16 requests in a
pipeline, `_4t` with 4 threads (redis-server: 4 I/O threads). Both servers run at once and take
turns; the ratio is the median of the rounds' ratios.
"""),
    ("Cost against N", ("fit_",), None, """
The slopes of straight lines through the medians above, by least squares.
"""),
)


def machine_path(json_path):
    return os.path.splitext(json_path)[0] + ".machine.json"


def number(value):
    if value is None:
        return ""
    if value != 0 and abs(value) < 0.01:
        return "{:.2g}".format(value)
    if abs(value) >= 1000:
        return "{:,.0f}".format(value)
    return "{:.3g}".format(value)


def verdict(row):
    """"reached", or by how much it is missed."""
    reached = met(row)
    if reached is None:
        return "" if row["goal"] is None else "not known"
    if reached:
        return "reached"
    what, _, limit = row["goal"].split()
    if float(limit) == 0:
        return "missed: {}".format(number(row[what]))
    times = row[what] / float(limit)
    return "missed: {} times the goal".format(number(times))


def cells(row):
    if row["value"] is None:
        return "| {} | {} | | | | | |".format(row["name"], row["ratio_to"])
    spread = "{} to {} ({})".format(number(row["min"]), number(row["max"]), row["runs"])
    goal = (row["goal"] or "").replace("<=", "≤").replace(">=", "≥")
    return "| {} | {} {} | {} | {} | {} | {} | {} |".format(
        row["name"], number(row["value"]), row["unit"], spread, row["ratio_to"] or "", number(row["ratio"]), goal,
        verdict(row))


def table(rows):
    head = ["| figure | value | min to max (runs) | compared with | ratio | goal | |",
            "|---|---:|---|---|---:|---|---|"]
    return "\n".join(head + [cells(row) for row in rows])


def section(rows, title, prefixes, plot, text, directory):
    mine = [row for row in rows if row["name"].startswith(prefixes)]
    parts = ["## " + title, text.strip()]
    if plot and os.path.exists(os.path.join(directory, "benchmarks", plot)):
        parts.append("![{}](benchmarks/{})".format(title, plot))
    return parts + ([table(mine)] if mine else [])


def document(rows, machine, directory):
    with_goal = [row for row in rows if row["goal"] is not None or row["value"] is None]
    parts = [
        "# Benchmarks",
        "Written by `./dev bench-report` from [benchmarks.json](benchmarks.json); do not edit.\n"
        "A value is the median over the runs; all systems of a comparison take turns in one run.",
        "| | |\n|---|---|\n" + "\n".join("| {} | {} |".format(key.replace("_", " "), value)
                                        for key, value in machine.items()),
    ]
    if "--quick" in machine.get("command", ""):
        parts.append("**A `--quick` run, with few repeats: it shows that the benchmarks work. Its figures are not to\n"
                     "be quoted.**")
    parts += ["## Goals", table(with_goal)]
    for each in SECTIONS:
        parts += section(rows, *each, directory)
    return "\n\n".join(parts) + "\n"


def write(json_path, directory):
    with open(json_path, encoding="utf-8") as file:
        rows = json.load(file)
    with open(machine_path(json_path), encoding="utf-8") as file:
        machine = json.load(file)
    plots.draw(rows, os.path.join(directory, "benchmarks"))
    with open(os.path.join(directory, "benchmarks.md"), "w", encoding="utf-8") as file:
        file.write(document(rows, machine, directory))


if __name__ == "__main__":
    write(*(sys.argv[1:] + ["docs/benchmarks.json", "docs"][len(sys.argv) - 1:]))
