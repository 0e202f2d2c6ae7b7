"""paho-mqtt, in the three versions of the protocol."""

import queue

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.subscribeoptions import SubscribeOptions

from paho_client import VERSIONS, Paho

every_version = pytest.mark.parametrize("version", list(VERSIONS))


@pytest.fixture
def paho(broker):
    """Makes paho clients, and ends those that the test left running."""
    made = []

    def make(*arguments, **how):
        made.append(Paho(broker, *arguments, **how))
        return made[-1]

    yield make
    for one in made:
        one.client.disconnect()
        one.client.loop_stop()


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_make_the_round_trip(paho, name, version, qos):
    """[MQTT-4.3.1-1, MQTT-4.3.2-4, MQTT-4.3.3-8, MQTT-4.3.3-11, MQTT3-4.3.2-2, MQTT3-4.3.3-2, MQTT-3.8.4-7]"""
    reader, writer = paho(f"r-{name}", version).start(), paho(f"w-{name}", version).start()
    assert reader.subscribe(f"{name}/#", qos=2) == [2]
    for number in range(20):
        writer.publish(f"{name}/a", f"{number}", qos)
    got = [reader.message() for _ in range(20)]
    assert [message.payload for message in got] == [f"{number}".encode() for number in range(20)]
    assert {(message.qos, message.retain, message.topic) for message in got} == {(qos, False, f"{name}/a")}
    reader.quiet()


@every_version
def test_the_lower_qos_counts(paho, name, version):
    """[MQTT-3.8.4-8, MQTT3-3.8.4-6]"""
    reader, writer = paho(f"r-{name}", version).start(), paho(f"w-{name}", version).start()
    assert reader.subscribe(name, qos=1) == [1]
    for qos in range(3):
        writer.publish(name, "x", qos)
    assert sorted(reader.message().qos for _ in range(3)) == [0, 1, 1]


@every_version
def test_unsubscribe_ends_it(paho, name, version):
    """[MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT3-3.10.4-1, MQTT3-3.10.4-2]"""
    client = paho(name, version).start()
    client.subscribe(name)
    client.publish(name, "one")
    assert client.message().payload == b"one"
    client.unsubscribe(name)
    client.publish(name, "two")
    client.quiet()


@every_version
def test_a_retained_message_waits_for_the_subscriber(paho, name, version):
    """[MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7, MQTT-3.3.1-8, MQTT-3.3.1-9, MQTT3-3.3.1-5, MQTT3-3.3.1-6,
    MQTT3-3.3.1-8, MQTT3-3.3.1-10, MQTT3-3.3.1-11, MQTT3-3.3.1-12]"""
    writer = paho(f"w-{name}", version).start()
    writer.publish(f"{name}/a", "kept", 1, retain=True)
    writer.publish(f"{name}/a", "passing", 1)
    reader = paho(f"r-{name}", version).start()
    reader.subscribe(f"{name}/+", qos=1)
    message = reader.message()
    assert (message.payload, message.retain, message.qos) == (b"kept", True, 1)
    writer.publish(f"{name}/a", "", 1, retain=True)
    message = reader.message()
    assert (message.payload, message.retain) == (b"", False)
    late = paho(f"l-{name}", version).start()
    late.subscribe(f"{name}/+")
    late.quiet()


@every_version
def test_the_will_of_a_lost_client(paho, name, version):
    """[MQTT-3.1.2-8, MQTT-3.1.2-15, MQTT3-3.1.2-8, MQTT3-3.1.2-17]"""
    watcher = paho(f"w-{name}", version).start()
    watcher.subscribe(f"{name}/will", qos=2)
    lost = paho(name, version, will={"topic": f"{name}/will", "payload": "gone", "qos": 2, "retain": True}).start()
    watcher.quiet(0.1)
    lost.drop()
    message = watcher.message()
    assert (message.payload, message.qos) == (b"gone", 2)
    late = paho(f"l-{name}", version).start()
    late.subscribe(f"{name}/will")
    assert late.message().retain
    late.publish(f"{name}/will", "", 1, retain=True)


@every_version
def test_no_will_after_a_goodbye(paho, name, version):
    """[MQTT-3.14.4-3, MQTT-3.1.2-10, MQTT3-3.14.4-3, MQTT3-3.1.2-10]"""
    watcher = paho(f"w-{name}", version).start()
    watcher.subscribe(f"{name}/will")
    paho(name, version, will={"topic": f"{name}/will", "payload": "gone"}).start().disconnect()
    watcher.quiet()


@every_version
def test_a_session_goes_on_with_what_was_missed(paho, name, version):
    """[MQTT-3.1.2-5, MQTT-3.1.2-23, MQTT-3.2.2-3, MQTT-4.5.0-1, MQTT-4.6.0-6, MQTT3-3.1.2-4, MQTT3-3.1.2-5,
    MQTT3-3.2.2-2, MQTT3-3.2.2-3, MQTT3-4.5.0-1, MQTT3-4.6.0-5]"""
    first = paho(name, version, clean=False, expiry=60)
    assert not first.connect()[0]
    first.subscribe(f"{name}/#", qos=2)
    first.drop()
    writer = paho(f"w-{name}", version).start()
    for number in range(50):
        writer.publish(f"{name}/a", f"{number}", 1 + number % 2)
    second = paho(name, version, clean=False, expiry=60)
    present, code, _ = second.connect()
    assert code == 0
    # The flag came with 3.1.1.
    assert present == (version != "v3.1")
    got = [second.message() for _ in range(50)]
    # paho hands a QoS 2 message on when its exchange is over: each QoS has its own order.
    for qos in (1, 2):
        assert [int(message.payload) for message in got if message.qos == qos] == list(range(qos - 1, 50, 2))
    second.quiet()
    second.disconnect()
    third = paho(name, version, clean=True)
    assert not third.connect()[0]
    third.publish(f"{name}/a", "lost", 1)
    third.quiet()


@every_version
def test_the_newcomer_takes_the_session_over(paho, name, version):
    """[MQTT-3.1.4-3, MQTT3-3.1.4-2]"""
    old = paho(name, version, clean=False, expiry=60).start()
    old.subscribe(f"{name}/#", qos=1)
    new = paho(name, version, clean=False, expiry=60)
    present = new.connect()[0]
    assert present == (version != "v3.1")
    code, _ = old.disconnects.get(timeout=5)
    assert code == (0x8E if version == "v5" else mqtt.MQTT_ERR_CONN_LOST)
    new.publish(f"{name}/a", "to the winner", 1)
    assert new.message().payload == b"to the winner"
    old.quiet()


def test_a_shared_subscription_gives_each_message_to_one(paho, name):
    """[MQTT-4.8.2-1, MQTT-4.8.2-3]"""
    members = [paho(f"m{number}-{name}").start() for number in range(3)]
    for member in members:
        assert member.subscribe(f"$share/group/{name}/#", qos=1) == [1]
    others = paho(f"o-{name}").start()
    others.subscribe(f"$share/others/{name}/#", qos=1)
    writer = paho(f"w-{name}").start()
    for number in range(60):
        writer.publish(f"{name}/a", f"{number}", 1)
    assert [int(others.message().payload) for _ in range(60)] == list(range(60))
    shares = []
    for member in members:
        share = []
        while True:
            try:
                share.append(int(member.message(0.3).payload))
            except queue.Empty:
                break
        assert share, "a member of the group got nothing"
        shares += share
    assert sorted(shares) == list(range(60))


def test_messages_of_a_lost_member_go_to_another(paho, name):
    """A member that vanishes with its session leaves nothing behind. [MQTT-4.5.0-1]"""
    lost, stays = paho(f"lost-{name}").start(), paho(f"stays-{name}").start()
    for member in (lost, stays):
        member.subscribe(f"$share/group/{name}", qos=1)
    lost.drop()
    writer = paho(f"w-{name}").start()
    for number in range(10):
        writer.publish(name, f"{number}", 1)
    assert [int(stays.message().payload) for _ in range(10)] == list(range(10))


def test_subscription_identifiers_travel_with_the_message(paho, name):
    """[MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4]"""
    client = paho(name).start()
    client.subscribe(f"{name}/+", qos=0, SubscriptionIdentifier=7)
    client.subscribe(f"{name}/#", qos=1, SubscriptionIdentifier=268435455)
    client.publish(f"{name}/a", "x", 2)
    message = client.message()
    assert sorted(message.properties.SubscriptionIdentifier) == [7, 268435455]
    assert message.qos == 1
    client.quiet()


def test_properties_are_passed_on_as_they_came(paho, name):
    """[MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20]"""
    client = paho(name).start()
    client.subscribe(name, qos=1)
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("ä", "€")]
    client.publish(name, "x", 1, UserProperty=pairs, ContentType="text/plain", PayloadFormatIndicator=1,
                   ResponseTopic=f"{name}/answer", CorrelationData=b"\x00\xff\x01")
    got = client.message().properties
    assert got.UserProperty == pairs
    assert (got.ContentType, got.PayloadFormatIndicator) == ("text/plain", 1)
    assert (got.ResponseTopic, got.CorrelationData) == (f"{name}/answer", b"\x00\xff\x01")


def test_properties_of_a_will_are_passed_on(paho, name):
    """[MQTT-3.1.3-10]"""
    from paho_client import props
    watcher = paho(f"w-{name}").start()
    watcher.subscribe(f"{name}/will")
    pairs = [("z", "1"), ("y", "2"), ("z", "3")]
    lost = paho(name)
    lost.client.will_set(f"{name}/will", "gone", properties=props(
        "WILLMESSAGE", UserProperty=pairs, ContentType="last/words", CorrelationData=b"\x01", WillDelayInterval=0))
    lost.start()
    lost.drop()
    got = watcher.message().properties
    assert (got.UserProperty, got.ContentType, got.CorrelationData) == (pairs, "last/words", b"\x01")
    assert not hasattr(got, "WillDelayInterval")


def test_request_and_response(paho, name):
    """[MQTT-3.1.2-28, MQTT-3.3.2-15, MQTT-3.3.2-16]"""
    asker, worker = paho(f"asker-{name}"), paho(f"worker-{name}").start()
    _, _, answer = asker.connect(RequestResponseInformation=1)
    topic = f"{answer.ResponseInformation}/{name}"
    assert asker.subscribe(topic, qos=1) == [1]
    worker.subscribe(f"{name}/requests", qos=1)
    asker.publish(f"{name}/requests", "2+2", 1, ResponseTopic=topic, CorrelationData=b"\x07")
    request = worker.message()
    worker.publish(request.properties.ResponseTopic, "4", 1, CorrelationData=request.properties.CorrelationData)
    response = asker.message()
    assert (response.payload, response.properties.CorrelationData) == (b"4", b"\x07")
    assert not hasattr(paho(f"silent-{name}").connect()[2], "ResponseInformation")


def test_a_message_expires_while_nobody_takes_it(paho, name):
    """[MQTT-3.3.2-5, MQTT-3.3.2-6]"""
    import time
    away = paho(name, clean=False, expiry=60).start()
    away.subscribe(name, qos=1)
    away.drop()
    writer = paho(f"w-{name}").start()
    writer.publish(name, "short", 1, MessageExpiryInterval=1)
    writer.publish(name, "long", 1, MessageExpiryInterval=100)
    writer.publish(name, "for ever", 1)
    time.sleep(2.1)
    back = paho(name, clean=False, expiry=60).start()
    first, second = back.message(), back.message()
    assert first.payload == b"long"
    assert 96 <= first.properties.MessageExpiryInterval <= 98
    assert second.payload == b"for ever"
    assert not hasattr(second.properties, "MessageExpiryInterval")
    back.quiet()


def test_an_empty_id_gets_one(paho):
    """[MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16]"""
    ids = {paho("").connect()[2].AssignedClientIdentifier for _ in range(20)}
    assert len(ids) == 20 and all(ids)


def test_a_topic_alias_stands_for_the_topic(paho, name):
    """[MQTT-3.3.2-12, MQTT-3.3.2-7]"""
    client = paho(name)
    most = client.connect()[2].TopicAliasMaximum
    assert most > 0
    client.subscribe(f"{name}/#", qos=1)
    client.publish(f"{name}/a", "one", 1, TopicAlias=most)
    assert client.message().topic == f"{name}/a"
    client.publish(f"{name}/b", "two", 1, TopicAlias=most)
    message = client.message()
    assert message.topic == f"{name}/b"
    # What an alias is called between this client and the broker is nobody else's business.
    assert not hasattr(message.properties, "TopicAlias")


def test_subscription_options(paho, name):
    """[MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.3.1-12, MQTT-3.3.1-13, MQTT-3.8.3-3]"""
    client = paho(name).start()
    client.publish(f"{name}/kept", "kept", 1, retain=True)
    retained = {}
    for handling in range(3):
        counts = []
        for _ in range(2):
            client.subscribe(f"{name}/kept", options=SubscribeOptions(qos=1, retainHandling=handling))
            count = 0
            while True:
                try:
                    client.message(0.2)
                    count += 1
                except queue.Empty:
                    break
            counts.append(count)
        client.unsubscribe(f"{name}/kept")
        retained[handling] = counts
    assert retained == {0: [1, 1], 1: [1, 0], 2: [0, 0]}
    for keep in (False, True):
        client.subscribe(f"{name}/live", options=SubscribeOptions(qos=1, retainAsPublished=keep, retainHandling=2))
        client.publish(f"{name}/live", "x", 1, retain=True)
        assert client.message().retain == keep
    client.subscribe(f"{name}/own", options=SubscribeOptions(qos=1, noLocal=True))
    client.publish(f"{name}/own", "mine", 1)
    client.quiet()
    paho(f"o-{name}").start().publish(f"{name}/own", "of another", 1)
    assert client.message().payload == b"of another"
    for topic in ("kept", "live"):
        client.publish(f"{name}/{topic}", "", 1, retain=True)
