//! The size that an error of each parameter counts against: that of the terms of a pre-activation, and that of the unit whose
//! output the parameter weighs.
//!
//! An error e of W_oc changes z_o by e·φ_c. It counts against the terms that z_o is the sum of, and behind the last layer also against the
//! targets, which F has to reach. Where the unit behind feature c is small itself, in what goes in and in what goes out, e must be small
//! beside that: near a saddle the two grow into each other, so that relative errors of a unit last, however small it is beside its layer.
//! Derivation: docs/mathematics.md, section 4.

use crate::data::MergedData;
use crate::loss::Loss;
use crate::net::{Batch, Forward, Layer};
use crate::vector::{max_abs, vectorised};

/// Finds the scales of all parameters; keeps its memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Scales {
    /// Size of what each output channel has to reach.
    targets: Vec<f64>,
    /// Root mean squares of the features of a layer, over samples and positions.
    features: Vec<f64>,
    /// Root mean squares of the columns of its weights.
    columns: Vec<f64>,
    /// Size of all features of each layer, with the 1 of its bias.
    totals: Vec<f64>,
    /// Weights of a channel that do not stand side by side, and the scales of a channel.
    gathered: Vec<f64>,
    scales: Vec<f64>,
}

impl Scales {
    pub fn new(batch: &Batch, data: &MergedData, loss: Loss) -> Self {
        let n_out = batch.network().layers().last().map_or(1, |layer| layer.n_out);
        let targets = match loss {
            Loss::SquaredError => root_mean_squares(&data.y, n_out),
            // Log-odds of 1 tell classes apart.
            Loss::SoftmaxCrossEntropy | Loss::Logistic => vec![1.0; n_out],
        };
        Self { targets, ..Self::default() }
    }

    /// The scales at the point of a forward pass, P values.
    pub fn find(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, out: &mut Vec<f64>) {
        let network = batch.network();
        out.clear();
        out.resize(theta.len(), 0.0);
        self.totals.clear();
        for (l, layer) in network.layers().iter().enumerate() {
            let n_features = layer.n_groups * layer.n_in;
            mean_squares_into(batch.features(forward, l), n_features, &mut self.features);
            let total = self.features.iter().sum::<f64>() + if layer.bias.is_some() { 1.0 } else { 0.0 };
            self.features.iter_mut().for_each(|f| *f = f.sqrt());
            self.totals.push(total.sqrt());
            let fed_by = layer.map.sources().iter().filter(|&&source| source > 0).map(|&k| self.totals[k - 1]);
            let below = fed_by.fold(f64::INFINITY, f64::min);
            self.columns.clear();
            // Features of the data belong to no unit.
            self.columns.resize(n_features, if below.is_finite() { 0.0 } else { f64::INFINITY });
            if below.is_finite() {
                self.limit_by_units(layer, theta, below);
            }
            let is_last = l + 1 == network.layers().len();
            for channel in 0..layer.n_out {
                let target = if is_last { self.targets[channel] } else { 0.0 };
                self.scale_channel(layer, theta, channel, target, out);
            }
            if let Some(at) = layer.slope {
                // Against the slope of the other side, which is 1.
                out[at] = theta[at].abs().max(1.0);
            }
        }
    }

    /// Leaves in `columns` the size of the unit behind each feature: of its outgoing weights, or of its incoming ones as its output tells them,
    /// whichever is larger.
    fn limit_by_units(&mut self, layer: &Layer, theta: &[f64], below: f64) {
        let per_group = layer.n_out / layer.n_groups;
        for channel in 0..layer.n_out {
            let first = channel / per_group * layer.n_in;
            let weights = layer.channel_weights(theta, channel, &mut self.gathered);
            let columns = self.columns[first..first + layer.n_in].iter_mut().zip(weights);
            vectorised!(columns.for_each(|(column, w)| *column += w * w));
        }
        for (column, feature) in self.columns.iter_mut().zip(&self.features) {
            let incoming = if below > 0.0 { feature / below } else { 0.0 };
            *column = (*column / per_group as f64).sqrt().max(incoming);
        }
    }

    fn scale_channel(&mut self, layer: &Layer, theta: &[f64], channel: usize, target: f64, out: &mut [f64]) {
        let Self { features, columns, gathered, scales, .. } = self;
        let first = channel / (layer.n_out / layer.n_groups) * layer.n_in;
        let features = &features[first..first + layer.n_in];
        let columns = &columns[first..first + layer.n_in];
        let biases = || layer.bias.iter().flat_map(|range| range.clone().skip(channel).step_by(layer.n_out));
        let n_biases = biases().count();
        let weights = layer.channel_weights(theta, channel, gathered);
        let mut sum: f64 = features.iter().zip(weights).map(|(f, w)| (f * w).powi(2)).sum();
        if n_biases > 0 {
            sum += biases().map(|at| theta[at].powi(2)).sum::<f64>() / n_biases as f64;
        }
        let n_terms = layer.n_in + usize::from(n_biases > 0);
        let term = sum.sqrt().max(target) / (n_terms as f64).sqrt();
        scales.resize(layer.n_in, 0.0);
        let terms = scales.iter_mut().zip(features).zip(columns);
        vectorised!(terms.for_each(|((scale, &feature), &column)| {
            // A feature that is zero on all samples moves nothing, and nothing moves its weights.
            let by_term = if feature > 0.0 { term / feature } else { f64::INFINITY };
            let least = by_term.min(column);
            *scale = if least.is_finite() { least } else { 0.0 };
        }));
        layer.set_channel_weights(out, channel, scales);
        biases().for_each(|at| out[at] = term);
    }
}

/// The parameters of one kind in one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// The layer, from 1.
    pub layer: usize,
    /// `weights`, `biases` or `slope`.
    pub kind: &'static str,
    /// Root mean square of the scales of its parameters.
    pub scale: f64,
}

/// The blocks of a network, where `scales` are those of its parameters.
pub(super) fn blocks(layers: &[Layer], scales: &[f64]) -> Vec<Block> {
    let root_mean_square = |values: &[f64]| {
        let largest = max_abs(values);
        let sum: f64 = values.iter().map(|s| (s / largest).powi(2)).sum();
        if largest > 0.0 { largest * (sum / values.len() as f64).sqrt() } else { 0.0 }
    };
    let mut found = Vec::new();
    for (layer, l) in layers.iter().zip(1..) {
        let kinds = [
            ("weights", Some(layer.weights.clone())),
            ("biases", layer.bias.clone()),
            ("slope", layer.slope.map(|s| s..s + 1)),
        ];
        found.extend(
            kinds
                .into_iter()
                .filter_map(|(kind, range)| Some(Block { layer: l, kind, scale: root_mean_square(&scales[range?]) })),
        );
    }
    found
}

/// Root mean squares of each of `n` rows of a column-major matrix.
fn root_mean_squares(values: &[f64], n: usize) -> Vec<f64> {
    let mut rows = Vec::new();
    mean_squares_into(values, n, &mut rows);
    rows.iter().map(|s| s.sqrt()).collect()
}

fn mean_squares_into(values: &[f64], n: usize, out: &mut Vec<f64>) {
    out.clear();
    out.resize(n, 0.0);
    for column in values.chunks_exact(n) {
        out.iter_mut().zip(column).for_each(|(sum, v)| *sum += v * v);
    }
    let n_columns = (values.len() / n.max(1)).max(1) as f64;
    out.iter_mut().for_each(|sum| *sum /= n_columns);
}
