"""The executor of compiled pipelines: order, conditions, retries, exit handler, interruption."""

# No `from __future__ import annotations`: kfp reads types, not texts.

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from compiled_pipelines import compiled, shell
from process_backend import ProcessBackend
from refusals import refusal

from slimworks.components.errors import EXIT_DATA, ConfigError
from slimworks.pipeline.containers.execution import Ended, Execution
from slimworks.pipeline.containers.ir import CompiledPipeline, Retry

# Waits for a file, but not for ever.
_UNTIL = "n=0; until test -e {0}; do n=$((n+1)); test $n -lt 200 || exit 9; sleep 0.05; done"


def execute(
    pipeline: CompiledPipeline, folder: Path, **options: Any
) -> tuple[dict[str, Ended], ProcessBackend]:
    backend = ProcessBackend(folder)
    return Execution(pipeline, backend, "run-1", folder / "outputs", **options).run(), backend


def test_each_step_starts_when_what_it_waits_for_is_done(tmp_path: Path) -> None:
    def diamond() -> None:
        first = shell("first", "touch a")()
        left = shell("left", "test -e a && touch b")().after(first)
        right = shell("right", "test -e a && touch c")().after(first)
        shell("last", "test -e b && test -e c")().after(left, right)

    ended, backend = execute(compiled(diamond, tmp_path / "p.yaml"), tmp_path)
    assert {name: one.code for name, one in ended.items()} == {
        "first": 0, "left": 0, "right": 0, "last": 0,
    }  # fmt: skip
    assert backend.steps()[0] == "first"
    assert backend.steps()[-1] == "last"


def test_independent_steps_run_side_by_side_up_to_the_bound(tmp_path: Path) -> None:
    def meeting() -> None:
        for mine, other in (("one", "two"), ("two", "one")):
            shell(mine, f"touch {mine}; {_UNTIL.format(other)}")()

    pipeline = compiled(meeting, tmp_path / "meeting.yaml")
    ended, _ = execute(pipeline, tmp_path, max_parallel=2)
    assert [one.code for one in ended.values()] == [0, 0], "they met"

    def alone() -> None:
        for name in ("one", "two", "three"):
            shell(name, "mkdir room && sleep 0.1 && rmdir room")()

    ended, _ = execute(compiled(alone, tmp_path / "alone.yaml"), tmp_path, max_parallel=1)
    assert [one.code for one in ended.values()] == [0, 0, 0], "never two in the room"


def test_parameters_win_over_defaults_and_reach_the_command_line(tmp_path: Path) -> None:
    from kfp import dsl

    def typed(text: str = "none", number: int = 3, mapping: dict = {"a": [1]}) -> None:  # noqa: B006
        show = shell(
            "show",
            'printf "%s|" "$@" > seen',
            "text",
            "number:Integer",
            "mapping:JsonObject",
            "run",
        )
        show(text=text, number=number, mapping=mapping, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)

    pipeline = compiled(typed, tmp_path / "p.yaml")
    execute(pipeline, tmp_path)
    assert (tmp_path / "seen").read_text() == 'none|3|{"a": [1.0]}|run-1|'
    execute(pipeline, tmp_path, parameters={"text": "it's $HOME {{x}}"})
    assert (tmp_path / "seen").read_text() == 'it\'s $HOME {{x}}|3|{"a": [1.0]}|run-1|'


@pytest.mark.parametrize(("outcome", "ran"), [("blessed", True), ("refused", False)])
def test_a_condition_on_an_output_decides_about_its_steps(
    outcome: str, ran: bool, tmp_path: Path
) -> None:
    from kfp import dsl

    def gated() -> None:
        gate = shell("gate", f'printf {outcome} > "$1"', outputs=("outcome",))()
        with dsl.If(gate.outputs["outcome"] != "refused"):
            shell("push", "touch pushed")()

    ended, _ = execute(compiled(gated, tmp_path / "p.yaml"), tmp_path)
    assert ended["gate"].code == 0
    assert ("push" in ended) == ran == (tmp_path / "pushed").exists()


def test_after_a_failure_nothing_starts_but_the_exit_handler(tmp_path: Path) -> None:
    from kfp import dsl

    def failing() -> None:
        with dsl.ExitHandler(shell("report", "touch reported")()):
            bad = shell("bad", "exit 7")()
            shell("below", "touch below")().after(bad)
            slow = shell("slow", _UNTIL.format("reported"))().after(bad)
            shell("later", "true")().after(slow)

    ended, _ = execute(compiled(failing, tmp_path / "p.yaml"), tmp_path)
    assert {name: one.code for name, one in ended.items()} == {"bad": 7, "report": 0}
    assert (tmp_path / "reported").exists()


def test_a_step_that_fails_at_times_is_tried_again(tmp_path: Path) -> None:
    def flaky() -> None:
        script = "echo x >> tries; test $(wc -l < tries) -ge 3 && printf fine > $1"
        step = shell("flaky", script, outputs=("result",))()
        step.set_retry(num_retries=3, backoff_duration="0s")
        shell("next", 'test "$1" = fine', "given")(given=step.outputs["result"])

    ended, backend = execute(compiled(flaky, tmp_path / "p.yaml"), tmp_path)
    assert (ended["flaky"].code, ended["flaky"].attempts) == (0, 3)
    assert ended["next"].code == 0
    assert [call.attempt for call in backend.calls] == [1, 2, 3, 1]


def test_what_would_end_the_same_is_not_tried_again(tmp_path: Path) -> None:
    def hopeless() -> None:
        shell("data", f"exit {EXIT_DATA}")().set_retry(num_retries=3, backoff_duration="0s")

    ended, _ = execute(compiled(hopeless, tmp_path / "p.yaml"), tmp_path)
    assert (ended["data"].code, ended["data"].attempts) == (EXIT_DATA, 1)


def test_tries_are_limited_and_pauses_grow_up_to_the_longest(tmp_path: Path) -> None:
    def broken() -> None:
        shell("broken", "exit 1")().set_retry(num_retries=2, backoff_duration="0s")

    ended, _ = execute(compiled(broken, tmp_path / "p.yaml"), tmp_path)
    assert (ended["broken"].code, ended["broken"].attempts) == (1, 3)
    assert Retry(4, 30, 2, 100).pauses() == [30, 60, 100, 100]


def test_only_wanted_steps_run(tmp_path: Path) -> None:
    from kfp import dsl

    def three() -> None:
        with dsl.ExitHandler(shell("report", "true")()):
            first = shell("first", "true")()
            second = shell("second", "true")().after(first)
            shell("third", "true")().after(second)

    pipeline = compiled(three, tmp_path / "p.yaml")
    ended, _ = execute(pipeline, tmp_path, wanted={"first", "second", "report"})
    assert list(ended) == ["first", "second", "report"]


def test_an_interruption_ends_what_runs(tmp_path: Path) -> None:
    def long() -> None:
        shell("long", "touch started; exec sleep 600")()
        shell("short", _UNTIL.format("started"))()

    backend = ProcessBackend(tmp_path)

    def interrupt(ended: Ended) -> None:
        raise KeyboardInterrupt

    pipeline = compiled(long, tmp_path / "p.yaml")
    execution = Execution(pipeline, backend, "run-1", tmp_path / "out", on_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        execution.run()
    assert "long" in backend.output, "its process has ended"


def test_an_executor_input_says_where_outputs_go(tmp_path: Path) -> None:
    from kfp import dsl

    @dsl.container_component
    def shown(text: str, page: dsl.Output[dsl.HTML]):  # type: ignore[no-untyped-def]
        return dsl.ContainerSpec(
            image="i", command=["sh", "-c", 'printf "%s" "$0" > input; printf p > "$1"'],
            args=["{{$}}", page.path],
        )  # fmt: skip

    def pipeline() -> None:
        shown(text="t")

    execute(compiled(pipeline, tmp_path / "p.yaml"), tmp_path)
    value = json.loads((tmp_path / "input").read_text())
    folder = tmp_path / "outputs/shown"
    assert value["inputs"] == {"parameterValues": {"text": "t"}}
    (page,) = value["outputs"]["artifacts"]["page"]["artifacts"]
    assert page["uri"] == str(folder / "page")
    assert page["type"]["schemaTitle"] == "system.HTML"
    assert (folder / "page").read_text() == "p"
    assert Path(value["outputs"]["outputFile"]).parent == folder


# --- What only Kubeflow does ------------------------------------------------------------------


def test_a_loop_is_refused(tmp_path: Path) -> None:
    from kfp import dsl

    def looped() -> None:
        with dsl.ParallelFor(["a", "b"]) as one:
            shell("each", "true", "given")(given=one)

    pipeline = compiled(looped, tmp_path / "p.yaml")
    cause, fix = refusal(ConfigError, pipeline.steps)
    assert cause.startswith("The compiled pipeline cannot run in containers on one machine: ")
    assert cause.endswith("has a parameterIterator.")
    assert fix == "Run it on Kubeflow: slimworks submit"


def test_another_condition_is_refused(tmp_path: Path) -> None:
    from kfp import dsl

    def compared(number: int = 3) -> None:
        with dsl.If(number > 2):
            shell("push", "true")()

    pipeline = compiled(compared, tmp_path / "p.yaml")
    cause, _ = refusal(ConfigError, execute, pipeline, tmp_path)
    assert cause.startswith("The condition ")
    assert cause.endswith("compares no parameter with a text: only Kubeflow evaluates it.")


@pytest.mark.parametrize("text", ["", "a: 1", "[1", "- 1"])
def test_a_file_that_is_no_compiled_pipeline_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text)
    cause, fix = refusal(ConfigError, CompiledPipeline.read, path)
    assert cause == f"{path} is no compiled pipeline."
    assert shlex.split(fix.partition(": ")[2])[:2] == ["slimworks", "compile"]
