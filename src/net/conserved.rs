//! Quantities that gradient flow conserves because a rescaling of weights leaves the network as it is.
//!
//! For positively homogeneous σ, multiplying the weights and biases of a channel by c > 0 multiplies its activations by c at all
//! positions. Where every feature that reads them is linear of degree d in them alone, multiplying the weights of that feature
//! by c^{−d} undoes it. The loss is constant along this family, so the flow conserves
//! ‖incoming weights‖² + ‖biases‖² − Σ d·‖outgoing weights‖², through crossings and slides (Du, Hu & Lee 2018 for dense layers). A channel
//! whose activations are added to something else before they meet weights, as behind a skip connection, has no such law.

use super::layer::Layer;
use super::network::Network;

/// Σ c·θ_i² over `terms` (i, c): the conserved quantity of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Channel, from 0.
    pub channel: usize,
    terms: Vec<(usize, f64)>,
}

impl Law {
    /// The value at θ.
    pub fn value(&self, theta: &[f64]) -> f64 {
        self.terms.iter().map(|&(i, c)| c * theta[i] * theta[i]).sum()
    }
}

/// Why a network has no law of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLaw {
    /// σ(cz) ≠ cσ(z) for some c > 0.
    Activation,
    /// There is nothing between the first weights and the outputs.
    NoHiddenUnits,
    /// Every hidden channel is added to something else before it meets weights, or has something added to it.
    Sums,
}

impl NoLaw {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "the activation is not positively homogeneous",
            Self::NoHiddenUnits => "there are no hidden units",
            Self::Sums => "skip connections add to every hidden unit, so that no rescaling can be undone",
        }
    }
}

/// Why [`laws`] is empty; `None` where it is not.
pub fn no_law(network: &Network, laws: &[Law]) -> Option<NoLaw> {
    match laws {
        [_, ..] => None,
        _ if network.n_hidden() == 0 => Some(NoLaw::NoHiddenUnits),
        _ if !network.activation().is_positively_homogeneous() => Some(NoLaw::Activation),
        _ => Some(NoLaw::Sums),
    }
}

/// All laws of this kind, layer by layer; none when the activation is not positively homogeneous.
pub fn laws(network: &Network) -> Vec<Law> {
    if !network.activation().is_positively_homogeneous() {
        return Vec::new();
    }
    let mut laws = Vec::new();
    for hidden in 1..=network.n_hidden() {
        let layer = &network.layers()[hidden - 1];
        if layer.skip.is_some() {
            continue;
        }
        let mut terms: Vec<Option<Vec<(usize, f64)>>> = (0..layer.n_out).map(|o| Some(incoming(layer, o))).collect();
        for &reader in network.readers(hidden) {
            outgoing(network, hidden, &network.layers()[reader], &mut terms);
        }
        let law = |(channel, terms): (usize, Option<Vec<_>>)| Some(Law { layer: hidden, channel, terms: terms? });
        laws.extend(terms.into_iter().enumerate().filter_map(law));
    }
    laws
}

fn incoming(layer: &Layer, channel: usize) -> Vec<(usize, f64)> {
    let weights = (0..layer.n_in).map(|c| layer.weight_index(channel, c));
    let biases = layer.bias.clone().into_iter().flatten().skip(channel).step_by(layer.n_out);
    weights.chain(biases).map(|i| (i, 1.0)).collect()
}

/// Adds what a reader's weights contribute to the laws of the channels of `hidden`; a channel without a law becomes `None`.
fn outgoing(network: &Network, hidden: usize, reader: &Layer, terms: &mut [Option<Vec<(usize, f64)>>]) {
    let n_channels = terms.len();
    let channel_of = |sources: &[usize], column: usize| {
        let mut at = column;
        for &source in sources {
            let width = network.widths()[source];
            if at < width {
                return (source == hidden).then_some(at % n_channels);
            }
            at -= width;
        }
        None
    };
    if let Some(skip) = &reader.skip {
        for factor in (0..skip.n_features()).flat_map(|r| skip.factors(r)) {
            factor.iter().filter_map(|&(column, _)| channel_of(skip.sources(), column)).for_each(|o| terms[o] = None);
        }
    }
    // Degree of each weight column in each channel; it has to be the same wherever the column is used.
    let n_columns = reader.n_in * reader.n_groups;
    let mut degrees: Vec<Option<Vec<(usize, f64)>>> = vec![None; n_columns];
    for r in 0..reader.map.n_features() {
        let factors = reader.map.factors(r);
        if factors.iter().any(Vec::is_empty) {
            continue; // The feature is zero whatever the channels do.
        }
        let mut degree: Vec<(usize, f64)> = Vec::new();
        for factor in &factors {
            let origins: Vec<Option<usize>> =
                factor.iter().map(|&(column, _)| channel_of(reader.map.sources(), column)).collect();
            if origins.iter().any(|o| *o != origins[0]) {
                // A sum over several channels, or of a channel and something else.
                origins.into_iter().flatten().for_each(|o| terms[o] = None);
                continue;
            }
            let Some(channel) = origins[0] else { continue };
            match degree.iter_mut().find(|(o, _)| *o == channel) {
                Some((_, d)) => *d += 1.0,
                None => degree.push((channel, 1.0)),
            }
        }
        degree.sort_by_key(|(o, _)| *o);
        let column = &mut degrees[r % n_columns];
        match column {
            Some(known) if *known != degree => {
                known.iter().chain(&degree).for_each(|(o, _)| terms[*o] = None);
            }
            _ => *column = Some(degree),
        }
    }
    for (column, degree) in degrees.iter().enumerate() {
        let (group, feature) = (column / reader.n_in, column % reader.n_in);
        let per_group = reader.n_out / reader.n_groups;
        for &(channel, d) in degree.iter().flatten() {
            if let Some(terms) = &mut terms[channel] {
                let rows = group * per_group..(group + 1) * per_group;
                terms.extend(rows.map(|row| (reader.weight_index(row, feature), -d)));
            }
        }
    }
}
