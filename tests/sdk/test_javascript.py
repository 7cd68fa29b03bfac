"""The vendors' JavaScript SDKs: each file of `javascript/` is run by Node with the same stand."""

import os
import pathlib
import shutil
import subprocess

import pytest
from stand import environment

HERE = pathlib.Path(__file__).resolve().parent / "javascript"
LONGEST_SECONDS = 120


@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.mjs")), ids=lambda file: file.name)
def test_javascript(farebox, file):
    # Modules are found beside the file, so it stands where `npm ci` put them.
    modules = pathlib.Path(os.environ["FAREBOX_SDK_NODE"])
    for source in [file, HERE / "stand.mjs"]:
        shutil.copy(source, modules)
    told = {
        "FAREBOX_SDK_CONTROL": farebox.upstream.url,
        "FAREBOX_SDK_PLAIN": farebox.connection["proxy_url"].split("://")[1],
        "FAREBOX_SDK_TLS": farebox.connection["proxy_tls_url"].split("://")[1],
        "NODE_EXTRA_CA_CERTS": farebox.connection["ca_file"],
    }
    command = ["node", "--test", "--test-concurrency=1", str(modules / file.name)]
    done = subprocess.run(
        command, env=environment() | told, capture_output=True, text=True, timeout=LONGEST_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
