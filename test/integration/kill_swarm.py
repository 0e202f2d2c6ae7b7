#!/usr/bin/python3
"""Kills the broker with SIGKILL, again and again, under load, and checks that it kept its promises (MISSION.md, 5.4).

    kill_swarm.py --kills 200 --seed 7       exit code 0 if every promise was kept

One thread plays all clients: it knows exactly what was sent and what was acknowledged before what. kill_ledger.py says
what follows from that. Every `--every` kills all of them come to rest: what is missing then is lost.

With --how drop the connections break instead of the broker (any broker must pass this: a test of the test).
"""

import argparse
import collections
import os
import pathlib
import random
import selectors
import socket
import struct
import sys
import tempfile
import time

import broker as broker_module
import mqtt_wire as wire
from kill_ledger import NEVER, Message, Retained, Session, Span, Wills

FOR_EVER = 0xFFFFFFFF
EXPIRY_S = 3600
GRACE_S = 2
START_LIMIT_S = 10  # from exec to the first connection
ANSWER_LIMIT_S = 20  # an answer that takes longer will never come

SETTINGS = {
    "shards": 3,
    "keep_alive.monitoring_delay_ms": 100,
    "session.max_queued_messages": 10_000_000,
    "session.max_queued_bytes": "64GiB",
    "sys.enabled": False,
    "will.restart_grace_s": GRACE_S,
}


class Link:
    """One connection of a client; never blocks."""

    def __init__(self, client, sock):
        self.client, self.sock = client, sock
        self.incoming = b""
        self.outgoing = bytearray()
        self.deaf = False  # replaced by another one: nothing that comes counts any more
        self.closed = False
        self.opened = time.monotonic()
        client.swarm.selector.register(sock, selectors.EVENT_READ, self)

    def send(self, data):
        swarm = self.client.swarm
        swarm.tick += 1
        swarm.trace(">", self.client.id, data)
        if not self.outgoing:
            swarm.unsent.add(self)
        self.outgoing += data
        return swarm.tick

    def flush(self):
        try:
            while self.outgoing:
                del self.outgoing[:self.sock.send(self.outgoing)]
        except BlockingIOError:
            return False
        except OSError:
            self.outgoing.clear()  # reading will tell
        return True

    def read(self):
        """Packets, and whether the connection has ended."""
        ended = False
        try:
            data = self.sock.recv(262144)
            ended = not data
        except BlockingIOError:
            return [], False
        except OSError:
            data, ended = b"", True
        buffer = self.incoming + data
        packets, at = [], 0
        while at + 2 <= len(buffer):
            size = shift = 0
            body = at + 1
            while body < len(buffer):
                byte = buffer[body]
                size |= (byte & 0x7F) << shift
                shift += 7
                body += 1
                if byte < 0x80:
                    break
            else:
                break
            if len(buffer) < body + size:
                break
            packets.append((buffer[at], buffer[body:body + size]))
            at = body + size
        self.incoming = buffer[at:]
        return packets, ended

    def close(self, reset=False):
        if self.closed:
            return
        self.closed = True
        self.client.swarm.selector.unregister(self.sock)
        self.client.swarm.unsent.discard(self)
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Client:
    """One client id: connects when it may, and knows whether it has a session."""

    persistent = True
    keep_alive = 0

    def __init__(self, swarm, name, version):
        self.swarm, self.id, self.version = swarm, f"{name}-{swarm.seed}", version
        self.random = random.Random(f"{swarm.seed}/{name}")
        self.link = None      # with CONNACK
        self.pending = None   # without
        self.wants = True     # to be connected
        self.clean = False    # at its next CONNECT
        self.has_session = False  # None: it is not known
        self.next_connect = 0.0
        self.next_act = 0.0
        self.next_choice = 0.0

    # --- coming and going
    def connect_properties(self):
        return {"session_expiry_interval": EXPIRY_S} if self.persistent else {}

    def lasts(self):
        """Whether the session of the last CONNECT outlives its connection. Before MQTT 5 a clean one does not."""
        return self.persistent and (self.version == wire.V5 or not self.pending_clean)

    def will(self):
        return None

    def connect(self):
        sock = self.swarm.dial()
        if sock is None:
            self.next_connect = self.swarm.now + 0.02
            return
        self.pending = Link(self, sock)
        self.pending_clean = self.clean if self.version == wire.V5 or self.persistent else True
        if self.link:
            self.link.deaf = True
            self.swarm.counts["take-overs"] += 1
        self.pending.send(wire.connect(self.id, self.version, self.pending_clean, self.keep_alive, self.will(),
                                       self.connect_properties() if self.version == wire.V5 else None))
        self.connect_is_out()

    def connect_is_out(self):
        pass

    def accepted(self, packet):
        if packet.reason != 0:
            self.swarm.problem(f"{self.id}: CONNACK refuses with {packet.reason:#x} {packet.props}")
            return
        expected = False if self.pending_clean else self.has_session
        if expected is not None and packet.session_present != expected:
            self.swarm.problem(f"{self.id}: Session Present is {packet.session_present}, and must be {expected}")
        self.swarm.counts["Session Present uncertain" if expected is None else "Session Present checked"] += 1
        if self.link:
            self.link.close()
        self.link, self.pending = self.pending, None
        self.clean = False
        self.has_session = self.lasts()
        self.attached(packet.session_present)

    def attached(self, session_present):
        pass

    def unanswered(self):
        """CONNECT without CONNACK: it may have been acted on."""
        if self.has_session != self.lasts():
            self.has_session = None

    def drop(self, reset=False):
        """Ends without a goodbye."""
        for link in (self.link, self.pending):
            if link:
                link.close(reset)
        self.gone()

    def gone(self):
        if self.pending:
            self.unanswered()
        self.link = self.pending = None
        self.next_connect = self.swarm.now + (self.random.random() * 0.2 if self.random.random() < 0.3 else 0)
        self.detached()

    def detached(self):
        pass

    def readable(self, link):
        packets, ended = link.read()
        if link.deaf:
            if ended:
                link.close()
            return
        for first, data in packets:
            self.swarm.tick += 1
            self.swarm.trace("<", self.id, data, first)
            try:
                packet = wire.decode(first, data, self.version)
            except Exception as error:
                self.swarm.problem(f"{self.id}: cannot read {first:#x} {data[:100].hex()}: {error}")
                continue
            if packet.kind == wire.CONNACK and link is self.pending:
                self.accepted(packet)
            elif packet.kind == wire.DISCONNECT:
                self.swarm.problem(f"{self.id}: the broker says DISCONNECT {packet.reason:#x} {packet.props}")
            elif link is self.link:
                self.received(packet)
            else:
                self.swarm.problem(f"{self.id}: {packet.name} before CONNACK")
        if ended and link in (self.link, self.pending):
            self.ended(link)

    def ended(self, link):
        """The broker closed the connection: it may only if it was killed, or two CONNECTs reached it in one moment (of which
        a client gives up the first in --how drop)."""
        if self.swarm.alive() and (link is self.link or self.swarm.how == "kill"):
            self.swarm.problem(f"{self.id}: the broker closed the connection ({'no ' if link is self.pending else ''}CONNACK"
                               f", open for {time.monotonic() - link.opened:.3f} s)")
        self.drop()

    def received(self, packet):
        self.swarm.problem(f"{self.id}: unexpected {packet.name}")

    # --- time
    def step(self, now):
        if self.pending and now - self.pending.opened > ANSWER_LIMIT_S:
            self.swarm.problem(f"{self.id}: no CONNACK within {ANSWER_LIMIT_S} s")
            self.drop()
        if self.wants and not self.link and not self.pending and now >= self.next_connect:
            self.connect()
        if self.link and not self.pending and now >= self.next_act:
            self.act(now)

    def act(self, now):
        self.next_act = now + 0.05

    def rest(self):
        """Comes to rest, connected."""
        self.wants, self.next_connect = True, 0.0

    def at_rest(self):
        return self.link is not None and self.pending is None


class Publisher(Client):
    """Publishes in bursts, at QoS 1 and 2, and sends again what was not acknowledged."""

    def __init__(self, swarm, name, version, topics, window=24, rate=60, sizes=((0.9, 20, 300), (0.1, 1000, 4000)),
                 takes_over=0.0, starts_clean=0.0, retain=False):
        super().__init__(swarm, name, version)
        self.name, self.topics, self.window, self.rate, self.sizes = name, topics, window, rate, sizes
        self.takes_over, self.starts_clean, self.retain = takes_over, starts_clean, retain
        self.next_id = 0
        self.out = {}  # packet id: [message, PUBREC seen]; in the order in which they were first sent
        self.order = collections.Counter()

    def attached(self, session_present):
        if not session_present:
            for message, recorded in self.out.values():
                message.given_up = not recorded
            self.out.clear()
        for packet_id, (message, recorded) in self.out.items():
            if recorded:
                self.link.send(wire.ack(wire.PUBREL, packet_id))
            else:
                self.send(packet_id, message, dup=True)

    def send(self, packet_id, message, dup=False):
        tick = self.link.send(wire.publish(message.topic, message.payload(), message.qos, packet_id, message.retain, dup,
                                           version=self.version))
        message.sends += 1
        if message.sent == NEVER:
            message.sent = tick
            if message.retain:
                self.swarm.retained.sent(message)

    def new_message(self):
        topic, qos = self.random.choice(self.topics), self.random.choice((1, 2))
        if self.retain:
            # One QoS a topic: what is sent again at QoS 1 counts again, and may come after a later one of QoS 2.
            qos = 1 + self.topics.index(topic) % 2
        self.order[topic, qos] += 1
        pick = self.random.random()
        for share, least, most in self.sizes:
            if pick < share:
                break
            pick -= share
        message = Message(len(self.swarm.messages), self.name, topic, qos, self.order[topic, qos],
                          self.random.randint(least, most), self.retain, self.retain and self.random.random() < 0.15)
        self.swarm.messages.append(message)
        return message

    def act(self, now):
        if self.swarm.resting:
            self.next_act = now + 0.05
            return
        if self.random.random() < self.takes_over:
            self.connect()
            return
        if self.random.random() < self.starts_clean:
            self.clean = True
            self.drop()
            return
        burst = self.random.randint(1, self.window)
        for _ in range(min(burst, self.window - len(self.out))):
            while True:
                self.next_id = self.next_id % 65535 + 1
                if self.next_id not in self.out:
                    break
            message = self.new_message()
            self.out[self.next_id] = [message, False]
            self.send(self.next_id, message)
        self.next_act = now + self.random.random() * 2 * burst / self.rate

    def received(self, packet):
        entry = self.out.get(packet.packet_id)
        if packet.kind not in (wire.PUBACK, wire.PUBREC, wire.PUBCOMP):
            self.swarm.problem(f"{self.id}: unexpected {packet.name}")
        elif entry is None:
            self.swarm.problem(f"{self.id}: {packet.name} for an identifier not in use: {packet.packet_id}")
        elif packet.kind == wire.PUBCOMP:
            if not entry[1]:
                self.swarm.problem(f"{self.id}: PUBCOMP before PUBREL for {entry[0]}")
            del self.out[packet.packet_id]
        elif packet.reason >= 0x80 or (packet.kind == wire.PUBACK) != (entry[0].qos == 1):
            self.swarm.problem(f"{self.id}: {packet.name} {packet.reason:#x} for {entry[0]}")
        else:
            message = entry[0]
            if message.acked is None:
                message.acked = self.swarm.tick
                self.swarm.counts["acknowledged"] += 1
                if packet.reason == 0x10:
                    who = [one.id for one in self.swarm.subscribers if one.session.must_have(message)]
                    if who:
                        self.swarm.problem(f"{self.id}: \"no matching subscribers\" for {message}, to which {who} subscribed")
            if packet.kind == wire.PUBACK:
                del self.out[packet.packet_id]
            else:
                entry[1] = True
                self.link.send(wire.ack(wire.PUBREL, packet.packet_id))

    def at_rest(self):
        return super().at_rest() and not self.out


class Subscriber(Client):
    """Has a session and takes what comes, with the client's half of QoS 2."""

    def __init__(self, swarm, name, version, filters, flips=(), online=1.0, receive_maximum=None, delay=0.0, takes_over=0.0,
                 drops=0.0, starts_clean=0.0, wills=False):
        """`online`: the part of its time in which it is connected; `delay`: of its acknowledgements, in seconds; the others
        are chances of doing so, ten times a second."""
        super().__init__(swarm, name, version)
        self.static, self.flips = dict(filters), dict(flips)
        self.online, self.receive_maximum, self.delay = online, receive_maximum, delay
        self.takes_over, self.drops, self.starts_clean, self.wills = takes_over, drops, starts_clean, wills
        self.session = Session(self.id)
        self.next_id = 0
        self.asked = {}     # packet id: (SUBSCRIBE or UNSUBSCRIBE, filter)
        self.recorded = {}  # QoS 2 packet id: number of the message, until PUBREL
        self.late = collections.deque()  # answers that wait: (when, link, bytes, packet id)
        self.open = set()   # packet ids of this connection that were not answered to the end

    def connect_properties(self):
        properties = super().connect_properties()
        return properties | {"receive_maximum": self.receive_maximum} if self.receive_maximum else properties

    def connect_is_out(self):
        if self.pending_clean:
            for spans in self.session.filters.values():
                for span in spans:
                    span.ending = span.ending or self.swarm.tick

    def attached(self, session_present):
        self.asked.clear()
        self.open.clear()
        self.late.clear()
        if not session_present:
            self.session.begin_anew()
            self.recorded.clear()
        if not self.lasts():
            self.drop()  # that was to begin anew; the next one is to last
            return
        for topic_filter in self.static:
            span = self.session.span(topic_filter)
            if span is None or span.granted is None:
                self.subscribe(topic_filter)
        for topic_filter in self.flips:
            span = self.session.span(topic_filter)
            if span is not None and span.ended is None:
                if span.ending is not None:
                    self.unsubscribe(topic_filter)
                elif span.granted is None:
                    self.subscribe(topic_filter)

    def new_id(self):
        self.next_id = self.next_id % 65535 + 1
        return self.next_id

    def subscribe(self, topic_filter):
        qos = self.static.get(topic_filter, self.flips.get(topic_filter))
        packet_id = self.new_id()
        tick = self.link.send(wire.subscribe(packet_id, [(topic_filter, qos)], version=self.version))
        span = self.session.span(topic_filter)
        if span is None or span.ended is not None:
            self.session.filters[topic_filter].append(Span(qos, tick))
        self.asked[packet_id] = (wire.SUBACK, topic_filter)

    def unsubscribe(self, topic_filter):
        packet_id = self.new_id()
        tick = self.link.send(wire.unsubscribe(packet_id, [topic_filter], version=self.version))
        span = self.session.span(topic_filter)
        again = span.ending is not None
        span.ending = span.ending or tick
        self.asked[packet_id] = (wire.UNSUBACK, topic_filter, again)

    def act(self, now):
        while self.late and self.late[0][0] <= now:
            _, link, data, done = self.late.popleft()
            if link is self.link:
                link.send(data)
                self.open.discard(done)
        self.next_act = now + (0.01 if self.late else 0.1)
        if self.swarm.resting or self.asked or now < self.next_choice:
            return
        self.next_choice = now + 0.1
        chance = self.random.random
        if chance() < self.takes_over:
            self.connect()
        elif chance() < self.starts_clean:
            self.clean = True
            self.drop()
        elif chance() < self.drops:
            self.drop(reset=chance() < 0.5)
        elif self.online < 1 and chance() < 0.15:
            self.swarm.counts["went offline"] += 1
            if chance() < 0.5:
                self.link.send(wire.disconnect())
                self.link.flush()
            self.drop()
            self.next_connect = now + self.random.expovariate(1) * 0.7 * (1 - self.online) / self.online
        elif self.flips and chance() < 0.2:
            topic_filter = self.random.choice(list(self.flips))
            span = self.session.span(topic_filter)
            if span is None or span.ended is not None:
                self.subscribe(topic_filter)
            else:
                self.unsubscribe(topic_filter)

    def answer(self, data, done=None):
        if self.delay and not self.swarm.resting:
            self.late.append((self.swarm.now + self.random.random() * 2 * self.delay, self.link, data, done))
            if len(self.late) > 1:  # in the order in which they came
                self.late[-1] = (max(self.late[-1][0], self.late[-2][0]), *self.late[-1][1:])
        else:
            # Behind those that wait still.
            while self.late:
                _, link, waiting, finished = self.late.popleft()
                if link is self.link:
                    link.send(waiting)
                    self.open.discard(finished)
            self.link.send(data)
            self.open.discard(done)

    def received(self, packet):
        if packet.kind in (wire.SUBACK, wire.UNSUBACK):
            self.settled(packet)
        elif packet.kind == wire.PUBREL:
            self.recorded.pop(packet.packet_id, None)
            self.answer(wire.ack(wire.PUBCOMP, packet.packet_id), packet.packet_id)
        elif packet.kind == wire.PUBLISH:
            self.published(packet)
        else:
            super().received(packet)

    def settled(self, packet):
        kind, topic_filter, *again = self.asked.pop(packet.packet_id, (None, None))
        span = self.session.span(topic_filter) if topic_filter else None
        if kind != packet.kind:
            self.swarm.problem(f"{self.id}: {packet.name} for {packet.packet_id}, where {kind} is expected")
        elif kind == wire.SUBACK:
            if packet.reasons != [span.qos]:
                self.swarm.problem(f"{self.id}: SUBACK {packet.reasons} for {topic_filter} at QoS {span.qos}")
            span.granted = self.swarm.tick
            self.swarm.counts["subscribed"] += 1
        else:
            allowed = ([],) if self.version != wire.V5 else ([0], [0x11]) if again[0] or span.granted is None else ([0],)
            if packet.reasons not in allowed:
                self.swarm.problem(f"{self.id}: UNSUBACK {packet.reasons} for {topic_filter}, granted at {span.granted}")
            span.ended = self.swarm.tick
            self.swarm.counts["unsubscribed"] += 1

    def published(self, packet):
        try:
            number = int(packet.payload.partition(b"|")[0].removeprefix(b"will"))
        except ValueError:
            self.swarm.problem(f"{self.id}: a payload that nobody sent, on {packet.topic}: {packet.payload[:80]!r}")
            return
        if packet.packet_id is not None:
            self.open.add(packet.packet_id)
            if self.receive_maximum and len(self.open) > self.receive_maximum:
                self.swarm.problem(f"{self.id}: {len(self.open)} messages under way, its Receive Maximum is "
                                   f"{self.receive_maximum}")
        known = False
        if packet.qos == 2:
            known = packet.packet_id in self.recorded
            if known and self.recorded[packet.packet_id] != (packet.topic, number):
                self.swarm.problem(f"{self.id}: packet identifier {packet.packet_id} of {self.recorded[packet.packet_id]} is "
                                   f"used for {(packet.topic, number)} before PUBREL")
            if known and not packet.dup:
                self.swarm.problem(f"{self.id}: {packet.topic} {number} comes again at QoS 2 without DUP")
            self.recorded[packet.packet_id] = (packet.topic, number)
        if not known:
            self.deliver(packet, number)
        if packet.qos == 1:
            self.answer(wire.ack(wire.PUBACK, packet.packet_id), packet.packet_id)
        elif packet.qos == 2:
            self.answer(wire.ack(wire.PUBREC, packet.packet_id))

    def deliver(self, packet, number):
        if self.wills:
            self.swarm.wills.publication(number, self.swarm.now)
            return
        problem, session = self.swarm.problem, self.session
        if number >= len(self.swarm.messages):
            problem(f"{self.id}: message {number} came, which nobody sent")
            return
        message = self.swarm.messages[number]
        if packet.topic != message.topic or packet.payload != message.payload() or packet.retain:
            problem(f"{self.id}: {message} came on {packet.topic} with {packet.payload[:80]!r}, retain {packet.retain}")
        before = session.count(number)
        session.add(number)
        self.swarm.counts[f"delivered at QoS {packet.qos}"] += 1
        if before:
            if packet.qos == 2:
                problem(f"{self.id}: delivered {before + 1} times at QoS 2: {message}")
            elif not packet.dup and message.sends == 1:
                problem(f"{self.id}: comes again at QoS 1 without DUP: {message}")
            self.swarm.counts["duplicates at QoS 1"] += 1
            return
        if packet.qos not in session.qos_of(message):
            if session.may_have(message):
                problem(f"{self.id}: came at QoS {packet.qos} instead of {session.qos_of(message)}: {message}")
            else:
                problem(f"{self.id}: came without a subscription: {message}, "
                        f"{[vars(span) for span in session._matching(message.topic)]}")
        key = message.publisher, message.topic, message.qos
        if session.last.get(key, 0) > message.order:
            problem(f"{self.id}: out of order: #{session.last[key]} came before {message}")
        session.last[key] = max(session.last.get(key, 0), message.order)

    def at_rest(self):
        return super().at_rest() and not self.recorded and not self.asked and not self.late


class Mortal(Client):
    """Has a will, and ends in every way there is."""

    def __init__(self, swarm, name, version, delay=0, persistent=True, qos=2, returns_within=4.0, ends=None):
        super().__init__(swarm, name, version)
        self.persistent, self.delay, self.qos, self.returns_within = persistent, delay, qos, returns_within
        self.name = name
        self.ends = ends or ["drop", "drop", "reset", "goodbye", "with will", "take over", "take over clean", "stay"]
        self.current = None   # will of the connection with CONNACK
        self.coming = None    # of the one without
        self.leaving = None   # goodbye is said: the broker is to close

    def connect_properties(self):
        return {"session_expiry_interval": EXPIRY_S} if self.persistent else {}

    def will(self):
        expiry = 0 if not self.lasts() else EXPIRY_S if self.version == wire.V5 else NEVER
        self.coming = self.swarm.wills.connect(self.id, self.delay, expiry, self.pending_clean, self.swarm.now)
        props = {"will_delay_interval": self.delay} if self.delay and self.version == wire.V5 else {}
        return wire.Will(f"w/{self.name}", b"will%d|" % self.coming.number, self.qos, props=props)

    def attached(self, session_present):
        self.swarm.wills.connack(self.coming, session_present, self.swarm.now)
        self.current, self.coming, self.leaving = self.coming, None, None
        self.next_act = self.swarm.now + self.random.expovariate(1.2)

    def detached(self):
        now = self.swarm.now
        if not self.swarm.killed:  # otherwise Wills.killed() says it for all
            if self.coming:
                self.swarm.wills.lost(self.coming, now)
            if self.current and self.leaving is None:
                self.swarm.wills.lost(self.current, now)
        self.current = self.coming = self.leaving = None
        pause = self.random.random() * self.returns_within
        self.next_connect = now + (pause if self.random.random() < 0.7 else 0)

    def ended(self, link):
        if self.leaving is not None and link is self.link:
            self.drop()
        else:
            super().ended(link)

    def act(self, now):
        self.next_act = now + self.random.expovariate(1.2)
        if self.leaving is not None:
            if now - self.leaving > ANSWER_LIMIT_S:
                self.swarm.problem(f"{self.id}: not closed after DISCONNECT")
                self.drop()
            return
        if self.swarm.resting:
            return
        self.end(self.random.choice(self.ends), now)

    def end(self, how, now):
        self.swarm.counts[f"will clients: {how}"] += 1
        if how in ("drop", "reset"):
            self.drop(reset=how == "reset")
        elif how == "goodbye":
            self.link.send(wire.disconnect())
            self.leaving = now
            self.swarm.wills.goodbye(self.current, now)
        elif how == "with will":
            if self.version == wire.V5:
                self.link.send(wire.disconnect(4))
                self.leaving = now
                self.swarm.wills.lost(self.current, now)
            else:
                self.drop()
        elif how in ("take over", "take over clean"):
            self.clean = self.clean or how == "take over clean"
            self.connect()

    def rest(self):
        # Not all of them come back: a will must not need that.
        self.wants = self.random.random() < 0.6 or self.delay > 10
        self.next_connect = 0

    def at_rest(self):
        return self.pending is None and self.leaving is None and (self.link is not None or not self.wants)


class Checker(Client):
    """Asks for all retained messages, again and again."""

    persistent = False

    def __init__(self, swarm):
        super().__init__(swarm, "checker", wire.V5)
        self.rounds = self.asked_at = 0

    def connect(self):
        self.clean = True
        super().connect()

    def detached(self):
        # What was acknowledged by now counts for the next question: it has had the time to reach all shards.
        self.asked_at = self.swarm.tick
        self.next_connect = max(self.next_connect, self.swarm.now + 0.1) if not self.swarm.killed else 0

    def attached(self, session_present):
        self.link.send(wire.subscribe(1, [("r/#", 1)]))
        self.asked_when = self.swarm.now
        self.came = {}
        self.granted = False

    def received(self, packet):
        if packet.kind == wire.SUBACK:
            self.granted = True
        elif packet.kind == wire.PUBLISH and packet.retain:
            if packet.qos:
                self.link.send(wire.ack(wire.PUBACK, packet.packet_id))
            if packet.topic in self.came:
                self.swarm.problem(f"checker: {packet.topic} came twice")
            number = int(packet.payload.partition(b"|")[0])
            self.came[packet.topic] = number
            allowed = self.swarm.retained.allowed(packet.topic, self.asked_at)
            if number not in allowed:
                self.swarm.problem(f"retained on {packet.topic}: {number} instead of {allowed}; "
                                   f"{self.swarm.messages[number]}")
            elif packet.payload != self.swarm.messages[number].payload():
                self.swarm.problem(f"retained on {packet.topic}: a wrong payload")
            self.swarm.counts["retained values checked"] += 1
        elif packet.kind == wire.PUBLISH and packet.qos:
            self.link.send(wire.ack(wire.PUBACK, packet.packet_id))

    def act(self, now):
        self.next_act = now + 0.1
        if not self.granted:
            return
        missing = [topic for topic in self.swarm.retained.history
                   if topic not in self.came and None not in self.swarm.retained.allowed(topic, self.asked_at)]
        if not missing and now - self.asked_when > 0.3:
            self.rounds += 1
            self.swarm.counts["retained checks"] += 1
            self.drop()
            self.next_connect = now + (0.1 if self.swarm.resting else 0.1 + self.random.random())
        elif missing and now - self.asked_when > 5:
            topic = missing[0]
            self.swarm.problem(f"retained on {topic}: nothing instead of {self.swarm.retained.allowed(topic, self.asked_at)}")
            self.drop()
            self.next_connect = now + 1

    def at_rest(self):
        return True


class Threads:
    """Whether the database tidies up at this moment: its thread for that has run since the last look."""

    def __init__(self, pid):
        self.pid, self.ran, self.looked = pid, {}, 0.0

    def compacting(self, now):
        if now - self.looked < 0.002:
            return False
        self.looked = now
        busy = False
        try:
            for task in os.listdir(f"/proc/{self.pid}/task"):
                stat = pathlib.Path(f"/proc/{self.pid}/task/{task}/stat").read_text()
                name, _, rest = stat.partition("(")[2].rpartition(")")
                if "rocksdb:low" in name:
                    fields = rest.split()
                    ran = int(fields[11]) + int(fields[12])
                    busy = busy or fields[0] in "RD" or ran > self.ran.get(task, 0)
                    self.ran[task] = ran
        except OSError:
            pass
        return busy


class Swarm:
    def __init__(self, directory, seed=1, settings=None, how="kill", patience=20.0, load=1.0):
        self.directory, self.seed, self.how, self.patience, self.load = pathlib.Path(directory), seed, how, patience, load
        self.random = random.Random(seed)
        self.settings = {**SETTINGS, **(settings or {})}
        self.selector = selectors.DefaultSelector()
        self.unsent = set()
        self.tick = 0
        self.now = time.monotonic()
        self.resting = False
        self.counts = collections.Counter()
        self.problems = []
        self.began = self.now
        self.history = collections.deque(maxlen=400_000)
        self.messages = []
        self.settled = 0  # messages before this one were checked at an earlier rest
        self.retained = Retained()
        self.wills = Wills(self.settings["will.restart_grace_s"])
        self.broker = None
        self.killed = True
        self.launched = None  # when, while the first connection has not come
        self.slowest_start = 0.0
        self.people()

    def people(self):
        v5, v3 = wire.V5, wire.V311
        rate = 60 * self.load

        def publisher(number, version, **how):
            how.setdefault("rate", rate)
            return Publisher(self, f"p{number}", version, [f"t/p{number}/{part}" for part in range(3)], **how)

        self.publishers = [
            publisher(0, v5),
            publisher(1, v3),
            publisher(2, v5, takes_over=0.05),
            publisher(3, v3, takes_over=0.05, window=8),
            publisher(4, v5, starts_clean=0.04),
            publisher(5, v3, window=40, rate=rate * 0.7, sizes=((1.0, 4000, 30_000),)),
            Publisher(self, "keeper", v5, [f"r/{number}" for number in range(30)], rate=rate, retain=True),
            Publisher(self, "keeper3", v3, [f"r/x{number}" for number in range(10)], rate=rate / 2, retain=True),
        ]
        self.watchers = [
            Subscriber(self, "watcher", v5, {"w/#": 2}, wills=True),
        ]
        self.subscribers = [
            Subscriber(self, "all2", v5, {"t/#": 2}),
            Subscriber(self, "all1", v3, {"t/#": 1}),
            Subscriber(self, "away2", v5, {"t/#": 2}, online=0.15),
            Subscriber(self, "away1", v3, {"t/p0/#": 1, "t/p2/#": 2, "t/p5/#": 1}, online=0.15),
            Subscriber(self, "fickle", v5, {"t/+/0": 2, "t/+/1": 1}, takes_over=0.08),
            Subscriber(self, "shaky", v3, {"t/+/1": 2}, drops=0.15),
            Subscriber(self, "slow", v5, {"t/p1/#": 2, "t/p4/#": 2}, receive_maximum=3, delay=0.05, drops=0.02),
            Subscriber(self, "flipper", v5, {"t/p1/#": 2}, flips={"t/p2/#": 2, "t/p3/#": 1}),
            Subscriber(self, "flapper", v3, {"t/p0/#": 2}, flips={"t/p4/+": 2, "t/p2/1": 1}, online=0.5),
            Subscriber(self, "fresh", v5, {"t/+/2": 2}, starts_clean=0.02),
            Subscriber(self, "fresh3", v3, {"t/p3/#": 2, "t/p0/1": 1}, starts_clean=0.02, delay=0.02),
        ]
        self.mortals = [
            Mortal(self, "m0", v5), Mortal(self, "m1", v5, delay=1), Mortal(self, "m2", v5, delay=3),
            Mortal(self, "m3", v3), Mortal(self, "m4", v3, persistent=False), Mortal(self, "m5", v5, persistent=False),
            Mortal(self, "m6", v5, delay=2, persistent=False), Mortal(self, "m7", v5, delay=1, returns_within=0.5),
            Mortal(self, "m8", v5, delay=600, returns_within=1.0, ends=["drop", "reset", "take over", "stay", "goodbye"]),
            Mortal(self, "m9", v5, delay=2, returns_within=8.0, ends=["drop", "reset", "with will"]),
            Mortal(self, "m10", v3, returns_within=8.0), Mortal(self, "m11", v5, returns_within=0.3),
        ]
        self.checker = Checker(self)
        self.everybody = [*self.watchers, *self.subscribers, *self.publishers, *self.mortals, self.checker]

    # --- what the clients use
    def trace(self, direction, who, data, first=None):
        self.history.append((self.tick, self.now, direction, who, first, bytes(data[:48])))

    def problem(self, text):
        self.problems.append(f"[{self.now - self.began:.3f} s, tick {self.tick}, after kill {self.counts['kills']}] {text}")

    def alive(self):
        """Whether the broker has no excuse for closing a connection."""
        if not self.killed and self.broker.running():
            time.sleep(0.01)  # it may be dying
        return not self.killed and self.broker.running()

    def dial(self):
        try:
            sock = socket.create_connection(("127.0.0.1", self.broker.port), timeout=2)
        except OSError:
            return None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        if self.launched is not None:
            self.listens()
        return sock

    def listens(self):
        self.slowest_start = max(self.slowest_start, time.monotonic() - self.launched)
        self.launched = None
        self.up_at = time.monotonic()
        self.wills.up(self.up_at)

    # --- the loop
    def turn(self, wait=0.01):
        events = self.selector.select(wait)
        self.now = time.monotonic()
        for key, _ in events:
            if key.fileobj.fileno() >= 0:
                key.data.client.readable(key.data)
        for client in self.everybody:
            client.step(self.now)
        self.unsent = {link for link in self.unsent if not link.flush()}
        if self.broker.process.poll() is not None and not self.killed:
            self.problem(f"the broker died by itself, code {self.broker.process.returncode}: "
                         f"{self.broker.log_of_this_life()[-2000:]}")
            self.after_death()
            self.start()
        if self.launched is not None and self.now - self.launched > START_LIMIT_S:
            raise RuntimeError(f"the broker does not listen {START_LIMIT_S} s after its start, after kill "
                               f"{self.counts['kills']}:\n{self.broker.log_of_this_life()[-2000:]}")

    def run_until(self, done, limit):
        end = time.monotonic() + limit
        while not done():
            if time.monotonic() > end:
                return False
            self.turn()
        return True

    # --- the broker's lives
    def start(self):
        self.launched = time.monotonic()
        self.killed = False
        if self.broker is None:
            self.broker = broker_module.Broker(self.directory, self.settings)
            self.listens()
        else:
            self.broker.launch()
        self.threads = Threads(self.broker.pid)

    def after_death(self):
        """Reads what it still said, and tells everybody."""
        self.killed = True
        self.launched = None
        self.now = time.monotonic()
        limit = self.now + 1
        for client in self.everybody:
            for link in (client.link, client.pending):
                while link and not link.closed and not link.deaf and time.monotonic() < limit:
                    client.readable(link)
            client.drop()
        self.wills.killed(self.now)

    def kill(self):
        if self.how == "kill":
            self.broker.kill()
            self.after_death()
            if "broken invariant" in self.broker.log_of_this_life():
                self.problem(f"broken invariant: {self.broker.log_of_this_life()[-2000:]}")
        else:
            for client in self.everybody:
                if self.random.random() < 0.7 and (client.link or client.pending):
                    client.drop(reset=self.random.random() < 0.5)

    def round(self):
        """Lets them live for a while, and kills the broker."""
        dice = self.random.random()
        acknowledged = self.counts["acknowledged"]
        if dice < 0.25:
            kind, limit, done = "kills at start", self.random.uniform(0.01, 0.3), lambda: False
        elif dice < 0.45:
            enough = acknowledged + self.random.randint(1, 60)
            kind, limit, done = "kills after an acknowledgement", 3.0, lambda: self.counts["acknowledged"] >= enough
        elif dice < 0.6:
            kind, limit, done = "kills while tidying", 2.0, lambda: self.threads.compacting(self.now)
        else:
            kind, limit, done = "kills at any time", self.random.uniform(0.2, 2.2), lambda: False
        reached = self.run_until(done, limit)
        if kind == "kills while tidying" and not reached:
            kind = "kills at any time"
        self.kill()
        self.counts["kills"] += 1
        self.counts[kind] += 1
        if self.how == "kill":
            self.start()

    def rest(self):
        """All come to rest; then the books are closed."""
        self.resting = True
        for client in self.everybody:
            client.rest()
        progress, last = time.monotonic(), None
        while True:
            self.turn()
            done = self.counts["acknowledged"], self.counts["delivered at QoS 1"], self.counts["delivered at QoS 2"]
            if done != last:
                progress, last = self.now, done
            busy = [client.id for client in self.everybody if not client.at_rest()]
            if not busy and (self.now - progress > 0.5 and not self.missing()):
                break
            if self.now - progress > self.patience:
                if busy:
                    self.problem(f"they do not come to rest: {busy}")
                break
        for text in self.missing():
            self.problem(text)
        self.settled = len(self.messages)
        # The wills take their time; what comes meanwhile has come too often.
        self.run_until(lambda: not self.wills.settle(self.now), 30)
        rounds = self.checker.rounds
        if not self.run_until(lambda: self.checker.rounds >= rounds + 2 or self.problems, 15):
            self.problem("the retained messages cannot be read")
        self.problems += [f"[after kill {self.counts['kills']}] {text}" for text in self.wills.take_problems()]
        self.retained.forget_before(self.tick)
        self.resting = False
        for client in self.everybody:
            client.wants = True

    def missing(self):
        lost = []
        for message in self.messages[self.settled:]:
            if message.acked is None:
                continue
            for subscriber in self.subscribers:
                if not subscriber.session.count(message.number) and subscriber.session.must_have(message):
                    lost.append(f"{subscriber.id}: lost {message}")
        return lost

    # --- the whole of it
    def run(self, kills, every=20, progress=None):
        """True if every promise was kept."""
        self.start()
        everybody, self.everybody = self.everybody, self.watchers  # who are to see all wills
        for some in (self.watchers, self.subscribers):
            if not self.run_until(lambda: all(one.link and not one.asked for one in some), 10):
                self.problem("not everybody could subscribe")
            self.everybody = everybody
        while self.counts["kills"] < kills and not self.problems:
            self.round()
            if self.counts["kills"] % every == 0 or self.counts["kills"] == kills:
                self.rest()
            if progress:
                progress(self)
        if self.broker.running() and not self.problems:
            self.killed = True  # from here on it may close connections
            try:
                self.broker.terminate()
            except AssertionError as error:
                self.problem(str(error))
        self.end()
        return not self.problems

    def end(self):
        for client in self.everybody:
            for link in (client.link, client.pending):
                if link:
                    link.close()
        self.selector.close()
        if self.broker:
            self.broker.kill()
        if self.problems:
            with open(self.directory / "history.txt", "w") as file:
                for tick, when, direction, who, first, data in self.history:
                    kind = wire.NAMES[(data[0] if first is None else first) >> 4]
                    flags = (data[0] if first is None else first) & 15
                    file.write(f"{tick} {when - self.began:.4f} {who} {direction} {kind} {flags:x} {data!r}\n")
            (self.directory / "problems.txt").write_text("\n".join(self.problems) + "\n")

    def report(self):
        counts = self.counts
        wills = collections.Counter(str(will.verdict) for will in self.wills.all)
        lines = [f"{key}: {counts[key]}" for key in sorted(counts)]
        lines.append(f"messages sent: {len(self.messages)}")
        lines.append(f"wills: {len(self.wills.all)}, {wills['1']} had to be published, {wills['0']} cancelled, "
                     f"{wills['(0, 1)']} uncertain, {sum(will.published for will in self.wills.all)} were published")
        lines.append(f"slowest start: {self.slowest_start:.3f} s")
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--every", type=int, default=20, help="kills from one rest to the next")
    parser.add_argument("--load", type=float, default=1.0, help="factor on the rate of the publishers")
    parser.add_argument("--how", choices=("kill", "drop"), default="kill")
    parser.add_argument("--directory", help="where the broker's files go; left in place. Default: a temporary one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="more settings for the broker")
    options = parser.parse_args()
    settings = dict(one.split("=", 1) for one in options.set)
    settings = {key: int(value) if value.isdigit() else value for key, value in settings.items()}
    directory = options.directory or tempfile.mkdtemp(prefix="kill-swarm-")

    def progress(swarm):
        counts = swarm.counts
        print(f"\r{counts['kills']} of {options.kills} kills, {time.monotonic() - swarm.began:.0f} s, {counts['acknowledged']} "
              f"acknowledged, {counts['delivered at QoS 1'] + counts['delivered at QoS 2']} delivered, "
              f"{len(swarm.wills.all)} wills ", end="", flush=True)

    print(f"seed {options.seed}, {directory}")
    swarm = Swarm(directory, options.seed, settings, options.how, load=options.load)
    kept = swarm.run(options.kills, options.every, progress)
    print("\n" + swarm.report())
    if kept:
        print("every promise was kept")
        return 0
    print(f"{len(swarm.problems)} PROBLEMS (seed {options.seed}; {directory}/problems.txt, history.txt):")
    print("\n".join(swarm.problems[:40]))
    return 1


if __name__ == "__main__":
    sys.exit(main())
