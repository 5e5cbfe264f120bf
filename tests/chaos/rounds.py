"""What happens in a chaos test, drawn from its seed before anything happens."""

from __future__ import annotations

import dataclasses
import random

KILL_GROUP, KILL_RUN, KILL_STEP = "kill the run and its steps", "kill the run", "kill a process"
TERMINATE, INTERRUPT = "SIGTERM", "Ctrl-C"
FILL, PROTECT, CLOCK = "full disk", "read-only folder", "clock only"
_FAULTS = (
    *[KILL_GROUP] * 3, *[KILL_RUN] * 2, *[KILL_STEP] * 3, *[TERMINATE] * 2, *[INTERRUPT] * 2,
    *[FILL] * 3, *[PROTECT] * 3, *[CLOCK] * 2,
)  # fmt: skip

ADD, REMOVE, REPLACE = "photos added", "photos removed", "a photo replaced"
RATE, AGAIN, SAME = "another learning rate", "trained again", "nothing new"
_CHANGES = (*[ADD] * 4, REMOVE, REPLACE, *[RATE] * 7, *[AGAIN] * 2, *[SAME] * 5)

BEFORE = "before the run"
# Where a run writes most, it is struck most; the seconds are what a step takes at most.
_MOMENTS = (
    *[(BEFORE, 0.0)] * 2, *[("ingest", 2.0)] * 3, ("statistics", 2.0), ("transform", 2.0),
    *[("trainer", 6.0)] * 4, ("evaluator", 2.0), ("gate", 0.5), *[("replay", 5.0)] * 3,
    *[("pusher", 0.4)] * 4, *[("pusher", 2.0)] * 2,
)  # fmt: skip

_PROTECTED = (  # below the disk
    "runs/tiny", "runs/tiny/artifacts", "runs/tiny/state", "runs/tiny/work", "serving/tiny",
    "serving/tiny/.slimworks",
)  # fmt: skip
_HOUR = 3600


@dataclasses.dataclass(frozen=True)
class Round:
    """One round: what is new, and what goes wrong when.

    Attributes:
        change: One of the changes above.
        fault: One of the faults above.
        step: The fault comes once this step has begun ...
        delay_seconds: ... and so much later.
        draw: In [0, 1): which of several processes, how much room, which learning rate.
        folder: To write-protect.
        clock_seconds: How far the wall clock is off when the run starts.
        jump_seconds: What is added to that together with the fault.
    """

    change: str
    fault: str
    step: str
    delay_seconds: float
    draw: float
    folder: str
    clock_seconds: int
    jump_seconds: int

    def __str__(self) -> str:
        where = f" ({self.folder})" if self.fault == PROTECT else ""
        return (
            f"{self.change}; {self.fault}{where} at {self.step} + {self.delay_seconds:.2f} s; "
            f"clock {self.clock_seconds / _HOUR:+.1f} h, then {self.jump_seconds / _HOUR:+.1f} h"
        )


def draw_rounds(seed: int, num_rounds: int) -> list[Round]:
    """The rounds of a seed: every fault and every change, in an order and at moments of chance."""
    generator = random.Random(seed)
    faults = _shuffled(_FAULTS, num_rounds, generator)
    changes = _shuffled(_CHANGES, num_rounds, generator)
    rounds = []
    for change, fault in zip(changes, faults, strict=True):
        step, seconds = generator.choice(_MOMENTS)
        if step == BEFORE and fault not in (FILL, PROTECT):
            step, seconds = "ingest", 0.0
        rounds.append(
            Round(
                change=change,
                fault=fault,
                step=step,
                delay_seconds=seconds * generator.random(),
                draw=generator.random(),
                folder=generator.choice(_PROTECTED),
                clock_seconds=_hours(generator),
                jump_seconds=_hours(generator, certain=fault == CLOCK),
            )
        )
    return rounds


def _shuffled(deck: tuple[str, ...], num_rounds: int, generator: random.Random) -> list[str]:
    drawn: list[str] = []
    while len(drawn) < num_rounds:
        drawn += generator.sample(deck, len(deck))
    return drawn[:num_rounds]


def _hours(generator: random.Random, *, certain: bool = False) -> int:
    """Seconds, up to two days back or forth; often none."""
    seconds = generator.randint(-48 * _HOUR, 48 * _HOUR)
    return seconds if certain or generator.random() < 0.4 else 0
