"""Mosquitto's bridge to VigilMQ with the settings that docs/bridging.md gives: both directions, both protocol versions,
notifications on, over restarts of either side."""

import shutil
import socket
import subprocess
import time

import pytest

import mqtt_wire as wire
from broker import die_with_parent, free_port

PROTOCOLS = ["mqttv311", "mqttv50"]


class Mosquitto:
    """A mosquitto with a bridge to the broker."""

    def __init__(self, directory, broker, protocol, topics="topic # both 1", more=()):
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        assert program, "mosquitto is not installed: script/bootstrap --test installs it"
        self.program, self.port, self.directory = program, free_port(), directory
        self.config = directory / "mosquitto.conf"
        self.config.write_text("\n".join([
            f"listener {self.port} 127.0.0.1", "allow_anonymous true",
            "persistence true", f"persistence_location {directory}/", "user root",
            "connection up", f"address {broker.host}:{broker.port}", f"bridge_protocol_version {protocol}",
            "cleansession false", "restart_timeout 1", topics, *more, ""]))
        self.process = None
        self.start()

    def start(self):
        self.log = open(self.directory / "mosquitto.log", "ab")
        self.process = subprocess.Popen([self.program, "-c", str(self.config), "-v"], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        limit = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < limit and self.process.poll() is None, "mosquitto does not start"
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()

    @property
    def target(self):
        return "127.0.0.1", self.port


@pytest.fixture
def bridge(tmp_path):
    running = []

    def start(broker, protocol, **how):
        running.append(Mosquitto(tmp_path, broker, protocol, **how))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.stop()


def client_of(target, client_id, **how):
    return wire.Client(socket.create_connection(target, timeout=10), wire.V311).connect(client_id, **how)


def subscriber(target, client_id, topic, **how):
    client = client_of(target, client_id, **how)
    client.subscribe(topic, qos=1)
    return client


def messages(client, quiet_s=1.5):
    """All that comes until nothing comes for a while."""
    came = []
    while True:
        try:
            came.append(client.message(timeout=quiet_s))
        except TimeoutError:
            return came


def payloads(client, quiet_s=1.5):
    return sorted(message.payload.decode() for message in messages(client, quiet_s))


def publish(target, topic, payload, retain=False):
    client = client_of(target, "publisher")
    client.publish(topic, payload.encode(), qos=1, retain=retain)
    client.disconnect()


def wait_for_state(broker, wanted, timeout=15):
    """Waits until the bridge's state in the broker is the one that is wanted: "1" connected, "0" not."""
    limit = time.monotonic() + timeout
    seen = None
    while time.monotonic() < limit:
        client = subscriber(broker.target, "state-reader", "$SYS/broker/connection/+/state")
        try:
            seen = client.message(timeout=0.3).payload.decode()
        except TimeoutError:
            seen = None
        client.disconnect()
        if seen == wanted:
            return
        time.sleep(0.1)
    raise AssertionError(f"the state of the bridge is {seen}, and not {wanted}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_messages_cross_in_both_directions_once(start_broker, bridge, protocol):
    broker = start_broker()
    mosquitto = bridge(broker, protocol)
    wait_for_state(broker, "1")
    here = subscriber(broker.target, "here", "t/#")
    there = subscriber(mosquitto.target, "there", "t/#")
    publish(mosquitto.target, "t/1", "from mosquitto")
    publish(broker.target, "t/2", "from VigilMQ")
    assert payloads(here) == ["from VigilMQ", "from mosquitto"]
    assert payloads(there) == ["from VigilMQ", "from mosquitto"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_retained_messages_are_retained_on_the_other_side(start_broker, bridge, protocol):
    broker = start_broker()
    mosquitto = bridge(broker, protocol)
    wait_for_state(broker, "1")
    publish(mosquitto.target, "t/1", "a", retain=True)
    publish(broker.target, "t/2", "b", retain=True)
    time.sleep(1)
    for target in (broker.target, mosquitto.target):
        late = subscriber(target, "late", "t/#")
        assert sorted(m.payload.decode() for m in messages(late) if m.retain) == ["a", "b"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_while_a_side_is_down(start_broker, bridge, protocol):
    """What is published at QoS 1 on one side while the other is down arrives when that is back."""
    broker = start_broker()
    mosquitto = bridge(broker, protocol)
    wait_for_state(broker, "1")
    subscriber(broker.target, "here", "t/#", clean=False).drop()
    broker.kill()
    publish(mosquitto.target, "t/1", "while VigilMQ was down")
    broker.start()
    here = client_of(broker.target, "here", clean=False)
    assert here.message(timeout=20).payload == b"while VigilMQ was down"
    here.drop()
    mosquitto.stop()
    wait_for_state(broker, "0")
    publish(broker.target, "t/2", "while mosquitto was down", retain=True)
    mosquitto.start()
    there = subscriber(mosquitto.target, "there", "t/2")
    assert there.message(timeout=20).payload == b"while mosquitto was down"
