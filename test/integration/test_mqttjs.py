"""MQTT.js (npm's `mqtt`), as browsers and Node programs use it."""

import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def installed():
    """MQTT.js as package-lock.json names it."""
    lock, record = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not record.exists() or record.stat().st_mtime < lock.stat().st_mtime:
        result = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True, text=True)
        if result.returncode != 0:
            pytest.fail(f"MQTT.js cannot be installed (npm ci in {HERE} needs the npm registry once):\n{result.stderr}")


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("scenario", ["roundtrip", "will", "reconnect", "takeover"])
def test_mqttjs(installed, broker, name, scenario, version):
    result = subprocess.run(["node", HERE / "mqttjs.mjs", scenario, str(broker.port), str(version), name],
                            capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stdout + result.stderr
