"""What the configs of models on projected sequences have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProjectionConfig:
    """What models on projected sequences have in common; tuples are in the order text, vision, audio."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences in steps; longer ones are cut
    d: int = 40  # common width, a multiple of heads
    heads: int = 8
    kernels: tuple[int, int, int] = (1, 1, 1)  # widths of the temporal convolutions in steps, odd
    input_dropout: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of feature elements

    def __post_init__(self) -> None:
        if self.d % self.heads:
            raise ValueError(f"d = {self.d} is not a multiple of heads = {self.heads}")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels = {self.kernels}: every kernel has an odd width, so that lengths stay")
