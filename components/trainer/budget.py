"""A training that ends in time: how many steps fit, from what a step was measured to take."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from slimworks.components import files

DEADLINE_FILE = "deadline.json"
# What follows a training's steps, where no earlier run tells: exporting, loading the model in
# three processes, writing the report.
DEFAULT_RESERVE_SECONDS, MAX_RESERVE_SHARE = 30.0, 0.4
# Of the rest: steps are measured for seconds, and planned for minutes or hours.
MARGIN = 0.03
# The first steps are traced, and find empty caches.
WARM_UP_STEPS, MEASURED_STEPS = 2, 8
# Of the time that is left: what a phase may take that others follow.
EARLY_PHASE_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class Deadline:
    """When the whole run must be over, and what of the time is not the training's.

    Attributes:
        started: Seconds since the epoch.
        budget: Seconds from there.
        reserve: Seconds for what follows the trainer, from earlier runs; None: there are none.
    """

    started: float
    budget: float
    reserve: float | None = None

    def at_training(self) -> Deadline:
        """The deadline with a reserve; call it when the training begins.

        Without earlier runs what the steps before the training took tells how fast the machine is.
        """
        if self.reserve is not None:
            return self
        reserve = max(DEFAULT_RESERVE_SECONDS, time.time() - self.started)
        return dataclasses.replace(self, reserve=min(reserve, MAX_RESERVE_SHARE * self.budget))

    def seconds_left(self, evaluation_seconds: float) -> float:
        """Seconds that are left for the training's steps; negative where there are none.

        Args:
            evaluation_seconds: Of one pass over the eval split. Behind the last step the trainer
                looks at some images in both modes; the evaluator at the test split, with two
                models.
        """
        reserve = (self.reserve or 0.0) + 4 * evaluation_seconds
        return self.started + self.budget - reserve - time.time()

    def write(self, folder: Path) -> None:
        """Leaves it for the trainer of this run, in the work folder of the pipeline."""
        files.write_json(folder / DEADLINE_FILE, dataclasses.asdict(self))


def deadline_of(folder: str | Path, budget_seconds: float | None) -> Deadline | None:
    """The deadline that a run left in its work folder, or one for a training on its own.

    Args:
        folder: Work folder of the pipeline.
        budget_seconds: As `train.budget_seconds`; None: there is no deadline.
    """
    if budget_seconds is None:
        return None
    path = Path(folder) / DEADLINE_FILE
    found = Deadline(**files.read_json(path)) if path.is_file() else None
    return (found or Deadline(time.time(), budget_seconds)).at_training()


class Pace:
    """Keeps one phase of a training to the deadline.

    Args:
        deadline: Of the run.
        steps_per_epoch: Steps between two evaluations.
        is_last_phase: Whether no other phase follows.
        clock: Seconds from any start, as `time.monotonic`.
    """

    def __init__(
        self,
        deadline: Deadline,
        steps_per_epoch: int,
        *,
        is_last_phase: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deadline = deadline
        self._steps_per_epoch = steps_per_epoch
        self._share = 1.0 if is_last_phase else EARLY_PHASE_SHARE
        self._clock = clock
        self._num_steps = 0
        self._started = math.nan
        self._paused = 0.0
        self._evaluation_seconds = 0.0

    def count_step(self) -> bool:
        """Counts a step that is done; whether enough are measured now, for the first time."""
        self._num_steps += 1
        if self._num_steps == WARM_UP_STEPS:
            self._started, self._paused = self._clock(), 0.0
        return self._num_steps == WARM_UP_STEPS + MEASURED_STEPS

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """An evaluation goes on within: its time is not the steps'."""
        start = self._clock()
        yield
        self._evaluation_seconds = self._clock() - start
        self._paused += self._evaluation_seconds

    @property
    def is_measured(self) -> bool:
        """Whether enough steps are done to tell how long one takes."""
        return self._num_steps >= WARM_UP_STEPS + MEASURED_STEPS

    def affordable_steps(self) -> int:
        """Further steps of this phase that the time allows; call it when it is measured."""
        seconds = self._clock() - self._started - self._paused
        speed = Speed(seconds / (self._num_steps - WARM_UP_STEPS), self._evaluation_seconds)
        left = self._deadline.seconds_left(self._evaluation_seconds) * self._share
        return speed.affordable_steps(left, self._steps_per_epoch)

    @property
    def is_over(self) -> bool:
        """Whether there is time for no further step."""
        evaluation = self._evaluation_seconds
        return self._deadline.seconds_left(evaluation) <= evaluation


@dataclasses.dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        step_seconds: Of one step.
        evaluation_seconds: Of one pass over the eval split.
    """

    step_seconds: float
    evaluation_seconds: float

    def affordable_steps(self, seconds: float, steps_per_epoch: int) -> int:
        """Steps that fit into so many seconds with an evaluation after each epoch; at least one.

        A training always ends with an evaluated model, be it late.
        """
        left = seconds * (1 - MARGIN) - self.evaluation_seconds  # the last epoch may be a part
        per_step = self.step_seconds + self.evaluation_seconds / steps_per_epoch
        return max(1, int(left / per_step))
