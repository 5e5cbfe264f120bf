"""A user's own network: where it is found, what is read off it, and what is said where it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.nets import own_nets
from slimworks.components.nets.describe import describe_net
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer.config import ModelConfig

HEAD = """\
import tensorflow as tf
from slimworks.components.nets.slim import slim

"""
GOOD = (
    HEAD
    + """
def my_net(images, num_classes=10, is_training=True):
    end_points = {}
    with tf.compat.v1.variable_scope("MyNet"):
        net = slim.conv2d(images, 4, [3, 3], normalizer_fn=slim.batch_norm, scope="conv1")
        end_points["conv1"] = net
        with tf.compat.v1.variable_scope("aux"):
            aux = slim.fully_connected(
                tf.reduce_mean(net, [1, 2]), num_classes, activation_fn=None, scope="logits")
            end_points["AuxLogits"] = aux
        net = slim.max_pool2d(net, [2, 2], scope="pool1")
        net = slim.fully_connected(slim.flatten(net), 6, scope="fc2")
        net = slim.dropout(net, 0.5, scope="dropout2")
        net = slim.fully_connected(net, num_classes, activation_fn=None, scope="fc3")
    return net, end_points


my_net.default_image_size = 16
my_net.preprocessing = "lenet"
my_net.num_channels = 1
"""
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, which no other test's modules are imported from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(own_nets.FOLDERS_VARIABLE, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("slimworks.components.nets.own_network._loaded", {})
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def _write(folder: Path, body: str, name: str = "my_nets") -> str:
    """A module of networks; returns the name of its `my_net`."""
    (folder / f"{name}.py").write_text(HEAD + body, encoding="utf-8")
    return f"{name}:my_net"


def _error(name: str, image_size: int | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        get_net(name, image_size)
    return caught.value


def test_record_is_read_off_the_graph(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    spec = get_net("my_nets:my_net")
    assert (spec.name, spec.module, spec.function) == ("my_nets:my_net", "my_nets", "my_net")
    assert own_nets.is_own(spec.name)
    assert spec.scope == "MyNet"
    # What depends on the class count; the main head first, though the other one is built first.
    assert spec.head_scopes == ("MyNet/fc3", "MyNet/aux/logits")
    assert (spec.default_image_size, spec.num_channels, spec.num_classes) == (16, 1, 10)
    assert spec.preprocessing == "lenet"
    assert spec.batch_norm_decay == 0.999
    weights = 9 * 4 + 4 + (4 * 10 + 10) + (8 * 8 * 4 * 6 + 6) + (6 * 10 + 10)
    assert spec.parameters == weights
    assert spec.macs == 16 * 16 * 9 * 4 + 8 * 8 * 4 * 6 + 6 * 10
    assert spec.note == f"your own: {folder / 'my_nets.py'}"


def test_defaults_are_those_of_tf_slim(folder: Path) -> None:
    name = _write(
        folder,
        "def my_net(images, num_classes, is_training=True):\n"
        "    net = tf.reduce_mean(slim.conv2d(images, 4, [3, 3], scope='a/conv'), [1, 2])\n"
        "    return slim.fully_connected(net, num_classes, None, scope='b/fc'), {}\n",
    )
    spec = get_net(name)
    assert (spec.default_image_size, spec.num_channels, spec.num_classes) == (224, 3, 1000)
    assert (spec.preprocessing, spec.scope, spec.batch_norm_decay) == ("inception", "", None)


def test_image_size_of_the_configuration_is_what_is_built(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    model = ModelConfig(net="my_nets:my_net", image_size=32)
    assert model.spec.default_image_size == model.resolved_image_size == 32
    assert model.spec.macs > 3 * ModelConfig(net="my_nets:my_net").spec.macs
    assert ModelConfig(net="my_nets:my_net").resolved_image_size == 16


def test_embedding_is_what_the_last_layer_reads(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    end_points = describe_net("my_nets:my_net", num_classes=3).end_points
    assert end_points == {"conv1": (1, 16, 16, 4), "AuxLogits": (1, 3), "embedding": (1, 6)}


def test_a_network_may_name_its_embedding(folder: Path) -> None:
    name = _write(
        folder,
        "def my_net(images, num_classes=7, is_training=True):\n"
        "    net = slim.flatten(images)\n"
        "    early = slim.fully_connected(net, 5, scope='early')\n"
        "    net = slim.fully_connected(early, 3, scope='late')\n"
        "    return slim.fully_connected(net, num_classes, None, scope='fc'), "
        "{'embedding': early}\n"
        "my_net.default_image_size = 8\n",
    )
    assert describe_net(name).end_points == {"embedding": (1, 5)}


def test_switches_reach_layers_that_do_not_name_them(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    module = SlimModule(
        get_net("my_nets:my_net"), num_classes=3, image_size=16, num_channels=1,
        weight_decay=0.5, batch_norm_decay=0.25,
    )  # fmt: skip
    moving_mean = module.variables_by_name["MyNet/conv1/BatchNorm/moving_mean"]
    images = tf.random.stateless_uniform([8, 16, 16, 1], [1, 2])

    @tf.function(autograph=False)
    def forward(is_training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = module.forward(images, is_training)
        return outputs.logits, outputs.regularization_loss

    first, loss = forward(False)
    again, _ = forward(False)
    assert tf.reduce_all(first == again)  # dropout is off
    assert tf.reduce_all(moving_mean == 0.0)
    squares = sum(
        tf.reduce_sum(variable**2).numpy()
        for name, variable in module.variables_by_name.items()
        if name.endswith("/weights")
    )
    assert loss.numpy() == pytest.approx(0.5 * squares / 2, rel=1e-5)
    trained, _ = forward(True)
    assert tf.reduce_any(trained != forward(True)[0])  # dropout is on
    weights = module.variables_by_name["MyNet/conv1/weights"]
    mean = tf.reduce_mean(tf.nn.conv2d(images, weights, 1, "SAME"), [0, 1, 2])
    assert tf.reduce_max(tf.abs(moving_mean - mean * (1 - 0.25**2))).numpy() < 1e-5  # two steps


@pytest.mark.parametrize(
    "addition",
    [
        "def my_net_arg_scope(weight_decay=0.0):\n",
        "def anything(weight_decay):\n",
    ],
    ids=["beside it", "attribute"],
)
def test_arg_scope_of_its_own(folder: Path, addition: str) -> None:
    body = (
        "    with slim.arg_scope([slim.conv2d], padding='VALID',\n"
        "        normalizer_fn=slim.batch_norm, normalizer_params={'decay': 0.97}) as scope:\n"
        "        return scope\n"
    )
    named = "my_net.arg_scope = anything\n" if "anything" in addition else ""
    (folder / "my_nets.py").write_text(GOOD + addition + body + named, encoding="utf-8")
    assert describe_net("my_nets:my_net").end_points["conv1"] == (1, 14, 14, 4)
    assert get_net("my_nets:my_net").batch_norm_decay == 0.97


def test_found_beside_the_configuration_and_by_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = folder / "nets"
    there.mkdir()
    (there / "my_nets.py").write_text(GOOD, encoding="utf-8")
    assert own_nets.find("nets/my_nets.py:my_net").file == there / "my_nets.py"
    assert own_nets.find("nets.my_nets:my_net").file == there / "my_nets.py"
    with pytest.raises(ConfigError):
        own_nets.find("my_nets:my_net")
    own_nets.look_in(there)
    own_nets.look_in(there)
    assert os.environ[own_nets.FOLDERS_VARIABLE] == str(there)
    assert own_nets.find("my_nets:my_net").file == there / "my_nets.py"
    assert get_net("nets/my_nets.py:my_net").parameters == get_net("my_nets:my_net").parameters


def test_found_where_python_finds_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "site" / "lab" / "vision"
    package.mkdir(parents=True)
    for init in (package / "__init__.py", package.parent / "__init__.py"):
        init.write_text("raise AssertionError('imported')", encoding="utf-8")
    (package / "nets.py").write_text(GOOD, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder / "site"))
    net = own_nets.find("lab.vision.nets:my_net")
    assert (net.file, net.folder) == (package / "nets.py", None)
    own_nets.require_installed("lab.vision.nets:my_net", "slimworks:1")


def test_digest_follows_the_source_and_what_it_imports(folder: Path) -> None:
    (folder / "my_nets.py").write_text(
        "import os, json\nfrom layers import blocks\n" + GOOD, encoding="utf-8"
    )
    (folder / "layers").mkdir()
    (folder / "layers/__init__.py").write_text("", encoding="utf-8")
    (folder / "layers/blocks.py").write_text("from . import sizes\n", encoding="utf-8")
    (folder / "layers/sizes.py").write_text("WIDTH = 4\n", encoding="utf-8")
    (folder / "other.py").write_text("", encoding="utf-8")
    files = own_nets.source_files(own_nets.find("my_nets:my_net"))
    assert [str(file.relative_to(folder)) for file in files] == [
        "layers/__init__.py", "layers/blocks.py", "layers/sizes.py", "my_nets.py",
    ]  # fmt: skip
    model = ModelConfig(net="my_nets:my_net")
    before = model.source_digest
    (folder / "other.py").write_text("changed = 1\n", encoding="utf-8")
    assert model.source_digest == before
    (folder / "layers/sizes.py").write_text("WIDTH = 8\n", encoding="utf-8")
    assert model.source_digest != before
    assert ModelConfig(net="lenet").source_digest == ""


def test_changed_source_is_imported_again(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    before = get_net("my_nets:my_net").parameters
    (folder / "my_nets.py").write_text(GOOD.replace("images, 4", "images, 16"), encoding="utf-8")
    assert get_net("my_nets:my_net").parameters > before


def test_what_it_prints_is_no_result_of_a_verb(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talking = GOOD.replace("    end_points = {}", "    end_points = {}\n    print('built')", 1)
    (folder / "my_nets.py").write_text("print('imported')\n" + talking, encoding="utf-8")
    get_net("my_nets:my_net")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[:2] == ["imported", "built"]


def test_reading_a_configuration_imports_nothing(folder: Path) -> None:
    """Old runs are listed and shown where their module is gone."""
    assert ModelConfig(net="gone:my_net", image_size=32).net == "gone:my_net"


@pytest.mark.slow
def test_a_process_that_builds_nothing_looks_in_another(folder: Path) -> None:
    (folder / "my_nets.py").write_text("print('on stdout')\n" + GOOD, encoding="utf-8")
    (folder / "dying.py").write_text("import os; os._exit(7)\n", encoding="utf-8")
    script = (
        "import sys\n"
        "from slimworks.components.errors import ConfigError\n"
        "from slimworks.components.nets.registry import get_net\n"
        "print(get_net('my_nets:my_net', 24).macs, 'tensorflow' in sys.modules)\n"
        "for name in ('my_nets:net', 'dying:net'):\n"
        "    try: get_net(name)\n"
        "    except ConfigError as error: print(error.cause, error.fix, sep='|')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    macs = 24 * 24 * 9 * 4 + 12 * 12 * 4 * 6 + 6 * 10
    assert ran.stdout.splitlines() == [
        f"{macs} False",
        f"{folder}/my_nets.py has no net. Did you mean 'my_net'?|Functions that it has: my_net.",
        "The process that looked at dying:net ended with code 7: no message|See what "
        f"{folder}/dying.py does when it is imported and when its network is built.",
    ], ran.stderr


@pytest.mark.parametrize(
    "name", ["my_nets:", ":my_net", "a b:net", "my_nets:a.b", "1a:net", "x/y:n"]
)
def test_what_names_no_function(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(net=name)
    assert caught.value.cause == f"model.net is {name!r}, expected MODULE:FUNCTION."
    assert caught.value.fix == (
        "Write it like my_nets:my_net, for the function my_net of my_nets.py."
    )


def test_module_that_is_nowhere(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    error = _error("my_net:my_net")
    assert error.cause == (
        f"model.net is 'my_net:my_net', but there is no module my_net in {folder}, and none is "
        "installed. Did you mean 'my_nets'?"
    )
    assert error.fix == (
        "Put my_net.py beside the configuration or into the current folder, or write its path: "
        "nets/my_nets.py:my_net."
    )


def test_path_that_is_nowhere(folder: Path) -> None:
    error = _error("nets/my_nets.py:my_net")
    assert error.cause == (
        f"model.net is 'nets/my_nets.py:my_net', but {folder}/nets/my_nets.py does not exist."
    )
    assert error.fix == "Give the path of the file from the current folder, or an absolute one."


def test_no_such_function(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    error = _error("my_nets:my_nett")
    assert error.cause == f"{folder}/my_nets.py has no my_nett. Did you mean 'my_net'?"
    assert error.fix == "Functions that it has: my_net."


def test_module_that_cannot_be_imported(folder: Path) -> None:
    error = _error(_write(folder, "import no_such_package\n"))
    assert error.cause == (
        f"{folder}/my_nets.py cannot be imported: ModuleNotFoundError: No module named "
        "'no_such_package'"
    )
    assert error.fix == f"See it with all lines: {sys.executable} {folder}/my_nets.py"


def test_module_of_a_name_that_is_taken(folder: Path) -> None:
    (folder / "json.py").write_text(GOOD, encoding="utf-8")
    error = _error("json:my_net")
    assert error.cause.startswith(
        f"model.net json:my_net is {folder}/json.py, but Python's module json is /"
    )
    assert error.fix == "Give json.py a name that no other module has."


def test_not_callable(folder: Path) -> None:
    error = _error(_write(folder, "my_net = [1]\n"))
    assert error.cause == (
        "my_nets:my_net is a list, expected a function (images, num_classes, is_training)."
    )
    assert error.fix == f"Name a function of {folder}/my_nets.py after the colon."


def test_wrong_arguments(folder: Path) -> None:
    error = _error(_write(folder, "def my_net(images):\n    return images\n"))
    assert error.cause == (
        "my_nets:my_net does not take (images, num_classes, is_training): got an unexpected "
        "keyword argument 'num_classes'."
    )
    assert error.fix == (
        "Define it as TF-Slim's networks are: def my_net(images, num_classes, is_training=True):"
    )


NET = "def my_net(images, num_classes=5, is_training=True):\n"


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        ("images", "a {tensor}"),
        ("None", "None"),
        ("(images, images)", "(a {tensor}, a {tensor})"),
        ("(7, {})", "(a int, a dict)"),
    ],
)
def test_wrong_return(folder: Path, returned: str, what: str) -> None:
    error = _error(_write(folder, f"{NET}    return {returned}\n"))
    with tf.Graph().as_default():
        tensor = type(tf.zeros([1])).__name__
    what = what.format(tensor=tensor)
    assert error.cause == f"my_nets:my_net returns {what}, expected (logits, end_points)."
    assert error.fix == (
        "Return the tensor of the logits and a dict of activations by name: return net, end_points"
    )


def test_logits_of_a_wrong_shape(folder: Path) -> None:
    body = (
        "    return slim.conv2d(images, num_classes, [1, 1]), {}\nmy_net.default_image_size = 8\n"
    )
    error = _error(_write(folder, NET + body))
    assert error.cause == (
        "my_nets:my_net returns logits float32 of shape (1, 8, 8, 5), expected float32 [images, 5]."
    )
    assert error.fix == (
        "Give the last layer num_classes outputs; a map of them is averaged by "
        "tf.reduce_mean(net, [1, 2]), one of a pixel loses its sides by tf.squeeze(net, [1, 2])."
    )


def test_error_while_it_is_built(folder: Path) -> None:
    body = (
        "    net = slim.conv2d(images, 4, [9, 9], padding='VALID')\n"
        "    return tf.squeeze(net, [1, 2]), {}\n"
    )
    error = _error(_write(folder, NET + body), 16)
    assert error.cause.startswith(
        "my_nets:my_net raises ValueError while it is built for 16x16 pixels and 5 classes "
        f"(line 6 of {folder}/my_nets.py): "
    )
    assert error.fix == (
        "Mend it; `slimworks nets my_nets:my_net` builds it at its own size. Images of another "
        "size: `--set model.image_size=...`."
    )
    assert error.details == "  my_nets.py:6 in my_net: return tf.squeeze(net, [1, 2]), {}"


@pytest.mark.parametrize(
    ("made", "variable"),
    [
        ("tf.Variable(tf.ones([3]), name='scale')", "scale"),
        ("slim.variable('scale', [3])", "scale"),
    ],
)
def test_variable_that_no_checkpoint_would_hold(folder: Path, made: str, variable: str) -> None:
    body = (
        f"    net = slim.flatten(images * {made})\n"
        "    return slim.fully_connected(net, num_classes), {}\nmy_net.default_image_size = 8\n"
    )
    error = _error(_write(folder, NET + body))
    assert error.cause == (
        f"my_nets:my_net makes the variable {variable}, which is no model variable: no training "
        "would change it and no checkpoint hold it."
    )
    assert error.fix == (
        "Make it by slim.model_variable(name, shape, ...), as TF-Slim's layers make theirs."
    )


def test_network_without_a_head(folder: Path) -> None:
    body = "    return tf.zeros([tf.shape(images)[0], num_classes]), {}\n"
    error = _error(_write(folder, NET + body))
    assert error.cause == "my_nets:my_net has no variable whose shape follows num_classes."
    assert error.fix == "Give the last layer num_classes outputs."


@pytest.mark.parametrize(
    ("attribute", "cause", "fix"),
    [
        (
            "preprocessing = 'inceptoin'",
            "my_nets:my_net has preprocessing 'inceptoin', which is no known family. "
            "Did you mean 'inception'?",
            "Choose one of inception, vgg, cifarnet, lenet, or leave my_net.preprocessing out for "
            "inception.",
        ),
        (
            "default_image_size = 0",
            "my_nets:my_net has default_image_size 0, expected a whole number above 0.",
            "Set my_net.default_image_size below the function, or leave it out.",
        ),
        (
            "arg_scope = lambda weight_decay: None",
            "The arg scope of my_nets:my_net is None, expected what slim.arg_scope gives.",
            "Return it from the function: with slim.arg_scope(...) as scope: return scope",
        ),
    ],
)
def test_wrong_attributes(folder: Path, attribute: str, cause: str, fix: str) -> None:
    (folder / "my_nets.py").write_text(GOOD + f"my_net.{attribute}\n", encoding="utf-8")
    error = _error("my_nets:my_net")
    assert (error.cause, error.fix) == (cause, fix)


def test_arg_scope_that_raises(folder: Path) -> None:
    (folder / "my_nets.py").write_text(
        GOOD + "def my_net_arg_scope():\n    return {}\n", encoding="utf-8"
    )
    assert _error("my_nets:my_net").cause == (
        "my_nets:my_net raises TypeError while its arg scope is made (its call): "
        "my_net_arg_scope() got an unexpected keyword argument 'weight_decay'"
    )


def test_containers_see_only_their_image(folder: Path) -> None:
    (folder / "my_nets.py").write_text(GOOD, encoding="utf-8")
    own_nets.require_installed("lenet", "slimworks:1")
    with pytest.raises(ConfigError) as caught:
        own_nets.require_installed("my_nets:my_net", "slimworks:1")
    assert caught.value.cause == (
        f"model.net is 'my_nets:my_net', which is {folder}/my_nets.py on this machine; steps in "
        "containers see only what their image holds."
    )
    assert caught.value.fix == (
        "Make it a package, install it here and in slimworks:1, and name it by its module: "
        "docs/own-networks.md."
    )
