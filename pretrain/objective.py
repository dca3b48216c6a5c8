"""From gradients with respect to rows to something that `backward()` understands."""

from __future__ import annotations

from weakref import WeakSet

import torch

from pretrain.methods import GradientForm, LossForm
from pretrain.runtime.errors import UserError

_checked: WeakSet[GradientForm | LossForm] = WeakSet()  # forms whose first rows were looked at


def surrogate(rows: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A scalar whose gradient for n `rows` (..., C) is `gradient` / n: mean_i(g_i.detach() · u_i).

    As one dot product, for it makes no tensor of the rows' size on its way.
    """
    return torch.dot(rows.flatten(), gradient.detach().flatten()) / rows.shape[:-1].numel()


def pairing(views: int, globals_: int, device: torch.device | None = None) -> torch.Tensor:
    """(K, G): each global view is drawn to the other global views, each local view to all of them (Section 5.2).

    Made on `device`: to copy it to a GPU from the host, the host would have to wait.
    """
    pairs = torch.ones(views, globals_, device=device)
    pairs.fill_diagonal_(0)
    return pairs / pairs.sum(1, keepdim=True)


def objective(
    form: GradientForm | LossForm,
    online: torch.Tensor,
    targets: torch.Tensor,
    views: torch.Tensor | None = None,
    mixing: torch.Tensor | None = None,
    negative_targets: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """One step's objective, averaged over views and rows; its gradient is the form's (Eq. 13), averaged likewise.

    Args:
        form: its memory takes in the samples first, then it is asked for gradients (the official code's order).
        online: (K, n, C) rows of the online branch under the form's normalisation, with gradients; the first G are of
            the views that `targets` holds.
        targets: (G, n, C) rows of the target branch, taken as constants.
        views: (K, G), how much online view k is drawn to target view g; default: see `pairing`.
        mixing: (n, n), or (K, n, n) where views differ, how much image m is in online image n; default: the identity.
        negative_targets: (G, n, C), the samples of the negative gradient where they come from another branch (Table 3).

    Returns: {"positive", "negative"}, scalars to be summed; "negative" includes the balance factor, both the scale. For
        UniGrad -positive is the mean cosine of positive pairs and negative / balance the mean squared cosine to the
        samples, twice the energy of Eq. 15: their sum is not the loss, it only has its gradient. For row c "positive"
        is the loss.

    Raises:
        UserError: shapes that do not fit, or first rows that are not unit although the form's are.
    """
    _check_shapes(online, targets, views, mixing, negative_targets)
    if form not in _checked:
        _check_unit(form, {"online": online, "target": targets})
        _checked.add(form)
    pairs = pairing(len(online), len(targets), online.device) if views is None else views
    targets = targets.detach()
    samples = targets if negative_targets is None else negative_targets.detach()
    with torch.autocast(online.device.type, enabled=False):  # gradients of the rows keep the rows' precision
        form.observe(samples)
        goals = _goals(pairs, mixing, targets)
        if isinstance(form, LossForm):
            return _loss(form, online, goals)
        against = goals if negative_targets is None else _goals(pairs, mixing, samples)
        positive, negative = _gradients(form, online.detach(), goals, against)
    return {
        "positive": form.scale * surrogate(online, positive),
        "negative": form.scale * form.balance * surrogate(online, negative),
    }


def _loss(form: LossForm, online: torch.Tensor, goals: torch.Tensor) -> dict[str, torch.Tensor]:
    losses = [form.loss(u1, u2) for u1, u2 in zip(online, goals, strict=True)]
    return {"positive": torch.stack(losses).mean(), "negative": online.new_zeros(())}


def _gradients(
    form: GradientForm, rows: torch.Tensor, goals: torch.Tensor, against: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positive and negative gradients of all views, (K, n, C), or as one (K·n, C) where the form takes rows singly."""
    if form.row_by_row:  # then all views are as one: fewer and larger products
        rows, goals, against = (each.flatten(0, 1).unsqueeze(0) for each in (rows, goals, against))
    positive = _stack([form.positive(u1, u2) for u1, u2 in zip(rows, goals, strict=True)])
    negative = _stack([form.negative(u1, u2, k) for k, (u1, u2) in enumerate(zip(rows, against, strict=True))])
    return positive, negative


def _stack(views: list[torch.Tensor]) -> torch.Tensor:
    """`torch.stack`, without a copy where there is one only."""
    return torch.stack(views) if len(views) > 1 else views[0]


def _goals(pairs: torch.Tensor, mixing: torch.Tensor | None, targets: torch.Tensor) -> torch.Tensor:
    """(K, n, C): what every online row is drawn to, not normalised again."""
    goals = torch.einsum("kg,gnc->knc", pairs.to(targets), targets)
    return goals if mixing is None else mixing.to(targets) @ goals


def _check_shapes(
    online: torch.Tensor,
    targets: torch.Tensor,
    views: torch.Tensor | None,
    mixing: torch.Tensor | None,
    negative_targets: torch.Tensor | None,
) -> None:
    if online.dim() != 3 or targets.dim() != 3 or online.shape[1:] != targets.shape[1:]:
        raise UserError(
            f"online rows {tuple(online.shape)} and target rows {tuple(targets.shape)} do not fit: give (K, n, C) and "
            "(G, n, C) with the same n and C."
        )
    n = online.shape[1]
    expected = {
        "views": (views, (len(online), len(targets))),
        "mixing": (mixing, (n, n) if mixing is None or mixing.dim() == 2 else (len(online), n, n)),
        "negative_targets": (negative_targets, tuple(targets.shape)),
    }
    for name, (given, shape) in expected.items():
        if given is not None and tuple(given.shape) != shape:
            raise UserError(f"{name} has shape {tuple(given.shape)}, but {shape} belongs to these rows.")
    if views is None and len(targets) < 2:
        raise UserError("one target view leaves the first online view nothing to be drawn to: give two, or `views`.")


def _check_unit(form: GradientForm | LossForm, branches: dict[str, torch.Tensor]) -> None:
    """Once, for reading the norms on the host waits for the device."""
    if form.normalisation != "l2":
        return
    for branch, rows in branches.items():
        off = (rows.detach().norm(dim=-1) - 1).abs().max().item()
        if 1e-3 < off < torch.inf:  # what is not finite is the monitor's to tell
            raise UserError(
                f"{branch} rows are not unit (a norm is off by {off:.3g}): {type(form).__name__} is a gradient on unit "
                "rows, so pass them through torch.nn.functional.normalize(rows, dim=-1) first."
            )
