"""What is known of clients does not grow for ever: by age, by bounds, and when an administrator says so."""

import signal
import subprocess
import time

import broker as broker_module
import mqtt_wire as wire


def pub(broker, *arguments):
    return subprocess.run(["mosquitto_pub", "-h", broker.host, "-p", str(broker.port), *arguments], timeout=10,
                          capture_output=True, text=True)


def remembered(broker):
    """How many clients, by the store's own account."""
    result = broker_module.run("store", "inspect", "-d", str(broker.store))
    assert result.returncode == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("presence records"))
    return int(line.split()[2])


class Count:
    """Follows $SYS/broker/presence/count."""

    def __init__(self, broker):
        self.reader = broker.client("reader")
        self.reader.subscribe("$SYS/broker/presence/count")

    def wait(self, wanted, timeout=15):
        limit = time.monotonic() + timeout
        last = None
        while last is None or not wanted(last):
            left = limit - time.monotonic()
            assert left > 0, f"the number of clients that are remembered stays {last}"
            last = int(self.reader.message(left).payload)


def test_clients_without_an_id_leave_nothing(start_broker):
    """mosquitto_pub has no id of its own unless it is given one."""
    broker = start_broker({"sys.interval_s": 1, "shards": 2, "presence.keep_s": 3})
    count = Count(broker)
    for _ in range(100):
        assert pub(broker, "-t", "t", "-m", "x").returncode == 0
    count.wait(lambda known: known > 20)
    count.wait(lambda known: known == 1)
    watcher = broker.client("watcher")
    watcher.subscribe("$SYS/clients/+/state")
    assert {watcher.message().topic for _ in range(2)} == {"$SYS/clients/reader/state", "$SYS/clients/watcher/state"}
    watcher.quiet(0.5)
    broker.kill()
    # The store never heard of them.
    assert remembered(broker) <= 2


def test_an_age_takes_effect_at_once(start_broker):
    """presence.keep_s, lowered while the broker runs; and the store forgets with it."""
    broker = start_broker({"sys.interval_s": 1, "presence.keep_s": 0})
    for number in range(50):
        broker.client(f"c{number}").disconnect()
    kept = broker.client("kept", props={"session_expiry_interval": 600})
    kept.disconnect()
    count = Count(broker)
    count.wait(lambda known: known == 52)
    broker.settings["presence.keep_s"] = 1
    broker.write_config()
    broker.process.send_signal(signal.SIGHUP)
    count.wait(lambda known: known == 2)
    broker.kill()
    assert remembered(broker) == 2


def test_a_start_with_lower_bounds_drops_the_rest(start_broker):
    broker = start_broker({"sys.interval_s": 1, "shards": 1, "presence.keep_s": 0})
    for number in range(50):
        broker.client(f"c{number}").disconnect()
    broker.wait_state("c49", lambda state: state["connectionState"] == "DISCONNECTED")
    broker.terminate()
    assert remembered(broker) == 50
    broker.settings["presence.max_records"] = 10
    broker.start()
    Count(broker).wait(lambda known: known == 10)
    assert broker.state("c49") is not None
    assert broker.state("c0", 0.5) is None
    broker.terminate()
    assert remembered(broker) <= 10


def test_an_administrator_has_a_client_forgotten(start_broker):
    broker = start_broker({"shards": 3})
    ids = [f"old/{number}" for number in range(9)]
    for client_id in ids:
        broker.client(client_id).disconnect()
    there = broker.client("there")
    for client_id in ids:
        topic = f"$SYS/clients/{client_id.replace('/', '%2F')}/state"
        assert pub(broker, "-t", topic, "-r", "-n").returncode == 0
        broker.wait_log(f"Client {client_id} is forgotten: auto-[0-9a-f]+ asked for it")
        assert broker.state(client_id.replace("/", "%2F"), 0.2) is None
    admin = broker.client("admin")
    assert admin.publish("$SYS/clients/there/state", "", qos=1, retain=True) == 0x83
    assert admin.publish("$SYS/clients/nobody/state", "", qos=1, retain=True) == 0x10
    broker.wait_log("Client there is not forgotten, as admin asked: it is connected")
    assert broker.state("there")["connectionState"] == "CONNECTED"
    there.disconnect()
    broker.wait_state("there", lambda state: state["connectionState"] == "DISCONNECTED")
    # The answer comes when the store has forgotten it.
    assert admin.publish("$SYS/clients/there/state", "", qos=1, retain=True) == 0
    broker.kill()
    assert remembered(broker) == 1
