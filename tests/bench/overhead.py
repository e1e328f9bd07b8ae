"""What the framework costs while there is no upgrade (benchmark 4): the same servers with it and without.

Without: the server is linked with tests/bench/direct_upgrader.h in place of the upgrader, so that no thread, no signal and
no control socket of the framework is there. plain_echo is written on libuv's own streams.

Instructions in user mode per request: counted by the processor (perf stat) where it lets us, otherwise by valgrind's
callgrind, which simulates it. Two runs of different length; the difference is free of what starting costs."""

import os
import re
import shutil
import socket
import subprocess

from context import LISTENING
from processes import Failure, Server
from throughput import in_turns, requests_per_second


def counter_works():
    """Whether perf stat counts instructions here; a virtual machine often does not let it."""
    if not shutil.which("perf"):
        return False
    result = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", "true"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, check=False)
    return result.returncode == 0 and re.search(r"^\d+,", result.stderr, re.MULTILINE) is not None


def ping_pong(port, request, reply_bytes, count):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            connection.sendall(request)
            left = reply_bytes
            while left:
                reply = connection.recv(left)
                if not reply:
                    raise Failure("the server closed the connection")
                left -= len(reply)


def instructions(context, command, request, reply_bytes, count, use_perf):
    """All user-mode instructions of a server that answers `count` requests."""
    directory = context.directory()
    report = os.path.join(directory, "count")
    if use_perf:
        wrapper = ["perf", "stat", "-x,", "-e", "instructions:u", "-o", report, "--"]
    else:
        wrapper = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + report]
    command = [argument.replace("{dir}", directory) for argument in command]
    with Server(wrapper + command, LISTENING, directory) as server:
        ping_pong(server.port, request, reply_bytes, count)
        server.stop()
    with open(report, encoding="utf-8", errors="replace") as file:
        match = re.search(r"^(\d+),.*instructions" if use_perf else r"^(?:totals|summary): (\d+)", file.read(), re.MULTILINE)
    if not match:
        raise Failure("no count of instructions for " + command[0])
    return int(match.group(1))


def per_request(context, command, request, reply_bytes, use_perf):
    few, many = context.repeats((2000, 22000), (1000, 6000))
    counts = [instructions(context, command, request, reply_bytes, count, use_perf) for count in (few, many)]
    return (counts[1] - counts[0]) / (many - few)


GET = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"


def steady_state(context):
    if not context.wants("overhead", "overhead_"):
        return
    use_perf = counter_works()
    if not use_perf and not shutil.which("valgrind"):
        context.figures.missing("overhead", "neither the processor's counters nor valgrind are there")
        return
    demo, direct_demo = context.program("demo-server/demo-server"), context.program("tests/bench/direct_demo_server")
    programs = {
        "demo_instructions": ([demo, "--port", "0", "--control", "{dir}/run/control"], GET, 5),
        "direct_demo_instructions": ([direct_demo, "--port", "0"], GET, 5),
        "echo_instructions": ([context.program("examples/echo"), "0", "{dir}/run/control"], b"x", 1),
        "direct_echo_instructions": ([context.program("tests/bench/direct_echo"), "0"], b"x", 1),
        "plain_echo_instructions": ([context.program("tests/bench/plain_echo"), "0"], b"x", 1),
    }
    samples = {name: [] for name in programs}
    context.say("instructions per request, by " + ("the processor's counter" if use_perf else "callgrind"))
    try:
        for _ in range(context.repeats(3, 1)):
            for name, (command, request, reply_bytes) in programs.items():
                samples[name].append(per_request(context, command, request, reply_bytes, use_perf))
    except Failure as failure:
        context.figures.missing("overhead", str(failure))
        return
    unit = "instructions/request"
    for name in ("direct_demo_instructions", "direct_echo_instructions", "plain_echo_instructions"):
        context.figures.add(name, samples[name], unit)
    context.figures.add("overhead", samples["demo_instructions"], unit, "direct_demo_instructions", "ratio <= 1.01")
    context.figures.add("overhead_echo", samples["echo_instructions"], unit, "direct_echo_instructions",
                        "ratio <= 1.01")
    context.figures.add("overhead_echo_plain", samples["echo_instructions"], unit, "plain_echo_instructions")
    throughput_with_and_without(context)


def throughput_with_and_without(context):
    context.say("throughput with the framework and without")
    requests = context.repeats(200000, 50000)
    with context.demo_server() as demo, context.demo_server(program="tests/bench/direct_demo_server") as direct:
        samples, ratio = in_turns((demo, direct), context.repeats(7, 3),
                                  lambda server: requests_per_second(server.port, "get", 1, requests))
    context.figures.add("direct_demo_throughput", samples[1], "requests/s")
    context.figures.add("overhead_throughput", samples[0], "requests/s", "direct_demo_throughput", "ratio >= 0.99",
                        ratio)
