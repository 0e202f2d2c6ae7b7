"""The broker itself is late, or the clock is wrong: nobody who spoke in time is disconnected for it."""

import os
import signal
import time

import pytest

import mqtt_wire as wire
from swarm import Swarm


@pytest.fixture
def swarm():
    made = []

    def make(*arguments, **how):
        made.append(Swarm(*arguments, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_stopped_broker_kills_nobody(start_broker, swarm):
    """500 clients with K = 3 ping on while the broker is stopped for 5 s. Their pings wait in the sockets: nobody is
    closed. Clients that really kept silent all the time are. [MQTT-3.1.2-22]"""
    broker = start_broker()
    pinging = swarm(broker, "pinging", 500, keep_alive=3)
    pinging.ping_for(1)
    silent = swarm(broker, "silent", 5, keep_alive=3)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        pinging.ping_for(5)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    # What waited in the sockets counts from when it was read, so that this is a whole period and more.
    pinging.ping_for(5.5)
    silent.listen(time.monotonic() + 0.1)
    assert pinging.dead() == []
    assert all(member.answers == member.pings for member in pinging.members)
    assert len(silent.dead()) == 5, "clients that were silent all the time must be found"
    broker.terminate()
    assert broker.log().count("KEEP_ALIVE_TIMEOUT") == 5


def test_a_stopped_broker_keeps_its_wills(start_broker, swarm):
    """Nobody's will is published because the broker was away."""
    broker = start_broker()
    watcher = broker.client("watcher", keep_alive=0)
    watcher.subscribe("will")
    spoke = broker.client("dev", keep_alive=1, will=wire.Will("will"))
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        time.sleep(1)
        spoke.send(wire.PING)
        time.sleep(1)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    spoke.expect(wire.PINGRESP)
    watcher.quiet(0.5)
    assert watcher.message(3).payload == b"gone"


def test_a_step_of_the_wall_clock_changes_nothing(start_broker, swarm):
    """The clock is set an hour back and, half a second later, an hour forward again. Stamped with it, all who spoke in
    between would have been silent for an hour. The client that is really silent is found when it is due. [MQTT-3.1.2-22]"""
    if os.environ.get("VIGILMQ_NO_CLOCK_STEP"):
        pytest.skip("this machine cannot: VIGILMQ_NO_CLOCK_STEP says that its clock is not to be touched")
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME))
    except PermissionError:
        pytest.skip("this machine cannot: this process may not set the clock (CAP_SYS_TIME)")
    broker = start_broker({"keep_alive.monitoring_delay_ms": 50})
    watcher = broker.client("watcher", keep_alive=0)
    watcher.subscribe("will")
    pinging = swarm(broker, "pinging", 50, keep_alive=3)
    delayed = broker.client("delayed", will=wire.Will("will", b"delayed", props={"will_delay_interval": 3}),
                            props={"session_expiry_interval": 600})
    delayed.drop()
    broker.client("silent", keep_alive=2, will=wire.Will("will", b"silent"))
    began = time.monotonic()
    # Backwards first: files that other programs write meanwhile look old rather than newer than whatever comes after.
    offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME) - 3600 * 10**9)
    try:
        pinging.ping_for(0.5, every=0.1)
    finally:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_MONOTONIC) + offset)
    # Quiet for some ticks, so that the stamps of that time are what is judged.
    pinging.listen(time.monotonic() + 0.5)
    assert pinging.dead() == []
    pinging.ping_for(1)
    first = watcher.message(5)
    waited = time.monotonic() - began
    second = watcher.message(5)
    assert {first.payload, second.payload} == {b"silent", b"delayed"}
    assert 2.9 <= waited <= 4.5
    assert pinging.dead() == []
    broker.terminate()
    assert broker.log().count("KEEP_ALIVE_TIMEOUT") == 1
