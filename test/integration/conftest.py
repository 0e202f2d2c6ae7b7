"""Fixtures: the broker, shared by most tests; brokers of a test's own; names nobody else uses."""

import itertools
import os
import pathlib
import re
import resource
import signal
import subprocess

import pytest

import broker as broker_module
import network

HERE = pathlib.Path(__file__).resolve().parent
TEST_LIMIT_S = 60

# What the shared broker runs with: a short tick, so that lateness costs the tests little, and more than one shard, so
# that clients meet across shards also on a machine with one core.
SETTINGS = {
    "shards": 3,
    "keep_alive.monitoring_delay_ms": 100,
    "sys.interval_s": 1,
}

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def bounded():
    """No test may hang the suite."""

    def too_long(*_):
        raise TimeoutError(f"the test took longer than {TEST_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(TEST_LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session", autouse=True)
def prepared():
    if not os.access(broker_module.BINARY, os.X_OK):
        pytest.exit(f"There is no broker at {broker_module.BINARY}. Build it (cmake --workflow --preset release) or name "
                    "another one in VIGILMQ_BINARY.", 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Shared:
    def __init__(self, directory):
        self.directory = directory
        self.broker = None

    def get(self):
        if self.broker is None or not self.broker.running():
            self.broker = broker_module.Broker(self.directory / f"shared-{next(_numbers)}", SETTINGS)
        return self.broker


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory):
    shared = Shared(tmp_path_factory.mktemp("broker"))
    yield shared
    if shared.broker and shared.broker.running():
        shared.broker.terminate()


@pytest.fixture
def broker(shared_broker):
    """The broker that most tests share. A test that brings it down fails; the next one gets a new broker."""
    running = shared_broker.get()
    yield running
    running.drop_clients()
    assert running.running(), f"the test ended the broker (code {running.process.returncode}):\n{running.log()[-3000:]}"


@pytest.fixture
def start_broker(tmp_path):
    """Starts brokers of the test's own: start_broker({"limits.max_connections": 2}, listener={...}, env={...})."""
    started = []

    def start(settings=None, **how):
        defaults = {"shards": 2, "keep_alive.monitoring_delay_ms": 100}
        started.append(broker_module.Broker(tmp_path / f"broker-{len(started)}", {**defaults, **(settings or {})}, **how))
        return started[-1]

    yield start
    problems = []
    for one in started:
        one.drop_clients()
        if one.process.returncode is None:
            try:
                one.terminate()
            except AssertionError as error:
                problems.append(str(error))
    assert not problems, "\n".join(problems)


@pytest.fixture
def name(request):
    """A client id, or part of a topic, that no other test uses."""
    plain = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    return f"{plain[:60]}-{next(_numbers)}"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Small programs of this directory."""
    target = tmp_path_factory.mktemp("compiled")

    def compile(source, name, *flags):
        if not (target / name).exists():
            subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-o", target / name, HERE / source, *flags], check=True, timeout=60)
        return target / name

    return compile


@pytest.fixture
def cable():
    """Two machines and the cable between them."""
    if os.geteuid() != 0:
        pytest.fail("This test lays a cable between two network namespaces, which only root can do: run script/test as "
                    "root or through sudo.")
    try:
        pair = network.Cable()
    except subprocess.CalledProcessError as error:
        pytest.fail(f"This machine allows no network namespaces: `{' '.join(error.cmd)}` says: {error.stderr.strip()}")
    yield pair
    pair.remove()
