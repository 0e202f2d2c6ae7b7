"""One live connection a client id, always; and the session goes on where it was."""

import selectors
import time

import pytest

import mqtt_wire as wire


def persistent(broker, client_id, version=wire.V5, **how):
    if version == wire.V5:
        how.setdefault("props", {"session_expiry_interval": 60})
    return broker.client(client_id, version, clean=False, **how)


@pytest.mark.parametrize("version", [wire.V31, wire.V311, wire.V5])
def test_the_loser_hears_why_before_the_winner_is_in(broker, name, version):
    """[MQTT-3.1.4-3, MQTT3-3.1.4-2]"""
    events = broker.events(name)
    old = broker.client(name, version)
    old_address = "%s:%d" % old.sock.getsockname()
    new = broker.client(name)
    new_address = "%s:%d" % new.sock.getsockname()
    # The winner has its CONNACK: whatever the loser was told is on its way already.
    packets = old.until_closed(1)
    if version == wire.V5:
        assert [(packet.kind, packet.reason) for packet in packets] == [(wire.DISCONNECT, 0x8E)]
        assert new_address in packets[0].get("reason_string")
    else:
        assert packets == []
    new.ping()
    seen = events.until("takenOver")
    assert (seen[-1]["clientIpAdr"], seen[-1]["newClientIpAdr"]) == (old_address, new_address)
    state = broker.wait_state(name, lambda state: state["connectionState"] == "CONNECTED")
    assert (state["clientIpAdr"], state["takeOvers"]) == (new_address, 1)
    assert "SESSION_TAKEN_OVER" in {event.get("disconnectReason") for event in state["history"]}


def test_no_reason_string_for_one_who_does_not_want_it(broker, name):
    old = broker.client(name, props={"request_problem_information": 0})
    broker.client(name)
    packets = old.until_closed(1)
    assert packets[0].reason == 0x8E
    # DISCONNECT may carry one even then, but who does not want it is not given it.
    assert packets[0].get("reason_string") is None


def test_what_the_loser_had_under_way_comes_again_in_order(broker, name):
    """Unacknowledged messages first, with DUP, then those that waited; all in the order they were published.
    [MQTT-4.4.0-1, MQTT-3.3.1-1, MQTT-4.6.0-6, MQTT-3.1.2-5]"""
    old = persistent(broker, name, props={"session_expiry_interval": 60, "receive_maximum": 10})
    old.subscribe(f"{name}/#", qos=2)
    writer = broker.client(f"w-{name}")
    for number in range(30):
        writer.publish(f"{name}/a", f"{number}", 1 + number % 2)
    started = [old.expect(wire.PUBLISH) for _ in range(10)]
    old.quiet(0.2)
    new = persistent(broker, name)
    assert new.connack.session_present
    got = [new.message() for _ in range(30)]
    assert [int(message.payload) for message in got] == list(range(30))
    assert [message.dup for message in got] == [True] * 10 + [False] * 20
    assert [message.packet_id for message in got[:10]] == [message.packet_id for message in started]
    new.quiet(0.2)


def test_qos_2_state_survives_a_take_over(broker, name):
    """Half an exchange in each direction is finished by the successor: nothing is delivered twice.
    [MQTT-4.3.3-10, MQTT-4.3.3-6, MQTT-4.4.0-1, MQTT3-4.3.3-2, MQTT3-4.4.0-1]"""
    reader = broker.client(f"r-{name}")
    reader.subscribe(f"{name}/from", qos=2)
    old = persistent(broker, name)
    old.subscribe(f"{name}/to", qos=2)
    old.send(wire.publish(f"{name}/from", "once", 2, 9))
    assert old.expect(wire.PUBREC).packet_id == 9
    broker.client(f"w-{name}").publish(f"{name}/to", "once", qos=2)
    message = old.expect(wire.PUBLISH)
    old.send(wire.ack(wire.PUBREC, message.packet_id))
    assert old.expect(wire.PUBREL).packet_id == message.packet_id

    new = persistent(broker, name)
    # Its PUBREL is repeated, its PUBLISH is not.
    assert new.expect(wire.PUBREL).packet_id == message.packet_id
    new.send(wire.ack(wire.PUBCOMP, message.packet_id))
    new.send(wire.publish(f"{name}/from", "once", 2, 9, dup=True))
    assert new.expect(wire.PUBREC).packet_id == 9
    new.send(wire.ack(wire.PUBREL, 9))
    assert new.expect(wire.PUBCOMP).packet_id == 9
    assert reader.message().payload == b"once"
    reader.quiet(0.2)
    # From here on the identifier means a new message.
    new.send(wire.publish(f"{name}/from", "twice", 2, 9))
    assert new.expect(wire.PUBREC).packet_id == 9
    assert reader.message().payload == b"twice"


def test_nothing_the_loser_sent_counts_after_the_winners_connack(broker, name):
    """Packets that wait in the loser's socket while the winner comes in are not acted on."""
    watcher = broker.client(f"w-{name}")
    watcher.subscribe(f"{name}/#", qos=1)
    old = broker.client(name)
    # A packet that is not complete when the winner's CONNACK comes.
    message = wire.publish(f"{name}/late", "late", 1, 1)
    old.send(message[:-1])
    time.sleep(0.1)
    broker.client(name)
    try:
        old.send(message[-1:] + message)
    except OSError:
        pass
    assert [packet.kind for packet in old.until_closed(1)] == [wire.DISCONNECT]
    watcher.quiet(0.3)


def test_two_clients_that_fight_over_one_id(broker, name):
    """Never two live connections; nothing is delivered to the loser after the winner's CONNACK; every message reaches
    the session. [MQTT-3.1.4-3]"""
    since = len(broker.log())
    writer = broker.client(f"w-{name}")
    current = persistent(broker, name)
    current.subscribe(name, qos=1)
    next_number = 0
    for _ in range(100):
        for _ in range(4):
            writer.publish(name, f"{next_number}", qos=1)
            next_number += 1
        winner = persistent(broker, name)
        assert winner.connack.session_present
        # One more, surely after the CONNACK: it must go to the winner.
        writer.publish(name, f"{next_number}", qos=1)
        next_number += 1
        packets = current.until_closed(2)
        assert packets[-1].kind == wire.DISCONNECT and packets[-1].reason == 0x8E
        got = [int(packet.payload) for packet in packets if packet.kind == wire.PUBLISH]
        assert next_number - 1 not in got, "delivered to the loser after its successor's CONNACK"
        current = winner
        # The winner takes and acknowledges one; the rest is for its successor.
        current.message()
    remaining = []
    while not remaining or remaining[-1] != next_number - 1:
        remaining.append(int(current.message().payload))
    assert remaining == sorted(remaining)
    assert remaining == list(range(remaining[0], next_number))
    broker.wait_log(rf"Client {name} is fought over by \S+ and \S+", since=since)
    state = broker.state(name)
    assert (state["connectionState"], state["takeOvers"]) == ("CONNECTED", 100)


def test_a_crowd_that_wants_one_id(broker, name):
    """50 connections send their CONNECT with one id at the same time: one is alive in the end, and heard so."""
    socks = []
    for _ in range(50):
        socks.append(broker.client())
    for client in socks:
        client.send_connect(name)
    selector = selectors.DefaultSelector()
    alive = set(socks)
    for client in socks:
        client.sock.setblocking(False)
        selector.register(client.sock, selectors.EVENT_READ, client)
    limit = time.monotonic() + 5
    while len(alive) > 1 and time.monotonic() < limit:
        for key, _ in selector.select(0.5):
            if not key.data.sock.recv(4096):
                alive.discard(key.data)
                selector.unregister(key.data.sock)
    assert len(alive) == 1
    survivor = alive.pop()
    survivor.sock.setblocking(True)
    survivor.ping()
    assert broker.state(name)["clientIpAdr"] == "%s:%d" % survivor.sock.getsockname()


@pytest.mark.parametrize("how", [
    {"props": {"authentication_method": "SCRAM-SHA-1", "authentication_data": b"x"}},
    {"flags": 0x03},
    {"will": wire.Will("a/#")},
    {"props": [("session_expiry_interval", 1), ("session_expiry_interval", 1)]},
], ids=["authentication", "reserved-flag", "will-topic", "property-twice"])
def test_a_refused_connect_disturbs_nobody(broker, name, how):
    """Admission comes before eviction. [MQTT-3.1.4-1, MQTT-3.1.4-2, MQTT-4.12.0-1]"""
    watcher = broker.client(f"w-{name}")
    watcher.subscribe(f"{name}/will")
    live = broker.client(name, will=wire.Will(f"{name}/will"))
    intruder = broker.client()
    intruder.send_connect(name, **how)
    packets = intruder.until_closed(2)
    assert [packet.kind for packet in packets] in ([wire.CONNACK], [])
    assert all(packet.reason >= 0x80 and not packet.session_present for packet in packets)
    live.ping()
    live.quiet(0.1)
    watcher.quiet(0.1)
    assert broker.state(name)["takeOvers"] == 0


def test_a_connect_beyond_the_quota_disturbs_nobody(start_broker):
    """[MQTT-3.1.4-2]"""
    broker = start_broker({"limits.max_connections": 2})
    live, other = broker.client("dev"), broker.client("other")
    third = broker.client()
    third.send_connect("third")
    packets = third.until_closed(2)
    assert [packet.reason for packet in packets] == [0x97]
    live.ping()
    other.ping()
    live.quiet(0.1)


def test_at_the_quota_a_client_still_takes_over_its_own_old_connection(start_broker):
    """All clients come back at once after a cut cable: none of them adds a connection."""
    broker = start_broker({"limits.max_connections": 2})
    old, other = broker.client("dev"), broker.client("other")
    new = broker.client()
    new.send_connect("dev")
    assert new.expect(wire.CONNACK).reason == 0
    assert old.until_closed(2)[-1].reason == 0x8E
    new.ping()
    other.ping()


def test_a_crowd_faster_than_allowed_is_told_so(start_broker):
    broker = start_broker({"limits.max_connections_per_s": 10, "shards": 1})
    reasons = []
    for number in range(30):
        client = broker.client()
        client.send_connect(f"c{number}")
        reasons.append(client.expect(wire.CONNACK).reason)
    assert reasons[:10] == [0] * 10
    assert set(reasons[10:]) <= {0, 0x9F} and 0x9F in reasons


def test_flapping_clients_can_be_held_off(start_broker):
    """The growing time for which newcomers are refused leaves the live client in peace."""
    broker = start_broker({"flapping.hold_off": True, "flapping.takeovers": 3})
    live = broker.client("dev")
    for _ in range(20):
        newcomer = broker.client()
        newcomer.send_connect("dev")
        answer = newcomer.expect(wire.CONNACK)
        if answer.reason != 0:
            assert answer.reason == 0x9F
            break
        live = newcomer
    else:
        raise AssertionError("nobody was held off")
    live.ping()
    events = [event["event"] for event in broker.state("dev")["history"]]
    assert "flapping" in events
    broker.wait_log("client.* dev is fought over|Client dev is fought over")


@pytest.mark.parametrize("version", [wire.V311, wire.V5])
def test_clean_start_throws_the_session_away(broker, name, version):
    """[MQTT-3.1.2-4, MQTT-3.1.4-4, MQTT-3.2.2-2, MQTT3-3.1.2-6, MQTT3-3.2.2-1]"""
    old = persistent(broker, name, version)
    old.subscribe(name, qos=1)
    new = broker.client(name, version)
    assert not new.connack.session_present
    broker.client(f"w-{name}").publish(name, "x", qos=1)
    new.quiet(0.3)


def test_a_session_ends_when_its_time_is_over(broker, name):
    """[MQTT-4.1.0-2, MQTT-3.1.2-23]"""
    events = broker.events(name)
    client = broker.client(name, props={"session_expiry_interval": 1})
    client.subscribe(name, qos=1)
    client.drop()
    assert broker.client(name, clean=False, props={"session_expiry_interval": 1}).connack.session_present
    broker.client(name, clean=False, props={"session_expiry_interval": 1}).drop()
    events.until("sessionEnded", 4)
    assert not broker.client(name, clean=False).connack.session_present


def test_disconnect_may_change_the_sessions_expiry(broker, name):
    """But 0 cannot become more. [MQTT-3.14.2-2]"""
    client = broker.client(name, props={"session_expiry_interval": 1})
    client.disconnect(0, {"session_expiry_interval": 100})
    state = broker.wait_state(name, lambda state: state["connectionState"] == "DISCONNECTED")
    time.sleep(1.5)
    assert broker.client(name, clean=False).connack.session_present
    ends = broker.client(f"{name}-0")
    ends.send(wire.disconnect(0, {"session_expiry_interval": 100}))
    assert [packet.reason for packet in ends.until_closed(1)] == [0x82]
    assert state["disconnectReason"] == "CLIENT_DISCONNECT"
