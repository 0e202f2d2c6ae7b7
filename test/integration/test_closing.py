"""A client that is closed while it sends can read why: the broker reads on for a moment before it closes the socket."""

import os
import select
import socket
import time

import pytest

import mqtt_wire as wire

CHUNK = wire.publish("flood", b"x" * 1000) * 16


class Flood:
    """Sends as fast as the socket takes it, and reads."""

    def __init__(self, client):
        self.client = client
        client.sock.setblocking(False)

    def run(self, seconds, read=True):
        """The packets that came if the broker closed in order; nothing if it did not close. Any error is one too many."""
        client, limit, out = self.client, time.monotonic() + seconds, b""
        while time.monotonic() < limit:
            readable, writable, _ = select.select([client.sock] if read else [], [client.sock], [], 0.05)
            if writable:
                out = out or CHUNK
                out = out[client.sock.send(out):]
            if readable:
                data = client.sock.recv(65536)
                if not data:
                    return self.packets()
                client.buffer += data
        return None

    def packets(self):
        packets = []
        while packet := self.client._from_buffer():
            packets.append(packet)
        assert not self.client.buffer, "the last packet is not whole"
        return packets

    def until_closed(self):
        # First as one who is too busy to read, which is what libraries with one thread are.
        assert self.run(0.3, read=False) is None
        packets = self.run(5)
        assert packets is not None, "the broker did not close"
        return packets


def sockets_of(broker):
    """Connections that the broker has open, on its port."""
    with open(f"/proc/{broker.pid}/net/tcp") as table:
        mine = f"0100007F:{broker.port:04X}"
        inodes = {line.split()[9] for line in table if line.split()[1] == mine and line.split()[3] != "0A"}
    held = 0
    for fd in os.listdir(f"/proc/{broker.pid}/fd"):
        try:
            held += os.readlink(f"/proc/{broker.pid}/fd/{fd}").removeprefix("socket:[").removesuffix("]") in inodes
        except FileNotFoundError:
            pass
    return held


def wait_for(condition, seconds):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_take_over(broker, name):
    """[MQTT-3.1.4-3]"""
    flood = Flood(broker.client(name))
    assert flood.run(0.1) is None
    broker.client(name)
    assert [(p.kind, p.reason) for p in flood.until_closed()] == [(wire.DISCONNECT, 0x8E)]


def test_take_over_of_a_client_of_3_1_1(broker, name):
    """It cannot be told, but the end comes in order."""
    flood = Flood(broker.client(name, wire.V311))
    global CHUNK
    whole, CHUNK = CHUNK, wire.publish("flood", b"x" * 1000, version=wire.V311) * 16
    try:
        assert flood.run(0.1) is None
        broker.client(name, wire.V311)
        assert flood.until_closed() == []
    finally:
        CHUNK = whole


def test_a_protocol_error_in_the_middle(broker, name):
    client = broker.client(name)
    client.send(b"\x36\x05\x00\x01t\x00\x01")
    assert [(p.kind, p.reason) for p in Flood(client).until_closed()] == [(wire.DISCONNECT, 0x81)]


@pytest.mark.parametrize("version, answer", [(wire.V5, 0x85), (wire.V311, 0x02)])
def test_a_refused_connect_with_more_behind_it(start_broker, version, answer):
    """[MQTT-3.1.4-5]"""
    broker = start_broker({"limits.max_client_id_bytes": 23})
    client = broker.client(version=version)
    client.send(wire.connect("x" * 24, version) + CHUNK)
    assert [(p.kind, p.reason) for p in Flood(client).until_closed()] == [(wire.CONNACK, answer)]


def test_a_packet_that_is_too_large_can_be_sent_to_its_end(start_broker):
    """DISCONNECT 0x95 is there when a client that cannot read meanwhile is through; the log names size, limit and key."""
    broker = start_broker()
    client = broker.client("large")
    packet = wire.publish("t", b"x" * 20_000_000)
    client.send(packet)
    assert [(p.kind, p.reason) for p in client.until_closed()] == [(wire.DISCONNECT, 0x95)]
    broker.wait_log(rf"warn .*Remaining Length: a PUBLISH of {len(packet)} bytes is too large: limits\.max_packet_size is 1048576")


def test_a_connect_that_is_too_large(start_broker):
    broker = start_broker()
    for version, answer in ((wire.V5, [(wire.CONNACK, 0x95)]), (wire.V311, [])):
        client = broker.client(version=version)
        client.send(wire.connect("large", version, will=wire.Will("w", b"x" * 60_000), user="u" * 60_000,
                                 password=b"p" * 60_000))
        assert [(p.kind, p.reason) for p in client.until_closed()] == answer
    broker.wait_log(r"warn .*Remaining Length: a CONNECT of \d+ bytes is too large: limits\.max_connect_size is 131072")


def test_more_under_way_than_the_receive_maximum(start_broker):
    """What was answered before is still to be read, and the client's next acknowledgement does not fail."""
    broker = start_broker({"mqtt.receive_maximum": 20})
    client = broker.client("eager")
    client.send(b"".join(wire.publish("t", b"x", 2, number) for number in range(1, 22)))
    packets = []
    while not packets or packets[-1].kind == wire.PUBREC:
        packets.append(client.recv())
        if packets[-1].kind == wire.PUBREC:
            client.sock.send(wire.ack(wire.PUBREL, packets[-1].packet_id))
    assert (packets[-1].kind, packets[-1].reason) == (wire.DISCONNECT, 0x93)
    assert len(packets) == 21


def test_the_broker_stops(start_broker):
    """It waits for nobody: those who do not read are closed after half a second."""
    broker = start_broker()
    flood, idle = Flood(broker.client("busy")), broker.client("idle")
    assert flood.run(0.1) is None
    broker.tell_to_stop()
    packets = flood.run(5)
    assert [(p.kind, p.reason) for p in packets] == [(wire.DISCONNECT, 0x8B)]
    flood.client.drop()
    assert idle.until_closed()[-1].reason == 0x8B
    broker.terminate()


def test_a_stop_is_not_held_up_by_one_who_goes_on_sending(start_broker):
    broker = start_broker()
    flood = Flood(broker.client("busy"))
    assert flood.run(0.1) is None
    began = time.monotonic()
    broker.tell_to_stop()
    with pytest.raises(ConnectionError):
        flood.run(10, read=False)
    broker.terminate()
    assert time.monotonic() - began < 2


def test_it_ends_after_two_seconds(start_broker):
    """Whoever never stops sending is reset then."""
    broker = start_broker()
    client = broker.client("endless")
    client.send(b"\xff")
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        Flood(client).run(10, read=False)
    assert 1.5 < time.monotonic() - began < 4
    wait_for(lambda: sockets_of(broker) == 0, 2)


def test_a_closing_connection_keeps_no_client_out(start_broker):
    """Its place is free at once, of the listener as well as of the broker."""
    broker = start_broker({"limits.max_connections": 1}, listener={"max_connections": 1})
    ended = []
    for number in range(10):
        client = broker.client(f"c{number}")
        client.send(b"\xff")
        assert client.recv().reason == 0x81
        ended.append(client)
    assert sockets_of(broker) > 1
    broker.client("last").ping()


def test_closing_connections_give_way_to_clients(start_broker):
    """There are never more of them than connections may be open (and 64)."""
    broker = start_broker({"limits.max_connections": 10, "shards": 1})
    ended = []
    for number in range(100):
        client = broker.client(f"c{number}")
        client.send(b"\xff")
        assert client.recv().reason == 0x81
        ended.append(client)
        assert sockets_of(broker) <= 10 + 64 + 1


@pytest.mark.parametrize("how", ["silent", "goodbye", "gone"])
def test_one_that_ended_by_itself_holds_no_socket(start_broker, how):
    """[MQTT-3.1.2-22]"""
    broker = start_broker()
    client = broker.client("dev", keep_alive=1 if how == "silent" else 60)
    if how == "goodbye":
        client.send(wire.disconnect())
    elif how == "gone":
        client.sock.shutdown(socket.SHUT_WR)
    broker.wait_log("Client dev at .* disconnected")
    wait_for(lambda: sockets_of(broker) == 0, 0.5)


def test_one_that_does_not_speak_mqtt_holds_no_socket(start_broker):
    """Nothing was ever said to it, so nothing is lost."""
    broker = start_broker()
    client = broker.client()
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    broker.wait_log(r"looks like HTTP \(GET /\): this listener speaks plain MQTT")
    wait_for(lambda: sockets_of(broker) == 0, 0.5)
