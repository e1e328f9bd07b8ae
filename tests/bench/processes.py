"""Servers and clients as child processes. Each server leads a session of its own, so that all that it starts (a
rehearsal, a custodian, workers) can be found, measured and ended."""

import glob
import json
import os
import re
import signal
import socket
import subprocess
import time

START_SECONDS = 60
CALM_SECONDS = 60


class Failure(Exception):
    """Something did not do what it was asked to. The message is for people; `failed` counts the requests that failed."""

    def __init__(self, message, failed=0):
        super().__init__(message)
        self.failed = failed


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def session_members(session):
    """The PIDs of a session's processes; those that have ended and wait for their parent are left out."""
    members = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="latin-1") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(path.split("/")[2]))
    return members


class Server:
    """A server from start to stop; a context manager. `ready` matches in its output; a first group is its port. Without
    it the server is ready when its port accepts. `pid_file`: for one that makes itself a daemon."""

    def __init__(self, command, ready, directory, port=0, control=None, pid_file=None):
        self.control = control
        self.port = port
        self.pid_file = pid_file
        self.command = command
        self._log_path = os.path.join(directory, "log")
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                             cwd=directory, start_new_session=True)
        self.session = self.pid = self._process.pid
        self._await(ready)
        if pid_file:
            self.session = self.pid = self.main_pid()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def output(self):
        with open(self._log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def main_pid(self):
        """The process that a signal is for."""
        if not self.pid_file:
            return self.pid
        with open(self.pid_file, encoding="ascii") as file:
            return int(file.read())

    def _ready(self, pattern):
        if pattern is None:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        match = re.search(pattern, self.output(), re.MULTILINE)
        if match and match.groups():
            self.port = int(match.group(1))
        return match is not None

    def _await(self, pattern):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._ready(pattern):
                return
            if self._process.poll() not in (None, 0):
                break
            time.sleep(0.01)
        self.stop()
        raise Failure("{} does not start: {}".format(self.command[0], self.output()[-2000:]))

    def running(self):
        return self._process.poll() is None

    def await_calm(self, processes=1):
        """Until only so many processes of it are left: the custodian has returned the old memory."""
        end = time.monotonic() + CALM_SECONDS
        while len(session_members(self.session)) > processes:
            if time.monotonic() > end:
                raise Failure("{}: an upgrade leaves processes behind".format(self.command[0]))
            time.sleep(0.02)

    def stop(self):
        """SIGTERM to all, then SIGKILL to what is left of the session."""
        for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            for pid in session_members(self.session):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + patience
            while time.monotonic() < end and (self._process.poll() is None or session_members(self.session)):
                time.sleep(0.01)


class Client:
    """stall_client or load_client: a line of JSON for each command."""

    def __init__(self, command):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self._read()
        self.skipped = first.get("skipped")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise Failure("a client ended early")
        return json.loads(line)

    def ask(self, command):
        """Raises Failure when the client says that something went wrong."""
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:  # Only stall_client has that.
            raise Failure(answer["error"], answer["failed"])
        return answer
