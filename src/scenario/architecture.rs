//! The `network` section as typed.

use super::nested::Nested;
use serde::{Deserialize, Serialize};

/// The architecture.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub enum NetworkSpec {
    /// Fully connected layers `W X + B`.
    Dense {
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Layers `X + W X + B` as wide as inputs and outputs.
    Residual {
        /// Number of layers, the last one included.
        layers: usize,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// `D̂^e (A + I) D̂^e X W + B` on the nodes of graphs.
    GraphConv {
        /// Widths of the hidden layers, per node.
        hidden: Vec<usize>,
        /// A.
        adjacency: AdjacencySpec,
        /// e, −½ by default.
        #[serde(default = "minus_half")]
        exponent: f64,
        /// Biases, one row per node by default.
        #[serde(default)]
        bias: NodeBiasSpec,
        /// What becomes of the nodes, each has its own targets by default.
        #[serde(default)]
        readout: ReadoutSpec,
        /// Nodes per graph where the data do not say: all samples are one graph by default, 0.
        #[serde(default)]
        nodes: usize,
    },
    /// Chebyshev polynomials of the Laplacian, scaled by its largest eigenvalue, graph by graph.
    Chebyshev {
        /// Widths of the hidden layers, per node.
        hidden: Vec<usize>,
        /// K, the number of weight matrices of a layer.
        order: usize,
        /// A.
        adjacency: AdjacencySpec,
        /// Biases, shared by all nodes by default.
        #[serde(default = "shared")]
        bias: NodeBiasSpec,
        /// What becomes of the nodes.
        #[serde(default)]
        readout: ReadoutSpec,
        /// Nodes per graph where the data do not say.
        #[serde(default)]
        nodes: usize,
    },
    /// `X W_1 + A X W_2 + B`.
    GraphConvMorris {
        /// Widths of the hidden layers, per node.
        hidden: Vec<usize>,
        /// A.
        adjacency: AdjacencySpec,
        /// Biases, shared by all nodes by default.
        #[serde(default = "shared")]
        bias: NodeBiasSpec,
        /// What becomes of the nodes.
        #[serde(default)]
        readout: ReadoutSpec,
        /// Nodes per graph where the data do not say.
        #[serde(default)]
        nodes: usize,
    },
    /// Convolutions and pooling, then dense layers.
    Conv {
        /// `[channels, length]` or `[channels, height, width]` of a sample.
        shape: Vec<usize>,
        /// The stages.
        layers: Vec<StageSpec>,
        /// Widths of dense hidden layers behind them, none by default.
        #[serde(default)]
        hidden: Vec<usize>,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Convolutional residual blocks.
    ConvResidual {
        /// Shape of a sample.
        shape: Vec<usize>,
        /// Channels of all blocks.
        channels: usize,
        /// Extent of the kernels, odd; `[3]` by default.
        #[serde(default = "three")]
        kernel: Vec<usize>,
        /// Number of blocks.
        blocks: usize,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// A path down, a path up, and connections between them.
    UNet {
        /// Shape of a sample; targets are images of the same size.
        shape: Vec<usize>,
        /// Channels of each level, from the top.
        channels: Vec<usize>,
        /// Extent of the kernels, odd; `[3]` by default.
        #[serde(default = "three")]
        kernel: Vec<usize>,
        /// How images grow.
        up: UpSpec,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Depthwise-separable convolutions.
    MobileNet {
        /// Shape of a sample.
        shape: Vec<usize>,
        /// The blocks.
        blocks: Vec<BlockSpec>,
        /// Widths of dense hidden layers behind them, none by default.
        #[serde(default)]
        hidden: Vec<usize>,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Two inputs through the same weights.
    Siamese {
        /// Widths of the hidden layers of a branch.
        hidden: Vec<usize>,
        /// How the branches are joined.
        head: HeadSpec,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Layers quadratic in their input.
    Polynomial {
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
        /// Whether layers have biases, true by default.
        #[serde(default = "yes")]
        bias: bool,
    },
}

/// Where the adjacency matrix comes from; it has no self-loops.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub enum AdjacencySpec {
    /// Each node joined to its k nearest others by their features.
    Knn(usize),
    /// One matrix for all graphs, or a list of one per graph.
    Inline(Nested),
    /// A CSV file of numbers without header, or a NumPy array (m × m, or graphs × m × m).
    File(String),
}

/// Biases of layers on graphs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum NodeBiasSpec {
    /// One row per node.
    #[default]
    PerNode,
    /// One row for all nodes.
    Shared,
    /// None.
    NoBias,
}

/// What becomes of the nodes of the last layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ReadoutSpec {
    /// Each has its own targets.
    #[default]
    Nodes,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

/// A stage of a convolutional network. Lists have one entry per spatial dimension, or one for all.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub enum StageSpec {
    /// A convolution, followed by the activation.
    Conv {
        /// Output channels.
        channels: usize,
        /// Extent of the kernel.
        kernel: Vec<usize>,
        /// Step, `[1]` by default.
        #[serde(default = "one")]
        stride: Vec<usize>,
        /// Zeros added on each side, `[0]` by default.
        #[serde(default = "zero")]
        padding: Vec<usize>,
        /// Groups of channels, 1 by default.
        #[serde(default = "one_group")]
        groups: usize,
    },
    /// Averages over windows.
    AvgPool {
        /// Extent of the window.
        kernel: Vec<usize>,
        /// Step, the kernel by default.
        #[serde(default)]
        stride: Vec<usize>,
    },
    /// Understood, so that it can be refused with a reason.
    MaxPool {
        /// Extent of the window.
        kernel: Vec<usize>,
        /// Step.
        #[serde(default)]
        stride: Vec<usize>,
    },
}

/// A depthwise and a pointwise convolution.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// Channels behind the block.
    pub channels: usize,
    /// Extent of the depthwise kernel, odd; `[3]` by default.
    #[serde(default = "three")]
    pub kernel: Vec<usize>,
    /// Step of the depthwise convolution, `[1]` by default.
    #[serde(default = "one")]
    pub stride: Vec<usize>,
}

/// How images of a U-Net grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum UpSpec {
    /// Pixels are repeated.
    Nearest,
    /// A transposed convolution with kernel and stride 2.
    Transposed,
}

/// How the branches of a Siamese network are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum HeadSpec {
    /// A linear layer on (u_k − v_k)².
    SquaredDifference,
    /// Σ B_ij u_i v_j with learned B.
    Bilinear,
}

fn yes() -> bool {
    true
}

fn minus_half() -> f64 {
    -0.5
}

fn shared() -> NodeBiasSpec {
    NodeBiasSpec::Shared
}

fn zero() -> Vec<usize> {
    vec![0]
}

fn one() -> Vec<usize> {
    vec![1]
}

fn three() -> Vec<usize> {
    vec![3]
}

fn one_group() -> usize {
    1
}
