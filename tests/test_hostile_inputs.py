"""What hostile files, names and addresses may not do: docs/security.md, threat by threat."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import logging
import os
import re
import shlex
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from slimworks.components import addresses, python_process, terminal_text
from slimworks.components.errors import ConfigError, DataError, ServingError
from slimworks.components.examples import jpeg2000_markers
from slimworks.components.ingest import images
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.manifest import ManifestSource
from slimworks.components.ingest.sources.tables import open_table
from slimworks.components.ingest.storage.archives import read_zip_member
from slimworks.components.labels import corrections
from slimworks.components.labels.label_map import LABEL_MAP_FILE, LabelMap
from slimworks.components.serving.image_sources import ImageFile, source_of
from slimworks.components.serving.process import ServerProcess
from slimworks.pipeline import cli, prediction_formats, yaml_text
from slimworks.pipeline.config import load_config, to_yaml
from slimworks.pipeline.image_arguments import image_sources
from slimworks.pipeline.launcher import NodeResult
from slimworks.pipeline.terminal import PlainView, StepRecord, TerminalHandler

TITLE = "\x1b]0;owned\x07\x9b2J\u202egnp.exe"


# --- YAML ------------------------------------------------------------------------------------


def _laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_laughs(9), "stand for more than 100000 values"),
        ("a: &a [*a]", "an alias inside of what it stands for"),
        ("train: {epochs: 1}\ntrain: {epochs: 2}", "the key 'train' a second time"),
        ("train: {epochs: 1, epochs: 2}", "the key 'epochs' a second time"),
        ("[" * 51, "more than 50 levels deep"),
        ("a: " + "9" * 101, "a number of 101 digits"),
        ("a: 2024-99-99", "a value is not what its form says: month must be in 1..12"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("#" * (yaml_text.MAX_CHARACTERS + 1), "4194305 characters, at most 4194304 are read"),
    ],
)
def test_yaml_that_fills_memory_or_hides_a_value_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        load_config(str(path))

    assert error.value.fix == "Mend that line."


def test_yaml_takes_aliases_and_merges_of_ordinary_size() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]"

    assert yaml_text.load(text) == yaml.safe_load(text)


def test_a_wrong_value_is_shown_in_part_only() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [f"train.epochs=[{'x, ' * 10_000}]"], "photos")

    assert len(error.value.cause) < 400


# --- secrets -----------------------------------------------------------------------------------

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    "settings",
    [
        ["data.source=s3://AKIA:wJalrXUtnFEMI@bucket/photos"],
        ["data.image_root=s3://AKIA:wJalrXUtnFEMI@bucket"],
        ["push.base_path=gs://me:wJalrXUtnFEMI@bucket/models"],
        ["data.beam_pipeline_args=[--s3_secret_access_key=wJalrXUtnFEMI]"],
        ["data.beam_pipeline_args=[--s3_session_token, wJalrXUtnFEMI]"],
        ["train.epochs=s3://me:wJalrXUtnFEMI@bucket"],
        ["data.source=s3://AKIA:ab/cd+wJalrXUtnFEMI@bucket/photos"],
        ["push.server=me:wJalrXUtnFEMI@10.0.0.5:8500"],
    ],
)
def test_an_account_in_an_address_is_refused_and_never_shown(settings: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, ["data.source=photos", *settings])

    assert settings[0].partition("=")[0] in error.value.cause
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--data", f"s3://AKIA:{SECRET}@bucket/photos"], "--data"),
        (["run", f"--data=s3://AKIA:a/b{SECRET}@bucket/photos"], "--data"),
        (["run", "--data", f"s3://AKIA:{SECRET}=x@bucket/photos"], "--data"),
        (["run", "--set", f"data.source=s3://AKIA:{SECRET}@bucket"], "--set data.source"),
        (["predict", "1.jpg", "--server", f"me:{SECRET}@10.0.0.5:8500"], "--server"),
        (["predict", f"https://me:{SECRET}@example.com/1.jpg"], "An argument"),
        (["promote", "3", "--server", f"me:{SECRET}@10.0.0.5:8500"], "--server"),
        (["submit", "--data", "x", "--host", f"https://me:{SECRET}@kubeflow"], "--host"),
        (["push", "--model", "m", "--base-path", f"gs://me:{SECRET}@bucket/m"], "--base-path"),
        (["serve", f"--model_base_path=s3://me:{SECRET}@bucket/m"], "--model_base_path"),
        (["export", "--checkpoint", f"gs://me:{SECRET}@bucket/m.ckpt"], "--checkpoint"),
    ],
)
def test_no_verb_takes_an_account_in_an_address(
    arguments: list[str], named: str, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)  # where an earlier test loaded TensorFlow
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--json"])
    out, err = capfd.readouterr()

    assert ended.value.code == 2
    assert err.startswith(f"Error: {named} holds an account: there is a 'user:password@' in its")
    assert json.loads(out)["error"]["exit_code"] == 2
    assert SECRET not in out + err


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a:b@c", "http://host:8500/a@b", "hdfs://me@namenode:8020/photos",
        "127.0.0.1:8500", "registry:5000/slimworks:1.0@sha256:1234567890abcdef", "a@b.c",
        "ops: ask me@example.com", "photos/12:30@home.jpg",
    ],
)  # fmt: skip
def test_an_address_without_a_password_is_taken(text: str) -> None:
    assert not addresses.holds_account(text)


@pytest.mark.timeout(60)  # with an expression that goes back and forth it took hours
@pytest.mark.parametrize("text", ["a" * 1_000_000 + "@", "a:" * 500_000 + "@", "://a:@" * 200_000])
def test_a_long_text_is_searched_for_accounts_at_once(text: str) -> None:
    addresses.holds_account(text)
    assert len(addresses.without_accounts(text)) <= len(text)


def test_a_token_of_a_web_address_is_an_account() -> None:
    assert addresses.holds_account(f"https://{SECRET}@example.com/photos")
    assert SECRET not in addresses.without_accounts(f"https://{SECRET}@example.com/photos")


def test_a_row_with_an_account_is_set_aside_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = ["path,class", f"s3://AKIA:{SECRET}@bucket/1.jpg,cats", "1.jpg,cats", "2.jpg,dogs"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = ManifestSource(str(path), DataConfig(source=str(path), max_rejected_fraction=0.5))

    names = [item.name for item in source.items()]

    assert names == ["1.jpg", "2.jpg"]
    assert "has an account ('user:password@') in its path" in str(source.notes)
    assert SECRET not in str(source.notes)


def test_an_address_of_an_image_is_named_without_its_account() -> None:
    source = source_of(f"https://me:{SECRET}@example.com/1.jpg")

    with pytest.raises(DataError) as error:
        source.read(1000)

    assert source.name == "https://***@example.com/1.jpg"
    assert error.value.cause == "https://***@example.com/1.jpg holds an account."
    assert error.value.fix == "Download the image yourself: no 'user:password@' is sent, or kept."


def test_variables_with_secrets_are_in_no_file_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, SECRET)

    assert SECRET not in to_yaml(load_config(None, [], "s3://bucket/photos"))


# --- terminals -----------------------------------------------------------------------------------


def test_a_terminal_gets_no_character_that_it_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    cli.say(TITLE)
    cli.emit({"file": TITLE, "bytes": os.fsdecode(b"\xff")}, True, "")
    cli.emit({}, False, f"{TITLE}\tcolumn\nline {os.fsdecode(bytes([0x80]))}")
    out, err = capsys.readouterr()

    assert terminal_text.shown(out + err) == out + err
    assert err == "\\x1b]0;owned\\x07\\x9b2J\\u202egnp.exe\n"
    assert json.loads(out.splitlines()[0])["file"] == TITLE
    assert out.splitlines()[1:] == [
        "\\x1b]0;owned\\x07\\x9b2J\\u202egnp.exe\tcolumn",
        "line \\x80",
    ]


def test_an_error_with_a_hostile_name_obeys_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "slimworks", "run", "--config", f"{TITLE}.yaml"],
        capture_output=True, text=True, encoding="utf-8", errors="surrogateescape",
    )  # fmt: skip

    assert result.returncode == 2
    assert "\\x1b]0;owned" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_logs_and_views_of_a_run_obey_nothing() -> None:
    stream = io.StringIO()
    view = PlainView(stream)
    view.record("ingest", StepRecord(logging.INFO, TITLE))
    view.ended(NodeResult("ingest", "ran", 1.0, TITLE))
    handler = TerminalHandler(stream)
    handler.emit(logging.LogRecord("slimworks", logging.INFO, "", 0, TITLE, (), None))

    assert stream.getvalue().count("\\x1b]0;owned\\x07") == 3
    assert terminal_text.shown(stream.getvalue()) == stream.getvalue()


def test_no_name_writes_a_line_of_its_own(tmp_path: Path) -> None:
    stream = io.StringIO()
    view, handler = PlainView(stream), TerminalHandler(stream)
    message = "set aside: a\n  trainer   ran"
    view.record("ingest", StepRecord(logging.WARNING, message))
    view.ended(NodeResult("ingest", "ran", 1.0, message))
    handler.emit(logging.LogRecord("slimworks", logging.INFO, "", 0, message, (), None))

    rows = stream.getvalue().splitlines()
    assert [row for row in rows if "trainer" in row] == ["      trainer   ran"] * 3


def test_no_name_writes_a_line_of_an_error() -> None:
    code = "from slimworks.pipeline import cli; cli._fail('a\\nError: b', 'c\\nFix: d', 2, False)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert ended.stderr == "Error: a\n    Error: b\nFix:   c\n    Fix: d\n"


def test_the_name_of_an_image_stays_in_its_line() -> None:
    with pytest.raises(DataError) as unread:
        ImageFile("none\nError: forged").read(10)
    with pytest.raises(ConfigError) as unfound:
        image_sources(["none\nError: forged"], None)

    for error in (unread, unfound):
        assert error.value.cause.startswith("none\\x0aError: forged ")


# --- pipes among images --------------------------------------------------------------------------


def test_a_pipe_among_images_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "list").write_text(f"{tmp_path / 'a.jpg'}\n", encoding="utf-8")

    for sources in (
        image_sources([str(tmp_path)], None),
        image_sources([], str(tmp_path / "list")),
    ):
        (image,) = sources
        with pytest.raises(DataError, match="it is a folder, a pipe, a socket or a device"):
            image.read(1000)


def test_a_pipe_that_is_named_is_read() -> None:
    end, other = os.pipe()
    os.write(other, b"image")
    os.close(other)

    (image,) = image_sources([f"/dev/fd/{end}"], None)

    assert image.read(1000) == b"image"
    os.close(end)


# --- commands that people are told to type -------------------------------------------------------

COMMAND = "a'; touch taken; echo '"


@pytest.mark.parametrize("name", [f"{COMMAND}.csv", f"{COMMAND}.jsonl", f"{COMMAND}.tfrecord"])
def test_a_name_in_a_command_to_type_is_one_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = gzip.compress(b"x" * 100) if name.endswith("tfrecord") else b"path,class\n\xe9,a\n"
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError) as error:
        list(open_source(name, DataConfig(source=name)).items())

    command = error.value.fix.partition(": ")[2]
    assert command.startswith(("iconv", "gunzip"))
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert not (tmp_path / "taken").exists()


def test_a_folder_in_a_command_to_type_is_one_word(tmp_path: Path) -> None:
    for part in ("cats", "dogs"):
        (tmp_path / COMMAND / part).mkdir(parents=True)
        (tmp_path / COMMAND / part / "1.jpg").write_bytes(b"x")

    with pytest.raises(DataError) as error:
        list(open_source(str(tmp_path), DataConfig(source=str(tmp_path))).items())

    command = error.value.fix.partition("give ")[2]
    assert shlex.split(command) == ["--data", str(tmp_path / COMMAND)]


# --- CSV -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_csv_that_is_written_holds_a_formula(tmp_path: Path, start: str) -> None:
    text = f'{start}HYPERLINK("http://example.com","x")'
    classes = [{"class_name": text, "class_index": 0, "probability": 0.5}]
    rows = [
        {"file": text, "classes": classes, "is_known": True, "version": 1},
        {"file": text, "error": text, "fix": text},
    ]
    written = "".join(prediction_formats.formatted("csv", rows, 1, None))
    path = tmp_path / "corrections.csv"
    corrections.write_corrections(
        path, {"0a" * 32: corrections.Correction("0a" * 32, "cats", text, text)}
    )
    cells = [cell for row in csv.reader(io.StringIO(written)) for cell in row]
    with open(path, encoding="utf-8", newline="") as stream:
        cells += [cell for row in csv.reader(stream) for cell in row]

    assert not [cell for cell in cells if cell.startswith(start)]
    assert corrections.read_corrections(path)["0a" * 32].filename == text


def _peak_until_line_3_is_refused(manifest: Path) -> int:
    """Bytes of Python's memory at most."""
    source = ManifestSource(str(manifest), DataConfig(source=str(manifest)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"Line 3 of .* is longer than a million characters"):
            list(source.items())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    with open(path, "wb") as stream:
        stream.write(b"path,class\n1.jpg,cats\n")
        stream.seek(64 << 20, os.SEEK_CUR)  # a hole: zeros, without room on the disk
        stream.write(b"\n")

    assert _peak_until_line_3_is_refused(path) < 32 << 20


def test_a_row_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    line = '",' + "a," * 100_000 + '"\n'  # the quotes join the lines to one row
    path.write_text('path,class\n1.jpg,cats\n2.jpg,"\n' + line * 40 + '",dogs\n', "utf-8")

    assert _peak_until_line_3_is_refused(path) < 64 << 20


# The file is written by a process of its own, since the type stays registered where it was made.
PARQUET_WITH_CODE = """
import os, sys
import pyarrow as pa
from pyarrow import parquet

class Evil(pa.PyExtensionType):
    def __init__(self):
        pa.PyExtensionType.__init__(self, pa.string())
    def __reduce__(self):
        return os.mkdir, (sys.argv[2],)

extra = pa.ExtensionArray.from_storage(Evil(), pa.array(["x", "y"]))
table = pa.table({"path": ["1.jpg", "2.jpg"], "class": ["cats", "dogs"], "extra": extra})
parquet.write_table(table, sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(pa, "PyExtensionType"), reason="this pyarrow has no such types")
@pytest.mark.parametrize("is_among_photos", [False, True])
def test_the_schema_of_a_parquet_runs_no_code(tmp_path: Path, is_among_photos: bool) -> None:
    (tmp_path / "photos").mkdir()
    path, trace = tmp_path / "photos/table.parquet", tmp_path / "trace"
    write = [sys.executable, "-W", "ignore", "-c", PARQUET_WITH_CODE, str(path), str(trace)]
    subprocess.run(write, check=True)
    data = path.parent if is_among_photos else path
    ingest = ["ingest", "--data", str(data), "--output", str(tmp_path / "ingested")]

    # A process of its own: Beam, wherever it is loaded, closes the hole as well.
    ended = subprocess.run(
        [sys.executable, "-m", "slimworks", *ingest], capture_output=True, text=True
    )

    assert not trace.exists()
    assert ended.returncode == 3, ended.stderr  # there are no photos


def test_bytes_that_a_parquet_holds_once_are_not_read_for_every_row(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    values = pa.array([b"x" * (1 << 20)], pa.binary())
    classes = pa.DictionaryArray.from_arrays(pa.array([0] * 1_500, pa.int32()), values)
    pq.write_table(pa.table({"path": ["p"] * 1_500, "class": classes}), path, compression="zstd")
    _peak_bytes()
    before = _peak_bytes()

    table = open_table(str(path))
    rows = list(table.rows(["path", "class"]))

    assert table.nested == {"class"}
    assert {row.values["class"] for row in rows} == {None}
    assert len(rows) == 1_500
    assert _peak_bytes() - before < 64 << 20


def _parquet_of_one_text(path: Path, num_characters: int) -> None:
    """Four thousand rows whose path is one long text, which the file holds once."""
    texts = pa.array(["a" * num_characters])
    paths = pa.DictionaryArray.from_arrays(pa.array([0] * 4_000, pa.int32()), texts)
    table = pa.table({"path": paths, "class": pa.array(["cats", "dogs"] * 2_000)})
    pq.write_table(table, path, compression="zstd")


def test_a_small_parquet_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    _parquet_of_one_text(path, 1 << 20)
    table = open_table(str(path))
    _peak_bytes()
    before = _peak_bytes()

    with pytest.raises(DataError, match=r"a cell in column 'path' that is longer than a million"):
        list(table.rows(["path", "class"]))

    assert path.stat().st_size < 2_000
    assert _peak_bytes() - before < 64 << 20


def test_long_texts_of_a_parquet_are_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    _parquet_of_one_text(path, 100_000)
    table = open_table(str(path))
    _peak_bytes()
    before = _peak_bytes()

    lengths = [len(row.values["path"] or "") for row in table.rows(["path", "class"])]

    assert lengths == [100_000] * 4_000
    assert _peak_bytes() - before < 128 << 20


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl", "manifest.parquet"])
def test_a_manifest_of_very_many_columns_is_refused(tmp_path: Path, name: str) -> None:
    columns = [f"c{n}" for n in range(10_001)]
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.table({column: [1] for column in columns}), path)
    else:
        text = ",".join(columns) if name.endswith("csv") else json.dumps(dict.fromkeys(columns, 1))
        path.write_text(text + "\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"has 10001 columns; at most 10000 are read\."):
        open_table(str(path))


def test_a_cell_beyond_what_csv_reads_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(f"image_id,class_name\n{'0a' * 32},{'a' * 140_000}\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"cannot be read in line \d: field larger than") as error:
        corrections.read_corrections(path)

    assert error.value.fix == "Save it as CSV again, one image a line, or delete that line."


# --- images and archives ---------------------------------------------------------------------


def _zip_in_zip(folder: Path) -> tuple[Path, int]:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 << 20))
    path = folder / "outer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cats/1.jpg", inner.getvalue())
    return path, len(inner.getvalue())


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    path, size = _zip_in_zip(tmp_path)

    data = read_zip_member(str(path), "cats/1.jpg", 1 << 20)

    assert isinstance(data, bytes)
    assert len(data) == size
    found = images.check_image(data, DataConfig(source="x"))
    assert isinstance(found, images.Rejection)
    assert found.reason == "not_an_image"


def _huge(kind: str) -> bytes:
    """A small file whose header says 65,000 x 16,000 pixels, or what its format allows.

    WEBP is a lossless one, VP8 a lossy one, VP8X the header for what has more than pixels.
    """
    from PIL import Image

    stream = io.BytesIO()
    options = {"WEBP": {"lossless": True}, "VP8": {"format": "WEBP"}, "VP8X": {"exif": b"x"}}
    options["VP8X"]["format"] = "WEBP"
    image = Image.new("L" if kind in ("GIF", "BMP", "TIFF", "JPEG") else "RGB", (16, 16))
    image.save(stream, **{"format": kind, **options.get(kind, {})})
    data = bytearray(stream.getvalue())
    if kind == "GIF":
        data[6:10] = b"\xff\xff\xff\xff"
    elif kind == "BMP":
        data[18:26] = (65_000).to_bytes(4, "little") + (16_000).to_bytes(4, "little")
    elif kind == "TIFF":
        data = data.replace((16).to_bytes(4, "little"), (60_000).to_bytes(4, "little"))
    elif kind == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = b"\xff\xff\xff\xff"
    elif kind == "WEBP":  # one colour: its codes have no bits, so that this is a true bomb
        start = data.index(b"VP8L") + 9
        data[start : start + 4] = (2**28 - 1).to_bytes(4, "little")
    elif kind == "VP8":
        start = data.index(b"\x9d\x01\x2a") + 3
        data[start : start + 4] = b"\xff\x3f\xff\x3f"
    elif kind == "VP8X":
        start = data.index(b"VP8X") + 12
        data[start : start + 6] = b"\xff\x3f\x00\xff\x3f\x00"
    elif kind == "JPEG2000":
        data = data.replace((16).to_bytes(4, "big"), (60_000).to_bytes(4, "big"))
    elif kind == "PPM":
        data = data.replace(b"16 16", b"65000 16000")
    return bytes(data)


def _peak_bytes() -> int:
    """The most memory since the last call; of all of the process, decoders in C included."""
    text = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.parametrize(
    "kind", ["GIF", "BMP", "TIFF", "JPEG", "WEBP", "VP8", "VP8X", "JPEG2000", "PPM"]
)
def test_a_small_file_that_says_it_is_huge_is_refused_by_its_header(kind: str) -> None:
    data = _huge(kind)
    images.check_image(_huge("BMP"), DataConfig(source="x"))  # decoders are loaded
    _peak_bytes()
    before = _peak_bytes()

    found = images.check_image(data, DataConfig(source="x"))

    assert len(data) < 2_000
    assert isinstance(found, images.Rejection)
    assert found.reason in ("too_many_pixels", "corrupt", "truncated")
    assert _peak_bytes() - before < 32 << 20


def _codestream(size: int, block: int, precinct: int, in_tile_part: bool = False) -> bytes:
    """JPEG 2000 in RGB without a code, cut into pieces of these sizes (exponents)."""

    def style(block: int, precinct: int) -> bytes:
        precincts = bytes([precinct | precinct << 4]) * 6
        body = struct.pack(">BBHBBBBBB", 1, 0, 1, 0, 5, block - 2, block - 2, 0, 1) + precincts
        return struct.pack(">HH", 0xFF52, len(body) + 2) + body

    edges = struct.pack(">H8IH", 0, size, size, 0, 0, size, size, 0, 0, 3) + b"\7\1\1" * 3
    main = b"\xff\x4f\xff\x51" + struct.pack(">H", len(edges) + 2) + edges
    main += style(6, 15) if in_tile_part else style(block, precinct)
    main += b"\xff\x5c" + struct.pack(">HB", 19, 0x40) + b"\x40" * 16
    part = style(block, precinct) if in_tile_part else b""
    start = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14 + len(part) + 1000, 0, 1)
    return main + start + part + b"\xff\x93" + bytes(1000) + b"\xff\xd9"


@pytest.mark.parametrize("in_tile_part", [False, True])
@pytest.mark.parametrize(("block", "precinct"), [(2, 15), (6, 1), (6, 0)])
def test_a_jpeg_2000_of_very_many_pieces_is_refused_by_its_header(
    block: int, precinct: int, in_tile_part: bool
) -> None:
    data = _codestream(700, block, precinct, in_tile_part)
    _peak_bytes()
    before = _peak_bytes()

    found = images.check_image(data, DataConfig(source="x"))

    assert isinstance(found, images.Rejection)
    assert found.reason == "corrupt"
    assert re.search(r"bytes: \d+ code-blocks for 490000 pixels$", found.detail)
    assert _peak_bytes() - before < 32 << 20


def test_a_jp2_whose_codestream_is_larger_than_it_says_is_refused() -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (300, 300)).save(stream, "JPEG2000")
    data = stream.getvalue().replace(struct.pack(">II", 300, 300), struct.pack(">II", 20, 20), 1)

    found = images.check_image(data, DataConfig(source="x"))

    assert isinstance(found, images.Rejection)
    assert "90000 pixels behind a header of 400" in found.detail


@pytest.mark.parametrize(
    "options",
    [{}, {"no_jp2": True}, {"tile_size": (64, 64)}, {"tile_size": (33, 57), "num_resolutions": 3},
     {"codeblock_size": (8, 8)}, {"precinct_size": (64, 64), "codeblock_size": (32, 32)},
     {"offset": (7, 5), "tile_offset": (3, 2), "tile_size": (128, 128)}, {"num_resolutions": 1}],
)  # fmt: skip
def test_an_ordinary_jpeg_2000_is_not_refused_for_its_pieces(options: dict[str, Any]) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (1000, 700)).save(stream, "JPEG2000", **options)

    assert jpeg2000_markers.fault(stream.getvalue(), 700_000) == ""


@pytest.mark.parametrize(("tile", "is_taken"), [(4096, True), (16_384, False)])
def test_a_tiff_of_one_tile_beyond_all_proportion_is_refused(tile: int, is_taken: bool) -> None:
    pixels = zlib.compress(bytes(tile * tile), 1) if is_taken else b""
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, tile), (323, tile), (324, 8 + 2 + 12 * 10 + 4), (325, len(pixels))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels

    found = images.check_image(data, DataConfig(source="x"))

    if is_taken:
        assert isinstance(found, images.CheckedImage)
        return
    assert isinstance(found, images.Rejection)
    assert found.reason == "too_many_pixels"
    assert found.detail.startswith("TIFF with tiles of 16384x16384 pixels for 256 pixels")


def test_an_avif_is_no_format_that_is_decoded() -> None:
    avif = b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf" + bytes(100)

    found = images.check_image(avif, DataConfig(source="x"))

    assert isinstance(found, images.Rejection)
    assert found.reason in ("unsupported_format", "not_an_image")


# --- files in the current folder ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["module", "code", "network"])
def test_no_file_of_the_current_folder_is_taken_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A set of photos from somebody else may hold a json.py, and people start runs beside it."""
    for name in ("json", "runpy", "grpc", "numpy", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("open('taken', 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = python_process.module_command("slimworks.components.serving", "--port=x")
    if kind == "code":
        command = python_process.code_command("import json; print(json.dumps('port'))")
    if kind == "network":  # built in a process of its own
        (tmp_path / "my_nets.py").write_text("def my_net(images): ...\n", encoding="utf-8")
        command = python_process.code_command(
            "from slimworks.components.nets import own_nets; "
            "own_nets.inspected('my_nets:my_net', None)"
        )

    ended = subprocess.run(command, capture_output=True, text=True)

    assert ("does not take" if kind == "network" else "port") in ended.stdout + ended.stderr
    assert not (tmp_path / "taken").exists()


def test_a_server_for_a_replay_takes_no_module_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("open('taken', 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    server = ServerProcess("none", "m", start_timeout_seconds=5)

    with pytest.raises(ServingError, match="was not ready within 5 seconds"), server:
        pass

    assert not (tmp_path / "taken").exists()


# --- files that SlimWorks itself reads again -------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        [(0, 1), (1, 0)],
        [(0, 0)],
        [(0, 7)],
    ],
)
def test_a_label_map_whose_merges_have_no_end_is_damaged(
    tmp_path: Path, history: list[tuple[int, int]]
) -> None:
    value = LabelMap(("a", "b")).to_json()
    value["history"] = [
        {"version": 2, "kind": "merged", "class_name": "a", "class_index": one, "target_index": to}
        for one, to in history
    ]
    (tmp_path / LABEL_MAP_FILE).write_text(json.dumps(value), encoding="utf-8")

    with pytest.raises(DataError, match=r"label_map\.json is damaged"):
        LabelMap.read(tmp_path)


def test_links_that_lead_round_end(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"x")
    (tmp_path / "cats" / "up").symlink_to(tmp_path)
    (tmp_path / "cats" / "self").symlink_to("self")
    (tmp_path / "cats" / "dogs").symlink_to(tmp_path / "dogs")
    (tmp_path / "dogs" / "cats").symlink_to(tmp_path / "cats")
    source = open_source(str(tmp_path), DataConfig(source=str(tmp_path)))

    found = [item.name for item in source.items()]

    assert len(found) < 20
    with contextlib.suppress(ValueError):
        found.remove("cats/self")
    assert {"cats/1.jpg", "dogs/1.jpg"} <= set(found)
