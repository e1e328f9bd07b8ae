#!/usr/bin/env python3
"""An echo server that executes its own file anew on SIGHUP.

    server.py PORT losing|keeping

losing: as most servers do it, with every connection closed. keeping: sockets and what is not yet sent
are handed to the new program.
"""

import os
import selectors
import signal
import socket
import sys

HANDED_OVER = "OWN_SERVER_STATE"


class Server:
    def __init__(self, port, keeps):
        self.keeps = keeps
        self.selector = selectors.DefaultSelector()
        self.unsent = {}
        self.upgrade_wanted = False
        self.listener = None
        self.adopt(os.environ.pop(HANDED_OVER, ""))
        if self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", port), backlog=511)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        # The byte that a signal leaves in this pair ends the wait in serve(), so that none is missed.
        self.wake_read, wake_write = socket.socketpair()
        self.wake_read.setblocking(False)
        wake_write.setblocking(False)
        self.wake_write = wake_write
        signal.set_wakeup_fd(wake_write.fileno())
        self.selector.register(self.wake_read, selectors.EVENT_READ)
        signal.signal(signal.SIGHUP, self.on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def on_hangup(self, _signal, _frame):
        self.upgrade_wanted = True

    def adopt(self, state):
        for part in filter(None, state.split(";")):
            kind, number, unsent = part.split(":")
            connection = socket.socket(fileno=int(number))
            connection.set_inheritable(False)
            if kind == "listener":
                self.listener = connection
            else:
                self.add(connection, bytes.fromhex(unsent))

    def add(self, connection, unsent=b""):
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unsent[connection] = unsent
        self.selector.register(connection, selectors.EVENT_READ)
        self.watch(connection)

    def watch(self, connection):
        # Reading waits until what was read has been sent: the kernel slows the peer down.
        wanted = selectors.EVENT_WRITE if self.unsent[connection] else selectors.EVENT_READ
        self.selector.modify(connection, wanted)

    def drop(self, connection):
        self.selector.unregister(connection)
        del self.unsent[connection]
        connection.close()

    def step(self, connection):
        try:
            if not self.unsent[connection]:
                self.unsent[connection] = connection.recv(4096)
                if not self.unsent[connection]:
                    return self.drop(connection)
            sent = connection.send(self.unsent[connection])
            self.unsent[connection] = self.unsent[connection][sent:]
        except BlockingIOError:
            pass
        except OSError:
            return self.drop(connection)
        return self.watch(connection)

    def upgrade(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a second one waits for the new program
        if self.keeps:
            state = [f"listener:{self.listener.fileno()}:"]
            self.listener.set_inheritable(True)
            for connection, unsent in self.unsent.items():
                connection.set_inheritable(True)
                state.append(f"connection:{connection.fileno()}:{unsent.hex()}")
            os.environ[HANDED_OVER] = ";".join(state)
        else:
            self.listener.close()
        os.execv(sys.executable, [sys.executable] + sys.argv)

    def serve(self):
        print(f"listening on {self.listener.getsockname()[1]}", flush=True)
        while not self.upgrade_wanted:
            for key, _ in self.selector.select():
                if key.fileobj is self.wake_read:
                    self.wake_read.recv(100)
                elif key.fileobj is self.listener:
                    try:
                        self.add(self.listener.accept()[0])
                    except BlockingIOError:
                        pass
                else:
                    self.step(key.fileobj)
        self.upgrade()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    Server(int(sys.argv[1]), sys.argv[2] == "keeping").serve()
