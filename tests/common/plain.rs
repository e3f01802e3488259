//! Every architecture written out from its definition: nested loops over one sample, with dual numbers that carry the whole gradient.
//!
//! Shares nothing with the library but the order of parameters, the order of targets, and the names of places: layer from 1, unit as the
//! flat (channel, row, column) of an image, as the feature of a node, or as 2·channel + branch of a Siamese net.

use super::naive::{Dual, Unit, sigma};
use gradflow::net::architecture::{
    self, Block, ConvStage, Graph, GraphForm, NodeBias, Readout, SiameseHead, Upsampling, graph_network,
};
use gradflow::net::{Activation, Network};
use nalgebra::DMatrix;

/// A network on paper.
#[derive(Debug, Clone)]
pub enum Plain {
    /// Widths from inputs to outputs.
    Dense {
        widths: Vec<usize>,
        bias: bool,
    },
    Residual {
        width: usize,
        layers: usize,
        bias: bool,
    },
    Polynomial {
        widths: Vec<usize>,
        bias: bool,
    },
    /// `widths` of one branch, then the outputs.
    Siamese {
        widths: Vec<usize>,
        n_outputs: usize,
        head: SiameseHead,
        bias: bool,
    },
    /// One matrix: every sample is a graph. Several: one sample holds all graphs.
    Graph {
        adjacency: Vec<Vec<Vec<f64>>>,
        widths: Vec<usize>,
        form: GraphForm,
        bias: NodeBias,
        readout: Readout,
    },
    Conv {
        shape: Vec<usize>,
        stages: Vec<ConvStage>,
        hidden: Vec<usize>,
        n_outputs: usize,
        bias: bool,
    },
    ConvResidual {
        shape: Vec<usize>,
        channels: usize,
        kernel: Vec<usize>,
        blocks: usize,
        n_outputs: usize,
        bias: bool,
    },
    MobileNet {
        shape: Vec<usize>,
        blocks: Vec<Block>,
        hidden: Vec<usize>,
        n_outputs: usize,
        bias: bool,
    },
    UNet {
        shape: Vec<usize>,
        channels: Vec<usize>,
        kernel: Vec<usize>,
        up: Upsampling,
        n_images: usize,
        bias: bool,
    },
}

/// A pre-activation and where it is.
#[derive(Debug, Clone)]
pub struct Hidden {
    pub layer: usize,
    pub unit: usize,
    /// 0 but for graphs.
    pub node: usize,
    pub z: Dual,
}

/// What each hidden unit (layer, unit, node, z) does.
pub type Decide<'a> = &'a mut dyn FnMut(usize, usize, usize, f64) -> Unit;

impl Plain {
    pub fn build(&self, activation: Activation) -> Network {
        let (n_in, n_out) = (self.n_inputs(), self.n_outputs());
        let built = match self {
            Self::Dense { widths, bias } => {
                architecture::dense(n_in, &widths[1..widths.len() - 1], n_out, *bias, activation)
            }
            Self::Residual { layers, bias, .. } => architecture::residual(n_in, n_out, *layers, *bias, activation),
            Self::Polynomial { widths, bias } => {
                architecture::polynomial(n_in, &widths[1..widths.len() - 1], n_out, *bias, activation)
            }
            Self::Siamese { widths, head, bias, .. } => {
                architecture::siamese(n_in, &widths[1..], n_out, *head, *bias, activation)
            }
            Self::Graph { adjacency, widths, form, bias, readout } => {
                let graphs: Vec<Graph> =
                    adjacency.iter().map(|a| Graph::new(a.clone()).expect("an adjacency matrix")).collect();
                let (first, last) = (widths[0], widths[widths.len() - 1]);
                graph_network(&graphs, first, &widths[1..widths.len() - 1], last, *form, *bias, *readout, activation)
            }
            Self::Conv { shape, stages, hidden, bias, .. } => {
                architecture::conv(shape, n_in, stages, hidden, n_out, *bias, activation)
            }
            Self::ConvResidual { shape, channels, kernel, blocks, bias, .. } => {
                architecture::conv_residual(shape, n_in, *channels, kernel, *blocks, n_out, *bias, activation)
            }
            Self::MobileNet { shape, blocks, hidden, bias, .. } => {
                architecture::mobile_net(shape, n_in, blocks, hidden, n_out, *bias, activation)
            }
            Self::UNet { shape, channels, kernel, up, bias, .. } => {
                architecture::unet(shape, n_in, channels, kernel, *up, n_out, *bias, activation)
            }
        };
        built.unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Inputs of a sample.
    pub fn n_inputs(&self) -> usize {
        match self {
            Self::Dense { widths, .. } | Self::Polynomial { widths, .. } => widths[0],
            Self::Residual { width, .. } => *width,
            Self::Siamese { widths, .. } => 2 * widths[0],
            Self::Graph { adjacency, widths, .. } => adjacency.len() * adjacency[0].len() * widths[0],
            Self::Conv { shape, .. }
            | Self::ConvResidual { shape, .. }
            | Self::MobileNet { shape, .. }
            | Self::UNet { shape, .. } => shape.iter().product(),
        }
    }

    /// Targets of a sample.
    pub fn n_outputs(&self) -> usize {
        match self {
            Self::Dense { widths, .. } | Self::Polynomial { widths, .. } => widths[widths.len() - 1],
            Self::Residual { width, .. } => *width,
            Self::Graph { adjacency, widths, readout, .. } => {
                let per_graph = if *readout == Readout::Nodes { adjacency[0].len() } else { 1 };
                adjacency.len() * per_graph * widths[widths.len() - 1]
            }
            Self::Siamese { n_outputs, .. }
            | Self::Conv { n_outputs, .. }
            | Self::ConvResidual { n_outputs, .. }
            | Self::MobileNet { n_outputs, .. } => *n_outputs,
            Self::UNet { shape, n_images, .. } => n_images * shape[1..].iter().product::<usize>(),
        }
    }

    /// Nodes of a sample, 1 where there are no graphs.
    pub fn n_nodes(&self) -> usize {
        match self {
            Self::Graph { adjacency, .. } => adjacency.len() * adjacency[0].len(),
            _ => 1,
        }
    }

    /// How many channels can be rescaled by themselves when σ is positively homogeneous.
    pub fn n_laws(&self) -> usize {
        let inner = |widths: &[usize]| widths[1..widths.len() - 1].iter().sum::<usize>();
        match self {
            // A channel of a product is homogeneous of degree one or two in every feature, so it has a law too.
            Self::Dense { widths, .. } | Self::Polynomial { widths, .. } | Self::Graph { widths, .. } => inner(widths),
            Self::Siamese { widths, .. } => widths[1..].iter().sum(),
            // x is added to W x, and x cannot be rescaled.
            Self::Residual { .. } => 0,
            Self::Conv { stages, hidden, .. } => {
                let channels = |stage: &ConvStage| match stage {
                    ConvStage::Conv { channels, .. } => *channels,
                    ConvStage::AvgPool { .. } => 0,
                };
                stages.iter().map(channels).sum::<usize>() + hidden.iter().sum::<usize>()
            }
            // A channel's activations are added up over all blocks and rescale only all at once: one law for all blocks.
            Self::ConvResidual { channels, .. } => *channels,
            Self::MobileNet { shape, blocks, hidden, .. } => {
                let depthwise = shape[0] + blocks.iter().rev().skip(1).map(|b| b.channels).sum::<usize>();
                let pointwise: usize = blocks.iter().map(|b| b.channels).sum();
                if blocks.is_empty() {
                    hidden.iter().sum()
                } else {
                    depthwise + pointwise + hidden.iter().sum::<usize>()
                }
            }
            Self::UNet { channels, up, .. } => {
                let on_the_way_up: usize = channels[..channels.len() - 1].iter().sum();
                let per_level = if *up == Upsampling::Transposed { 2 } else { 1 };
                channels.iter().sum::<usize>() + per_level * on_the_way_up
            }
        }
    }

    /// Hidden pre-activations in the order of evaluation, and the outputs in the order of targets.
    pub fn forward(
        &self,
        activation: &Activation,
        theta: &[f64],
        x: &[f64],
        decide: Decide,
    ) -> (Vec<Hidden>, Vec<Dual>) {
        let mut pass = Pass { theta, at: 0, activation, decide, layer: 0, hidden: Vec::new() };
        let outputs = self.outputs(&mut pass, x);
        assert_eq!(pass.at, theta.len(), "every parameter is used, {self:?}");
        (pass.hidden, outputs)
    }

    fn outputs(&self, pass: &mut Pass, x: &[f64]) -> Vec<Dual> {
        let x: Vec<Dual> = x.iter().map(|&v| pass.constant(v)).collect();
        match self {
            Self::Dense { widths, bias } => pass.dense(x, &widths[1..], *bias),
            Self::Residual { width, layers, bias } => {
                let mut x = x;
                for l in 1..=*layers {
                    let mut z = pass.linear(&x, *width, *bias);
                    z.iter_mut().zip(&x).for_each(|(z, x)| z.add(x));
                    x = if l < *layers { pass.activate(z, |u| (u, 0)) } else { z };
                }
                x
            }
            Self::Polynomial { widths, bias } => {
                let mut x = x;
                for (l, &width) in widths.iter().enumerate().skip(1) {
                    let mut features = x.clone();
                    for i in 0..x.len() {
                        for j in i..x.len() {
                            features.push(x[i].times(&x[j]));
                        }
                    }
                    let z = pass.linear(&features, width, *bias);
                    x = if l + 1 < widths.len() { pass.activate(z, |u| (u, 0)) } else { z };
                }
                x
            }
            Self::Siamese { widths, n_outputs, head, bias } => siamese(pass, &x, widths, *n_outputs, *head, *bias),
            Self::Graph { adjacency, widths, form, bias, readout } => {
                graph(pass, &x, adjacency, widths, *form, *bias, *readout)
            }
            Self::Conv { shape, stages, hidden, n_outputs, bias } => {
                let mut image = Image::of(shape, x);
                for stage in stages {
                    image = match stage {
                        ConvStage::Conv { channels, kernel, stride, padding, groups } => {
                            let window = Sliding::new(shape, kernel, stride, padding);
                            pass.activate_image(|pass| pass.convolve(&image, *channels, window, *groups, *bias))
                        }
                        ConvStage::AvgPool { kernel, stride } => {
                            pass.pool(&image, Sliding::new(shape, kernel, stride, &[0]))
                        }
                    };
                }
                let widths: Vec<usize> = hidden.iter().copied().chain([*n_outputs]).collect();
                pass.dense(image.values, &widths, *bias)
            }
            Self::ConvResidual { shape, channels, kernel, blocks, n_outputs, bias } => {
                let window = Sliding::same(shape, kernel, &[1]);
                let image = Image::of(shape, x);
                let mut h = pass.activate_image(|pass| pass.convolve(&image, *channels, window, 1, *bias));
                for _ in 0..*blocks {
                    let more = pass.activate_image(|pass| pass.convolve(&h, *channels, window, 1, *bias));
                    h.values.iter_mut().zip(&more.values).for_each(|(h, m)| h.add(m));
                }
                let means = pass.means(&h);
                pass.dense(means, &[*n_outputs], *bias)
            }
            Self::MobileNet { shape, blocks, hidden, n_outputs, bias } => {
                let mut image = Image::of(shape, x);
                for block in blocks {
                    let (n_in, window) = (image.channels, Sliding::same(shape, &block.kernel, &block.stride));
                    image = pass.activate_image(|pass| pass.convolve(&image, n_in, window, n_in, *bias));
                    let point = Sliding { kernel: [1, 1], stride: [1, 1], padding: [0, 0] };
                    image = pass.activate_image(|pass| pass.convolve(&image, block.channels, point, 1, *bias));
                }
                let widths: Vec<usize> = hidden.iter().copied().chain([*n_outputs]).collect();
                let means = pass.means(&image);
                pass.dense(means, &widths, *bias)
            }
            Self::UNet { shape, channels, kernel, up, n_images, bias } => {
                unet(pass, Image::of(shape, x), shape, (channels, kernel, *up, *n_images, *bias))
            }
        }
    }
}

fn siamese(
    pass: &mut Pass,
    x: &[Dual],
    widths: &[usize],
    n_outputs: usize,
    head: SiameseHead,
    bias: bool,
) -> Vec<Dual> {
    let mut branches = [x[..widths[0]].to_vec(), x[widths[0]..].to_vec()];
    for &width in &widths[1..] {
        let start = pass.at;
        let [u, v] = branches.map(|branch| {
            pass.at = start;
            pass.linear(&branch, width, bias)
        });
        let both = pass.activate(u.into_iter().chain(v).collect(), |k| (2 * (k % width) + k / width, 0));
        branches = [both[..width].to_vec(), both[width..].to_vec()];
    }
    let [u, v] = branches;
    let n = u.len();
    if head == SiameseHead::SquaredDifference {
        let difference = |k: usize| {
            let mut d = v[k].scaled(-1.0);
            d.add(&u[k]);
            d
        };
        let squares: Vec<Dual> = (0..n).map(|k| difference(k).times(&difference(k))).collect();
        return pass.linear(&squares, n_outputs, bias);
    }
    let start = pass.take(n_outputs * n * n);
    let mut outputs = pass.zeros(n_outputs);
    for (o, output) in outputs.iter_mut().enumerate() {
        for (i, u) in u.iter().enumerate() {
            for (j, v) in v.iter().enumerate() {
                pass.add_product(output, start + (o * n + i) * n + j, &u.times(v));
            }
        }
    }
    pass.add_bias(&mut outputs, n_outputs, bias);
    outputs
}

/// The matrices whose products with X stand before the weight matrices of a layer.
fn mixing(adjacency: &[Vec<Vec<f64>>], form: GraphForm) -> Vec<DMatrix<f64>> {
    let m = adjacency[0].len();
    let whole = adjacency.len() * m;
    // Block diagonal: no edges between graphs.
    let entry = |i: usize, j: usize| if i / m == j / m { adjacency[i / m][i % m][j % m] } else { 0.0 };
    let a = DMatrix::from_fn(whole, whole, entry);
    let degree: Vec<f64> = (0..whole).map(|i| a.row(i).sum()).collect();
    let identity = DMatrix::identity(whole, whole);
    match form {
        GraphForm::Kipf { exponent } => {
            let scale =
                DMatrix::from_fn(whole, whole, |i, j| if i == j { (degree[i] + 1.0).powf(exponent) } else { 0.0 });
            vec![&scale * (a + identity) * &scale]
        }
        GraphForm::Morris => vec![identity, a],
        GraphForm::Chebyshev { order } => {
            let normal = |i: usize, j: usize| {
                let product = degree[i] * degree[j];
                let scaled = if product > 0.0 { a[(i, j)] / product.sqrt() } else { 0.0 };
                if i == j { 1.0 - scaled } else { -scaled }
            };
            let laplacian = DMatrix::from_fn(whole, whole, normal);
            // Scaled by its own largest eigenvalue, graph by graph.
            let largest: Vec<f64> =
                (0..whole).step_by(m).map(|i| laplacian.view((i, i), (m, m)).symmetric_eigenvalues().max()).collect();
            let scaled = DMatrix::from_fn(whole, whole, |i, j| laplacian[(i, j)] * 2.0 / largest[i / m]);
            let eigen = (scaled - &identity).symmetric_eigen();
            // T_k by its eigenvalues: T_k(cos φ) = cos kφ, not by the recurrence.
            let power = |k: usize| {
                let values = eigen.eigenvalues.map(|v| (k as f64 * v.clamp(-1.0, 1.0).acos()).cos());
                &eigen.eigenvectors * DMatrix::from_diagonal(&values) * eigen.eigenvectors.transpose()
            };
            (0..order).map(power).collect()
        }
    }
}

fn graph(
    pass: &mut Pass,
    x: &[Dual],
    adjacency: &[Vec<Vec<f64>>],
    widths: &[usize],
    form: GraphForm,
    bias: NodeBias,
    readout: Readout,
) -> Vec<Dual> {
    let (per_graph, n_graphs) = (adjacency[0].len(), adjacency.len());
    let m = per_graph * n_graphs;
    let mixing = mixing(adjacency, form);
    let mut nodes = x.to_vec();
    for (l, &width) in widths.iter().enumerate().skip(1) {
        let (n_in, is_last) = (widths[l - 1], l + 1 == widths.len());
        let start = pass.take(mixing.len() * n_in * width);
        let mut z = pass.zeros(m * width);
        for (k, matrix) in mixing.iter().enumerate() {
            for node in 0..m {
                for c in 0..n_in {
                    let mut mixed = pass.constant(0.0);
                    for other in (0..m).filter(|&other| matrix[(node, other)] != 0.0) {
                        mixed.add(&nodes[other * n_in + c].scaled(matrix[(node, other)]));
                    }
                    for o in 0..width {
                        pass.add_product(&mut z[node * width + o], start + (k * n_in + c) * width + o, &mixed);
                    }
                }
            }
        }
        if is_last && readout != Readout::Nodes {
            // W X first, then over the nodes, and the bias once.
            let factor = if readout == Readout::Mean { 1.0 / per_graph as f64 } else { 1.0 };
            let mut read = pass.zeros(n_graphs * width);
            for node in 0..m {
                for o in 0..width {
                    read[node / per_graph * width + o].add(&z[node * width + o].scaled(factor));
                }
            }
            pass.add_bias(&mut read, width, bias != NodeBias::None);
            return read;
        }
        match bias {
            NodeBias::None => {}
            NodeBias::Shared => pass.add_bias(&mut z, width, true),
            NodeBias::PerNode => pass.add_bias(&mut z, per_graph * width, true),
        }
        nodes = if is_last { z } else { pass.activate(z, |i| (i % width, i / width)) };
    }
    nodes
}

fn unet(
    pass: &mut Pass,
    image: Image,
    shape: &[usize],
    (channels, kernel, up, n_images, bias): (&[usize], &[usize], Upsampling, usize, bool),
) -> Vec<Dual> {
    let window = Sliding::same(shape, kernel, &[1]);
    let two = if shape.len() == 2 { [1, 2] } else { [2, 2] };
    let halving = Sliding { kernel: two, stride: two, padding: [0, 0] };
    let mut down = vec![pass.activate_image(|pass| pass.convolve(&image, channels[0], window, 1, bias))];
    for (level, &n_out) in channels.iter().enumerate().skip(1) {
        let halved = pass.pool(&down[level - 1], halving);
        down.push(pass.activate_image(|pass| pass.convolve(&halved, n_out, window, 1, bias)));
    }
    let mut u = down.pop().expect("a level");
    while let Some(across) = down.pop() {
        let n_out = channels[down.len()];
        let grown = match up {
            Upsampling::Nearest => {
                let mut grown = Image::zeros(pass, u.channels, u.height * two[0], u.width * two[1]);
                for c in 0..grown.channels {
                    for r in 0..grown.height {
                        for k in 0..grown.width {
                            *grown.at_mut(c, r, k) = u.at(c, r / two[0], k / two[1]).clone();
                        }
                    }
                }
                grown
            }
            Upsampling::Transposed => pass.activate_image(|pass| pass.convolve_transposed(&u, n_out, two, bias)),
        };
        let joined = Image {
            channels: grown.channels + across.channels,
            height: grown.height,
            width: grown.width,
            values: grown.values.into_iter().chain(across.values).collect(),
        };
        u = pass.activate_image(|pass| pass.convolve(&joined, n_out, window, 1, bias));
    }
    let point = Sliding { kernel: [1, 1], stride: [1, 1], padding: [0, 0] };
    pass.convolve(&u, n_images, point, 1, bias).values
}

/// Values at (channel, row, column), flat; a signal is one row.
struct Image {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<Dual>,
}

impl Image {
    fn of(shape: &[usize], values: Vec<Dual>) -> Self {
        let (height, width) = if shape.len() == 2 { (1, shape[1]) } else { (shape[1], shape[2]) };
        Self { channels: shape[0], height, width, values }
    }

    fn zeros(pass: &Pass, channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width, values: pass.zeros(channels * height * width) }
    }

    fn at(&self, c: usize, r: usize, k: usize) -> &Dual {
        &self.values[(c * self.height + r) * self.width + k]
    }

    fn at_mut(&mut self, c: usize, r: usize, k: usize) -> &mut Dual {
        &mut self.values[(c * self.height + r) * self.width + k]
    }
}

/// How a kernel moves, rows and columns.
#[derive(Clone, Copy)]
struct Sliding {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Sliding {
    fn new(shape: &[usize], kernel: &[usize], stride: &[usize], padding: &[usize]) -> Self {
        let two = |list: &[usize], flat: usize| match (shape.len(), list) {
            (2, list) => [flat, list[0]],
            (_, [one]) => [*one, *one],
            (_, list) => [list[0], list[1]],
        };
        Self { kernel: two(kernel, 1), stride: two(stride, 1), padding: two(padding, 0) }
    }

    fn same(shape: &[usize], kernel: &[usize], stride: &[usize]) -> Self {
        let half: Vec<usize> = kernel.iter().map(|k| (k - 1) / 2).collect();
        Self::new(shape, kernel, stride, &half)
    }

    /// Number of places along a dimension: p with p·stride + kernel ≤ size + 2·padding.
    fn count(&self, d: usize, size: usize) -> usize {
        (0..).take_while(|p| p * self.stride[d] + self.kernel[d] <= size + 2 * self.padding[d]).count()
    }
}

/// A forward pass: parameters are taken one after the other.
struct Pass<'a> {
    theta: &'a [f64],
    at: usize,
    activation: &'a Activation,
    decide: Decide<'a>,
    layer: usize,
    hidden: Vec<Hidden>,
}

impl Pass<'_> {
    fn constant(&self, v: f64) -> Dual {
        Dual { v, d: vec![0.0; self.theta.len()] }
    }

    fn zeros(&self, count: usize) -> Vec<Dual> {
        vec![self.constant(0.0); count]
    }

    fn take(&mut self, count: usize) -> usize {
        self.at += count;
        self.at - count
    }

    /// sum += θ_i·x.
    fn add_product(&self, sum: &mut Dual, i: usize, x: &Dual) {
        sum.v += self.theta[i] * x.v;
        sum.d.iter_mut().zip(&x.d).for_each(|(s, d)| *s += self.theta[i] * d);
        sum.d[i] += x.v;
    }

    /// Adds `count` biases, over and over, if there are any.
    fn add_bias(&mut self, z: &mut [Dual], count: usize, bias: bool) {
        if bias {
            let start = self.take(count);
            for (i, z) in z.iter_mut().enumerate() {
                z.v += self.theta[start + i % count];
                z.d[start + i % count] += 1.0;
            }
        }
    }

    fn linear(&mut self, x: &[Dual], n_out: usize, bias: bool) -> Vec<Dual> {
        let n_in = x.len();
        let start = self.take(n_out * n_in);
        let mut z = self.zeros(n_out);
        for (o, z) in z.iter_mut().enumerate() {
            for (i, x) in x.iter().enumerate() {
                self.add_product(z, start + o * n_in + i, x);
            }
        }
        self.add_bias(&mut z, n_out, bias);
        z
    }

    /// Dense layers with activations between them.
    fn dense(&mut self, mut x: Vec<Dual>, widths: &[usize], bias: bool) -> Vec<Dual> {
        for (l, &width) in widths.iter().enumerate() {
            let z = self.linear(&x, width, bias);
            x = if l + 1 < widths.len() { self.activate(z, |u| (u, 0)) } else { z };
        }
        x
    }

    /// σ of a layer; `place` gives unit and node.
    fn activate(&mut self, z: Vec<Dual>, place: impl Fn(usize) -> (usize, usize)) -> Vec<Dual> {
        self.layer += 1;
        let slope_at = self.activation.has_learned_slope().then(|| self.take(1));
        let learned = slope_at.map_or(0.0, |at| self.theta[at]);
        let mut activations = Vec::with_capacity(z.len());
        for (i, z) in z.into_iter().enumerate() {
            let (unit, node) = place(i);
            let mut a = self.constant(0.0);
            match (self.decide)(self.layer, unit, node, z.v) {
                Unit::Piece(0) if slope_at.is_some() => self.add_product(&mut a, slope_at.expect("learned"), &z),
                Unit::Piece(piece) => {
                    let (value, slope) = sigma(self.activation, piece, z.v, learned);
                    a = Dual { v: value, ..z.scaled(slope) };
                }
                Unit::Held { breakpoint, slope } => {
                    let b = self.activation.breakpoints()[usize::from(breakpoint)];
                    a = Dual { v: sigma(self.activation, breakpoint, b, learned).0, ..z.scaled(slope) };
                }
            }
            activations.push(a);
            self.hidden.push(Hidden { layer: self.layer, unit, node, z });
        }
        activations
    }

    fn activate_image(&mut self, image: impl FnOnce(&mut Self) -> Image) -> Image {
        let image = image(self);
        Image { values: self.activate(image.values, |u| (u, 0)), ..image }
    }

    /// z(o, r, k) = b_o + Σ w(o, i, s, t) x(i, r·stride + s − padding, k·stride + t − padding) over the channels i of o's group.
    fn convolve(&mut self, x: &Image, n_out: usize, window: Sliding, groups: usize, bias: bool) -> Image {
        let Sliding { kernel, stride, padding } = window;
        let (in_group, out_group) = (x.channels / groups, n_out / groups);
        let start = self.take(n_out * in_group * kernel[0] * kernel[1]);
        let mut z = Image::zeros(self, n_out, window.count(0, x.height), window.count(1, x.width));
        for o in 0..n_out {
            for r in 0..z.height {
                for k in 0..z.width {
                    for i in 0..in_group {
                        for s in 0..kernel[0] {
                            for t in 0..kernel[1] {
                                let row = (r * stride[0] + s) as isize - padding[0] as isize;
                                let column = (k * stride[1] + t) as isize - padding[1] as isize;
                                let inside = |at: isize, size: usize| at >= 0 && at < size as isize;
                                if inside(row, x.height) && inside(column, x.width) {
                                    let w = start + ((o * in_group + i) * kernel[0] + s) * kernel[1] + t;
                                    let channel = o / out_group * in_group + i;
                                    let x = x.at(channel, row as usize, column as usize);
                                    self.add_product(z.at_mut(o, r, k), w, x);
                                }
                            }
                        }
                    }
                }
            }
        }
        self.add_image_bias(&mut z, bias);
        z
    }

    /// Every pixel x(i, r, k) adds w(o, i, s, t)·x to the pixels (r·f + s, k·f + t), 0 ≤ s, t < f.
    fn convolve_transposed(&mut self, x: &Image, n_out: usize, factor: [usize; 2], bias: bool) -> Image {
        let start = self.take(n_out * x.channels * factor[0] * factor[1]);
        let mut z = Image::zeros(self, n_out, x.height * factor[0], x.width * factor[1]);
        for i in 0..x.channels {
            for r in 0..x.height {
                for k in 0..x.width {
                    for o in 0..n_out {
                        for s in 0..factor[0] {
                            for t in 0..factor[1] {
                                let w = start + ((o * x.channels + i) * factor[0] + s) * factor[1] + t;
                                let target = z.at_mut(o, r * factor[0] + s, k * factor[1] + t);
                                self.add_product(target, w, x.at(i, r, k));
                            }
                        }
                    }
                }
            }
        }
        self.add_image_bias(&mut z, bias);
        z
    }

    fn add_image_bias(&mut self, z: &mut Image, bias: bool) {
        if bias {
            let (start, n_pixels) = (self.take(z.channels), z.height * z.width);
            for (i, z) in z.values.iter_mut().enumerate() {
                z.v += self.theta[start + i / n_pixels];
                z.d[start + i / n_pixels] += 1.0;
            }
        }
    }

    fn pool(&self, x: &Image, window: Sliding) -> Image {
        let Sliding { kernel, stride, .. } = window;
        let mut pooled = Image::zeros(self, x.channels, window.count(0, x.height), window.count(1, x.width));
        let share = 1.0 / (kernel[0] * kernel[1]) as f64;
        for c in 0..x.channels {
            for r in 0..pooled.height {
                for k in 0..pooled.width {
                    for s in 0..kernel[0] {
                        for t in 0..kernel[1] {
                            let part = x.at(c, r * stride[0] + s, k * stride[1] + t).scaled(share);
                            pooled.at_mut(c, r, k).add(&part);
                        }
                    }
                }
            }
        }
        pooled
    }

    /// The mean of each channel.
    fn means(&self, x: &Image) -> Vec<Dual> {
        let n_pixels = x.height * x.width;
        let mut means = self.zeros(x.channels);
        for (i, value) in x.values.iter().enumerate() {
            means[i / n_pixels].add(&value.scaled(1.0 / n_pixels as f64));
        }
        means
    }
}
