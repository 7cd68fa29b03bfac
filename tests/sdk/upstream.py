"""The vendors as the SDKs meet them: every exchange under `tests/fixtures`, told apart by the vendor
(the first part of the path), method and path, and live sessions for the sockets.

What was served stands in a list, in order; a request that shows anything but the operator's
credential is refused, so a test that passes also proves that no virtual key went up.
"""

import base64
import hashlib
import http.server
import json
import pathlib
import re
import threading
import urllib.parse

import sessions

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
CREDENTIAL = "operator-credential-of-the-sdk-tests"
SOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Case:
    """One recorded exchange, and the usage that is to be booked for it."""

    def __init__(self, folder):
        self.name = f"{folder.parent.name}/{folder.name}"
        self.folder = folder
        self.vendor = folder.parent.name
        exchange = json.loads((folder / "exchange.json").read_text())
        self.key = (self.vendor, exchange["method"], exchange["path"])
        self.status = exchange["status"]
        self.content_type = exchange["content_type"]
        self.headers = exchange.get("headers", {})
        self.is_complete = exchange["is_complete"]
        self.usage = json.loads((folder / "usage.json").read_text())

    @property
    def is_whole(self):
        """An answer of a call that went well, to its end."""
        return self.status == 200 and self.is_complete

    @property
    def body(self):
        (file,) = [file for file in self.folder.glob("response.*") if file.suffix != ".br"]
        return file.read_bytes()

    @property
    def request(self):
        """The recorded request's members, as an SDK takes them."""
        return json.loads((self.folder / "request.json").read_text())


def cases():
    """All cases by vendor, method and path."""
    found = {}
    for file in sorted(FIXTURES.glob("*/*/exchange.json")):
        case = Case(file.parent)
        found.setdefault(case.key, []).append(case)
    return found


def wanted_names(form):
    """Case names that answer such a request, best first."""
    kinds = (["tools"] if form["tools"] else []) + [""]
    ends = ["stream"] if form["stream"] else ["plain", ""]
    return [name for kind in kinds for end in ends if (name := "_".join(filter(None, [kind, end])))]


class Upstream(http.server.ThreadingHTTPServer):
    """A running upstream."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cases = cases()
        self.served = []
        self.told = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def tell(self, path, answer):
        """`answer(query)` gives what `GET path` says; for tests that run in another process."""
        self.told[path] = answer

    def handle_error(self, request, address):
        """A caller that goes away is the test's business."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Nothing is printed."""

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path in self.server.told:
            return self.tell(self.server.told[url.path], dict(urllib.parse.parse_qsl(url.query)))
        if self.headers.get("upgrade", "").lower() == "websocket":
            return self.socket(url)
        return self.exchange()

    def do_POST(self):
        self.exchange()

    def tell(self, answer, query):
        try:
            status, value = 200, answer(query)
        except AssertionError as error:
            status, value = 500, {"error": str(error)}
        self.send(status, "application/json", json.dumps(value).encode())

    def exchange(self):
        body = self.read_body()
        url = urllib.parse.urlsplit(self.path)
        if not self.is_authorised(url):
            return self.send(401, "application/json", b'{"error":{"message":"not the operator"}}')
        _, vendor, path = url.path.split("/", 2)
        form = read_form(url, body)
        if vendor == "gemini":
            # Both versions have the same routes; the recorded ones are of the longer lived.
            path = path.replace("v1/", "v1beta/", 1)
        found = self.server.cases.get((vendor, self.command, f"/{path}"), [])
        for name in wanted_names(form):
            # Shortest first: `stream` rather than `compound_stream`.
            for case in sorted(found, key=lambda case: len(case.folder.name)):
                is_it = case.folder.name == name or case.folder.name.endswith(f"_{name}")
                if is_it and case.is_whole:
                    return self.serve(case)
        whole = [case for case in found if case.is_whole and not form["stream"]]
        if whole:
            return self.serve(whole[0])
        what = f"no fixture answers {self.command} {self.path} {form}"
        self.server.served.append(what)
        self.send(404, "application/json", json.dumps({"error": {"message": what}}).encode())

    def serve(self, case):
        self.server.served.append(case.name)
        self.send(case.status, case.content_type, case.body, case.headers)

    def send(self, status, content_type, body, headers=()):
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def read_body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def is_authorised(self, url):
        shown = [value for name, value in self.headers.items() if CREDENTIAL in value]
        seen = f"{self.path} {self.headers}"
        return bool(shown or CREDENTIAL in url.query) and "vk_" not in seen

    def socket(self, url):
        _, vendor, path = url.path.split("/", 2)
        session = sessions.find(vendor, path)
        if not self.is_authorised(url) or session is None:
            return self.send(401 if session else 404, "application/json", b"{}")
        key = self.headers["sec-websocket-key"] + SOCKET_GUID
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "websocket")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        offered = self.headers.get("sec-websocket-protocol", "").split(",")[0].strip()
        if offered:
            self.send_header("sec-websocket-protocol", offered)
        self.end_headers()
        self.wfile.flush()
        self.server.served.append(f"{vendor} {session.__name__}")
        self.close_connection = True
        session(sessions.Socket(self.rfile, self.wfile))


def read_form(url, body):
    """What decides between the cases of one path."""
    try:
        told = json.loads(body)
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    is_stream = told.get("stream") is True or any(word in url.path for word in ["streamGenerate", "/stream/"])
    is_stream |= bool(re.search(rb'name="stream"(\r\n[^\r]+)*\r\n\r\n[Tt]rue\r\n', body))
    return {"stream": is_stream, "tools": bool(told.get("tools"))}
