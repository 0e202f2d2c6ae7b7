"""A broker that is killed, again and again, under load, keeps its promises; and the oracle that says so sees it when not."""

import pytest

import kill_swarm
import mqtt_wire as wire
from kill_ledger import Message, Retained, Session, Span, Wills

SEED = 1


def test_ten_kills(tmp_path):
    """SIGKILL at any time, also while the broker starts: nothing that was acknowledged is lost, QoS 2 comes once, the order
    stays, every will is published or cancelled, Session Present is right. kill_swarm.py does more of it.
    [MQTT-4.1.0-1, MQTT-4.3.3-10, MQTT-4.4.0-1, MQTT-4.6.0-6, MQTT-3.2.2-3]"""
    swarm = kill_swarm.Swarm(tmp_path, SEED, load=2)
    kept = swarm.run(10, every=10)
    print(swarm.report())
    assert kept, "\n".join([f"seed {SEED}, {tmp_path}:", *swarm.problems[:30]])
    counts = swarm.counts
    assert counts["kills"] == 10 and counts["kills at start"] > 0
    for what, least in {"acknowledged": 1000, "delivered at QoS 1": 1000, "delivered at QoS 2": 1000, "take-overs": 5,
                        "Session Present checked": 200, "retained values checked": 100}.items():
        assert counts[what] >= least, f"too little was checked: {what} {counts[what]}"
    assert sum(will.verdict == 1 for will in swarm.wills.all) >= 10
    assert sum(will.verdict == 0 for will in swarm.wills.all) >= 5


def test_the_oracle_sees_a_broker_that_keeps_nothing(tmp_path):
    swarm = kill_swarm.Swarm(tmp_path, SEED, {"store.sync": "memory"}, patience=2, load=2)
    assert not swarm.run(1, every=1)
    text = "\n".join(swarm.problems)
    for what in ("Session Present is False, and must be True", "retained on", "published 0 times instead of 1"):
        assert what in text


# --- the oracle itself

def message(number=0, qos=2, sent=10, acked=None, topic="t/a"):
    made = Message(number, "p", topic, qos, number + 1, 50)
    made.sent, made.acked = sent, acked
    return made


def session(asked=1, granted=2, ending=None, ended=None):
    made = Session("s")
    span = Span(2, asked)
    span.granted, span.ending, span.ended = granted, ending, ended
    made.filters["t/#"].append(span)
    return made


@pytest.mark.parametrize("held, sent, must, may", [
    (session(), message(acked=11), True, True),
    (session(), message(), False, True),                                  # not acknowledged
    (session(granted=None), message(acked=11), False, True),              # SUBSCRIBE without SUBACK
    (session(asked=10, granted=12), message(sent=11, acked=13), False, True),  # at the same time
    (session(asked=20, granted=21), message(acked=11), False, False),     # subscribed afterwards
    (session(asked=20, granted=21), message(), False, True),              # published once more afterwards, perhaps
    (session(ending=15), message(acked=11), False, True),
    (session(ending=5, ended=6), message(acked=11), False, False),        # unsubscribed before
    (session(), message(acked=11, topic="u"), False, False),
])
def test_who_must_and_who_may_have_a_message(held, sent, must, may):
    assert (held.must_have(sent), held.may_have(sent)) == (must, may)


@pytest.fixture
def subscriber(tmp_path):
    """One of a swarm without a broker, that has been subscribed to t/# at QoS 2 since tick 2."""
    swarm = kill_swarm.Swarm(tmp_path)
    swarm.messages = [message(number, sent=10 + number, acked=20 + number) for number in range(3)]
    one = swarm.subscribers[0]
    one.session = session()
    swarm.subscribers = [one]
    yield one
    swarm.selector.close()


def deliver(subscriber, *numbers, qos=2, payload=None):
    for number in numbers:
        sent = subscriber.swarm.messages[number]
        subscriber.deliver(wire.Packet(wire.PUBLISH, qos << 1, b"", topic=sent.topic, payload=payload or sent.payload()), number)
    return [*subscriber.swarm.problems, *subscriber.swarm.missing()]


def test_all_came_in_order(subscriber):
    assert deliver(subscriber, 0, 1, 2) == []


@pytest.mark.parametrize("numbers, problem", [
    ((0, 2), "lost message 1"), ((0, 1, 1, 2), "delivered 2 times at QoS 2: message 1"), ((0, 2, 1), "out of order")])
def test_what_is_lost_comes_twice_or_too_early(subscriber, numbers, problem):
    problems = deliver(subscriber, *numbers)
    assert len(problems) == 1 and problem in problems[0]


def test_what_comes_wrong(subscriber):
    assert "came at QoS 1 instead of {2}" in deliver(subscriber, 0, qos=1)[0]
    assert "came on t/a with b'other'" in deliver(subscriber, 1, payload=b"other")[1]
    subscriber.session.filters.clear()
    assert "came without a subscription" in deliver(subscriber, 2)[2]


def will(delay=0, expiry=3600, grace=5, connected=True):
    wills = Wills(grace)
    one = wills.connect("m", delay, expiry, False, 100.0)
    if connected:
        wills.connack(one, False, 100.1)
    return wills, one


def verdict(wills, one, came, at=130.0):
    """With which the oracle agrees when the will has come so often."""
    for _ in range(came):
        wills.publication(one.number, at)
    wills.settle(200.0)
    return not wills.take_problems()


@pytest.mark.parametrize("came, right", [(0, False), (1, True), (2, False)])
def test_a_lost_connections_will(came, right):
    wills, one = will()
    wills.lost(one, 110.0)
    assert verdict(wills, one, came) == right


@pytest.mark.parametrize("came, right", [(0, True), (1, False)])
def test_a_will_whose_client_said_goodbye(came, right):
    wills, one = will()
    wills.goodbye(one, 110.0)
    assert verdict(wills, one, came) == right


@pytest.mark.parametrize("came, right", [(0, True), (1, True), (2, False)])
def test_a_goodbye_right_before_a_kill(came, right):
    wills, one = will()
    wills.goodbye(one, 110.0)
    wills.killed(110.1)
    wills.up(110.5)
    assert verdict(wills, one, came) == right


@pytest.mark.parametrize("returns_at, came, right", [
    (112.0, 0, True), (112.0, 1, False), (140.0, 1, True), (140.0, 0, False), (None, 1, True), (None, 0, False)])
def test_a_client_that_was_connected_at_the_kill(returns_at, came, right):
    wills, one = will()
    wills.killed(110.0)
    wills.up(110.5)
    if returns_at is not None:
        if returns_at > 130 and came:
            wills.publication(one.number, 130.0)
            came = 0
        wills.connack(wills.connect("m", 0, 3600, False, returns_at), True, returns_at + 0.1)
    assert verdict(wills, one, came, 150.0) == right


def test_a_will_that_comes_too_early():
    wills, one = will(delay=10)
    wills.lost(one, 110.0)
    wills.publication(one.number, 119.0)
    assert "too early" in wills.take_problems()[0]


@pytest.mark.parametrize("delay, session_present, came, right", [
    (0, True, 1, True), (0, True, 0, False), (10, True, 0, True), (10, True, 1, False), (10, False, 1, True),
    (10, False, 0, False)])
def test_a_take_over(delay, session_present, came, right):
    wills, one = will(delay=delay)
    new = wills.connect("m", 0, 3600, not session_present, 110.0)
    wills.connack(new, session_present, 110.1)
    assert verdict(wills, one, came) == right


def test_what_a_topic_may_hold():
    retained = Retained()
    sent = [message(number, sent=10 * number, acked=acked, topic="r") for number, acked in ((1, 12), (2, 22), (3, None))]
    sent[1].deletes = True
    for one in sent:
        retained.sent(one)
    assert retained.allowed("r", 15) == {1, None, 3}
    assert retained.allowed("r", 25) == {None, 3}
    assert retained.allowed("elsewhere", 25) == {None}
