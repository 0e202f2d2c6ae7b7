"""$SYS: the broker's figures, and what it knows of every client."""

import json
import re
import signal
import time

import pytest

import mqtt_wire as wire

STATE_FIELDS = {
    "clientId", "sessionId", "connectionState", "clientType", "nodeId", "cleanStart", "sessionExpiryInterval",
    "keepAliveSeconds", "connectedAt", "clientIpAdr", "subscriptions", "incarnation", "sequence", "lastSeenAt",
    "deadlineAt", "timeLeftMs", "packetsReceived", "packetsSent", "bytesReceived", "bytesSent", "connects", "takeOvers",
    "willsPublished", "willsCancelled", "disconnectsLastHour", "disconnectsLastDay", "history", "protocolVersion",
}


def test_the_brokers_figures(start_broker):
    """Under the names that mosquitto's users know."""
    broker = start_broker({"sys.interval_s": 1})
    reader = broker.client("reader")
    reader.subscribe("$SYS/broker/#")
    figures = {}
    wanted = {"version", "uptime", "clients/connected", "clients/total", "clients/maximum", "messages/received",
              "messages/sent", "publish/messages/received", "publish/messages/dropped", "bytes/received", "bytes/sent",
              "retained messages/count", "subscriptions/count"}
    limit = time.monotonic() + 5
    while not wanted <= set(figures) or figures["clients/connected"] != "1":
        assert time.monotonic() < limit, f"missing: {wanted - set(figures)}, {figures}"
        message = reader.message()
        figures[message.topic.removeprefix("$SYS/broker/")] = message.payload.decode()
    assert re.fullmatch(r"vigilmq version \S+", figures["version"])
    assert re.fullmatch(r"\d+ seconds", figures["uptime"])
    # They are retained: whoever comes later need not wait.
    late = broker.client("late")
    late.subscribe("$SYS/broker/version")
    assert late.message(0.5).retain


def test_the_figures_count(start_broker):
    broker = start_broker({"sys.interval_s": 1})
    client = broker.client("dev", props={"session_expiry_interval": 60})
    client.subscribe("news")
    for _ in range(10):
        client.send(wire.publish("news", "x"))
    for _ in range(10):
        client.message()
    client.publish("kept", "x", qos=1, retain=True)
    client.drop()
    broker.wait_log("Client dev .*CONNECTION_CLOSED")
    reader = broker.client("reader")
    reader.subscribe("$SYS/broker/#")
    expected = {"publish/messages/received": 11, "clients/connected": 1, "clients/disconnected": 1, "clients/total": 2,
                "subscriptions/count": 2}
    seen = {}
    limit = time.monotonic() + 6
    while any(seen.get(key) != value for key, value in expected.items()):
        assert time.monotonic() < limit, f"expected {expected}, got { {key: seen.get(key) for key in expected} }"
        message = reader.message()
        if message.payload.isdigit():
            seen[message.topic.removeprefix("$SYS/broker/")] = int(message.payload)


def test_the_most_clients_at_once(start_broker):
    """30 clients that come and go one by one were never more than one beside the reader, on however many shards."""
    broker = start_broker({"sys.interval_s": 1, "shards": 4})
    reader = broker.client("reader")
    reader.subscribe("$SYS/broker/connections/accepted", "$SYS/broker/clients/maximum")
    for number in range(30):
        broker.client(f"c{number}").drop()
        broker.wait_log(f"Client c{number} .*CONNECTION_CLOSED")
    figures = {}
    while figures.get("accepted", 0) < 31:
        message = reader.message()
        figures[message.topic.rpartition("/")[2]] = int(message.payload)
    try:
        figures["maximum"] = int(reader.message(0.2).payload)
    except TimeoutError:
        pass
    assert figures["maximum"] <= 2


def test_system_topics_hide_from_wildcards(broker, name):
    """[MQTT-4.7.2-1, MQTT3-4.7.2-1]"""
    client = broker.client(name)
    client.subscribe("#", "+/broker/version")
    broker.client(f"o-{name}").drop()
    limit = time.monotonic() + 1.5
    while time.monotonic() < limit:
        try:
            assert not client.recv(0.2).topic.startswith("$")
        except TimeoutError:
            pass


def test_nobody_writes_there(broker, name):
    client = broker.client(name)
    assert client.publish("$SYS/clients/x/state", "forged", qos=1) == 0x87
    assert client.publish("$SYS/broker/version", "forged", qos=1) == 0x87


def test_the_state_of_a_connected_client(broker, name):
    before = int(time.time() * 1000)
    client = broker.client(name, keep_alive=60, props={"session_expiry_interval": 30})
    client.subscribe("a", "b/#")
    client.ping()
    state = broker.state(name)
    assert STATE_FIELDS <= set(state), STATE_FIELDS - set(state)
    now = int(time.time() * 1000)
    assert (state["clientId"], state["connectionState"], state["clientType"]) == (name, "CONNECTED", "DEVICE")
    assert (state["keepAliveSeconds"], state["sessionExpiryInterval"], state["cleanStart"]) == (60, 30, True)
    assert (state["protocolVersion"], state["subscriptions"], state["connects"]) == ("5.0", 2, 1)
    assert state["clientIpAdr"] == "%s:%d" % client.sock.getsockname()
    assert before - 50 <= state["connectedAt"] <= state["lastSeenAt"] <= now + 50
    assert 89_000 <= state["deadlineAt"] - state["lastSeenAt"] <= 90_000
    assert 88_000 <= state["timeLeftMs"] <= 90_000
    assert state["packetsReceived"] == 3 and state["packetsSent"] == 3
    assert [event["event"] for event in state["history"]] == ["connected"]


def test_the_rhythm_of_a_heart(broker, name):
    # Several, so that some live on the shard that accepted them and some do not.
    clients = {f"{name}-{number}": broker.client(f"{name}-{number}") for number in range(6)}
    for _ in range(10):
        time.sleep(0.1)
        for client in clients.values():
            client.ping()
    for client_id in clients:
        heartbeat = broker.state(client_id)["heartbeat"]
        assert 95 <= heartbeat["meanMs"] <= 200
        assert 0 <= heartbeat["jitterMs"] <= 100


def test_the_state_of_one_who_went(broker, name):
    client = broker.client(name, props={"session_expiry_interval": 60}, will=wire.Will("x"))
    client.drop()
    state = broker.wait_state(name, lambda state: state["connectionState"] == "DISCONNECTED")
    assert state["disconnectReason"] == "CONNECTION_CLOSED"
    assert state["connectedAt"] <= state["lastSeenAt"] <= state["disconnectedAt"]
    assert state["disconnectsLastHour"] == state["disconnectsLastDay"] == 1
    assert [event["event"] for event in state["history"]] == ["connected", "disconnected", "willPublished"]
    assert state["history"][1]["disconnectReason"] == "CONNECTION_CLOSED"


def test_what_is_known_of_a_protocol_error(broker, name):
    client = broker.client(name)
    client.send(wire.publish("a/#", "x"))
    client.until_closed()
    state = broker.state(name)
    assert state["disconnectReason"] == "PROTOCOL_ERROR"
    assert state["disconnectDetail"]


def test_incarnations_rise(start_broker):
    """With every connection of an id, over restarts of the broker too; the sequence rises with every event of one."""
    broker = start_broker()
    events = broker.events("dev")
    seen = []
    for _ in range(3):
        broker.client("dev", will=wire.Will("x")).drop()
        seen += events.until("sessionEnded")
    order = [(event["incarnation"], event["sequence"]) for event in seen]
    assert order == sorted(set(order)), "events must carry rising numbers"
    assert len({event["incarnation"] for event in seen}) == 3
    assert [event["event"] for event in seen] == ["connected", "disconnected", "willPublished", "sessionEnded"] * 3
    broker.terminate()
    again = start_broker()
    again.client("dev")
    assert again.state("dev")["incarnation"] > order[-1][0]


def test_events_of_a_life(broker, name):
    """connected, willCancelled, disconnected, takenOver, sessionEnded, each with what belongs to it."""
    events = broker.events(name)
    client = broker.client(name, keep_alive=9, will=wire.Will("x"), props={"session_expiry_interval": 60})
    connected = events.next()
    assert connected["event"] == "connected"
    assert (connected["clientId"], connected["keepAliveSeconds"], connected["protocolVersion"]) == (name, 9, "5.0")
    assert connected["clientIpAdr"] == "%s:%d" % client.sock.getsockname()
    newcomer = broker.client(name, will=wire.Will("x"))
    seen = events.until("connected")
    assert {event["event"] for event in seen} >= {"takenOver", "disconnected", "sessionEnded", "willPublished"}
    gone = next(event for event in seen if event["event"] == "disconnected")
    assert (gone["disconnectReason"], gone["incarnation"]) == ("SESSION_TAKEN_OVER", connected["incarnation"])
    newcomer.disconnect()
    seen = events.until("sessionEnded")
    assert [event["event"] for event in seen] == ["disconnected", "willCancelled", "sessionEnded"]
    assert seen[0]["disconnectReason"] == "CLIENT_DISCONNECT"


def test_states_follow_what_happens(broker, name):
    """A subscriber sees the present state first, then each change."""
    watcher = broker.client(f"w-{name}")
    watcher.subscribe(f"$SYS/clients/{name}/state")
    client = broker.client(name)
    first = watcher.message()
    assert not first.retain
    assert json.loads(first.payload)["connectionState"] == "CONNECTED"
    late = broker.client(f"l-{name}")
    late.subscribe(f"$SYS/clients/{name}/state")
    message = late.message()
    assert message.retain and json.loads(message.payload)["connectionState"] == "CONNECTED"
    client.drop()
    for one in (watcher, late):
        states = [json.loads(one.message().payload)["connectionState"]]
        while states[-1] != "DISCONNECTED":
            states.append(json.loads(one.message().payload)["connectionState"])


def test_all_clients_at_once(broker, name):
    """A wildcard shows everybody, connected or not."""
    ids = {f"{name}-{number}" for number in range(200)}
    clients = [broker.client(client_id, props={"session_expiry_interval": 60}) for client_id in sorted(ids)]
    for client in clients[::2]:
        client.drop()
    watcher = broker.client(f"w-{name}")
    watcher.subscribe("$SYS/clients/+/state")
    missing = set(ids)
    while missing:
        missing.discard(json.loads(watcher.message().payload)["clientId"])


@pytest.mark.parametrize("client_id, level", [("a/b", "a%2Fb"), ("a+#", "a%2B%23"), ("$x", "%24x"), ("50%", "50%25"), ("ä", "ä")])
def test_ids_that_are_no_topic_levels(broker, client_id, level):
    broker.client(client_id)
    assert broker.state(level)["clientId"] == client_id


def test_the_off_switch(start_broker):
    broker = start_broker({"sys.enabled": False, "sys.clients_enabled": False, "sys.interval_s": 1})
    broker.client("dev")
    reader = broker.client("reader")
    reader.subscribe("$SYS/#")
    reader.quiet(1.5)


def figures(broker):
    """What is retained below $SYS/broker now."""
    reader = broker.client("")
    reader.subscribe("$SYS/broker/#")
    found = {}
    try:
        while True:
            message = reader.message(0.3)
            if message.retain:
                found[message.topic.removeprefix("$SYS/broker/")] = message.payload.decode()
    except TimeoutError:
        reader.disconnect()
        return found


def test_the_switch_while_it_runs(start_broker):
    """Off: no stale figures remain, on no shard. On: they are there again, as they are now. Bridges' states stay."""
    broker = start_broker({"shards": 4, "sys.interval_s": 1})
    broker.client("bridge").publish("$SYS/broker/connection/bridge/state", "1", qos=1, retain=True)
    broker.wait_log("New client connected")

    def switch(on):
        seen = len(broker.log())
        broker.settings["sys.enabled"] = on
        broker.write_config()
        broker.process.send_signal(signal.SIGHUP)
        broker.wait_log(r"in force: sys\.enabled", since=seen)

    time.sleep(1.2)
    assert {"uptime", "clients/connected", "load/messages/sent/1min"} <= set(figures(broker))
    switch(False)
    # Readers live on different shards.
    for _ in range(4):
        assert figures(broker) == {"connection/bridge/state": "1"}
    time.sleep(1.2)
    assert set(figures(broker)) == {"connection/bridge/state"}
    others = [broker.client(f"other-{number}") for number in range(5)]
    switch(True)
    time.sleep(0.3)
    for _ in range(4):
        found = figures(broker)
        assert found["connection/bridge/state"] == "1" and int(found["clients/connected"]) >= 1 + len(others), found


@pytest.mark.parametrize("most", [0, 3])
def test_the_figures_take_no_place_of_retained_messages(start_broker, most):
    broker = start_broker({"retained.max_messages": most, "sys.interval_s": 1})
    time.sleep(1.2)
    assert "Retained messages are not kept" not in broker.log()
    client = broker.client("client")
    for number in range(5):
        client.publish(f"t/{number}", "x", qos=1, retain=True)
    broker.wait_log("Retained messages are not kept")
    time.sleep(1.2)
    assert figures(broker)["retained messages/count"] == str(most)


def test_the_figures_agree_with_what_was_sent(start_broker):
    broker = start_broker({"sys.interval_s": 1})
    client = broker.client("client")
    client.subscribe("t")
    for _ in range(10):
        client.publish("t", 100 * "x", qos=1)
    broker.client("absent", props={"session_expiry_interval": 60}).subscribe("q", qos=1)
    broker.drop_clients()
    broker.wait_log("Client absent .*CONNECTION_CLOSED")
    client = broker.client("client")
    for _ in range(3):
        client.publish("q", "x", qos=1)
    time.sleep(1.3)
    found = figures(broker)
    assert found["publish/bytes/received"] == "1003"
    assert int(found["publish/bytes/sent"]) >= 1000
    assert found["clients/inactive"] == found["clients/disconnected"] == "1"
    assert found["clients/active"] == found["clients/connected"]
    assert found["messages/queued"] == found["messages/stored"] == found["store/messages/count"] == "3"
    # 13 messages within a few seconds.
    assert 10 < float(found["load/publish/received/1min"]) <= 13
    assert 0.8 < float(found["load/publish/received/15min"]) <= 0.87


def test_what_was_made_before_it_was_switched_off_is_said(start_broker):
    broker = start_broker()
    client = broker.client("client", props={"session_expiry_interval": 3600})
    client.subscribe("a/+", "b/#", "c", "$share/g/d")
    client.publish("kept", "x", qos=1, retain=True)
    client.publish("$SYS/broker/connection/client/state", "1", qos=1, retain=True)
    broker.settings.update({"mqtt.retain_available": False, "mqtt.wildcard_available": False, "mqtt.shared_available": False})
    broker.restart("SIGTERM")
    log = broker.log_of_this_life()
    assert "2 retained messages are kept back: mqtt.retain_available is false." in log
    assert "2 subscriptions of stored sessions go on although mqtt.wildcard_available is false." in log
    assert "1 subscriptions of stored sessions go on although mqtt.shared_available is false." in log
    reader = broker.client("reader")
    reader.subscribe("kept", "$SYS/broker/version")
    assert reader.message().topic == "$SYS/broker/version"
    reader.quiet(0.3)
    broker.settings.update({"mqtt.retain_available": True, "mqtt.wildcard_available": True, "mqtt.shared_available": True})
    broker.restart("SIGTERM")
    assert "kept back" not in broker.log_of_this_life() and "go on although" not in broker.log_of_this_life()
    reader = broker.client("reader")
    reader.subscribe("kept")
    assert reader.message().retain
