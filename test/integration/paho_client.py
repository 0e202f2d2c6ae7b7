"""paho, made to wait: every call returns when its answer is there."""

import queue
import socket

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

LIMIT_S = 5

VERSIONS = {"v3.1": mqtt.MQTTv31, "v3.1.1": mqtt.MQTTv311, "v5": mqtt.MQTTv5}


def props(packet, **values):
    """Properties for PacketTypes.<packet>; names as paho writes them. A list sets a property several times."""
    made = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(made, name, value)
    return made


def code(value):
    """A reason code as a number: paho gives objects for 5.0 and numbers for 3.x."""
    return getattr(value, "value", value)


class Paho:
    def __init__(self, broker, client_id="", version="v5", clean=True, will=None, expiry=0):
        """`will`: the arguments of will_set."""
        self.broker = broker
        self.v5 = version == "v5"
        self.clean = clean
        self.expiry = expiry
        how = {"protocol": VERSIONS[version], "reconnect_on_failure": False}
        if not self.v5:
            how["clean_session"] = clean
        self.client = mqtt.Client(client_id, **how)
        if will:
            self.client.will_set(**will)
        self.connects, self.disconnects, self.subacks = queue.Queue(), queue.Queue(), queue.Queue()
        self.unsubacks, self.messages = queue.Queue(), queue.Queue()
        self.client.on_connect = lambda c, u, flags, rc, p=None: self.connects.put((flags, code(rc), p))
        self.client.on_disconnect = lambda c, u, rc, p=None: self.disconnects.put((code(rc), p))
        self.client.on_subscribe = lambda c, u, mid, codes, p=None: self.subacks.put([code(one) for one in codes])
        self.client.on_unsubscribe = lambda c, u, mid, *rest: self.unsubacks.put(mid)
        self.client.on_message = lambda c, u, message: self.messages.put(message)

    def connect(self, keep_alive=60, **properties):
        """Gives (session present, reason code, properties of the CONNACK)."""
        how = {}
        if self.v5:
            how["clean_start"] = self.clean
            how["properties"] = props("CONNECT", SessionExpiryInterval=self.expiry, **properties)
        self.client.connect(*self.broker.target, keepalive=keep_alive, **how)
        self.client.loop_start()
        flags, rc, answer = self.connects.get(timeout=LIMIT_S)
        return bool(flags["session present"]), rc, answer

    def start(self, **how):
        assert self.connect(**how)[1] == 0
        return self

    def subscribe(self, *filters, qos=0, options=None, **properties):
        """Gives the granted QoS, or the reason code, of each filter."""
        if self.v5:
            entries = [(one, options or SubscribeOptions(qos=qos)) for one in filters]
            self.client.subscribe(entries, properties=props("SUBSCRIBE", **properties) if properties else None)
        else:
            self.client.subscribe([(one, qos) for one in filters])
        return self.subacks.get(timeout=LIMIT_S)

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        self.unsubacks.get(timeout=LIMIT_S)

    def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        how = {"properties": props("PUBLISH", **properties)} if properties else {}
        info = self.client.publish(topic, payload, qos, retain, **how)
        info.wait_for_publish(LIMIT_S)
        assert info.is_published(), f"QoS {qos} to {topic} was never acknowledged"

    def message(self, timeout=LIMIT_S):
        return self.messages.get(timeout=timeout)

    def quiet(self, seconds=0.3):
        try:
            message = self.messages.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"expected nothing, got {message.topic} {message.payload!r}")

    def disconnect(self):
        self.client.disconnect()
        self.disconnects.get(timeout=LIMIT_S)
        self.client.loop_stop()

    def drop(self):
        """The connection ends without a DISCONNECT."""
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.disconnects.get(timeout=LIMIT_S)
        self.client.loop_stop()
