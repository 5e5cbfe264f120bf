"""Beam's local runner, in a process of its own that lasts as long as the job.

Beam holds 120 MB and a dozen threads, which the rest of ingest does without. And an image that ends
the process (memory ran out, a decoder crashed) leaves an error with a cause, and what was done.
"""

from __future__ import annotations

import dataclasses
import importlib
import threading
from collections.abc import Callable

from slimworks.components import beam_options
from slimworks.components.beam_options import RunnerFlags
from slimworks.components.errors import SlimWorksError
from slimworks.components.ingest.engine.attempts import Counts
from slimworks.components.ingest.engine.processes import spare_modules, sparing_garbage
from slimworks.components.ingest.engine.workers import Workers

_BEAM_JOB = "slimworks.components.ingest.engine.beam_job"


class RunnerError(Exception):
    """The runner failed."""


@dataclasses.dataclass(frozen=True)
class LocalJob:
    """One job of the local runner, for another process."""

    label: str
    function: Callable[[str], Counts]
    items: tuple[str, ...]
    flags: RunnerFlags

    def run_apart(self) -> None:
        """Runs the job in a process of its own.

        Raises:
            SlimWorksError: A flag does not fit, or processes died again and again.
            RunnerError: The runner failed.
        """
        with Workers(self, 1) as workers:
            workers.submit(self.label)
            errors = [error for error in workers.results() if error is not None]
        for error in (*errors, workers.error):
            if error is not None:
                raise error

    def __call__(self, _: str) -> Exception | None:
        """Runs the job in this process; returns what it raised."""
        spare_modules()
        try:
            if self.flags.running_mode == beam_options.MULTI_PROCESSING:
                return self._run_in_processes()
            from slimworks.components.ingest.engine.beam_job import run_job

            with sparing_garbage():
                run_job(self.label, self.function, self.items, self.flags.beam_flags())
        except SlimWorksError as error:
            return error
        except Exception as error:
            return RunnerError(str(error) or type(error).__name__)  # others may not be picklable
        return None

    def _run_in_processes(self) -> Exception | None:
        with Workers(self.function, min(self.flags.num_workers, len(self.items))) as workers:
            # They work while Beam is imported; what is done by then, Beam finds done.
            beam = threading.Thread(target=importlib.import_module, args=(_BEAM_JOB,), daemon=True)
            beam.start()
            workers.run(self.items, beam.is_alive)
            beam.join()
            from slimworks.components.ingest.engine.beam_job import run_job_in_processes

            run_job_in_processes(self.label, workers, self.items, self.flags)
        return workers.error
