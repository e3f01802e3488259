//! A network: layers, the activation between them, and where its parameters and switches stand.
//!
//! Holds no parameters and no workspace; the passes over a batch are in [`super::pass`], the ways to build one in
//! [`super::architecture`].

use super::activation::Activation;
use super::architecture::{self, ArchitectureError};
use super::layer::{Bias, Layer};
use super::map::FeatureMap;
use super::tensor::{Tensor, Term};

/// f = g_L(σ(… σ(g_1(x)) …)), where every layer may read the data and the activations of all layers before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    widths: Vec<usize>,
    layers: Vec<Layer>,
    activation: Activation,
    n_parameters: usize,
    /// For each hidden layer k (from 1, at k − 1): the layers (from 0) that read its activations, increasing.
    readers: Vec<Vec<usize>>,
    n_nodes: Option<usize>,
    /// Position of each output among the targets of a sample, where that is not its own index.
    output_order: Option<Vec<usize>>,
    symbols: String,
    formula: String,
}

/// A hidden unit on a sample: what one switch of the flow stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit in the layer, from 0: channel·positions + position where a layer shares its weights over positions (pixels; the branches of a
    /// Siamese network, 2·channel + branch), the feature for graphs.
    pub unit: usize,
    /// Sample, from 0; graph·nodes + node for graphs.
    pub sample: usize,
}

impl Network {
    /// A fully connected network; see [`dense`](super::architecture::dense).
    ///
    /// # Errors
    /// When a hidden width is 0.
    pub fn dense(
        n_inputs: usize,
        hidden: &[usize],
        n_outputs: usize,
        bias: bool,
        activation: Activation,
    ) -> Result<Self, ArchitectureError> {
        architecture::dense(n_inputs, hidden, n_outputs, bias, activation)
    }

    /// The same layers with another activation; `None` when only one of the two has learned slopes, since θ would be another.
    pub fn with_activation(&self, activation: Activation) -> Option<Self> {
        let fits = activation.has_learned_slope() == self.activation.has_learned_slope();
        fits.then(|| Self { activation, ..self.clone() })
    }

    /// `[inputs, hidden…, outputs]`, per sample.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Number of hidden layers.
    pub fn n_hidden(&self) -> usize {
        self.layers.len() - 1
    }

    /// Number of hidden units, those at every position of a shared layer counted.
    pub fn n_units(&self) -> usize {
        self.widths[1..self.layers.len()].iter().sum()
    }

    /// M, the outputs per sample.
    pub fn n_outputs(&self) -> usize {
        self.widths[self.layers.len()]
    }

    /// Outputs that belong together: those of a sample, or of one of its nodes or pixels.
    pub fn n_outputs_per_part(&self) -> usize {
        self.layers[self.n_hidden()].n_out
    }

    /// Source and entry of a column of sources stacked one behind the other.
    pub fn origin(&self, sources: &[usize], column: usize) -> (usize, usize) {
        let mut index = column;
        for &source in sources {
            if index < self.widths[source] {
                return (source, index);
            }
            index -= self.widths[source];
        }
        unreachable!("columns of a map lie within its sources")
    }

    /// The activation between layers.
    pub fn activation(&self) -> &Activation {
        &self.activation
    }

    /// P.
    pub fn n_parameters(&self) -> usize {
        self.n_parameters
    }

    /// P in the symbols of the architecture, such as `Σ N_l (N_{l−1} + 1)`.
    pub fn symbols(&self) -> &str {
        &self.symbols
    }

    /// P as a sum over layers with their sizes: rows × (columns + biases), and learned slopes.
    pub fn formula(&self) -> &str {
        &self.formula
    }

    /// Layers (from 0) that read the activations of hidden layer `hidden` (from 1), increasing.
    pub fn readers(&self, hidden: usize) -> &[usize] {
        &self.readers[hidden - 1]
    }

    /// Nodes per graph, for networks on graphs.
    pub fn n_nodes(&self) -> Option<usize> {
        self.n_nodes
    }

    /// Position of each output among the targets of a sample; `None` when outputs and targets are in the same order.
    pub fn output_order(&self) -> Option<&[usize]> {
        self.output_order.as_deref()
    }

    /// Number of switching surfaces for n samples: hidden units × samples × breakpoints.
    pub fn n_surfaces(&self, n_samples: usize) -> usize {
        self.n_units() * n_samples * self.activation.breakpoints().len()
    }

    /// The place of unit number `unit` (channel + position·channels) of a hidden layer on a sample.
    pub fn place(&self, layer: usize, unit: usize, sample: usize) -> Place {
        let Layer { n_out, n_positions, .. } = self.layers[layer - 1];
        let (channel, position) = (unit % n_out, unit / n_out);
        match self.n_nodes {
            Some(n_nodes) => Place { layer, unit: channel, sample: sample * n_nodes + position },
            None => Place { layer, unit: channel * n_positions + position, sample },
        }
    }
}

/// What a layer reads.
#[derive(Debug, Clone)]
pub enum Features {
    /// Entries position by position.
    Linear(Vec<Vec<Term>>),
    /// With y the given entries: y itself, if `keeps_linear`, and all products y_i y_j of `pairs`.
    Products {
        /// y.
        entries: Vec<Vec<Term>>,
        /// Whether y is among the features.
        keeps_linear: bool,
        /// The products.
        pairs: Vec<(usize, usize)>,
    },
}

impl Features {
    fn len(&self) -> usize {
        match self {
            Self::Linear(entries) => entries.len(),
            Self::Products { entries, keeps_linear, pairs } => {
                pairs.len() + if *keeps_linear { entries.len() } else { 0 }
            }
        }
    }
}

/// A layer to be added to a network; see [`Layer`].
#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// φ, (groups·C) features for every position.
    pub features: Features,
    /// Positions that share the weights.
    pub n_positions: usize,
    /// Groups.
    pub n_groups: usize,
    /// Channels.
    pub n_out: usize,
    /// Bias.
    pub bias: Bias,
    /// Whether W is stored as (in × out).
    pub is_transposed: bool,
    /// Pixels under the kernel.
    pub receptive: usize,
    /// ψ, position by position.
    pub skip: Option<Tensor>,
}

impl LayerPlan {
    /// A layer without positions, groups and skip.
    pub fn plain(features: Features, n_out: usize, bias: Bias) -> Self {
        Self { features, n_positions: 1, n_groups: 1, n_out, bias, is_transposed: false, receptive: 1, skip: None }
    }
}

/// Builds a network layer by layer.
#[derive(Debug, Clone)]
pub struct Composer {
    activation: Activation,
    widths: Vec<usize>,
    layers: Vec<Layer>,
    n_parameters: usize,
    /// Nodes per graph, for networks on graphs.
    pub n_nodes: Option<usize>,
    /// See [`Network::output_order`].
    pub output_order: Option<Vec<usize>>,
    /// See [`Network::symbols`]; learned slopes are added to it.
    pub symbols: String,
}

impl Composer {
    /// Starts with `n_inputs` values per sample.
    pub fn new(n_inputs: usize, activation: Activation) -> Self {
        Self {
            activation,
            widths: vec![n_inputs],
            layers: Vec::new(),
            n_parameters: 0,
            n_nodes: None,
            output_order: None,
            symbols: String::new(),
        }
    }

    /// Number of layers so far.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Adds a hidden layer; returns the number of the source that its activations are.
    pub fn hidden(&mut self, plan: LayerPlan) -> usize {
        self.add(plan, false);
        self.layers.len()
    }

    /// Adds the last layer.
    pub fn finish(mut self, plan: LayerPlan) -> Network {
        self.add(plan, true);
        let Self { activation, widths, layers, n_parameters, n_nodes, output_order, mut symbols } = self;
        let reads = |layer: &Layer, k: usize| {
            layer.map.sources().contains(&k) || layer.skip.as_ref().is_some_and(|s| s.sources().contains(&k))
        };
        let readers =
            (1..layers.len()).map(|k| (0..layers.len()).filter(|&l| reads(&layers[l], k)).collect()).collect();
        if layers.iter().any(|layer| layer.slope.is_some()) {
            symbols += " + 1 per hidden layer";
        }
        let formula = formula(&layers);
        Network { widths, layers, activation, n_parameters, readers, n_nodes, output_order, symbols, formula }
    }

    fn add(&mut self, plan: LayerPlan, is_last: bool) {
        let LayerPlan { features, n_positions, n_groups, n_out, bias, is_transposed, receptive, skip } = plan;
        let n_in = features.len() / (n_positions * n_groups);
        debug_assert_eq!(n_in * n_positions * n_groups, features.len());
        debug_assert_eq!(n_out % n_groups, 0);
        let widths = &self.widths;
        let map = match features {
            Features::Linear(rows) => FeatureMap::linear(&rows, widths),
            Features::Products { entries, keeps_linear, pairs } => {
                FeatureMap::products(&entries, keeps_linear, pairs, widths)
            }
        };
        let skip = skip.map(|tensor| FeatureMap::linear(tensor.entries(), widths));
        let mut take = |count: usize| {
            self.n_parameters += count;
            self.n_parameters - count..self.n_parameters
        };
        let weights = take(n_out * n_in);
        let bias = match bias {
            Bias::None => None,
            Bias::Shared => Some(take(n_out)),
            Bias::PerPosition { period } => Some(take(n_out * period)),
        };
        let slope = (self.activation.has_learned_slope() && !is_last).then(|| take(1).start);
        let layer =
            Layer { n_in, n_out, n_positions, n_groups, receptive, weights, is_transposed, bias, slope, map, skip };
        self.widths.push(layer.width());
        self.layers.push(layer);
    }
}

/// P as a sum over layers: outputs × inputs + biases.
fn formula(layers: &[Layer]) -> String {
    let term = |layer: &Layer| {
        let biases = layer.bias.as_ref().map_or(0, ExactSizeIterator::len);
        let slope = if layer.slope.is_some() { " + 1" } else { "" };
        match biases {
            0 => format!("{}·{}{slope}", layer.n_out, layer.n_in),
            n if n == layer.n_out => format!("{}·({} + 1){slope}", layer.n_out, layer.n_in),
            n => format!("{}·({} + {}){slope}", layer.n_out, layer.n_in, n / layer.n_out),
        }
    };
    layers.iter().map(term).collect::<Vec<_>>().join(" + ")
}
