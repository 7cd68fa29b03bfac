"""One `farebox up` for all SDK tests, with the simulated upstream behind test keys."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import pytest

READY_SECONDS = 60
STOP_SECONDS = 60


class Deployment:
    """A running `farebox up`: its addresses, and its verbs."""

    def __init__(self, binary, data_dir, connection):
        self.binary = binary
        self.data_dir = data_dir
        self.connection = connection

    def verb(self, *arguments):
        """Runs a verb that has to succeed; what it printed."""
        command = [self.binary, *arguments, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def issue(self, *arguments):
        """A new virtual key of the test environment."""
        if "--tenant" in arguments:
            self.tenant(arguments[arguments.index("--tenant") + 1])
        name = f"sdk-{uuid.uuid4().hex[:12]}"
        out = self.data_dir / f"{name}.key"
        self.verb("key", "issue", "--name", name, "--environment", "test", "--out", str(out), *arguments)
        key = out.read_text().strip()
        self.wait_until_known(key)
        return key

    def wait_until_known(self, key):
        """The proxy hears of a key within a second; a route refused to everybody says when."""
        url = f"{self.connection['proxy_url']}/openai/v1/realtime/client_secrets"
        request = urllib.request.Request(url, data=b"{}", headers={"authorization": f"Bearer {key}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                opener.open(request)
            except urllib.error.HTTPError as refused:
                if refused.code != 401:
                    return
            assert time.monotonic() < deadline, "the proxy does not know the key"
            time.sleep(0.01)

    def tenant(self, name):
        """Makes the tenant when it is new."""
        command = [self.binary, "tenant", "create", name, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode in (0, 1), done.stderr

    def rows(self, tenant, count):
        """Waits until the tenant has exactly `count` events; they, newest first."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            items = json.loads(self.verb("events", "--tenant", tenant, "--json"))["items"]
            if len(items) == count:
                return items
            assert time.monotonic() < deadline, f"{len(items)} rows of {count}"
            time.sleep(0.05)


def environment():
    """The environment without anything that would change what is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    kept.pop("DATABASE_URL", None)
    return kept


@pytest.fixture(scope="session")
def farebox():
    binary = os.environ["FAREBOX_BIN"]
    data_dir = pathlib.Path(tempfile.mkdtemp(prefix="fbsdk", dir="/tmp"))
    data_dir.chmod(0o755)
    addresses = {
        "FAREBOX_PROXY__LISTEN": "127.0.0.1:0",
        "FAREBOX_PROXY__OPS_LISTEN": "127.0.0.1:0",
        "FAREBOX_COLLECTOR__LISTEN": "127.0.0.1:0",
    }
    log = open(data_dir / "up.log", "w+")
    process = subprocess.Popen(
        [binary, "up", "--data-dir", str(data_dir)],
        stdout=log,
        stderr=log,
        env=environment() | addresses,
        cwd=data_dir,
    )
    try:
        connection = wait_for(data_dir / "connection.json", process, log)
        yield Deployment(binary, data_dir, connection)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
        remove_cluster(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


def wait_for(file, process, log):
    deadline = time.monotonic() + READY_SECONDS
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise AssertionError(f"farebox up is not ready (exit {process.poll()}): {log.read()}")
        time.sleep(0.05)
    return json.loads(file.read_text())


def remove_cluster(data_dir):
    """A cluster that root had made outside the data directory."""
    file = data_dir / "cluster.json"
    if not file.exists():
        return
    for value in json.loads(file.read_text()).values():
        if isinstance(value, str) and value.startswith("/var/lib/farebox/"):
            shutil.rmtree(value, ignore_errors=True)


@pytest.fixture(scope="session", params=["plain", "tls"])
def way(farebox, request):
    """Base URL of the proxy and what to verify it by."""
    if request.param == "plain":
        return farebox.connection["proxy_url"], True
    return farebox.connection["proxy_tls_url"], farebox.connection["ca_file"]


@pytest.fixture
def tenant():
    return f"sdk-{uuid.uuid4().hex}"
