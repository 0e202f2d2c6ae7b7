"""Copies and exports of the store, taken while the broker runs, and what a broker makes of them."""

import json
import os
import re
import shutil
import subprocess
import threading

import pytest

import broker as broker_module
import mqtt_wire as wire

KEPT = {"session_expiry_interval": 3600}
ROOM = {"session.max_queued_messages": 1_000_000, "session.max_queued_bytes": "1GiB"}
PADDING = "x" * 8_000
WINDOW = 50


def store(*arguments, stdin=None):
    done = subprocess.run([str(broker_module.BINARY), "store", *map(str, arguments)], capture_output=True, text=True, timeout=30,
                          env=broker_module.environment(), stdin=stdin or subprocess.DEVNULL)
    return done


def absent_reader(broker):
    reader = broker.client("reader", clean=False, props=KEPT)
    reader.subscribe("numbers", qos=1)
    reader.disconnect()


class Publisher(threading.Thread):
    """Publishes numbers as fast as they are acknowledged, some of them unacknowledged at a time."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.client = broker.client("publisher")
        self.acknowledged = 0  # numbers below it
        self.over = threading.Event()
        self.failure = None
        self.start()

    def run(self):
        try:
            sent = 0
            while not self.over.is_set() or self.acknowledged < sent:
                while sent < self.acknowledged + WINDOW and not self.over.is_set():
                    self.client.send(wire.publish("numbers", f"{sent}:{PADDING}", 1, sent % 60_000 + 1))
                    sent += 1
                packet = self.client.expect(wire.PUBACK, 20)
                assert packet.packet_id == self.acknowledged % 60_000 + 1 and packet.reason == 0, packet
                self.acknowledged += 1
        except Exception as failure:  # for the test to see
            self.failure = failure

    def wait_for(self, number):
        while self.acknowledged < number:
            assert self.failure is None, self.failure
            self.join(0.01)

    def stop(self):
        self.over.set()
        self.join(30)
        assert self.failure is None, self.failure


def waiting(directory):
    said = store("inspect", "-d", directory).stdout
    return int(re.search(r"^queued messages +(\d+)", said, re.M)[1])


def expect_all(broker, at_least, count):
    """The reader comes back and gets the numbers from 0 on, without a gap."""
    assert count >= at_least
    reader = broker.client("reader", clean=False, props={**KEPT, "receive_maximum": 1000})
    assert reader.connack.session_present
    for number in range(count):
        packet = reader.expect(wire.PUBLISH, 10)
        assert int(packet.payload.split(b":")[0]) == number
        reader.acknowledge(packet)
    reader.quiet(0.2)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("sync", ["process", "power"])
def test_a_copy_made_under_load_has_what_was_acknowledged(start_broker, tmp_path, sync):
    broker = start_broker({**ROOM, "store.sync": sync})
    absent_reader(broker)
    publisher = Publisher(broker)
    copies = []
    for number in (200, 3_000, 9_000):  # of 8 KB: the last one is behind the first flush
        publisher.wait_for(number if sync == "process" else number // 3)
        acknowledged = publisher.acknowledged
        to = tmp_path / f"copy-{number}"
        made = store("backup", "-d", broker.store, to)
        assert made.returncode == 0, made.stderr
        assert re.match(rf"Copied \d+ files, \d+ bytes, from {broker.store} to {to}\.", made.stdout), made.stdout
        copies.append((to, acknowledged))
    publisher.stop()
    broker.terminate()
    if sync == "process":
        assert list(copies[-1][0].glob("*.sst")), "nothing was flushed: the test is too small"
    for to, acknowledged in copies:
        checked = store("check", "-d", to)
        assert checked.returncode == 0, checked.stderr
        count = waiting(to)
        restored = start_broker({**ROOM, "store.directory": str(to)})
        expect_all(restored, acknowledged, count)
        restored.terminate()


def test_an_export_made_under_load_has_what_was_acknowledged(start_broker, tmp_path):
    broker = start_broker(ROOM)
    absent_reader(broker)
    publisher = Publisher(broker)
    publisher.wait_for(500)
    acknowledged = publisher.acknowledged
    lines = tmp_path / "saved.jsonl"
    with open(lines, "w") as out:
        done = subprocess.run([str(broker_module.BINARY), "store", "export", "-d", str(broker.store)], stdout=out,
                              stderr=subprocess.PIPE, text=True, timeout=30, env=broker_module.environment())
    assert done.returncode == 0, done.stderr
    publisher.stop()
    end = json.loads(lines.read_text().splitlines()[-1])
    assert end["kind"] == "end" and end["leftOut"] == 0
    assert end["records"] == len(lines.read_text().splitlines()) - 1
    with open(lines) as saved:
        imported = store("import", "-d", tmp_path / "new", stdin=saved)
    assert imported.returncode == 0, imported.stderr
    restored = start_broker({**ROOM, "store.directory": str(tmp_path / "new")})
    expect_all(restored, acknowledged, waiting(tmp_path / "new"))


def test_looking_at_a_running_brokers_store_writes_nothing_there(start_broker, tmp_path):
    broker = start_broker()
    absent_reader(broker)
    writer = broker.client("writer")
    assert writer.publish("numbers", b"1", 1) == 0
    before = names(broker.store)
    for command in (["inspect"], ["check"], ["export"], ["backup", tmp_path / "copy"]):
        done = store(*command, "-d", broker.store)
        assert done.returncode == 0, done.stderr
    assert names(broker.store) == before
    refused = store("repair", "-d", broker.store)
    assert refused.returncode == 1 and "A broker is running" in refused.stderr
    assert writer.publish("numbers", b"2", 1) == 0


def test_cut_and_empty_exports_are_not_imported(start_broker, tmp_path):
    broker = start_broker()
    absent_reader(broker)
    lines = store("export", "-d", broker.store).stdout.splitlines(keepends=True)
    for what in ([], lines[:-1], lines[1:], [*lines, lines[0]]):
        file = tmp_path / "cut.jsonl"
        file.write_text("".join(what))
        with open(file) as cut:
            refused = store("import", "-d", tmp_path / "new", stdin=cut)
        assert refused.returncode == 1 and refused.stderr.endswith("Nothing was imported.\n"), refused.stderr
        assert not (tmp_path / "new").exists()


def test_a_backup_that_finds_no_room_leaves_nothing(start_broker, tmp_path):
    broker = start_broker()
    absent_reader(broker)
    broker.terminate()
    mounted = tmp_path / "small"
    mounted.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", mounted]).returncode != 0:
        pytest.skip("only root can mount a small file system")
    try:
        refused = store("backup", "-d", broker.store, mounted)
        assert refused.returncode == 1, refused.stdout
        assert "No space left" in refused.stderr and refused.stderr.endswith("Nothing was copied.\n")
        assert names(mounted) == []
    finally:
        subprocess.run(["umount", mounted], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become somebody else")
def test_a_store_that_may_not_be_read_is_not_called_missing(start_broker, tmp_path):
    broker = start_broker()
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    program = tmp_path / "vigilmq"
    shutil.copy(broker_module.BINARY, program)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "store", "inspect", "-d",
                           broker.store], capture_output=True, text=True, timeout=10, env=broker_module.environment())
    assert done.returncode == 1
    assert "permission denied" in done.stderr and "no store" not in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--print-config"], ["--print-default-config"],
                                       ["--print-config-docs"], ["--test-config"], ["store", "--help"],
                                       ["store", "export"], ["store", "inspect"], ["store", "check"]], ids=" ".join)
def test_output_that_cannot_be_written_is_an_error(start_broker, arguments):
    where = []
    if arguments[0] == "store" and "--help" not in arguments:
        broker = start_broker()
        where = ["-d", str(broker.store)]
    program = [str(broker_module.BINARY), *arguments, *where]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, env=broker_module.environment())
    assert done.returncode == 1
    assert done.stderr == "vigilmq: cannot write to standard output: No space left on device. What was written is not complete.\n"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=20, env=broker_module.environment())
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == "vigilmq: cannot write to standard output: Broken pipe. What was written is not complete.\n"
