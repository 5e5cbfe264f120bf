"""A Kubeflow Pipelines API (v2beta1) on this machine: the paths that are used, nothing else.

Bodies are read and written by kfp-server-api's own models, so that a field that it does not have,
or of another type, is an error here as it is there.
"""

from __future__ import annotations

import dataclasses
import datetime
import email.parser
import email.policy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api

API = "/apis/v2beta1"
STATES = ("PENDING", "RUNNING", "SUCCEEDED")


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclasses.dataclass
class FakeKubeflow:
    """What the server knows, and how it is to misbehave.

    Attributes:
        tokens: Bearer tokens that are good; empty: everybody may.
        failures: (status, message) of the next requests, one each.
        is_silent: It takes requests and answers none.
        page_size: Entries on a page, whatever is asked for.
        requests: (method, path, query, body) of each.
    """

    tokens: set[str] = dataclasses.field(default_factory=set)
    cookies: set[str] = dataclasses.field(default_factory=set)
    namespace: str = ""
    failures: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    is_silent: bool = False
    content_type: str = "application/json"
    page_size: int = 2
    requests: list[tuple[str, str, dict[str, str], Any]] = dataclasses.field(default_factory=list)
    pipelines: list[Any] = dataclasses.field(default_factory=list)
    versions: list[Any] = dataclasses.field(default_factory=list)
    packages: dict[str, str] = dataclasses.field(default_factory=dict)
    experiments: list[Any] = dataclasses.field(default_factory=list)
    runs: list[Any] = dataclasses.field(default_factory=list)
    schedules: list[Any] = dataclasses.field(default_factory=list)
    # Called whenever a run is looked at: it may go on meanwhile.
    on_look: Callable[[Any], None] = lambda run: None
    client: Any = dataclasses.field(default_factory=api.ApiClient)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        for wanted, pattern, handle in _ROUTES:
            found = re.fullmatch(pattern, path.removeprefix(API))
            if wanted == method and found and path.startswith(API):
                return handle(self, query, body, *found.groups())
        raise RefusedError(404, f"{method} {path}")

    def read(self, kind: str, body: Any) -> Any:
        """A body as the model says; an unknown field is refused, as the real server does."""
        known = set(getattr(api, kind).attribute_map.values())
        if not isinstance(body, dict) or set(body) - known:
            raise RefusedError(400, f"unknown fields of {kind}: {sorted(set(body) - known)}")
        response = type("Response", (), {"data": json.dumps(body)})
        return self.client.deserialize(response, kind)

    def check_namespace(self, given: str | None) -> None:
        if self.namespace and given != self.namespace:
            raise RefusedError(403, f"User may not list in namespace {given!r}")

    def page(self, entries: list[Any], key: str, query: dict[str, str]) -> dict[str, Any]:
        start = int(query.get("page_token") or 0)
        end = start + self.page_size
        more = str(end) if end < len(entries) else ""
        listed = entries[start:end]
        return {key: listed, "total_size": len(entries), "next_page_token": more}

    # --- pipelines ---

    def pipeline_by_name(self, query: dict[str, str], _: Any, name: str) -> Any:
        return _one(self.pipelines, "display_name", name)

    def create_pipeline(self, query: dict[str, str], body: Any) -> Any:
        made = self.read("V2beta1Pipeline", body)
        if any(p.display_name == made.display_name for p in self.pipelines):
            raise RefusedError(409, f"The name {made.display_name} already exists")
        made.pipeline_id, made.created_at = str(uuid.uuid4()), _now()
        self.pipelines.append(made)
        return made

    def list_versions(self, query: dict[str, str], _: Any, pipeline_id: str) -> Any:
        found = [v for v in self.versions if v.pipeline_id == pipeline_id]
        return self.page(found, "pipeline_versions", query)

    def upload_version(self, query: dict[str, str], body: Any) -> Any:
        _one(self.pipelines, "pipeline_id", query["pipelineid"])
        made = api.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"],
            pipeline_version_id=str(uuid.uuid4()),
            display_name=query["name"],
            created_at=_now(),
        )
        self.versions.append(made)
        self.packages[made.pipeline_version_id] = body
        return made

    # --- experiments ---

    def list_experiments(self, query: dict[str, str], _: Any) -> Any:
        self.check_namespace(query.get("namespace"))
        return self.page(self.experiments, "experiments", query)

    def create_experiment(self, query: dict[str, str], body: Any) -> Any:
        made = self.read("V2beta1Experiment", body)
        self.check_namespace(made.namespace)
        made.experiment_id, made.created_at = str(uuid.uuid4()), _now()
        self.experiments.append(made)
        return made

    # --- runs ---

    def create_run(self, query: dict[str, str], body: Any) -> Any:
        made = self.read("V2beta1Run", body)
        _one(self.experiments, "experiment_id", made.experiment_id)
        reference = made.pipeline_version_reference
        _one(self.versions, "pipeline_version_id", reference.pipeline_version_id)
        made.run_id, made.created_at, made.state = str(uuid.uuid4()), _now(), "PENDING"
        self.runs.append(made)
        return made

    def get_run(self, query: dict[str, str], _: Any, run_id: str) -> Any:
        found = _one(self.runs, "run_id", run_id)
        self.on_look(found)
        return found

    def list_runs(self, query: dict[str, str], _: Any) -> Any:
        self.check_namespace(query.get("namespace"))
        assert query["sort_by"] == "created_at desc"
        return self.page(self.runs[::-1], "runs", query)

    def terminate_run(self, query: dict[str, str], _: Any, run_id: str) -> Any:
        _one(self.runs, "run_id", run_id).state = "CANCELING"
        return {}

    # --- schedules ---

    def create_schedule(self, query: dict[str, str], body: Any) -> Any:
        made = self.read("V2beta1RecurringRun", body)
        cron = made.trigger.cron_schedule.cron
        if len(cron.split()) not in (5, 6):  # the real one takes five, and means something else
            raise RefusedError(400, f"cron {cron!r}")
        made.recurring_run_id, made.created_at = str(uuid.uuid4()), _now()
        made.status = "ENABLED" if made.mode == "ENABLE" else "DISABLED"
        self.schedules.append(made)
        return made

    def list_schedules(self, query: dict[str, str], _: Any) -> Any:
        self.check_namespace(query.get("namespace"))
        return self.page(self.schedules, "recurringRuns", query)

    def set_schedule(self, query: dict[str, str], _: Any, schedule_id: str, verb: str) -> Any:
        found = _one(self.schedules, "recurring_run_id", schedule_id)
        found.status = {"enable": "ENABLED", "disable": "DISABLED"}[verb]
        return {}

    def delete_schedule(self, query: dict[str, str], _: Any, schedule_id: str) -> Any:
        self.schedules.remove(_one(self.schedules, "recurring_run_id", schedule_id))
        return {}


_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", r"/pipelines/names/([^/]+)", FakeKubeflow.pipeline_by_name),
    ("POST", r"/pipelines", FakeKubeflow.create_pipeline),
    ("GET", r"/pipelines/([^/]+)/versions", FakeKubeflow.list_versions),
    ("POST", r"/pipelines/upload_version", FakeKubeflow.upload_version),
    ("GET", r"/experiments", FakeKubeflow.list_experiments),
    ("POST", r"/experiments", FakeKubeflow.create_experiment),
    ("POST", r"/runs", FakeKubeflow.create_run),
    ("GET", r"/runs", FakeKubeflow.list_runs),
    ("GET", r"/runs/([^/:]+)", FakeKubeflow.get_run),
    ("POST", r"/runs/([^/:]+):terminate", FakeKubeflow.terminate_run),
    ("POST", r"/recurringruns", FakeKubeflow.create_schedule),
    ("GET", r"/recurringruns", FakeKubeflow.list_schedules),
    ("POST", r"/recurringruns/([^/:]+):(enable|disable)", FakeKubeflow.set_schedule),
    ("DELETE", r"/recurringruns/([^/:]+)", FakeKubeflow.delete_schedule),
]


def _one(entries: list[Any], key: str, value: str) -> Any:
    for entry in entries:
        if getattr(entry, key) == value:
            return entry
    raise RefusedError(404, f"{key} {value} not found")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


@contextmanager
def serve(kubeflow: FakeKubeflow) -> Iterator[str]:
    """Serves it; yields its address."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _handle(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = self._body(self.rfile.read(length))
            kubeflow.requests.append((self.command, url.path, query, body))
            if kubeflow.is_silent:
                released.wait()
                return
            try:
                self._check()
                value = kubeflow.answer(self.command, url.path, query, body)
                status, content = 200, kubeflow.client.sanitize_for_serialization(value)
            except RefusedError as refused:
                status, content = refused.status, {"message": refused.message}
            text = json.dumps(content).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/dex/auth")
            self.send_header("Content-Type", kubeflow.content_type)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _body(self, content: bytes) -> Any:
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/"):
                head = f"Content-Type: {kind}\r\n\r\n".encode()
                parser = email.parser.BytesParser(policy=email.policy.default)
                (part,) = parser.parsebytes(head + content).iter_parts()
                return part.get_payload(decode=True).decode()
            return json.loads(content) if content else None

        def _check(self) -> None:
            if kubeflow.failures:
                raise RefusedError(*kubeflow.failures.pop(0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            cookie = self.headers.get("Cookie")
            if kubeflow.cookies and cookie not in kubeflow.cookies:
                raise RefusedError(302)
            if kubeflow.tokens and token not in kubeflow.tokens:
                raise RefusedError(401, "Request not authenticated")

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def task(name: str, state: str, seconds: float = 1.0, error: str = "") -> Any:
    """A step as the API tells it."""
    start = datetime.datetime(2026, 1, 1, 3, 30, tzinfo=datetime.timezone.utc)
    return api.V2beta1PipelineTaskDetail(
        task_id=str(uuid.uuid4()),
        display_name=name,
        state=state,
        start_time=start,
        end_time=start + datetime.timedelta(seconds=seconds),
        error=api.GooglerpcStatus(code=2, message=error) if error else None,
    )


def set_tasks(run: Any, **states: str) -> None:
    """Gives a run its steps, with Kubeflow's own tasks between."""
    tasks = [task(name, state) for name, state in states.items()]
    run.run_details = api.V2beta1RunDetails(task_details=[task("root-driver", "SUCCEEDED"), *tasks])
