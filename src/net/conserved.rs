//! Quantities that gradient flow conserves because a rescaling of weights leaves the network as it is.
//!
//! For positively homogeneous σ, multiplying the weights and biases of a channel by c > 0 multiplies its activations by c at all
//! positions. Where every feature that reads them is linear of degree d in them alone, multiplying the weights of that feature
//! by c^{−d} undoes it. The loss is constant along this family, so the flow conserves
//! ‖incoming weights‖² + ‖biases‖² − Σ d·‖outgoing weights‖², through crossings and slides (Du, Hu & Lee 2018 for dense layers). Channels
//! that are added up before they meet weights, as those of residual blocks, can only be rescaled together and have one law in common.
//! What is added to the data, or to the outputs, cannot be rescaled at all.

use super::layer::Layer;
use super::network::Network;

/// Σ c·θ_i² over `terms` (i, c): the conserved quantity of a channel, or of channels that can only be rescaled together.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// Hidden layer of the (first) channel, from 1.
    pub layer: usize,
    /// The (first) channel, from 0.
    pub channel: usize,
    terms: Vec<(usize, f64)>,
}

impl Law {
    /// Σ|c|·θ_i², the size of the terms.
    pub fn size(&self, theta: &[f64]) -> f64 {
        self.terms.iter().map(|&(i, c)| c.abs() * theta[i] * theta[i]).sum()
    }

    /// The value at θ, and the size of its terms.
    pub fn value_and_size(&self, theta: &[f64]) -> (f64, f64) {
        self.terms.iter().fold((0.0, 0.0), |(value, size), &(i, c)| {
            let square = theta[i] * theta[i];
            (value + c * square, size + c.abs() * square)
        })
    }

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
    /// Every hidden channel is tied by sums to the data or to the outputs.
    Sums,
}

impl NoLaw {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "the activation is not positively homogeneous",
            Self::NoHiddenUnits => "there are no hidden units",
            Self::Sums => {
                "sums tie every hidden unit to the data or to the outputs, so that no rescaling can be undone"
            }
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
    let mut ties = Ties::new(network);
    for (l, layer) in network.layers().iter().enumerate() {
        ties.read(l, layer);
    }
    ties.laws()
}

/// The laws of a network with their values at a start.
#[derive(Debug, Clone)]
pub struct Conserved {
    laws: Vec<Law>,
    initial: Vec<f64>,
    scale: f64,
}

impl Conserved {
    /// All laws of `network`, from θ₀.
    pub fn new(network: &Network, theta: &[f64]) -> Self {
        let laws = laws(network);
        let initial: Vec<f64> = laws.iter().map(|law| law.value(theta)).collect();
        let largest = initial.iter().fold(0.0, |m: f64, c| m.max(c.abs()));
        let terms = laws.iter().map(|law| law.size(theta)).fold(0.0, f64::max);
        // Balanced starts make all of them vanish but for rounding.
        let scale = if largest > 1e-10 * terms { largest } else { terms };
        Self { laws, initial, scale: scale.max(1e-300) }
    }

    /// The largest quantity at the start, or the size of the terms that cancel in them where all of them vanish; at least 1e-300.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The laws.
    pub fn laws(&self) -> &[Law] {
        &self.laws
    }

    /// Their values at θ₀.
    pub fn initial(&self) -> &[f64] {
        &self.initial
    }

    /// Largest change of one of them at θ, relative to [`scale`](Self::scale); `None` when there is none.
    pub fn drift(&self, theta: &[f64]) -> Option<f64> {
        let scale = self.scale;
        let changes = self.laws.iter().zip(&self.initial).map(|(law, c)| (law.value(theta) - c).abs());
        // A value that is not a number would be lost in a maximum.
        changes.reduce(|a, b| if a >= b || a.is_nan() { a } else { b }).map(|largest| largest / scale)
    }
}

/// Which channels can only be rescaled together, and which not at all. Channels are numbered layer by layer.
struct Ties<'a> {
    network: &'a Network,
    /// First channel of each hidden layer, and their number.
    starts: Vec<usize>,
    /// Union-find: another channel of the same group, or itself.
    parent: Vec<usize>,
    /// Channels that cannot be rescaled, with all that is tied to them.
    is_fixed: Vec<bool>,
}

impl<'a> Ties<'a> {
    fn new(network: &'a Network) -> Self {
        let mut starts = vec![0];
        for layer in &network.layers()[..network.n_hidden()] {
            starts.push(starts[starts.len() - 1] + layer.n_out);
        }
        let count = starts[starts.len() - 1];
        Self { network, starts, parent: (0..count).collect(), is_fixed: vec![false; count] }
    }

    fn group(&self, mut channel: usize) -> usize {
        while self.parent[channel] != channel {
            channel = self.parent[channel];
        }
        channel
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.group(a), self.group(b));
        // The first channel stands for the group.
        self.parent[a.max(b)] = a.min(b);
    }

    /// The channel behind a column of stacked sources; `None` for data.
    fn channel_of(&self, sources: &[usize], column: usize) -> Option<usize> {
        let (source, index) = self.network.origin(sources, column);
        (source > 0).then(|| self.starts[source - 1] + index % self.network.layers()[source - 1].n_out)
    }

    /// Ties what a layer adds up; data among it fix the others.
    fn tie_sum(&mut self, sources: &[usize], terms: &[(usize, f64)], with: Option<usize>) {
        let mut last = with;
        let mut has_data = false;
        for &(column, _) in terms {
            match (self.channel_of(sources, column), last) {
                (None, _) => has_data = true,
                (Some(channel), None) => last = Some(channel),
                (Some(channel), Some(other)) => self.tie(channel, other),
            }
        }
        if let Some(channel) = last.filter(|_| has_data) {
            self.is_fixed[channel] = true;
        }
    }

    /// Notes the sums that layer `l` (from 0) makes before its weights, and around them.
    fn read(&mut self, l: usize, layer: &Layer) {
        for r in 0..layer.map.n_features() {
            for factor in layer.map.factors(r) {
                self.tie_sum(layer.map.sources(), &factor, None);
            }
        }
        let Some(skip) = &layer.skip else { return };
        for r in 0..skip.n_features() {
            // What comes around the weights scales as the layer's own channel does; outputs do not scale.
            let own = (l < self.network.n_hidden()).then(|| self.starts[l] + r % layer.n_out);
            for factor in skip.factors(r) {
                self.tie_sum(skip.sources(), &factor, own);
                if own.is_none() {
                    let channels = factor.iter().filter_map(|&(column, _)| self.channel_of(skip.sources(), column));
                    channels.collect::<Vec<_>>().into_iter().for_each(|channel| self.is_fixed[channel] = true);
                }
            }
        }
    }

    fn laws(mut self) -> Vec<Law> {
        let groups: Vec<usize> = (0..self.parent.len()).map(|channel| self.group(channel)).collect();
        for (channel, &group) in groups.iter().enumerate() {
            self.is_fixed[group] |= self.is_fixed[channel];
        }
        let mut terms: Vec<Vec<(usize, f64)>> = vec![Vec::new(); groups.len()];
        for (l, layer) in self.network.layers().iter().enumerate() {
            if l < self.network.n_hidden() {
                for channel in 0..layer.n_out {
                    terms[groups[self.starts[l] + channel]].extend(incoming(layer, channel));
                }
            }
            self.outgoing(layer, &groups, &mut terms);
        }
        let mut laws = Vec::new();
        for (layer, start) in self.starts.windows(2).enumerate() {
            for channel in start[0]..start[1] {
                if groups[channel] == channel && !self.is_fixed[channel] {
                    let terms = std::mem::take(&mut terms[channel]);
                    laws.push(Law { layer: layer + 1, channel: channel - start[0], terms });
                }
            }
        }
        laws
    }

    /// Adds what a layer's weights contribute to the laws of the channels it reads.
    fn outgoing(&mut self, layer: &Layer, groups: &[usize], terms: &mut [Vec<(usize, f64)>]) {
        // Degree of each weight column in each group; it has to be the same wherever the column is used.
        let n_columns = layer.n_in * layer.n_groups;
        let mut degrees: Vec<Option<Vec<(usize, f64)>>> = vec![None; n_columns];
        for r in 0..layer.map.n_features() {
            let factors = layer.map.factors(r);
            if factors.iter().any(Vec::is_empty) {
                continue; // The feature is zero whatever the channels do.
            }
            let mut degree: Vec<(usize, f64)> = Vec::new();
            for factor in &factors {
                // All terms of a factor are of one group, or all are data.
                let Some(channel) = self.channel_of(layer.map.sources(), factor[0].0) else { continue };
                match degree.iter_mut().find(|(group, _)| *group == groups[channel]) {
                    Some((_, d)) => *d += 1.0,
                    None => degree.push((groups[channel], 1.0)),
                }
            }
            degree.sort_by_key(|(group, _)| *group);
            match &mut degrees[r % n_columns] {
                Some(known) if *known != degree => {
                    known.iter().chain(&degree).for_each(|(group, _)| self.is_fixed[*group] = true);
                }
                column => *column = Some(degree),
            }
        }
        let per_group = layer.n_out / layer.n_groups;
        for (column, degree) in degrees.iter().enumerate() {
            let (part, feature) = (column / layer.n_in, column % layer.n_in);
            for &(group, d) in degree.iter().flatten() {
                let rows = part * per_group..(part + 1) * per_group;
                terms[group].extend(rows.map(|row| (layer.weight_index(row, feature), -d)));
            }
        }
    }
}

fn incoming(layer: &Layer, channel: usize) -> Vec<(usize, f64)> {
    let weights = (0..layer.n_in).map(|c| layer.weight_index(channel, c));
    let biases = layer.bias.clone().into_iter().flatten().skip(channel).step_by(layer.n_out);
    weights.chain(biases).map(|i| (i, 1.0)).collect()
}
