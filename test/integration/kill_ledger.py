"""What must hold after a broker was killed: the oracle of kill_swarm.py. Knows no sockets.

Time is counted twice: in `tick`s, which rise with every packet that goes out or comes in (one thread sees all of them, so
that "before" is certain), and in seconds where the standard speaks of seconds.

A packet counts as sent when it is handed to its connection, which may be a moment before it leaves. What is "sent before"
is therefore allowed a little too much, and never too little.
"""

import bisect
import collections
import functools

NEVER = float("inf")
# The broker has surely dealt with what it was sent so long ago, and stored what came of it.
SURELY_S = 1.0
# A time of the broker's may be off by this much before it counts as wrong: the machine is busy.
LATE_S = 3.0
EARLY_S = 0.05


@functools.lru_cache(None)
def matches(topic_filter, topic):
    asked, given = topic_filter.split("/"), topic.split("/")
    for level, part in enumerate(asked):
        if part == "#":
            return True
        if level >= len(given) or part not in ("+", given[level]):
            return False
    return len(asked) == len(given)


class Message:
    """What one publisher wants published."""

    __slots__ = ("number", "publisher", "topic", "qos", "order", "size", "retain", "deletes", "sent", "sends", "acked",
                 "given_up")

    def __init__(self, number, publisher, topic, qos, order, size, retain=False, deletes=False):
        self.number, self.publisher, self.topic, self.qos = number, publisher, topic, qos
        self.order = order  # among those of the same publisher, topic and QoS
        self.size, self.retain, self.deletes = size, retain, deletes
        self.sent = NEVER      # tick at which it was first sent
        self.sends = 0         # how often
        self.acked = None      # tick of PUBACK or PUBREC
        self.given_up = False  # its publisher began anew without knowing what became of it

    def payload(self):
        if self.deletes:
            return b""
        head = b"%d|" % self.number
        return head + bytes([65 + self.number % 26]) * (self.size - len(head))

    def __repr__(self):
        return (f"message {self.number} ({self.publisher} {self.topic} QoS {self.qos} #{self.order}, "
                f"sent {self.sent}, {self.sends} times, acked {self.acked})")


class Span:
    """A subscription, from SUBSCRIBE to UNSUBACK."""

    def __init__(self, qos, asked):
        self.qos = qos
        self.asked = asked     # tick of the first SUBSCRIBE
        self.granted = None    # of SUBACK
        self.ending = None     # of the first UNSUBSCRIBE, or of a CONNECT with Clean Start
        self.ended = None      # of UNSUBACK

    def may_have(self, message):
        return self.asked < (message.acked or NEVER) and message.sent < (self.ended or NEVER)

    def must_have(self, message):
        return message.acked is not None and self.granted is not None and self.granted < message.sent and self.ending is None


class Session:
    """What a subscriber's session has coming, and what came."""

    def __init__(self, client_id):
        self.client_id = client_id
        self.begin_anew()

    def begin_anew(self):
        self.filters = collections.defaultdict(list)  # filter: its spans
        self.seen = bytearray()                       # by number of message, up to 255
        self.last = {}                                # (publisher, topic, QoS): the highest order that came

    def span(self, topic_filter):
        spans = self.filters[topic_filter]
        return spans[-1] if spans else None

    def _matching(self, topic):
        return [span for topic_filter, spans in self.filters.items() if matches(topic_filter, topic) for span in spans]

    def may_have(self, message):
        return any(span.may_have(message) for span in self._matching(message.topic))

    def must_have(self, message):
        return any(span.must_have(message) for span in self._matching(message.topic))

    def qos_of(self, message):
        """The QoS at which it may come; two, if the subscription was changed between."""
        return {min(message.qos, span.qos) for span in self._matching(message.topic) if span.may_have(message)}

    def count(self, number):
        return self.seen[number] if number < len(self.seen) else 0

    def add(self, number):
        if number >= len(self.seen):
            self.seen += bytes(number + 1000 - len(self.seen))
        self.seen[number] = min(255, self.seen[number] + 1)


class Will:
    """Of one connection."""

    __slots__ = ("number", "client_id", "delay", "expiry", "state", "since", "earliest", "latest", "verdict", "pushes",
                 "connect_sent", "published")

    def __init__(self, number, client_id, delay, expiry, now):
        self.number, self.client_id, self.delay, self.expiry = number, client_id, delay, expiry
        # connecting ─► live ─► lost | goodbye | killed | due (its session ended); `since` says when
        self.state = "connecting"
        self.since = self.connect_sent = now
        self.earliest = now  # it may not come before
        self.latest = NEVER  # it has come by then, if nothing cancels it
        self.verdict = None  # how often it must be published: 0, 1, or (0, 1)
        self.pushes = False  # it is not known whether the broker knew of the end: a start may put it off, by the grace
        self.published = 0

    def __repr__(self):
        return (f"will {self.number} of {self.client_id} (delay {self.delay} s, expiry {self.expiry} s, {self.state} since "
                f"{self.since:.3f}, due {self.earliest:.3f} to {self.latest:.3f}, verdict {self.verdict}, published "
                f"{self.published} times)")


EITHER = (0, 1)


class Wills:
    """Which wills must be published, which must not, and which may (MISSION.md section 4)."""

    def __init__(self, grace):
        self.grace = grace
        self.all = []
        self.owed = collections.defaultdict(list)  # client id: wills without a verdict
        self.problems = []

    def connect(self, client_id, delay, expiry, clean, now):
        """CONNECT goes out, with a will."""
        for old in self.owed[client_id]:
            # What it ends may be published before it is answered.
            if clean or old.expiry == 0 or (old.state == "live" and old.delay == 0):
                self._may_come_now(old, now)
        will = Will(len(self.all), client_id, delay, expiry, now)
        self.all.append(will)
        self.owed[client_id].append(will)
        return will

    def _judge(self, will, verdict):
        if will.verdict is None:
            will.verdict = verdict
            self.owed[will.client_id].remove(will)
            if will.published not in (verdict if verdict is EITHER else (verdict,)):
                self.problems.append(f"published {will.published} times instead of {verdict}: {will}")

    def _may_come_now(self, will, now):
        will.earliest = min(will.earliest, now)

    def _unanswered(self, client_id, now):
        """A CONNECT that was not answered may have done all that it does, or nothing."""
        for will in list(self.owed[client_id]):
            if will.state != "due":
                self._may_come_now(will, now)
                self._judge(will, EITHER)

    def connack(self, will, session_present, now):
        """Its connection is in, and what that means for those before it."""
        will.state, will.since, will.earliest = "live", now, NEVER
        for old in [old for old in self.owed[will.client_id] if old is not will]:
            if old.state == "due":
                continue
            if old.state == "goodbye":
                self._judge(old, EITHER if old.pushes else 0)
            elif old.published:
                self._judge(old, 1)
            elif not session_present or (old.state in ("live", "lost") and old.delay == 0 and not old.pushes):
                self._must_come(old, now)
            elif old.state == "live" or now < old.earliest - EARLY_S:
                self._judge(old, 0)  # resumed in time
            elif will.connect_sent > old.latest:
                self._must_come(old, now)
            else:
                self._judge(old, EITHER)

    def _must_come(self, will, now):
        will.state, will.since, will.pushes = "due", now, False
        will.earliest, will.latest = min(will.earliest, now), now + LATE_S

    def _after_loss(self, will):
        return min(will.delay, will.expiry)

    def _after_start(self, will):
        return min(max(will.expiry, self.grace), max(will.delay, self.grace))

    def lost(self, will, now):
        """The client dropped its connection, or said goodbye with a reason that does not cancel the will."""
        if will.verdict is not None:
            return
        if will.state == "connecting":
            self._unanswered(will.client_id, now)
            return
        will.state, will.since = "lost", now
        will.earliest = now + self._after_loss(will)
        will.latest = will.earliest + LATE_S

    def goodbye(self, will, now):
        will.state, will.since, will.earliest = "goodbye", now, now

    def killed(self, now):
        for client_id, wills in self.owed.items():
            if any(will.state == "connecting" for will in wills):
                self._unanswered(client_id, now)
            for will in wills:
                if will.state == "live":
                    will.state, will.since, will.pushes = "killed", now, True
                    will.earliest = now + self._after_start(will)
                elif will.state in ("lost", "goodbye") and now - will.since < SURELY_S:
                    will.pushes = True  # whether the broker knew is not known
                will.latest = NEVER

    def up(self, now):
        """The broker listens again."""
        for wills in self.owed.values():
            for will in wills:
                if will.pushes:
                    will.latest = now + self._after_start(will) + LATE_S
                elif will.state == "lost":
                    will.latest = max(will.since + self._after_loss(will), now) + LATE_S
                elif will.state in ("due", "goodbye"):
                    will.latest = now + LATE_S

    def publication(self, number, now):
        if number >= len(self.all):
            self.problems.append(f"will {number} was published, which nobody has")
            return
        will = self.all[number]
        will.published += 1
        if now < will.earliest - EARLY_S:
            self.problems.append(f"published {will.earliest - now:.3f} s too early, at {now:.3f}: {will}")
        if will.published > 1 or will.verdict == 0:
            self.problems.append(f"published {will.published} times: {will}")
        elif will.state == "goodbye" and not will.pushes:
            self.problems.append(f"published although its client said goodbye: {will}")

    def settle(self, now):
        """Judges what time has decided. How many are left to wait for, those of live connections aside."""
        left = 0
        for wills in self.owed.values():
            for will in list(wills):
                if will.state in ("lost", "killed", "due"):
                    if will.published or now > will.latest:
                        self._judge(will, 1)
                elif will.state == "goodbye":
                    if will.pushes and (will.published or now > will.latest):
                        self._judge(will, EITHER)
                    elif not will.pushes and now > will.since + SURELY_S + LATE_S:
                        self._judge(will, 0)
                left += will.verdict is None and will.state != "live"
        return left

    def take_problems(self):
        problems, self.problems = self.problems, []
        return problems


class Retained:
    """What a topic may hold, given who has said what and had it acknowledged. One publisher a topic."""

    def __init__(self):
        self.history = collections.defaultdict(list)  # topic: messages in the order in which they were sent

    def sent(self, message):
        self.history[message.topic].append(message)

    def allowed(self, topic, tick):
        """The values that a question of that tick may find: the last one that was acknowledged by then, or a later one."""
        history = self.history.get(topic, [])
        first = 0
        known = bisect.bisect_right(history, tick, key=lambda message: message.sent)
        for index in range(known - 1, -1, -1):
            if history[index].acked is not None and history[index].acked < tick:
                first = index
                break
        else:
            return {None} | {None if message.deletes else message.number for message in history}
        return {None if message.deletes else message.number for message in history[first:]}

    def forget_before(self, tick):
        for topic, history in self.history.items():
            last = max((index for index, message in enumerate(history) if message.acked is not None and message.acked < tick),
                       default=0)
            self.history[topic] = history[last:]
