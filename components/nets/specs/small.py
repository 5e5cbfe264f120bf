"""Networks for MNIST and CIFAR, without published checkpoints."""

from __future__ import annotations

from slimworks.components.nets.spec import NetSpec, module_of

SPECS = (
    NetSpec(
        name="lenet",
        module=module_of("lenet"),
        function="lenet",
        arg_scope="lenet_arg_scope",
        scope="LeNet",
        head_scopes=("LeNet/fc4",),
        embedding_end_point="fc3",
        preprocessing="lenet",
        default_image_size=28,
        min_image_size=4,  # one pixel is left of it after two pools
        num_channels=1,
        parameters=3_274_634,
        macs=13_883_904,
        num_classes=10,
    ),
    NetSpec(
        name="cifarnet",
        module=module_of("cifarnet"),
        function="cifarnet",
        arg_scope="cifarnet_arg_scope",
        scope="CifarNet",
        head_scopes=("CifarNet/logits",),
        embedding_end_point="fc4",
        preprocessing="cifarnet",
        default_image_size=32,
        min_image_size=4,  # one pixel is left of it after two pools
        parameters=1_756_426,
        macs=32_778_112,
        num_classes=10,
    ),
)
