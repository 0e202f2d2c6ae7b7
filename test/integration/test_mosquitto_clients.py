"""mosquitto_pub, mosquitto_sub and mosquitto_rr."""

import signal
import subprocess
import time

import pytest

every_version = pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])


def command(tool, broker, *arguments):
    return [f"mosquitto_{tool}", "-h", broker.host, "-p", str(broker.port), *map(str, arguments)]


def pub(broker, *arguments, **how):
    subprocess.run(command("pub", broker, *arguments), check=True, timeout=10, capture_output=True, **how)


class Sub:
    """A mosquitto_sub that runs until it has its messages (-C) or is ended."""

    def __init__(self, broker, client_id, *arguments):
        since = len(broker.log())
        self.process = subprocess.Popen(command("sub", broker, "-i", client_id, *arguments), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        broker.wait_log(rf"New client connected from \S+ as {client_id} ", since=since)
        broker.wait_state(client_id, lambda state: state["subscriptions"] > 0 or "--will-topic" in arguments)

    def lines(self):
        out, error = self.process.communicate(timeout=10)
        assert self.process.returncode == 0, error
        return out.splitlines()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_make_the_round_trip(broker, name, version, qos):
    sub = Sub(broker, name, "-V", version, "-t", f"{name}/#", "-q", "2", "-C", "3", "-F", "%t %q %p")
    pub(broker, "-V", version, "-t", f"{name}/a", "-q", qos, "-l", input=b"one\ntwo\nthree\n")
    assert sub.lines() == [f"{name}/a {qos} {word}" for word in ("one", "two", "three")]


def test_a_retained_message(broker, name):
    pub(broker, "-t", name, "-m", "kept", "-r", "-q", "1")
    result = subprocess.run(command("sub", broker, "-i", name, "-t", name, "-C", "1", "-F", "%r %p"), capture_output=True,
                            text=True, timeout=10)
    assert result.stdout.strip() == "1 kept", result.stderr
    pub(broker, "-t", name, "-n", "-r", "-q", "1")


@every_version
def test_the_will_of_a_killed_client(broker, name, version):
    watcher = Sub(broker, f"w-{name}", "-t", f"{name}/will", "-C", "1", "-q", "1")
    dying = Sub(broker, name, "-V", version, "-t", "nothing", "--will-topic", f"{name}/will", "--will-payload", "gone",
                "--will-qos", "1")
    dying.kill()
    assert watcher.lines() == ["gone"]


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_a_session_waits_for_its_client(broker, name, version):
    keep = ["-V", version, "-t", name, "-q", "1", "-c"] + (["-x", "60"] if version == "mqttv5" else [])
    Sub(broker, name, *keep).kill()
    for number in range(5):
        pub(broker, "-t", name, "-m", number, "-q", "1")
    back = subprocess.run(command("sub", broker, "-i", name, *keep, "-C", "5"), capture_output=True, text=True, timeout=10)
    assert back.stdout.split() == list("01234"), back.stderr


def test_a_shared_subscription(broker, name):
    members = [Sub(broker, f"{one}-{name}", "-V", "mqttv5", "-t", f"$share/group/{name}", "-q", "1", "-C", "5")
               for one in "ab"]
    for number in range(10):
        pub(broker, "-V", "mqttv5", "-t", name, "-m", number, "-q", "1")
    shares = [member.lines() for member in members]
    assert sorted(int(line) for share in shares for line in share) == list(range(10))


def test_user_properties_in_their_order(broker, name):
    sub = Sub(broker, name, "-V", "mqttv5", "-t", name, "-C", "1", "-F", "%P %C")
    pub(broker, "-V", "mqttv5", "-t", name, "-m", "x", "-D", "publish", "user-property", "b", "1", "-D", "publish",
        "user-property", "a", "2", "-D", "publish", "content-type", "text/plain")
    assert sub.lines() == ["b:1 a:2 text/plain"]


def test_request_and_response(broker, name):
    worker = Sub(broker, f"w-{name}", "-V", "mqttv5", "-t", f"{name}/ask", "-C", "1", "-F", "%R %D %p")
    asker = subprocess.Popen(command("rr", broker, "-V", "mqttv5", "-i", name, "-t", f"{name}/ask", "-e",
                                     f"{name}/answer", "-m", "2+2", "-D", "publish", "correlation-data", "7"),
                             stdout=subprocess.PIPE, text=True)
    assert worker.lines() == [f"{name}/answer 7 2+2"]
    pub(broker, "-V", "mqttv5", "-t", f"{name}/answer", "-m", "4")
    assert asker.communicate(timeout=5)[0].strip() == "4"


def test_keep_alive_finds_a_stopped_client(broker, name):
    """A process that hangs keeps its socket: only its silence tells. [MQTT-3.1.2-22, MQTT3-3.1.2-24]"""
    watcher = Sub(broker, f"w-{name}", "-t", f"{name}/will", "-C", "1")
    # mosquitto's clients take no keep alive below 5 s.
    hanging = Sub(broker, name, "-t", "nothing", "-k", "5", "--will-topic", f"{name}/will", "--will-payload", "gone")
    heard = time.monotonic()
    hanging.process.send_signal(signal.SIGSTOP)
    try:
        assert watcher.lines() == ["gone"]
        assert time.monotonic() - heard >= 7.5 - 0.2, "closed before one and a half keep-alive periods had passed"
        state = broker.state(name)
        assert (state["connectionState"], state["disconnectReason"]) == ("DISCONNECTED", "KEEP_ALIVE_TIMEOUT")
    finally:
        hanging.kill()
