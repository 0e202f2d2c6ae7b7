"""MQTT byte by byte, over a plain socket: a client that can misbehave, which real clients cannot.

Knows nothing of what is legal. What a test does not say is left at the protocol's default.
"""

import socket
import struct
import time
from dataclasses import dataclass, field

V31, V311, V5 = 3, 4, 5

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)
NAMES = dict(enumerate(
    "RESERVED CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK PINGREQ "
    "PINGRESP DISCONNECT AUTH".split()))

# name: identifier, type
PROPERTIES = {
    "payload_format_indicator": (0x01, "u8"),
    "message_expiry_interval": (0x02, "u32"),
    "content_type": (0x03, "text"),
    "response_topic": (0x08, "text"),
    "correlation_data": (0x09, "binary"),
    "subscription_identifier": (0x0B, "varint"),
    "session_expiry_interval": (0x11, "u32"),
    "assigned_client_identifier": (0x12, "text"),
    "server_keep_alive": (0x13, "u16"),
    "authentication_method": (0x15, "text"),
    "authentication_data": (0x16, "binary"),
    "request_problem_information": (0x17, "u8"),
    "will_delay_interval": (0x18, "u32"),
    "request_response_information": (0x19, "u8"),
    "response_information": (0x1A, "text"),
    "server_reference": (0x1C, "text"),
    "reason_string": (0x1F, "text"),
    "receive_maximum": (0x21, "u16"),
    "topic_alias_maximum": (0x22, "u16"),
    "topic_alias": (0x23, "u16"),
    "maximum_qos": (0x24, "u8"),
    "retain_available": (0x25, "u8"),
    "user_property": (0x26, "pair"),
    "maximum_packet_size": (0x27, "u32"),
    "wildcard_subscription_available": (0x28, "u8"),
    "subscription_identifier_available": (0x29, "u8"),
    "shared_subscription_available": (0x2A, "u8"),
}
BY_ID = {number: (name, kind) for name, (number, kind) in PROPERTIES.items()}


def varint(value):
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def binary(value):
    return struct.pack("!H", len(value)) + value


def text(value):
    return binary(value.encode() if isinstance(value, str) else value)


def one_property(name, value):
    number, kind = PROPERTIES[name]
    encode = {
        "u8": lambda v: struct.pack("!B", v),
        "u16": lambda v: struct.pack("!H", v),
        "u32": lambda v: struct.pack("!I", v),
        "varint": varint,
        "text": text,
        "binary": binary,
        "pair": lambda v: text(v[0]) + text(v[1]),
    }[kind]
    return bytes([number]) + encode(value)


def properties(values=None):
    """The bytes of a property list, its length in front. `values`: a dict, or pairs where one name occurs twice."""
    items = values.items() if isinstance(values, dict) else (values or [])
    body = b"".join(one_property(name, value) for name, value in items)
    return varint(len(body)) + body


def frame(first_byte, body=b""):
    return bytes([first_byte]) + varint(len(body)) + body


@dataclass
class Will:
    topic: str
    payload: bytes = b"gone"
    qos: int = 0
    retain: bool = False
    props: dict = field(default_factory=dict)


def connect(client_id="", version=V5, clean=True, keep_alive=60, will=None, props=None, user=None, password=None,
            flags=None, protocol=None, level=None):
    """`flags`, `protocol` and `level` say something else than what the other arguments would give."""
    bits = 0x02 if clean else 0
    if will:
        bits |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
    bits |= (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = text(protocol if protocol is not None else "MQIsdp" if version == V31 else "MQTT")
    body += bytes([version if level is None else level, bits if flags is None else flags])
    body += struct.pack("!H", keep_alive)
    if version == V5:
        body += properties(props)
    body += text(client_id)
    if will:
        body += properties(will.props) if version == V5 else b""
        body += text(will.topic) + binary(will.payload)
    if user is not None:
        body += text(user)
    if password is not None:
        body += text(password)
    return frame(CONNECT << 4, body)


def publish(topic, payload=b"", qos=0, packet_id=None, retain=False, dup=False, props=None, version=V5):
    body = text(topic)
    if packet_id is not None:
        body += struct.pack("!H", packet_id)
    if version == V5:
        body += properties(props)
    body += payload.encode() if isinstance(payload, str) else payload
    return frame(PUBLISH << 4 | (8 if dup else 0) | qos << 1 | (1 if retain else 0), body)


def ack(kind, packet_id, reason=None, flags=None):
    bits = (2 if kind == PUBREL else 0) if flags is None else flags
    return frame(kind << 4 | bits, struct.pack("!H", packet_id) + (b"" if reason is None else bytes([reason])))


def subscribe(packet_id, filters, props=None, version=V5):
    """`filters`: pairs of filter and options byte."""
    body = struct.pack("!H", packet_id) + (properties(props) if version == V5 else b"")
    return frame(0x82, body + b"".join(text(topic) + bytes([options]) for topic, options in filters))


def unsubscribe(packet_id, filters, props=None, version=V5):
    body = struct.pack("!H", packet_id) + (properties(props) if version == V5 else b"")
    return frame(0xA2, body + b"".join(text(topic) for topic in filters))


PING = frame(PINGREQ << 4)


def disconnect(reason=None, props=None):
    body = b"" if reason is None else bytes([reason])
    return frame(DISCONNECT << 4, body + (properties(props) if props is not None else b""))


class Body:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        piece = self.data[self.at:self.at + size]
        assert len(piece) == size, f"the broker sent a packet that ends too early: {self.data.hex()}"
        self.at += size
        return piece

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack("!H", self.take(2))[0]

    def u32(self):
        return struct.unpack("!I", self.take(4))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def binary(self):
        return self.take(self.u16())

    def text(self):
        return self.binary().decode()

    def pair(self):
        return self.text(), self.text()

    def rest(self):
        return self.take(len(self.data) - self.at)

    def left(self):
        return len(self.data) - self.at

    def properties(self):
        end = self.varint() + self.at
        found = []
        while self.at < end:
            name, kind = BY_ID[self.varint()]
            found.append((name, getattr(self, kind)()))
        assert self.at == end, f"the broker sent properties that do not fit their length: {self.data.hex()}"
        return found


@dataclass
class Packet:
    kind: int
    flags: int
    raw: bytes
    packet_id: int | None = None
    reason: int | None = None
    reasons: list = field(default_factory=list)
    session_present: bool | None = None
    topic: str | None = None
    payload: bytes | None = None
    props: list = field(default_factory=list)  # (name, value) in their order

    @property
    def name(self):
        return NAMES[self.kind]

    @property
    def qos(self):
        return self.flags >> 1 & 3

    @property
    def dup(self):
        return bool(self.flags & 8)

    @property
    def retain(self):
        return bool(self.flags & 1)

    def all(self, name):
        return [value for key, value in self.props if key == name]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default


def decode(first_byte, data, version):
    packet = Packet(first_byte >> 4, first_byte & 0x0F, data)
    body = Body(data)
    if packet.kind == CONNACK:
        flags = body.u8()
        assert flags in (0, 1), f"reserved CONNACK flags are set: {flags:#x}"
        packet.session_present, packet.reason = flags == 1, body.u8()
        if version == V5:
            packet.props = body.properties()
    elif packet.kind == PUBLISH:
        packet.topic = body.text()
        if packet.qos:
            packet.packet_id = body.u16()
        if version == V5:
            packet.props = body.properties()
        packet.payload = body.rest()
    elif packet.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        packet.packet_id = body.u16()
        packet.reason = body.u8() if body.left() else 0
        packet.props = body.properties() if body.left() else []
    elif packet.kind in (SUBACK, UNSUBACK):
        packet.packet_id = body.u16()
        if version == V5:
            packet.props = body.properties()
        packet.reasons = list(body.rest())
    elif packet.kind in (DISCONNECT, AUTH):
        packet.reason = body.u8() if body.left() else 0
        packet.props = body.properties() if body.left() else []
    assert body.left() == 0, f"{packet.name} of the broker has bytes to spare: {data.hex()}"
    return packet


class Closed(Exception):
    """The broker closed the connection."""


class Client:
    """One connection. Nothing is sent or answered without being asked for."""

    def __init__(self, sock, version=V5):
        self.version = version
        self.sock = sock
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.unread = []  # packets taken from the socket while another one was waited for
        self.next_id = 0
        self.connack = None

    # --- sending
    def send(self, data):
        self.sock.settimeout(10)
        self.sock.sendall(data)

    def send_connect(self, client_id="", **how):
        self.send(connect(client_id, version=self.version, **how))

    def connect(self, client_id="", **how):
        """CONNECT that is to be accepted."""
        self.send_connect(client_id, **how)
        self.connack = self.expect(CONNACK)
        assert self.connack.reason == 0, f"CONNACK refuses with {self.connack.reason:#x}: {self.connack.props}"
        return self

    def new_id(self):
        self.next_id += 1
        return self.next_id

    def subscribe(self, *filters, qos=0, props=None):
        """Filters, or pairs of filter and options byte. Gives the SUBACK's reason codes."""
        entries = [(f, qos) if isinstance(f, str) else f for f in filters]
        packet_id = self.new_id()
        self.send(subscribe(packet_id, entries, props, self.version))
        return self.answer(SUBACK, packet_id).reasons

    def publish(self, topic, payload=b"", qos=0, retain=False, props=None):
        """The whole exchange of its QoS. Gives the reason code of PUBACK or PUBREC."""
        packet_id = self.new_id() if qos else None
        self.send(publish(topic, payload, qos, packet_id, retain, props=props, version=self.version))
        if qos == 0:
            return None
        answer = self.answer(PUBACK if qos == 1 else PUBREC, packet_id)
        if qos == 2 and answer.reason < 0x80:
            self.send(ack(PUBREL, packet_id))
            self.answer(PUBCOMP, packet_id)
        return answer.reason

    def acknowledge(self, packet):
        """What a receiver answers to a PUBLISH, to the end."""
        if packet.qos == 1:
            self.send(ack(PUBACK, packet.packet_id))
        elif packet.qos == 2:
            self.send(ack(PUBREC, packet.packet_id))
            self.answer(PUBREL, packet.packet_id)
            self.send(ack(PUBCOMP, packet.packet_id))

    def ping(self, timeout=5):
        self.send(PING)
        self.answer(PINGRESP, None, timeout)

    def disconnect(self, reason=None, props=None):
        self.send(disconnect(reason, props))
        self.until_closed()
        self.sock.close()

    def drop(self):
        """Ends without a DISCONNECT."""
        self.sock.close()

    def reset(self):
        """Ends with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # --- receiving
    def recv(self, timeout=5):
        """The next packet. Raises Closed, or TimeoutError."""
        return self.unread.pop(0) if self.unread else self._from_socket(timeout)

    def answer(self, kind, packet_id, timeout=5):
        """The packet of this kind and identifier. What comes before it stays to be read."""
        limit = time.monotonic() + timeout
        early = []
        while True:
            packet = self._from_socket(max(0.0, limit - time.monotonic()))
            if (packet.kind, packet.packet_id) == (kind, packet_id):
                self.unread += early
                return packet
            assert packet.kind != kind or kind == PUBREL, f"{NAMES[kind]} with the wrong identifier: {packet}"
            early.append(packet)

    def _from_socket(self, timeout):
        limit = time.monotonic() + timeout
        while True:
            packet = self._from_buffer()
            if packet:
                return packet
            left = limit - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing came within {timeout} s")
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                raise TimeoutError(f"nothing came within {timeout} s") from None
            except ConnectionError as error:
                raise Closed(str(error)) from None
            if not data:
                assert not self.buffer, f"the broker closed in the middle of a packet: {self.buffer.hex()}"
                raise Closed("end of stream")
            self.buffer += data

    def _from_buffer(self):
        data = self.buffer
        size = shift = 0
        at = 1
        while True:
            if at >= len(data):
                return None
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                break
        if len(data) < at + size:
            return None
        self.buffer = data[at + size:]
        return decode(data[0], data[at:at + size], self.version)

    def expect(self, kind, timeout=5):
        packet = self.recv(timeout)
        assert packet.kind == kind, f"expected {NAMES[kind]}, got {packet}"
        return packet

    def message(self, timeout=5):
        """The next PUBLISH, acknowledged."""
        packet = self.expect(PUBLISH, timeout)
        self.acknowledge(packet)
        return packet

    def until_closed(self, timeout=5):
        """What still comes until the broker closes the connection."""
        limit = time.monotonic() + timeout
        packets = []
        while True:
            try:
                packets.append(self.recv(max(0.0, limit - time.monotonic())))
            except Closed:
                return packets
            except TimeoutError:
                raise AssertionError(f"not closed within {timeout} s; came: {packets}") from None

    def quiet(self, seconds=0.3):
        """Nothing comes for so long, and the connection stays open."""
        try:
            packet = self.recv(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"expected nothing, got {packet}")
