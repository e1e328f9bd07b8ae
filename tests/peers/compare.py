#!/usr/bin/env python3
"""Upgrades other servers as this project upgrades its own, and lays side by side what clients saw.

Each server is upgraded by its own means, under the same load, by liveexec-torture. Makes one table and
one page; every figure in them is of this run. Started by ./dev peers.
"""

import argparse
import html
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap

HERE = pathlib.Path(__file__).resolve().parent


class Peer:
    def __init__(self, name, kind, how, needs, arguments):
        self.name = name
        self.kind = kind  # its protocol
        self.how = how
        self.needs = needs  # programs
        self.arguments = arguments
        self.report = None
        self.problem = ""


def write_config(name, work):
    """A template whose PORT and DIR a shell command fills in when the server starts."""
    target = work / name
    shutil.copy(HERE / name, target)
    return target


def build_tableflip(work):
    """The server of tests/peers/tableflip, with the module from Debian's package."""
    environment = dict(
        os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=str(work / "gocache")
    )
    binary = work / "tableflip-echo"
    subprocess.run(
        ["go", "build", "-o", str(binary), str(HERE / "tableflip" / "main.go")],
        env=environment, check=True, capture_output=True, text=True,
    )
    return binary


def peers(work, root):
    haproxy = write_config("haproxy.cfg", work)
    fill = "sed -e s,DIR,{dir},g -e s,PORT,{port},"
    return [
        Peer("demo-server", "resp", "liveexec upgrade", [], [
            "--server", f"{root}/demo-server/demo-server --port {{port}} --control {{dir}}/run/control",
            "--upgrade", "liveexec"]),
        Peer("redis-server", "resp", "SHUTDOWN SAVE and a new start", ["redis-server", "redis-cli"], [
            "--server", f"sh {HERE}/redis_supervisor.sh {{port}} {{dir}}",
            "--pid-file", "{dir}/redis.pid.now",
            "--upgrade", f"sh {HERE}/redis_restart.sh {{port}}"]),
        Peer("echo (liveexec)", "echo", "liveexec upgrade", [], [
            "--server", f"{root}/examples/echo {{port}} {{dir}}/run/control",
            "--upgrade", "liveexec"]),
        Peer("echo (tableflip)", "echo", "SIGHUP", ["go"], [
            "--server", f"{work}/tableflip-echo {{port}} {{dir}}/pid",
            "--pid-file", "{dir}/pid", "--upgrade", "sighup"]),
        Peer("nginx", "http", "binary upgrade: USR2, QUIT", ["nginx"], [
            "--server", f"sh {HERE}/nginx_start.sh {{port}} {{dir}}",
            "--pid-file", "{dir}/nginx.pid",
            "--upgrade", f"sh {HERE}/nginx_upgrade.sh {{dir}}/nginx.pid"]),
        Peer("HAProxy", "http", "reload: USR2 to the master", ["haproxy"], [
            "--server", f"sh -c '{fill} {haproxy} >{{dir}}/conf; exec haproxy -W -db -f {{dir}}/conf'",
            "--upgrade", f"sh {HERE}/haproxy_reload.sh {{pid}}"]),
    ]


def run(peer, torture, options, directory):
    missing = [need for need in peer.needs if shutil.which(need) is None]
    if missing:
        peer.problem = f"{', '.join(missing)} is not installed"
        return
    command = [
        torture, "--name", peer.name, "--protocol", peer.kind, "--clients", str(options.clients), "--idle",
        str(options.idle), "--upgrades", str(options.upgrades), "--seed", str(options.seed), "--settle", "1000",
        "--quiet", "--report", str(directory),
    ] + peer.arguments
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    report = directory / "report.json"
    if done.returncode == 2 or not report.exists():
        peer.problem = (done.stderr or done.stdout).strip()[-400:]
        return
    peer.report = json.loads(report.read_text())


def mebibytes(size):
    return f"{size / 2**20:.0f} MiB"


COLUMNS = [
    ("connections kept", lambda r: f"{r['connections_kept']} of {r['connections']}"),
    ("requests failed", lambda r: f"{r['failed_requests']} of {r['requests']}"),
    ("connects refused", lambda r: str(r["connects_refused"])),
    ("bytes lost", lambda r: str(r["bytes_lost"])),
    ("writes lost", lambda r: str(r["anomaly_counts"].get("write-lost", 0)) if r["operations_checked"] else "–"),
    ("wait, median", lambda r: f"{r['gap_ms']['p50']:.1f} ms"),
    ("wait, worst", lambda r: f"{r['gap_ms']['max']:.1f} ms"),
    ("worst, no upgrade", lambda r: f"{r['quiet_gap_ms']['max']:.1f} ms"),
    ("PID kept", lambda r: "yes" if r["pid_before"] == r["pid_after"] else "no"),
    ("memory before", lambda r: mebibytes(r["resident_bytes_before"])),
    ("memory, peak", lambda r: mebibytes(r["peak_resident_bytes"])),
    ("processes after", lambda r: str(r["upgrades"][-1]["processes"]) if r["upgrades"] else "–"),
]


VERSIONS = {
    "redis-server": ["redis-server", "--version"],
    "nginx": ["nginx", "-v"],
    "HAProxy": ["haproxy", "-v"],
    "echo (tableflip)": ["go", "version"],
}


def version_of(peer):
    """What the program itself calls its version; empty for ours."""
    command = VERSIONS.get(peer.name)
    if command is None or shutil.which(command[0]) is None:
        return ""
    said = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
    return ("Go " if command[0] == "go" else "") + found.group(0) if found else ""


def print_table(found):
    width = max(len(peer.name) for peer in found)
    for peer in found:
        if peer.report is None:
            print(f"{peer.name:{width}}  did not run: {peer.problem}")
            continue
        print(f"{peer.name:{width}}  {peer.report['verdict']}: {peer.how}")
        for title, value in COLUMNS:
            print(f"{'':{width}}    {title:18} {value(peer.report)}")


STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1160px;
padding:24px 16px}h1{font-size:1.3rem}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{padding:6px 10px;border-bottom:1px solid #8885;text-align:right;white-space:nowrap;font-size:.88rem}
th:first-child{text-align:left;position:sticky;left:0;background:Canvas}.good{color:#18794e;font-weight:600}
.bad{color:#c62a2f;font-weight:600}.dim{opacity:.7}small{font-weight:400}
@media(prefers-color-scheme:dark){.good{color:#4cc38a}.bad{color:#ff6369}}
@media(max-width:600px){th:first-child{white-space:normal;min-width:5.5em}th,td{padding:6px}}
"""


def page(found, options):
    def cell(peer, value):
        return f"<td>{html.escape(value(peer.report))}</td>" if peer.report else "<td>–</td>"

    def verdict(peer):
        if peer.report is None:
            return f"<td class='bad' title='{html.escape(peer.problem)}'>did not run</td>"
        kind = "good" if peer.report["passed"] else "bad"
        return f"<td class='{kind}'>{html.escape(peer.report['verdict'])}</td>"

    head = "".join(f"<th>{html.escape(p.name)}<br><small>{html.escape(p.how)}</small></th>" for p in found)
    rows = "<tr><th>verdict</th>" + "".join(verdict(p) for p in found) + "</tr>"
    for title, value in COLUMNS:
        rows += f"<tr><th>{title}</th>" + "".join(cell(p, value) for p in found) + "</tr>"
    notes = "".join(f"<p>{html.escape(p.name)} did not run: {html.escape(p.problem)}</p>" for p in found if p.problem)
    seen = "".join(
        f"<li>{html.escape(p.name)}: "
        + (", ".join(f"{k} ×{v}" for k, v in p.report["anomaly_counts"].items()) or "nothing") + "</li>"
        for p in found if p.report)
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' "
        f"content='width=device-width,initial-scale=1'><title>Upgrades side by side</title><style>{STYLE}</style>"
        "<h1>What clients see of an upgrade</h1>"
        f"<p>{options.upgrades} upgrades each, {options.clients} busy clients and {options.idle} idle connections, "
        f"besides visitors; seed {options.seed}; all figures from one run on one machine.</p>"
        f"<div class='wide'><table><tr><th></th>{head}</tr>{rows}</table></div>"
        "<p class='dim'>A wait is the longest time between two replies to one busy client around one upgrade. "
        "A client that loses its connection connects again. Requests failed: those under way when a connection "
        f"was lost. Memory is that of all processes of the server. Bytes lost: parts of "
        f"replies that never came, those of lost connections included.</p>{notes}<h1>Seen</h1><ul>{seen}</ul></html>\n")


def markdown_table(found, titles):
    """One row for each server."""
    rows = ["| server | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    columns = dict(COLUMNS)
    for peer in found:
        cells = [columns[title](peer.report) if peer.report else "did not run" for title in titles]
        rows.append(f"| {peer.name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def wrapped(text):
    indent = "  " if text.startswith("- ") else ""
    return "\n".join(textwrap.wrap(text, 100, subsequent_indent=indent, break_on_hyphens=False))


def document(found, options, command):
    titles = [title for title, _ in COLUMNS]
    how = "\n".join(
        f"| {peer.name} | {version_of(peer)} | {peer.how} | {peer.report['verdict'] if peer.report else 'did not run'} |"
        for peer in found)
    seen = "\n".join(
        wrapped(f"- {peer.name}: "
                + (", ".join(f"{kind} ×{count}" for kind, count in peer.report["anomaly_counts"].items()) or "nothing"))
        for peer in found if peer.report)
    intro = (
        f"{options.upgrades} upgrades each, by the server's own means, under {options.clients} busy clients and "
        f"{options.idle} idle connections, besides visitors that come and go and, with the Redis protocol, clients "
        f"of shared keys, subscribers and timers; seed {options.seed}. Measured on {os.cpu_count()} processors, Linux "
        f"{'.'.join(platform.release().split('.')[:2])}; the machine's load average was {os.getloadavg()[0]:.1f} at the end.")
    return f"""# What clients see of an upgrade, side by side

Made by `{command}`, which measures everything
anew; every figure is of that one run.

{wrapped(intro)}

| server | version | upgraded by | gravest verdict |
|---|---|---|---|
{how}

## Connections and requests

{markdown_table(found, titles[:5])}

{wrapped("Connections: those that were to last. A client that loses its connection connects again. Requests failed: "
         "those under way when a connection was lost, or refused while the server was away. Bytes lost: parts of "
         "replies that never came, those of lost connections included. Writes lost: keys whose history no order "
         "of the operations explains.")}

## Waits

{markdown_table(found, titles[5:8])}

{wrapped("The longest time between two replies to one busy client around one upgrade; without one, over as long a "
         "time right after it: what the machine does by itself.")}

## The process

{markdown_table(found, titles[8:])}

{wrapped("Memory is that of all processes of the server together; what they share counts for each.")}

## All that was seen

{wrapped("How often, by verdict; [testing.md](testing.md) says what each means.")}

{seen}
"""


def main():
    parser = argparse.ArgumentParser(prog="./dev peers", description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="bazel-bin", help=argparse.SUPPRESS)
    parser.add_argument("--report", default="peers-report", help="directory for the page and each server's report")
    parser.add_argument("--upgrades", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--idle", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--document", help="write the page as Markdown there as well, as docs/peers.md")
    parser.add_argument("--only", action="append", help="this server alone; may be repeated")
    options = parser.parse_args()
    root = pathlib.Path(options.root).resolve()
    report = pathlib.Path(options.report)
    report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        found = [p for p in peers(work, root) if not options.only or p.name in options.only]
        for number, peer in enumerate(found, 1):
            print(f"{number} of {len(found)}: {peer.name}", file=sys.stderr)
            try:
                if "go" in peer.needs and shutil.which("go"):
                    build_tableflip(work)
                run(peer, str(root / "tests/harness/torture/liveexec-torture"), options,
                    report.resolve() / peer.name.replace(" ", "-"))
            except (subprocess.SubprocessError, OSError) as error:
                peer.problem = str(getattr(error, "stderr", "") or error)[-400:]
    print_table(found)
    (report / "peers.html").write_text(page(found, options))
    (report / "peers.json").write_text(json.dumps({p.name: p.report or p.problem for p in found}, indent=1))
    print(f"page: {report}/peers.html")
    if options.document:
        own = ("--root=", "--report=")  # where things lie does not change a figure
        command = " ".join(["./dev peers", *(a for a in sys.argv[1:] if not a.startswith(own))])
        pathlib.Path(options.document).write_text(document(found, options, command))
        print(f"document: {options.document}")
    return 1 if any(p.problem for p in found) else 0


if __name__ == "__main__":
    sys.exit(main())
