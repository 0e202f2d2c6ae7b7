"""vigilmq-load does what its help says, against the broker and, where it is installed, against mosquitto."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

import broker as broker_module

LOAD = pathlib.Path(os.environ.get("VIGILMQ_LOAD", broker_module.BINARY.parent / "vigilmq-load"))
LIMIT_S = 50


def load(port, *words, protocol=4):
    """What a command reports. Short runs: what is checked is that nothing is lost and that figures are there."""
    done = subprocess.run([str(word) for word in (LOAD, "--json", "--quiet", "-p", port, "-V", protocol, *words)],
                          capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=["vigilmq", "mosquitto"])
def target(request, start_broker, tmp_path):
    """(port, process id) of a broker."""
    if request.param == "vigilmq":
        broker = start_broker({"shards": 2})
        yield broker.port, broker.pid
        return
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    port = broker_module.free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n")
    process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=broker_module.die_with_parent)
    try:
        limit = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < limit and process.poll() is None
                time.sleep(0.02)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("words", ["--groups 20", "--groups 20 --qos 1", "--groups 20 --qos 2 --size 2000",
                                   "--groups 1 --subscribers 20", "--groups 1 --publishers 20 --window 100 --burst 5 --qos 1",
                                   "--groups 20 --rate 2000"])
def test_traffic(target, words, protocol):
    port, pid = target
    report = load(port, "--pid", pid, "traffic", *words.split(), "--warm-up-ms", 50, "--measure-ms", 200, protocol=protocol)
    assert report["delivered"] > 0 and report["latency"]["count"] > 0
    assert report["latency"]["min_ms"] <= report["latency"]["p50_ms"] <= report["latency"]["p99_ms"] <= report["latency"]["max_ms"]
    assert report["broker_rss_mib"] > 1


def test_a_shared_group(target):
    report = load(target[0], "traffic", "--groups", 1, "--publishers", 10, "--subscribers", 4, "--shared", "--qos", 1,
                  "--window", 50, "--warm-up-ms", 50, "--measure-ms", 200, protocol=5)
    assert report["delivered"] > 0


def test_connections(target):
    port, pid = target
    report = load(port, "--pid", pid, "conn", "-c", 200, "-k", 5, "--ping-interval", 0.5, "--time", 1, "--will")
    assert report["connected"] == 200 and report["lost"] == 0 and report["pongs"] >= 200
    assert report["connack"]["count"] == 200
    for words in ((), ("--will",), ("--take-over",)):
        churn = load(port, "churn", "-c", 10, "--warm-up-ms", 50, "--measure-ms", 200, *words)
        assert churn["connects"] > 0


def test_subscriptions(target):
    for words in ((), ("--wildcard",), ("--qos", 1)):
        report = load(target[0], "subscriptions", "--filters", 1001, "-c", 7, "--warm-up-ms", 50, "--measure-ms", 200, *words)
        assert report["subscriptions"] == 1001 and report["delivered"] > 0


def test_publishers_and_subscribers(target):
    port, _ = target
    subscriber = subprocess.Popen([str(LOAD), "--json", "-p", str(port), "sub", "-t", "bench/%i", "-c", "5", "--latency", "-q", "2",
                                   "-L", "500"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = ""
        while "connected" not in line or not line.startswith("5 of 5"):
            line = subscriber.stderr.readline()
            assert line, "it ended"
        published = load(port, "pub", "-t", "bench/%i", "-c", 5, "-I", 1, "-q", 2, "-L", 500, "--size", 100)
        assert published["published"] == published["acknowledged"] == published["ack"]["count"] == 500
        out, _ = subscriber.communicate(timeout=20)
        received = json.loads(out)
        assert received["received"] == received["latency"]["count"] == 500
        assert received["payload_mib"] == 500 * 100 / (1 << 20)
    finally:
        subscriber.kill()
        subscriber.wait()


def test_sessions_that_wait(target):
    port, _ = target
    assert load(port, "sessions", "--sessions", 30, "--settle-ms", 0)["messages"] == 30
    kept = load(port, "enqueue", "--sessions", 30, "--messages", 300, "--publishers", 3, "--settle-ms", 0)
    assert kept["messages"] == 300 and kept["ack"]["count"] == 300
    assert load(port, "drain", "--sessions", 30, "--expected", 300, "--settle-ms", 0)["messages"] == 300
    passed = load(port, "pass", "--sessions", 30, "--messages", 300, "--publishers", 3, "--settle-ms", 0)
    assert passed["messages"] == passed["delivered"] == 300


def test_liveness(start_broker):
    broker = start_broker({"keep_alive.monitoring_delay_ms": 10})
    report = load(broker.port, "liveness", "--pingers", 20, "--silent", 10, "--silent-keep-alive", 1, "--steady-ms", 100,
                  "--spread-ms", 300, "--measure-ms", 2500, protocol=5)
    assert report["clean"] and report["told_keep_alive_timeout"] == 10
    assert report["close_late"]["count"] == report["will_late"]["count"] == 10


@pytest.mark.parametrize("command", [("conn", "-c", "10"), ("pub", "-c", "10", "-t", "t/%i", "-I", "10"), ("sub", "-c", "10", "-t", "t/#")])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_reports_when_it_is_stopped(start_broker, command, how):
    broker = start_broker()
    process = subprocess.Popen([str(LOAD), "-p", str(broker.port), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = ""
        while not line.startswith("10 of 10 connected"):
            line = process.stderr.readline()
            assert line, "it ended"
        time.sleep(0.1)
        process.send_signal(how)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0 and "clients lost" in out
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("words, says", [
    (("-p", "1", "conn"), "Connection refused"),
    (("-h", "no-such-host.invalid", "conn"), "no-such-host.invalid"),
    (("conn", "--colour", "red"), "--colour"),
    (("traffic", "--qos", "3"), "--qos"),
    (("enqueue",), "--messages"),
    ((), "subcommand"),
    (("--pid", "99999999", "traffic"), "there is no process"),
    (("pub", "-t", "%q"), "%q"),
    (("pub", "-t", "a/#"), "wildcards"),
    (("sub", "-t", "a#"), "is no legal filter"),
    (("conn", "-V", "7"), "--protocol"),
])
def test_it_says_what_is_wrong(words, says):
    done = subprocess.run([str(LOAD), *words], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 2
    assert says in done.stdout + done.stderr


def test_a_refusal(start_broker):
    broker = start_broker({"limits.max_client_id_bytes": 30})
    done = subprocess.run([str(LOAD), "-p", str(broker.port), "--prefix", "x" * 40, "traffic"], capture_output=True, text=True,
                          timeout=LIMIT_S)
    assert done.returncode == 2 and "refused a client with code 0x02" in done.stderr


def test_a_filter_that_is_refused(start_broker):
    broker = start_broker({"limits.max_topic_levels": 2})
    done = subprocess.run([str(LOAD), "-p", str(broker.port), "sub", "-t", "a/b/c"], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 2 and "refused a subscription" in done.stderr


def test_help():
    everything = subprocess.run([str(LOAD), "--help"], capture_output=True, text=True, timeout=LIMIT_S)
    assert everything.returncode == 0
    for command in ("conn", "pub", "sub", "traffic", "churn", "subscriptions", "liveness", "sessions", "enqueue", "pass", "drain"):
        assert command in everything.stdout
        one = subprocess.run([str(LOAD), command, "--help"], capture_output=True, text=True, timeout=LIMIT_S)
        assert one.returncode == 0 and "OPTIONS" in one.stdout


def deaf_broker(listener):
    """Answers CONNECT and SUBSCRIBE, and passes nothing on."""
    def serve(connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(4096)
            connection.sendall(b"\x20\x02\x00\x00")
            while data := connection.recv(65536):
                if data[0] == 0x82:
                    connection.sendall(b"\x90\x03" + data[2:4] + b"\x00")

    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def test_that_nothing_comes_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=deaf_broker, args=(listener,), daemon=True).start()
        done = subprocess.run([LOAD, "--port", str(listener.getsockname()[1]), "traffic", "--groups", "2", "--warm-up-ms", "100",
                               "--measure-ms", "200"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "nothing was delivered" in done.stderr
