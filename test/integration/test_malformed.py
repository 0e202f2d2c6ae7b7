"""Malformed and illegal packets of every type: the reason code of the standard, the close, and a log line that names the
field. Nobody else notices."""

import re
import struct

import pytest

import mqtt_wire as wire
from mqtt_wire import frame, text

MALFORMED, PROTOCOL_ERROR = 0x81, 0x82


def u16(value):
    return struct.pack("!H", value)


def connect_body(name=b"MQTT", level=5, flags=2, keep_alive=60, props=b"\x00", rest=None):
    return text(name) + bytes([level, flags]) + u16(keep_alive) + props + (text("") if rest is None else rest)


def raw_connect(*arguments, **how):
    return frame(0x10, connect_body(*arguments, **how))


# what: (packet, reason code, the field that the log names)
BAD_CONNECTS = {
    "reserved-flag": (raw_connect(flags=3), MALFORMED, "Connect Flags"),
    "fixed-header-flags": (frame(0x11, connect_body()), MALFORMED, "fixed header flags"),
    "protocol-name": (raw_connect(b"AMQP"), 0x84, "Protocol Name"),
    "protocol-version": (raw_connect(level=6), 0x84, "Protocol Version"),
    "will-qos-3": (raw_connect(flags=0x1E, rest=text("id") + b"\x00" + text("t") + text("p")), MALFORMED, "Will QoS"),
    "will-qos-without-will": (raw_connect(flags=0x0A), MALFORMED, "Will QoS"),
    "will-retain-without-will": (raw_connect(flags=0x22), MALFORMED, "Will Retain"),
    "cut-short": (frame(0x10, connect_body()[:-1]), MALFORMED, "Client Identifier"),
    "bytes-behind": (frame(0x10, connect_body() + b"x"), MALFORMED, "CONNECT"),
    "client-id-not-utf-8": (raw_connect(rest=text(b"\xc3\x28")), MALFORMED, "Client Identifier"),
    "client-id-with-null": (raw_connect(rest=text(b"a\x00b")), MALFORMED, "Client Identifier"),
    "client-id-surrogate": (raw_connect(rest=text(b"\xed\xa0\x80")), MALFORMED, "Client Identifier"),
    "user-name-missing": (raw_connect(flags=0x82), MALFORMED, "User Name"),
    "will-topic-empty": (raw_connect(flags=0x06, rest=text("id") + b"\x00" + text("") + text("p")), None, "Will Topic"),
    "will-topic-wildcard": (raw_connect(flags=0x06, rest=text("id") + b"\x00" + text("a/#") + text("p")), None, "Will Topic"),
    "property-unknown": (raw_connect(props=b"\x02\x7f\x00"), MALFORMED, "Property Identifier"),
    "property-of-another-packet": (raw_connect(props=wire.properties({"topic_alias": 1})), MALFORMED, "Topic Alias"),
    "property-twice": (raw_connect(props=wire.properties([("receive_maximum", 1)] * 2)), PROTOCOL_ERROR, "Receive Maximum"),
    "property-length": (raw_connect(props=b"\x7f", rest=b""), MALFORMED, "Property Length"),
    "receive-maximum-0": (raw_connect(props=wire.properties({"receive_maximum": 0})), PROTOCOL_ERROR, "Receive Maximum"),
    "maximum-packet-size-0": (raw_connect(props=wire.properties({"maximum_packet_size": 0})), PROTOCOL_ERROR,
                              "Maximum Packet Size"),
    "request-problem-information-2": (raw_connect(props=wire.properties({"request_problem_information": 2})),
                                      PROTOCOL_ERROR, "Request Problem Information"),
    "authentication-data-alone": (raw_connect(props=wire.properties({"authentication_data": b"x"})), PROTOCOL_ERROR,
                                  "Authentication Data"),
    "authentication-method-unknown": (raw_connect(props=wire.properties({"authentication_method": "x"})), 0x8C,
                                      "Authentication Method"),
}


@pytest.mark.parametrize("packet, reason, field", BAD_CONNECTS.values(), ids=BAD_CONNECTS)
def test_connect(broker, packet, reason, field):
    """[MQTT-3.1.2-1, MQTT-3.1.2-2, MQTT-3.1.2-3, MQTT-3.1.2-11, MQTT-3.1.2-12, MQTT-3.1.2-13, MQTT-3.1.4-1,
    MQTT-3.2.2-6, MQTT-3.2.2-7, MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-4.12.0-1]"""
    since = len(broker.log())
    # A version that the broker does not know is answered as 3.1.1 demands: with 0x01 for "unacceptable version".
    unknown = reason == 0x84
    client = broker.client(version=wire.V311 if unknown else wire.V5)
    client.send(packet)
    packets = client.until_closed(2)
    reasons = {None: (MALFORMED, PROTOCOL_ERROR, 0x90), 0x84: (0x01,)}.get(reason, (reason,))
    # Before the version is known there may be no CONNACK.
    assert len(packets) == 1 or not packets and (unknown or field == "fixed header flags"), "it is to hear why"
    for answer in packets:
        assert answer.kind == wire.CONNACK and not answer.session_present and answer.reason in reasons
    broker.wait_log(rf"127\.0\.0\.1:\d+.*{re.escape(field)}", 2, since)


@pytest.mark.parametrize("packet, code", [
    (wire.connect("x", wire.V311, level=6), 1),
    (wire.connect("", wire.V311, clean=False), 2),
    (wire.connect("", wire.V31), 2),
    (wire.connect("x", wire.V311, flags=3), None),
    (wire.connect("x", wire.V311)[:-1] + b"\x00", None),
    (wire.connect("x", wire.V311, password="secret"), None),
    (wire.connect(b"\xff", wire.V311), None),
], ids=["level", "empty-id-kept", "empty-id-3.1", "reserved-flag", "null-in-id", "password-without-user", "not-utf-8"])
def test_connect_of_3_x(broker, packet, code):
    """Only what has a return code of 3.x is told. [MQTT3-3.1.2-2, MQTT3-3.1.2-3, MQTT3-3.1.2-22, MQTT3-3.1.3-8,
    MQTT3-3.1.4-1, MQTT3-3.2.2-4, MQTT3-3.2.2-5, MQTT3-3.2.2-6, MQTT3-1.5.3-1, MQTT3-1.5.3-2]"""
    client = broker.client(version=wire.V311)
    client.send(packet)
    assert [(p.kind, p.reason, p.session_present) for p in client.until_closed(2)] == (
        [(wire.CONNACK, code, False)] if code else [])


@pytest.mark.parametrize("first", [wire.PING, wire.publish("a", "b"), wire.subscribe(1, [("a", 0)]), wire.disconnect(),
                                   frame(0xF0, b"\x18\x00"), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"],
                         ids=["PINGREQ", "PUBLISH", "SUBSCRIBE", "DISCONNECT", "AUTH", "HTTP", "TLS"])
def test_the_first_packet_is_a_connect(broker, first):
    """[MQTT-3.1.0-1, MQTT-3.14.0-1, MQTT3-3.1.0-1]"""
    client = broker.client()
    client.send(first)
    assert client.until_closed(2) == []


# what: (packet, reason code, the field that the log names)
BAD_PACKETS = {
    "second-connect": (wire.connect("again"), PROTOCOL_ERROR, "packet type"),
    "type-0": (frame(0x00), MALFORMED, "packet type"),
    "connack": (frame(0x20, b"\x00\x00\x00"), PROTOCOL_ERROR, "packet type"),
    "suback": (frame(0x90, b"\x00\x01\x00\x00"), PROTOCOL_ERROR, "packet type"),
    "unsuback": (frame(0xB0, b"\x00\x01\x00\x00"), PROTOCOL_ERROR, "packet type"),
    "pingresp": (frame(0xD0), PROTOCOL_ERROR, "packet type"),
    "remaining-length-5-bytes": (b"\x30\xff\xff\xff\xff\x01", MALFORMED, "Remaining Length"),
    "packet-too-large": (b"\x30\xff\xff\xff\x7f", 0x95, "Remaining Length"),
    "publish-qos-3": (frame(0x36, text("a") + u16(1) + b"\x00"), MALFORMED, "QoS"),
    "publish-dup-qos-0": (frame(0x38, text("a") + b"\x00"), MALFORMED, "DUP"),
    "publish-topic-wildcard": (wire.publish("a/#"), (MALFORMED, PROTOCOL_ERROR, 0x90), "Topic Name"),
    "publish-topic-empty": (wire.publish(""), PROTOCOL_ERROR, "Topic Name"),
    "publish-topic-null": (wire.publish("a\x00"), MALFORMED, "Topic Name"),
    "publish-topic-not-utf-8": (wire.publish(b"\xff"), MALFORMED, "Topic Name"),
    "publish-topic-cut": (frame(0x30, b"\x00\x05ab"), MALFORMED, "Topic Name"),
    "publish-packet-id-0": (wire.publish("a", "", 1, 0), PROTOCOL_ERROR, "Packet Identifier"),
    "publish-packet-id-missing": (frame(0x32, text("a")), MALFORMED, "Packet Identifier"),
    "publish-alias-0": (wire.publish("a", props={"topic_alias": 0}), 0x94, "Topic Alias"),
    "publish-alias-above": (wire.publish("a", props={"topic_alias": 65535}), 0x94, "Topic Alias"),
    "publish-alias-unknown": (wire.publish("", props={"topic_alias": 1}), PROTOCOL_ERROR, "Topic Alias"),
    "publish-subscription-identifier": (wire.publish("a", props={"subscription_identifier": 1}), PROTOCOL_ERROR,
                                        "Subscription Identifier"),
    "publish-payload-format-2": (wire.publish("a", props={"payload_format_indicator": 2}), PROTOCOL_ERROR,
                                 "Payload Format Indicator"),
    "publish-response-topic-wildcard": (wire.publish("a", props={"response_topic": "a/+"}), PROTOCOL_ERROR, "Response Topic"),
    "publish-property-twice": (wire.publish("a", props=[("content_type", "x")] * 2), PROTOCOL_ERROR, "Content Type"),
    "puback-flags": (wire.ack(wire.PUBACK, 1, flags=1), MALFORMED, "fixed header flags"),
    "puback-cut": (frame(0x40, b"\x00"), MALFORMED, "Packet Identifier"),
    "puback-reason": (wire.ack(wire.PUBACK, 1, 0x01), PROTOCOL_ERROR, "Reason Code"),
    "pubrec-flags": (wire.ack(wire.PUBREC, 1, flags=2), MALFORMED, "fixed header flags"),
    "pubrec-reason": (wire.ack(wire.PUBREC, 1, 0x92), PROTOCOL_ERROR, "Reason Code"),
    "pubrel-flags": (wire.ack(wire.PUBREL, 1, flags=0), MALFORMED, "fixed header flags"),
    "pubrel-reason": (wire.ack(wire.PUBREL, 1, 0x10), PROTOCOL_ERROR, "Reason Code"),
    "pubcomp-flags": (wire.ack(wire.PUBCOMP, 1, flags=8), MALFORMED, "fixed header flags"),
    "pubcomp-property": (frame(0x70, u16(1) + b"\x00" + wire.properties({"topic_alias": 1})), MALFORMED, "Topic Alias"),
    "subscribe-flags": (b"\x80" + wire.subscribe(1, [("a", 0)])[1:], MALFORMED, "fixed header flags"),
    "subscribe-empty": (wire.subscribe(1, []), PROTOCOL_ERROR, "Topic Filter"),
    "subscribe-packet-id-0": (wire.subscribe(0, [("a", 0)]), PROTOCOL_ERROR, "Packet Identifier"),
    "subscribe-options-reserved": (wire.subscribe(1, [("a", 0xC0)]), MALFORMED, "Subscription Options"),
    "subscribe-qos-3": (wire.subscribe(1, [("a", 3)]), (MALFORMED, PROTOCOL_ERROR), "QoS"),
    "subscribe-retain-handling-3": (wire.subscribe(1, [("a", 0x30)]), PROTOCOL_ERROR, "Retain Handling"),
    "subscribe-shared-no-local": (wire.subscribe(1, [("$share/g/a", 4)]), PROTOCOL_ERROR, "No Local"),
    "subscribe-identifier-0": (wire.subscribe(1, [("a", 0)], {"subscription_identifier": 0}), PROTOCOL_ERROR,
                               "Subscription Identifier"),
    "subscribe-filter-not-utf-8": (wire.subscribe(1, [(b"\xc0\x80", 0)]), MALFORMED, "Topic Filter"),
    "subscribe-options-missing": (frame(0x82, u16(1) + b"\x00" + text("a")), MALFORMED, "Subscription Options"),
    "unsubscribe-flags": (b"\xa0" + wire.unsubscribe(1, ["a"])[1:], MALFORMED, "fixed header flags"),
    "unsubscribe-empty": (wire.unsubscribe(1, []), PROTOCOL_ERROR, "Topic Filter"),
    "unsubscribe-packet-id-0": (wire.unsubscribe(0, ["a"]), PROTOCOL_ERROR, "Packet Identifier"),
    "pingreq-flags": (frame(0xC1), MALFORMED, "fixed header flags"),
    "pingreq-body": (frame(0xC0, b"x"), MALFORMED, "Remaining Length"),
    "disconnect-flags": (frame(0xE1), MALFORMED, "fixed header flags"),
    "disconnect-reason": (wire.disconnect(0x02), PROTOCOL_ERROR, "Reason Code"),
    "disconnect-bytes-behind": (frame(0xE0, b"\x00\x00x"), MALFORMED, "DISCONNECT"),
    "disconnect-property": (wire.disconnect(0, {"receive_maximum": 1}), MALFORMED, "Receive Maximum"),
    "auth-flags": (frame(0xF1, b"\x18\x00"), MALFORMED, "fixed header flags"),
    "auth-unasked": (frame(0xF0, b"\x18" + wire.properties({"authentication_method": "x"})), PROTOCOL_ERROR, "packet type"),
    "auth-reason": (frame(0xF0, b"\x42\x00"), PROTOCOL_ERROR, "Reason Code"),
}


@pytest.mark.parametrize("packet, reason, field", BAD_PACKETS.values(), ids=BAD_PACKETS)
def test_after_connect(broker, name, packet, reason, field):
    """[MQTT-2.1.3-1, MQTT-2.2.1-3, MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-1.5.5-1, MQTT-3.1.0-2, MQTT-3.3.1-4, MQTT-3.3.2-2,
    MQTT-3.3.2-8, MQTT-3.3.2-9, MQTT-3.3.2-14, MQTT-3.3.4-6, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.1-1, MQTT-3.6.2-1,
    MQTT-3.8.1-1, MQTT-3.8.3-2, MQTT-3.8.3-4, MQTT-3.8.3-5, MQTT-3.10.1-1, MQTT-3.10.3-2, MQTT-3.14.1-1, MQTT-3.14.2-1,
    MQTT-3.15.1-1, MQTT-4.12.0-7, MQTT-4.13.1-1]"""
    since = len(broker.log())
    other = broker.client(f"o-{name}")
    client = broker.client(name)
    client.send(packet)
    answers = client.until_closed(2)
    reasons = reason if isinstance(reason, tuple) else (reason,)
    assert [answer.kind for answer in answers] == [wire.DISCONNECT]
    assert answers[0].reason in reasons
    broker.wait_log(rf"{re.escape(name)}.*PROTOCOL_ERROR.*{re.escape(field)}", 2, since)
    other.ping()


@pytest.mark.parametrize("packet", [
    wire.connect("again", wire.V311), frame(0x00), frame(0x36, text("a") + u16(1)), wire.publish("", version=wire.V311),
    wire.publish("a/+", version=wire.V311), wire.publish("a", "", 1, 0, version=wire.V311),
    wire.subscribe(1, [], version=wire.V311), wire.subscribe(1, [("a", 3)], version=wire.V311),
    wire.subscribe(1, [("a", 4)], version=wire.V311), b"\x80" + wire.subscribe(1, [("a", 0)], version=wire.V311)[1:],
    wire.unsubscribe(1, [], version=wire.V311), wire.ack(wire.PUBREL, 1, flags=0), frame(0xE1), frame(0xE0, b"\x00"),
    frame(0xF0, b"\x00\x00"),
], ids=["second-connect", "type-0", "qos-3", "topic-empty", "topic-wildcard", "packet-id-0", "subscribe-empty",
        "subscribe-qos-3", "subscribe-reserved", "subscribe-flags", "unsubscribe-empty", "pubrel-flags",
        "disconnect-flags", "disconnect-body", "auth"])
def test_after_connect_of_3_1_1(broker, name, packet):
    """The connection is closed without a word, and the will is published. [MQTT3-2.2.2-2, MQTT3-2.3.1-1, MQTT3-3.1.0-2,
    MQTT3-3.3.1-4, MQTT3-3.3.2-2, MQTT3-3.6.1-1, MQTT3-3.8.1-1, MQTT3-3.8.3-3, MQTT3-3.8.3-4, MQTT3-3.10.3-2,
    MQTT3-3.14.1-1, MQTT3-4.7.3-1, MQTT3-4.8.0-1]"""
    watcher = broker.client(f"w-{name}")
    watcher.subscribe(f"{name}/will")
    client = broker.client(name, wire.V311, will=wire.Will(f"{name}/will"))
    client.send(packet)
    assert client.until_closed(2) == []
    assert watcher.message().payload == b"gone"


@pytest.mark.parametrize("version", [wire.V31, wire.V311, wire.V5], ids=["3.1", "3.1.1", "5"])
@pytest.mark.parametrize("filter_", ["", "a/#/b", "a#", "a+/b", "$share//a", "$share/g", "$share/g/", "$share/g+/a"])
@pytest.mark.parametrize("how", [wire.SUBSCRIBE, wire.UNSUBSCRIBE], ids=["subscribe", "unsubscribe"])
def test_an_illegal_filter_closes_the_connection(broker, name, filter_, version, how):
    """A 5.0 client is told 0x82, and the log shows the filter.
    [MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.3-1, MQTT-4.8.2-1, MQTT-4.8.2-2, MQTT-4.13.1-1, MQTT3-4.7.1-2, MQTT3-4.7.1-3,
    MQTT3-4.7.3-1, MQTT3-4.8.0-1]"""
    since = len(broker.log())
    client = broker.client(name, version)
    client.send(wire.subscribe(1, [("ok", 0), (filter_, 0)], version=version) if how == wire.SUBSCRIBE
                else wire.unsubscribe(1, ["ok", filter_], version=version))
    answers = client.until_closed(2)
    assert [(answer.kind, answer.reason) for answer in answers] == (
        [(wire.DISCONNECT, PROTOCOL_ERROR)] if version == wire.V5 else [])
    shown = rf': "{re.escape(filter_)}"' if filter_ else "empty"
    broker.wait_log(rf"{re.escape(name)}.*PROTOCOL_ERROR.*Topic Filter.*{shown}", 2, since)


@pytest.mark.parametrize("version", [wire.V311, wire.V5], ids=["3.1.1", "5"])
def test_a_refused_filter_concerns_its_entry_alone(start_broker, version):
    """[MQTT-3.8.4-6, MQTT-3.8.4-7, MQTT-3.9.3-1, MQTT3-3.8.4-5, MQTT3-3.9.3-1]"""
    client = start_broker({"limits.max_topic_levels": 2}).client("dev", version)
    assert client.subscribe(("a", 0), ("a/b/c", 0), ("b", 1)) == [0, 0x8F if version == wire.V5 else 0x80, 1]
    client.ping()


@pytest.mark.parametrize("packet, reason", [
    (wire.publish("a\x01"), 0x90), (wire.publish("a", props={"response_topic": "r\x7f"}), 0x90),
    (wire.subscribe(1, [("a\x1f", 0)]), 0x8F), (wire.unsubscribe(1, ["a\x85"]), 0x8F),
], ids=["publish", "response-topic", "subscribe", "unsubscribe"])
def test_control_characters(broker, name, packet, reason):
    """The log shows the name escaped, and says which setting refuses it."""
    since = len(broker.log())
    client = broker.client(name)
    client.send(packet)
    assert [(answer.kind, answer.reason) for answer in client.until_closed(2)] == [(wire.DISCONNECT, reason)]
    broker.wait_log(rf"{re.escape(name)}.*mqtt\.control_characters.*\\[xu]", 2, since)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", broker.log()[since:])


def test_more_unacknowledged_messages_than_agreed(start_broker):
    """[MQTT-3.3.4-7]"""
    broker = start_broker({"mqtt.receive_maximum": 3})
    client = broker.client("dev")
    assert client.connack.get("receive_maximum") == 3
    client.send(b"".join(wire.publish("a", "x", 2, number) for number in range(1, 5)))
    packets = client.until_closed(2)
    assert [packet.kind for packet in packets[:-1]] == [wire.PUBREC] * (len(packets) - 1)
    assert (packets[-1].kind, packets[-1].reason) == (wire.DISCONNECT, 0x93)


def test_what_is_switched_off_is_said_and_refused(start_broker):
    """[MQTT-3.2.2-9, MQTT-3.2.2-10, MQTT-3.2.2-11, MQTT-3.2.2-12, MQTT-3.2.2-13, MQTT-3.2.2-14, MQTT-3.2.2-18]"""
    broker = start_broker({"mqtt.maximum_qos": 1, "mqtt.retain_available": False, "mqtt.wildcard_available": False,
                           "mqtt.shared_available": False, "mqtt.subscription_ids_available": False,
                           "mqtt.topic_alias_maximum": 0})
    client = broker.client("dev")
    said = dict(client.connack.props)
    assert (said["maximum_qos"], said["retain_available"], said["wildcard_subscription_available"],
            said["shared_subscription_available"], said["subscription_identifier_available"]) == (1, 0, 0, 0, 0)
    assert "topic_alias_maximum" not in said
    assert client.subscribe(("a", 2), ("a/#", 0), ("$share/g/a", 0)) == [1, 0xA2, 0x9E]
    for packet, reason in ((wire.publish("a", "x", 2, 1), 0x9B), (wire.publish("a", "x", retain=True), 0x9A),
                           (wire.publish("a", "x", props={"topic_alias": 1}), 0x94),
                           (wire.subscribe(9, [("a", 0)], {"subscription_identifier": 1}), 0xA1)):
        one = broker.client("")
        one.send(packet)
        assert [answer.reason for answer in one.until_closed(2)] == [reason]
    for will, reason in ((wire.Will("a", qos=2), 0x9B), (wire.Will("a", retain=True), 0x9A)):
        one = broker.client()
        one.send_connect("x", will=will)
        assert [answer.reason for answer in one.until_closed(2)] == [reason]


@pytest.mark.parametrize("policy", ["refuse", "allow"])
def test_nothing_of_a_peer_forges_a_log_line(start_broker, name, policy):
    """A client id with line breaks and terminal codes stays within its line."""
    broker = start_broker({"mqtt.control_characters": policy})
    evil = f"{name}\n2026-01-01 forged line\r\x1b[31m\x7f\x85"
    client = broker.client()
    client.send_connect(evil)
    assert client.expect(wire.CONNACK).reason == (0 if policy == "allow" else 0x85)
    client.drop()
    broker.wait_log("forged")
    lines = [line for line in broker.log().splitlines() if "forged" in line]
    assert lines and all(name in line for line in lines)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", broker.log())


def test_noise(broker, name):
    """Random bytes, as a first packet and later: the broker lives, and others with it."""
    import random
    chance = random.Random(20240229)
    other = broker.client(f"o-{name}")
    for number in range(300):
        client = broker.client()
        try:
            if number % 2:
                client.send_connect(f"{name}-{number % 7}")
            client.send(bytes([chance.randrange(256), chance.randrange(40)]) + chance.randbytes(chance.randrange(200)))
        except OSError:
            pass
        client.drop()
    other.ping()
