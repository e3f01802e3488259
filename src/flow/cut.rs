//! The gradient flow cut open at some of its switches; see [`CutField`].

use super::field::hold;
use super::switches::Switches;
use crate::data::MergedData;
use crate::loss::Loss;
use crate::net::{Backward, Batch, Forward, Held, KernelScratch, Probes, gradient_rates, mirror, switch_gram};
use crate::ode::cut::{N_NODES, START};
use crate::ode::{CutField, Link, Mode, Noise, NonFinite};
use crate::vector::{all_finite, max_abs, vectorised};
use std::sync::Arc;

/// One point at which the network stands.
#[derive(Debug, Clone, Default)]
struct Node {
    theta: Vec<f64>,
    forward: Forward,
    output_seed: Vec<f64>,
}

/// A network whose activation is piecewise linear, at several points at once.
#[derive(Debug, Clone)]
pub struct CutNetwork {
    batch: Arc<Batch>,
    switches: Arc<Switches>,
    data: Arc<MergedData>,
    loss: Loss,
    lines: Vec<(f64, f64)>,
    nodes: [Node; N_NODES],
    /// Seeds of all switches at the start.
    start_seeds: Vec<f64>,
    /// max |∂L/∂a| over each hidden layer at the start.
    largest_mu: Vec<f64>,
    noise: Noise,
    active: Vec<usize>,
    held: Vec<Held>,
    backward: Backward,
    injected: Vec<(usize, f64)>,
    zeros: Vec<f64>,
    rates: Vec<f64>,
    probes: Probes,
    kernels: KernelScratch,
}

impl CutNetwork {
    /// The network of a batch, if its activation is piecewise linear with fixed slopes and every pre-activation a switch of its own.
    pub fn new(batch: &Arc<Batch>, switches: &Arc<Switches>, data: &Arc<MergedData>, loss: Loss) -> Option<Self> {
        if !switches.are_single() {
            return None;
        }
        let lines = batch.network().activation().fixed_lines()?;
        Some(Self {
            batch: batch.clone(),
            switches: switches.clone(),
            data: data.clone(),
            loss,
            lines,
            nodes: Default::default(),
            start_seeds: Vec::new(),
            largest_mu: Vec::new(),
            noise: Noise::default(),
            active: Vec::new(),
            held: Vec::new(),
            backward: Backward::default(),
            injected: Vec::new(),
            zeros: vec![0.0; batch.n_outputs()],
            rates: Vec::new(),
            probes: Probes::default(),
            kernels: KernelScratch::default(),
        })
    }

    /// Stands at the start of a step: θ, its forward and backward pass, the seeds of the outputs, and its noise.
    pub fn begin(
        &mut self,
        data: &Arc<MergedData>,
        theta: &[f64],
        forward: &Forward,
        backward: &Backward,
        output_seed: &[f64],
        noise: &Noise,
    ) {
        self.noise.clone_from(noise);
        let largest = |layer| vectorised!(max_abs(&backward.mu[self.batch.layer_range(layer)]));
        self.largest_mu = (1..=self.batch.network().n_hidden()).map(largest).collect();
        self.data.clone_from(data);
        let Node { theta: own_theta, forward: own_forward, output_seed: own_seed } = &mut self.nodes[START];
        fill(own_theta, theta);
        own_forward.copy(forward);
        fill(own_seed, output_seed);
        fill(&mut self.start_seeds, &backward.seed);
        self.active.clear();
    }

    /// A backward pass at a node, with the seeds of the active switches given; without the loss, of these seeds alone.
    fn send_back(&mut self, node: usize, seeds: &[f64], with_loss: bool) {
        let Self { batch, nodes, active, backward, injected, zeros, .. } = self;
        let Node { theta, forward, output_seed } = &nodes[node];
        injected.clear();
        injected.extend(active.iter().copied().zip(seeds.iter().copied()));
        batch.backpropagate(theta, forward, if with_loss { output_seed } else { zeros }, injected, backward);
    }
}

impl CutField for CutNetwork {
    fn lines(&self) -> &[(f64, f64)] {
        &self.lines
    }

    fn breakpoints(&self) -> &[f64] {
        self.batch.network().activation().breakpoints()
    }

    fn seeds(&self, switches: &[usize], out: &mut Vec<f64>) {
        out.clear();
        out.extend(switches.iter().map(|&s| self.start_seeds[s]));
    }

    fn largest_sensitivity(&self, switch: usize) -> f64 {
        self.largest_mu[self.batch.layer_of(switch) - 1]
    }

    fn noise(&self) -> &Noise {
        &self.noise
    }

    fn group(&self, switch: usize) -> Option<usize> {
        // The weights of a unit of the first layer are its own, unless positions share them.
        let (layer, unit, _) = self.batch.locate(switch);
        (layer == 1 && self.batch.network().layers()[0].is_plain()).then_some(unit)
    }

    fn stand(&mut self, node: usize, y: &[f64], mode: &Mode, passed: &[(usize, f64)]) -> Result<(), NonFinite> {
        let Self { batch, switches, data, loss, nodes, held, .. } = self;
        hold(batch, switches, y, mode.sliding(), held);
        for &(index, output) in passed {
            match held.binary_search_by_key(&index, |h| h.index) {
                Ok(at) => held[at].output = output,
                Err(at) => held.insert(at, Held { index, output }),
            }
        }
        let Node { theta, forward, output_seed } = &mut nodes[node];
        fill(theta, y);
        batch.forward(y, mode.pieces(), held, forward);
        output_seed.resize(batch.n_outputs(), 0.0);
        loss.seed(data, batch.network().n_outputs_per_part(), &forward.f, output_seed);
        if all_finite(&forward.f) { Ok(()) } else { Err(NonFinite { what: "the network output".into() }) }
    }

    fn values(&self, node: usize) -> &[f64] {
        &self.nodes[node].forward.z
    }

    fn cut(&mut self, active: &[usize]) {
        fill(&mut self.active, active);
        for node in &mut self.nodes {
            if !node.forward.slope.is_empty() {
                active.iter().for_each(|&s| node.forward.slope[s] = 0.0);
            }
        }
    }

    fn respond(&mut self, node: usize, seeds: &[f64], rates: &mut [f64], sensitivities: &mut [f64]) {
        self.send_back(node, seeds, true);
        let Self { batch, nodes, active, backward, rates: all, kernels, .. } = self;
        let Node { theta, forward, output_seed } = &nodes[node];
        gradient_rates(batch, theta, forward, backward, output_seed, kernels, all);
        for ((rate, sensitivity), &s) in rates.iter_mut().zip(sensitivities).zip(&*active) {
            *rate = -all[s];
            *sensitivity = backward.mu[s];
        }
    }

    fn couple(&mut self, node: usize, gram: &mut Vec<f64>, links: &mut Vec<Link>) {
        let Self { batch, nodes, active, probes, kernels, .. } = self;
        let Node { theta, forward, .. } = &nodes[node];
        let m = active.len();
        gram.clear();
        gram.resize(m * m, 0.0);
        links.clear();
        if m == 0 {
            return;
        }
        probes.switches(batch, theta, forward, active);
        switch_gram(batch, forward, probes, kernels, gram, m);
        mirror(gram, m);
        let found = probes.reads(batch);
        links.extend(found.map(|(reader, source, weight)| Link { reader, source, weight }));
        links.sort_by_key(|link| (link.reader, link.source));
    }

    fn field(&mut self, node: usize, seeds: &[f64], out: &mut [f64]) -> Result<(), NonFinite> {
        self.send_back(node, seeds, true);
        let Node { forward, output_seed, .. } = &self.nodes[node];
        self.batch.gradient_times(-1.0, forward, output_seed, &self.backward, out);
        if all_finite(out) { Ok(()) } else { Err(NonFinite { what: "the gradient".into() }) }
    }

    fn pull(&mut self, node: usize, weights: &[f64], out: &mut [f64]) {
        self.send_back(node, weights, false);
        self.batch.gradient(&self.nodes[node].forward, &self.zeros, &self.backward, out);
    }
}

fn fill<T: Copy>(to: &mut Vec<T>, from: &[T]) {
    to.clear();
    to.extend_from_slice(from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;
    use crate::flow::FlowField;
    use crate::net::init::{Sampler, sample, standard_normal};
    use crate::net::{Activation, Network};
    use crate::ode::PiecewiseField;
    use crate::vector::dot;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    const STEP: f64 = 1e-6;

    /// A node of a cut network whose outputs and seeds at the active switches have nothing to do with its forward pass.
    struct Opened {
        cut: CutNetwork,
        theta: Vec<f64>,
        mode: Mode,
        active: Vec<usize>,
        passed: Vec<(usize, f64)>,
        seeds: Vec<f64>,
    }

    const NODE: usize = 1;

    impl Opened {
        fn new(network: Network, n_samples: usize, seed: u64) -> Self {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let x = standard_normal(n_samples, network.widths()[0], &mut rng);
            let y = standard_normal(n_samples, network.n_outputs(), &mut rng);
            let theta = sample(&network, Sampler::KaimingUniform, 0.25, &mut rng);
            let data = Data::from_rows(&x, &y).expect("rows form a data set");
            let mut field = FlowField::new(network, &data);
            let mode = field.mode_from_values(&theta);
            let mut dy = vec![0.0; theta.len()];
            field.eval(&theta, &mode, &mut dy).expect("finite");
            assert!(field.cut().is_some());
            let batch = Arc::new(field.batch().clone());
            let switches = Arc::new(field.switches().clone());
            let data = Arc::new(field.data().clone());
            let mut cut = CutNetwork::new(&batch, &switches, &data, Loss::SquaredError).expect("lines");
            let active: Vec<usize> = (0..batch.n_switches()).filter(|s| s % 5 == 1 || s % 7 == 3).collect();
            let random = standard_normal(2, active.len(), &mut rng);
            let passed: Vec<(usize, f64)> = active.iter().copied().zip(random[0].iter().copied()).collect();
            cut.stand(NODE, &theta, &mode, &passed).expect("finite");
            cut.cut(&active);
            Self { cut, theta, mode, active, passed, seeds: random[1].clone() }
        }

        /// Values of the active switches, and L + Σ D_c z_c, at a moved θ with the outputs given.
        fn at(&mut self, theta: &[f64], passed: &[(usize, f64)]) -> (Vec<f64>, f64) {
            self.cut.stand(2, theta, &self.mode, passed).expect("finite");
            let values: Vec<f64> = self.active.iter().map(|&s| self.cut.values(2)[s]).collect();
            let part = self.cut.batch.network().n_outputs_per_part();
            let loss = self.cut.loss.value(&self.cut.data, part, &self.cut.nodes[2].forward.f);
            let sum = loss + dot(&values, &self.seeds);
            (values, sum)
        }

        /// Differences of both along a direction in θ.
        fn along(&mut self, direction: &[f64]) -> (Vec<f64>, f64) {
            let moved = |sign: f64, theta: &[f64]| -> Vec<f64> {
                theta.iter().zip(direction).map(|(t, d)| t + sign * STEP * d).collect()
            };
            let (up, down) = (moved(1.0, &self.theta), moved(-1.0, &self.theta));
            let passed = self.passed.clone();
            let (high, low) = (self.at(&up, &passed), self.at(&down, &passed));
            let rate = |a: f64, b: f64| (a - b) / (2.0 * STEP);
            (high.0.iter().zip(&low.0).map(|(a, b)| rate(*a, *b)).collect(), rate(high.1, low.1))
        }
    }

    fn close(a: f64, b: f64, what: &str) {
        assert!((a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs())), "{what}: {a} {b}");
    }

    fn cases() -> Vec<Opened> {
        let dense = |hidden: &[usize]| Network::dense(4, hidden, 2, true, Activation::leaky_relu(0.2)).expect("widths");
        // A residual net is no chain: its rates come from the gradient itself.
        let residual = crate::net::architecture::residual(4, 4, 3, true, Activation::abs()).expect("sizes");
        vec![Opened::new(dense(&[6, 5, 4]), 5, 1), Opened::new(dense(&[7]), 4, 2), Opened::new(residual, 5, 3)]
    }

    #[test]
    fn fields_rates_and_sensitivities_are_derivatives_with_the_active_switches_cut() {
        for (k, mut o) in cases().into_iter().enumerate() {
            let m = o.active.len();
            let seeds = o.seeds.clone();
            let mut field = vec![0.0; o.theta.len()];
            o.cut.field(NODE, &seeds, &mut field).expect("finite");
            let (mut rates, mut sensitivities) = (vec![0.0; m], vec![0.0; m]);
            o.cut.respond(NODE, &seeds, &mut rates, &mut sensitivities);
            let (found, slope) = o.along(&field);
            close(slope, -dot(&field, &field), "the field is minus the gradient");
            rates.iter().zip(&found).for_each(|(a, b)| close(*a, *b, &format!("case {k}, rate")));
            for c in 0..m {
                let theta = o.theta.clone();
                let mut sum = |sign: f64| {
                    let mut passed = o.passed.clone();
                    passed[c].1 += sign * STEP;
                    o.at(&theta, &passed).1
                };
                close((sum(1.0) - sum(-1.0)) / (2.0 * STEP), sensitivities[c], &format!("case {k}, ∂L/∂a"));
            }
        }
    }

    #[test]
    fn couplings_are_products_of_gradients_and_links_are_derivatives_by_outputs() {
        for (k, mut o) in cases().into_iter().enumerate() {
            let m = o.active.len();
            let (mut gram, mut links) = (Vec::new(), Vec::new());
            o.cut.couple(NODE, &mut gram, &mut links);
            assert!(links.is_sorted_by_key(|l| l.reader) && links.iter().all(|l| l.source < l.reader));
            let gradients: Vec<Vec<f64>> = (0..m)
                .map(|c| {
                    let (mut unit, mut gradient) = (vec![0.0; m], vec![0.0; o.theta.len()]);
                    unit[c] = 1.0;
                    o.cut.pull(NODE, &unit, &mut gradient);
                    gradient
                })
                .collect();
            for (c, gradient) in gradients.iter().enumerate() {
                let (rates, _) = o.along(gradient);
                for (d, rate) in rates.iter().enumerate() {
                    close(gram[c * m + d], dot(gradient, &gradients[d]), &format!("case {k}, Γ"));
                    close(gram[c * m + d], *rate, &format!("case {k}, rate along ∇z"));
                }
            }
            let groups: Vec<Option<usize>> = o.active.iter().map(|&s| o.cut.group(s)).collect();
            assert!(groups.iter().flatten().count() > 1 && groups.is_sorted_by_key(Option::is_none), "{groups:?}");
            assert!(links.iter().all(|l| groups[l.reader].is_none()), "a switch with a group reads nothing");
            for (k, g) in gram.iter().enumerate() {
                if let (Some(a), Some(b)) = (groups[k / m], groups[k % m])
                    && a != b
                {
                    assert_eq!(*g, 0.0, "groups {a} and {b} have nothing to do with each other");
                }
            }
            let theta = o.theta.clone();
            for source in 0..m {
                let mut values = |sign: f64| {
                    let mut passed = o.passed.clone();
                    passed[source].1 += sign * STEP;
                    o.at(&theta, &passed).0
                };
                let (high, low) = (values(1.0), values(-1.0));
                for reader in 0..m {
                    let weight =
                        links.iter().find(|l| (l.reader, l.source) == (reader, source)).map_or(0.0, |l| l.weight);
                    close(weight, (high[reader] - low[reader]) / (2.0 * STEP), &format!("case {k}, link"));
                }
            }
        }
    }
}
