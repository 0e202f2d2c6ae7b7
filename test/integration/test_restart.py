"""What outlives the broker: a decent end and a new start, and a SIGKILL."""

import select
import signal
import socket
import struct
import time

import pytest

import mqtt_wire as wire

KEPT = {"session_expiry_interval": 3600}
GRACE_S = 2


@pytest.fixture
def lives(start_broker):
    """A broker that goes through several of them."""
    return lambda settings=None: start_broker({"will.restart_grace_s": GRACE_S, **(settings or {})})


both = pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])


def persistent(broker, client_id, version=wire.V5, **how):
    if version == wire.V5:
        how.setdefault("props", KEPT)
    return broker.client(client_id, version, clean=False, **how)


def watch(broker, topic_filter):
    """A watcher that misses nothing over restarts, at QoS 2."""
    watcher = persistent(broker, "watcher")
    if not watcher.connack.session_present:
        watcher.subscribe(topic_filter, qos=2)
    return watcher


def stored(broker):
    """All that the broker knows by now is written: an answer that waits for the store comes behind it."""
    asker = persistent(broker, "asker")
    asker.subscribe("asked", qos=1)
    asker.disconnect()


def payloads(client, count, timeout=5):
    got = [client.message(timeout).payload for _ in range(count)]
    client.quiet(0.2)
    return got


@both
@pytest.mark.parametrize("version", [wire.V311, wire.V5])
def test_sessions_and_what_waits_for_them(lives, how, version):
    """Subscriptions with their options, queued messages, messages under way with their identifiers, in order, with DUP.
    [MQTT-3.1.2-5, MQTT-4.1.0-1, MQTT-4.4.0-1, MQTT-4.6.0-1, MQTT-3.3.1-1, MQTT3-4.1.0-1, MQTT3-4.4.0-1, MQTT3-4.1.0-2]"""
    broker = lives()
    reader = persistent(broker, "reader", version, **({"props": {**KEPT, "receive_maximum": 4}} if version == wire.V5 else {}))
    assert reader.subscribe(("one/#", 1), ("two/#", 2)) == [1, 2]
    assert reader.subscribe(("gone/#", 1)) == [1]
    reader.send(wire.unsubscribe(99, ["gone/#"], version=version))
    reader.answer(wire.UNSUBACK, 99)
    writer = broker.client("writer")
    for number in range(10):
        assert writer.publish(("one/x", "two/x")[number % 2], f"{number}", 1 + number % 2) == 0
    assert writer.publish("gone/x", "x", 1) == 0x10
    under_way = [reader.expect(wire.PUBLISH) for _ in range(4)]
    broker.restart(how)
    back = persistent(broker, "reader", version)
    assert back.connack.session_present
    got = [back.message() for _ in range(10)]
    assert [int(message.payload) for message in got] == list(range(10))
    assert [message.packet_id for message in got[:4]] == [message.packet_id for message in under_way]
    assert all(message.dup for message in got[:4])
    assert [message.qos for message in got] == [1, 2] * 5
    back.quiet(0.2)
    # It is subscribed, and done with what it acknowledged.
    again = broker.client("writer")
    again.publish("two/y", "new", 2)
    assert payloads(back, 1) == [b"new"]
    broker.restart(how)
    last = persistent(broker, "reader", version)
    assert last.connack.session_present
    last.quiet(0.3)


@both
def test_qos_2_in_both_directions(lives, how):
    """Half an exchange is finished after the restart: nothing comes twice. [MQTT-4.3.3-10, MQTT-4.3.3-6, MQTT-4.4.0-1]"""
    broker = lives()
    reader = persistent(broker, "reader")
    reader.subscribe("from", qos=2)
    client = persistent(broker, "client")
    client.subscribe("to", qos=2)
    client.send(wire.publish("from", "once", 2, 9))
    assert client.expect(wire.PUBREC).packet_id == 9
    broker.client("writer").publish("to", "once", qos=2)
    message = client.expect(wire.PUBLISH)
    client.send(wire.ack(wire.PUBREC, message.packet_id))
    assert client.expect(wire.PUBREL).packet_id == message.packet_id
    assert payloads(reader, 1) == [b"once"]
    broker.restart(how)
    client = persistent(broker, "client")
    # Its PUBREL is repeated, its PUBLISH is not.
    assert client.expect(wire.PUBREL).packet_id == message.packet_id
    client.send(wire.ack(wire.PUBCOMP, message.packet_id))
    client.send(wire.publish("from", "once", 2, 9, dup=True))
    assert client.expect(wire.PUBREC).packet_id == 9
    client.send(wire.ack(wire.PUBREL, 9))
    assert client.expect(wire.PUBCOMP).packet_id == 9
    reader = persistent(broker, "reader")
    assert reader.connack.session_present
    reader.quiet(0.3)
    # From here on the identifier means a new message.
    client.send(wire.publish("from", "twice", 2, 9))
    assert client.expect(wire.PUBREC).packet_id == 9
    assert payloads(reader, 1) == [b"twice"]
    broker.restart(how)
    client = persistent(broker, "client")
    client.quiet(0.3)


@both
def test_retained_messages(lives, how):
    """With QoS and properties; the last one counts; what was deleted stays so. [MQTT-3.3.1-5, MQTT-3.3.1-6]"""
    broker = lives()
    writer = broker.client("writer")
    for number in range(100):
        writer.publish(f"kept/{number % 10}", f"{number}", number % 3, retain=True)
    writer.publish("kept/3", b"", 1, retain=True)
    props = {"content_type": "text/plain", "user_property": ("a", "b"), "message_expiry_interval": 100}
    writer.publish("kept/props", b"x", 1, retain=True, props=props)
    writer.ping()
    broker.restart(how)
    reader = broker.client("reader")
    reader.subscribe("kept/#", qos=2)
    got = {message.topic: message for message in (reader.message() for _ in range(10))}
    reader.quiet(0.2)
    assert {topic: message.payload for topic, message in got.items()} == {
        **{f"kept/{number}": b"%d" % (90 + number) for number in range(10) if number != 3}, "kept/props": b"x"}
    assert all(message.retain for message in got.values())
    assert all(message.qos == (90 + number) % 3 for number in range(10) if number != 3
               for message in [got[f"kept/{number}"]])
    came = dict(got["kept/props"].props)
    assert came["content_type"] == "text/plain" and came["user_property"] == ("a", "b")
    assert 90 <= came["message_expiry_interval"] <= 100


@both
def test_a_delayed_will_comes_at_its_time(lives, how):
    """Not at the end, not at the start: when it is due. [MQTT-3.1.2-8]"""
    broker = lives()
    watch(broker, "will")
    # 4 s are more than the restart needs, and than the grace.
    client = persistent(broker, "dev", will=wire.Will("will", b"late", 2, props={"will_delay_interval": 4}))
    client.drop()
    lost = time.monotonic()
    broker.wait_state("dev", lambda state: state["connectionState"] == "DISCONNECTED")
    stored(broker)
    broker.restart(how)
    watcher = watch(broker, "will")
    assert payloads(watcher, 1, 8) == [b"late"]
    assert 3.9 <= time.monotonic() - lost <= 7
    assert broker.state("dev")["willsPublished"] == 1


@both
def test_a_delayed_will_is_cancelled_by_a_return_after_the_restart(lives, how):
    """[MQTT-3.1.3-9]"""
    broker = lives()
    watch(broker, "will")
    persistent(broker, "dev", will=wire.Will("will", b"late", 2, props={"will_delay_interval": 3})).drop()
    broker.wait_state("dev", lambda state: state["connectionState"] == "DISCONNECTED")
    stored(broker)
    broker.restart(how)
    watcher = watch(broker, "will")
    assert persistent(broker, "dev").connack.session_present
    watcher.quiet(3.5)
    assert broker.state("dev")["willsCancelled"] == 1


@both
def test_a_will_that_fell_due_while_the_broker_was_down(lives, how):
    """Published at the start, once, to everybody who is subscribed. [MQTT-3.1.2-8]"""
    broker = lives({"shards": 3})
    watchers = [f"watcher-{number}" for number in range(4)]
    for watcher in watchers:
        persistent(broker, watcher).subscribe("will", qos=2)
    for number in range(6):
        persistent(broker, f"dev-{number}", will=wire.Will("will", b"due %d" % number, 2, props={"will_delay_interval": 1})).drop()
        # This one's session ends while the broker is down, and its will is due with it.
        persistent(broker, f"short-{number}", props={"session_expiry_interval": 1},
                   will=wire.Will("will", b"ended %d" % number, 2, props={"will_delay_interval": 600})).drop()
    for number in range(6):
        for kind in ("dev", "short"):
            broker.wait_state(f"{kind}-{number}", lambda state: state["connectionState"] == "DISCONNECTED")
    stored(broker)
    broker.restart(how, 1.2)
    began = time.monotonic()
    expected = sorted(b"%s %d" % (kind, number) for kind in (b"due", b"ended") for number in range(6))
    for watcher in watchers:
        assert sorted(payloads(persistent(broker, watcher), 12)) == expected
    assert time.monotonic() - began < 5
    assert not persistent(broker, "short-0").connack.session_present
    broker.restart(how)
    for watcher in watchers:
        persistent(broker, watcher).quiet(0.5)


def test_wills_of_those_who_were_connected_at_a_kill(lives):
    """Owed by the broker that died: published after the grace for those who stay away, cancelled for those who resume.
    [MQTT-3.1.2-8, MQTT-3.1.2-10]"""
    broker = lives()
    watch(broker, "will/+")

    def connect(name, delay=0, version=wire.V5, **how):
        props = {"will_delay_interval": delay} if delay else {}
        return broker.client(name, version, will=wire.Will(f"will/{name}", name.encode(), 2, props=props), **how)

    for name in ("stays away", "resumes", "begins anew"):
        connect(name, clean=False, props=KEPT)
    connect("old and stays away", version=wire.V311, clean=False)
    connect("has no session")
    connect("delay", 4, clean=False, props=KEPT)
    connect("said goodbye", clean=False, props=KEPT).disconnect()
    broker.wait_state("said goodbye", lambda state: state["connectionState"] == "DISCONNECTED")
    stored(broker)
    broker.restart("SIGKILL")
    began = time.monotonic()
    watcher = watch(broker, "will/+")
    assert persistent(broker, "resumes").connack.session_present
    assert not broker.client("begins anew", clean=True, props=KEPT).connack.session_present
    assert watcher.message().payload == b"begins anew"
    assert time.monotonic() - began < GRACE_S - 0.3
    assert sorted(watcher.message(GRACE_S + 3).payload for _ in range(3)) == [b"has no session", b"old and stays away",
                                                                            b"stays away"]
    assert GRACE_S - 0.3 <= time.monotonic() - began <= GRACE_S + 3
    assert watcher.message(6).payload == b"delay"
    assert time.monotonic() - began >= 3.7
    watcher.quiet(0.5)
    for name, published in (("stays away", 1), ("resumes", 0), ("begins anew", 1), ("has no session", 1), ("delay", 1)):
        state = broker.state(name)
        assert (state["willsPublished"], state["willsCancelled"]) == (published, 1 - published), name


def test_the_grace_is_not_begun_anew_by_each_kill(lives):
    """A will that is owed since one kill comes in spite of the next ones."""
    grace = 5
    broker = lives({"will.restart_grace_s": grace})
    watch(broker, "will")
    persistent(broker, "dev", will=wire.Will("will", b"gone", 2))
    broker.restart("SIGKILL")
    for _ in range(3):
        watch(broker, "will").quiet(0.6)
        last = time.monotonic()
        broker.restart("SIGKILL")
    assert payloads(watch(broker, "will"), 1, grace) == [b"gone"]
    assert time.monotonic() - last < grace


def test_wills_at_a_decent_end_are_published_at_once(lives):
    """The broker disconnects everybody: wills without a delay are published, and are not owed any more. [MQTT-3.1.2-8]"""
    broker = lives()
    watch(broker, "will")
    dev = persistent(broker, "dev", will=wire.Will("will", b"end", 2))
    broker.tell_to_stop()
    dev.until_closed(5)
    broker.restart("SIGTERM")
    watcher = watch(broker, "will")
    assert payloads(watcher, 1) == [b"end"]
    watcher.quiet(GRACE_S + 0.5)


def test_presence_over_a_kill(lives):
    """The history goes on; who was connected when the broker died went by SERVER_FAILURE; incarnations rise."""
    broker = lives()
    persistent(broker, "dev").disconnect()
    client = persistent(broker, "dev", keep_alive=77)
    before = broker.state("dev")
    client.subscribe("x", qos=1)
    stored(broker)
    broker.restart("SIGKILL")
    state = broker.state("dev")
    assert (state["connectionState"], state["disconnectReason"]) == ("DISCONNECTED", "SERVER_FAILURE")
    assert state["incarnation"] >= before["incarnation"]
    assert (state["connects"], state["subscriptions"], state["keepAliveSeconds"]) == (2, 1, 77)
    events = [event["event"] for event in state["history"]]
    assert events == ["connected", "disconnected", "connected", "disconnected"]
    assert [event.get("disconnectReason") for event in state["history"]][1::2] == ["CLIENT_DISCONNECT", "SERVER_FAILURE"]
    assert state["history"][:3] == before["history"]
    persistent(broker, "dev")
    state = broker.state("dev")
    assert state["connectionState"] == "CONNECTED" and state["incarnation"] > before["incarnation"]
    assert state["connects"] == 3
    assert [event["event"] for event in state["history"]] == [*events, "connected"]
    broker.restart("SIGTERM")
    state = broker.state("dev")
    assert state["disconnectReason"] in ("SERVER_SHUTDOWN", "CONNECTION_CLOSED")


def test_incarnations_rise_over_kills(lives):
    broker = lives()
    seen = []
    for _ in range(4):
        persistent(broker, "dev").subscribe("x", qos=1)
        seen.append(broker.state("dev")["incarnation"])
        broker.restart("SIGKILL")
    assert seen == sorted(set(seen))


@both
def test_sessions_expire_while_the_broker_is_down(lives, how):
    """By the wall clock. Those that do not are kept. [MQTT-3.1.2-11]"""
    broker = lives()
    for client_id, expiry in (("short", 1), ("long", 3600)):
        persistent(broker, client_id, props={"session_expiry_interval": expiry}).subscribe("x", qos=1)
    broker.client("none", props={}).subscribe("x", qos=1)
    broker.drop_clients()
    for client_id in ("short", "long"):
        broker.wait_state(client_id, lambda state: state["connectionState"] == "DISCONNECTED")
    stored(broker)
    broker.restart(how, 1.3)
    assert persistent(broker, "long").connack.session_present
    assert not persistent(broker, "short").connack.session_present
    assert not persistent(broker, "none").connack.session_present


@both
def test_messages_expire_while_the_broker_is_down(lives, how):
    """And what is left of their time is told. [MQTT-3.3.2-5, MQTT-3.3.2-6]"""
    broker = lives()
    persistent(broker, "reader").subscribe("x", qos=1)
    broker.drop_clients()
    writer = broker.client("writer")
    writer.publish("x", b"short", 1, props={"message_expiry_interval": 1})
    writer.publish("x", b"long", 1, props={"message_expiry_interval": 100})
    broker.restart(how, 1.3)
    reader = persistent(broker, "reader")
    message = reader.message()
    assert message.payload == b"long" and 90 <= message.get("message_expiry_interval") <= 99
    reader.quiet(0.2)


def test_a_clean_start_is_not_undone_by_a_kill(lives):
    """[MQTT-3.1.2-4, MQTT-3.2.2-2]"""
    broker = lives()
    client = persistent(broker, "dev")
    client.subscribe("x", qos=1)
    client.drop()
    broker.client("writer").publish("x", b"old", 1)
    assert not broker.client("dev", clean=True, props=KEPT).connack.session_present
    broker.restart("SIGKILL")
    client = persistent(broker, "dev")
    assert client.connack.session_present
    assert broker.client("writer").publish("x", b"new", 1) == 0x10
    client.quiet(0.3)


def test_shared_subscriptions(lives):
    """Each message to one of the group, also after a kill. [MQTT-4.8.2-1]"""
    broker = lives()
    members = [persistent(broker, f"member-{number}") for number in range(3)]
    for member in members:
        assert member.subscribe("$share/g/x", qos=2) == [2]
    broker.restart("SIGKILL")
    writer = broker.client("writer")
    for number in range(30):
        assert writer.publish("x", f"{number}", 2) == 0
    broker.restart("SIGKILL")
    got = []
    for number in range(3):
        member = persistent(broker, f"member-{number}")
        assert member.connack.session_present
        try:
            while True:
                got.append(int(member.message(0.5).payload))
        except TimeoutError:
            pass
    assert sorted(got) == list(range(30))


def test_many_messages_for_many_sessions(lives):
    """More than is kept in memory, and shared: every session gets all of them, in order."""
    broker = lives()
    for number in range(10):
        persistent(broker, f"reader-{number}").subscribe("x/#", qos=1)
    broker.drop_clients()
    writer = broker.client("writer")
    for start in range(0, 3000, 500):
        writer.send(b"".join(wire.publish("x/y", f"{number}", 1, number + 1) for number in range(start, start + 500)))
        for _ in range(500):
            assert writer.expect(wire.PUBACK).reason == 0
    broker.restart("SIGKILL")
    for reader in range(10):
        client = persistent(broker, f"reader-{reader}")
        assert [int(client.message().payload) for _ in range(3000)] == list(range(3000))
        client.quiet(0.1)
    # All were acknowledged: none is left.
    broker.restart("SIGTERM")
    for reader in range(10):
        persistent(broker, f"reader-{reader}").quiet(0.1)


def test_a_long_queue_is_read_while_more_comes(lives):
    """What is on disk only, then what comes meanwhile, from all shards, at both QoS: all of it, in order, at QoS 2 once.
    [MQTT-4.6.0-6, MQTT-4.3.3-2]"""
    broker = lives({"shards": 3})
    persistent(broker, "reader").subscribe("x/#", qos=2)
    persistent(broker, "other").subscribe("x/#", qos=2)
    broker.restart("SIGKILL")
    writers = [persistent(broker, f"writer-{number}") for number in range(6)]
    sent = dict.fromkeys(((number, qos) for number in range(6) for qos in (1, 2)), 0)
    packet_ids = [0] * 6

    def write(count):
        for number, writer in enumerate(writers):
            burst = b""
            for _ in range(count):
                packet_ids[number] += 1
                qos = 1 + packet_ids[number] // 3 % 2
                sent[number, qos] += 1
                burst += wire.publish(f"x/{number}", f"{number} {sent[number, qos]}", qos, packet_ids[number])
            writer.send(burst)

    def answer():
        for writer in writers:
            while select.select([writer.sock], [], [], 0)[0] or writer.unread:
                packet = writer.recv(1)
                if packet.kind == wire.PUBREC:
                    writer.send(wire.ack(wire.PUBREL, packet.packet_id))

    got = {key: [] for key in sent}
    recorded = {}
    for visit in range(25):
        for _ in range(4):
            write(10)
            answer()
        write(10)
        reader = persistent(broker, "reader")
        write(3)
        last = visit == 24
        while sum(map(len, got.values())) < (sum(sent.values()) if last else sum(sent.values()) * 3 / 4) or recorded:
            packet = reader.recv(5)
            if packet.kind == wire.PUBREL:
                recorded.pop(packet.packet_id, None)
                reader.send(wire.ack(wire.PUBCOMP, packet.packet_id))
                continue
            number, order = map(int, packet.payload.split())
            if packet.qos == 1 and got[number, 1][-1:] < [order] or packet.qos == 2 and packet.packet_id not in recorded:
                got[number, packet.qos].append(order)
            if packet.qos == 2:
                recorded[packet.packet_id] = order
            reader.send(wire.ack(wire.PUBACK if packet.qos == 1 else wire.PUBREC, packet.packet_id))
        reader.drop()
        answer()
    assert {key: numbers == list(range(1, sent[key] + 1)) for key, numbers in got.items()} == dict.fromkeys(got, True)


def test_lives_that_follow_each_other_at_once(lives):
    """What is published in one is not taken for what was published in another."""
    broker = lives({"shards": 1})
    for number in range(2):
        persistent(broker, f"reader-{number}").subscribe("x", qos=1)
    expected = []
    for life in range(4):
        broker.restart("SIGKILL")
        time.sleep(0.9 - 0.3 * life)  # earlier in each life than in the one before
        writer = broker.client("writer")
        texts = [f"{life}/{number}" for number in range(20)]
        expected += texts
        writer.send(wire.publish("kept", f"{life}", 1, 100, retain=True) +
                    b"".join(wire.publish("x", text, 1, number + 1) for number, text in enumerate(texts)))
        for _ in range(21):
            assert writer.expect(wire.PUBACK).reason in (0, 0x10)
    broker.restart("SIGKILL")
    for number in range(2):
        assert [text.decode() for text in payloads(persistent(broker, f"reader-{number}"), len(expected))] == expected
    reader = broker.client("")
    reader.subscribe("kept")
    assert payloads(reader, 1) == [b"3"]


def test_without_a_store(lives):
    """store.sync = "memory" is said loudly, and nothing outlives the broker."""
    broker = lives({"store.sync": "memory"})
    broker.wait_log(r"(?i)warn.*store\.sync.*memory.*lost")
    persistent(broker, "dev").subscribe("x", qos=1)
    broker.client("writer").publish("x", b"x", 1, retain=True)
    broker.restart("SIGKILL")
    assert not broker.store.exists()
    dev = persistent(broker, "dev")
    assert not dev.connack.session_present
    dev.subscribe("x", qos=1)
    dev.quiet(0.3)


def test_ports_are_bound_when_all_is_there(lives):
    """Whoever gets through to a starting broker finds everything."""
    broker = lives()
    writer = broker.client("writer")
    for start in range(0, 2000, 500):
        writer.send(b"".join(wire.publish(f"r/{number}", b"x" * 100, 1, number + 1, retain=True)
                             for number in range(start, start + 500)))
        for _ in range(500):
            writer.expect(wire.PUBACK)
    for number in range(500):
        persistent(broker, f"s-{number}")
    broker.drop_clients()
    broker.kill()
    broker.launch()
    limit = time.monotonic() + 10
    while True:
        try:
            client = persistent(broker, "s-499")
            break
        except OSError:
            assert time.monotonic() < limit
    assert client.connack.session_present
    client.subscribe("r/#", qos=0)
    assert len({client.message().topic for _ in range(2000)}) == 2000
    broker.process.send_signal(signal.SIGTERM)
    broker.told_to_stop = True


def test_the_histories_of_events_go_on(lives):
    """The stream of one client's events: the numbers of a connection after a kill are higher than all before."""
    broker = lives()
    events = broker.events("dev")
    client = persistent(broker, "dev", will=wire.Will("x"))
    client.subscribe("x", qos=1)
    before = events.until("connected")[-1]
    broker.restart("SIGKILL")
    events = broker.events("dev")
    persistent(broker, "dev")
    after = events.until("connected")
    assert [event["event"] for event in after][-1] == "connected"
    assert after[-1]["incarnation"] > before["incarnation"]


def reset(client):
    """Ends a connection as a machine that is switched off does: RST."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.drop()


def test_retained_wills_of_qos_0_that_are_published_as_the_broker_dies(lives):
    """Whether it was published or is owed: its topic does not say "online" for good."""
    broker = lives({"shards": 3, "will.restart_grace_s": 1})
    watcher = persistent(broker, "watcher")
    watcher.subscribe("state/#", qos=0)
    for trial in range(4):
        devices = []
        for number in range(60):
            topic = f"state/{number}"
            device = persistent(broker, f"device-{number}", wire.V311, will=wire.Will(topic, b"offline", 0, True))
            device.publish(topic, b"online", 1, retain=True)
            devices.append(device)
        for device in devices:
            reset(device)
        end = time.perf_counter() + trial * 0.0007
        while time.perf_counter() < end:
            pass  # shorter than what sleep() can do
        broker.restart()
        limit = time.monotonic() + 10
        online = None
        while online != [] and time.monotonic() < limit:
            looker = broker.client("looker")
            looker.subscribe("state/#", qos=0)
            states = {}
            while len(states) < 60:
                message = looker.message()
                states[message.topic] = message.payload
            looker.disconnect()
            online = [topic for topic, payload in states.items() if payload == b"online"]
        assert online == [], f"in trial {trial}"


def test_a_start_that_fails_for_its_port_decides_nothing_about_wills(lives):
    """The grace of a restart begins when clients can come back."""
    broker = lives()
    persistent(broker, "device", wire.V311, will=wire.Will("words/device", b"gone", 1))
    watch(broker, "words/#")
    broker.kill()
    broker.drop_clients()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((broker.host, broker.port))
        other.listen()
        broker.launch()
        assert broker.process.wait(10) == 1
    assert "already in use" in broker.log_of_this_life()
    time.sleep(GRACE_S + 0.5)
    broker.start()
    assert persistent(broker, "device", wire.V311).connack.session_present
    watch(broker, "words/#").quiet(GRACE_S + 1)
