"""`slimworks nets`: the list, one network, and what a checkpoint is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import REGISTRY
from slimworks.pipeline import cli


def _print(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.cli.main(["nets", *arguments], "slimworks", standalone_mode=False) == 0
    return capsys.readouterr().out


def _print_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(_print(capsys, *arguments, "--json"))


def test_list_has_a_line_for_each_network(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _print(capsys).splitlines()
    assert lines[0].split() == ["net", "parameters", "MACs", "size", "top-1", "top-5", "file"]
    assert [line.split()[0] for line in lines[1:]] == list(REGISTRY)
    (vgg,) = (line.split() for line in lines if line.startswith("vgg_16"))
    assert vgg[1] == "138,357,544"
    assert vgg[3:] == ["224", "71.5", "89.8", "vgg_16_2016_08_28.tar.gz"]
    assert max(map(len, lines)) <= 120


def test_list_as_json_holds_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    records = {record["name"]: record for record in _print_json(capsys)["nets"]}
    assert set(records) == set(REGISTRY)
    assert records["vgg_16"]["checkpoint_file"] == "vgg_16_2016_08_28.tar.gz"
    assert records["vgg_16"]["labels_offset"] == 1


def test_network_is_printed_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _print(capsys, "mobilenet_v1_025", "--image-size", "64", "--num-classes", "5").split(
        "\n"
    )
    assert lines[0].startswith("mobilenet_v1_025: 214,")
    assert lines[0].endswith("MACs at 64 px and 5 classes")
    facts = dict(line.strip().split(":", 1) for line in lines[1:7])
    assert {key: value.strip() for key, value in facts.items()} == {
        "image size": f"224 px, at least {REGISTRY['mobilenet_v1_025'].min_image_size}; 3 channels",
        "preprocessing": "inception",
        "classes": "1001 as published: class 0 is the background",
        "head": "MobilenetV1/Logits",
        "checkpoint": REGISTRY["mobilenet_v1_025"].checkpoint_url,
        "ImageNet": "top-1 49.8 %, top-5 74.2 % at 224 px",
    }
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert rows["Logits"] == ["1x5"]
    assert rows["MobilenetV1/Conv2d_0/weights"] == ["3x3x3x8"]
    assert rows["MobilenetV1/Conv2d_0/BatchNorm/moving_mean"] == ["8", "*"]
    assert "variables (137; * not trained: moving statistics):" in lines


def test_network_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = _print_json(capsys, "lenet")
    assert value["variables"]["LeNet/conv1/weights"] == {"shape": [5, 5, 1, 32], "trainable": True}
    assert value["end_points"]["Logits"] == [1, 10]
    assert value["parameters"] == value["record"]["parameters"] == 3_274_634
    assert value["macs"] > 0


def test_note_and_offset_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = _print(capsys, "lenet")
    assert "1 channel\n" in text
    assert "no published accuracy" in text
    assert "none published" in text


@pytest.mark.parametrize(
    ("arguments", "cause", "fix"),
    [
        (["lenet", "--checkpoint", "m.ckpt"], "nets was given lenet and --checkpoint.", "Give one"),
        (["lenet", "--num-classes", "0"], "--num-classes is 0, expected at least 1.", "Leave it"),
        (["lennet"], "model.net is 'lennet', which is no known network.", "Choose one of lenet"),
        (["vgg_16", "--image-size", "32"], "model.image_size is 32, but vgg_16 needs", "Type"),
        (
            ["--checkpoint", "none"],
            "--checkpoint is none, but neither none nor",
            "Give an unpacked",
        ),
    ],
)
def test_wrong_arguments(arguments: list[str], cause: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cli.cli.main(["nets", *arguments], "slimworks", standalone_mode=False)
    assert caught.value.cause.startswith(cause)
    assert caught.value.fix.startswith(fix)


@pytest.mark.shared
def test_checkpoint_is_told(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    path = shared / "data" / "checkpoints" / "mobilenet_v1_0.25_128"
    prefix = path / "mobilenet_v1_0.25_128.ckpt"
    assert _print(capsys, "--checkpoint", str(path)).splitlines() == [
        f"{prefix}: V2 checkpoint",
        "  net:          mobilenet_v1_025",
        "  variables:    137 of 137 fit",
        "  classes:      1001: ImageNet's 1000, with the background as class 0",
        "  averages:     no moving averages",
        "  slots:        no optimizer slots",
        "  step:         0",
        "  image size:   128 px by its name",
        "  to fine-tune: slimworks run --data PHOTOS --set model.net=mobilenet_v1_025 "
        f"--set train.checkpoint_path={prefix} --set model.image_size=128",
    ]


@pytest.mark.shared
def test_checkpoint_as_json(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    path = shared / "data" / "checkpoints" / "mobilenet_v1_0.25_128" / "v1_format"
    value = _print_json(capsys, "--checkpoint", str(path))
    assert (value["net"], value["version"]) == ("mobilenet_v1_025", "V1")
    assert (value["num_fitting"], value["num_variables"]) == (137, 137)


def test_details_of_an_error_are_printed_between_its_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    def misfit(*_: object, **__: object) -> None:
        raise ConfigError("m.ckpt does not fit.", "Type this.", details="missing (1):\n  a/weights")

    monkeypatch.setattr(cli, "_exit", leave)
    monkeypatch.setattr(cli.cli, "main", misfit)
    with pytest.raises(SystemExit):
        cli.main(["nets", "--json"])
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "Error: m.ckpt does not fit.",
        "missing (1):",
        "  a/weights",
        "Fix:   Type this.",
    ]
    assert json.loads(printed.out)["error"] == {
        "cause": "m.ckpt does not fit.",
        "fix": "Type this.",
        "exit_code": 2,
        "details": ["missing (1):", "  a/weights"],
    }
