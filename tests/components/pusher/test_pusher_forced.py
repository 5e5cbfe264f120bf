"""A model that somebody pushed past the gate: the ledger knows who, when and why."""

from pathlib import Path

from click.testing import CliRunner
from pusher_samples import write_model

from slimworks.components import contracts, files
from slimworks.components.pusher import ledger
from slimworks.components.pusher.config import PushConfig
from slimworks.components.pusher.promotion import PromotionInputs, promote
from slimworks.pipeline.cli import cli

FORCED = {"by": "ann@lab", "reason": "the new camera needs it"}


def promoted(folder: Path, forced: dict[str, str] | None) -> Path:
    inputs = {name: folder / name for name in ("model", "blessing", "evaluation")}
    inputs["model"].mkdir()
    write_model(folder, "a").rename(inputs["model"] / contracts.SAVED_MODEL_FOLDER)
    decision = {"blessed": True, "verdict": "fail", "reasons": ["below 0.9."], "forced": forced}
    files.write_json(inputs["blessing"] / contracts.DECISION_FILE, decision)
    base = folder / "serving"
    texts = {name: str(path) for name, path in inputs.items()}
    promote(
        PromotionInputs(**texts), str(base), folder / "out", run_id="run-1", config=PushConfig()
    )
    return base


def said(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_ledger_keeps_who_when_and_why(tmp_path: Path) -> None:
    base = promoted(tmp_path, FORCED)
    (entry,) = ledger.history(base)
    assert entry.facts["forced"] == FORCED
    assert entry.facts["verdict"] == "fail"
    assert entry.time > 0


def test_history_and_why_show_it(tmp_path: Path) -> None:
    base = promoted(tmp_path, FORCED)
    line = "forced by ann@lab: the new camera needs it"
    assert said("history", "--base-path", base).splitlines()[1].endswith(line)
    assert said("why", 1, "--base-path", base).splitlines()[1].strip() == line


def test_nothing_is_said_where_nobody_forced(tmp_path: Path) -> None:
    base = promoted(tmp_path, None)
    (entry,) = ledger.history(base)
    assert "forced" not in entry.facts
    assert "forced" not in said("history", "--base-path", base)
