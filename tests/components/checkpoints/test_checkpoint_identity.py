"""Which network a checkpoint is of: every registered one, under any root, at any class count."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_samples import Shapes, read_layout, write_checkpoint, zeros

from slimworks.components.checkpoints import fingerprints
from slimworks.components.checkpoints.identify import identify
from slimworks.components.checkpoints.misfit import guess_net
from slimworks.components.checkpoints.restore import restore
from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import REGISTRY, get_net

QUICK_NETS = ("lenet", "mobilenet_v1_025", "vgg_a")  # the others take seconds each


@pytest.fixture(scope="module")
def quarter() -> Shapes:
    return fingerprints.build_layout(get_net("mobilenet_v1_025"))


@pytest.fixture(scope="module")
def half() -> Shapes:
    return fingerprints.build_layout(get_net("mobilenet_v1_050"))


def _layers(net: str, layout: Shapes) -> dict[str, fingerprints.Layer]:
    below = {fingerprints.below_root(n, REGISTRY[net].scope): s for n, s in layout.items()}
    return fingerprints.digest_layers(below, fingerprints.head_names())


def test_every_network_has_a_fingerprint() -> None:
    assert list(fingerprints.load_fingerprints()) == list(REGISTRY)


def test_fingerprints_are_written_as_they_are_read() -> None:
    written = fingerprints.to_text(fingerprints.load_fingerprints())
    assert fingerprints.FILE.read_text() == written


# The others follow: TF-Slim's layouts have these fingerprints (below), and the built networks have
# TF-Slim's layouts (test_net_layouts.py).
@pytest.mark.parametrize("net", QUICK_NETS)
def test_fingerprint_is_that_of_the_built_network(net: str) -> None:
    layout = fingerprints.build_layout(get_net(net))
    stored = fingerprints.load_fingerprints()[net]
    assert stored.head == fingerprints.head_of(get_net(net), layout)
    assert stored.layers == _layers(net, layout)


@pytest.mark.shared
def test_fingerprints_are_those_of_tf_slim(shared: Path) -> None:
    layouts = {net: read_layout(shared, net) for net in REGISTRY}
    assert fingerprints.load_fingerprints() == fingerprints.fingerprints_of(layouts)


@pytest.mark.shared
@pytest.mark.parametrize("net", REGISTRY)
def test_network_is_told_by_its_variables(net: str, shared: Path) -> None:
    layout = read_layout(shared, net)
    match = identify(layout)
    assert match is not None
    assert (match.net, match.name_map) == (net, {})
    assert match.num_fitting == match.num_variables == len(layout)
    assert match.num_classes == REGISTRY[net].num_classes


@pytest.mark.shared
@pytest.mark.parametrize("net", REGISTRY)
def test_network_is_told_under_another_root_with_other_classes_and_slots(
    net: str, shared: Path
) -> None:
    spec = REGISTRY[net]
    stored: Shapes = {"global_step": ()}
    for name, shape in read_layout(shared, net).items():
        is_head = name.startswith(spec.head_scopes) and shape[-1] == spec.num_classes
        below = "my/model/" + fingerprints.below_root(name, spec.scope)
        for suffix in ("", "/RMSProp", "/RMSProp_1", "/ExponentialMovingAverage"):
            stored[below + suffix] = (*shape[:-1], 7) if is_head else shape
    match = identify(stored)
    assert match is not None
    assert (match.net, match.root, match.num_classes) == (net, "my/model", 7)
    assert match.num_fitting == match.num_variables
    assert match.name_map == {"my/model/": f"{spec.scope}/" if spec.scope else ""}


@pytest.mark.shared
def test_network_is_told_without_its_auxiliary_head(shared: Path) -> None:
    stored = {n: s for n, s in read_layout(shared, "nasnet_mobile").items() if "aux" not in n}
    match = identify(stored)
    assert match is not None
    assert (match.net, match.num_fitting, match.num_variables) == ("nasnet_mobile", 1126, 1138)


@pytest.mark.shared
def test_network_inside_another_is_told(shared: Path) -> None:
    layout = read_layout(shared, "vgg_16")
    stored = {n.replace("vgg_16", "ssd_vgg_512"): s for n, s in layout.items() if "/fc" not in n}
    match = identify({**stored, "ssd_vgg_512/block6/conv6/weights": (3, 3, 512, 1024)})
    assert match is not None
    assert (match.net, match.root, match.num_fitting) == ("vgg_16", "ssd_vgg_512", 26)
    assert match.num_classes is None


def test_width_that_is_not_registered_is_told_by_its_names(half: Shapes) -> None:
    match = identify({name: tuple(size * 11 // 10 for size in s) for name, s in half.items()})
    assert match is not None
    assert (match.net, match.num_named, match.num_fitting) == ("mobilenet_v1_050", 137, 0)
    assert not match.fits


def test_no_network_is_told_for_something_else() -> None:
    assert identify({f"EfficientNet/{number}/weights": (1,) for number in range(9)}) is None
    assert guess_net({}) is None


def test_another_width_is_named(quarter: Shapes, half: Shapes, tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, half)
    with pytest.raises(ConfigError) as caught:
        restore(zeros(quarter), prefix, head_scopes=("MobilenetV1/Logits",))
    assert caught.value.cause == (
        f"{prefix} does not fit the network: 135 of another shape. The checkpoint is of "
        "mobilenet_v1_050 (137 of 137 variables fit), the network is mobilenet_v1_025."
    )
    assert caught.value.fix == (
        "Type `--set model.net=mobilenet_v1_050`, or give a checkpoint of mobilenet_v1_025."
    )
    lines = caught.value.details.splitlines()
    assert lines[0] == "wrong shape (135):"
    assert lines[1].endswith("3x3x3x8 in the network, 3x3x3x16 in the checkpoint")
    assert lines[-1] == "  +125 more"


def test_width_that_is_not_registered_is_no_reason_to_change_the_network(
    quarter: Shapes, half: Shapes, tmp_path: Path
) -> None:
    stored = {name: tuple(size * 11 // 10 for size in s) for name, s in half.items()}
    with pytest.raises(ConfigError) as caught:
        restore(zeros(quarter), write_checkpoint(tmp_path, stored))
    assert "The names are those of mobilenet_v1_050, the shapes of no" in caught.value.cause
    assert caught.value.fix == "Give a checkpoint of mobilenet_v1_025 as train.checkpoint_path."


def test_another_root_is_told_with_the_name_map_to_type(quarter: Shapes, tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {f"my_model/{name}": s for name, s in quarter.items()})
    with pytest.raises(ConfigError) as caught:
        restore(zeros(quarter), prefix, head_scopes=("MobilenetV1/Logits",))
    assert caught.value.cause == (
        f"{prefix} does not fit the network: 135 missing, 137 unexpected. The checkpoint is of "
        "mobilenet_v1_025, with names that start with 'my_model/MobilenetV1/' where the network's "
        "start with 'MobilenetV1/'."
    )
    assert caught.value.fix == (
        'Type `--set \'train.checkpoint_name_map={"my_model/MobilenetV1/": "MobilenetV1/"}\'`.'
    )
    variables = zeros(quarter)
    report = restore(variables, prefix, name_map={"my_model/MobilenetV1/": "MobilenetV1/"})
    assert len(report.restored) == 137


def test_another_root_of_another_network_needs_both(
    quarter: Shapes, half: Shapes, tmp_path: Path
) -> None:
    prefix = write_checkpoint(tmp_path, {f"my_model/{name}": s for name, s in half.items()})
    with pytest.raises(ConfigError) as caught:
        restore(zeros(quarter), prefix)
    assert caught.value.fix == (
        "Type `--set model.net=mobilenet_v1_050 --set 'train.checkpoint_name_map="
        '{"my_model/MobilenetV1/": "MobilenetV1/"}\'`, or give a checkpoint of mobilenet_v1_025.'
    )


def test_unknown_network_is_told_by_its_names(quarter: Shapes, tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {f"EfficientNet/{i}/weights": (1,) for i in range(9)})
    with pytest.raises(ConfigError, match="no registered network; its names start with Effic"):
        restore(zeros(quarter), prefix)
