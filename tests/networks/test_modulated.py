import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from cvae.networks import ModulatedDecoder, ValuesHead
from cvae.networks.trunks import Dense

LATENT, FEATURES, OUTPUTS = 2, 5, 3


def build(**options):
    sizes = {"width": 6, "layers": 2, "frequencies": 3} | options
    return ModulatedDecoder(Dense(FEATURES, [7]), ValuesHead([OUTPUTS]), LATENT, **sizes)


def weights(linear):
    bias = 0.0 if linear.bias is None else linear.bias.detach().double().numpy()
    return linear.weight.detach().double().numpy(), bias


@torch.no_grad()
@pytest.mark.parametrize("frequencies", [0, 1, 3])
def test_it_is_the_formula(frequencies, generator):
    """Against the formula of the docstring, one draw at a time, in numpy."""
    decoder = build(frequencies=frequencies)
    z = torch.randn(4, 6, LATENT, generator=generator)
    y = torch.randn(4, FEATURES, generator=generator)
    found = decoder(z, y)
    for i in range(4):
        features = decoder.trunk(y[i]).double().numpy()
        scale, shift, linear = (
            w @ features + b for w, b in map(weights, (decoder.scale, decoder.shift, decoder.linear))
        )
        constant, slopes = linear[:OUTPUTS], linear[OUTPUTS:].reshape(LATENT, OUTPUTS)
        for j in range(6):
            at = z[i, j].double().numpy()
            u = norm.cdf(at)
            angles = np.array([2 * math.pi * f * one for one in u for f in range(1, frequencies + 1)])
            h = np.concatenate([at, np.cos(angles), np.sin(angles)])
            for number, layer in enumerate(decoder.layers):
                part = slice(6 * number, 6 * (number + 1))
                h = (1 + scale[part]) * (weights(layer)[0] @ h) + shift[part]
                h = h / (1 + np.exp(-h))
            weight, bias = weights(decoder.out)
            np.testing.assert_allclose(found[i, j], weight @ h + bias + constant + at @ slopes, atol=1e-5)


@torch.no_grad()
def test_the_periodic_part_has_no_ends(generator):
    """Far out on either side of z, sets of solutions meet, but for the linear part."""
    decoder = build()
    decoder.linear.weight.zero_()
    decoder.linear.bias.zero_()
    decoder.layers[0].weight[:, :LATENT] = 0
    y = torch.randn(4, FEATURES, generator=generator)
    ends = torch.tensor([[-6.0, 0.3], [6.0, 0.3], [0.0, 0.3]]).expand(4, -1, -1)
    low, high, middle = decoder(ends, y).unbind(1)
    torch.testing.assert_close(low, high, atol=1e-5, rtol=0)
    assert (low - middle).abs().max() > 1e-3


def test_the_trunk_sees_each_condition_once(generator):
    decoder = build()
    rows = []
    decoder.trunk.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    decoder(torch.randn(4, 500, LATENT, generator=generator), torch.randn(4, FEATURES, generator=generator))
    assert rows == [4]
