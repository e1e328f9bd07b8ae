"""How much memory a server and all that it starts take, from moment to moment."""

import threading
import time

from processes import session_members

INTERVAL_SECONDS = 0.002


def shared_memory():
    """Bytes of shared memory and memory files on the whole machine, mapped or not."""
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("Shmem:"):
                return int(line.split()[1]) << 10
    return 0


def _field(path, name):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def _address_space(pid):
    """The same for processes that share one: its random addresses."""
    try:
        with open("/proc/{}/auxv".format(pid), "rb") as file:
            return file.read()
    except OSError:
        return b""


def memory_of_session(session, shared_before):
    """Anonymous memory of a session's address spaces, each counted once (a custodian shares the server's until exec),
    and the shared memory that the machine has more than `shared_before`: memory files count though nobody maps them."""
    spaces = {}
    for pid in session_members(session):
        space = _address_space(pid)
        if space:
            spaces[space] = _field("/proc/{}/status".format(pid), "RssAnon:")
    return sum(spaces.values()) + max(0, shared_memory() - shared_before)


def proportional_memory(session):
    """For servers that fork: pages that processes share are divided among them."""
    return sum(_field("/proc/{}/smaps_rollup".format(pid), "Pss:") for pid in session_members(session))


class Sampler:
    """Calls `measure` again and again on a thread while its block runs; `peak` is the largest."""

    def __init__(self, measure, interval=INTERVAL_SECONDS):
        self._measure = measure
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.peak = measure()

    def _run(self):
        while not self._stopped.is_set():
            self.peak = max(self.peak, self._measure())
            time.sleep(self._interval)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()
