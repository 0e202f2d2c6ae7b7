"""Who is silent, who is not, and what the broker does about it."""

import time

import pytest

import mqtt_wire as wire

TICK_S = 0.1
# What a busy machine may add. How exact the broker is, bench/ measures.
LATE_S = 1.0

every_version = pytest.mark.parametrize("version", [wire.V31, wire.V311, wire.V5])


@every_version
def test_silence_ends_after_one_and_a_half_periods(broker, name, version):
    """Never early; at most a tick late; a 5.0 client hears why. [MQTT-3.1.2-22, MQTT3-3.1.2-24]"""
    watcher = broker.client(f"w-{name}")
    watcher.subscribe(f"{name}/will", qos=1)
    client = broker.client(version=version)
    sent = time.monotonic()
    client.connect(name, keep_alive=2, will=wire.Will(f"{name}/will", qos=1))
    packets = client.until_closed(3 + TICK_S + LATE_S + 1)
    waited = time.monotonic() - sent
    assert 3.0 <= waited <= 3 + TICK_S + LATE_S
    told = [(packet.kind, packet.reason) for packet in packets]
    assert told == ([(wire.DISCONNECT, 0x8D)] if version == wire.V5 else [])
    assert watcher.message().payload == b"gone"
    state = broker.state(name)
    assert (state["disconnectReason"], state["keepAliveTimeouts"]) == ("KEEP_ALIVE_TIMEOUT", 1)
    broker.wait_log(rf"Client {name} at \S+ disconnected: KEEP_ALIVE_TIMEOUT \(silent for \d+ ms\)\.$")


def test_any_packet_is_a_sign_of_life(broker, name):
    """Not PINGREQ alone counts; what the broker sends does not."""
    talking = broker.client(f"t-{name}", keep_alive=1)
    listening = broker.client(f"l-{name}", keep_alive=1)
    listening.subscribe(name)
    packets = [wire.publish(name, "x"), wire.subscribe(1, [("a", 0)]), wire.unsubscribe(2, ["a"]),
               wire.publish(name, "x", 1, 3), wire.PING]
    began = time.monotonic()
    for number in range(15):
        talking.send(packets[number % len(packets)])
        time.sleep(0.2)
    assert time.monotonic() - began >= 3
    assert [packet.kind for packet in drain(talking)].count(wire.PINGRESP) == 3
    packets = listening.until_closed(1)
    assert packets[-1].kind == wire.DISCONNECT and packets[-1].reason == 0x8D
    assert len([packet for packet in packets if packet.kind == wire.PUBLISH]) >= 2
    assert broker.state(f"t-{name}")["connectionState"] == "CONNECTED"


def drain(client, seconds=0.2):
    packets = []
    while True:
        try:
            packets.append(client.recv(seconds))
        except TimeoutError:
            return packets


@every_version
def test_k_0_stays_0(broker, name, version):
    """A client that asked for no keep alive is not given one. [MQTT-3.2.2-22]"""
    client = broker.client(name, version, keep_alive=0)
    assert client.connack.get("server_keep_alive") is None
    client.quiet(7)
    state = broker.state(name)
    assert (state["connectionState"], state["keepAliveSeconds"], state["deadlineAt"]) == ("CONNECTED", 0, None)
    client.ping()


def test_server_keep_alive_is_told_and_kept(start_broker):
    """[MQTT-3.2.2-22]"""
    broker = start_broker({"keep_alive.max_s": 2})
    for asked, told in ((0, 2), (60, 2), (2, None), (1, None)):
        client = broker.client(f"asks-{asked}", keep_alive=asked)
        assert client.connack.get("server_keep_alive") == told
        client.drop()
    client = broker.client("dev", keep_alive=0)
    began = time.monotonic()
    packets = client.until_closed(5)
    assert 3.0 - 0.05 <= time.monotonic() - began <= 3 + TICK_S + LATE_S
    assert packets[-1].reason == 0x8D


@pytest.mark.parametrize("policy", ["allow", "enforce", "reject"])
def test_a_3_x_client_above_the_cap(start_broker, policy):
    broker = start_broker({"keep_alive.max_s": 1, "keep_alive.over_max_v3": policy})
    client = broker.client(version=wire.V311)
    client.send_connect("dev", keep_alive=60)
    answer = client.expect(wire.CONNACK)
    if policy == "reject":
        assert answer.reason != 0
        client.until_closed(1)
        return
    assert answer.reason == 0
    if policy == "allow":
        client.quiet(2.5)
    else:
        assert client.until_closed(1.5 + TICK_S + LATE_S) == []


def test_a_publish_that_drips_is_no_sign_of_life(broker, name):
    """One byte a second of a packet that never ends: cut off like a silent client. [MQTT-3.1.2-22]"""
    client = broker.client(name, keep_alive=2)
    message = wire.publish(name, b"x" * 1000)
    began = time.monotonic()
    for number in range(20):
        try:
            client.send(message[number:number + 1])
            client.quiet(1)
        except (AssertionError, wire.Closed, OSError):
            break
    waited = time.monotonic() - began
    assert 3.0 - 0.05 <= waited <= 3 + TICK_S + LATE_S + 1
    assert broker.state(name)["disconnectReason"] == "KEEP_ALIVE_TIMEOUT"


def test_a_large_publish_that_arrives_slowly_is_one(broker, name):
    """3 KiB a second, three times the rate that is asked for: nobody cuts it off, and it arrives whole."""
    reader = broker.client(f"r-{name}", keep_alive=0)
    reader.subscribe(name)
    client = broker.client(name, keep_alive=1)
    payload = bytes(range(256)) * 48
    message = wire.publish(name, payload, 1, 1)
    began = time.monotonic()
    for at in range(0, len(message), 512):
        client.send(message[at:at + 512])
        time.sleep(1 / 6)
    assert time.monotonic() - began > 3.5
    assert client.expect(wire.PUBACK).reason == 0
    assert reader.message().payload == payload


def test_one_who_does_not_introduce_itself(start_broker):
    """limits.connect_timeout_s, also for half a CONNECT."""
    broker = start_broker({"limits.connect_timeout_s": 1})
    silent, half = broker.client(), broker.client()
    half.send(wire.connect("dev")[:-2])
    began = time.monotonic()
    assert silent.until_closed(3) == half.until_closed(3) == []
    assert time.monotonic() - began >= 0.9
    broker.wait_log("CONNECT_TIMEOUT")


def test_the_tick_is_the_environments(start_broker):
    """MQTT_KEEP_ALIVE_MONITORING_DELAY_MS wins over the file: with a tick of 20 s nobody is found in 5."""
    broker = start_broker({"keep_alive.monitoring_delay_ms": 10}, env={"MQTT_KEEP_ALIVE_MONITORING_DELAY_MS": "20000"})
    broker.wait_log("every 20000 ms")
    client = broker.client("dev", keep_alive=1)
    client.quiet(4)


def test_at_risk_comes_before_the_end(broker, name):
    """Silent for one period: at risk. One who speaks again has recovered."""
    events = broker.events(name)
    client = broker.client(name, keep_alive=1)
    assert [event["event"] for event in events.until("atRisk")] == ["connected", "atRisk"]
    assert broker.state(name)["atRisk"] is True
    client.ping()
    assert events.next()["event"] == "recovered"
    seen = [event["event"] for event in events.until("disconnected")]
    assert seen == ["atRisk", "disconnected"]
