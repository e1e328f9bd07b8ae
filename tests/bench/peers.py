"""What clients notice of an upgrade, here and elsewhere, under the same load (benchmark 3).

4 clients with a request under way at all times, 1,000 that send one every 100 ms, all with keep-alive connections which
they make anew when the server closes them. PING for demo-server and redis-server, GET / for the others."""

import os
import shutil
import signal
import time

import peer_servers
from context import GIB
from data import fill, mode_options
from memory import Sampler, proportional_memory
from processes import Failure, Server, session_members
from throughput import redis_server

BUSY = 4
PACED = 1000
MILLISECONDS = 1e6
BEFORE_SECONDS = 0.5
AFTER_SECONDS = 0.5
PATIENCE_SECONDS = 90
# Looking at the pages of a gigabyte keeps its server waiting.
LARGE_INTERVAL = 0.5


def watch(context, server, protocol, upgrade, interval=0.02):
    """One upgrade under load: what load_client counted, and the memory, looked at each `interval` seconds."""
    with context.load_client(server, protocol, BUSY, PACED) as client:
        if client.skipped:
            raise Failure(client.skipped)
        time.sleep(BEFORE_SECONDS)
        before = proportional_memory(server.session)
        client.ask("begin")
        with Sampler(lambda: proportional_memory(server.session), interval=interval) as sampler:
            upgrade(server)
            end = time.monotonic() + PATIENCE_SECONDS
            while not client.ask("new")["all_new"]:
                if time.monotonic() > end:
                    raise Failure("not all connections are served by the new program")
                time.sleep(0.02)
            time.sleep(AFTER_SECONDS)
        seen = client.ask("end")
    seen["peak_memory"] = sampler.peak / before
    seen["pid_kept"] = int(protocol == "resp" and server.pid in session_members(server.session))
    return seen


COLUMNS = (("failed", "failed", "requests", 1), ("dropped", "dropped", "connections", 1),
           ("worst", "worst_ns", "ms", MILLISECONDS), ("all_new", "all_new_ns", "ms", MILLISECONDS),
           ("peak_memory", "peak_memory", "times before", 1), ("pid_kept", "pid_kept", "1: yes, 0: no", 1))


def add(context, name, runs):
    for column, key, unit, divisor in COLUMNS:
        ours = "upgrade_" + column
        context.figures.add("{}_{}".format(name, column), [run[key] / divisor for run in runs], unit,
                            ours if name != "upgrade" else None)


def systems(context):
    """(name, protocol, start, upgrade, the reason why not)."""
    yield "upgrade", "resp", context.demo_server, peer_servers.upgrade_by_hangup, None
    for name, start, upgrade in (
            ("nginx", lambda: peer_servers.start_nginx(context), peer_servers.upgrade_nginx),
            ("haproxy", lambda: peer_servers.start_haproxy(context), peer_servers.upgrade_haproxy)):
        yield name, "http", start, upgrade, None if shutil.which(name) else name + " is not installed"
    try:
        program = peer_servers.build_tableflip(context)
        yield ("tableflip", "http", lambda: peer_servers.start_tableflip(context, program),
               peer_servers.upgrade_by_hangup, None)
    except Failure as failure:
        yield "tableflip", "http", None, None, str(failure)


def peers(context):
    if not context.wants("upgrade_", "nginx_", "haproxy_", "tableflip_"):
        return
    rounds = context.repeats(7, 2)
    runs, reasons = {}, {}
    everybody = list(systems(context))
    for number in range(rounds):
        context.say("upgrades under load, round {} of {}".format(number + 1, rounds))
        for name, protocol, start, upgrade, reason in everybody:
            if reason or name in reasons:
                reasons[name] = reason or reasons[name]
                continue
            try:
                with start() as server:
                    runs.setdefault(name, []).append(watch(context, server, protocol, upgrade))
            except Failure as failure:
                reasons[name] = str(failure)
    for name, *_ in everybody:
        if name in reasons:
            context.figures.missing(name + "_failed", reasons[name])
        else:
            add(context, name, runs[name])
    context.failed += [run["failed"] for run in runs.get("upgrade", [])]


def restart_redis(servers, context):
    """SHUTDOWN SAVE, and the same server again with the same directory. `servers` holds the running one."""
    def restart(server):
        os.kill(server.pid, signal.SIGTERM)  # With a save point configured, the same as SHUTDOWN SAVE.
        end = time.monotonic() + PATIENCE_SECONDS
        while server.running():
            if time.monotonic() > end:
                raise Failure("redis-server does not end")
            time.sleep(0.005)
        servers.append(Server(server.command, r"[Rr]eady to accept", context.directory(), port=server.port))
    return restart


def outage(context):
    """1 GiB of data: our upgrade, and redis-server saved and started again."""
    if not context.wants("outage_1g", "redis_restart_"):
        return
    rounds = context.repeats(3, 1)
    ours, theirs = [], []
    options = mode_options(context, "resident") or ()
    servers = []
    try:
        with context.demo_server(*options) as demo:
            fill(demo.port, GIB)
            servers.append(redis_server(context, "--save", "3600 1"))
            fill(servers[0].port, GIB)
            for number in range(rounds):
                context.say("outage with 1 GiB, round {} of {}".format(number + 1, rounds))
                theirs.append(watch(context, servers[-1], "resp", restart_redis(servers, context), LARGE_INTERVAL))
                for _ in range(context.repeats(5, 3)):
                    ours.append(watch(context, demo, "resp", peer_servers.upgrade_by_hangup, LARGE_INTERVAL))
                    demo.await_calm()
        context.figures.add("redis_restart_1g", [run["outage_ns"] / MILLISECONDS for run in theirs], "ms")
        context.figures.add("outage_1g", [run["outage_ns"] / MILLISECONDS for run in ours], "ms", "redis_restart_1g",
                            "ratio <= 0.001")
        context.figures.add("outage_1g_dropped", [run["dropped"] for run in ours], "connections", None, "value <= 0")
        add(context, "redis_restart", theirs)
    except Failure as failure:
        context.figures.missing("outage_1g", str(failure))
    finally:
        for server in servers:
            server.stop()
    context.failed += [run["failed"] for run in ours]
