"""The disk stands still, is full, breaks, or is not what it should be: nothing acknowledged is lost, nobody is declared dead,
and the broker says what is wrong."""

import mmap
import os
import pathlib
import re
import selectors
import shutil
import socket
import struct
import subprocess
import time

import pytest

import broker as broker_module
import mqtt_wire as wire
from swarm import Swarm

MIB = 1 << 20
KEPT = {"session_expiry_interval": 3600}


class FaultyDisk:
    """For what is below one directory (faulty_disk.c)."""

    def __init__(self, library, directory):
        self.directory = directory
        control = directory.parent / f"{directory.name}.control"
        control.write_bytes(bytes(64))
        with open(control, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 64)
        self.set("ok")
        self.env = {"LD_PRELOAD": str(library), "FAULTY_DISK_DIRECTORY": str(directory.resolve()),
                    "FAULTY_DISK_CONTROL": str(control)}

    def set(self, mode):
        self.memory[:32] = mode.encode().ljust(32, b"\0")

    def counter(self, name):
        return struct.unpack_from("Q", self.memory, 32 + 8 * ("writes", "syncs", "refused", "stalled").index(name))[0]


@pytest.fixture
def disk(compiled, tmp_path):
    library = compiled("faulty_disk.c", "faulty_disk.so", "-shared", "-fPIC", "-ldl")
    store = tmp_path / "disk" / "store"
    store.mkdir(parents=True)
    made = FaultyDisk(library, store)
    yield made
    made.set("ok")  # or the broker could not end


@pytest.fixture
def start_on_disk(disk, start_broker):
    def start(settings=None):
        return start_broker({"store.directory": str(disk.directory), "session.max_queued_messages": 1_000_000,
                             **(settings or {})}, env=disk.env)

    return start


def away(broker, client_id, topic_filter, qos=2):
    """A client that subscribes and goes."""
    client = broker.client(client_id, clean=False, props=KEPT)
    assert client.subscribe(topic_filter, qos=qos) == [qos]
    client.disconnect()


def all_messages(broker, client_id, count, timeout=20):
    """What a client that comes back gets, up to `count` messages and a little longer."""
    client = broker.client(client_id, clean=False, props=KEPT)
    assert client.connack.session_present
    limit = time.monotonic() + timeout
    got = []
    while time.monotonic() < limit:
        try:
            got.append(client.message(0.5 if len(got) >= count else 5))
        except TimeoutError:
            break
    return got


def memory_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Writer:
    """Publishes at QoS 1 as fast as its connection takes it, and pings every half second."""

    def __init__(self, broker, name, most, size, keep_alive):
        self.client = broker.client(name, keep_alive=keep_alive)
        # What the kernel keeps, the broker is not given.
        self.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self.client.sock.setblocking(False)
        self.name, self.most, self.size = name, most, size
        self.sent = self.acked = 0
        self.out, self.incoming = b"", b""
        self.pings = self.answers = 0
        self.last_ping = time.monotonic()
        self.closed = None

    def write(self, more=True):
        while self.closed is None:
            if not self.out:
                if time.monotonic() - self.last_ping > 0.5:
                    self.out, self.last_ping = wire.PING, time.monotonic()
                    self.pings += 1
                elif more and self.sent - self.acked < self.most:
                    self.sent += 1
                    payload = f"{self.name} {self.sent} ".encode().ljust(self.size, b"x")
                    self.out = wire.publish("kept/x", payload, 1, (self.sent - 1) % 65535 + 1)
                else:
                    return
            try:
                self.out = self.out[self.client.sock.send(self.out):]
            except BlockingIOError:
                return
            except OSError as error:
                self.closed = str(error)

    def read(self):
        try:
            data = self.client.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.closed = str(error)
            return
        if not data:
            self.closed = "end of stream"
        self.incoming += data
        while len(self.incoming) >= 2 and len(self.incoming) >= 2 + self.incoming[1]:
            kind, size = self.incoming[0] >> 4, self.incoming[1]
            if kind == wire.PUBACK:
                self.acked += 1
            elif kind == wire.PINGRESP:
                self.answers += 1
            else:
                self.closed = f"unexpected {self.incoming.hex()}"
            self.incoming = self.incoming[2 + size:]


class Writers:
    def __init__(self, broker, count, most, size, keep_alive):
        self.all = [Writer(broker, f"writer-{number}", most, size, keep_alive) for number in range(count)]
        self.selector = selectors.DefaultSelector()
        for writer in self.all:
            self.selector.register(writer.client.sock, selectors.EVENT_READ, writer)

    def turn(self, until, more=True):
        while (left := until - time.monotonic()) > 0:
            for writer in self.all:
                writer.write(more)
            for key, _ in self.selector.select(min(left, 0.01)):
                key.data.read()
                if key.data.closed is not None:
                    self.selector.unregister(key.fileobj)

    def sent(self):
        return sum(writer.sent for writer in self.all)

    def acked(self):
        return sum(writer.acked for writer in self.all)

    def closed(self):
        return [(writer.name, writer.closed) for writer in self.all if writer.closed is not None]


def test_a_disk_that_stands_still_for_10_s(disk, start_on_disk):
    """PINGREQ is answered, nobody is disconnected, what need not be stored flows on; acknowledgements wait and come; the
    memory of the broker stays bounded although 25 clients have 400 MiB to give it; nothing is lost. [MQTT-3.12.4-1]"""
    broker = start_on_disk({"store.max_backlog": "8MiB", "session.max_queued_bytes": "8GiB"})
    away(broker, "reader", "kept/#", 1)
    pinging = Swarm(broker, "pinging", 20, keep_alive=2)
    fast = broker.client("fast", keep_alive=2)
    fast.subscribe("fast", qos=1)
    before = memory_of(broker.pid)
    writers = Writers(broker, 25, most=1000, size=16 * 1024, keep_alive=2)
    while writers.acked() < 100:
        writers.turn(time.monotonic() + 0.01)
    disk.set("stall")
    writers.turn(time.monotonic() + 0.5)
    acked = writers.acked()
    worst = largest = flowed = 0
    end = time.monotonic() + 10
    while time.monotonic() < end:
        asked = time.monotonic()
        pinging.ping_all()
        fast.send(wire.publish("fast", b"0") + wire.publish("fast", b"1", 1, 7))
        while any(one.answers < one.pings for one in pinging.members if one.closed_at is None):
            pinging.listen(time.monotonic() + 0.005)
            writers.turn(time.monotonic() + 0.005)
            assert time.monotonic() - asked < 2, "PINGREQ was not answered within 2 s"
        worst = max(worst, time.monotonic() - asked)
        came = {}
        while not {b"0", b"1", wire.PUBACK} <= set(came):
            packet = fast.recv(2)
            came[packet.kind if packet.kind == wire.PUBACK else packet.payload] = packet
        fast.send(wire.ack(wire.PUBACK, came[b"1"].packet_id))
        flowed += 1
        largest = max(largest, memory_of(broker.pid))
        writers.turn(asked + 0.25)
    assert disk.counter("stalled") > 0, "the disk stood still, but nobody had anything to write"
    assert flowed >= 10
    assert pinging.dead() == [] and writers.closed() == []
    assert writers.acked() == acked, "acknowledged, but not written"
    assert any(writer.out for writer in writers.all), "everything was read: nothing held the writers back"
    growth = (largest - before) / MIB
    print(f"slowest answer {worst * 1000:.0f} ms, {growth:.0f} MiB more memory, {writers.sent()} messages sent, {acked} acknowledged")
    assert growth < 100

    disk.set("ok")
    end = time.monotonic() + 20
    while (writers.acked() < writers.sent() or any(writer.out for writer in writers.all)) and time.monotonic() < end:
        writers.turn(time.monotonic() + 0.05, more=False)
        pinging.ping_for(0.01)
    assert writers.closed() == [] and pinging.dead() == []
    assert writers.acked() == writers.sent()
    broker.kill()
    broker.start()
    numbers = {}
    for message in all_messages(broker, "reader", writers.sent()):
        name, number = message.payload.split()[:2]
        numbers.setdefault(name, []).append(int(number))
    for writer in writers.all:
        assert numbers[writer.name.encode()] == list(range(1, writer.sent + 1)), writer.name


def test_messages_for_many_while_the_disk_stands_still(disk, start_on_disk):
    """Each of 20,000 messages is for 500 absent sessions: ten million entries. What of them is in memory stays bounded,
    pings are answered, and all that is acknowledged at the end is there."""
    sessions, publishers, each = 500, 20, 1000
    broker = start_on_disk({"store.max_backlog": "4MiB", "session.max_queued_bytes": "8GiB"})
    for number in range(sessions):
        away(broker, f"reader-{number}", "kept/#", 1)
    pinging = Swarm(broker, "pinging", 10, keep_alive=2)
    before = memory_of(broker.pid)
    disk.set("stall")
    writers = Writers(broker, publishers, most=each, size=16, keep_alive=10)
    largest = 0
    end = time.monotonic() + 6
    while time.monotonic() < end:
        pinging.ping_all()
        asked = time.monotonic()
        while any(one.answers < one.pings for one in pinging.members if one.closed_at is None):
            pinging.listen(time.monotonic() + 0.005)
            writers.turn(time.monotonic() + 0.005)
            assert time.monotonic() - asked < 2, "PINGREQ was not answered within 2 s"
        writers.turn(asked + 0.2)
        largest = max(largest, memory_of(broker.pid))
    assert pinging.dead() == [] and writers.closed() == []
    growth = (largest - before) / MIB
    print(f"{growth:.0f} MiB more memory, {writers.sent()} messages sent")
    assert growth < 150
    disk.set("ok")
    end = time.monotonic() + 40
    while writers.acked() < writers.sent() and time.monotonic() < end:
        writers.turn(time.monotonic() + 0.05, more=False)
        pinging.ping_for(0.01)
    assert writers.acked() == writers.sent() and pinging.dead() == []
    broker.kill()
    broker.start()
    for number in (0, sessions - 1):
        assert len(all_messages(broker, f"reader-{number}", writers.sent())) == writers.sent()


def test_clients_that_come_again_and_again_while_the_disk_is_full(disk, start_on_disk):
    """Each connect has something to be stored. Beyond what may wait they are refused, until the disk has room again."""
    broker = start_on_disk({"store.max_backlog": "1MiB"})
    living = broker.client("living", keep_alive=2)
    will = wire.Will("words", b"x" * 30_000, 1, False)
    disk.set("enospc")

    def connack(number):
        client = broker.client()
        client.send(wire.connect(f"device-{number % 300}", clean=False, props=KEPT, will=will))
        try:
            return client.expect(wire.CONNACK, 0.01).reason
        except TimeoutError:
            return None  # it waits for the disk
        finally:
            client.drop()

    number = refused = 0
    end = time.monotonic() + 40
    while refused < 50 and time.monotonic() < end:
        answer = connack(number)
        assert answer in (None, 0x88)
        refused += answer == 0x88
        number += 1
        if number % 50 == 0:
            broker.clients = [living]
            living.send(wire.PING)
            living.expect(wire.PINGRESP, 2)
    assert refused == 50, f"{number} connects"
    held = memory_of(broker.pid)
    for more in range(1_000):
        assert connack(number + more) == 0x88
    assert memory_of(broker.pid) - held < 8 * MIB
    disk.set("ok")
    broker.wait_log("(?i)store writes again")
    end = time.monotonic() + 10
    answer = 0x88
    while answer == 0x88:
        assert time.monotonic() < end
        client = broker.client()
        client.send(wire.connect("device-1", clean=False, props=KEPT))
        answer = client.expect(wire.CONNACK, 5).reason
        client.drop()
    assert answer == 0


def test_a_disk_that_cannot_be_read_for_a_while(disk, start_on_disk):
    """What waits stays where it is, and nothing overtakes it: all of it comes, in order, when it can be read again."""
    broker = start_on_disk({"store.cache": "1MiB"})
    away(broker, "reader", "kept/#", 1)
    writer = broker.client("writer", keep_alive=2)
    count = 3000
    for number in range(count):
        # One after another, so that each is a record of its own, and with nothing to compress.
        writer.publish("kept/x", f"{number} ".encode() + os.urandom(200), 1)
    broker.restart("SIGTERM")  # what it writes at its end is in tables then
    broker.restart("SIGTERM")
    disk.set("eio_read")
    refused = disk.counter("refused")
    reader = broker.client("reader", clean=False, props=KEPT, keep_alive=2)
    assert reader.connack.session_present
    broker.wait_log("cannot read messages of the session", timeout=5)
    assert disk.counter("refused") > refused
    writer = broker.client("writer", keep_alive=2)
    writer.publish("kept/x", f"{count} later", 1)
    got = []
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        reader.send(wire.PING)
        try:
            while True:
                packet = reader.recv(0.2)
                if packet.kind == wire.PUBLISH:
                    got.append(int(packet.payload.split()[0]))
                    reader.send(wire.ack(wire.PUBACK, packet.packet_id))
        except TimeoutError:
            pass
    assert got == list(range(len(got))) and len(got) < count
    disk.set("ok")
    while len(got) <= count:
        packet = reader.recv(20)
        if packet.kind == wire.PUBLISH:
            got.append(int(packet.payload.split()[0]))
            reader.send(wire.ack(wire.PUBACK, packet.packet_id))
    assert got == list(range(count + 1))


def test_a_stop_while_the_disk_stands_still(disk, start_on_disk):
    """It cannot be waited for: the broker says so, and ends."""
    broker = start_on_disk({"drain_timeout_s": 2})
    away(broker, "reader", "kept/#", 1)
    writer = broker.client("writer")
    disk.set("stall")
    writer.send(wire.publish("kept/x", b"x", 1, 1))
    writer.quiet(0.3)
    broker.tell_to_stop()
    assert broker.process.wait(15) == 1
    assert "could not be written" in broker.log_of_this_life()


@pytest.mark.parametrize("fault, words", [("enospc", "[Nn]o space|full"), ("eio", "Input/output error")])
def test_a_disk_that_is_full_or_broken_for_a_while(disk, start_on_disk, fault, words):
    """Said plainly; acknowledgements wait; it goes on by itself, and nothing that was acknowledged is lost."""
    broker = start_on_disk()
    away(broker, "reader", "kept/#")
    writer = broker.client("writer", clean=False, props=KEPT, keep_alive=2)
    number = 0
    for _ in range(2):
        for _ in range(20):
            number += 1
            assert writer.publish("kept/x", f"{number}", 1 + number % 2) in (0, 0x10)
        since = len(broker.log())
        refused = disk.counter("refused")
        disk.set(fault)
        first = number + 1
        for _ in range(20):
            number += 1
            qos = 1 + number % 2
            writer.send(wire.publish("kept/x", f"{number}", qos, 1000 + number))
        broker.wait_log(f"(?i)store.*{re.escape(str(disk.directory))}.*({words})", since=since)
        assert disk.counter("refused") > refused
        end = time.monotonic() + 3
        while time.monotonic() < end:
            writer.send(wire.PING)
            writer.expect(wire.PINGRESP, 2)  # and nothing else
            time.sleep(0.2)
        disk.set("ok")
        recorded = set()
        waiting = set(range(first, number + 1))
        while waiting:
            packet = writer.recv(15)
            if packet.kind == wire.PUBREC:
                writer.send(wire.ack(wire.PUBREL, packet.packet_id))
                recorded.add(packet.packet_id)
            else:
                assert packet.kind == wire.PUBACK or (packet.kind == wire.PUBCOMP and packet.packet_id in recorded), packet
                waiting.discard(packet.packet_id - 1000)
        broker.wait_log("(?i)store writes again", since=since)
    for _ in range(10):
        number += 1
        writer.publish("kept/x", f"{number}", 1 + number % 2)
    broker.kill()
    broker.start()
    got = [int(message.payload) for message in all_messages(broker, "reader", number)]
    assert [one for one in got if one % 2 == 0] == list(range(2, number + 1, 2)), "QoS 1"
    assert [one for one in got if one % 2] == list(range(1, number + 1, 2)), "QoS 2"


def test_a_kill_while_the_disk_is_full(disk, start_on_disk):
    """What was not acknowledged may be gone; all else is there."""
    broker = start_on_disk()
    away(broker, "reader", "kept/#")
    writer = broker.client("writer", clean=False, props=KEPT)
    for number in range(50):
        writer.publish("kept/x", f"{number}", 1 + number % 2)
    disk.set("enospc")
    for number in range(50, 60):
        writer.send(wire.publish("kept/x", f"{number}", 2, 1000 + number))
    writer.quiet(1)
    broker.kill()
    disk.set("ok")
    broker.start()
    back = broker.client("writer", clean=False, props=KEPT)
    assert back.connack.session_present
    for number in range(50, 60):
        back.send(wire.publish("kept/x", f"{number}", 2, 1000 + number, dup=True))
    for number in range(50, 60):
        assert back.answer(wire.PUBREC, 1000 + number).reason in (0, 0x10)
    got = [int(message.payload) for message in all_messages(broker, "reader", 60)]
    assert [one for one in got if one % 2 or one >= 50] == [one for one in range(60) if one % 2 or one >= 50]
    assert [one for one in got if one % 2 == 0 and one < 50] == list(range(0, 50, 2))


@pytest.mark.parametrize("sync", ["power", "process"])
def test_what_an_acknowledgement_waits_for(disk, start_on_disk, sync):
    """With store.sync = "power" the disk has the message, with "process" the kernel."""
    broker = start_on_disk({"store.sync": sync})
    away(broker, "reader", "kept/#")
    writer = broker.client("writer", clean=False, props=KEPT)
    syncs, writes = disk.counter("syncs"), disk.counter("writes")
    for qos in (1, 2):
        writer.publish("kept/x", b"x", qos)
    assert disk.counter("writes") >= writes + 2
    if sync == "power":
        assert disk.counter("syncs") >= syncs + 2
    disk.set("stall_sync")
    for qos, kind in ((1, wire.PUBACK), (2, wire.PUBREC)):
        writer.send(wire.publish("kept/x", b"x", qos, 1000 + qos))
        if sync == "process":
            assert writer.expect(kind).packet_id == 1000 + qos
    writer.send(wire.subscribe(2000, [("else/#", 1)]))
    if sync == "process":
        writer.expect(wire.SUBACK)
        return
    writer.quiet(0.7)
    assert disk.counter("stalled") > 0
    disk.set("ok")
    assert {writer.recv().kind for _ in range(3)} == {wire.PUBACK, wire.PUBREC, wire.SUBACK}


# --- a store that cannot be opened

def start_fails(directory, store, inside=(), binary=broker_module.BINARY):
    """The start ends soon, with exit code 1 and one sentence that names the store."""
    config = directory / "fails.toml"
    config.write_text(broker_module.toml({"store.directory": str(store), "shards": 2},
                                         {"bind": f"127.0.0.1:{broker_module.free_port()}"}))
    config.chmod(0o644)
    result = subprocess.run([*inside, str(binary), "--config", str(config)], capture_output=True, text=True, timeout=10,
                            env=broker_module.environment(), stdin=subprocess.DEVNULL, cwd="/")
    assert result.returncode == 1, result
    last = result.stderr.strip().splitlines()[-1]
    assert str(store) in last and last.endswith("."), result.stderr
    assert "listening" not in result.stderr.lower()
    return last


@pytest.fixture
def store(start_broker):
    """One in which a broker has kept something, of a broker that was killed."""
    broker = start_broker()
    away(broker, "reader", "kept/#")
    broker.client("writer").publish("kept/x", b"x", 1, retain=True)
    broker.kill()
    return broker.store


def test_a_file_in_the_place_of_the_directory(tmp_path):
    (tmp_path / "store").write_text("not a directory")
    start_fails(tmp_path, tmp_path / "store")
    assert (tmp_path / "store").read_text() == "not a directory"


def test_a_directory_that_may_not_be_written_to(tmp_path):
    command, binary = [], broker_module.BINARY
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        binary = tmp_path / "vigilmq"
        shutil.copy(broker_module.BINARY, binary)
        for directory in (tmp_path, *tmp_path.parents):
            if directory == directory.parent or directory.stat().st_uid != os.geteuid():
                break
            directory.chmod(directory.stat().st_mode | 0o055)
    store = tmp_path / "store"
    store.mkdir(mode=0o555)
    try:
        assert "permission" in start_fails(tmp_path, store, command, binary)
        assert list(store.iterdir()) == []
    finally:
        store.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write files that are another user's")
def test_what_root_repairs_belongs_to_the_brokers_user(store):
    for file in (store, *store.iterdir()):
        os.chown(file, 65534, 65534)
    elsewhere = store.parent / "roots"
    elsewhere.write_text("root's own")
    os.link(elsewhere, store / "notes")
    done = broker_module.run("store", "repair", "-d", store)
    assert done.returncode == 0, done.stderr
    # Not all: a file that has another name elsewhere may be anybody's.
    assert "Not all files" in done.stderr and elsewhere.stat().st_uid == 0
    left = {file.name for file in store.iterdir() if file.stat().st_uid != 65534}
    assert left == {"notes"}
    elsewhere.unlink()


def test_a_broker_that_falls_quiet_writes_down_what_waits_in_memory(start_broker):
    broker = start_broker()
    writer = broker.client("writer")
    for number in range(30):
        writer.publish(f"kept/{number}", b"x" * 64_000, 1, retain=True)
    limit = time.monotonic() + 15
    while not list(broker.store.glob("*.sst")):
        assert time.monotonic() < limit, "nothing was written down"
        time.sleep(0.05)
    broker.kill()
    broker.start()
    reader = broker.client("reader")
    reader.subscribe("kept/#", qos=1)
    assert {reader.message(5).topic for _ in range(30)} == {f"kept/{number}" for number in range(30)}


def test_a_file_system_that_is_mounted_read_only(tmp_path):
    if os.geteuid() != 0:
        pytest.fail("This test mounts a file system, which only root can do: run script/test as root or through sudo.")
    store = tmp_path / "store"
    store.mkdir()
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none "$0" && exec "$@"', str(store)]
    assert "read-only" in start_fails(tmp_path, store, inside)


def test_a_store_that_another_broker_uses(tmp_path, start_broker):
    broker = start_broker()
    client = broker.client("dev", clean=False, props=KEPT)
    assert "in use" in start_fails(tmp_path, broker.store)
    client.publish("still", b"here", 1)


def test_a_store_of_a_newer_version(tmp_path, store, compiled):
    def set_format(number):
        subprocess.run([compiled("store_format.c", "store_format", "-lrocksdb"), store, str(number)], check=True, timeout=20)

    set_format(1000)
    assert "newer version" in start_fails(tmp_path, store)
    # Nothing was changed: with the number that it had it is what it was.
    set_format(1)
    broker = broker_module.Broker(tmp_path / "again", {"store.directory": str(store)})
    try:
        assert [message.payload for message in all_messages(broker, "reader", 1)] == [b"x"]
    finally:
        broker.drop_clients()
        broker.terminate()


def manifest(store):
    return store / (store / "CURRENT").read_text().strip()


def overwrite(file, at, data):
    with open(file, "r+b") as opened:
        opened.seek(at)
        opened.write(data)


DAMAGE = {
    "CURRENT is empty": lambda store: (store / "CURRENT").write_bytes(b""),
    "CURRENT is garbage": lambda store: (store / "CURRENT").write_bytes(b"\xff" * 40),
    "CURRENT is missing": lambda store: (store / "CURRENT").unlink(),
    "CURRENT names a missing file": lambda store: (store / "CURRENT").write_text("MANIFEST-999999\n"),
    "MANIFEST is missing": lambda store: manifest(store).unlink(),
    "MANIFEST is cut short": lambda store: os.truncate(manifest(store), 50),
    "MANIFEST is garbage": lambda store: overwrite(manifest(store), 0, os.urandom(200)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_store(tmp_path, store, damage):
    """An empty store in its place would be the loss of all that was acknowledged, and unseen."""
    DAMAGE[damage](store)
    start_fails(tmp_path, store)


def test_damage_in_the_middle_of_the_log(tmp_path, start_broker):
    """Unlike a torn end, which a kill may leave, it takes away what was acknowledged: not without a word."""
    broker = start_broker()
    away(broker, "reader", "kept/#", 1)
    writer = broker.client("writer")
    for number in range(200):
        writer.publish("kept/x", f"{number} ".ljust(200, "x"), 1)
    broker.kill()
    log = max(broker.store.glob("*.log"), key=lambda file: file.stat().st_size)
    assert log.stat().st_size > 200 * 100
    overwrite(log, log.stat().st_size // 2, b"\xff\xff\xff\xff")
    start_fails(tmp_path, broker.store)


def test_a_torn_end_of_the_log(start_broker):
    """What a kill in the middle of a write leaves: it had not been acknowledged."""
    broker = start_broker()
    away(broker, "reader", "kept/#", 1)
    writer = broker.client("writer")
    for number in range(50):
        writer.publish("kept/x", f"{number} ".ljust(200, "x"), 1)
    broker.kill()
    log = max(broker.store.glob("*.log"), key=lambda file: file.stat().st_size)
    os.truncate(log, log.stat().st_size - 100)
    broker.start()
    got = [int(message.payload.split()[0]) for message in all_messages(broker, "reader", 49)]
    assert got == list(range(49))
