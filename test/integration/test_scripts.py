"""What the scripts of this project say and do where a checkout is not as they expect it. A small project stands in for this one."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

import broker as broker_module

PRESETS = """{"version": 6,
  "configurePresets": [
    {"name": "release", "generator": "Ninja", "binaryDir": "${sourceDir}/build/release", "cacheVariables": {"VIGIL_TESTS": "ON"}},
    {"name": "broker", "inherits": "release", "cacheVariables": {"VIGIL_TESTS": "OFF"}}],
  "buildPresets": [{"name": "release", "configurePreset": "release"}, {"name": "broker", "configurePreset": "broker"}]}
"""
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(small LANGUAGES NONE)
add_custom_target(vigilmq ALL COMMAND ${CMAKE_COMMAND} -E echo built in ${CMAKE_BINARY_DIR} tests ${VIGIL_TESTS})
"""


@pytest.fixture
def checkout():
    """A directory that every user can read, with this project's scripts and next to nothing to build."""
    with tempfile.TemporaryDirectory(prefix="vigilmq-test-scripts.") as folder:
        os.chmod(folder, 0o755)
        root = pathlib.Path(folder) / "checkout"
        shutil.copytree(broker_module.ROOT / "script", root / "script")
        (root / "CMakePresets.json").write_text(PRESETS)
        (root / "CMakeLists.txt").write_text(PROJECT)
        yield root


def call(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


def test_help_of_the_server_script_installs_and_builds_nothing(checkout):
    before = sorted(checkout.rglob("*"))
    (checkout / "script" / "bootstrap").write_text("#!/bin/sh\necho installing; exit 1\n")
    for option in ("--help", "-h"):
        done = call(checkout / "script" / "server", option)
        assert (done.returncode, done.stderr) == (0, "")
        assert "script/server --listen 127.0.0.1:2883" in done.stdout and "not built yet" in done.stdout
    assert sorted(checkout.rglob("*")) == before


def test_help_of_the_server_script_shows_the_brokers_own_once_it_is_built(checkout):
    (checkout / "build" / "release").mkdir(parents=True)
    (checkout / "build" / "release" / "vigilmq").symlink_to(broker_module.BINARY)
    done = call(checkout / "script" / "server", "--help")
    assert done.returncode == 0 and "--test-config" in done.stdout


def test_a_checkout_that_was_moved_is_configured_anew(checkout):
    assert call(checkout / "script" / "build", "release").returncode == 0
    moved = checkout.rename(checkout.with_name("elsewhere"))
    done = call(moved / "script" / "build", "release")
    assert done.returncode == 0, done.stderr
    assert f"build/release was configured in {checkout}" in done.stderr
    assert f"built in {moved}/build/release" in done.stdout
    again = call(moved / "script" / "build", "release")
    assert again.returncode == 0 and "moved" not in again.stderr


def test_building_the_broker_leaves_a_directory_with_tests_as_it_is(checkout):
    assert "tests OFF" in call(checkout / "script" / "build", "broker").stdout
    assert "tests ON" in call(checkout / "script" / "build", "release").stdout
    assert "tests ON" in call(checkout / "script" / "build", "broker", "vigilmq").stdout


def as_somebody_else():
    """A command's beginning: root becomes another user. Anybody else is somebody else already where root has written."""
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []


def test_a_build_directory_that_cannot_be_written_gets_a_sentence(checkout):
    built = checkout / "build" / "release"
    built.mkdir(parents=True)
    checkout.chmod(0o777)
    built.chmod(0o555)
    done = call(*as_somebody_else(), checkout / "script" / "build", "release")
    built.chmod(0o755)
    assert done.returncode == 1 and done.stdout == ""
    assert "may not write it: somebody else has built here" in done.stderr and "chown -R" in done.stderr


def test_a_checkout_that_cannot_be_written_gets_a_sentence(checkout):
    checkout.chmod(0o555)
    done = call(*as_somebody_else(), checkout / "script" / "build", "release")
    checkout.chmod(0o755)
    assert done.returncode == 1 and done.stdout == ""
    assert f"may not write in {checkout}" in done.stderr and "cp -r" in done.stderr


def test_what_is_installed_needs_no_test_libraries(tmp_path):
    done = call("cmake", "-G", "Ninja", "-S", broker_module.ROOT, "-B", tmp_path, "-DVIGIL_TESTS=OFF",
                "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_benchmark=ON")
    assert done.returncode == 0, done.stderr
    programs = set(re.findall(r"^build (\S+): CXX_EXECUTABLE_LINKER", (tmp_path / "build.ninja").read_text(), re.M))
    assert programs == {"vigilmq", "vigilmq-load"}
