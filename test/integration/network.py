"""Two machines with a cable between them that can be cut: network namespaces and a veth pair.

A cut cable is silence: neither FIN nor RST arrives anywhere, and what is sent is lost.
"""

import ctypes
import itertools
import os
import re
import socket
import subprocess
import threading

PREFIX = "vigilmq-test-"
CLONE_NEWNET = 0x40000000

_numbers = itertools.count(1)


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def remove_leftovers():
    """Namespaces of test runs that are no more."""
    for line in ip("netns", "list").splitlines():
        match = re.match(rf"{PREFIX}(\d+)-", line)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            subprocess.run(["ip", "netns", "del", line.split()[0]], capture_output=True)


class Cable:
    """The broker's machine and the clients' machine. Addresses exist inside the two namespaces only."""

    def __init__(self):
        remove_leftovers()
        number = next(_numbers)
        base = f"{PREFIX}{os.getpid()}-{number}"
        self.broker_side, self.client_side = f"{base}-broker", f"{base}-client"
        self.broker_address, self.client_address = f"10.213.{number % 250}.1", f"10.213.{number % 250}.2"
        self.made = []
        try:
            for side in (self.broker_side, self.client_side):
                ip("netns", "add", side)
                self.made.append(side)
                ip("-n", side, "link", "set", "lo", "up")
            ip("-n", self.broker_side, "link", "add", "veth-broker", "type", "veth", "peer", "name", "veth-client",
               "netns", self.client_side)
            for side, link, address in ((self.broker_side, "veth-broker", self.broker_address),
                                        (self.client_side, "veth-client", self.client_address)):
                ip("-n", side, "addr", "add", f"{address}/24", "dev", link)
                ip("-n", side, "link", "set", link, "up")
        except subprocess.CalledProcessError:
            self.remove()
            raise

    def remove(self):
        for side in self.made:
            subprocess.run(["ip", "netns", "del", side], capture_output=True)
        self.made = []

    def cut(self):
        ip("-n", self.client_side, "link", "set", "veth-client", "down")

    def mend(self):
        ip("-n", self.client_side, "link", "set", "veth-client", "up")

    def inside_broker_side(self):
        return "ip", "netns", "exec", self.broker_side

    def connect(self, side, target):
        """A TCP connection made from inside a namespace. The socket stays there; this process does not."""
        result = []

        def work():
            try:
                with open(f"/run/netns/{side}") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(socket.create_connection(target, timeout=5))
            except OSError as error:
                result.append(error)

        # A namespace belongs to a thread: this one ends with the function.
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(result[0], OSError):
            raise result[0]
        return result[0]
