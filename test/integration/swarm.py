"""Many connected clients in one thread, that ping, or keep silent."""

import selectors
import socket
import time

import mqtt_wire as wire


class Member:
    def __init__(self, sock, client_id):
        self.sock, self.client_id = sock, client_id
        self.buffer = b""
        self.pings = self.answers = 0
        self.closed_at = None


class Swarm:
    def __init__(self, broker, prefix, count, keep_alive, version=wire.V5):
        self.selector = selectors.DefaultSelector()
        self.members = []
        for number in range(count):
            client = broker.client(f"{prefix}-{number}", version, keep_alive=keep_alive)
            client.sock.setblocking(False)
            member = Member(client.sock, f"{prefix}-{number}")
            self.members.append(member)
            self.selector.register(client.sock, selectors.EVENT_READ, member)

    def ping_all(self):
        for member in self.members:
            if member.closed_at is None:
                try:
                    member.sock.send(wire.PING)
                    member.pings += 1
                except OSError:
                    self.lost(member)

    def lost(self, member):
        member.closed_at = time.monotonic()
        self.selector.unregister(member.sock)

    def listen(self, until):
        while (left := until - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                member = key.data
                try:
                    data = member.sock.recv(4096)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                member.buffer += data
                if not data:
                    self.lost(member)
                while member.buffer.startswith(b"\xd0\x00"):
                    member.buffer = member.buffer[2:]
                    member.answers += 1

    def ping_for(self, seconds, every=0.5):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self.ping_all()
            self.listen(min(end, now + every))

    def dead(self):
        """Who was disconnected, with what the broker said last."""
        return [(member.client_id, member.buffer.hex()) for member in self.members if member.closed_at is not None]

    def close(self):
        for member in self.members:
            member.sock.close()
