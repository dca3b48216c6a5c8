"""DirectPred, row d, and with the middle term of its gradient (Table 6): a predictor that follows from F."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from pretrain.gradients import attract_through, direct_predictor, repel_correlation, twice_predicted
from pretrain.methods.collectives import FLOAT, Sent, Shapes
from pretrain.methods.memory import FeatureCorrelation, adopt_shapes
from pretrain.methods.row import GradientForm, Row
from pretrain.runtime.options import FIXED, option


@dataclass
class Options:
    """Of row d."""

    rho: float = option(
        0.99,
        "ρ, the share of the moving average F that a step keeps; about .9 in a run of few epochs",
        at_least=0,
        below=1,
        resume=FIXED,
    )
    eps: float = option(0.3, "ε, added to the predictor's eigenvalues", above=0, resume=FIXED)
    predictor_every: int = option(
        1, "how often the predictor is computed from F; each time a GPU waits", at_least=1, unit="steps", resume=FIXED
    )


class DirectPred(GradientForm):
    """Row d: dL/du1 = 1/‖W u1‖ (-W u2 + λ (F/λ_max + ε²) u1), λ = u2·W u1 / u1·(F/λ_max + ε²) u1 (Eq. 7, 24, 27).

    W is a function of F, not learned (Eq. 6). λ and the norm differ from row to row, so both are inside `positive`
    and `negative`, and `balance` and `scale` are 1.

    Args: rho, of F; eps, ε; predictor_every, steps between two eighs of F (each one waits for a GPU); middle_term, keep
        2ε (F/λ_max)^{1/2} in W W (Eq. 25), which makes it the exact gradient of Eq. 5 (Table 6).
    """

    normalisation, balance, scale, row_by_row = "l2", 1.0, 1.0, True
    through: torch.Tensor
    largest: torch.Tensor

    def __init__(self, rho: float, eps: float, predictor_every: int, middle_term: bool) -> None:
        super().__init__()
        self.eps, self.predictor_every, self.middle_term = eps, predictor_every, middle_term
        self.correlation = FeatureCorrelation(rho)
        self.register_buffer("through", torch.empty(0, 0))
        self.register_buffer("largest", torch.ones(()))
        self.num_updates = 0
        self.register_load_state_dict_pre_hook(adopt_shapes)  # type: ignore[no-untyped-call]  # torch has no types here

    def get_extra_state(self) -> int:
        """How many updates there were. It is counted on the host, since a step must not wait for the device."""
        return self.num_updates

    def set_extra_state(self, state: int) -> None:
        """The same, read back."""
        self.num_updates = state

    def prepare(self, samples: torch.Tensor) -> None:
        """Begin the all-reduce of F with this step's samples (G, n, C)."""
        self.correlation.begin(samples.flatten(0, 1))

    def observe(self, samples: torch.Tensor) -> None:
        """Update F, and W where it is its turn."""
        self.correlation.update(samples.flatten(0, 1))
        if self.num_updates % self.predictor_every == 0:
            self.through, self.largest = direct_predictor(self.correlation.corr, self.eps)
        self.num_updates += 1

    def dynamic_balance(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """λ of every row, (n, 1) (Eq. 24)."""
        predicted = u1 @ self.through
        return (u2 * predicted).sum(-1, True) / (u1 * self._twice(u1, predicted)).sum(-1, True)

    def _twice(self, u1: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        return twice_predicted(u1, predicted, self.correlation.corr, self.largest, self.eps, self.middle_term)

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        length: torch.Tensor = (u1 @ self.through).norm(dim=-1, keepdim=True)
        return attract_through(u2, self.through) / length

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        """λ W W u1 / ‖W u1‖, the dynamic λ included."""
        predicted = u1 @ self.through
        twice = self._twice(u1, predicted)
        balance = (u2 * predicted).sum(-1, True) / (u1 * twice).sum(-1, True)
        length: torch.Tensor = predicted.norm(dim=-1, keepdim=True)
        return balance * twice / length

    def figure_3(self, u1: torch.Tensor, u2: torch.Tensor) -> dict[str, torch.Tensor]:
        """Magnitudes of the three terms of W W u1 (Eq. 25), cosine of the first two, and λ: Figure 3 a, b."""
        first = repel_correlation(u1, self.correlation.corr) / self.largest
        middle = 2 * self.eps * (u1 @ self.through - self.eps * u1)
        return {
            "directpred_first_norm": first.norm(dim=-1).mean(),
            "directpred_middle_norm": middle.norm(dim=-1).mean(),
            "directpred_last_norm": (self.eps**2 * u1).norm(dim=-1).mean(),
            "directpred_cosine": functional.cosine_similarity(first, middle, dim=-1).mean(),
            "directpred_balance": self.dynamic_balance(u1, u2).mean(),
        }

    def sent(self, shapes: Shapes) -> list[Sent]:
        return self.correlation.sent(shapes)

    def held(self, shapes: Shapes) -> int:
        """W; F says its own."""
        return shapes.width * shapes.width * FLOAT


ONE_TERM, TWO_TERMS = {"middle_term": False}, {"middle_term": True}
ROWS = (
    Row("directpred", "d", DirectPred, Options, fixed=ONE_TERM, title="DirectPred"),
    Row("directpred_middle_term", "d", DirectPred, Options, fixed=TWO_TERMS, table=6, title="DirectPred (middle term)"),
)
