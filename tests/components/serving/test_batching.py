"""Which requests share a run, with a graph that only counts."""

from __future__ import annotations

import concurrent.futures
import threading

import numpy as np
import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.serving.batching import Batcher, Parameters, read_parameters
from slimworks.components.serving.request_errors import Code, RequestError


class Graph:
    """Doubles `x`; refuses a batch with a negative number; can be held."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.may_run = threading.Event()
        self.may_run.set()

    def __call__(self, feeds, fetches):
        self.sizes.append(len(feeds["x"]))
        assert self.may_run.wait(20)
        if (feeds["x"] < 0).any():
            raise RequestError(Code.INVALID_ARGUMENT, "negative")
        return [feeds["x"] * 2 for _ in fetches]


def batcher(**parameters):
    parameters = {"timeout_seconds": 20.0, **parameters}
    return Batcher(Parameters(**parameters), threading.Semaphore(1))


def asked(runner, graph, *requests):
    """Answers of requests that are made at once."""
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        futures = [
            pool.submit(runner.run, {"x": np.asarray(values)}, ["y"], graph) for values in requests
        ]
        return [future.exception() or future.result()[0].tolist() for future in futures]


def test_a_full_batch_runs_at_once_and_each_gets_its_own():
    graph = Graph()
    assert asked(batcher(max_batch_size=4), graph, [1], [2, 3], [4]) == [[2], [4, 6], [8]]
    assert graph.sizes == [4]


def test_a_lone_request_runs_after_its_time():
    graph = Graph()
    assert asked(batcher(max_batch_size=4, timeout_seconds=0.0), graph, [1, 2]) == [[2, 4]]
    assert graph.sizes == [2]


def test_other_shapes_do_not_share_a_run():
    graph = Graph()
    answers = asked(batcher(max_batch_size=1), graph, [[1.0]], [[1.0, 2.0]])
    assert answers == [[[2.0]], [[2.0, 4.0]]]
    assert graph.sizes == [1, 1]


def test_runs_are_padded_to_an_allowed_size():
    graph = Graph()
    runner = batcher(max_batch_size=8, timeout_seconds=0.0, allowed_batch_sizes=(2, 8))
    assert asked(runner, graph, [1, 2, 3]) == [[2, 4, 6]]
    assert graph.sizes == [8]


def test_one_bad_request_does_not_cost_the_others_their_answers():
    graph = Graph()
    good, bad, other = asked(batcher(max_batch_size=3), graph, [1], [-1], [3])
    assert (good, other) == ([2], [6])
    assert isinstance(bad, RequestError)
    assert bad.message == "negative"
    assert graph.sizes == [3, 1, 1, 1]


def test_too_large_a_request_is_refused_or_split():
    graph = Graph()
    (error,) = asked(batcher(max_batch_size=2), graph, [1, 2, 3])
    assert error.message == "Task size 3 is larger than maximum input batch size 2"
    runner = batcher(max_batch_size=2, timeout_seconds=0.0, splits_large=True)
    assert asked(runner, graph, [1, 2, 3]) == [[2, 4, 6]]
    assert graph.sizes == [2, 1]


def test_a_full_queue_is_unavailable():
    graph = Graph()
    graph.may_run.clear()
    runner = batcher(max_batch_size=1, max_enqueued_batches=1)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        ask = lambda: runner.run({"x": np.array([1])}, ["y"], graph)  # noqa: E731
        running = pool.submit(ask)
        while not graph.sizes:
            assert not running.done()
        queued = pool.submit(ask)
        errors = []
        while not errors:  # until the second one waits, a third may become the second
            third = pool.submit(ask)
            done, _ = concurrent.futures.wait([third], timeout=0.2)
            errors = [future.exception() for future in done]
        graph.may_run.set()
        assert running.result()[0].tolist() == [2]
        assert queued.exception() is None or queued.exception().code == Code.UNAVAILABLE
    assert errors[0].code == Code.UNAVAILABLE
    assert "queue to which this task was submitted is full" in errors[0].message


def test_a_request_that_nobody_waits_for_is_not_run():
    graph, runner = Graph(), batcher(max_batch_size=1)
    graph.may_run.clear()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = pool.submit(runner.run, {"x": np.array([1])}, ["y"], graph)
        while not graph.sizes:
            assert not running.done()
        late = pool.submit(runner.run, {"x": np.array([2])}, ["y"], graph, 0.01)
        while not runner._num_waiting:
            assert not late.done()
        threading.Event().wait(0.05)  # its time passes in the queue
        graph.may_run.set()
        assert running.result()[0].tolist() == [2]
        error = late.exception()
    assert isinstance(error, RequestError)
    assert (error.code, graph.sizes) == (Code.DEADLINE_EXCEEDED, [1])
    assert error.message == "Run() timeout exceeded while waiting in batching queue"


def test_who_joins_a_batch_waits_no_longer_than_its_own_time():
    graph = Graph()
    runner = batcher(max_batch_size=3, timeout_seconds=5.0)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        leader = pool.submit(runner.run, {"x": np.array([1])}, ["y"], graph)
        while not runner._open:
            assert not leader.done()
        joined = pool.submit(runner.run, {"x": np.array([2])}, ["y"], graph, 0.01)
        assert joined.exception().code == Code.DEADLINE_EXCEEDED
        third = pool.submit(runner.run, {"x": np.array([3])}, ["y"], graph)
        assert leader.result()[0].tolist() == [2]
        assert third.result()[0].tolist() == [6]
    assert graph.sizes == [2], "the one that left is not in the run"


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"x": np.float32(1)}, "must have at least one dimension"),
        ({"x": np.zeros(2), "z": np.zeros(3)}, "must have equal 0th-dimension size"),
    ],
)
def test_inputs_need_a_batch_in_common(feeds, message):
    with pytest.raises(RequestError, match=message):
        batcher().run(feeds, ["y"], Graph())


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.float32(1), "has 0 dimensions"), (np.zeros(3), "0th dimension does not equal")],
)
def test_outputs_need_the_batch(value, message):
    runner = batcher(timeout_seconds=0.0)
    with pytest.raises(RequestError, match=message):
        runner.run({"x": np.zeros(2)}, ["y"], lambda feeds, fetches: [value])


def test_parameters_are_read_from_tensorflow_servings_file(tmp_path):
    path = tmp_path / "batching.txt"
    path.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } "
        "max_enqueued_batches { value: 4 } num_batch_threads { value: 2 } "
        "allowed_batch_sizes: 4 allowed_batch_sizes: 8 "
        "enable_large_batch_splitting { value: true }"
    )
    assert read_parameters(str(path)) == Parameters(8, 0.002, 4, 2, (4, 8), True)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 4]", "do not increase"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]", "the last of"),
        ("max_batch { value: 8 }", "Error parsing text-format tensorflow.serving.BatchingParam"),
    ],
)
def test_wrong_parameters_are_named(tmp_path, text, cause):
    path = tmp_path / "batching.txt"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_parameters(str(path))
    assert cause in caught.value.cause
    assert caught.value.fix
