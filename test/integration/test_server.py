"""The habits of a good server: options, configuration, signals, sentences."""

import contextlib
import grp
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

import broker as broker_module
import mqtt_wire as wire
from broker import ROOT, free_port, run


def version_of_the_project():
    return re.search(r"project\(vigilmq VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def test_version():
    result = run("--version")
    assert (result.returncode, result.stdout.strip()) == (0, f"vigilmq {version_of_the_project()}")


def test_help():
    result = run("--help")
    assert result.returncode == 0
    for option in ("--config", "--test-config", "--version", "--help"):
        assert option in result.stdout
    assert "MQTT_KEEP_ALIVE_MONITORING_DELAY_MS" in result.stdout


def test_a_wrong_option_is_named():
    result = run("--no-such-thing")
    assert result.returncode != 0 and "--no-such-thing" in result.stderr


def test_a_valid_configuration(tmp_path):
    file = tmp_path / "good.toml"
    file.write_text('[keep_alive]\nmonitoring_delay_ms = 10\n[[listener]]\nbind = "127.0.0.1:2883"\n')
    assert run("--config", file, "--test-config").returncode == 0


def test_the_configuration_file_that_comes_along_is_valid():
    assert run("--config", ROOT / "conf" / "vigilmq.toml", "--test-config").returncode == 0


@pytest.mark.parametrize("line, key, expected", [
    ("keep_alive.max_s = 70000", "keep_alive.max_s", "0 to 65535"),
    ("keep_alive.monitoring_delay_ms = 0", "keep_alive.monitoring_delay_ms", "1 to"),
    ('keep_alive.over_max_v3 = "maybe"', "keep_alive.over_max_v3", "enforce"),
    ('shards = "many"', "shards", "integer"),
    ('limits.max_packet_size = "64 bananas"', "limits.max_packet_size", "size|bytes"),
    ("keep_alive.maximum = 3", "keep_alive.maximum", "max_s|unknown|no such"),
])
def test_a_mistake_is_named_with_file_line_key_and_expectation(tmp_path, line, key, expected):
    file = tmp_path / "bad.toml"
    file.write_text(f"# a comment\n\n{line}\n")
    result = run("--config", file, "--test-config")
    assert result.returncode != 0
    assert re.search(rf"bad\.toml:3:\d+: .*{re.escape(key)}.*({expected})", result.stderr), result.stderr


def test_all_mistakes_are_named_at_once(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("shards = -1\nkeep_alive.max_s = -1\n")
    result = run("--config", file, "--test-config", env={"VIGILMQ_LIMITS__MAX_TOPIC_LEVELS": "none"})
    for what in ("bad.toml:1:", "bad.toml:2:", "VIGILMQ_LIMITS__MAX_TOPIC_LEVELS"):
        assert what in result.stderr
    # Who starts it is told the same.
    assert run("--config", file).returncode != 0


def test_a_file_that_is_no_toml(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("shards = 1\nshards = = 2\n")
    result = run("--config", file, "--test-config")
    assert result.returncode != 0 and "bad.toml:2:" in result.stderr


def test_a_file_that_is_not_there(tmp_path):
    result = run("--config", tmp_path / "nowhere.toml", "--test-config")
    assert result.returncode != 0 and "nowhere.toml" in result.stderr


def test_the_environment_wins_over_the_file(start_broker):
    broker = start_broker({"mqtt.receive_maximum": 5}, env={"VIGILMQ_MQTT__RECEIVE_MAXIMUM": "7"})
    assert broker.client("dev").connack.get("receive_maximum") == 7


def test_a_wrong_tick_in_the_environment_is_named():
    result = run("--test-config", env={"MQTT_KEEP_ALIVE_MONITORING_DELAY_MS": "soon"})
    assert result.returncode != 0 and "MQTT_KEEP_ALIVE_MONITORING_DELAY_MS" in result.stderr


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--listen", f"127.0.0.1:{port}")
    assert result.returncode != 0
    assert re.search(rf"Port {port} .*in use: .+ \(process {os.getpid()}\) listens on 127\.0\.0\.1:{port}\. .*--listen",
                     result.stderr), result.stderr


def test_a_port_with_leftovers_of_a_program_that_has_ended():
    """Its side of a connection is in TIME-WAIT, and it did not allow others to use the address meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        taken.accept()[0].close()
        client.recv(1)
        client.close()
    result = run("--listen", f"127.0.0.1:{port}")
    assert result.returncode != 0
    assert re.search(rf"Port {port} .*in use: nobody listens there.*TIME-WAIT.*--listen", result.stderr), result.stderr


@pytest.mark.parametrize("first, second", [("0.0.0.0:{0}", "127.0.0.1:{0}"), ("*:{0}", "[::1]:{0}"),
                                           ("unix:{1}/a", "unix:{1}/./a"), ("localhost:{0}", "127.0.0.1:{0}")])
def test_listeners_that_collide_are_found_before_the_start(tmp_path, first, second):
    file = tmp_path / "two.toml"
    file.write_text("security.allow_anonymous_remote = true\n" + "".join(
        f'[[listener]]\nname = "{name}"\nbind = "{bind.format(1999, tmp_path)}"\n'
        for name, bind in (("one", first), ("two", second))))
    result = run("--config", file, "--test-config")
    assert result.returncode != 0
    assert re.search(r"two\.toml:\d+:\d+: listener\.1\.bind: .* is taken already, by .*\"one\"", result.stderr), result.stderr


def test_more_shards_than_there_can_be():
    for how in ("--test-config", "--print-config"):
        result = run(how, env={"VIGILMQ_SHARDS": "65"})
        assert result.returncode != 0
        assert "VIGILMQ_SHARDS: shards: found 65, expected an integer from 0 to 64" in result.stderr, result.stderr


def test_shards_are_as_many_as_cores_it_may_use(tmp_path):
    """Not as many as the machine has."""
    broker = broker_module.Broker(tmp_path, inside=("taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))))
    try:
        broker.wait_log(r"VigilMQ .*: 1 shards,")
    finally:
        broker.terminate()


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2), (1, 2)])
def test_a_start_without_standard_descriptors(tmp_path, closed):
    """No file of the store takes the place of standard error, and so gets the log."""
    port = free_port()
    env = broker_module.environment({"VIGILMQ_STORE__DIRECTORY": str(tmp_path / "store")})

    def close():
        broker_module.die_with_parent()
        for fd in closed:
            os.close(fd)

    process = subprocess.Popen([str(broker_module.BINARY), "--listen", f"127.0.0.1:{port}"], env=env, preexec_fn=close,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 5
        while True:
            try:
                wire.Client(socket.create_connection(("127.0.0.1", port))).connect("dev").drop()
                break
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < limit
                time.sleep(0.02)
        assert [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_signals_without_a_meaning_are_ignored_and_said(start_broker):
    broker = start_broker()
    live = broker.client("live")
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        broker.process.send_signal(number)
        broker.wait_log(rf"info .*{number.name} is ignored")
    live.ping()


def wait_until_signals_are_blocked(broker):
    """That comes first of all; before that nothing of the program has run."""
    while os.readlink(f"/proc/{broker.pid}/exe") != str(broker_module.BINARY):
        pass
    while not int(re.search(r"SigBlk:\s*(\w+)", open(f"/proc/{broker.pid}/status").read())[1], 16) & 1:
        assert broker.running()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_is_asked_for_during_the_start_is_not_forgotten(start_broker, number):
    """At whatever moment of the start it comes: also while what the store held is taken back."""
    broker = start_broker()
    broker.terminate()
    for delay_ms in range(0, 60, 3):
        broker.launch()
        wait_until_signals_are_blocked(broker)
        time.sleep(delay_ms / 1000)
        broker.process.send_signal(number)
        broker.process.wait(10)
    broker.start()


def test_sighup_before_the_start_is_over_does_not_end_it(tmp_path, start_broker):
    """The configuration is read once more when it is."""
    broker = start_broker()
    broker.terminate()
    broker.launch()
    wait_until_signals_are_blocked(broker)
    broker.process.send_signal(signal.SIGHUP)
    broker.wait_until_listening()
    broker.wait_log("Configuration read again")
    broker.client("dev").ping()


def test_a_unix_socket_goes_with_the_broker(tmp_path, start_broker):
    path = tmp_path / "mqtt.sock"
    broker = start_broker(also=[f"unix:{path}"])
    assert path.exists()
    broker.terminate()
    assert not path.exists()


def test_a_unix_socket_of_another_program_stays(tmp_path, start_broker):
    path = tmp_path / "mqtt.sock"
    broker = start_broker(also=[f"unix:{path}"])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        broker.terminate()
        assert path.exists()


def test_a_unix_socket_goes_also_where_the_start_fails(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("--listen", f"unix:{tmp_path}/mqtt.sock", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.returncode != 0
    assert not (tmp_path / "mqtt.sock").exists()


def test_a_full_listener_is_named_with_its_own_key(start_broker):
    broker = start_broker(listener={"name": "small", "max_connections": 1})
    broker.client("first")
    told = broker.client()
    told.send_connect("second")
    answer = told.recv()
    assert (answer.reason, answer.get("reason_string")) == (0x97, 'listener "small": max_connections is reached')
    broker.client(version=wire.V311).send_connect("third")
    broker.wait_log(r'warn .* as third ended before it was accepted: CONNECTION_REFUSED: listener "small": max_connections')


def test_what_knocks_at_a_plain_port_is_named(broker):
    for bytes_sent, name in ((b"\x16\x03\x01\x02\x00\x01\x00", "TLS"), (b"GET /mqtt HTTP/1.1\r\n\r\n", r"HTTP \(GET /mqtt\)"),
                             (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "the PROXY protocol")):
        client = broker.client()
        client.send(bytes_sent)
        address = "%s:%d" % client.sock.getsockname()
        broker.wait_log(rf"warn .*Connection from {address} ended .*: looks like {name}: this listener speaks plain MQTT")
        client.drop()


def test_addresses_in_the_log_have_brackets_once(start_broker):
    broker = start_broker(host="[::1]", dial=lambda port: socket.create_connection(("::1", port)))
    client = broker.client("dev")
    port = client.sock.getsockname()[1]
    client.disconnect()
    broker.wait_log(rf"Client dev at \[::1\]:{port} disconnected: CLIENT_DISCONNECT\.$")


def test_log_levels_show_what_they_say(start_broker):
    """debug: what clients subscribe to, and what goes to nobody. trace: every packet, in one line. info: neither."""
    broker = start_broker()

    def visit(name):
        since = len(broker.log())
        client = broker.client(name, wire.V311)
        client.subscribe("here", qos=1)
        client.publish("nowhere", b"secret", qos=1)
        client.disconnect()
        broker.wait_log(f"Client {name} at .* disconnected", since=since)
        return broker.log()[since:]

    def level(name):
        broker.settings["log.level"] = name
        broker.write_config()
        since = len(broker.log())
        broker.process.send_signal(signal.SIGHUP)
        broker.wait_log(r"in force: log\.level", since=since)

    assert not re.search("debug|trace", visit("quiet"))
    level("debug")
    text = visit("talked-of")
    assert "debug Client talked-of subscribed to here with QoS 1." in text
    assert "debug A message of client talked-of to nowhere went to nobody" in text
    assert "trace" not in text
    level("trace")
    text = visit("seen")
    for line in (r"from \S+: CONNECT id=seen version=4", "to seen: CONNACK session_present=0",
                 "from seen: SUBSCRIBE id=1 filter=here qos=1", "to seen: SUBACK id=1 reasons=0x01",
                 r"from seen: PUBLISH topic=nowhere qos=1 id=2 payload=\(6 bytes\)", "to seen: PUBACK id=2",
                 "from seen: DISCONNECT"):
        assert re.search(f"trace {line}$", text, re.M) or re.search(f"trace {line} ", text), (line, text)
    assert "secret" not in text


def test_an_address_of_another_machine():
    result = run("--listen", "192.0.2.1:1883", env={"VIGILMQ_SECURITY__ALLOW_ANONYMOUS_REMOTE": "true"})
    assert result.returncode != 0 and "192.0.2.1" in result.stderr


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "10.1.2.3", "*"])
def test_strangers_are_not_let_in_by_mistake(address):
    """Without authentication the broker listens on this machine only, unless told otherwise."""
    result = run("--listen", f"{address}:{free_port()}")
    assert result.returncode != 0
    assert "security.allow_anonymous_remote" in result.stderr


def test_too_few_files(tmp_path):
    """The sentence says what to do. Who comes beyond the bound is refused; who is there stays."""
    broker = broker_module.Broker(tmp_path, {"shards": 1}, inside=("prlimit", "--nofile=218:218"))
    try:
        clients = []
        for number in range(60):
            client = broker.client()
            client.send_connect(f"c{number}")
            clients.append(client)
            try:
                if client.recv(1).reason != 0:
                    break
            except (TimeoutError, wire.Closed):
                break
        else:
            raise AssertionError("60 connections fitted into 90 files, of which the broker needs some for itself")
        assert len(clients) > 5
        clients[0].ping()
    finally:
        broker.terminate()


@contextlib.contextmanager
def open_to_all(tmp_path):
    """A copy of the broker that every user can run, and the command that runs it as one without any right."""
    stranger = []
    if os.geteuid() == 0:
        stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    readable = tmp_path / "vigilmq"
    try:
        readable.write_bytes(broker_module.BINARY.read_bytes())
        readable.chmod(0o755)
        for directory in (tmp_path, *tmp_path.parents):
            if directory == directory.parent or directory.stat().st_uid != os.geteuid():
                break
            directory.chmod(directory.stat().st_mode | 0o055)
        yield readable, stranger
    finally:
        readable.unlink(missing_ok=True)


def test_a_port_below_1024_needs_a_right(tmp_path):
    start = int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read())
    assert start > 871, "every user may listen on port 871 here: nothing can be shown"
    with open_to_all(tmp_path) as (binary, stranger):
        result = subprocess.run([*stranger, str(binary), "--listen", "127.0.0.1:871"], capture_output=True, text=True,
                                timeout=10, env=broker_module.environment(broker_module.NO_STORE), cwd="/")
    assert result.returncode != 0
    assert re.search("871.*right.*CAP_NET_BIND_SERVICE", result.stderr), result.stderr


def test_sigterm_tells_everybody_and_ends_with_0(start_broker):
    """DISCONNECT 0x8B for 5.0; wills are published while there is somebody to hear them; exit code 0.
    [MQTT-3.1.2-8]"""
    broker = start_broker()
    watcher = broker.client("watcher")
    watcher.subscribe("will", qos=1)
    dying = broker.client("dying", will=wire.Will("will", qos=1))
    old = broker.client("old", wire.V311)
    crowd = [broker.client(f"c{number}") for number in range(100)]
    broker.tell_to_stop()
    assert watcher.expect(wire.PUBLISH).payload == b"gone"
    for client in (watcher, dying, *crowd):
        packets = client.until_closed(5)
        assert [(packet.kind, packet.reason) for packet in packets] == [(wire.DISCONNECT, 0x8B)]
    assert old.until_closed(5) == []
    broker.terminate()


def test_sigterm_delivers_what_is_under_way(start_broker):
    """A slow reader gets what was sent to it before the goodbye."""
    broker = start_broker()
    reader = broker.client("reader")
    reader.subscribe("news")
    writer = broker.client("writer")
    writer.send(b"".join(wire.publish("news", b"%04d" % number + b"x" * 5000) for number in range(100)))
    writer.ping()
    broker.tell_to_stop()
    packets = reader.until_closed(8)
    assert [int(packet.payload[:4]) for packet in packets[:-1]] == list(range(100))
    assert (packets[-1].kind, packets[-1].reason) == (wire.DISCONNECT, 0x8B)
    broker.terminate()


def test_sigterm_does_not_wait_for_one_who_does_not_read(start_broker):
    broker = start_broker({"drain_timeout_s": 2})
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(broker.target)
    stuck = wire.Client(sock).connect("stuck")
    stuck.subscribe("news")
    writer = broker.client("writer")
    writer.send(wire.publish("news", b"x" * 900_000) * 20)
    writer.ping()
    began = time.monotonic()
    broker.terminate()
    assert time.monotonic() - began < 4


def test_sighup_reads_the_configuration_again(start_broker):
    """What can be applied is, from the next connection on; what cannot is named; who is connected notices nothing."""
    broker = start_broker({"mqtt.receive_maximum": 10, "keep_alive.max_s": 100})
    live = broker.client("live")
    broker.settings.update({"keep_alive.max_s": 7, "mqtt.receive_maximum": 20})
    broker.write_config()
    broker.process.send_signal(signal.SIGHUP)
    broker.wait_log(r"in force: .*keep_alive\.max_s")
    broker.wait_log(r"restart.*mqtt\.receive_maximum")
    limit = time.monotonic() + 2
    while (told := broker.client("", keep_alive=60).connack).get("server_keep_alive") != 7:
        assert time.monotonic() < limit
    assert told.get("receive_maximum") == 10
    live.ping()


def test_sighup_with_a_mistake_changes_nothing(start_broker):
    broker = start_broker({"keep_alive.max_s": 7})
    broker.settings.update({"keep_alive.max_s": 70000})
    broker.write_config()
    broker.process.send_signal(signal.SIGHUP)
    broker.wait_log(r"vigilmq\.toml:\d+:\d+: keep_alive\.max_s")
    assert broker.client("", keep_alive=60).connack.get("server_keep_alive") == 7


def test_sighup_changes_the_tick(start_broker):
    """Also for clients who are connected already: with the old tick of 20 s the silent one would stay."""
    broker = start_broker({"keep_alive.monitoring_delay_ms": 20000})
    silent = broker.client("silent", keep_alive=1)
    broker.settings["keep_alive.monitoring_delay_ms"] = 50
    broker.write_config()
    broker.process.send_signal(signal.SIGHUP)
    broker.wait_log(r"in force: .*monitoring_delay_ms")
    later = broker.client("later", keep_alive=1)
    assert later.until_closed(3)[-1].reason == 0x8D
    silent.sock.close()


def test_json_log_lines(start_broker):
    broker = start_broker({"log.format": "json", "mqtt.control_characters": "allow"})
    evil = 'quo"te\\\n\x1b'
    broker.client(evil, keep_alive=7).drop()
    broker.wait_log("CONNECTION_CLOSED")
    broker.terminate()
    lines = [json.loads(line) for line in broker.log().splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    by_event = {line["event"]: line for line in lines}
    assert {"started", "listening", "client_connected", "client_disconnected", "stopped"} <= set(by_event)
    connected = by_event["client_connected"]
    assert connected["clientId"] == evil
    assert int(connected["keepAliveSeconds"]) == 7
    assert by_event["client_disconnected"]["disconnectReason"] == "CONNECTION_CLOSED"


@pytest.mark.parametrize("version, number", [(wire.V31, 1), (wire.V311, 2), (wire.V5, 5)])
def test_the_log_line_that_operators_grep_for(broker, name, version, number):
    client = broker.client(name, version, clean=True, keep_alive=60)
    address = "%s:%d" % client.sock.getsockname()
    broker.wait_log(re.escape(f"New client connected from {address} as {name} (p{number}, c1, k60)."))


def test_it_tells_systemd_that_it_is_ready(tmp_path):
    """sd_notify: READY=1 once it listens, STOPPING=1 before it ends."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        broker = broker_module.Broker(tmp_path / "broker", {"shards": 1}, env={"NOTIFY_SOCKET": str(path)})
        assert "READY=1" in listener.recv(4096).decode()
        broker.tell_to_stop()
        assert "STOPPING=1" in listener.recv(4096).decode()
        broker.terminate()


def test_test_config_names_the_file_that_was_read(tmp_path):
    file = tmp_path / "good.toml"
    file.write_text("")
    assert run("--config", file, "--test-config").stdout == f"configuration file {file} is valid.\n"
    if os.path.exists("/etc/vigilmq/vigilmq.toml"):
        pytest.skip("this machine has a configuration file of its own")
    assert run("--test-config").stdout == "no configuration file: the defaults are valid.\n"


def test_the_start_line_names_the_configuration(start_broker):
    broker = start_broker(env={"VIGILMQ_SYS__INTERVAL_S": "5", "VIGILMQ_SHARDS": ""})
    broker.wait_log(rf"VigilMQ .* connections; configuration file {broker.config}, with VIGILMQ_SYS__INTERVAL_S\.$")


def test_an_empty_variable_is_none():
    result = run("--test-config", env={"VIGILMQ_SHARDS": "", "MQTT_KEEP_ALIVE_MONITORING_DELAY_MS": ""})
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments, said", [
    (["--no-such-thing"], "--no-such-thing"),
    (["--test-config", "--print-config"], "one"),
    (["--listen", "127.0.0.1:99999"], r"port 99999 is above 65535.*127\.0\.0\.1:1883.*\[::1\]:1883.*unix:/"),
])
def test_a_wrong_command_line_says_who_speaks(arguments, said):
    result = run(*arguments)
    assert result.returncode != 0
    assert re.match(f"vigilmq: .*{said}", result.stderr), result.stderr


def test_forgotten_quotes(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[log]\nlevel=info\n")
    result = run("--config", file, "--test-config")
    assert re.search(r'bad\.toml:2:\d+: log\.level: found info, .*quotes: level = "info"', result.stderr), result.stderr


def test_strangers_that_are_let_in_are_warned_of(tmp_path, start_broker):
    broker = start_broker({"security.allow_anonymous_remote": True}, host="0.0.0.0")
    broker.wait_log(rf"warn .*Anybody who can reach 0\.0\.0\.0:{broker.port} .*security\.allow_anonymous_remote")
    at_home = start_broker({"security.allow_anonymous_remote": True})
    at_home.client("dev")
    assert "Anybody" not in at_home.log()


def test_a_refusal_names_the_client(start_broker):
    broker = start_broker({"session.max_sessions": 1, "shards": 1, "log.format": "json",
                           "mqtt.control_characters": "allow"})
    broker.client("first")
    for name in ("second", "evil\n\x1b"):
        client = broker.client()
        client.send_connect(name)
        assert client.recv().reason == 0x97
    broker.client().send(b"\x30\x00")
    broker.wait_log("first packet")
    lines = [json.loads(line) for line in broker.log().splitlines() if "connection_refused" in line]
    assert [line.get("clientId") for line in lines] == ["second", "evil\n\x1b", None]
    assert re.fullmatch(r"Connection from 127\.0\.0\.1:\d+ as second ended before it was accepted: "
                        r"CONNECTION_REFUSED: \w+\.max_sessions is reached\.", lines[0]["message"])


def test_what_is_installed_runs(tmp_path):
    """Outside of /usr and /usr/local the unit names the configuration; one that is there is left alone."""
    build = ROOT / "build" / "release"
    if not (build / "cmake_install.cmake").exists():
        pytest.skip("the broker was not built in build/release")
    prefix = tmp_path / "here"
    (prefix / "etc" / "vigilmq").mkdir(parents=True)
    own = prefix / "etc" / "vigilmq" / "vigilmq.toml"
    own.write_text("shards = 1\n")
    subprocess.run(["cmake", "--install", build, "--prefix", prefix], check=True, capture_output=True, timeout=30)
    assert own.read_text() == "shards = 1\n"
    unit = (prefix / "lib" / "systemd" / "system" / "vigilmq.service").read_text()
    check = re.search(r"^ExecStartPre=(.*)$", unit, re.M)[1].split()
    assert check == [f"{prefix}/bin/vigilmq", "--config", str(own), "--test-config"]
    result = subprocess.run(check, capture_output=True, text=True, timeout=10, env=broker_module.environment())
    assert (result.returncode, result.stdout) == (0, f"configuration file {own} is valid.\n")
    document = re.search(r"^Documentation=file:(.*)$", unit, re.M)[1]
    assert "systemd" in open(document).read()
    assert (prefix / "share" / "doc" / "vigilmq" / "LICENSE").exists()


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_unix_socket_is_for_its_user_and_group(tmp_path, start_broker):
    path = tmp_path / "mqtt.sock"
    broker = start_broker(also=[f"unix:{path}"])
    assert mode_of(path) == 0o660
    broker.wait_log(rf"listening on unix:{path} \(mode 0660\)")


def test_the_mode_of_a_unix_socket(tmp_path, start_broker):
    """Whatever the umask says."""
    path = tmp_path / "mqtt.sock"
    before = os.umask(0o077)
    try:
        start_broker(also=[f"unix:{path}"], listener={"socket_mode": "0666"})
    finally:
        os.umask(before)
    assert mode_of(path) == 0o666


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to any group")
def test_the_group_of_a_unix_socket(tmp_path, start_broker):
    path = tmp_path / "mqtt.sock"
    start_broker(also=[f"unix:{path}"], listener={"socket_group": "mail"})
    assert (mode_of(path), path.stat().st_gid) == (0o660, grp.getgrnam("mail").gr_gid)


def test_a_group_that_is_not_there(tmp_path):
    result = run("--listen", f"unix:{tmp_path}/mqtt.sock", env={"VIGILMQ_LISTENER__0__SOCKET_GROUP": "nobodys-group"})
    assert result.returncode == 1
    assert "no group nobodys-group" in result.stderr and "socket_group" in result.stderr
    assert not (tmp_path / "mqtt.sock").exists()


def test_a_group_that_the_broker_may_not_give(tmp_path):
    """Nothing is left behind that others would take for a broker."""
    with open_to_all(tmp_path) as (binary, stranger):
        tmp_path.chmod(0o777)
        result = subprocess.run([*stranger, str(binary), "--listen", f"unix:{tmp_path}/mqtt.sock"], capture_output=True,
                                text=True, timeout=10, cwd="/",
                                env=broker_module.environment({"VIGILMQ_LISTENER__0__SOCKET_GROUP": "mail",
                                                               **broker_module.NO_STORE}))
    assert result.returncode == 1
    assert re.search("group mail.*SupplementaryGroups=mail", result.stderr), result.stderr
    assert not (tmp_path / "mqtt.sock").exists()


def test_a_unix_socket(tmp_path, start_broker):
    path = tmp_path / "mqtt.sock"
    start_broker(also=[f"unix:{path}"])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(wire.connect("dev", wire.V311))
        assert sock.recv(4) == b"\x20\x02\x00\x00"
