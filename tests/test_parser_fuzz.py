"""Parsers of what others wrote: whatever the bytes, they read it or raise a SlimWorksError.

Seeded: SLIMWORKS_FUZZ_SEED and SLIMWORKS_FUZZ_COUNT give other and more bytes.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slimworks.components.errors import ConfigError, DataError, SlimWorksError
from slimworks.components.examples import image_formats, tfrecord
from slimworks.components.ingest import images
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.labels import read_labels
from slimworks.components.ingest.sources.manifest import ManifestSource
from slimworks.components.ingest.sources.tfrecord_frames import read_records
from slimworks.components.labels import corrections
from slimworks.components.labels.label_map import LABEL_MAP_FILE, LabelMap
from slimworks.components.pusher import labels, ledger
from slimworks.components.serving.batching import read_parameters
from slimworks.components.serving.model_config import model_configs, read_model_config
from slimworks.components.serving.request_errors import RequestError
from slimworks.pipeline import budget
from slimworks.pipeline.config import load_config
from slimworks.pipeline.containers.ir import CompiledPipeline
from slimworks.pipeline.kubeflow import cron

SEED = int(os.environ.get("SLIMWORKS_FUZZ_SEED", "0"))
COUNT = int(os.environ.get("SLIMWORKS_FUZZ_COUNT", "60"))

# What breaks parsers in general: ends, depth, size, numbers that are none, text that is none.
_NASTY = (
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"'", b"[" * 5_000,
    b"{\"a\":" * 5_000,
    b"NaN", b"-Infinity", b"1e999", b"9" * 5_000, b"\\ud800", b"\xed\xa0\x80", b"null", b"true",
    b"[]", b"{}", b"&a [*a]", b"!!python/object:os.system {}", b"? [a]\n: b", b"2024-99-99",
    b"!!int x",
    b"!!timestamp x", b"!!binary x", b"<<: *x", b"\x1b[2J", "\u2028".encode(), b"0x" + b"f" * 5_000,
    b"-1", b"=cmd()", b"%n", b"../../etc/passwd", b"a" * 140_000, b",", b";", b"\t", b":", b"<<: 1",
)  # fmt: skip

_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


def _labels_map_json() -> bytes:
    found = LabelMap().updated(["a", "b", "c"]).updated([], merges={"c": "a"}, renames={"b": "d"})
    return json.dumps(found.to_json()).encode()


def _records() -> bytes:
    stream = io.BytesIO()
    tfrecord.write_record(stream, b"first")
    tfrecord.write_record(stream, b"second")
    return stream.getvalue()


def _read_label_map(path: Path) -> None:
    path.rename(path.parent / LABEL_MAP_FILE)
    found = LabelMap.read(path.parent)
    for name in found.class_names:
        found.index_of(name)
    _ = found.digest, found.version


def _read_ledger(path: Path) -> None:
    target = ledger.ledger_file(path.parent)
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    for entry in ledger.history(path.parent):
        ledger.line_of(entry)
    labels.labels_of(ledger.history(path.parent))


def _read_manifest(path: Path) -> None:
    config = DataConfig(source=str(path))
    list(ManifestSource(str(path), config).items())


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


PARSERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "labels": ("labels.txt", b"0:cats\n1:dogs\n2:mice\n", lambda path: read_labels(str(path))),
    "label_map": ("map.json", _labels_map_json(), _read_label_map),
    "csv": ("m.csv", b"path,class,split\n1.jpg,cats,train\n2.jpg,\"d,s\",val\n", _read_manifest),
    "tsv": ("m.tsv", b"path\tclass\n1.jpg\tcats\n2.jpg\tdogs\n", _read_manifest),
    "jsonl": ("m.jsonl", b'{"path": "1.jpg", "class": "cats"}\n{"path": "2.jpg", "class": 3}\n',
              _read_manifest),
    "parquet": ("m.parquet", b"PAR1\x15\x04\x15\x00PAR1", _read_manifest),
    "corrections": ("c.csv", b"image_id,class_name\n" + b"0a" * 32 + b",cats\n",
                    corrections.read_corrections),
    "accepted": ("e.csv", b"image_id,suggested_class,accept\n" + b"0a" * 32 + b",cats,x\n",
                 corrections.read_accepted),
    "yaml": ("p.yaml",
             b"name: a\ndata: {source: photos, max_pixels: 100000}\ntrain:\n  epochs: 3\n",
             lambda path: load_config(str(path))),
    "set": ("s.txt", b"train.epochs=3", lambda path: load_config(None, [_text(path)], "photos")),
    "set_value": ("s.txt", b"3", lambda path: load_config(
        None, [f"train.epochs={_text(path)}"], "photos")),
    "compiled": ("c.yaml", b"pipelineInfo: {name: a}\nroot: {dag: {tasks: {}}}\ncomponents: {}\n",
                 CompiledPipeline.read),
    "cron": ("c.txt", b"30 3 * * mon-fri", lambda path: cron.parse_cron(_text(path))),
    "duration": ("d.txt", b"1h30m", lambda path: budget.parse_duration(_text(path))),
    "model_config": (
        "m.config",
        b'model_config_list { config { name: "a" base_path: "/m" model_platform: "tensorflow" '
        b"model_version_policy { specific { versions: 1 } } } }",
        lambda path: model_configs(read_model_config(str(path))),
    ),
    "batching": ("b.txt", b"max_batch_size { value: 8 } allowed_batch_sizes: 8",
                 lambda path: read_parameters(str(path))),
    "ledger": ("l.jsonl", b'{"format": 2, "event": "pushed", "version": 1, "time": 1.5}\n',
               _read_ledger),
    "records": ("r.tfrecord", _records(), lambda path: list(tfrecord.iterate_records(path))),
    "record_offsets": ("r.tfrecord", _records(), lambda path: list(tfrecord.record_offsets(path))),
    "users_records": ("r.tfrecord", _records(), lambda path: list(read_records(str(path), 1000))),
    "image_kind": ("i.png", _PNG, lambda path: image_formats.kind_of(path.read_bytes())),
    "image": ("i.png", _PNG, lambda path: images.check_image(
        path.read_bytes(), DataConfig(source="x", min_image_size_pixels=1))),
}  # fmt: skip


def _changed(generator: np.random.Generator, sound: bytes) -> bytes:
    """The sound bytes with one to four changes, each of a kind that drawn numbers choose."""
    data = bytearray(sound)
    for _ in range(int(generator.integers(1, 5))):
        start = int(generator.integers(0, len(data) + 1))
        end = min(len(data), start + int(generator.integers(0, 9)))
        kind = generator.integers(0, 4)
        if kind == 0:
            data[start:end] = b""
        elif kind == 1:
            data[start:end] = generator.bytes(int(generator.integers(1, 9)))
        elif kind == 2:
            data[start:end] = _NASTY[int(generator.integers(0, len(_NASTY)))]
        else:
            data[start:start] = data[end:]
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
def test_parser_reads_or_raises_an_error_for_users(name: str, tmp_path: Path) -> None:
    file, sound, parse = PARSERS[name]
    generator = np.random.default_rng([SEED, *name.encode()])
    cases = [*_NASTY, *(_changed(generator, sound) for _ in range(COUNT))]
    for number, data in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / file
        path.write_bytes(data)
        try:
            parse(path)
        except (SlimWorksError, RequestError):
            continue
        except BaseException as error:
            raise AssertionError(f"{name} raised {error!r:.300} on {data[:300]!r}") from error


def _places(value: object) -> list[tuple[object, ...]]:
    """Path of every value inside a JSON value, its own first."""
    if not isinstance(value, dict | list):
        return [()]
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    return [(), *((key, *place) for key, inside in entries for place in _places(inside))]


def _replaced(value: object, place: tuple[object, ...], new: object) -> object:
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)  # type: ignore
    changed[place[0]] = _replaced(changed[place[0]], place[1:], new)  # type: ignore
    return changed


_STRANGE = (
    None, True, -1, 0, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\x00", "\ud800", [], {},
    [None], [[]], ["a", "a"], {"": None}, {"a": {"b": []}}, "=1+1", "9" * 300,
)  # fmt: skip


def _configuration() -> bytes:
    value = {
        "data": {"source": "photos"},
        **load_config(None, [], "photos").model_dump(mode="json"),
    }
    return json.dumps(value).encode()


def _documents() -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """Documents of JSON, which is YAML as well."""
    entry = ledger.Entry("pushed", 1, 1.5, "ab", {"metrics": {"accuracy": 0.5}}, label="canary")
    rolled_back = ledger.Entry("rolled_back", 2, 2.5, from_version=1, to_version=1, label="stable")
    return {
        "label_map": PARSERS["label_map"],
        "configuration": ("p.yaml", _configuration(), PARSERS["yaml"][2]),
        **{f"ledger-{one.event}": ("l.jsonl", ledger.line_of(one), _read_ledger)
           for one in (entry, rolled_back)},
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["label_map", "configuration", "ledger-pushed", "ledger-rolled_back"]
)
def test_no_value_of_another_kind_gets_through(name: str, tmp_path: Path) -> None:
    file, sound, parse = _documents()[name]
    value = json.loads(sound)
    generator = np.random.default_rng([SEED, *name.encode()])
    pairs = [(place, new) for place in _places(value) for new in _STRANGE]
    chosen = generator.permutation(len(pairs))[: 5 * COUNT]
    for number, (place, new) in enumerate(pairs[index] for index in chosen):
        (tmp_path / str(number)).mkdir()
        path = tmp_path / str(number) / file
        path.write_text(json.dumps(_replaced(value, place, new)), encoding="utf-8")
        try:
            parse(path)
        except SlimWorksError:
            continue
        except BaseException as error:
            raise AssertionError(f"{name}: {new!r:.80} at {place} raised {error!r:.300}") from error


@pytest.mark.parametrize("text", ["9" * 5_000 + " * * * *", "*/" + "9" * 5_000 + " * * * *"])
def test_a_number_that_python_refuses_to_read_is_no_minute(text: str) -> None:
    with pytest.raises(ConfigError, match="is no minute"):
        cron.parse_cron(text)


def test_a_format_that_is_no_whole_number_is_damage(tmp_path: Path) -> None:
    (tmp_path / LABEL_MAP_FILE).write_text('{"format": Infinity, "class_names": []}')

    with pytest.raises(DataError, match="its format is no whole number"):
        LabelMap.read(tmp_path)


@pytest.mark.parametrize("name", sorted(set(PARSERS) - {"parquet", "compiled"}))
def test_parser_takes_the_sound_sample_that_the_changes_start_from(
    name: str, tmp_path: Path
) -> None:
    file, sound, parse = PARSERS[name]
    (tmp_path / file).write_bytes(sound)

    parse(tmp_path / file)
