//! Every architecture equals its definition written out ([`common::plain`]): outputs, gradients, tangents, Gram matrices, held units,
//! single switches, places and conservation laws, at random θ.
//!
//! Everything agrees to 1e-10 of the largest entry. Sums here have at most a few hundred terms of order one and three to nine layers stand
//! behind each other, which round by 1e-13; only solves with Γ, admitted up to a condition of 1e4, need more of the room.

mod common;

use common::naive::{Unit, piece_of, sigma};
use common::plain::Plain;
use common::{Case, cubic_pieces, relative_distance};
use gradflow::flow::FlowField;
use gradflow::net::architecture::{Block, ConvStage, GraphForm, NodeBias, Readout, SiameseHead, Upsampling};
use gradflow::net::init::{Sampler, sample, standard_normal};
use gradflow::net::{
    Activation, Backward, Batch, Forward, Held, KernelScratch, Place, Probes, Smooth, TangentScratch, cross_gram,
    gradient_products, laws, mirror, own_gram, switch_gram,
};
use gradflow::ntk::GramEvaluator;
use gradflow::ode::{Contact, Mode, PiecewiseField};
use nalgebra::{DMatrix, DVector};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::{HashMap, HashSet};

const TOL: f64 = 1e-10;

/// Least distance of a pre-activation from a kink; far above rounding, so that both sides read the same pieces.
const MARGIN: f64 = 1e-6;

fn some_activations() -> Vec<(&'static str, Activation)> {
    vec![
        ("leaky ReLU", Activation::leaky_relu(0.1)),
        ("PReLU", Activation::Prelu),
        ("cubic pieces", cubic_pieces()),
        ("tanh", Activation::Smooth(Smooth::Tanh)),
    ]
}

/// A stage of a convolutional network.
fn filter(channels: usize, kernel: &[usize], stride: &[usize], padding: &[usize], groups: usize) -> ConvStage {
    let [kernel, stride, padding] = [kernel, stride, padding].map(<[usize]>::to_vec);
    ConvStage::Conv { channels, kernel, stride, padding, groups }
}

fn pool(kernel: &[usize], stride: &[usize]) -> ConvStage {
    ConvStage::AvgPool { kernel: kernel.to_vec(), stride: stride.to_vec() }
}

fn block(channels: usize, kernel: &[usize], stride: &[usize]) -> Block {
    Block { channels, kernel: kernel.to_vec(), stride: stride.to_vec() }
}

/// Networks and numbers of samples.
fn dense_like() -> Vec<(Plain, usize)> {
    vec![
        (Plain::Dense { widths: vec![3, 5, 4, 2], bias: true }, 5),
        (Plain::Dense { widths: vec![1, 1, 1], bias: false }, 1),
        (Plain::Residual { width: 3, layers: 4, bias: true }, 5),
        (Plain::Residual { width: 1, layers: 2, bias: true }, 1),
        (Plain::Residual { width: 4, layers: 3, bias: false }, 3),
        (Plain::Residual { width: 2, layers: 1, bias: true }, 3),
        (Plain::Polynomial { widths: vec![2, 3, 4, 2], bias: true }, 5),
        (Plain::Polynomial { widths: vec![1, 1, 1], bias: true }, 1),
        (Plain::Polynomial { widths: vec![3, 4, 1], bias: false }, 4),
        (Plain::Polynomial { widths: vec![3, 2], bias: true }, 4),
    ]
}

fn siamese_nets() -> Vec<(Plain, usize)> {
    let mut nets = Vec::new();
    for head in [SiameseHead::SquaredDifference, SiameseHead::Bilinear] {
        nets.push((Plain::Siamese { widths: vec![3, 4, 3], n_outputs: 2, head, bias: true }, 5));
        nets.push((Plain::Siamese { widths: vec![2, 3], n_outputs: 1, head, bias: false }, 3));
        nets.push((Plain::Siamese { widths: vec![1, 1], n_outputs: 1, head, bias: true }, 1));
        nets.push((Plain::Siamese { widths: vec![3], n_outputs: 2, head, bias: true }, 4));
    }
    nets
}

/// Five nodes, not bipartite, one of them isolated.
fn with_an_isolated_node() -> Vec<Vec<f64>> {
    let mut a = vec![vec![0.0; 5]; 5];
    for (i, j, weight) in [(0, 1, 1.0), (1, 2, 1.0), (0, 2, 0.5), (2, 4, 2.0)] {
        (a[i][j], a[j][i]) = (weight, weight);
    }
    a
}

fn path(m: usize) -> Vec<Vec<f64>> {
    (0..m).map(|i: usize| (0..m).map(|j| if i.abs_diff(j) == 1 { 1.0 } else { 0.0 }).collect()).collect()
}

fn triangle_and_tail() -> Vec<Vec<f64>> {
    let mut a = path(4);
    (a[0][2], a[2][0]) = (1.0, 1.0);
    a
}

fn graph_nets() -> Vec<(Plain, usize)> {
    let forms = [
        GraphForm::Kipf { exponent: -0.5 },
        GraphForm::Kipf { exponent: 0.5 },
        GraphForm::Chebyshev { order: 1 },
        GraphForm::Chebyshev { order: 4 },
        GraphForm::Morris,
    ];
    let mut nets = Vec::new();
    for form in forms {
        let net = |adjacency: &[Vec<Vec<f64>>], widths: &[usize], bias, readout| {
            let (adjacency, widths) = (adjacency.to_vec(), widths.to_vec());
            Plain::Graph { adjacency, widths, form, bias, readout }
        };
        let one = [with_an_isolated_node()];
        let each = [path(4), triangle_and_tail(), vec![vec![0.0; 4]; 4]];
        nets.push((net(&one, &[2, 3, 2], NodeBias::PerNode, Readout::Nodes), 1));
        nets.push((net(&one, &[2, 3, 4, 1], NodeBias::Shared, Readout::Nodes), 3));
        nets.push((net(&one, &[3, 2, 2], NodeBias::PerNode, Readout::Mean), 3));
        nets.push((net(&each, &[2, 3, 2], NodeBias::PerNode, Readout::Nodes), 1));
        nets.push((net(&each, &[2, 3, 2], NodeBias::Shared, Readout::Sum), 1));
        nets.push((net(&each, &[1, 2, 1], NodeBias::None, Readout::Mean), 1));
        nets.push((net(&[vec![vec![0.0]]], &[2, 3, 1], NodeBias::PerNode, Readout::Nodes), 2));
        nets.push((net(&[vec![vec![0.0]]], &[1, 1, 1], NodeBias::None, Readout::Sum), 1));
    }
    nets
}

fn conv_nets() -> Vec<(Plain, usize)> {
    let net = |shape: &[usize], stages: Vec<ConvStage>, hidden: &[usize], n_outputs, bias| {
        let (shape, hidden) = (shape.to_vec(), hidden.to_vec());
        Plain::Conv { shape, stages, hidden, n_outputs, bias }
    };
    let (one, none) = ([1], [0]);
    vec![
        // Strides that leave a remainder, kernels and strides that differ by dimension.
        (net(&[2, 6, 5], vec![filter(3, &[3], &[2], &[1], 1), filter(2, &[2, 3], &[1], &[1], 1)], &[3], 2, true), 2),
        (net(&[1, 7, 5], vec![filter(2, &[3, 2], &[3, 2], &none, 1)], &[], 1, false), 3),
        // A kernel larger than the image, and one that covers it, without and with groups.
        (net(&[1, 2, 2], vec![filter(2, &[5], &one, &[2], 1)], &[], 1, true), 3),
        (net(&[2, 3, 2], vec![filter(3, &[3, 2], &one, &none, 1)], &[2], 2, true), 3),
        (net(&[4, 2, 2], vec![filter(6, &[2], &one, &none, 2)], &[], 2, true), 3),
        // Groups, depthwise and two stages of them; pooling between, with overlap and with a remainder.
        (net(&[4, 4, 4], vec![filter(6, &[3], &one, &[1], 2), pool(&[2], &[2])], &[], 2, true), 2),
        (net(&[3, 4, 3], vec![filter(6, &[2], &one, &none, 3), filter(2, &[2], &one, &none, 2)], &[2], 1, false), 2),
        (net(&[2, 6, 6], vec![filter(2, &[3], &one, &none, 1), pool(&[3], &[1])], &[], 1, true), 2),
        (
            net(
                &[1, 6, 6],
                vec![filter(2, &[2], &one, &none, 1), pool(&[2], &[2]), filter(1, &[2], &one, &none, 1)],
                &[2],
                1,
                true,
            ),
            2,
        ),
        (net(&[1, 5, 5], vec![pool(&[2], &[1]), filter(2, &[3], &one, &none, 1)], &[], 2, true), 2),
        // Signals.
        (net(&[2, 9], vec![filter(3, &[4], &[2], &[1], 1), pool(&[2], &[2])], &[4], 1, true), 3),
        (net(&[1, 5], vec![filter(1, &[2], &[2], &none, 1)], &[], 1, false), 1),
        (net(&[4, 6], vec![filter(4, &[3], &one, &[2], 4), filter(2, &[1], &one, &none, 2)], &[2], 2, true), 2),
        // No convolution.
        (net(&[2, 3, 3], vec![pool(&[2], &[1])], &[2], 1, true), 2),
    ]
}

fn residual_and_mobile_nets() -> Vec<(Plain, usize)> {
    let residual = |shape: &[usize], channels, kernel: &[usize], blocks, n_outputs, bias| {
        let (shape, kernel) = (shape.to_vec(), kernel.to_vec());
        Plain::ConvResidual { shape, channels, kernel, blocks, n_outputs, bias }
    };
    let mobile = |shape: &[usize], blocks: Vec<Block>, hidden: &[usize], n_outputs, bias| {
        let (shape, hidden) = (shape.to_vec(), hidden.to_vec());
        Plain::MobileNet { shape, blocks, hidden, n_outputs, bias }
    };
    vec![
        (residual(&[2, 4, 3], 3, &[3], 2, 2, true), 2),
        (residual(&[1, 3, 4], 2, &[1, 3], 3, 1, false), 3),
        (residual(&[1, 5], 1, &[3], 1, 1, true), 1),
        (residual(&[2, 4], 2, &[5], 0, 2, true), 3),
        (mobile(&[3, 5, 4], vec![block(4, &[3], &[1]), block(2, &[3], &[2])], &[], 2, true), 2),
        (mobile(&[2, 4, 4], vec![block(3, &[1, 3], &[1, 2])], &[3], 1, false), 2),
        (mobile(&[1, 6], vec![block(1, &[3], &[2]), block(2, &[1], &[1])], &[2], 1, true), 1),
        (mobile(&[2, 1, 1], vec![block(2, &[3], &[1])], &[], 1, true), 3),
    ]
}

fn unets() -> Vec<(Plain, usize)> {
    let mut nets = Vec::new();
    for up in [Upsampling::Nearest, Upsampling::Transposed] {
        let net = |shape: &[usize], channels: &[usize], kernel: &[usize], n_images, bias| {
            let [shape, channels, kernel] = [shape, channels, kernel].map(<[usize]>::to_vec);
            Plain::UNet { shape, channels, kernel, up, n_images, bias }
        };
        nets.push((net(&[1, 3, 2], &[2], &[3], 2, true), 3));
        nets.push((net(&[2, 4, 2], &[2, 3], &[3], 2, true), 2));
        nets.push((net(&[1, 2, 4], &[1, 2], &[1, 3], 1, false), 1));
        nets.push((net(&[1, 4, 4], &[2, 1, 2], &[3], 1, true), 2));
        nets.push((net(&[1, 6], &[2, 3], &[3], 3, true), 2));
        nets.push((net(&[2, 8], &[1, 2, 2], &[3], 2, false), 2));
    }
    nets
}

/// The definition on a batch: values and gradients by place, and of the outputs in the order of targets, sample by sample.
struct Twin {
    z: HashMap<Place, (f64, DVector<f64>)>,
    f: Vec<f64>,
    f_gradient: Vec<DVector<f64>>,
}

struct Check {
    what: String,
    plain: Plain,
    activation: Activation,
    case: Case,
    theta: Vec<f64>,
    batch: Batch,
    pieces: Vec<u16>,
}

impl Check {
    /// A network with random data and a random θ away from kinks.
    fn new(plain: &Plain, n_samples: usize, name: &str, activation: &Activation, seed: u64) -> Self {
        let network = plain.build(activation.clone());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..100 {
            let x = standard_normal(n_samples, plain.n_inputs(), &mut rng);
            let y = standard_normal(n_samples, plain.n_outputs(), &mut rng);
            let mut theta = sample(&network, Sampler::KaimingUniform, 0.25, &mut rng);
            theta.iter_mut().for_each(|t| *t *= 1.7);
            let case = Case::new(network.clone(), &x, &y, theta.clone());
            let batch = Batch::new(network.clone(), x.concat());
            let (plain, activation) = (plain.clone(), activation.clone());
            let what = format!("{name}, {n_samples} samples, {plain:?}");
            let mut check = Self { what, plain, activation, case, theta, batch, pieces: Vec::new() };
            let twin = check.twin(&check.theta, &HashMap::new());
            let kinks = check.activation.breakpoints();
            if twin.z.values().all(|(z, _)| kinks.iter().all(|b| (z - b).abs() > MARGIN)) {
                let places = (0..check.batch.n_switches()).map(|index| check.place(index));
                check.pieces = places.map(|place| piece_of(&check.activation, twin.z[&place].0)).collect();
                return check;
            }
        }
        panic!("no θ away from kinks");
    }

    fn place(&self, index: usize) -> Place {
        let (layer, unit, sample) = self.batch.locate(index);
        self.batch.network().place(layer, unit, sample)
    }

    /// The definition at θ, with some places held at a breakpoint, passing on a slope.
    fn twin(&self, theta: &[f64], held: &HashMap<Place, (u16, f64)>) -> Twin {
        let mut twin = Twin { z: HashMap::new(), f: Vec::new(), f_gradient: Vec::new() };
        let n_nodes = self.plain.n_nodes();
        let (x, _) = self.case.rows();
        for (j, x) in x.iter().enumerate() {
            let place = |layer: usize, unit: usize, node: usize| Place { layer, unit, sample: j * n_nodes + node };
            let mut decide = |layer: usize, unit: usize, node: usize, z: f64| match held.get(&place(layer, unit, node))
            {
                Some(&(breakpoint, slope)) => Unit::Held { breakpoint, slope },
                None => Unit::Piece(piece_of(&self.activation, z)),
            };
            let (hidden, outputs) = self.plain.forward(&self.activation, theta, x, &mut decide);
            for h in hidden {
                let at = place(h.layer, h.unit, h.node);
                let before = twin.z.insert(at, (h.z.v, DVector::from_vec(h.z.d)));
                assert!(before.is_none(), "{}: {at:?} twice", self.what);
            }
            for output in outputs {
                twin.f.push(output.v);
                twin.f_gradient.push(DVector::from_vec(output.d));
            }
        }
        twin
    }

    /// Positions in the order of targets of all outputs in the network's order.
    fn order(&self) -> Vec<usize> {
        let m = self.batch.network().n_outputs();
        let order = |k: usize| self.batch.network().output_order().map_or(k, |order| order[k]);
        (0..self.batch.n_samples()).flat_map(|j| (0..m).map(move |k| (j, k))).map(|(j, k)| j * m + order(k)).collect()
    }

    fn close(&self, part: &str, got: &[f64], want: &[f64], least: f64) {
        let distance = relative_distance(got, want, least);
        assert!(distance <= TOL, "{part}: relative distance {distance:e}; {}", self.what);
    }

    /// Passes, values of single switches and places.
    fn passes(&self) {
        let twin = self.twin(&self.theta, &HashMap::new());
        let (batch, theta, p) = (&self.batch, &self.theta[..], self.theta.len());
        let order = self.order();
        assert_eq!(batch.network().n_parameters(), p);
        assert_eq!(batch.n_switches(), twin.z.len(), "{}", self.what);
        let mut forward = Forward::default();
        batch.forward(theta, &self.pieces, &[], &mut forward);
        let f: Vec<f64> = order.iter().map(|&k| twin.f[k]).collect();
        self.close("F", &forward.f, &f, 1e-12);
        let places: Vec<Place> = (0..batch.n_switches()).map(|index| self.place(index)).collect();
        assert_eq!(places.iter().collect::<HashSet<_>>().len(), places.len(), "{}", self.what);
        let z: Vec<f64> = places.iter().map(|place| twin.z[place].0).collect();
        self.close("z by place", &forward.z, &z, 1e-12);
        let mut scratch = Default::default();
        let alone: Vec<f64> = (0..z.len()).map(|k| batch.value_at(theta, &self.pieces, &[], k, &mut scratch)).collect();
        self.close("value_at", &alone, &forward.z, 1e-12);

        let mut rng = ChaCha8Rng::seed_from_u64(43);
        let mut random = |count: usize| (0..count).map(|_| rng.random::<f64>() - 0.5).collect::<Vec<f64>>();
        let (direction, (mut dz, mut df)) = (random(p), (vec![0.0; z.len()], vec![0.0; f.len()]));
        batch.tangent(theta, &forward, &direction, &mut dz, &mut df, &mut TangentScratch::default());
        let along = DVector::from_vec(direction);
        let want: Vec<f64> = order.iter().map(|&k| twin.f_gradient[k].dot(&along)).collect();
        self.close("J·v", &df, &want, 1e-12);
        let want: Vec<f64> = places.iter().map(|place| twin.z[place].1.dot(&along)).collect();
        self.close("rates of z", &dz, &want, 1e-12);

        let (seed, mut grad, mut backward) = (random(f.len()), vec![f64::NAN; p], Backward::default());
        let injected: Vec<(usize, f64)> = (0..z.len()).step_by(3).zip(random(z.len())).collect();
        for injected in [&injected[..0], &injected[..]] {
            batch.backward(theta, &forward, &seed, injected, &mut backward, &mut grad);
            let mut want = DVector::zeros(p);
            order.iter().zip(&seed).for_each(|(&k, s)| want += &twin.f_gradient[k] * *s);
            injected.iter().for_each(|(index, s)| want += &twin.z[&places[*index]].1 * *s);
            self.close("Jᵀ·u", &grad, want.as_slice(), 1e-12);
        }

        // The flow itself, with pieces of its own.
        let mut field = FlowField::new(self.case.network.clone(), &self.case.data);
        let mode = field.mode_from_values(theta);
        assert_eq!(field.switches().pieces(&mode, &mut Vec::new()), self.pieces, "{}", self.what);
        let mut dy = vec![0.0; p];
        field.eval(theta, &mode, &mut dy).expect("finite");
        let residual: Vec<f64> = twin.f.iter().zip(self.case.data.y()).map(|(f, y)| f - y).collect();
        let mut gradient = DVector::zeros(p);
        twin.f_gradient.iter().zip(&residual).for_each(|(g, r)| gradient += g * *r);
        self.close("−∇L", &dy, (-gradient).as_slice(), 1e-12);
        self.close("F − y", &field.residual(self.case.data.y()), &residual, 1e-12);
        let loss = 0.5 * residual.iter().map(|r| r * r).sum::<f64>();
        self.close("L", &[field.sample(&dy).loss], &[loss], 1e-12);
    }

    /// Gram matrices of outputs, and gradients of single outputs.
    fn grams(&self) {
        let twin = self.twin(&self.theta, &HashMap::new());
        let (order, p) = (self.order(), self.theta.len());
        let jacobian = DMatrix::from_fn(order.len(), p, |r, c| twin.f_gradient[order[r]][c]);
        let want = &jacobian * jacobian.transpose();
        let (mut forward, mut probes, mut scratch) = (Forward::default(), Probes::default(), KernelScratch::default());
        self.batch.forward(&self.theta, &self.pieces, &[], &mut forward);
        probes.outputs(&self.batch, &self.theta, &forward, &forward.slope);
        let mut gram = Vec::new();
        cross_gram(&self.batch, &forward, &probes, &probes, &mut scratch, &mut gram);
        let compare = |part: &str, got: &[f64]| {
            let defect = (DMatrix::from_column_slice(order.len(), order.len(), got) - &want).norm() / want.norm();
            assert!(defect <= TOL, "{part}: {defect:e} of the norm; {}", self.what);
        };
        compare("G by cross_gram", &gram);
        // From the diagonal down, with used scratch memory.
        own_gram(&self.batch, &forward, &probes, &mut scratch, &mut gram);
        mirror(&mut gram, order.len());
        compare("G by own_gram", &gram);
        let mut gradient = vec![f64::NAN; p];
        for r in 0..order.len() {
            probes.gradient(&self.batch, &forward, r, &mut gradient);
            let want: Vec<f64> = jacobian.row(r).iter().copied().collect();
            self.close("gradient of an output", &gradient, &want, 1e-3);
        }
        let mut field = FlowField::new(self.case.network.clone(), &self.case.data);
        let mode = field.mode_from_values(&self.theta);
        field.eval(&self.theta, &mode, &mut gradient).expect("finite");
        let mut grams = GramEvaluator::default();
        let gram = grams.gram(&field);
        let columns: Vec<f64> = (0..gram.ncols()).flat_map(|q| (0..gram.nrows()).map(move |p| gram[(p, q)])).collect();
        compare("G of the flow", &columns);
    }

    /// Γ and its right-hand side with some units held, several of them in layers behind each other on one sample.
    fn slides(&self, rng: &mut ChaCha8Rng) -> bool {
        let (batch, theta, p) = (&self.batch, &self.theta[..], self.theta.len());
        let n_breakpoints = self.activation.breakpoints().len() as u16;
        if n_breakpoints == 0 || batch.n_switches() == 0 {
            return true;
        }
        let mut mode = Mode::new(self.pieces.clone());
        let sample = rng.random_range(0..batch.n_samples());
        for layer in 1..=batch.network().n_hidden() {
            let width = batch.network().widths()[layer];
            let first = batch.layer_range(layer).start;
            let mut hold = |sample: usize| {
                let switch = first + sample * width + rng.random_range(0..width);
                mode.hold(Contact { switch, breakpoint: rng.random_range(0..n_breakpoints) });
            };
            hold(sample);
            if layer % 2 == 1 {
                hold(batch.n_samples() - 1);
            }
        }
        let breakpoint = |c: &Contact| self.activation.breakpoints()[usize::from(c.breakpoint)];
        let learned =
            |c: &Contact| batch.network().layers()[batch.layer_of(c.switch) - 1].slope.map_or(0.0, |at| theta[at]);
        let output = |c: &Contact| sigma(&self.activation, c.breakpoint, breakpoint(c), learned(c)).0;
        let held: Vec<Held> = mode.sliding().iter().map(|c| Held { index: c.switch, output: output(c) }).collect();
        let at_places = mode.sliding().iter().map(|c| (self.place(c.switch), (c.breakpoint, 0.0))).collect();
        let twin = self.twin(theta, &at_places);
        // Holding units moves deeper ones to other pieces.
        let places: Vec<Place> = (0..batch.n_switches()).map(|index| self.place(index)).collect();
        let pieces: Vec<u16> = places.iter().map(|place| piece_of(&self.activation, twin.z[place].0)).collect();
        let mut whole_mode = Mode::new(pieces.clone());
        mode.sliding().iter().for_each(|c| whole_mode.hold(*c));
        let mode = whole_mode;

        let mut forward = Forward::default();
        batch.forward(theta, &pieces, &held, &mut forward);
        let z: Vec<f64> = places.iter().map(|place| twin.z[place].0).collect();
        self.close("z with held units", &forward.z, &z, 1e-12);
        let mut scratch = Default::default();
        let alone: Vec<f64> = (0..z.len()).map(|k| batch.value_at(theta, &pieces, &held, k, &mut scratch)).collect();
        self.close("value_at with held units", &alone, &forward.z, 1e-12);

        let switches: Vec<usize> = held.iter().map(|h| h.index).collect();
        let k = switches.len();
        let normals = DMatrix::from_fn(k, p, |r, c| twin.z[&places[switches[r]]].1[c]);
        let gamma = &normals * normals.transpose();
        let (mut probes, mut scratch) = (Probes::default(), KernelScratch::default());
        probes.switches(batch, theta, &forward, &switches);
        let (mut lower, mut whole) = (vec![f64::NAN; k * k], Vec::new());
        switch_gram(batch, &forward, &probes, &mut scratch, &mut lower, k);
        let pairs = || (0..k).flat_map(|q| (q..k).map(move |p| q * k + p));
        let [got, want]: [Vec<f64>; 2] = [&lower[..], gamma.as_slice()].map(|m| pairs().map(|at| m[at]).collect());
        self.close("Γ by switch_gram", &got, &want, 1e-12);
        // ⟨∇z, ∇L⟩ with the scratch memory of Γ, as its documentation asks for.
        let order = self.order();
        let residual: Vec<f64> = order.iter().map(|&k| twin.f[k] - self.case.data.y()[k]).collect();
        let mut gradient = DVector::zeros(p);
        order.iter().zip(&residual).for_each(|(&k, r)| gradient += &twin.f_gradient[k] * *r);
        let (mut backward, mut products) = (Backward::default(), Vec::new());
        batch.backpropagate(theta, &forward, &residual, &[], &mut backward);
        gradient_products(batch, &forward, &backward, &residual, &probes, &mut scratch, &mut products);
        let want = &normals * &gradient;
        let size = normals.row_iter().fold(0.0, |m: f64, row| m.max(row.norm())) * gradient.norm();
        self.close("gradient products", &products, want.as_slice(), size.max(1e-12));
        cross_gram(batch, &forward, &probes, &probes, &mut scratch, &mut whole);
        self.close("Γ by cross_gram", &whole, gamma.as_slice(), 1e-12);
        let mut own = vec![f64::NAN; p];
        for e in 0..k {
            probes.gradient(batch, &forward, e, &mut own);
            let want: Vec<f64> = normals.row(e).iter().copied().collect();
            self.close("gradient of a switch", &own, &want, 1e-3);
        }

        // θ̇ = −(g₀ + Vᵀδ) with Γδ = −V g₀, where Γ is far from singular.
        let singular_values = gamma.clone().singular_values();
        if singular_values.max() > 1e4 * singular_values.min() {
            return false;
        }
        let delta = gamma.lu().solve(&-want).expect("Γ is regular");
        let want = -(&gradient + normals.transpose() * delta);
        let (mut field, mut dy) = (FlowField::new(self.case.network.clone(), &self.case.data), vec![0.0; p]);
        if !field.switches().are_single() {
            // Places that coincide slide together: no mode of the flow holds one of them alone.
            return true;
        }
        field.eval(theta, &mode, &mut dy).expect("finite");
        self.close("θ̇ of a slide", &dy, want.as_slice(), gradient.amax().max(1e-12));

        // The least-norm step from there onto these surfaces and another one.
        let free: Vec<usize> = (0..z.len()).filter(|&switch| !mode.slides(switch)).collect();
        if free.is_empty() {
            return true;
        }
        let switch = free[rng.random_range(0..free.len())];
        let hit = Contact { switch, breakpoint: mode.pieces()[switch].saturating_sub(1) };
        let contacts: Vec<Contact> = mode.sliding().iter().copied().chain([hit]).collect();
        let normals = DMatrix::from_fn(k + 1, p, |r, c| twin.z[&places[contacts[r].switch]].1[c]);
        let gamma = &normals * normals.transpose();
        let singular_values = gamma.clone().singular_values();
        if singular_values.max() <= 1e4 * singular_values.min() {
            let offsets = DVector::from_fn(k + 1, |e, _| z[contacts[e].switch] - breakpoint(&contacts[e]));
            let want = -normals.transpose() * gamma.lu().solve(&offsets).expect("Γ is regular");
            let mut projected = theta.to_vec();
            field.project_last(&mut projected, &mode, &[hit]).expect("finite");
            let step: Vec<f64> = projected.iter().zip(theta).map(|(a, b)| a - b).collect();
            self.close("step onto a slide and a hit", &step, want.as_slice(), 1e-2);
        }
        true
    }

    /// As many laws as channels can be rescaled; each is a symmetry of the network and constant along its flow.
    fn conservation(&self) {
        let laws = laws(self.batch.network());
        let expected = if self.activation.is_positively_homogeneous() { self.plain.n_laws() } else { 0 };
        assert_eq!(laws.len(), expected, "{}", self.what);
        let channels: HashSet<(usize, usize)> = laws.iter().map(|law| (law.layer, law.channel)).collect();
        assert_eq!(channels.len(), laws.len(), "{}", self.what);
        let twin = self.twin(&self.theta, &HashMap::new());
        let mut gradient = DVector::zeros(self.theta.len());
        let residual = twin.f.iter().zip(self.case.data.y()).map(|(f, y)| f - y);
        twin.f_gradient.iter().zip(residual).for_each(|(g, r)| gradient += g * r);
        let mut unit = vec![0.0; self.theta.len()];
        for law in &laws {
            // Σ c_i θ_i² at a unit vector is c_i.
            let mut coefficient = |i: usize| {
                unit[i] = 1.0;
                let c = law.value(&unit);
                unit[i] = 0.0;
                c
            };
            let c: Vec<f64> = (0..self.theta.len()).map(&mut coefficient).collect();
            let terms = |i: usize| c[i] * self.theta[i] * gradient[i];
            let (rate, size) = (0..c.len()).map(terms).fold((0.0, 0.0), |(r, s): (f64, f64), t| (r + t, s + t.abs()));
            assert!(rate.abs() <= TOL * size.max(1e-3), "{law:?} changes by {rate:e} of {size:e}; {}", self.what);
            // θ_i ↦ θ_i s^{c_i} leaves the network as it is, and does something.
            let scaled: Vec<f64> = self.theta.iter().zip(&c).map(|(t, c)| t * 1.7f64.powf(*c)).collect();
            assert!(c.contains(&1.0) && c.iter().any(|c| *c < 0.0), "{law:?}; {}", self.what);
            self.close("F of rescaled weights", &self.twin(&scaled, &HashMap::new()).f, &twin.f, 1e-3);
        }
    }

    /// Everything; how many of four slides had a regular Γ.
    fn all(&self) -> usize {
        self.passes();
        self.grams();
        self.conservation();
        let mut rng = ChaCha8Rng::seed_from_u64(47);
        (0..4).filter(|_| self.slides(&mut rng)).count()
    }
}

fn check_all(nets: &[(Plain, usize)]) {
    let (mut n_regular, mut n_slides) = (0, 0);
    for (plain, n_samples) in nets {
        for (name, activation) in some_activations() {
            for seed in 0..3 {
                n_regular += Check::new(plain, *n_samples, name, &activation, seed).all();
                n_slides += 4;
            }
        }
    }
    // Random sets of surfaces are sometimes nearly parallel.
    assert!(10 * n_regular >= 9 * n_slides, "only {n_regular} of {n_slides} slides were solved");
}

#[test]
fn dense_residual_and_polynomial_nets_equal_their_definition() {
    check_all(&dense_like());
}

#[test]
fn siamese_nets_equal_their_definition() {
    check_all(&siamese_nets());
}

#[test]
fn graph_nets_equal_their_definition() {
    check_all(&graph_nets());
}

#[test]
fn convolutional_nets_equal_their_definition() {
    check_all(&conv_nets());
}

#[test]
fn residual_and_depthwise_convolutional_nets_equal_their_definition() {
    check_all(&residual_and_mobile_nets());
}

#[test]
fn u_nets_equal_their_definition() {
    check_all(&unets());
}

/// A channel that is added to itself over all blocks can be rescaled in all of them at once: one quantity per channel, of several layers.
#[test]
fn residual_blocks_keep_one_balance_per_channel_over_all_layers_together() {
    let (channels, blocks, n_taps) = (3, 2, 9);
    let shape = vec![2, 4, 3];
    let plain = Plain::ConvResidual { shape, channels, kernel: vec![3], blocks, n_outputs: 2, bias: true };
    let check = Check::new(&plain, 2, "leaky ReLU", &Activation::leaky_relu(0.1), 0);
    let twin = check.twin(&check.theta, &HashMap::new());
    let mut gradient = DVector::zeros(check.theta.len());
    let residual = twin.f.iter().zip(check.case.data.y()).map(|(f, y)| f - y);
    twin.f_gradient.iter().zip(residual).for_each(|(g, r)| gradient += g * r);
    let layers = check.batch.network().layers();
    for channel in 0..channels {
        let mut c = vec![0.0; check.theta.len()];
        for (l, layer) in layers.iter().enumerate() {
            let (start, n_in) = (layer.weights.start, layer.n_in);
            if l <= blocks {
                (0..n_in).for_each(|i| c[start + channel * n_in + i] += 1.0);
                c[layer.bias.clone().expect("a bias").start + channel] += 1.0;
            }
            if l > 0 {
                let taps = if l <= blocks { n_taps } else { 1 };
                for o in 0..layer.n_out {
                    (0..taps).for_each(|t| c[start + o * n_in + channel * taps + t] -= 1.0);
                }
            }
        }
        let law = &laws(check.batch.network())[channel];
        let value: f64 = c.iter().zip(&check.theta).map(|(c, t)| c * t * t).sum();
        assert_eq!((law.layer, law.channel), (1, channel));
        assert!((law.value(&check.theta) - value).abs() < 1e-12, "{} and {value}", law.value(&check.theta));
        let terms = |i: usize| c[i] * check.theta[i] * gradient[i];
        let (rate, size) = (0..c.len()).map(terms).fold((0.0, 0.0), |(r, s): (f64, f64), t| (r + t, s + t.abs()));
        assert!(rate.abs() <= TOL * size, "channel {channel} changes by {rate:e} of {size:e}");
        // One layer's part alone is not constant.
        let layer = &layers[1];
        let own = layer.weights.start..layer.bias.clone().expect("a bias").end;
        let partial: f64 = own.map(terms).sum();
        assert!(partial.abs() > 1e-3 * size, "{partial:e} of {size:e}");
    }
}
