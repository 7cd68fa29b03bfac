"""One `farebox up` between the SDKs and the recorded vendors: its addresses, keys and ledger rows."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from upstream import CREDENTIAL, Case, FIXTURES, Upstream

READY_SECONDS = 60
STOP_SECONDS = 60
VENDORS = ["openai", "azure", "anthropic", "gemini", "deepgram", "elevenlabs", "groq", "mistral", "cohere"]
PROXIES = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]


class Caller:
    """A tenant of one test, with its virtual key: all that an SDK is given beside the base URL."""

    def __init__(self, stand, tenant, key):
        self.stand = stand
        self.tenant = tenant
        self.key = key

    def url(self, upstream, path="", scheme="https"):
        """Base URL of an upstream; its scheme also chooses the listener."""
        name = "proxy_tls_url" if scheme in ("https", "wss") else "proxy_url"
        base = self.stand.connection[name].split("://")[1]
        return f"{scheme}://{base}/{upstream}{path}"

    def rows(self, count):
        return self.stand.rows(self.tenant, count)

    def session(self):
        """The rows of a socket, oldest first, once its last one is there."""
        return self.stand.session(self.tenant)

    def expect(self, case, count=1):
        """The newest of exactly `count` rows is what the fixture says its usage is."""
        return self.stand.expect(self.tenant, case, count)


class Stand:
    """A running `farebox up`, its upstream, and its verbs."""

    def __init__(self):
        self.binary = os.environ["FAREBOX_BIN"]
        self.data_dir = pathlib.Path(tempfile.mkdtemp(prefix="fbsdk", dir="/tmp"))
        self.data_dir.chmod(0o755)
        self.upstream = Upstream()
        self.upstream.tell("/caller", self.tell_caller)
        self.upstream.tell("/expect", self.tell_row)
        self.upstream.tell("/session", lambda query: self.session(query["tenant"]))
        self.log = open(self.data_dir / "up.log", "w+")
        self.process = subprocess.Popen(
            [self.binary, "up", "--data-dir", str(self.data_dir)],
            stdout=self.log, stderr=self.log, env=environment() | self.settings(), cwd=self.data_dir,
        )
        self.connection = self.wait_for(self.data_dir / "connection.json")

    def settings(self):
        found = {"FAREBOX_SDK_CREDENTIAL": CREDENTIAL}
        for name in ["PROXY__LISTEN", "PROXY__TLS__LISTEN", "PROXY__OPS_LISTEN", "COLLECTOR__LISTEN"]:
            found[f"FAREBOX_{name}"] = "127.0.0.1:0"
        for vendor in VENDORS:
            found[f"FAREBOX_UPSTREAMS__{vendor.upper()}__BASE_URL"] = f"{self.upstream.url}/{vendor}"
            found[f"FAREBOX_UPSTREAMS__{vendor.upper()}__CREDENTIAL_ENV"] = "FAREBOX_SDK_CREDENTIAL"
        return found

    def wait_for(self, file):
        deadline = time.monotonic() + READY_SECONDS
        while not file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise AssertionError(f"farebox up is not ready (exit {self.process.poll()}): {self.log.read()}")
            time.sleep(0.05)
        return json.loads(file.read_text())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_SECONDS)
        self.upstream.shutdown()
        remove_cluster(self.data_dir)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def verb(self, *arguments):
        """Runs a verb that has to succeed; what it printed."""
        command = [self.binary, *arguments, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def caller(self, *arguments, calls_an_hour=None):
        """A new tenant and its key."""
        tenant = f"sdk-{uuid.uuid4().hex}"
        self.verb("tenant", "create", tenant)
        if calls_an_hour is not None:
            self.verb("limit", "set", "--tenant", tenant, "--amount", str(calls_an_hour), "--window", "hour")
        return Caller(self, tenant, self.issue("--tenant", tenant, *arguments))

    def issue(self, *arguments):
        """A new virtual key, known to the proxy."""
        name = f"sdk-{uuid.uuid4().hex[:12]}"
        out = self.data_dir / f"{name}.key"
        self.verb("key", "issue", "--name", name, "--out", str(out), *arguments)
        key = out.read_text().strip()
        self.wait_until_known(key)
        return key

    def wrong(self):
        """A caller whose key is well formed and of nobody."""
        key = self.caller().key
        return Caller(self, None, key[:-1] + ("A" if key[-1] != "A" else "B"))

    def wait_until_known(self, key):
        """The proxy hears of a key within a second; a route refused to everybody says when."""
        url = f"{self.connection['proxy_url']}/openai/v1/realtime/client_secrets"
        request = urllib.request.Request(url, data=b"{}", headers={"authorization": f"Bearer {key}"})
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                opener().open(request)
            except urllib.error.HTTPError as refused:
                if refused.code != 401:
                    return
            assert time.monotonic() < deadline, "the proxy does not know the key"
            time.sleep(0.01)

    def rows(self, tenant, count):
        """Waits until the tenant has exactly `count` events; they, newest first."""
        return self.rows_when(tenant, lambda items: len(items) == count, f"{count} rows")

    def session(self, tenant):
        """Waits until the tenant's socket has its final row; all its rows, oldest first."""
        items = self.rows_when(tenant, lambda items: any(item["is_final"] for item in items), "a final row")
        assert {item["transport"] for item in items} == {"websocket"}, items
        return sorted(items, key=lambda item: item["part"])

    def rows_when(self, tenant, is_enough, what):
        query = urllib.parse.urlencode({"tenant": tenant, "limit": 100})
        request = urllib.request.Request(
            f"{self.connection['collector_url']}/api/v1/events?{query}",
            headers={"authorization": f"Bearer {self.connection['admin_token']}"},
        )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            items = json.load(opener().open(request))["items"]
            if is_enough(items):
                return items
            assert time.monotonic() < deadline, f"{len(items)} rows, not {what}; served: {self.upstream.served[-3:]}"
            time.sleep(0.02)

    def expect(self, tenant, case, count=1):
        row = self.rows(tenant, count)[0]
        served = self.upstream.served[-1]
        assert served == case, f"the upstream answered with {served}"
        usage = Case(FIXTURES / case).usage
        assert row["usage_source"] == usage["source"], row
        lines = [
            (line.get("model"), line.get("conditions") or {}, line["usage"]) for line in row["lines"]
        ]
        told = [(line.get("model"), line.get("conditions") or {}, line["usage"]) for line in usage["lines"]]
        assert lines == told, f"{lines} is not {told}"
        assert (row["tenant_id"], row["ending"], row["status"]) == (tenant, "complete", 200), row
        return row

    def tell_caller(self, query):
        if query.get("wrong"):
            return {"key": self.wrong().key}
        limit = query.get("calls_an_hour")
        caller = self.caller(calls_an_hour=limit)
        return {"key": caller.key, "tenant": caller.tenant}

    def tell_row(self, query):
        count = int(query.get("count", "1"))
        if "case" in query:
            return self.expect(query["tenant"], query["case"], count)
        return self.rows(query["tenant"], count)[0]


def opener():
    """Straight to this machine, whatever proxies the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment():
    """The environment without anything that would change what is tested."""
    dropped = {"DATABASE_URL", *PROXIES}
    return {
        name: value for name, value in os.environ.items()
        if not name.endswith("_API_KEY") and name not in dropped
    }


def remove_cluster(data_dir):
    """A cluster that root had made outside the data directory."""
    file = data_dir / "cluster.json"
    if not file.exists():
        return
    for value in json.loads(file.read_text()).values():
        if isinstance(value, str) and value.startswith("/var/lib/farebox/"):
            shutil.rmtree(value, ignore_errors=True)
