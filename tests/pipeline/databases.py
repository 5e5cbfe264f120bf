"""Real databases and a real gRPC server for ML Metadata, each in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

from ports import free_port

PASSWORD = "it's a \\ secret"
USER = DATABASE = "slimworks"
WAIT_SECONDS = 120.0


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[int]:
    with open(log, "wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as one:
        try:
            wait_for(port, one, log)
            yield port
        finally:
            one.terminate()


@contextlib.contextmanager
def mysql(folder: Path) -> Iterator[int]:
    """MariaDB, which speaks MySQL's protocol; yields its port."""
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", "--skip-test-db",
         "--auth-root-authentication-method=normal", *user],
        check=True, capture_output=True,
    )  # fmt: skip
    password = PASSWORD.replace("\\", "\\\\").replace("'", "''")
    (folder / "init.sql").write_text(
        f"CREATE DATABASE {DATABASE};\n"
        f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1';\n"
    )
    port = free_port()
    server = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
    command = [server, "--no-defaults", f"--datadir={folder}/data", f"--port={port}",
               "--bind-address=127.0.0.1", f"--socket={folder}/socket", *user,
               f"--init-file={folder}/init.sql"]  # fmt: skip
    with _running(command, port, folder / "log"):
        yield port


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[int]:
    """PostgreSQL; yields its port."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    as_user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        account = pwd.getpwnam("postgres")
        as_user = ["setpriv", "--reuid=postgres", f"--regid={account.pw_gid}", "--clear-groups"]
        os.chown(folder, account.pw_uid, account.pw_gid)
    (folder / "password").write_text(PASSWORD)
    subprocess.run(
        [*as_user, f"{programs}/initdb", "--pgdata", f"{folder}/data", "--username", USER,
         "--auth", "scram-sha-256", "--pwfile", f"{folder}/password"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    command = [*as_user, f"{programs}/postgres", "-D", f"{folder}/data", "-p", str(port),
               "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]  # fmt: skip
    with _running(command, port, folder / "log"):
        _wait_until_ready(programs, port)
        subprocess.run(
            [f"{programs}/createdb", "-h", "127.0.0.1", "-p", str(port), "-U", USER, DATABASE],
            check=True, env={**os.environ, "PGPASSWORD": PASSWORD},
        )  # fmt: skip
        yield port


def _wait_until_ready(programs: Path, port: int) -> None:
    """It takes connections before it answers them."""
    deadline = time.monotonic() + WAIT_SECONDS
    ask = [f"{programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ask).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextlib.contextmanager
def grpc_server(folder: Path) -> Iterator[int]:
    """ML Metadata's own service and store behind gRPC; yields its port.

    The server's binary is in no package: the calls come through the wheel's service definition
    and go to the wheel's store, one at a time.
    """
    import grpc
    from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store
    from ml_metadata.proto import metadata_store_pb2, metadata_store_service_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(folder / "served.sqlite")
    config.sqlite.connection_mode = 3  # READWRITE_OPENCREATE
    options = metadata_store_pb2.MigrationOptions()
    store = metadata_store.CreateMetadataStore(
        config.SerializeToString(), options.SerializeToString()
    )
    service = metadata_store_service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]

    def handler(name: str) -> Any:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            response, message, code = getattr(metadata_store, name)(store, request)
            if code:
                context.abort(next(c for c in grpc.StatusCode if c.value[0] == code), message)
            return bytes(response)

        return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(1))
    handlers = {method.name: handler(method.name) for method in service.methods}
    generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
    server.add_generic_rpc_handlers((generic,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
