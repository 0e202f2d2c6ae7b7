"""What a client gets, packet by packet."""

import pytest

import mqtt_wire as wire


def test_the_brokers_topic_aliases(broker, name):
    """Used only as far as the client takes them; the first use of one carries the topic. [MQTT-3.1.2-26, MQTT-3.3.2-11,
    MQTT-3.3.2-8]"""
    reader = broker.client(name, props={"topic_alias_maximum": 2})
    reader.subscribe(f"{name}/#")
    writer = broker.client(f"w-{name}")
    topics = {}
    for number in range(60):
        wanted = f"{name}/{number % 3}"
        writer.send(wire.publish(wanted, "x"))
        message = reader.message()
        alias = message.get("topic_alias")
        if alias is not None:
            assert 1 <= alias <= 2
            if message.topic:
                topics[alias] = message.topic
        assert (message.topic or topics[alias]) == wanted
    assert topics, "the client offered aliases, and none was used"


@pytest.mark.parametrize("props", [{}, {"topic_alias_maximum": 0}])
def test_no_topic_aliases_for_one_who_takes_none(broker, name, props):
    """[MQTT-3.1.2-27]"""
    reader = broker.client(name, props=props)
    reader.subscribe(name)
    writer = broker.client(f"w-{name}")
    for _ in range(5):
        writer.send(wire.publish(name, "x"))
        message = reader.message()
        assert message.topic == name and message.get("topic_alias") is None


def test_packet_identifiers_are_not_used_twice_at_once(broker, name):
    """[MQTT-2.2.1-4, MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.3-1, MQTT-4.3.3-2]"""
    reader = broker.client(name)
    reader.subscribe(name, qos=2)
    writer = broker.client(f"w-{name}")
    for number in range(100):
        writer.publish(name, f"{number}", qos=1 + number % 2)
    messages = [reader.expect(wire.PUBLISH) for _ in range(100)]
    assert len({message.packet_id for message in messages} - {0}) == 100
    assert [int(message.payload) for message in messages] == list(range(100))
    assert not any(message.dup for message in messages)


@pytest.mark.parametrize("kind", [wire.PUBACK, wire.PUBREC])
def test_a_refused_message_is_not_sent_again(broker, name, kind):
    """[MQTT-4.4.0-2, MQTT-4.3.3-4]"""
    qos = 1 if kind == wire.PUBACK else 2
    reader = broker.client(name, props={"session_expiry_interval": 60})
    reader.subscribe(name, qos=qos)
    broker.client(f"w-{name}").publish(name, "x", qos=qos)
    message = reader.expect(wire.PUBLISH)
    reader.send(wire.ack(kind, message.packet_id, 0x83))
    reader.ping()
    reader.drop()
    back = broker.client(name, clean=False)
    assert back.connack.session_present
    back.quiet(0.3)


def test_nobody_is_subscribed(broker, name):
    """[MQTT-3.4.2-1, MQTT-3.5.2-1]"""
    client = broker.client(name)
    assert client.publish(name, "x", qos=1) == 0x10
    assert client.publish(name, "x", qos=2) == 0x10


def test_a_pubrel_for_nothing(broker, name):
    """[MQTT-3.7.2-1, MQTT-4.3.3-11]"""
    client = broker.client(name)
    client.send(wire.ack(wire.PUBREL, 7))
    answer = client.expect(wire.PUBCOMP)
    assert (answer.packet_id, answer.reason) == (7, 0x92)


def test_one_suback_and_one_unsuback_for_many_filters(broker, name):
    """[MQTT-3.8.4-2, MQTT-3.8.4-5, MQTT-3.8.4-6, MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6, MQTT-3.11.3-1]"""
    client = broker.client(name)
    assert client.subscribe((f"{name}/a", 0), (f"{name}/b", 1), (f"{name}/c", 2)) == [0, 1, 2]
    client.send(wire.unsubscribe(9, [f"{name}/a", f"{name}/x", f"{name}/c"]))
    answer = client.expect(wire.UNSUBACK)
    assert (answer.packet_id, answer.reasons) == (9, [0, 0x11, 0])


@pytest.mark.parametrize("version", [wire.V31, wire.V311, wire.V5])
@pytest.mark.parametrize("client_id", ["a", "0123456789abcdefghijABC", "x" * 1000, "Zürich/£ 1"])
def test_client_identifiers(broker, version, client_id):
    """23 letters and digits must do; longer ones and other letters do, in 3.1 too. [MQTT-3.1.3-5, MQTT-3.1.3-4,
    MQTT3-3.1.3-5]"""
    broker.client(client_id, version).ping()


@pytest.mark.parametrize("version", [wire.V311, wire.V5])
def test_an_empty_identifier(broker, version):
    """[MQTT-3.1.3-6, MQTT3-3.1.3-6]"""
    one, other = broker.client("", version), broker.client("", version)
    one.ping()
    other.ping()


def test_a_byte_order_mark_is_a_character(broker, name):
    """[MQTT-1.5.4-3, MQTT-4.7.3-4, MQTT3-1.5.3-3, MQTT3-4.7.3-4]"""
    client = broker.client(name)
    client.subscribe(f"\ufeff{name}", f"{name}/ä")
    client.publish(name, "without", qos=1)
    client.publish(f"{name}/a\u0308", "decomposed", qos=1)
    client.publish(f"\ufeff{name}", "with", qos=1)
    message = client.message()
    assert (message.topic, message.payload) == (f"\ufeff{name}", b"with")
    client.quiet(0.2)


def test_many_packets_in_one_piece_and_one_packet_in_many(broker, name):
    """TCP is a stream: where it is cut says nothing. [MQTT-4.2.0-1, MQTT3-7.1.1-1]"""
    stream = wire.connect(name) + wire.subscribe(1, [(name, 0)]) + wire.publish(name, "x" * 300) + wire.PING
    for size in (1, 7, len(stream)):
        client = broker.client()
        for at in range(0, len(stream), size):
            client.send(stream[at:at + size])
        kinds = [client.recv().kind for _ in range(4)]
        assert kinds[0] == wire.CONNACK
        assert sorted(kinds) == [wire.CONNACK, wire.PUBLISH, wire.SUBACK, wire.PINGRESP]
        client.disconnect()
