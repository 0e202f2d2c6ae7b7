"""Every will is published once or cancelled, and the record says which."""

import time

import pytest

import mqtt_wire as wire


@pytest.fixture
def watcher(broker, name):
    client = broker.client(f"w-{name}", keep_alive=0)
    client.subscribe(f"{name}/#", qos=1)
    return client


def with_will(broker, name, client_id=None, delay=None, expiry=60, version=wire.V5, payload=b"gone", **how):
    props = {"will_delay_interval": delay} if delay else {}
    if version == wire.V5:
        how.setdefault("props", {"session_expiry_interval": expiry})
    return broker.client(client_id or name, version, will=wire.Will(f"{name}/will", payload, 1, props=props), **how)


@pytest.mark.parametrize("reason", [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
def test_a_disconnect_with_any_reason_but_0_publishes_it(broker, name, watcher, reason):
    """[MQTT-3.1.2-8, MQTT-3.14.4-3]"""
    with_will(broker, name).disconnect(reason)
    assert watcher.message().payload == b"gone"
    state = broker.state(name)
    assert (state["willsPublished"], state["willsCancelled"]) == (1, 0)
    assert state["disconnectReason"] == ("CLIENT_DISCONNECT_WITH_WILL" if reason == 4 else "CLIENT_ERROR")


@pytest.mark.parametrize("reason", [0x01, 0x05, 0x7F, 0x84, 0x8D, 0x8E, 0xA3, 0xFF])
def test_a_disconnect_with_a_reserved_reason_is_an_error_and_publishes_it(broker, name, watcher, reason):
    """Reserved, or the server's own to use: a Protocol Error, not a goodbye. [MQTT-3.14.2-1, MQTT-3.1.2-8]"""
    client = with_will(broker, name)
    client.send(wire.disconnect(reason))
    packets = client.until_closed(2)
    assert [(packet.kind, packet.reason) for packet in packets] in ([(wire.DISCONNECT, 0x82)], [(wire.DISCONNECT, 0x81)])
    assert watcher.message().payload == b"gone"
    assert broker.state(name)["disconnectReason"] == "PROTOCOL_ERROR"


@pytest.mark.parametrize("version", [wire.V31, wire.V311, wire.V5])
def test_a_goodbye_cancels_it(broker, name, watcher, version):
    """[MQTT-3.14.4-3, MQTT3-3.14.4-3]"""
    with_will(broker, name, version=version).disconnect()
    watcher.quiet(0.3)
    state = broker.state(name)
    assert (state["willsPublished"], state["willsCancelled"]) == (0, 1)


@pytest.mark.parametrize("end", ["drop", "reset"])
@pytest.mark.parametrize("version", [wire.V31, wire.V311, wire.V5])
def test_a_lost_connection_publishes_it(broker, name, watcher, version, end):
    """[MQTT-3.1.2-8, MQTT3-3.1.2-8]"""
    getattr(with_will(broker, name, version=version), end)()
    assert watcher.message().payload == b"gone"
    assert broker.state(name)["disconnectReason"] == ("CONNECTION_CLOSED" if end == "drop" else "CONNECTION_ERROR")


def test_a_malformed_packet_publishes_it(broker, name, watcher):
    """[MQTT-3.1.2-8, MQTT-4.13.1-1]"""
    with_will(broker, name).send(b"\x00\x00")
    assert watcher.message().payload == b"gone"


def test_a_client_that_comes_back_in_time_cancels_it(broker, name, watcher):
    """[MQTT-3.1.3-9]"""
    with_will(broker, name, delay=1).drop()
    time.sleep(0.3)
    back = broker.client(name, clean=False, props={"session_expiry_interval": 60})
    assert back.connack.session_present
    watcher.quiet(1.3)
    assert broker.state(name)["willsCancelled"] == 1


def test_a_delayed_will_comes_when_it_is_due(broker, name, watcher):
    """[MQTT-3.1.2-8]"""
    client = with_will(broker, name, delay=1)
    client.drop()
    gone = time.monotonic()
    watcher.message(3)
    assert 0.95 <= time.monotonic() - gone <= 2.2


def test_the_end_of_the_session_does_not_wait_for_the_delay(broker, name, watcher):
    """[MQTT-3.1.2-8]"""
    with_will(broker, name, f"{name}-1", delay=60, expiry=1, payload=b"expired").drop()
    with_will(broker, name, f"{name}-0", delay=60, expiry=0, payload=b"ended").drop()
    began = time.monotonic()
    assert watcher.message().payload == b"ended"
    assert time.monotonic() - began < 0.5
    assert watcher.message().payload == b"expired"
    assert time.monotonic() - began >= 0.9


def test_delayed_wills_come_in_the_order_they_are_due(broker, name, watcher):
    """By due time, not by the length of their delay: the long one began first."""
    for client_id, delay, wait in (("a", 3, 2.5), ("b", 1, 0), ("c", 2, 0)):
        with_will(broker, name, f"{name}-{client_id}", delay=delay, payload=client_id.encode()).drop()
        time.sleep(wait)
    # Due after 3 s, 3.5 s and 4.5 s from the beginning.
    assert [watcher.message(4).payload for _ in range(3)] == [b"a", b"b", b"c"]


@pytest.mark.parametrize("clean, delay, published", [
    (False, 0, True),   # a take-over is a loss of the connection
    (True, 0, True),
    (False, 60, False),  # resumed before the delay is over
    (True, 60, True),   # the session ends, and the will with it, at once
])
def test_a_take_over(broker, name, watcher, clean, delay, published):
    """[MQTT-3.1.2-8, MQTT-3.1.3-9, MQTT-3.1.4-3]"""
    with_will(broker, name, delay=delay)
    broker.client(name, clean=clean)
    if published:
        assert watcher.message(1).payload == b"gone"
    else:
        watcher.quiet(0.3)
    state = broker.state(name)
    assert (state["willsPublished"], state["willsCancelled"]) == ((1, 0) if published else (0, 1))


def test_a_clean_start_after_the_loss_ends_the_wait(broker, name, watcher):
    """The old session ends: its delayed will is sent at once. [MQTT-3.1.2-8, MQTT-3.1.2-4]"""
    with_will(broker, name, delay=60).drop()
    broker.wait_state(name, lambda state: state["connectionState"] == "DISCONNECTED")
    watcher.quiet(0.2)
    broker.client(name, clean=True)
    assert watcher.message(1).payload == b"gone"


def test_the_will_is_of_the_last_connect(broker, name, watcher):
    """[MQTT-3.1.2-7, MQTT-3.1.2-10]"""
    with_will(broker, name, payload=b"old").disconnect()
    with_will(broker, name, payload=b"new", clean=False).drop()
    assert watcher.message().payload == b"new"
    watcher.quiet(0.2)


def test_a_will_that_is_not_retained_is_not(broker, name, watcher):
    """[MQTT-3.1.2-14, MQTT3-3.1.2-16]"""
    with_will(broker, name).drop()
    assert not watcher.message().retain
    late = broker.client(f"l-{name}")
    late.subscribe(f"{name}/#")
    late.quiet(0.2)
