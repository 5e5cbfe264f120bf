"""A real S3 server (versitygw) over a folder, which can be killed and started again."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ports import free_port

ACCESS_KEY, SECRET_KEY, REGION = "test-key", "test-secret", "us-east-1"
_START_SECONDS = 20


def server_binary() -> Path:
    root = Path(__file__).parents[1]
    folder = Path(os.environ.get("SLIMWORKS_ENGINES", root / ".engines"))
    found = sorted(folder.glob("versitygw-*"))
    if not found:
        pytest.skip(f"no S3 server in {folder}: make engines")
    return found[-1]


class S3Server:
    """Serves each folder of `root` as a bucket. What is written there directly is served too."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.root = folder / "buckets"
        self.root.mkdir(parents=True)
        (folder / "attributes").mkdir()
        (folder / "users").mkdir()
        self._folder = folder
        self._certificate = certificate  # with its key in the same file
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://127.0.0.1:{self._port}"

    def options(self, access: str = ACCESS_KEY, secret: str = SECRET_KEY) -> list[str]:
        """Beam options that reach it."""
        return [
            f"--s3_endpoint_url={self.url}",
            f"--s3_access_key_id={access}",
            f"--s3_secret_access_key={secret}",
            f"--s3_region_name={REGION}",
        ]

    def environment(self) -> dict[str, str]:
        """Variables by which boto3 reaches it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> None:
        command = [
            str(server_binary()), "--port", f"127.0.0.1:{self._port}", "--access", ACCESS_KEY,
            "--secret", SECRET_KEY, "--region", REGION, "--quiet", "--keep-alive",
            "--iam-dir", str(self._folder / "users"),
            "posix", "--sidecar", str(self._folder / "attributes"), str(self.root),
        ]  # fmt: skip
        if self._certificate:
            command[1:1] = ["--cert", str(self._certificate), "--key", str(self._certificate)]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "the S3 server does not start"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=0.05):
                return True
        except OSError:
            time.sleep(0.02)
            return False

    def kill(self) -> None:
        """As a crash does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self, access: str = ACCESS_KEY, secret: str = SECRET_KEY):  # type: ignore[no-untyped-def]
        """A boto3 client, for what a test has to arrange."""
        import boto3

        return boto3.session.Session().client(
            "s3", endpoint_url=self.url, region_name=REGION,
            aws_access_key_id=access, aws_secret_access_key=secret,
        )  # fmt: skip
