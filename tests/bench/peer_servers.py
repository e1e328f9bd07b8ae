"""The servers that an upgrade is compared with, each set up and upgraded as its documentation says. All answer an HTTP
request with the PID of the process that serves it."""

import os
import shutil
import signal
import subprocess
import time

from processes import Failure, Server, free_port

PATIENCE_SECONDS = 20

NGINX = """
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 200 "$pid"; }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 8192
defaults
  mode http
  timeout client 600s
  timeout http-keep-alive 600s
frontend bench
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain lf-string "%pid"
"""


def _await(condition, what):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Failure("waited in vain for " + what)
        time.sleep(0.005)


def _write(directory, name, text, port):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text.format(directory=directory, port=port))
    return path


def start_nginx(context):
    directory, port = context.directory(), free_port()
    os.chmod(directory, 0o755)  # Its workers run as another user.
    path = _write(directory, "nginx.conf", NGINX, port)
    return Server([shutil.which("nginx"), "-c", path, "-e", directory + "/error.log"], None, directory, port=port,
                  pid_file=directory + "/nginx.pid")


def upgrade_nginx(server):
    """USR2 to the master starts the new one; QUIT ends the old one gracefully, once the new one has its workers."""
    old = server.main_pid()
    os.kill(old, signal.SIGUSR2)
    _await(lambda: os.path.exists(server.pid_file + ".oldbin") and os.path.exists(server.pid_file),
           "nginx's new master")
    new = server.main_pid()

    def workers():
        with open("/proc/{0}/task/{0}/children".format(new), encoding="ascii") as file:
            return len(file.read().split())

    _await(lambda: workers() >= 2, "nginx's new workers")
    os.kill(old, signal.SIGQUIT)


def start_haproxy(context):
    directory, port = context.directory(), free_port()
    path = _write(directory, "haproxy.cfg", HAPROXY, port)
    return Server([shutil.which("haproxy"), "-W", "-db", "-f", path], None, directory, port=port)


def upgrade_haproxy(server):
    os.kill(server.pid, signal.SIGUSR2)


def build_tableflip(context):
    """The program's path. Failure when Go or the module is not installed."""
    packages = "/usr/share/gocode"
    if not shutil.which("go") or not os.path.isdir(packages + "/src/github.com/cloudflare/tableflip"):
        raise Failure("Go and tableflip are not installed (golang-go, golang-github-cloudflare-tableflip-dev)")
    program = os.path.join(context.directory(), "tableflip_server")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tableflip_server.go")
    environment = dict(os.environ, GO111MODULE="off", GOPATH=packages)
    result = subprocess.run(["go", "build", "-o", program, source], env=environment, stderr=subprocess.PIPE, text=True,
                            check=False)
    if result.returncode != 0:
        raise Failure("tableflip_server does not build: " + result.stderr.strip()[:200])
    return program


def start_tableflip(context, program):
    directory, port = context.directory(), free_port()
    return Server([program, "-listen", "127.0.0.1:{}".format(port)], None, directory, port=port)


def upgrade_by_hangup(server):
    os.kill(server.pid, signal.SIGHUP)
