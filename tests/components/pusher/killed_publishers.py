"""Publishers that are killed at a chosen step, as forks of the test: their imports are done."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}


class _Countdown:
    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def at_file_event(base: Path) -> Callable[[_Countdown], None]:
    """Steps: what touches the file system below `base`, and each moment before an fsync."""

    def install(countdown: _Countdown) -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            paths = [os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes, os.PathLike))]
            if event in _EVENTS and any(path.startswith(str(base)) for path in paths):
                countdown.step()

        real_fsync = os.fsync

        def fsync(descriptor: int) -> None:
            countdown.step()
            real_fsync(descriptor)

        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(hook)

    return install


def after_write_request(countdown: _Countdown) -> None:
    """Steps: answers to requests that changed an object store; reads change nothing."""
    from botocore.httpsession import URLLib3Session

    real_send = URLLib3Session.send

    def send(session: Any, request: Any) -> Any:
        answer = real_send(session, request)
        if request.method in ("PUT", "DELETE", "POST"):
            countdown.step()
        return answer

    URLLib3Session.send = send


def survives(step: int, install: Callable[[_Countdown], None], work: Callable[[], Any]) -> bool:
    """Runs `work` in a process that dies at its given step; whether it came to its end."""
    process = os.fork()
    if process == 0:
        try:
            install(_Countdown(step))
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True
