"""Starts and ends the broker under test, and reads what it says of itself."""

import ctypes
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

import mqtt_wire as wire

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("VIGILMQ_BINARY", ROOT / "build" / "release" / "vigilmq")).resolve()
START_LIMIT_S = 10
STOP_LIMIT_S = 15


def free_port():
    """A port that stays free while a broker is between two lives: not one of those that the kernel gives to clients, one
    of which would end up connected to itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(10000, first) if first > 11000 else 0))
            except OSError:
                continue
            return probe.getsockname()[1]


def environment(extra=None):
    """This process's, without what would configure a broker."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("VIGILMQ_") and key != "MQTT_KEEP_ALIVE_MONITORING_DELAY_MS"}
    return {**kept, **(extra or {})}


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)


def toml(settings, listener):
    lines = [f"{key} = {toml_value(value)}" for key, value in settings.items()]
    return "\n".join(lines + ["[[listener]]"] + [f"{key} = {toml_value(value)}" for key, value in listener.items()]) + "\n"


# For brokers without a directory of their own: nothing is to be found, or left, where a user's store would be.
NO_STORE = {"VIGILMQ_STORE__SYNC": "memory"}


def run(*arguments, env=None, timeout=10):
    """Runs the broker as a command that ends by itself."""
    return subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env=environment({**({} if "--test-config" in arguments else NO_STORE), **(env or {})}),
                          stdin=subprocess.DEVNULL)


def die_with_parent():
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Broker:
    """A broker with a directory of its own, in which also its store is. It can be ended and started again."""

    def __init__(self, directory, settings=None, listener=None, env=None, host="127.0.0.1", inside=(), dial=None, also=()):
        """`settings`: dotted keys; `listener`: keys of the only listener; `inside`: a command that runs the broker;
        `dial`: makes a connection to a port of the broker's own loopback, where that is not this machine's; `also`: more
        addresses to listen on."""
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.host, self.port = host, free_port()
        self.config = self.directory / "vigilmq.toml"
        self.log_file = self.directory / "broker.log"
        self.store = self.directory / "store"
        self.dial = dial or (lambda port: socket.create_connection(("127.0.0.1", port), timeout=10))
        self.settings = {"store.directory": str(self.store), **(settings or {})}
        self.listener = {"bind": [f"{host}:{self.port}", *also], **(listener or {})}
        self.env, self.inside = env, inside
        self.clients = []
        self.process = None
        self.start()

    def start(self):
        """On the port, in the directory and with the store of its earlier lives."""
        self.launch()
        self.wait_until_listening()
        return self

    def launch(self):
        """Starts it and does not wait for it."""
        assert self.process is None or not self.running(), "it runs"
        self.told_to_stop = False
        self.write_config()
        with open(self.log_file, "ab") as log:
            self.life_began = log.tell()
            self.process = subprocess.Popen(
                [*self.inside, str(BINARY), "--config", str(self.config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory, env=environment(self.env), preexec_fn=die_with_parent)

    @property
    def target(self):
        return self.host, self.port

    @property
    def pid(self):
        return self.process.pid

    def write_config(self):
        self.config.write_text(toml(self.settings, self.listener))

    def log(self):
        """What it has said in all its lives."""
        return self.log_file.read_text(errors="replace")

    def log_of_this_life(self):
        return self.log_file.read_bytes()[self.life_began:].decode(errors="replace")

    def wait_log(self, pattern, timeout=5, since=0):
        """The first match of the pattern in the log, from its `since`th character on; fails if it does not come."""
        limit = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.log()[since:], re.M)
            if match:
                return match
            assert time.monotonic() < limit, f"the log has no /{pattern}/:\n{self.log()[since:][-3000:]}"
            time.sleep(0.02)

    def wait_until_listening(self):
        limit = time.monotonic() + START_LIMIT_S
        while not re.search(rf"[Ll]istening.*:{self.port}\b", self.log_of_this_life()):
            code = self.process.poll()
            assert code is None, f"the broker ended at once with code {code}:\n{self.log_of_this_life()}"
            if time.monotonic() > limit:
                self.kill()
                raise AssertionError(f"the broker does not say that it listens on port {self.port}:\n{self.log()}")
            time.sleep(0.01)

    def running(self):
        return self.process.poll() is None

    def kill(self):
        """SIGKILL. It has no time to say or write anything."""
        if self.running():
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def restart(self, how="SIGKILL", down_s=0.0):
        """From one life into the next. Its clients are connected at the end."""
        if how == "SIGTERM":
            self.terminate()
        else:
            self.kill()
        self.drop_clients()
        time.sleep(down_s)
        return self.start()

    def tell_to_stop(self):
        # Once: a second signal means that there is no time for a decent end.
        if not self.told_to_stop and self.running():
            self.process.send_signal(signal.SIGTERM)
        self.told_to_stop = True

    def terminate(self):
        """SIGTERM, and what it promises: the broker ends with code 0, soon."""
        self.tell_to_stop()
        try:
            code = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end the broker within {STOP_LIMIT_S} s:\n{self.log()[-3000:]}") from None
        assert "broken invariant" not in self.log(), self.log()[-3000:]
        assert code == 0, f"the broker ended with code {code}:\n{self.log()[-3000:]}"

    # --- as a client
    def client(self, client_id=None, version=wire.V5, **how):
        """A raw client; connected if it is given an id. Lives until it is dropped or the test is over."""
        client = wire.Client(self.dial(self.port), version)
        self.clients.append(client)
        return client if client_id is None else client.connect(client_id, **how)

    def drop_clients(self):
        for client in self.clients:
            client.drop()
        self.clients.clear()

    def state(self, client_id, timeout=5):
        """$SYS/clients/<id>/state as the broker has it now; None if it knows nobody of that name."""
        asker = self.client("")
        try:
            asker.subscribe(f"$SYS/clients/{client_id}/state")
            return json.loads(asker.expect(wire.PUBLISH, timeout).payload)
        except TimeoutError:
            return None
        finally:
            asker.drop()

    def wait_state(self, client_id, wanted, timeout=5):
        """The state once `wanted(state)` holds."""
        limit = time.monotonic() + timeout
        while True:
            state = self.state(client_id, 0.5)
            if state is not None and wanted(state):
                return state
            assert time.monotonic() < limit, f"the state of {client_id} stays {state}"
            time.sleep(0.05)

    def events(self, client_id):
        return Events(self, client_id)


class Events:
    """Listens to what happens to one client from now on."""

    def __init__(self, broker, client_id):
        self.client = broker.client("")
        self.client.subscribe(f"$SYS/clients/{client_id}/event")

    def next(self, timeout=5):
        return json.loads(self.client.message(timeout).payload)

    def until(self, name, timeout=5):
        """All events up to the first of this name."""
        limit = time.monotonic() + timeout
        seen = []
        while not seen or seen[-1]["event"] != name:
            try:
                seen.append(self.next(max(0.01, limit - time.monotonic())))
            except TimeoutError:
                raise AssertionError(f"no event {name!r} within {timeout} s, but {seen}") from None
        return seen
