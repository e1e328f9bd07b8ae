"""demo-server against redis-server (benchmark 5).

Both run at the same time, and the rounds alternate between them. A ratio is the median over the rounds of demo-server's
requests per second divided by redis-server's of the same round. Above 1: demo-server is faster."""

import shutil
import statistics
import subprocess

from processes import Failure, Server, free_port


PATIENCE_SECONDS = 60


def redis_server(context, *options):
    directory = context.directory()
    port = free_port()
    # Its protected mode answers 127.0.0.1 only, and not its neighbours.
    return Server([shutil.which("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--protected-mode", "no",
                   "--save", "", "--appendonly", "no", "--dir", directory, *options], r"[Rr]eady to accept", directory, port=port)


def requests_per_second(port, test, pipeline, requests, client_threads=1):
    """As redis-benchmark counts them: 50 connections, values of 64 bytes, 10,000 keys."""
    command = ["redis-benchmark", "-p", str(port), "-t", test, "-n", str(requests), "-c", "50", "-P", str(pipeline),
               "-r", "10000", "-d", "64", "--csv"]
    if client_threads > 1:
        command += ["--threads", str(client_threads)]
    try:
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                timeout=PATIENCE_SECONDS).stdout
    except subprocess.TimeoutExpired:
        raise Failure("redis-benchmark did not end within {} s".format(PATIENCE_SECONDS)) from None
    for line in output.splitlines():
        fields = [field.strip('"') for field in line.split(",")]
        if fields[0].lower() == test:
            return float(fields[1])
    raise Failure("redis-benchmark said: " + output)


def in_turns(servers, rounds, measure):
    """The samples of each of two servers, and the median of the first's divided by the second's, round by round."""
    samples = [[], []]
    for number in range(rounds + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            sample = measure(servers[which])
            if number > 0:  # The first round warms up.
                samples[which].append(sample)
    return samples, statistics.median(ours / theirs for ours, theirs in zip(*samples))


def throughput(context):
    if not context.wants("throughput_"):
        return
    for threads in (1, 4):
        # More threads than processors: redis-server's I/O threads wait by spinning.
        redis_options = () if threads == 1 else ("--io-threads", str(threads), "--io-threads-do-reads", "yes")
        with context.demo_server("--threads", str(threads)) as demo, redis_server(context, *redis_options) as redis:
            for test in ("get", "set"):
                for pipeline in (1, 16):
                    one_line(context, (demo, redis), test, pipeline, threads)


def one_line(context, servers, test, pipeline, threads):
    name = "throughput_{}{}{}".format(test, "_p16" if pipeline > 1 else "",
                                      "" if threads == 1 else "_{}t".format(threads))
    if not context.wants(name):
        return
    context.say("throughput: {} with a pipeline of {}, {} threads".format(test, pipeline, threads))
    requests = context.repeats(200000, 40000) * (4 if pipeline > 1 else 1)
    try:
        samples, ratio = in_turns(
            servers, context.repeats(7, 3),
            lambda server: requests_per_second(server.port, test, pipeline, requests, 1 if threads == 1 else 2))
    except Failure as failure:
        context.figures.missing(name, str(failure))
        return
    context.figures.add("redis_" + name, samples[1], "requests/s")
    context.figures.add(name, samples[0], "requests/s", "redis_" + name, "ratio >= 1" if threads == 1 else None, ratio)
