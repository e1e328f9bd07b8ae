"""Throughput of demo-server against redis-server, in one run: ./dev bench [--json FILE].

Both servers run at the same time, and the rounds alternate between them, so that what else happens on the machine
hits both. A ratio is the median over the rounds of demo-server's requests per second divided by redis-server's of the
same round. Above 1: demo-server is faster.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile


@contextlib.contextmanager
def started(command, ready, log_path):
    """Runs a server until the block ends; yields the match of the line that says that it is ready."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        seen = []
        for line in process.stdout:
            seen.append(line)
            match = re.search(ready, line)
            if match:
                break
        else:
            sys.exit("{} does not start:\n{}".format(command[0], "".join(seen)))
        # What else it says must not fill the pipe.
        with open(log_path, "wb") as log:
            drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=log)
        yield match
        process.terminate()
        process.wait(timeout=20)
        drain.wait(timeout=20)
    finally:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(port, test, pipeline, requests, clients):
    """Requests per second, as redis-benchmark counts them."""
    output = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-t", test, "-n", str(requests), "-c", str(clients), "-P", str(pipeline),
         "-r", "10000", "-d", "64", "--csv"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for line in output.splitlines():
        fields = [field.strip('"') for field in line.split(",")]
        if fields[0].lower() == test:
            return float(fields[1])
    sys.exit("redis-benchmark said: " + output)


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=200000, help="in each round; four times as many when pipelined")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()

    results = []
    with tempfile.TemporaryDirectory(prefix="lx.") as directory:
        logs = [os.path.join(directory, name) for name in ("demo.log", "redis.log")]
        redis_port = free_port()
        demo = [arguments.server, "--port", "0", "--control", directory + "/run/control"]
        redis = [shutil.which("redis-server"), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "",
                 "--appendonly", "no", "--dir", directory]
        with started(demo, r"listening on tcp .*:(\d+)$", logs[0]) as listening, \
                started(redis, r"Ready to accept|ready to accept", logs[1]):
            ports = {"demo": int(listening.group(1)), "redis": redis_port}
            for test in ("get", "set"):
                for pipeline in (1, 16):
                    requests = arguments.requests * (4 if pipeline > 1 else 1)
                    rates = {"demo": [], "redis": []}
                    for number in range(arguments.rounds):
                        # Who is first changes from round to round.
                        for name in ("demo", "redis") if number % 2 else ("redis", "demo"):
                            rates[name].append(measure(ports[name], test, pipeline, requests, arguments.clients))
                    ratios = [ours / theirs for ours, theirs in zip(rates["demo"], rates["redis"])]
                    results.append({
                        "test": test.upper(), "pipeline": pipeline,
                        "demo_per_second": statistics.median(rates["demo"]),
                        "redis_per_second": statistics.median(rates["redis"]),
                        "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
                    })
                    print("measured {} with a pipeline of {}".format(test.upper(), pipeline), file=sys.stderr)

    print("| test | pipeline | demo-server / redis-server | lowest and highest of {} rounds |".format(arguments.rounds))
    print("|------|---------:|---------------------------:|--------------------------------:|")
    for row in results:
        print("| {test} | {pipeline} | {ratio:.2f} | {lowest:.2f} to {highest:.2f} |".format(**row))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
