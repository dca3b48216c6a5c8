"""BYOL and SimSiam (Eq. 5)."""

from __future__ import annotations

import torch

from helpers.oracles.explicit import cosine, halves


def predicted(rows, targets, history, settings):
    """Eq. 5: E[ -cos(h(u1), u2) ], h = linear, batch normalisation, ReLU, linear, written out."""

    def half(k):
        first, norm, _, last = settings.form.predictor
        hidden = rows[k] @ first.weight.T
        mean = hidden.mean(0)
        variance = ((hidden - mean) ** 2).mean(0)
        hidden = (hidden - mean) / (variance + norm.eps) ** 0.5 * norm.weight + norm.bias
        guess = hidden.clamp(min=0) @ last.weight.T + last.bias
        return -torch.stack([cosine(a, b) for a, b in zip(guess, targets[1 - k], strict=True)]).mean()

    return halves(half)


ORACLES = {"byol": predicted, "simsiam": predicted}
