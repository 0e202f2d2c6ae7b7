"""The cable is cut: no FIN, no RST, nothing. The broker finds out by itself."""

import time

import pytest

import mqtt_wire as wire
from network import Cable

TICK_S = 0.1
# What a busy machine may add. How exact the broker is, bench/ measures.
LATE_S = 1.0


@pytest.fixture
def far_broker(cable, start_broker):
    """A broker at the other end of the cable; what this test asks it comes from its own machine."""

    def start(settings=None, listener=None):
        broker = start_broker(
            {"security.allow_anonymous_remote": True, **(settings or {})}, host="0.0.0.0", listener=listener,
            inside=cable.inside_broker_side(), dial=lambda port: cable.connect(cable.broker_side, ("127.0.0.1", port)))
        broker.cable = cable
        return broker

    return start


def far_client(broker, client_id, **how):
    """A client at the other end of the cable."""
    cable: Cable = broker.cable
    client = wire.Client(cable.connect(cable.client_side, (cable.broker_address, broker.port)))
    broker.clients.append(client)
    return client.connect(client_id, **how)


def watcher_of(broker, topic):
    watcher = broker.client("watcher")
    watcher.subscribe(topic, qos=1)
    return watcher


def test_a_cut_cable_with_k_2(far_broker):
    """Closed after 3 s, never before, with the will published and the session kept. Nothing was under way, so the
    kernel knows nothing. [MQTT-3.1.2-22, MQTT-3.1.2-8]"""
    broker = far_broker()
    watcher = watcher_of(broker, "will")
    client = far_client(broker, "dev", keep_alive=2, will=wire.Will("will", qos=1), props={"session_expiry_interval": 60})
    time.sleep(0.5)
    client.ping()
    time.sleep(0.1)  # the acknowledgement of the PINGRESP is on its way
    sent = time.monotonic()
    client.send(wire.PING)
    client.expect(wire.PINGRESP)
    time.sleep(0.1)
    broker.cable.cut()
    message = watcher.message(3 + TICK_S + LATE_S + 1)
    waited = time.monotonic() - sent
    assert message.payload == b"gone"
    assert 3.0 <= waited <= 3 + TICK_S + LATE_S
    state = broker.state("dev")
    assert (state["connectionState"], state["disconnectReason"]) == ("DISCONNECTED", "KEEP_ALIVE_TIMEOUT")
    assert state["evidence"]["verdict"] == "NOTHING_KNOWN"
    assert state["keepAliveTimeouts"] == state["willsPublished"] == 1
    assert 2900 <= state["disconnectedAt"] - state["lastSeenAt"] <= 1000 * (3 + TICK_S + LATE_S)
    # Nothing of the dead connection is in the way of the same client, once it finds a way again.
    broker.cable.mend()
    again = far_client(broker, "dev", clean=False)
    assert again.connack.session_present


def test_a_cut_cable_with_k_2_and_messages_under_way(far_broker):
    """Nobody acknowledges what was sent: the record says that network or machine are gone, not the program."""
    broker = far_broker()
    watcher = watcher_of(broker, "will")
    client = far_client(broker, "dev", keep_alive=2, will=wire.Will("will", qos=1))
    client.subscribe("news")
    client.ping()
    sent = time.monotonic()
    broker.cable.cut()
    for _ in range(10):
        watcher.publish("news", "x")
        time.sleep(0.1)
    watcher.message(5)
    assert 3.0 <= time.monotonic() - sent <= 3 + TICK_S + LATE_S
    state = broker.state("dev")
    assert state["disconnectReason"] == "KEEP_ALIVE_TIMEOUT"
    assert state["evidence"]["verdict"] == "NOBODY_ACKNOWLEDGES"
    assert state["evidence"]["unacknowledgedBytes"] > 0


def test_a_program_that_hangs_is_told_from_a_cut_cable(far_broker):
    """Its kernel goes on to acknowledge: the record says so."""
    broker = far_broker()
    watcher = watcher_of(broker, "will")
    client = far_client(broker, "dev", keep_alive=2, will=wire.Will("will", qos=1))
    client.subscribe("news")
    client.ping()
    for _ in range(25):
        watcher.publish("news", "x")
        time.sleep(0.1)
    watcher.message(5)
    state = broker.state("dev")
    assert state["disconnectReason"] == "KEEP_ALIVE_TIMEOUT"
    assert state["evidence"]["verdict"] == "PEER_ACKNOWLEDGES"


def test_a_cut_cable_with_k_0_idle(far_broker):
    """Without a keep alive of MQTT, TCP's finds out: idle 1 s, then a probe a second."""
    broker = far_broker(listener={"tcp_keepalive_idle_s": 1, "tcp_keepalive_interval_s": 1, "tcp_keepalive_count": 2,
                                  "tcp_user_timeout_s": 3})
    watcher = watcher_of(broker, "will")
    far_client(broker, "lives", keep_alive=0, will=wire.Will("will", b"must not be seen"))
    client = far_client(broker, "dev", keep_alive=0, will=wire.Will("will", qos=1))
    # Idle, but not dead: probes are answered.
    time.sleep(3.5)
    watcher.quiet(0.1)
    assert broker.state("dev")["connectionState"] == "CONNECTED"
    client.ping()
    cut = time.monotonic()
    broker.cable.cut()
    payloads = {watcher.message(10).payload, watcher.message(10).payload}
    assert payloads == {b"gone", b"must not be seen"}  # both hang on the same cable
    assert time.monotonic() - cut <= 1 + 3 + 1 + LATE_S + 1
    state = broker.state("dev")
    assert (state["connectionState"], state["disconnectReason"]) == ("DISCONNECTED", "CONNECTION_ERROR")
    assert state["evidence"]["verdict"] == "NOBODY_ACKNOWLEDGES"
    assert state["keepAliveSeconds"] == 0


def test_a_cut_cable_with_k_0_and_data_under_way(far_broker):
    """TCP_USER_TIMEOUT gives up on what nobody acknowledges, long before the kernel's own quarter of an hour."""
    broker = far_broker(listener={"tcp_keepalive_idle_s": 0, "tcp_user_timeout_s": 3})
    watcher = watcher_of(broker, "will")
    client = far_client(broker, "dev", keep_alive=0, will=wire.Will("will", qos=1), props={"session_expiry_interval": 60})
    client.subscribe("news", qos=1)
    client.ping()
    broker.cable.cut()
    cut = time.monotonic()
    for number in range(3):
        watcher.publish("news", f"{number}", qos=1)
    assert watcher.message(15).payload == b"gone"
    assert 2.5 <= time.monotonic() - cut <= 3 * 2.5 + LATE_S
    state = broker.state("dev")
    assert (state["connectionState"], state["disconnectReason"]) == ("DISCONNECTED", "CONNECTION_ERROR")
    assert state["evidence"]["verdict"] == "NOBODY_ACKNOWLEDGES"
    assert state["evidence"]["unacknowledgedBytes"] > 0
    # What was lost on the way waits for the client's return, in order, and says that it is a repetition.
    broker.cable.mend()
    again = far_client(broker, "dev", clean=False)
    assert again.connack.session_present
    got = [again.message() for _ in range(3)]
    assert [(message.payload, message.dup) for message in got] == [(b"0", True), (b"1", True), (b"2", True)]


def test_a_half_open_connection_delays_no_take_over(far_broker):
    """The client comes back by another way while its old connection hangs: at once, with its session."""
    broker = far_broker()
    client = far_client(broker, "dev", keep_alive=600, props={"session_expiry_interval": 60})
    client.subscribe("news", qos=1)
    broker.cable.cut()
    writer = broker.client("writer")
    for number in range(5):
        writer.publish("news", f"{number}", qos=1)
    began = time.monotonic()
    again = broker.client("dev", clean=False, props={"session_expiry_interval": 60})
    assert time.monotonic() - began < 0.5
    assert again.connack.session_present
    assert [(m.payload, m.dup) for m in (again.message() for _ in range(5))] == [(b"%d" % i, True) for i in range(5)]
    assert broker.state("dev")["history"][-2]["disconnectReason"] == "SESSION_TAKEN_OVER"
