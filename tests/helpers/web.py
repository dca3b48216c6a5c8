"""A real server of files on the loopback, with ranges, and with faults that tests ask of it."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

ANY = 10**9


class Web:
    """files: bytes by their names. ranges: whether parts are given. user, query: without which there is a 401 or 403.

    pause: seconds before each answer to GET.

    good, faults: after how many answers to GET how many go wrong, and how: "busy" (503), "cut" (half of the bytes,
    then the end of the connection), "few" (half of the bytes, and the length says so), "gone" (404),
    "silent" (closed unanswered).
    """

    def __init__(self):
        self.files, self.ranges, self.user, self.query, self.pause = {}, True, "", "", 0.0
        self.good, self.faults, self.kind, self.asked, self.marks = 0, 0, "busy", [], {}

    def fail(self, kind, times=ANY, after=0):
        self.good, self.faults, self.kind = after, times, kind

    def url(self, name, user="", query=""):
        return f"http://{user and user + '@'}127.0.0.1:{self.port}/{name}{query and '?' + query}"


class _Answers(BaseHTTPRequestHandler):
    """What a server answers to GET and HEAD, with the faults that were asked of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a client waits 40 ms for a body after its headers

    def __init__(self, web, *connection):
        self.web = web
        super().__init__(*connection)

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        time.sleep(self.web.pause)
        self.web.asked.append((self.path, self.headers.get("Range")))
        self.web.good -= 1
        if self.web.good < 0 < self.web.faults:
            self.web.faults -= 1
            return self.wrong(self.web.kind)
        return self.answer()

    def wrong(self, kind):
        if kind == "silent":
            self.close_connection = True
        elif kind in ("busy", "gone"):
            self.refuse({"busy": 503, "gone": 404}[kind])
        else:
            self.answer(0.5, kind == "few")

    def answer(self, share=1.0, told=False):
        """The file, the folder or the refusal; of a file, `share` of its bytes, and whether the length says so."""
        name = unquote(urlsplit(self.path).path).lstrip("/")
        if status := self.forbidden():
            self.refuse(status)
        elif name in self.web.files:
            self.file(name, share, told)
        elif inside := [one for one in self.web.files if one.startswith(name.rstrip("/") + "/" if name else "")]:
            self.page(sorted(inside))
        else:
            self.refuse(404)

    def forbidden(self):
        """401 or 403 where the user or the query is not the one without which nothing is given, else 0."""
        known = base64.b64encode(self.web.user.encode()).decode()
        if self.web.user and self.headers.get("Authorization") != f"Basic {known}":
            return 401
        return 403 if self.web.query and urlsplit(self.path).query != self.web.query else 0

    def file(self, name, share, told):
        data, span = self.web.files[name], self.headers.get("Range") if self.web.ranges else None
        begin, end = _part(span, len(data)) if span else (0, len(data))
        sent = data[begin : begin + int((end - begin) * share)]
        headers = {"Content-Length": len(sent) if told else end - begin}
        headers["ETag"] = self.web.marks.get(name, f'"{len(data)}"')
        if span:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        self.send(206 if span else 200, headers, sent)
        self.close_connection = share < 1

    def page(self, names):
        links = "".join(f'<a href="/{name}">{name}</a>' for name in names).encode()
        self.send(200, {"Content-Type": "text/html", "Content-Length": len(links)}, links)

    def refuse(self, status):
        self.send(status, {"Content-Length": 0})

    def send(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _part(span, length):
    """Where the bytes that a Range header asks for begin and end."""
    first, _, last = span.removeprefix("bytes=").partition("-")
    return int(first), min(length, int(last or length) + 1)


@contextlib.contextmanager
def on_loopback(handler):
    """The port of a server of this machine alone, which answers by `handler`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving():
    """A running server."""
    web = Web()
    with on_loopback(partial(_Answers, web)) as web.port:
        yield web
