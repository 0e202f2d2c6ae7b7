"""A reader that stops reading is stuck, not gone: it gets its control packets, and nobody else notices it."""

import socket
import threading
import time

import pytest

import mqtt_wire as wire


def small_window_client(broker, client_id, **how):
    """A client whose receive buffer is soon full."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(broker.target)
    return wire.Client(sock).connect(client_id, **how)


def flood(writer, topic, count, qos=1, size=20000):
    for number in range(count):
        payload = b"%08d" % number + b"x" * (size - 8)
        if qos == 0:
            writer.send(wire.publish(topic, payload))
        else:
            assert writer.publish(topic, payload, qos) == 0


class Reader(threading.Thread):
    """Takes every message as it comes."""

    def __init__(self, client, count):
        super().__init__(daemon=True)
        self.client, self.count = client, count
        self.numbers, self.slowest, self.failure = [], 0.0, None
        self.start()

    def run(self):
        try:
            for _ in range(self.count):
                self.numbers.append(int(self.client.message(10).payload[:8]))
        except Exception as error:  # for the test's thread to see
            self.failure = error

    def result(self):
        self.join(20)
        assert self.failure is None, f"after {len(self.numbers)} messages: {self.failure!r}"
        return self.numbers


def test_a_stuck_reader_is_alone_with_it(start_broker):
    """Others get every message; the stuck one is closed by limits.write_stall_timeout_s; its session keeps what it has
    not got. [MQTT-4.5.0-1]"""
    broker = start_broker({"limits.write_stall_timeout_s": 3, "limits.max_packet_size": "64KiB", "limits.max_output_bytes": "256KiB"})
    stuck = small_window_client(broker, "stuck", keep_alive=0, props={"session_expiry_interval": 60})
    stuck.subscribe("news", qos=1)
    reader_client = broker.client("reader")
    reader_client.subscribe("news", qos=1)
    count = 200
    reader = Reader(reader_client, count)
    began = time.monotonic()
    flood(broker.client("writer"), "news", count)
    assert reader.result() == list(range(count))
    # 4 MB that nobody takes must not have slowed those who do.
    assert time.monotonic() - began < 10
    state = broker.wait_state("stuck", lambda state: state["connectionState"] == "DISCONNECTED", 8)
    assert state["disconnectReason"] == "WRITE_STALLED"
    assert time.monotonic() - began >= 2.9
    broker.wait_log("Client stuck .*WRITE_STALLED")
    # Nothing is lost that the session's limits allow: it all comes when the reader does its work again.
    back = broker.client("stuck", clean=False)
    assert back.connack.session_present
    got = []
    while len(got) < count:
        got.append(int(back.message(5).payload[:8]))
    assert got == list(range(count))


def test_control_packets_are_not_dropped_for_a_stuck_reader(start_broker):
    """PINGRESP, PUBACK and SUBACK of a client whose queue is full wait for it, whatever becomes of messages.
    [MQTT-3.12.4-1, MQTT-3.3.4-1, MQTT-3.8.4-1]"""
    broker = start_broker({"limits.write_stall_timeout_s": 60, "limits.max_packet_size": "64KiB", "limits.max_output_bytes": "128KiB"})
    stuck = small_window_client(broker, "stuck", keep_alive=0)
    stuck.subscribe("news")
    writer = broker.client("writer")
    flood(writer, "news", 300, qos=0)
    writer.ping()
    stuck.send(wire.PING + wire.publish("elsewhere", "x", 1, 77) + wire.subscribe(78, [("other", 0)]) + wire.PING)
    # The broker has read them: they count.
    broker.wait_state("stuck", lambda state: state["packetsReceived"] >= 6)
    kinds = []
    numbers = []
    while kinds.count(wire.PINGRESP) < 2 or wire.SUBACK not in kinds:
        packet = stuck.recv()
        if packet.kind == wire.PUBLISH:
            numbers.append(int(packet.payload[:8]))
        else:
            kinds.append(packet.kind)
            assert packet.packet_id in (None, 77, 78)
    assert sorted(kinds) == sorted([wire.PINGRESP, wire.PUBACK, wire.SUBACK, wire.PINGRESP])
    dropped = 300 - len(numbers)
    assert numbers == sorted(numbers)
    assert dropped > 0, "6 MB cannot have fitted: the bound of the queue is not kept"
    # Its queue is free again, so that new messages come.
    writer.publish("news", b"%08d" % 999, 0)
    while int(stuck.message().payload[:8]) != 999:
        pass
    # Dropped messages are counted.
    asker = broker.client("asker")
    asker.subscribe("$SYS/broker/publish/messages/dropped")
    limit = time.monotonic() + 15
    while int(asker.message(12).payload) == 0:
        assert time.monotonic() < limit


def test_a_stuck_reader_that_pings_lives(start_broker):
    """It is silent towards nobody: its keep alive holds, though it takes nothing. [MQTT-3.1.2-22]"""
    broker = start_broker({"limits.write_stall_timeout_s": 60, "limits.max_packet_size": "64KiB", "limits.max_output_bytes": "128KiB"})
    stuck = small_window_client(broker, "stuck", keep_alive=1)
    stuck.subscribe("news")
    flood(broker.client("writer"), "news", 200, qos=0)
    for _ in range(8):
        stuck.send(wire.PING)
        time.sleep(0.4)
    assert broker.state("stuck")["connectionState"] == "CONNECTED"
    answers = 0
    while answers < 8:
        answers += stuck.recv().kind == wire.PINGRESP


@pytest.mark.parametrize("receive_maximum", [1, 5])
def test_the_window_holds_back_messages_only(broker, name, receive_maximum):
    """[MQTT-3.3.4-9, MQTT-3.3.4-10, MQTT-4.9.0-2, MQTT-4.9.0-3]"""
    reader = broker.client(name, props={"receive_maximum": receive_maximum})
    reader.subscribe(name, qos=1)
    writer = broker.client(f"w-{name}")
    for number in range(20):
        writer.publish(name, f"{number}", qos=1)
    open_messages = [reader.expect(wire.PUBLISH) for _ in range(receive_maximum)]
    reader.quiet(0.2)
    reader.ping()
    for number in range(20):
        message = open_messages.pop(0)
        assert message.payload == b"%d" % number
        reader.acknowledge(message)
        if number + receive_maximum < 20:
            open_messages.append(reader.expect(wire.PUBLISH))
    reader.quiet(0.2)


def test_a_message_too_large_for_a_client_is_not_sent_to_it(broker, name):
    """[MQTT-3.1.2-24, MQTT-3.1.2-25]"""
    reader = broker.client(name, props={"maximum_packet_size": 100})
    reader.subscribe(name, qos=1)
    writer = broker.client(f"w-{name}")
    writer.publish(name, "x" * 200, qos=1)
    writer.publish(name, "small", qos=1)
    assert reader.message().payload == b"small"
    reader.quiet(0.2)
