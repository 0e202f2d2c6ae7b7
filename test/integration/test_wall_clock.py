"""The wall clock of the broker is set, while it runs and between its lives: what has expired does not depend on it."""

import mmap
import re
import struct
import subprocess
import time

import pytest

import mqtt_wire as wire

DAY_S = 86400
KEPT = {"session_expiry_interval": 100 * DAY_S}


class Clock:
    def __init__(self, library, control):
        control.write_bytes(bytes(8))
        with open(control, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8)
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK_SHIFT": str(control)}
        self.shift_s = 0

    def set(self, shift_s):
        """Ahead of this machine's clock by so much, from now on."""
        self.memory[:] = struct.pack("q", int(shift_s * 1000))
        self.shift_s = shift_s

    def now_ms(self):
        return (time.time() + self.shift_s) * 1000


@pytest.fixture
def clock(compiled, tmp_path):
    return Clock(compiled("wall_clock.c", "wall_clock.so", "-shared", "-fPIC", "-ldl"), tmp_path / "clock")


@pytest.fixture
def start_at(start_broker, clock):
    """A broker that starts when the clock is ahead by so much."""

    def start(shift_s, settings=None):
        clock.set(shift_s)
        return start_broker(settings, env=clock.env)

    return start


@pytest.fixture
def reboot(compiled):
    """What the broker's store says of the start of the machine is not true any more."""

    def forget(broker):
        program = compiled("store_format.c", "store_format", "-lrocksdb")
        subprocess.run([program, broker.store, "1", "boot"], check=True, timeout=20)

    return forget


def session(broker, client_id, expiry_s=100 * DAY_S, **how):
    return broker.client(client_id, clean=False, props={"session_expiry_interval": expiry_s}, **how)


def away(broker, client_id, *filters, **how):
    client = session(broker, client_id, **how)
    if filters:
        client.subscribe(*filters, qos=1)
    client.drop()


def publish(broker, topic, payload, expiry_s, **how):
    writer = broker.client("writer")
    writer.publish(topic, payload, 1, props={"message_expiry_interval": expiry_s}, **how)
    writer.disconnect()


def received(client, seconds=0.4):
    messages = []
    try:
        while True:
            messages.append(client.message(seconds).payload)
    except TimeoutError:
        return messages


def retained(broker, topic):
    reader = broker.client("reader")
    reader.subscribe(topic, qos=1)
    return received(reader)


@pytest.mark.parametrize("sync", ["process", "memory"])
def test_steps_while_it_runs(start_at, clock, sync):
    """What waits for an absent client, and what is retained, expires when its time has passed. [MQTT-3.3.2-5]"""
    broker = start_at(0, {"store.sync": sync})
    away(broker, "away", "t")
    for step_s, expiry_s, comes in ((30 * DAY_S, DAY_S, True), (3600, 600, True), (-40 * DAY_S, 2, False)):
        publish(broker, "t", b"waits", expiry_s)
        publish(broker, "r", b"kept", expiry_s, retain=True)
        clock.set(clock.shift_s + step_s)
        time.sleep(1.5 if comes else 3)
        back = session(broker, "away")
        assert received(back) == ([b"waits"] if comes else [])
        assert retained(broker, "r") == ([b"kept"] if comes else [])
        back.drop()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("noticed", [True, False])
def test_a_step_and_a_restart(start_at, clock, how, noticed):
    """Forward by a month, noticed or not: sessions, what they wait for, retained messages and delayed wills are there,
    and what is short-lived ends when its time has passed. [MQTT-3.1.2-23, MQTT-3.1.2-8, MQTT-3.3.2-5]"""
    broker = start_at(-30 * DAY_S)
    away(broker, "away", "t", expiry_s=DAY_S)
    away(broker, "soon-gone", expiry_s=4)
    away(broker, "doomed", will=wire.Will("will", b"too early", props={"will_delay_interval": 3600}), expiry_s=DAY_S)
    away(broker, "dying", will=wire.Will("will", b"due", 1, True, props={"will_delay_interval": 4}), expiry_s=DAY_S)
    publish(broker, "t", b"waits", DAY_S)
    publish(broker, "t", b"short", 4)
    publish(broker, "r", b"kept", DAY_S, retain=True)
    began = time.monotonic()
    clock.set(0)
    if noticed:
        broker.wait_log("wall clock was set forward by 30 d", timeout=3)
    broker.restart(how)
    assert "was set" in broker.log()
    assert retained(broker, "#") == [b"kept"]
    time.sleep(max(0.0, began + 4.5 - time.monotonic()))
    back = session(broker, "away", DAY_S)
    assert back.connack.session_present
    assert received(back) == [b"waits"]
    assert not session(broker, "soon-gone", 4).connack.session_present
    assert retained(broker, "will") == [b"due"]


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_steps_and_a_reboot(start_at, clock, reboot, how):
    """The next start of the machine corrects its clock by the steps that were noticed. [MQTT-3.1.2-23]"""
    broker = start_at(-30 * DAY_S)
    away(broker, "away", "t", expiry_s=DAY_S)
    away(broker, "soon-gone", expiry_s=5)
    publish(broker, "t", b"waits", DAY_S)
    began = time.monotonic()
    for shift_s in (5 * DAY_S, 0):
        log = len(broker.log())
        clock.set(shift_s)
        broker.wait_log("wall clock was set", timeout=3, since=log)
    time.sleep(0.3)  # the log comes first
    broker.terminate() if how == "SIGTERM" else broker.kill()
    reboot(broker)
    broker.start()
    assert "was set" not in broker.log_of_this_life()
    time.sleep(max(0.0, began + 5.5 - time.monotonic()))
    back = session(broker, "away", DAY_S)
    assert back.connack.session_present
    assert received(back) == [b"waits"]
    assert not session(broker, "soon-gone", 5).connack.session_present


def test_a_machine_without_a_clock_of_its_own(start_at, clock, reboot):
    """After a reboot the clock is ten years behind, and is set right later: nothing expires early, newer messages replace
    older ones, and time goes on. [MQTT-3.1.2-23, MQTT-3.3.2-5]"""
    broker = start_at(0)
    away(broker, "away", "t", expiry_s=DAY_S)
    publish(broker, "t", b"waits", DAY_S)
    publish(broker, "r", b"first", DAY_S, retain=True)
    broker.kill()
    reboot(broker)
    clock.set(-3650 * DAY_S)
    broker.start()
    assert re.search("was set back by 36(49|50) d", broker.log_of_this_life())
    assert retained(broker, "r") == [b"first"]
    publish(broker, "r", b"second", DAY_S, retain=True)
    assert retained(broker, "r") == [b"second"]
    away(broker, "soon-gone", expiry_s=2)
    clock.set(0)
    broker.wait_log("wall clock was set forward by 36(49|50) d", timeout=3)
    time.sleep(2.5)
    assert not session(broker, "soon-gone", 2).connack.session_present
    broker.restart("SIGKILL")
    back = session(broker, "away", DAY_S)
    assert back.connack.session_present
    assert received(back) == [b"waits"]
    assert retained(broker, "r") == [b"second"]


def test_presence_follows_the_wall_clock(start_at, clock):
    """Times of this life of the broker are corrected by a step; those of earlier ones stay as they were told."""
    broker = start_at(0)
    away(broker, "earlier")
    earlier = broker.wait_state("earlier", lambda state: state["connectionState"] == "DISCONNECTED")
    broker.restart("SIGTERM")
    there = broker.client("there", keep_alive=30)
    before = broker.state("there")
    clock.set(DAY_S)
    after = broker.wait_state("there", lambda state: state["connectedAt"] != before["connectedAt"])
    assert abs(after["connectedAt"] - before["connectedAt"] - DAY_S * 1000) < 1000
    assert after["history"][0]["at"] == after["connectedAt"]
    assert abs(after["lastSeenAt"] + 45_000 - after["deadlineAt"]) <= 1
    there.ping()
    assert abs(broker.state("there")["lastSeenAt"] - clock.now_ms()) < 2000
    there.disconnect()
    gone = broker.wait_state("there", lambda state: state["connectionState"] == "DISCONNECTED")
    assert abs(gone["disconnectedAt"] - clock.now_ms()) < 3000
    assert 0 <= gone["disconnectedAt"] - gone["connectedAt"] < 20_000
    assert broker.state("earlier")["disconnectedAt"] == earlier["disconnectedAt"]
    # And so they stay in the next life.
    broker.restart("SIGKILL")
    assert broker.state("there")["disconnectedAt"] == gone["disconnectedAt"]
    assert broker.state("earlier")["disconnectedAt"] == earlier["disconnectedAt"]
