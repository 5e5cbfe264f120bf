"""Files that earlier versions wrote are read; those of a later one are refused with the way out.

`tests/samples/<version>/` holds what that version wrote (`take.py` adds one), `earlier/` what the
formats before the first release looked like.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

import slimworks
from slimworks.components import contracts, files, formats
from slimworks.components.errors import ConfigError, DataError, SlimWorksError
from slimworks.components.evaluator import predictions_file
from slimworks.components.ingest.catalogue import CATALOGUE_FILE, open_catalogue
from slimworks.components.labels.label_map import LABEL_MAP_FILE, LabelMap
from slimworks.components.pusher import labels, ledger, server_files
from slimworks.components.pusher.destination import open_destination
from slimworks.components.pusher.manifest import Manifest
from slimworks.pipeline.api import Run
from slimworks.pipeline.config import load_config, to_yaml
from slimworks.pipeline.paths import PipelinePaths

SAMPLES = Path(__file__).parent / "samples"
VERSIONS = sorted(path for path in SAMPLES.iterdir() if (path / "slimworks.json").is_file())


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def sample(request: pytest.FixtureRequest) -> Path:
    """The folder of one version's files."""
    return Path(request.param)


def _base_path(ledger_file: Path, folder: Path) -> Path:
    target = ledger.ledger_file(folder)
    target.parent.mkdir()
    shutil.copyfile(ledger_file, target)
    return folder


def test_this_version_has_samples_of_every_format() -> None:
    written = {path.name for path in (SAMPLES / slimworks.__version__).iterdir()}

    # A shadow's file is only written; nothing reads it again.
    assert set(formats.NEWEST) - {contracts.SHADOW_FILE} <= written


def test_a_run_root_is_read(sample: Path, tmp_path: Path) -> None:
    paths = PipelinePaths(tmp_path, "tiny")
    paths.home.mkdir()
    shutil.copyfile(sample / "slimworks.json", paths.home / "slimworks.json")

    paths.check_format()

    run = Run.from_record(tmp_path, formats.read(sample / "run.json"))
    assert run.exit_code == 0
    assert run.verdict == "pass"
    assert [step.name for step in run.steps][-1] == "pusher"


def test_a_configuration_is_read_and_says_the_same(sample: Path, tmp_path: Path) -> None:
    config = load_config(str(sample / "config.yaml"))
    (tmp_path / "again.yaml").write_text(to_yaml(config), encoding="utf-8")

    assert config.model.net == "lenet"
    assert load_config(str(tmp_path / "again.yaml")) == config


def test_documents_are_read(sample: Path) -> None:
    found = {name: formats.read(sample / name) for name in formats.NEWEST
             if (sample / name).is_file()}  # fmt: skip

    assert found[contracts.DECISION_FILE]["blessed"] is True
    assert found[contracts.EVALUATION_METRICS_FILE]["accuracy"] == 1.0
    assert found[contracts.MANIFEST_FILE]["result"]
    assert found[contracts.REPLAY_FILE]["format"] <= 2
    assert contracts.read_class_names(sample) == ("left", "middle", "right")
    assert contracts.read_label_map_version(sample) == 1


def test_a_label_map_is_read(sample: Path) -> None:
    found = LabelMap.read(sample)

    assert found.class_names == ("left", "middle", "right")
    assert found.version == 1


def test_predictions_are_read(sample: Path) -> None:
    path = sample / contracts.PREDICTIONS_FILE
    facts = predictions_file.read_facts(path)
    columns = predictions_file.read_columns(path)

    assert facts is not None
    assert len(columns["class_index"]) == 18


def test_a_catalogue_is_read(sample: Path, tmp_path: Path) -> None:
    shutil.copyfile(sample / CATALOGUE_FILE, tmp_path / CATALOGUE_FILE)

    with open_catalogue(tmp_path) as catalogue:
        assert catalogue.count("SELECT COUNT(*) FROM images") == 120
        assert catalogue.count("SELECT COUNT(*) FROM facts") == 120


def test_a_base_path_is_read(sample: Path, tmp_path: Path) -> None:
    entries = ledger.history(_base_path(sample / "ledger.jsonl", tmp_path))
    manifest = Manifest.from_json(files.read_json(sample / "version_manifest.json"))

    assert [entry.event for entry in entries if entry.event in ledger.MAKING] == ["pushed"]
    assert manifest.digest == entries[0].digest
    assert labels.labels_of(entries) == files.read_json(sample / "labels.json")["labels"]


def test_a_ledger_of_format_1_is_read_and_goes_on(tmp_path: Path) -> None:
    base_path = _base_path(SAMPLES / "earlier" / "ledger.jsonl", tmp_path)
    entry = ledger.Entry("promoted", 3, 1767225900.0, label="stable")

    ledger.append(base_path, [entry])

    entries = ledger.history(base_path)
    assert [one.version for one in entries] == [1, 2, 3, 3]
    assert (entries[2].from_version, entries[2].to_version) == (2, 1)
    assert labels.labels_of(entries) == {"stable": 3}


def test_a_label_map_of_format_1_is_read() -> None:
    found = LabelMap.read(SAMPLES / "earlier")

    assert found.class_names == ("cats", "dogs")
    assert found.version == 1


# --- later ones are refused ------------------------------------------------------------------


@pytest.mark.parametrize("name", formats.NEWEST)
def test_a_document_of_a_later_format_is_refused(name: str, tmp_path: Path) -> None:
    files.write_json(tmp_path / name, {"format": formats.NEWEST[name] + 1})

    with pytest.raises(DataError, match=rf"{name} has format \d, this SlimWorks reads up to") as e:
        formats.read(tmp_path / name)

    assert e.value.fix.startswith("Upgrade SlimWorks: docs/upgrading.md.")


@pytest.mark.parametrize("content", ['{"format": "two"}', "[]", "{", "[" * 10_000])
def test_a_damaged_document_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / contracts.DECISION_FILE
    path.write_text(content, encoding="utf-8")

    with pytest.raises(DataError, match=r"decision\.json is damaged: ") as error:
        formats.read(path)

    assert error.value.fix.startswith("Restore it from a backup, or make it anew")


def _root(folder: Path) -> None:
    files.write_json(folder / "tiny" / "slimworks.json", {"format": 2, "slimworks": "9.0"})
    PipelinePaths(folder, "tiny").check_format()


def _damaged_root(folder: Path) -> None:
    files.write_text(folder / "tiny" / "slimworks.json", "{")
    PipelinePaths(folder, "tiny").check_format()


def _configuration(folder: Path) -> None:
    files.write_text(folder / "c.yaml", "format: 2\nnew_section: {}\ndata: {source: photos}\n")
    load_config(str(folder / "c.yaml"))


def _label_map(folder: Path) -> None:
    files.write_json(folder / LABEL_MAP_FILE, {"format": 3, "names": {}})
    LabelMap.read(folder)


def _ledger(folder: Path) -> None:
    files.write_text(ledger.ledger_file(folder), json.dumps({"format": 3}) + "\n")
    ledger.history(folder)


def _labels(folder: Path) -> None:
    ledger.append(folder, [ledger.Entry("pushed", 1, 1.0, label="stable")])
    state = ledger.state_folder(folder)
    files.write_json(state / labels.LABELS_FILE, {"format": 2, "labels": {}})
    server_files.write(open_destination(str(folder)))


def _catalogue(folder: Path) -> None:
    shutil.copyfile(VERSIONS[-1] / CATALOGUE_FILE, folder / CATALOGUE_FILE)
    connection = sqlite3.connect(folder / CATALOGUE_FILE, isolation_level=None)
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    connection.close()
    with open_catalogue(folder):
        pass


def _predictions(folder: Path) -> None:
    table = parquet.read_table(VERSIONS[-1] / contracts.PREDICTIONS_FILE)
    metadata = {predictions_file.METADATA_KEY: json.dumps({"format": 3, "new": 1})}
    parquet.write_table(table.replace_schema_metadata(metadata), folder / "p.parquet")
    predictions_file.read_facts(folder / "p.parquet")


@pytest.mark.parametrize(
    ("read", "kind", "words"),
    [
        (_root, ConfigError, "run root format 2"),
        (_configuration, ConfigError, "The configuration has format 2, this SlimWorks reads up to"),
        (_label_map, DataError, "has format 3, this SlimWorks reads 2"),
        (_ledger, ConfigError, "has format 3 in line 1, this SlimWorks reads 2"),
        (_labels, DataError, "has format 2, this SlimWorks reads up to 1"),
        (_catalogue, ConfigError, "has format 99, this SlimWorks reads 1"),
        (_predictions, DataError, "has format 3, this SlimWorks reads up to 2"),
    ],
)
def test_what_a_later_version_wrote_is_refused_with_the_way_out(
    read: Callable[[Path], None], kind: type[SlimWorksError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words) as error:
        read(tmp_path)

    assert error.value.fix.startswith("Upgrade SlimWorks")


def test_a_damaged_run_root_says_how_to_mend_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"slimworks\.json is damaged: ") as error:
        _damaged_root(tmp_path)

    assert error.value.fix.startswith("Restore it from a backup")
