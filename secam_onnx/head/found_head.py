"""A head that was found: everything between the feature map and the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secam_onnx.graph.index import Graph
from secam_onnx.head.attention_weights import attends_everywhere
from secam_onnx.head.grid import Grid
from secam_onnx.head.outputs.class_output import ClassOutput
from secam_onnx.head.picture_span import WHOLE_PICTURE, common_size
from secam_onnx.head.rules import Step
from secam_onnx.head.walk import Rejection

__all__ = ["Head"]


@dataclass(frozen=True)
class Head:
    """Everything between the feature map and the logits.

    Attributes
    ----------
    grids : tuple of Grid
        The feature map, or one for each branch that the head joins.
    class_output : ClassOutput
        The logits, and what the model applies to them.
    output : str
        The model output or other tensor from which the walk began.
    steps : tuple of Step
        The understood nodes, from the logits back to the feature map; empty if the head is not understood.
    rejected : tuple of Rejection
        The tensors that were not chosen, with reasons.
    warning : str
        Why the feature map may say little; empty if there is no such reason.
    attention : (int, int)
        How many products of attention weights and values lie between the feature map and the logits, and how many there
        are in the network; (0, 0) if the head has none.
    nearer : tuple of Grid
        Feature maps with less attention between them and the logits, whose maps are averaged with that of `grid`.
    """

    grids: tuple[Grid, ...]
    class_output: ClassOutput
    output: str
    steps: tuple[Step, ...]
    rejected: tuple[Rejection, ...]
    warning: str = ""
    attention: tuple[int, int] = (0, 0)
    nearer: tuple[Grid, ...] = ()

    @property
    def grid(self) -> Grid:
        """The feature map; the first one, if there are several."""
        return self.grids[0]

    @property
    def logits(self) -> str:
        """The name of the logits, a tensor `(N, n_logits)`, perhaps with more axes of length 1."""
        return self.class_output.logits

    @property
    def n_logits(self) -> int:
        """The number of logits."""
        return self.class_output.n_logits

    @property
    def n_classes(self) -> int:
        """The number of classes; each is a logit, or a negated one (see `ClassOutput.pick`)."""
        return self.class_output.n_classes

    @property
    def activation(self) -> str:
        """What the model itself applies to the logits; see `ClassOutput`."""
        return self.class_output.activation

    @property
    def features(self) -> str:
        """The name of the feature map."""
        return self.grid.tensor

    @property
    def map_size(self) -> tuple[int | None, int | None]:
        """Rows and columns of the maps: those of the feature map, or of the common grid of several."""
        _, rows, columns = self.grid.shape
        if rows is None or columns is None or not self.needs_common_grid:
            return rows, columns
        sizes = [(grid.shape[1] or 1, grid.shape[2] or 1) for grid in self.grids]
        return common_size(sizes, [grid.span for grid in self.grids])

    @property
    def needs_common_grid(self) -> bool:
        """Whether maps need a common grid, as they differ in size or do not cover the whole picture."""
        return any(not grid.span.like(WHOLE_PICTURE) or grid.shape[1:] != self.grid.shape[1:] for grid in self.grids)

    @property
    def understood(self) -> bool:
        """Whether every node of the head is understood, so that its gradient can be derived."""
        return bool(self.steps)

    @property
    def algebra(self) -> Literal["piecewise linear", "rounded", "detached", "smooth", "unknown"]:
        """The kind of function that the head is. If it is piecewise linear, the map adds up to the logit exactly.

        A 'rounded' one is piecewise linear except for the rounding of a quantised network. In a 'detached' one,
        attention weights and other factors are held at their values for the picture, and the rest is one of these.
        """
        if not self.understood:
            return "unknown"
        if any(step.holds for step in self.steps):
            return "detached"
        if all(step.exact for step in self.steps):
            return "piecewise linear"
        return "rounded" if all(step.exact or step.rounds for step in self.steps) else "smooth"

    @property
    def rounds(self) -> bool:
        """Whether some step rounds numbers, so that the map adds up to the logit only nearly."""
        return any(step.rounds for step in self.steps)

    def of_one_image(self, graph: Graph) -> bool:
        """Whether the head is understood for one image at a time, as some tensor's first axis counts other things."""
        return self.algebra == "detached" and any(graph.batch_axis(name) != 0 for name in self.tensors)

    @property
    def cuts(self) -> tuple[int, ...]:
        """How many products of attention weights and values lie between each map and the logits, nearer maps first."""
        made = {step.output: place for place, step in enumerate(self.steps)}
        nearer = (self.steps[: made[grid.tensor]] for grid in self.nearer)
        return (*(sum(step.attends for step in steps) for steps in nearer), self.attention[0])

    def plain_transformer(self, graph: Graph) -> bool:
        """Whether all attention in the network is to all tokens of the feature map, without convolutions between."""
        return "L" in self.grid.layout and attends_everywhere(graph.for_one_image(), self.logits, self.grid.tokens[0])

    def epsilon(self, graph: Graph) -> float:
        """The precision of the head: the largest `Graph.epsilon` of its tensors."""
        return max(map(graph.epsilon, self.tensors))

    @property
    def tensors(self) -> set[str]:
        """Names of all tensors from the features to the logits."""
        on_the_way = (name for step in self.steps for name in (*step.inputs, step.output))
        return {self.logits, *(grid.tensor for grid in self.grids), *on_the_way}

    @property
    def kind(self) -> str:
        """The head in the field's words, from the features on: `gap + fc`, `4 attention blocks + fc`."""
        if not self.understood:
            return "not understood"
        if self.attention[0]:  # whose blocks have ten layers each
            passed = self.attention[0]
            last = next((step.role for step in self.steps if step.role), "")
            return f"{passed} attention block{'s' * (passed > 1)} + {last}"
        return " + ".join(step.role for step in reversed(self.steps) if step.role) or "none"

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weight tensors, from the features on."""
        return tuple(dict.fromkeys(name for step in reversed(self.steps) for name in step.weights))
