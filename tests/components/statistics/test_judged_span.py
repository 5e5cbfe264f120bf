"""Which span counts as trained on, asked of a real ML Metadata store."""

from __future__ import annotations

from typing import Any

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from slimworks.components.statistics.driver import find_earlier, find_spans
from slimworks.components.statistics.lineage import judged_span
from slimworks.components.statistics.spans import PREVIOUS, TRAINED, Spans


class History:
    """Runs as TFX records them: artifacts attributed to the pipeline and to their run."""

    def __init__(self) -> None:
        config = proto.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = metadata_store.MetadataStore(config)
        self.num_runs = 0
        self.pipeline = self._context("pipeline", "flowers")

    def run(
        self,
        span: int,
        blessed: int | None = None,
        pushed: bool = False,
        live: bool = True,
        state_id: str | None = None,
    ) -> None:
        """One run: statistics, and as far as it got a blessing and a pushed model."""
        self.num_runs += 1
        run = self._context("pipeline_run", f"run-{self.num_runs}")
        known = {} if state_id is None else {"state_id": state_id}
        self._made(run, "ExampleStatistics", newest_span=span, **known)
        if blessed is None:
            return
        blessing = self._made(run, "ModelBlessing", live=live, blessed=blessed)
        if pushed:
            self._made(run, "PushedModel", reads=blessing)

    def _context(self, type_name: str, name: str) -> int:
        type_id = self.store.put_context_type(proto.ContextType(name=type_name))
        (context,) = self.store.put_contexts([proto.Context(type_id=type_id, name=name)])
        return int(context)

    def _made(
        self,
        run: int,
        type_name: str,
        reads: int | None = None,
        live: bool = True,
        **values: int | str,
    ) -> int:
        type_id = self.store.put_artifact_type(proto.ArtifactType(name=type_name))
        state = proto.Artifact.LIVE if live else proto.Artifact.PENDING
        artifact = proto.Artifact(type_id=type_id, state=state, uri=f"/{self.num_runs}/{type_name}")
        for name, value in values.items():
            if isinstance(value, str):
                artifact.custom_properties[name].string_value = value
            else:
                artifact.custom_properties[name].int_value = value
        execution_type = self.store.put_execution_type(proto.ExecutionType(name=f"x{type_name}"))
        pairs: list[Any] = [(artifact, proto.Event(type=proto.Event.OUTPUT))]
        if reads is not None:
            (read,) = self.store.get_artifacts_by_id([reads])
            pairs.append((read, proto.Event(type=proto.Event.INPUT)))
        contexts = self.store.get_contexts_by_id([self.pipeline, run])
        _, artifacts, _ = self.store.put_execution(
            proto.Execution(type_id=execution_type), pairs, contexts
        )
        return int(artifacts[0])


@pytest.fixture
def history() -> History:
    return History()


def test_without_a_run_no_span_was_judged(history: History) -> None:
    assert judged_span(history.store, "flowers", 9) is None
    assert judged_span(history.store, "another pipeline", 9) is None


def test_pushed_model_counts(history: History) -> None:
    history.run(1, blessed=1, pushed=True)
    history.run(2, blessed=1, pushed=True)
    assert judged_span(history.store, "flowers", 9) == 2


def test_refused_model_counts(history: History) -> None:
    history.run(1, blessed=0)
    assert judged_span(history.store, "flowers", 9) == 1


def test_run_that_was_killed_before_the_gate_or_the_push_does_not_count(history: History) -> None:
    history.run(1, blessed=0)
    history.run(2)
    history.run(3, blessed=1, pushed=False)
    history.run(4, blessed=0, live=False)
    assert judged_span(history.store, "flowers", 9) == 1


def test_skipped_spans_do_not_count(history: History) -> None:
    history.run(1, blessed=1, pushed=True)
    history.run(2)
    history.run(3)
    assert judged_span(history.store, "flowers", 9) == 1


def test_spans_of_a_lost_state_are_left_out(history: History) -> None:
    history.run(7, blessed=1, pushed=True)
    assert judged_span(history.store, "flowers", 2) is None


def test_model_of_the_present_data_counts_only_with_triggers(history: History) -> None:
    history.run(1, blessed=1, pushed=True)
    history.run(2, blessed=1, pushed=True)
    summary = {"span": 2}
    assert find_spans(summary, True, history.store, "flowers") == Spans(2, 1, 2)
    assert find_spans(summary, False, history.store, "flowers") == Spans(2, 1, 1)


def test_first_span_has_none_before_it(history: History) -> None:
    assert find_spans({"span": 1}, True, history.store, "flowers") == Spans(1, None, None)


def test_models_of_another_state_say_nothing_about_spans_of_this_one(history: History) -> None:
    history.run(1, blessed=1, pushed=True, state_id="lost")
    history.run(2, blessed=1, pushed=True, state_id="lost")
    history.run(1, blessed=1, pushed=True, state_id="new")
    summary = {"span": 2, "state_id": "new"}
    assert find_spans(summary, True, history.store, "flowers") == Spans(2, 1, 1)
    assert judged_span(history.store, "flowers", 9, "another") is None


def test_models_from_before_states_had_ids_count_only_where_the_data_has_none(
    history: History,
) -> None:
    history.run(1, blessed=1, pushed=True)
    assert find_spans({"span": 1}, True, history.store, "flowers") == Spans(1, None, 1)
    summary = {"span": 1, "state_id": "new"}
    assert find_spans(summary, True, history.store, "flowers") == Spans(1, None, None)


def test_spans_outside_of_the_window_are_found_where_they_were_new(history: History) -> None:
    history.run(1, blessed=1, pushed=True, state_id="lost")
    for span in (1, 2, 2, 3):
        history.run(span, state_id="new")
    summary = {"span": 3, "state_id": "new", "window": 1}
    found = find_earlier(summary, Spans(3, 2, 1), history.store, "flowers")
    assert found == {PREVIOUS: "/3/ExampleStatistics", TRAINED: "/2/ExampleStatistics"}


@pytest.mark.parametrize(
    ("window", "groups"), [(None, set()), (3, set()), (2, {TRAINED}), (1, {PREVIOUS, TRAINED})]
)
def test_only_spans_outside_of_the_window_are_taken_from_earlier_runs(
    history: History, window: int | None, groups: set[str]
) -> None:
    history.run(1)
    history.run(2)
    summary = {"span": 3, "window": window}
    assert set(find_earlier(summary, Spans(3, 2, 1), history.store, "flowers")) == groups


def test_span_that_no_run_had_is_compared_with_nothing(history: History) -> None:
    summary = {"span": 3, "window": 1}
    assert find_earlier(summary, Spans(3, 2, None), history.store, "flowers") == {}
