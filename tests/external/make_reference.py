#!/usr/bin/env python3
"""Reference values from PyTorch and PyTorch Geometric for small neural networks.

For each case the script builds a small network from the layers of PyTorch (or
PyTorch Geometric), draws random parameters, inputs and targets, and writes the
outputs, the loss and the gradient computed by PyTorch's automatic
differentiation as JSON to the standard output:

    pip install torch torch_geometric numpy
    python make_reference.py > reference.json

The stored file was made with Python 3.11.7, torch 2.15.0 (+cu132, run on the
CPU), torch_geometric 2.8.1 and numpy 2.4.6.  The versions at hand are printed
to the standard error and stored in the file.  Everything is in float64 and
every number is written such that reading it gives the same float64 back.  With
other versions or on another machine the last digits can differ.

The file has the form {"versions": {...}, "cases": [...]}.  Entries of a case:

name        unique name of the case
network     the network, RON syntax
activation  the activation function, RON syntax: LeakyRelu(0.1) or Tanh
x           inputs: [sample][...] with the remaining indices in the order of
            PyTorch (channel, height, width); graphs: [graph][node][feature];
            Siamese networks: [sample][which of the two][component]
y           targets: [sample][output], images flattened in the order (channel,
            height, width); graphs: [graph][node][output]
theta       all parameters in one flat vector, see below
f           outputs, flat, in the order of y
loss        1/2 sum (f - y)^2 over all samples and all outputs (no mean)
gradient    d loss / d theta, in the order of theta

The activation function stands after every layer with parameters except the
last one (so also after transposed, depthwise and pointwise convolutions), but
not after pooling, upsampling or concatenation.

Order of theta: layer by layer in the order of evaluation.  In a layer:

Linear, Conv1d, Conv2d   weight (out, in / groups, kernel...), row-major; bias
ConvTranspose2d          weight permuted from PyTorch's (in, out, kh, kw) to
                         (out, in, kh, kw), row-major; bias
Bilinear                 weight (out, i, j), row-major; bias
GCNConv                  weight (in, out), row-major, i.e. the transpose of
                         lin.weight; bias
ChebConv                 W_0, ..., W_{K-1}, each (in, out), row-major; bias
GraphConv (Morris)       W_1 = lin_root.weight transposed, W_2 = lin_rel.weight
                         transposed, each (in, out), row-major; bias

All pre-activations of the cases with a kink in the activation function are at
least 1e-3 away from it: seeds are tried until this is so.  The gradient of
every case is compared to central differences.
"""

import json
import platform
import sys
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
import torch_geometric
from torch import nn
from torch_geometric.nn import ChebConv, GCNConv, GraphConv

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

LEAKY = "LeakyRelu(0.1)"
TANH = "Tanh"

KINK_MARGIN = 1e-3  # least distance of a pre-activation from a kink


# Activation functions --------------------------------------------------------


class Activation:
    """Activation function that remembers its least distance from a kink."""

    def __init__(self, name):
        self.name = name
        self.distance = float("inf")

    def __call__(self, z):
        if self.name == TANH:
            return torch.tanh(z)
        assert self.name == LEAKY
        self.distance = min(self.distance, z.detach().abs().min().item())
        return F.leaky_relu(z, 0.1)


# Parameters as one vector ----------------------------------------------------


def parts(layer):
    """Parameters of a layer in the order of theta.

    List of (parameter, permutation): the permutation of the parameter's
    dimensions has to be applied before flattening.
    """
    if isinstance(layer, nn.ConvTranspose2d):
        result = [(layer.weight, (1, 0, 2, 3)), (layer.bias, (0,))]
    elif isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Bilinear)):
        order = tuple(range(layer.weight.dim()))
        result = [(layer.weight, order), (layer.bias, (0,))]
    elif isinstance(layer, GCNConv):
        result = [(layer.lin.weight, (1, 0)), (layer.bias, (0,))]
    elif isinstance(layer, ChebConv):
        result = [(lin.weight, (1, 0)) for lin in layer.lins]
        result.append((layer.bias, (0,)))
    elif isinstance(layer, GraphConv):
        result = [
            (layer.lin_root.weight, (1, 0)),
            (layer.lin_rel.weight, (1, 0)),
            (layer.lin_rel.bias, (0,)),
        ]
    else:
        raise TypeError(f"unknown layer {layer}")
    result = [(p, order) for p, order in result if p is not None]
    # No parameter of the layer may be missing.
    assert {id(p) for p, _ in result} == {id(p) for p in layer.parameters()}
    return result


def all_parts(layers):
    return [part for layer in layers for part in parts(layer)]


def flatten(layers, what):
    """One vector of what(parameter) for all parameters in the order of theta."""
    pieces = [what(p).permute(order).reshape(-1) for p, order in all_parts(layers)]
    return torch.cat(pieces)


def get_theta(layers):
    return flatten(layers, lambda p: p.detach())


def get_gradient(layers):
    return flatten(layers, lambda p: p.grad)


def set_theta(layers, theta):
    """Inverse of get_theta."""
    start = 0
    for p, order in all_parts(layers):
        piece = theta[start : start + p.numel()]
        start += p.numel()
        shape = [p.shape[i] for i in order]
        back = [order.index(i) for i in range(len(order))]
        p.data.copy_(piece.reshape(shape).permute(back))
    assert start == theta.numel()


def random_theta(layers, generator):
    """Random parameters. (Some layers have zero biases when just created.)"""
    pieces = []
    for p, _ in all_parts(layers):
        scale = 0.5 if p.dim() == 1 else p[0].numel() ** -0.5
        pieces.append(scale * torch.randn(p.numel(), generator=generator))
    return torch.cat(pieces)


# Networks --------------------------------------------------------------------
#
# Each of the following functions returns (layers, forward): the list of the
# layers with parameters in the order of evaluation, and the function
# forward(x, act) with the batch x and the activation function act.


def dense(widths, bias=True):
    layers = [nn.Linear(i, o, bias=bias) for i, o in pairwise(widths)]

    def forward(x, act):
        for layer in layers[:-1]:
            x = act(layer(x))
        return layers[-1](x)

    return layers, forward


def convolutional(stages, widths):
    """Convolutions and average poolings, flattening, and fully connected layers."""
    pools = (nn.AvgPool1d, nn.AvgPool2d)
    dense_layers, dense_forward = dense(widths)
    layers = [stage for stage in stages if not isinstance(stage, pools)] + dense_layers

    def forward(x, act):
        for stage in stages:
            x = stage(x) if isinstance(stage, pools) else act(stage(x))
        return dense_forward(x.flatten(1), act)

    return layers, forward


def mobile_net(channels, blocks, outputs):
    """Blocks (channels, kernel, stride) of depthwise and pointwise convolutions."""
    convolutions = []
    for out, kernel, stride in blocks:
        convolutions.append(
            nn.Conv2d(
                channels,
                channels,
                kernel,
                stride=stride,
                padding=kernel // 2,
                groups=channels,
            )
        )
        convolutions.append(nn.Conv2d(channels, out, 1))
        channels = out
    last = nn.Linear(channels, outputs)

    def forward(x, act):
        for layer in convolutions:
            x = act(layer(x))
        return last(x.mean(dim=(2, 3)))  # global average pooling

    return convolutions + [last], forward


def conv_residual(inputs, channels, kernel, blocks, outputs):
    first = nn.Conv2d(inputs, channels, kernel, padding=kernel // 2)
    convolutions = [
        nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        for _ in range(blocks)
    ]
    last = nn.Linear(channels, outputs)

    def forward(x, act):
        h = act(first(x))
        for layer in convolutions:
            h = h + act(layer(h))
        return last(h.mean(dim=(2, 3)))  # global average pooling

    return [first] + convolutions + [last], forward


def u_net(inputs, channels, kernel, transposed, outputs):
    """U-Net with average pooling (2) on the way down.

    On the way up either transposed convolutions (with activation) or upsampling
    by repetition of the nearest neighbour (no parameters, no activation).
    """

    def conv(i, o):
        return nn.Conv2d(i, o, kernel, padding=kernel // 2)

    down = [conv(i, o) for i, o in pairwise([inputs] + channels)]
    up = []  # from the coarsest level to the finest: (upsampling, convolution)
    for fine, coarse in reversed(list(pairwise(channels))):
        if transposed:
            up.append(
                (
                    nn.ConvTranspose2d(coarse, fine, 2, stride=2),
                    conv(fine + fine, fine),
                )
            )
        else:
            up.append((None, conv(coarse + fine, fine)))
    last = nn.Conv2d(channels[0], outputs, 1)
    layers = down + [layer for pair in up for layer in pair if layer is not None]

    def forward(x, act):
        d = [act(down[0](x))]
        for layer in down[1:]:
            d.append(act(layer(F.avg_pool2d(d[-1], 2))))
        u = d.pop()
        for upsampling, convolution in up:
            if upsampling is None:
                t = F.interpolate(u, scale_factor=2, mode="nearest")
            else:
                t = act(upsampling(u))
            u = act(convolution(torch.cat([t, d.pop()], dim=1)))
        return last(u)

    return layers + [last], forward


def graph_network(layers, adjacency, **arguments):
    """Graph convolutions; the samples are graphs with the same adjacency matrix."""
    edge_index = torch.tensor(adjacency).nonzero().t()

    def forward(x, act):
        outputs = []
        for h in x:
            for layer in layers[:-1]:
                h = act(layer(h, edge_index, **arguments))
            outputs.append(layers[-1](h, edge_index, **arguments))
        return torch.stack(outputs)

    return layers, forward


def gcn(widths, adjacency):
    layers = [GCNConv(i, o) for i, o in pairwise(widths)]
    return graph_network(layers, adjacency)


def chebyshev(widths, order, adjacency):
    # The true largest eigenvalue of the normalised Laplacian is used for its
    # scaling, not the upper bound 2, which is the default of ChebConv.
    a = np.array(adjacency, dtype=np.float64)
    root = a.sum(axis=1) ** -0.5
    laplacian = np.eye(len(a)) - root[:, None] * a * root[None, :]
    lambda_max = torch.tensor(np.linalg.eigvalsh(laplacian)[-1])
    layers = [ChebConv(i, o, order, normalization="sym") for i, o in pairwise(widths)]
    return graph_network(layers, adjacency, lambda_max=lambda_max)


def graph_conv_morris(widths, adjacency):
    layers = [GraphConv(i, o, aggr="add") for i, o in pairwise(widths)]
    return graph_network(layers, adjacency)


def siamese(widths, head, outputs):
    """The same layers (activation also after the last) on two inputs, and a head."""
    tower = [nn.Linear(i, o) for i, o in pairwise(widths)]
    if head == "SquaredDifference":
        last = nn.Linear(widths[-1], outputs)
    else:
        assert head == "Bilinear"
        last = nn.Bilinear(widths[-1], widths[-1], outputs)

    def forward(x, act):
        for layer in tower:
            x = act(layer(x))
        u, v = x[:, 0], x[:, 1]
        return last(u, v) if head == "Bilinear" else last((u - v) ** 2)

    return tower + [last], forward


def residual(width, depth):
    layers = [nn.Linear(width, width) for _ in range(depth)]

    def forward(x, act):
        for layer in layers[:-1]:
            x = act(x + layer(x))
        return x + layers[-1](x)

    return layers, forward


def polynomial(widths):
    """Linear layers on the components of the input and their products."""
    layers = [nn.Linear(i + i * (i + 1) // 2, o) for i, o in pairwise(widths)]

    def phi(x):  # x_1, ..., x_N, x_1 x_1, x_1 x_2, ..., x_1 x_N, x_2 x_2, ...
        i, j = torch.triu_indices(x.shape[1], x.shape[1])
        return torch.cat([x, x[:, i] * x[:, j]], dim=1)

    def forward(x, act):
        for layer in layers[:-1]:
            x = act(layer(phi(x)))
        return layers[-1](phi(x))

    return layers, forward


# Cases -----------------------------------------------------------------------

# Undirected graph without self-loops; it is not bipartite, so that the largest
# eigenvalue of its normalised Laplacian is less than 2.
ADJACENCY = [
    [0, 1, 1, 0, 0],
    [1, 0, 1, 0, 0],
    [1, 1, 0, 1, 0],
    [0, 0, 1, 0, 1],
    [0, 0, 0, 1, 0],
]
INLINE = f"Inline({ADJACENCY})"


def conv2d_stages():
    return [
        nn.Conv2d(2, 3, 3, stride=2, padding=1),
        nn.Conv2d(3, 4, (2, 3), stride=1, padding=1),
    ]


CONV2D = (
    "Conv(shape: [2, 6, 5], layers: ["
    "Conv(channels: 3, kernel: [3], stride: [2], padding: [1]), "
    "Conv(channels: 4, kernel: [2, 3], stride: [1], padding: [1])], hidden: [3])"
)

# (name, network, activation, function building it, shape of x, shape of y)
CASES = [
    (
        "dense",
        "Dense(hidden: [5, 4], bias: true)",
        LEAKY,
        lambda: dense([3, 5, 4, 2]),
        (4, 3),
        (4, 2),
    ),
    (
        "dense_tanh",
        "Dense(hidden: [5, 4], bias: true)",
        TANH,
        lambda: dense([3, 5, 4, 2]),
        (4, 3),
        (4, 2),
    ),
    (
        "dense_no_bias",
        "Dense(hidden: [5, 4], bias: false)",
        LEAKY,
        lambda: dense([3, 5, 4, 2], bias=False),
        (4, 3),
        (4, 2),
    ),
    (
        "conv2d",
        CONV2D,
        LEAKY,
        lambda: convolutional(conv2d_stages(), [4 * 4 * 3, 3, 2]),
        (3, 2, 6, 5),
        (3, 2),
    ),
    (
        "conv2d_tanh",
        CONV2D,
        TANH,
        lambda: convolutional(conv2d_stages(), [4 * 4 * 3, 3, 2]),
        (3, 2, 6, 5),
        (3, 2),
    ),
    (
        "conv2d_groups",
        "Conv(shape: [4, 4, 4], layers: ["
        "Conv(channels: 6, kernel: [3], padding: [1], groups: 2), "
        "AvgPool(kernel: [2])], hidden: [])",
        LEAKY,
        lambda: convolutional(
            [nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.AvgPool2d(2)],
            [6 * 2 * 2, 2],
        ),
        (3, 4, 4, 4),
        (3, 2),
    ),
    (
        "conv2d_kernel_larger_than_image",
        "Conv(shape: [1, 2, 2], layers: ["
        "Conv(channels: 2, kernel: [5], padding: [2])], hidden: [])",
        LEAKY,
        lambda: convolutional([nn.Conv2d(1, 2, 5, padding=2)], [2 * 2 * 2, 1]),
        (3, 1, 2, 2),
        (3, 1),
    ),
    (
        "conv1d",
        "Conv(shape: [2, 9], layers: ["
        "Conv(channels: 3, kernel: [4], stride: [2], padding: [1]), "
        "AvgPool(kernel: [2])], hidden: [4])",
        LEAKY,
        lambda: convolutional(
            [nn.Conv1d(2, 3, 4, stride=2, padding=1), nn.AvgPool1d(2)],
            [3 * 2, 4, 1],
        ),
        (4, 2, 9),
        (4, 1),
    ),
    (
        "avg_pool_stride",
        "Conv(shape: [2, 7, 7], layers: ["
        "Conv(channels: 2, kernel: [3]), "
        "AvgPool(kernel: [3], stride: [2])], hidden: [])",
        LEAKY,
        lambda: convolutional(
            [nn.Conv2d(2, 2, 3), nn.AvgPool2d(3, stride=2)], [2 * 2 * 2, 1]
        ),
        (3, 2, 7, 7),
        (3, 1),
    ),
    (
        "depthwise",
        "MobileNet(shape: [3, 6, 6], blocks: ["
        "(channels: 4, kernel: [3], stride: [1]), "
        "(channels: 5, kernel: [3], stride: [2])], hidden: [])",
        LEAKY,
        lambda: mobile_net(3, [(4, 3, 1), (5, 3, 2)], 2),
        (2, 3, 6, 6),
        (2, 2),
    ),
    (
        "conv_residual",
        "ConvResidual(shape: [2, 5, 5], channels: 3, kernel: [3], blocks: 2)",
        LEAKY,
        lambda: conv_residual(2, 3, 3, 2, 2),
        (2, 2, 5, 5),
        (2, 2),
    ),
    (
        "unet_transposed",
        "UNet(shape: [1, 8, 4], channels: [2, 3], kernel: [3], up: Transposed)",
        LEAKY,
        lambda: u_net(1, [2, 3], 3, True, 2),
        (2, 1, 8, 4),
        (2, 2 * 8 * 4),
    ),
    (
        "unet_nearest",
        "UNet(shape: [1, 4, 8], channels: [2, 3], kernel: [3], up: Nearest)",
        LEAKY,
        lambda: u_net(1, [2, 3], 3, False, 1),
        (2, 1, 4, 8),
        (2, 1 * 4 * 8),
    ),
    (
        "unet_three_levels",
        "UNet(shape: [1, 8, 8], channels: [2, 3, 4], kernel: [3], up: Transposed)",
        LEAKY,
        lambda: u_net(1, [2, 3, 4], 3, True, 1),
        (2, 1, 8, 8),
        (2, 1 * 8 * 8),
    ),
    (
        "gcn",
        f"GraphConv(hidden: [4], adjacency: {INLINE}, exponent: -0.5, bias: Shared)",
        LEAKY,
        lambda: gcn([3, 4, 2], ADJACENCY),
        (2, 5, 3),
        (2, 5, 2),
    ),
    (
        "gcn_two_hidden",
        f"GraphConv(hidden: [4, 3], adjacency: {INLINE}, exponent: -0.5, bias: Shared)",
        TANH,
        lambda: gcn([3, 4, 3, 2], ADJACENCY),
        (2, 5, 3),
        (2, 5, 2),
    ),
    (
        "chebyshev",
        f"Chebyshev(hidden: [4], order: 3, adjacency: {INLINE}, bias: Shared)",
        LEAKY,
        lambda: chebyshev([3, 4, 2], 3, ADJACENCY),
        (2, 5, 3),
        (2, 5, 2),
    ),
    (
        "graph_conv_morris",
        f"GraphConvMorris(hidden: [4], adjacency: {INLINE}, bias: Shared)",
        LEAKY,
        lambda: graph_conv_morris([3, 4, 2], ADJACENCY),
        (2, 5, 3),
        (2, 5, 2),
    ),
    (
        "siamese",
        "Siamese(hidden: [4, 3], head: SquaredDifference)",
        LEAKY,
        lambda: siamese([3, 4, 3], "SquaredDifference", 1),
        (4, 2, 3),
        (4, 1),
    ),
    (
        "siamese_bilinear",
        "Siamese(hidden: [4], head: Bilinear)",
        TANH,
        lambda: siamese([3, 4], "Bilinear", 2),
        (4, 2, 3),
        (4, 2),
    ),
    (
        "residual",
        "Residual(layers: 3, bias: true)",
        LEAKY,
        lambda: residual(3, 3),
        (4, 3),
        (4, 3),
    ),
    (
        "polynomial",
        "Polynomial(hidden: [3], bias: true)",
        LEAKY,
        lambda: polynomial([2, 3, 1]),
        (4, 2),
        (4, 1),
    ),
]


# Evaluation ------------------------------------------------------------------


def half_sum_of_squares(forward, act, x, y):
    """Outputs (in the shape of y) and loss."""
    f = forward(x, act).reshape(y.shape)
    return f, 0.5 * ((f - y) ** 2).sum()


def check_gradient(name, layers, loss_of, theta, gradient):
    """Compare all components of the gradient to central differences."""
    h = 1e-5
    numerical = torch.empty_like(theta)
    with torch.no_grad():
        for k in range(theta.numel()):
            losses = []
            for step in (h, -h):
                shifted = theta.clone()
                shifted[k] += step
                set_theta(layers, shifted)
                losses.append(loss_of())
            numerical[k] = (losses[0] - losses[1]) / (2 * h)
    set_theta(layers, theta)
    error = (numerical - gradient).abs().max() / gradient.abs().max()
    assert error < 1e-7, f"{name}: gradient and central differences differ: {error}"
    return error.item()


def evaluate(name, network, activation, build, x_shape, y_shape):
    layers, forward = build()
    for seed in range(1, 10_000):
        generator = torch.Generator().manual_seed(seed)
        set_theta(layers, random_theta(layers, generator))
        x = torch.randn(x_shape, generator=generator)
        y = torch.randn(y_shape, generator=generator)
        act = Activation(activation)
        f, loss = half_sum_of_squares(forward, act, x, y)
        if act.distance > KINK_MARGIN:
            break
    else:
        raise RuntimeError(f"{name}: no seed keeps away from the kinks")
    loss.backward()
    theta, gradient = get_theta(layers), get_gradient(layers)
    error = check_gradient(
        name,
        layers,
        lambda: half_sum_of_squares(forward, act, x, y)[1],
        theta,
        gradient,
    )
    print(
        f"{name}: {theta.numel()} parameters, seed {seed}, distance from kinks "
        f"{act.distance:.1e}, deviation from central differences {error:.1e}",
        file=sys.stderr,
    )
    return {
        "name": name,
        "network": network,
        "activation": activation,
        "x": x.tolist(),
        "y": y.tolist(),
        "theta": theta.tolist(),
        "f": f.detach().reshape(-1).tolist(),
        "loss": loss.item(),
        "gradient": gradient.tolist(),
    }


def to_json(versions, cases):
    """JSON with one line per entry of a case (Python's json writes repr(float))."""
    blocks = []
    for case in cases:
        lines = [
            f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}"
            for key, value in case.items()
        ]
        blocks.append("{\n" + ",\n".join(lines) + "\n}")
    text = ",\n".join(blocks)
    return f'{{\n"versions": {json.dumps(versions)},\n"cases": [\n{text}\n]\n}}'


def main():
    versions = {
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "numpy": np.__version__,
    }
    print(f"python {platform.python_version()}, {versions}", file=sys.stderr)
    cases = [evaluate(*case) for case in CASES]
    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names)
    text = to_json(versions, cases)
    assert json.loads(text) == {"versions": versions, "cases": cases}
    print(text)


if __name__ == "__main__":
    main()
