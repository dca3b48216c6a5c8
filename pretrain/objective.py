"""From gradients with respect to rows to something that `backward()` understands."""

from __future__ import annotations

import torch

from pretrain.methods import GradientForm


def surrogate(rows: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A scalar whose gradient with respect to `rows` (n, C) is `gradient` / n: mean_i(g_i.detach() · u_i)."""
    return (rows * gradient.detach()).sum(-1).mean()


def objective(
    form: GradientForm, online: torch.Tensor, targets: torch.Tensor, views: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """One step's objective, averaged over views and rows; its gradient is the form's (Eq. 13), averaged likewise.

    Args:
        form: its memory takes in `targets` first, then it is asked for gradients (the official code's order).
        online: (K, n, C) unit rows of the online branch, with gradients.
        targets: (G, n, C) unit rows of the target branch, without.
        views: (K, G), how much online view k is drawn to target view g; default: two views, each to the other.

    Returns: {"positive", "negative"}, scalars to be summed; "negative" includes the balance factor. -positive is the
        mean cosine of positive pairs; negative / balance is the mean squared cosine to the samples, which is twice the
        energy of Eq. 15: their sum is not the loss, it only has its gradient.
    """
    if views is None:
        views = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    targets = targets.detach()
    with torch.autocast(online.device.type, enabled=False):  # gradients of the rows keep the rows' precision
        form.observe(targets)
        goals = torch.einsum("kg,gnc->knc", views.to(targets), targets)
        positive = [surrogate(u1, form.positive(u1, u2)) for u1, u2 in zip(online, goals, strict=True)]
        negative = [surrogate(u1, form.negative(u1, u2)) for u1, u2 in zip(online, goals, strict=True)]
    return {"positive": torch.stack(positive).mean(), "negative": form.balance * torch.stack(negative).mean()}
