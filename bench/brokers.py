"""Starts and ends the brokers that the measurements compare, and describes the machine they run on.

Every broker listens on a free loopback port, keeps its files in a temporary directory, logs errors only, and is ended by its
process id. Nothing that was not started here is touched.
"""

import ctypes
import json
import os
import pathlib
import platform
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_LIMIT_S = 40
STOP_LIMIT_S = 15


class BrokerError(Exception):
    """A sentence for the person who runs the script."""


def raise_open_files():
    """Children inherit it: 12,000 connections do not fit into the usual soft limit of 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port():
    """Below those that the kernel gives to clients: the load's own connections take none that a broker is about to bind."""
    first, _ = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    low, high = (10_000, first) if first > 11_000 else (60_999, 65_536)
    for port in random.sample(range(low, high), min(200, high - low)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise BrokerError("no free port was found on 127.0.0.1")


def die_with_parent():
    """Runs in the child: whatever ends the script ends the broker."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def answers_mqtt(port):
    """Whether a CONNECT (3.1.1) is answered with CONNACK 0."""
    connect = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
            sock.sendall(connect)
            answer = sock.recv(4)
            sock.sendall(b"\xe0\x00")
            return answer == b"\x20\x02\x00\x00"
    except OSError:
        return False


class Broker:
    """A running broker; a context manager that ends it."""

    def __init__(self, name, command, port, directory, environment=None, keep_directory=False, companion=None):
        self.name = name
        self.companion = companion  # a process that ends with the broker
        self.port = port
        self.directory = directory
        self.keep_directory = keep_directory
        self.log = pathlib.Path(directory.name) / "broker.log"
        self.started_at = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory.name,
                env={**os.environ, **(environment or {})}, preexec_fn=die_with_parent)
        self.wait_until_ready()

    @property
    def pid(self):
        return self.process.pid

    def last_words(self):
        return self.log.read_text(errors="replace")[-2000:].strip()

    def wait_until_ready(self):
        limit = time.monotonic() + START_LIMIT_S
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                words = self.last_words()
                self.stop()
                raise BrokerError(f"{self.name} ended at once with code {self.process.returncode}: {words}")
            if answers_mqtt(self.port):
                self.ready_after_s = time.monotonic() - self.started_at
                return
            time.sleep(0.01)
        words = self.last_words()
        self.stop()
        raise BrokerError(f"{self.name} did not answer on port {self.port} within {START_LIMIT_S} s: {words}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_LIMIT_S)
        if self.companion is not None:
            self.companion.kill()
            self.companion.wait(STOP_LIMIT_S)
        if not self.keep_directory:
            self.directory.cleanup()

    def kill(self):
        """As a crash would end it."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)
        self.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def write(directory, name, text):
    path = pathlib.Path(directory.name) / name
    path.write_text(text)
    return str(path)


def start_vigilmq(binary, tick_ms=1000, sync="process", directory=None, shards=0):
    """With a directory (of tempfile) it goes on with what is in it, and leaves it there."""
    port, keep = free_port(), directory is not None
    directory = directory or tempfile.TemporaryDirectory(prefix="bench-vigilmq-")
    config = write(directory, "vigilmq.toml", f"""
drain_timeout_s = 0
shards = {shards}

[log]
level = "error"

[session]
max_queued_messages = 100000000
max_queued_bytes = "1024GiB"

[store]
directory = "{directory.name}/store"
sync = "{sync}"

[[listener]]
name = "bench"
bind = "127.0.0.1:{port}"
""")
    return Broker("vigilmq", [str(binary), "--config", config], port, directory,
                  {"MQTT_KEEP_ALIVE_MONITORING_DELAY_MS": str(tick_ms)}, keep)


def start_mosquitto(binary, persistence=False, directory=None):
    """With a directory (of tempfile) it goes on with what is in it, and leaves it there."""
    port, keep = free_port(), directory is not None
    directory = directory or tempfile.TemporaryDirectory(prefix="bench-mosquitto-")
    kept = f"persistence true\npersistence_location {directory.name}/\nmax_queued_messages 0"
    # Started by root it would become a user who cannot write here, so it stays who it is.
    config = write(directory, "mosquitto.conf", f"""
listener {port} 127.0.0.1
allow_anonymous true
{kept if persistence else "persistence false"}
log_dest stderr
log_type error
max_connections -1
user {os.environ.get("USER", "root") if os.geteuid() else "root"}
""")
    return Broker("mosquitto", [binary, "-c", config], port, directory, keep_directory=keep)


def start_nats_server(binary):
    directory, port = tempfile.TemporaryDirectory(prefix="bench-nats-"), free_port()
    config = write(directory, "nats.conf", f"""
server_name: bench
host: 127.0.0.1
port: {free_port()}
max_connections: 65536
jetstream {{ store_dir: "{directory.name}/jetstream" }}
mqtt {{ host: 127.0.0.1, port: {port} }}
""")
    return Broker("nats-server", [binary, "-c", config], port, directory)


RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # what is on the PATH changes to another user


def start_rabbitmq(binary):
    """With its MQTT plugin. It boots for some seconds, and wants a name server of its own (epmd)."""
    directory, port, names = tempfile.TemporaryDirectory(prefix="bench-rabbitmq-"), free_port(), free_port()
    write(directory, "rabbitmq.conf", f"""
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:{port}
mqtt.allow_anonymous = true
log.console = false
log.file.level = error
vm_memory_high_watermark.relative = 0.8
""")
    write(directory, "enabled_plugins", "[rabbitmq_mqtt].\n")
    epmd = subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", str(names)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    environment = {
        "HOME": directory.name, "RUNNING_UNDER_SYSTEMD": "1", "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"bench{port}@localhost", "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": f"{directory.name}/rabbitmq.conf", "RABBITMQ_CONF_ENV_FILE": f"{directory.name}/none",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory.name}/enabled_plugins",
        "RABBITMQ_MNESIA_BASE": f"{directory.name}/mnesia", "RABBITMQ_LOG_BASE": f"{directory.name}/log",
        "RABBITMQ_PID_FILE": f"{directory.name}/pid", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    return Broker("rabbitmq", [RABBITMQ if os.path.exists(RABBITMQ) else binary], port, directory, environment, companion=epmd)


def start_floor(binary):
    """The relay without MQTT (floor_relay.cc): QoS 0 only."""
    directory, port = tempfile.TemporaryDirectory(prefix="bench-floor-"), free_port()
    return Broker("floor", [str(binary), str(port)], port, directory)


AEDES = ROOT / "bench" / "aedes"


def aedes_version():
    """None if it is not installed."""
    package = AEDES / "node_modules" / "aedes" / "package.json"
    if not package.exists() or not shutil.which("node"):
        return None
    return json.loads(package.read_text())["version"]


def start_aedes():
    directory, port = tempfile.TemporaryDirectory(prefix="bench-aedes-"), free_port()
    return Broker("aedes", ["node", str(AEDES / "broker.js"), str(port)], port, directory)


# name: (binary on the PATH, how to start it, newest protocol it speaks, how to install it)
PEERS = {
    "mosquitto": ("mosquitto", start_mosquitto, 5, "apt-get install mosquitto"),
    "nats-server": ("nats-server", start_nats_server, 4, "apt-get install nats-server"),
    "rabbitmq": ("rabbitmq-server", start_rabbitmq, 4, "apt-get install rabbitmq-server (which also starts it as a service)"),
}


def find_program(name):
    """Debian puts servers into /usr/sbin, which is not on everybody's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def version_of(binary):
    """The first thing in a program's --version (or, for mosquitto, its help) that looks like a version."""
    if pathlib.Path(binary).name == "rabbitmq-server":  # would start, whatever it is asked
        installed = next(pathlib.Path(RABBITMQ).parent.parent.glob("lib/rabbitmq_server-*"), None)
        return installed.name.removeprefix("rabbitmq_server-") if installed else "unknown"
    for flag in ("--version", "-h"):
        done = subprocess.run([str(binary), flag], capture_output=True, text=True, timeout=10, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)?\S*", done.stdout + done.stderr)
        if found:
            return found.group(0)
    return "unknown"


def load_program(build_dir, name):
    path = pathlib.Path(build_dir).resolve() / name
    if not os.access(path, os.X_OK):
        raise BrokerError(f"{path} is not built: cmake --workflow --preset release")
    return path


def describe_machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.machine())
    memory_kib = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1))
    release = re.search(r'PRETTY_NAME="([^"]*)"', pathlib.Path("/etc/os-release").read_text())
    return (f"{os.cpu_count()} cores of {cpu}, {memory_kib / 2**20:.1f} GiB, "
            f"{release.group(1) if release else platform.system()}, Linux {platform.release()}, "
            f"load average at the start {os.getloadavg()[0]:.2f}")
