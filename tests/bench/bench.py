"""./dev bench: what an upgrade costs, and beside what. Prints a table; --json FILE keeps the figures (figures.py).

Every comparison is made within one run, with all its systems taking turns; a value is the median over the runs."""

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time

import report
from context import Context
from data import portable, portable_sizes, resident
from figures import met
from fit import fit
from overhead import steady_state
from peers import outage, peers
from processes import Failure
from stall import connections, fds, heap
from throughput import throughput

BENCHMARKS = (connections, heap, fds, resident, portable, portable_sizes, peers, outage, steady_state, throughput)


def shown_arguments(arguments):
    """Those that the user gave: ./dev adds where the programs are."""
    shown = iter(arguments)
    for argument in shown:
        if argument == "--programs":
            next(shown, None)
        else:
            yield argument


def machine():
    """Where the figures come from."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) / 2**20
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": "./dev bench " + " ".join(shown_arguments(sys.argv[1:])),
        "cpu": "{} x {}".format(os.cpu_count(), model),
        "memory": "{:.1f} GiB".format(memory),
        "kernel": "{} {}".format(platform.system(), platform.release()),
        "open_files": "{}".format(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "load_before": "{:.2f}".format(os.getloadavg()[0]),
    }


def run(context):
    # The hard limit is what bounds connections and fds; children start with the soft one.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for benchmark in BENCHMARKS:
        try:
            benchmark(context)
        except (Failure, OSError, subprocess.CalledProcessError) as failure:
            context.say("{} ended early: {}".format(benchmark.__name__, failure))
    if context.failed:
        # The sum, not the median: one is one too many.
        context.figures.add("failed_requests", context.failed, "requests", None, "value <= 0",
                            value=sum(context.failed))
    fit(context)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="the figures; what machine it was goes beside it")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: minutes instead of an hour")
    parser.add_argument("--only", metavar="NAME[,NAME...]", default="", help="these figures, with what they need")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks.md from docs/benchmarks.json")
    parser.add_argument("--programs", default="bazel-bin", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main():
    arguments = parse(sys.argv[1:])
    only = [name for name in arguments.only.split(",") if name]
    context = Context(arguments.programs, arguments.quick, only)
    where = machine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that the servers end as well.
    try:
        run(context)
    finally:
        context.close()
    rows = context.figures.rows()
    print(report.table(rows))
    if arguments.json:
        context.figures.write(arguments.json)
        with open(report.machine_path(arguments.json), "w", encoding="utf-8") as file:
            json.dump(where, file, indent=2)
            file.write("\n")
    if arguments.report:
        report.write(arguments.json or "docs/benchmarks.json", "docs")
    missed = [row["name"] for row in rows if met(row) is False]
    if missed:
        context.say("goals missed: " + ", ".join(missed))
    # Wrong results are a failure of the run, slow ones are a result.
    failed = context.figures.value("failed_requests")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
