"""The network: dense layers with ReLU between them, one logit out.

Shape suffixes: B rows of a batch, E expanded inputs.
"""

from itertools import pairwise

import torch
from torch import nn

__all__ = ["build_network"]


def build_network(expanded_inputs: int, hidden: tuple[int, ...], *, seed: int) -> nn.Sequential:
    """Layers from (B, E) to (B, 1), initialised from the seed alone (torch's default, He et al. 2015).

    Args:
        expanded_inputs: E.
        hidden: width of each hidden layer.
        seed: the global generator of torch is not touched.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        for wide, narrow in pairwise((expanded_inputs, *hidden, 1)):
            layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
