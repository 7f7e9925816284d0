"""A network that loses connections: a relay whose connections all break when it is told so."""

import contextlib
import socket
import threading


class Cut:
    def __init__(self, port):
        self.towards = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.towards), timeout=10)
            far.settimeout(None)
            self.open.append((near, far))
            for one, other in [(near, far), (far, near)]:
                threading.Thread(target=self.relay, args=(one, other), daemon=True).start()

    @staticmethod
    def relay(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """Breaks what is open; new connections are taken."""
        connections, self.open = self.open, []
        for connection in connections:
            for end in connection:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        return len(connections)
