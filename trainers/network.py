"""The network: dense layers with ReLU between them, one logit out.

Shape suffixes: B rows of a batch, E expanded inputs.
"""

from itertools import pairwise

import torch
from torch import nn

__all__ = ["build_network"]


def build_network(expanded_inputs: int, hidden: tuple[int, ...], *, seed: int) -> nn.Sequential:
    """Layers from (B, E) to (B, 1), initialised from the seed alone (He et al. 2015, uniform).

    Args:
        expanded_inputs: E.
        hidden: width of each hidden layer.
        seed: the global generator of torch is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise((expanded_inputs, *hidden, 1)):
        dense = nn.Linear(wide, narrow)
        bound = (1.0 / wide) ** 0.5
        with torch.no_grad():
            nn.init.kaiming_uniform_(dense.weight, a=5**0.5, generator=generator)
            dense.bias.uniform_(-bound, bound, generator=generator)
        layers += [dense, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
