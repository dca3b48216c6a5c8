"""A hub of models on the loopback, as Hugging Face's answers its client: revisions, files, large files and commits."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from functools import partial
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from helpers.web import on_loopback

FIRST = ("f" * 40, {})  # what a repository is made with: a commit without files of its owner
LARGE = (".safetensors", ".bin", ".pth")  # what is kept apart by its SHA-256


class Hub:
    """repos: by USER/NAME its commits, the newest last, (commit, {name: bytes}). closed: those that want `token`.

    faults: how many of the next questions are answered with 503. asked: (method, path) of all.
    """

    def __init__(self):
        self.repos, self.closed, self.token, self.faults, self.asked, self.stored = {}, set(), "hf_right", 0, [], {}

    def push(self, repo, files):
        """Another commit; its 40 digits."""
        commits = self.repos.setdefault(repo, [])
        held = {**(commits[-1][1] if commits else {}), **files}
        told = repr((repo, len(commits), sorted((name, hashlib.sha1(data).digest()) for name, data in held.items())))
        commits.append((hashlib.sha1(told.encode()).hexdigest(), held))
        return commits[-1][0]

    def files(self, repo):
        return self.repos[repo][-1][1]

    def find(self, repo, revision):
        commits = self.repos[repo]
        if revision in ("main", ""):
            return commits[-1] if commits else FIRST
        return next((one for one in commits if one[0] == revision), None)


class _Answers(BaseHTTPRequestHandler):
    """What a hub answers: one method for each line of ROUTES, with the body and what the line's pattern has found."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a client waits 40 ms for a body after its headers

    def __init__(self, hub, *connection):
        self.hub = hub
        super().__init__(*connection)

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status, code, message):
        self.send(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def route(self):
        data, path = self.body(), unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        if self.hub.faults > 0:
            self.hub.faults -= 1
            return self.send(503)
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, data, *found.groups())
        return self.send(404)

    do_GET = do_HEAD = do_POST = do_PUT = route

    def may(self, repo=None):
        """Whether the one who asks may do so, of a repository or of an account; else it is refused."""
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {self.hub.token}"):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif repo is not None and (repo not in self.hub.repos or (repo in self.hub.closed and given is None)):
            self.refuse(404 if given else 401, "RepoNotFound", "Repository not found")
        elif repo is None and given is None:
            self.refuse(401, "", "Invalid username or password.")
        else:
            return True
        return False

    def at(self, repo, revision):
        """The commit that is asked for, or None once it is refused."""
        if not self.may(repo):
            return None
        if (found := self.hub.find(repo, revision or "main")) is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def about(self, _, repo, revision):
        if found := self.at(repo, revision):
            files = [_file(name, data) for name, data in sorted(found[1].items())]
            self.send(200, {"id": repo, "modelId": repo, "sha": found[0], "siblings": files, "tags": []})

    def file(self, _, repo, revision, name):
        if not (found := self.at(repo, revision)):
            return
        if name not in found[1]:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        data = found[1][name]
        begin = int((re.match(r"bytes=(\d+)-", self.headers.get("Range") or "") or [0, 0])[1])
        large = {"X_Linked_Etag": f'"{_sha256(data)}"', "X_Linked_Size": str(len(data))}
        mark = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', **(large if name.endswith(LARGE) else {})}
        length = str(len(data) - begin)
        self.send(200, data[begin:], X_Repo_Commit=found[0], Content_Length=length, **mark)

    def create(self, data):
        if self.may():
            told = json.loads(data)
            repo = "/".join(filter(None, (told.get("organization"), told["name"])))
            status = 409 if repo in self.hub.repos else 200
            self.hub.repos.setdefault(repo, [])
            self.hub.closed |= {repo} if told.get("private") or told.get("visibility") == "private" else set()
            self.send(status, {"url": f"http://{self.headers['Host']}/{repo}", "id": "0", "name": repo})

    def who(self, _):
        if self.may():
            self.send(200, {"type": "user", "name": "me", "auth": {"accessToken": {"role": "write"}}})

    def yaml(self, data):
        self.send(200, {"errors": [], "warnings": []})

    def modes(self, data, repo, _):
        if self.may(repo):
            named = [one["path"] for one in json.loads(data)["files"]]
            mode = {name: "lfs" if name.endswith(LARGE) else "regular" for name in named}
            self.send(200, {"files": [{"path": one, "uploadMode": mode[one], "shouldIgnore": False} for one in named]})

    def batch(self, data, repo):
        if self.may(repo):
            host, objects = self.headers["Host"], json.loads(data)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"http://{host}/lfs/{one['oid']}", "header": {}}}
            self.send(200, {"transfer": "basic", "objects": objects})

    def keep(self, data, oid):
        self.hub.stored[oid] = data
        self.send(200 if _sha256(data) == oid else 422)

    def commit(self, data, repo, _):
        if not self.may(repo):
            return
        files = {}
        for line in map(json.loads, data.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        commit = self.hub.push(repo, files)
        url = f"http://{self.headers['Host']}/{repo}/commit/{commit}"
        self.send(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})


REPO = r"([^/]+/[^/]+)"
ROUTES = (
    (rf"GET /api/models/{REPO}(?:/revision/(.+))?", _Answers.about),
    (rf"(?:GET|HEAD) /{REPO}/resolve/([^/]+)/(.+)", _Answers.file),
    (r"GET /api/whoami-v2", _Answers.who),
    (r"POST /api/repos/create", _Answers.create),
    (r"POST /api/validate-yaml", _Answers.yaml),
    (rf"POST /api/models/{REPO}/preupload/(.+)", _Answers.modes),
    (rf"POST /{REPO}\.git/info/lfs/objects/batch", _Answers.batch),
    (r"PUT /lfs/(\w+)", _Answers.keep),
    (rf"POST /api/models/{REPO}/commit/(.+)", _Answers.commit),
)


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _file(name, data):
    told = {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
    large = {"sha256": _sha256(data), "size": len(data), "pointerSize": 134}
    return {**told, **({"lfs": large} if name.endswith(LARGE) else {})}


@contextlib.contextmanager
def serving():
    """A running hub."""
    hub = Hub()
    with on_loopback(partial(_Answers, hub)) as port:
        hub.url = f"http://127.0.0.1:{port}"
        yield hub


def environment(hub, cache, token=""):
    """What a process sets to talk to `hub`, and to keep its files in `cache`."""
    kept = {"HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub"), "HF_HUB_DISABLE_XET": "1"}
    return {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "no_proxy": "*", **kept}


def forget_connections():
    """Let the client read its settings anew for the next question."""
    client = __import__("huggingface_hub.utils._http").utils._http
    client.close_session() if hasattr(client, "close_session") else client.reset_sessions()


def talk_to(hub, cache, monkeypatch, token=""):
    """Let the client that this process has loaded do the same; it reads its environment once."""
    constants = __import__("huggingface_hub.constants").constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value, raising=False)  # of xet, older clients know nothing
    download = __import__("huggingface_hub.file_download").file_download  # older clients have a copy there
    monkeypatch.setattr(download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    for name, value in environment(hub, cache, token).items():
        monkeypatch.setenv(name, value)
    forget_connections()  # those of older clients stay as the settings were when they were made
