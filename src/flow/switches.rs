//! Which pre-activations are one and the same function of θ, and so one switch of the flow.
//!
//! Weights that are shared meet equal inputs at several places: on the background of an image, at twin nodes of a graph, in both
//! branches for a pair of equals. The pre-activations there agree for every θ, and so do their gradients. As switches of their
//! own they would make the sliding equations singular, and each would be judged by its own part of what only their sum decides. Merged
//! into one they are regular again: one multiplier, with the sum of all sensitivities against it.
//!
//! Places are compared by what they read, layer by layer: numbers of the data, and switches already told apart.

use crate::net::{Batch, Layer};
use crate::ode::{Contact, Mode};
use std::collections::HashMap;

/// The switches of a flow and their members among all pre-activations of a batch.
#[derive(Debug, Clone)]
pub struct Switches {
    /// First member of each switch; increasing.
    first: Vec<usize>,
    /// All members of each switch, increasing; empty when every pre-activation is a switch of its own.
    members: Vec<Vec<usize>>,
    /// The switch of each pre-activation, in the same case empty.
    switch_of: Vec<usize>,
}

impl Switches {
    /// Finds the switches of a batch.
    pub fn new(batch: &Batch) -> Self {
        let mut finder = Finder { batch, switch_of: Vec::with_capacity(batch.n_switches()), first: Vec::new() };
        for layer in 1..=batch.network().n_hidden() {
            finder.add_layer(layer);
        }
        let Finder { switch_of, first, .. } = finder;
        if first.len() == switch_of.len() {
            return Self { first, members: Vec::new(), switch_of: Vec::new() };
        }
        let mut members = vec![Vec::new(); first.len()];
        switch_of.iter().enumerate().for_each(|(place, &switch)| members[switch].push(place));
        Self { first, members, switch_of }
    }

    /// Number of switches.
    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Whether every pre-activation is a switch of its own.
    pub fn are_single(&self) -> bool {
        self.members.is_empty()
    }

    /// The first pre-activation of a switch; it stands for all.
    pub fn first(&self, switch: usize) -> usize {
        self.first[switch]
    }

    /// All pre-activations of a switch, increasing.
    pub fn members(&self, switch: usize) -> &[usize] {
        if self.are_single() { &self.first[switch..=switch] } else { &self.members[switch] }
    }

    /// The first pre-activations of contacts, in their order.
    pub fn firsts<'a>(&'a self, contacts: &'a [Contact]) -> impl Iterator<Item = usize> + 'a {
        contacts.iter().map(|c| self.first[c.switch])
    }

    /// Values of all switches from those of all pre-activations.
    pub fn gather(&self, from: &[f64], to: &mut [f64]) {
        if self.are_single() {
            to.copy_from_slice(from);
        } else {
            to.iter_mut().zip(&self.first).for_each(|(to, &place)| *to = from[place]);
        }
    }

    /// The same in place.
    pub fn gather_own(&self, values: &mut Vec<f64>) {
        let gathered = self.first.iter().map(|&place| values[place]).collect();
        *values = gathered;
    }

    /// Sums over the members of each switch, in place of values of all pre-activations.
    pub fn sum_own(&self, values: &mut Vec<f64>) {
        let sums =
            (0..self.len()).map(|switch| self.members(switch).iter().map(|&place| values[place]).sum()).collect();
        *values = sums;
    }

    /// Pieces of all pre-activations in a mode; `buffer` is used when some are merged.
    pub fn pieces<'a>(&self, mode: &'a Mode, buffer: &'a mut Vec<u16>) -> &'a [u16] {
        if self.are_single() {
            return mode.pieces();
        }
        buffer.clear();
        buffer.extend(self.switch_of.iter().map(|&switch| mode.pieces()[switch]));
        buffer
    }

    /// The switch of a pre-activation.
    pub fn switch_of(&self, place: usize) -> usize {
        if self.are_single() { place } else { self.switch_of[place] }
    }
}

struct Finder<'a> {
    batch: &'a Batch,
    switch_of: Vec<usize>,
    first: Vec<usize>,
}

impl Finder<'_> {
    fn add_layer(&mut self, hidden: usize) {
        let layer = &self.batch.network().layers()[hidden - 1];
        // What a position reads → the switches of its channels there.
        let mut known: HashMap<Vec<u64>, usize> = HashMap::new();
        let mut found = Vec::with_capacity(self.batch.layer_range(hidden).len());
        let start = self.switch_of.len();
        for sample in 0..self.batch.n_samples() {
            for position in 0..layer.n_positions {
                let here = start + found.len();
                let next = self.first.len();
                let first = *known.entry(self.read_by(layer, sample, position)).or_insert(next);
                if first == next {
                    self.first.extend(here..here + layer.n_out);
                }
                found.extend(first..first + layer.n_out);
            }
        }
        self.switch_of.extend(found);
    }

    /// Everything that the outputs of a layer at one position depend on besides the weights, as a key.
    fn read_by(&self, layer: &Layer, sample: usize, position: usize) -> Vec<u64> {
        let mut key = Vec::new();
        let period = layer.bias.as_ref().map_or(1, |bias| bias.len() / layer.n_out);
        key.push((position % period) as u64);
        let n_features = layer.n_groups * layer.n_in;
        for r in position * n_features..(position + 1) * n_features {
            layer.map.factors(r).iter().for_each(|terms| self.write(layer.map.sources(), terms, sample, &mut key));
        }
        if let Some(skip) = &layer.skip {
            for r in position * layer.n_out..(position + 1) * layer.n_out {
                skip.factors(r).iter().for_each(|terms| self.write(skip.sources(), terms, sample, &mut key));
            }
        }
        key
    }

    /// Writes a linear combination: its constant, and the weight of every switch in it.
    fn write(&self, sources: &[usize], terms: &[(usize, f64)], sample: usize, key: &mut Vec<u64>) {
        let mut constant = 0.0;
        let mut parts: Vec<(usize, f64)> = Vec::new();
        for &(column, weight) in terms {
            let (source, index) = self.batch.network().origin(sources, column);
            if source == 0 {
                constant += weight * self.batch.input(sample)[index];
                continue;
            }
            let width = self.batch.network().widths()[source];
            parts.push((self.switch_of[self.batch.layer_range(source).start + sample * width + index], weight));
        }
        parts.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        parts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        key.extend([rounded(constant), parts.len() as u64]);
        key.extend(parts.iter().flat_map(|&(switch, weight)| [switch as u64, rounded(weight)]));
    }
}

/// Bits of a number without the last eight, so that sums in another order still agree. −0 is 0.
fn rounded(value: f64) -> u64 {
    (value + 0.0).to_bits().wrapping_add(0x80) & !0xff
}
