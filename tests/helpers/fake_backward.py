"""Backward of tensors on a GPU that is not there: autograd's engine would ask the CUDA driver for streams.

So its graph is walked here: every node is called with the gradients that reach it, as the engine does, which shows what
a backward formula launches, reads and mixes. Values are never looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

Gradients = dict[int, torch.Tensor]  # by the number of a node's output


def backward(
    tensors: torch.Tensor | Sequence[torch.Tensor],
    grad_tensors: torch.Tensor | Sequence[torch.Tensor | None] | None = None,
    *_: object,
    **__: object,
) -> None:
    """In the place of torch.autograd.backward; leaves get their gradients and their hooks are called."""
    roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    given = [grad_tensors] if grad_tensors is None or isinstance(grad_tensors, torch.Tensor) else list(grad_tensors)
    with torch.no_grad():
        for root, gradient in zip(roots, given, strict=True):
            if gradient is None:
                assert root.numel() == 1, "only a scalar has a gradient of its own"
                gradient = torch.ones_like(root)
            assert gradient.shape == root.shape and gradient.device == root.device
            _walk(root, gradient)


def _walk(root: torch.Tensor, gradient: torch.Tensor) -> None:
    nodes, edges_left = _below(root.grad_fn)
    received: dict[Any, Gradients] = {root.grad_fn: {root.output_nr: gradient}}
    ready = [root.grad_fn]
    while ready:
        node = ready.pop()
        sent = _called(node, received.pop(node, {}))
        for (following, place), value in zip(node.next_functions, sent, strict=True):
            if following is None:
                continue
            if value is not None:
                _add(received.setdefault(following, {}), place, _fitted(value, following, place))
            edges_left[following] -= 1
            if not edges_left[following]:
                ready.append(following)
    assert not any(edges_left[node] for node in nodes), "a node of the graph was never reached"


def _below(root: Any) -> tuple[list[Any], Counter[Any]]:
    """All nodes of a graph, held so that each keeps its one Python object; how many edges lead to each."""
    nodes, edges, seen = [root], Counter(), {root}
    for node in nodes:
        for following, _ in node.next_functions:
            if following is None:
                continue
            edges[following] += 1
            if following not in seen:
                seen.add(following)
                nodes.append(following)
    return nodes, edges


def _called(node: Any, received: Gradients) -> Sequence[torch.Tensor | None]:
    """What a node sends on along its edges, given the gradients of its outputs."""
    if hasattr(node, "variable"):
        if received:
            _accumulate(node.variable, received[0])
        return ()
    edges = len(node.next_functions)
    if not received:
        return [None] * edges
    places = range(len(node._input_metadata))
    if hasattr(node, "apply"):  # written in Python: torch fills in zeros where no gradient came
        sent = node.apply(*(received.get(place, _zeros(node._input_metadata[place])) for place in places))
    else:
        sent = node(*(received.get(place) for place in places))
    sent = sent if isinstance(sent, tuple) else (sent,)
    return [*sent[:edges], *[None] * (edges - len(sent))]


def _zeros(metadata: Any) -> torch.Tensor:
    return torch.zeros(tuple(metadata.shape), dtype=metadata.dtype, device=metadata.device)


def _fitted(value: torch.Tensor, node: Any, place: int) -> torch.Tensor:
    """As the engine does it: the type and the shape of what the node put out; another device is an error."""
    metadata = node._input_metadata[place]
    assert value.device == metadata.device, f"{node.name()} gets a gradient of {value.device}, not {metadata.device}"
    value = value.to(metadata.dtype)
    shape = tuple(metadata.shape)
    return value if value.shape == shape else value.sum_to_size(shape)


def _add(gradients: Gradients, place: int, value: torch.Tensor) -> None:
    gradients[place] = gradients[place] + value if place in gradients else value


def _accumulate(leaf: torch.Tensor, gradient: torch.Tensor) -> None:
    assert gradient.shape == leaf.shape and gradient.device == leaf.device
    leaf.grad = gradient.detach() if leaf.grad is None else leaf.grad.add_(gradient)
    for hook in (getattr(leaf, "_post_accumulate_grad_hooks", None) or {}).values():
        hook(leaf)
