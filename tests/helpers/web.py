"""A real server of files on the loopback, with ranges, and with faults that tests ask of it."""

from __future__ import annotations

import base64
import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

ANY = 10**9


class Web:
    """files: bytes by their names. ranges: whether parts are given. user, query: without which there is a 401 or 403.

    good, faults: after how many answers to GET how many go wrong, and how: "busy" (503), "cut" (half of the bytes,
    then the end of the connection), "few" (half of the bytes, and the length says so), "gone" (404),
    "silent" (closed unanswered).
    """

    def __init__(self):
        self.files, self.ranges, self.user, self.query = {}, True, "", ""
        self.good, self.faults, self.kind, self.asked, self.marks = 0, 0, "busy", [], {}

    def fail(self, kind, times=ANY, after=0):
        self.good, self.faults, self.kind = after, times, kind

    def url(self, name, user="", query=""):
        return f"http://{user and user + '@'}127.0.0.1:{self.port}/{name}{query and '?' + query}"


def _handler(web):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def refuse(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            web.asked.append((self.path, self.headers.get("Range")))
            web.good -= 1
            if web.good < 0 < web.faults:
                web.faults -= 1
                return self.wrong(web.kind)
            return self.answer(True)

        def wrong(self, kind):
            if kind == "silent":
                self.close_connection = True
            elif kind in ("busy", "gone"):
                self.refuse({"busy": 503, "gone": 404}[kind])
            else:
                self.answer(True, 0.5, kind == "few")

        def answer(self, body, share=1.0, told=False):
            address = urlsplit(self.path)
            name = unquote(address.path).lstrip("/")
            known = base64.b64encode(web.user.encode()).decode()
            if web.user and self.headers.get("Authorization") != f"Basic {known}":
                return self.refuse(401)
            if web.query and address.query != web.query:
                return self.refuse(403)
            if name not in web.files:
                inside = sorted(one for one in web.files if one.startswith(name.rstrip("/") + "/" if name else ""))
                return self.page(inside, body) if inside else self.refuse(404)
            data, span = web.files[name], self.headers.get("Range")
            begin, end = 0, len(data)
            if web.ranges and span:
                first, _, last = span.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(end, int(last or end) + 1)
            sent = data[begin : begin + int((end - begin) * share)]
            self.send_response(206 if web.ranges and span else 200)
            self.send_header("Content-Length", str(len(sent) if told else end - begin))
            self.send_header("ETag", web.marks.get(name, f'"{len(data)}"'))
            if web.ranges and span:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
            self.end_headers()
            if body:
                self.wfile.write(sent)
            self.close_connection = share < 1

        def page(self, names, body):
            links = "".join(f'<a href="/{name}">{name}</a>' for name in names).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(links)))
            self.end_headers()
            if body:
                self.wfile.write(links)

    return Handler


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
    with on_loopback(_handler(web)) as web.port:
        yield web
