"""The matrix of the README: exporter x network x head, and where the feature map is.

Every cell is a real file, made in the test run or shipped inside a package; `test_*.py` beside this file go through
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = [
    "CAFFE2",
    "CAFFE2_OF_EACH_HEAD",
    "CLASS_TOKEN",
    "GAP_FC",
    "KERAS",
    "MLP",
    "PADDLE",
    "PYTORCH",
    "PYTORCH_OF_EACH_HEAD",
    "TENSORFLOW",
    "Cell",
    "each",
]

GAP_FC = "gap + fc"
MLP = "fc + relu + fc + relu + fc"


@dataclass(frozen=True)
class Cell:
    """One network.

    Attributes
    ----------
    head : str
        What the head must be read as.
    shape : tuple
        The feature map, `(C, h, w)`.
    layer : str
        The module whose output it is, in the framework that made it.
    size : int
        Height and width of the input.
    algebra : str
        See `Head.algebra`.
    output : str or None
        The output to name where there are several.
    split : str
        The module of a large layer that reads the flattened map; the classifier runs it cell by cell.
    """

    head: str
    shape: tuple[int, int, int]
    layer: str = ""
    size: int = 224
    algebra: str = "piecewise linear"
    output: str | None = None
    split: str = ""


# torchvision's networks, through the dynamo and the TorchScript exporter of PyTorch.
PYTORCH = {
    "resnet18": Cell(GAP_FC, (512, 7, 7), "layer4"),
    "resnet50": Cell(GAP_FC, (2048, 7, 7), "layer4"),
    "inception_v3": Cell(GAP_FC, (2048, 8, 8), "Mixed_7c", size=299),
    "googlenet": Cell(GAP_FC, (1024, 8, 8), "inception5b", size=256, output="logits"),
    "googlenet aux": Cell(
        "flatten + fc + relu + fc", (128, 4, 4), "aux1.conv", size=256, output="aux1", split="aux1.fc1"
    ),
    "vgg16": Cell(f"flatten + {MLP}", (512, 7, 7), "features", split="classifier.0"),
    "vgg16_bn": Cell(f"flatten + {MLP}", (512, 7, 7), "features", split="classifier.0"),
    "alexnet": Cell(f"flatten + {MLP}", (256, 6, 6), "features", split="classifier.1"),
    "squeezenet1_1": Cell("conv 1 x 1 + relu + gap", (512, 13, 13), "features"),
    "densenet121": Cell(GAP_FC, (1024, 7, 7), "features"),
    "mobilenet_v2": Cell(GAP_FC, (1280, 7, 7), "features"),
    "mobilenet_v3_large": Cell("gap + fc + hardswish + fc", (960, 7, 7), "features", algebra="smooth"),
    "efficientnet_b0": Cell(GAP_FC, (1280, 7, 7), "features"),
    "regnet_y_400mf": Cell(GAP_FC, (440, 7, 7), "trunk_output"),
    "convnext_tiny": Cell("gap + layernorm + fc", (768, 7, 7), "features", algebra="smooth"),
    "shufflenet_v2_x1_0": Cell(GAP_FC, (1024, 7, 7), "conv5"),
    "mnasnet1_0": Cell(GAP_FC, (1280, 7, 7), "layers"),
}

# One of each kind of head, the smallest.
PYTORCH_OF_EACH_HEAD = (
    "resnet18", "googlenet aux", "alexnet", "squeezenet1_1", "mobilenet_v3_large", "convnext_tiny",
)  # fmt: skip

# A class token, behind attention whose weights are held; masked token by token, too.
CLASS_TOKEN = {
    "VisionTransformer": Cell(
        "1 attention block + fc", (48, 6, 6), "encoder.layers.encoder_layer_1", size=96, algebra="detached"
    )
}

# The files of the onnx wheel, backend/test/data/light: opset 9, IR 3, batch 1, weights made by ConstantOfShape.
CAFFE2 = {
    "bvlc_alexnet": Cell(f"flatten + {MLP}", (256, 6, 6), "r14"),
    "densenet121": Cell("gap + conv 1 x 1", (1024, 7, 7), "r907"),
    "inception_v1": Cell(GAP_FC, (1024, 6, 6), "r137"),
    "inception_v2": Cell(GAP_FC, (1024, 7, 7), "r504"),
    "resnet50": Cell(GAP_FC, (2048, 7, 7), "r171"),
    "shufflenet": Cell(GAP_FC, (544, 7, 7), "r198"),
    "squeezenet": Cell("conv 1 x 1 + relu + gap", (512, 13, 13), "r60"),
    "vgg19": Cell(f"flatten + {MLP}", (512, 7, 7), "r36"),
    "zfnet512": Cell(f"flatten + {MLP}", (512, 6, 6), "r14"),
}

CAFFE2_OF_EACH_HEAD = ("bvlc_alexnet", "densenet121", "shufflenet", "squeezenet")

# keras.applications, through Keras's own exporter.
KERAS = {
    "ResNet50": Cell(GAP_FC, (2048, 7, 7), "conv5_block3_out"),
    "InceptionV3": Cell(GAP_FC, (2048, 8, 8), "mixed10", size=299),
    "VGG16": Cell(f"flatten + {MLP}", (512, 7, 7), "block5_pool", split="fc1"),
}

# keras.applications through TensorFlow and tf2onnx.
TENSORFLOW = {"MobileNetV2": Cell(GAP_FC, (1280, 7, 7), "out_relu")}

# paddle.vision through paddle2onnx.
PADDLE = {"resnet18": Cell(GAP_FC, (512, 7, 7)), "mobilenet_v2": Cell(GAP_FC, (1280, 7, 7))}


def each(cells: Mapping[str, Cell], of_each_head: Collection[str]) -> pytest.MarkDecorator:
    """Parameters of a test by `name`, of which those that are not `of_each_head` are left to the full set."""
    import pytest  # tools that read this table do without it

    assert {cells[name].head for name in of_each_head} == {cell.head for cell in cells.values()}
    marks = {True: (), False: (pytest.mark.full,)}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name in of_each_head]) for name in cells])
