"""What DMD computes and how it is trained, as data.

Tuples over modalities are in the order text, vision, audio. Numbers of the official presets are those of the official
configuration (aligned data, BERT text) and of constants in its code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

MODALITIES = ("text", "vision", "audio")
ABLATIONS = {
    "no-fd": "feature_decoupling",
    "no-homogd": "homo_distillation",
    "no-ca": "crossmodal_attention",
    "no-heterogd": "hetero_distillation",
}
"""The ablations of the paper: DMD's presets by name, each with the one switch that it turns off."""
_OFFICIAL = {
    "mosi": {
        "d": 50, "heads": 10, "kernels": (5, 5, 5), "input_dropout": (0.5, 0.0, 0.0), "embed_dropout": 0.2,
        "attention_dropout": (0.3, 0.0, 0.2), "memory_attention_dropout": 0.3,
    },
    "mosei": {
        "d": 30, "heads": 6, "kernels": (5, 3, 1), "input_dropout": (0.3, 0.0, 0.0), "embed_dropout": 0.0,
        "attention_dropout": (0.4, 0.0, 0.0), "memory_attention_dropout": 0.4,
    },
}  # fmt: skip


@dataclass(frozen=True)
class DMDConfig:
    """The model and its losses. Defaults are the preset ``dmd``; ``official`` is what the official code computes, and
    ``paper`` what the paper describes. docs/paper-and-code.md lists where these two disagree, with the fields.

    Sizes: ``d`` is the common width of the modalities, a multiple of ``heads``; ``kernels`` are widths of the temporal
    convolutions in words; ``lengths`` the longest sequence in words (longer ones are cut).
    """

    lengths: tuple[int, int, int] = (50, 50, 50)
    emotions: tuple[str, ...] = ()  # whose presence is predicted, each by itself; none: a sentiment
    d: int = 32
    heads: int = 4
    layers: int = 1
    memory_layers: int = 1
    kernels: tuple[int, int, int] = (1, 1, 1)

    input_dropout: tuple[float, float, float] = (0.5, 0.4, 0.4)  # of feature elements; official for text only
    attention_dropout: tuple[float, float, float] = (0.1, 0.1, 0.1)  # by the modality that is attended to
    memory_attention_dropout: float = 0.1
    embed_dropout: float = 0.1
    relu_dropout: float = 0.0
    residual_dropout: float = 0.3
    output_dropout: float = 0.5

    # Padding. Masked: padded steps take no part, convolutions keep the length, and the last step is the last valid one.
    # Not masked (official): every step takes part, convolutions shorten, and the last step is read as it is.
    mask_padding: bool = True
    # What an encoder's output is summed up by: its last step (official), or the mean of the steps that take part.
    summary: Literal["last", "mean"] = "mean"
    # Official: query step i sees key steps up to i + |T_k - T_q|. Off, every valid step is seen.
    causal: bool = False
    # How the homogeneous sequences become vectors. flatten (official): one weight for every step of a fixed length.
    time_reduction: Literal["flatten", "mean"] = "mean"
    # sigmoid (official): a squashed linear map replaces the features; gate: it multiplies them.
    fusion: Literal["sigmoid", "gate"] = "gate"
    # Official: a modality that already has d columns is not projected.
    skip_projection_at_d: bool = False

    # Ablations of the paper. Without decoupling, both parts are the projected sequence and its losses are zero; without
    # cross-modal attention every stream attends to its own modality.
    feature_decoupling: bool = True
    homo_distillation: bool = True
    crossmodal_attention: bool = True
    hetero_distillation: bool = True

    auxiliary_weight: float = 1.0  # of the seven auxiliary L1 terms; official 1, in code only
    decoupling_weight: float = 0.1  # lambda_1 of the paper
    distillation_weight: float = 0.05  # lambda_2
    margin_ort_weight: float = 0.1  # gamma
    # Axis of the cosine between specific and common part: batch is what PyTorch up to 1.9 made of the official call.
    ort_axis: Literal["batch", "feature"] = "feature"
    # hinge (official): mean max(0, cos), negative cosines are free; square: mean cos^2.
    ort_form: Literal["hinge", "square"] = "square"
    # official: positives share the exact label, in any modality. paper: positives share the class (rounded label) in
    # another modality, negatives are of another class in the same modality.
    triplet: Literal["official", "paper"] = "paper"
    # label_distance (official): the margin is that much for a label distance of 1; constant (paper): for every pair.
    margin_form: Literal["label_distance", "constant"] = "label_distance"
    margin: float = 0.15  # official 0.15; the paper's constant is not known
    # Of reconstruction and cycle: mean over elements (official), or their sum for each sample (the paper's norms).
    squared_norms: Literal["mean", "sum"] = "mean"

    # Graph distillation units.
    homo_hidden: int = 64
    hetero_hidden: int = 32
    edge_temperature: float = 8.0  # divides the raw edges; official 8
    # joint (official): one softmax over all six edges; student: one over the two teachers of each student.
    edge_softmax: Literal["joint", "student"] = "student"
    # hand_set (official): the edges are drawn to, and increased by, a prior that favours text as the teacher;
    # uniform: drawn to equal weights, so that they do not collapse onto the easiest pair, and increased by nothing.
    # The paper has neither: uniform with a regularisation of 0.
    edge_prior: Literal["hand_set", "uniform"] = "uniform"
    edge_regularisation: float = 1.0  # official 10
    # l1: |student - teacher| summed over features (official, homogeneous); repel: max(0, cos) (official,
    # heterogeneous: it drives the two apart); imitate: 1 - cos.
    homo_representation: Literal["l1", "repel", "imitate"] = "imitate"
    hetero_representation: Literal["l1", "repel", "imitate"] = "imitate"
    homo_representation_weight: float = 1.0  # official 0: computed with 10, then left out of the loss; paper 0
    hetero_representation_weight: float = 1.0  # official 10; paper 0

    @classmethod
    def official(cls, dataset: Literal["mosi", "mosei"] = "mosi", **overrides: object) -> DMDConfig:
        """What the official code (mdswyz/DMD at 516d4e1) computes; sizes and dropouts of its MOSI or MOSEI settings."""
        layers = int(overrides.pop("layers", 4))
        settings = {
            **_OFFICIAL[dataset],
            "layers": layers, "memory_layers": max(layers, 3), "residual_dropout": 0.0, "output_dropout": 0.5,
            "mask_padding": False, "summary": "last", "causal": True, "time_reduction": "flatten", "fusion": "sigmoid",
            "skip_projection_at_d": True, "ort_axis": "batch", "ort_form": "hinge", "triplet": "official",
            "edge_softmax": "joint", "edge_prior": "hand_set", "edge_regularisation": 10.0,
            "homo_representation": "l1", "hetero_representation": "repel",
            "homo_representation_weight": 0.0, "hetero_representation_weight": 10.0,
        }  # fmt: skip
        return cls(**{**settings, **overrides})

    @classmethod
    def paper(cls, dataset: Literal["mosi", "mosei"] = "mosi") -> DMDConfig:
        """What the paper describes where the official code does something else; all that it leaves open is official."""
        return cls.official(
            dataset, causal=False, fusion="gate", auxiliary_weight=0.0, ort_axis="feature", triplet="paper",
            margin_form="constant", squared_norms="sum", edge_temperature=1.0, edge_softmax="student",
            edge_prior="uniform", edge_regularisation=0.0, hetero_representation_weight=0.0,
        )  # fmt: skip

    def __post_init__(self) -> None:
        if self.d % self.heads:
            raise ValueError(f"d = {self.d} is not a multiple of heads = {self.heads}")
        if self.mask_padding and any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels = {self.kernels}: with mask_padding every kernel has an odd width")
        if not self.mask_padding and any(k > t for k, t in zip(self.kernels, self.lengths, strict=True)):
            raise ValueError(f"kernels = {self.kernels} are wider than the sequences, lengths = {self.lengths}")
        if self.time_reduction == "flatten" and self.mask_padding:
            raise ValueError("time_reduction = flatten needs a fixed length, so mask_padding = False")
        dropouts = (*self.input_dropout, *self.attention_dropout, self.memory_attention_dropout, self.embed_dropout,
                    self.relu_dropout, self.residual_dropout, self.output_dropout)  # fmt: skip
        if not all(0 <= p < 1 for p in dropouts):
            raise ValueError(f"a dropout is a probability in [0, 1): {dropouts}")


@dataclass(frozen=True)
class Training:
    """The protocol of one run. Defaults are the preset ``dmd``, for data sets from some hundred segments on."""

    batch_size: int = 16
    learning_rate: float = 1e-3
    text_learning_rate: float = 2e-5  # of a text encoder that is trained, too; official: the same for all, 1e-4
    weight_decay: float = 0.0  # of Adam; official 0 (its configuration names one that is never read)
    accumulate: int = 1  # batches per optimiser step; official 10
    mean_over_group: bool = True  # official False: gradients of a group are summed
    step_leftover_group: bool = True  # official False: the last, incomplete group of an epoch is thrown away
    # What is validated, selected and tested is a running average of the weights, with this decay per optimiser step: on
    # few segments single steps are noise, and so is a selection between them. Official: 0, the weights themselves.
    average_decay: float = 0.98
    clip_value: float = 0.6  # clips every gradient element; official 0.6
    plateau_factor: float = 0.5  # official 0.5
    plateau_patience: int = 5  # epochs; official 5
    early_stop: int = 10  # epochs without improvement of the valid MAE; official 10
    minimum_improvement: float = 1e-6  # of the valid MAE; official 1e-6
    max_epochs: int = 60  # official has none
    # Labels are mapped from this range to [-3, 3], on which models work, and predictions back. Not of emotions.
    label_range: tuple[float, float] = (-3.0, 3.0)
    standardise: bool = True  # columns to mean 0, standard deviation 1 over the training split; official False

    mixed_precision: bool = False  # bfloat16 products, for a GPU; it changes the numbers in their third digit

    cpu_threads: int = 1  # on a CPU: so many encoders of a bank side by side; trainings side by side gain more

    @classmethod
    def official(cls) -> Training:
        """The official loop, but for selection: the valid MAE is over samples, not a rounded mean of batch means."""
        return cls(
            learning_rate=1e-4, text_learning_rate=1e-4, accumulate=10, mean_over_group=False,
            step_leftover_group=False, average_decay=0.0, max_epochs=1000, standardise=False,
        )  # fmt: skip

    @classmethod
    def paper(cls) -> Training:
        """The official loop, with every batch counted and gradients averaged over a group, as the paper lets expect."""
        return replace(cls.official(), mean_over_group=True, step_leftover_group=True)

    def to_model(self, labels: np.ndarray) -> np.ndarray:
        """Labels on the scale of models, -3 to 3."""
        return (labels - sum(self.label_range) / 2) / self.label_unit

    def from_model(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions on the scale of the labels."""
        return predictions * self.label_unit + sum(self.label_range) / 2

    @property
    def label_unit(self) -> float:
        """What a difference of 1 on the scale of models is on that of the labels."""
        return (self.label_range[1] - self.label_range[0]) / 6

    def __post_init__(self) -> None:
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay = {self.average_decay} must be in [0, 1)")
        if not self.label_range[0] < self.label_range[1]:
            raise ValueError(f"label_range = {self.label_range} must be the lowest label and the highest")
        for name in ("batch_size", "accumulate", "max_epochs", "early_stop", "cpu_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
