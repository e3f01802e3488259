//! The problems of the storm: plain and structured set-ups, each from its seed alone.

use super::descent::{Net, Sigma};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// Steps after which a run has failed: hundreds of times what a problem of this size takes.
const MOST_STEPS: usize = 200_000;

pub const METHODS: [&str; 5] = ["Auto", "EventByEvent", "Tsit5", "Dop853", "Esdirk54"];

/// A problem, and how it is to be run.
#[derive(Debug, Clone)]
pub struct Problem {
    pub seed: u64,
    /// What kind of data, start, activation and network it has.
    pub data: &'static str,
    pub start: &'static str,
    pub activation: &'static str,
    pub net: Net,
    /// As written in a scenario.
    activation_text: String,
    pub theta0: Vec<f64>,
    pub horizon: f64,
    /// Two different methods, and a tolerance beside 1e-8.
    pub methods: [&'static str; 2],
    pub rtol: f64,
    /// Whether it is carried on long after rest.
    pub is_long: bool,
    /// Whether a pre-activation starts on a breakpoint, up to rounding.
    pub starts_on_kink: bool,
}

impl Problem {
    /// Seed, kind and size in a few words.
    pub fn title(&self) -> String {
        let bias = if self.net.bias { "bias" } else { "no bias" };
        let loss = if self.net.logistic { "logistic" } else { "squared" };
        format!(
            "{} {} {} {:?} {bias} {loss}, {} samples of {}, {} and {}, t = {}",
            self.data,
            self.start,
            self.activation,
            self.hidden(),
            self.net.x.len(),
            self.net.widths[0],
            self.methods[0],
            self.methods[1],
            self.horizon
        )
    }

    pub fn hidden(&self) -> &[usize] {
        &self.net.widths[1..self.net.widths.len() - 1]
    }

    /// The scenario as text.
    pub fn ron(&self, method: &str, rtol: f64, horizon: f64) -> String {
        let net = &self.net;
        let loss = if net.logistic { "\n  loss: Logistic," } else { "" };
        format!(
            "(
  data: Inline(x: {:?}, y: {:?}),
  network: Dense(hidden: {:?}, bias: {}),
  activation: {},{loss}
  initial: Inline({:?}),
  flow: (until: [Time({horizon:?})], method: {method}, rtol: {rtol:?}, max_steps: {MOST_STEPS}),
  ntk: (track: false),
)
",
            net.x,
            net.y,
            self.hidden(),
            net.bias,
            self.activation_text,
            self.theta0
        )
    }
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    fn normals(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.normal()).collect()
    }

    fn uniform(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.0.random::<f64>()
    }

    fn whole(&mut self, from: usize, to: usize) -> usize {
        self.0.random_range(from..=to)
    }

    fn chance(&mut self, p: f64) -> bool {
        self.0.random::<f64>() < p
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.0.random_range(0..from.len())].clone()
    }

    /// One of several with weights.
    fn weighted<T: Clone>(&mut self, from: &[(f64, T)]) -> T {
        let mut left = self.0.random::<f64>() * from.iter().map(|(w, _)| w).sum::<f64>();
        for (weight, item) in from {
            left -= weight;
            if left <= 0.0 {
                return item.clone();
            }
        }
        from[from.len() - 1].1.clone()
    }
}

const DATA: [(f64, &str); 14] = [
    (3.0, "ball"),
    (1.0, "xor"),
    (1.0, "parity"),
    (1.5, "pairs"),
    (1.0, "ray"),
    (1.0, "doubles"),
    (1.0, "one-hot"),
    (1.0, "orthogonal"),
    (1.0, "duplicates"),
    (1.0, "grid"),
    (1.0, "line"),
    (0.7, "sizes"),
    (0.5, "antipodal-rays"),
    (0.5, "sizes-orthogonal"),
];

const STARTS: [(f64, &str); 12] = [
    (4.0, "kaiming"),
    (1.5, "normal"),
    (1.5, "tiny"),
    (1.0, "zero-output"),
    (1.0, "zero-biases"),
    (0.7, "zero-output-and-biases"),
    (1.0, "antisymmetric"),
    (1.0, "balanced"),
    (1.0, "twins"),
    (2.0, "rounded"),
    (1.0, "on-kinks"),
    (0.7, "spline"),
];

/// The problem of a seed.
pub fn problem(seed: u64) -> Problem {
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(seed));
    let data = draw.weighted(&DATA);
    let start = draw.weighted(&STARTS);
    let hidden: Vec<usize> = draw.weighted(&[
        (1.0, vec![1]),
        (1.5, vec![2]),
        (1.5, vec![3]),
        (1.5, vec![2, 2]),
        (1.5, vec![3, 3]),
        (1.0, vec![2, 2, 2]),
        (1.0, vec![5]),
        (1.0, vec![8]),
        (0.7, vec![6, 6]),
        (0.5, vec![16]),
        (0.5, vec![32]),
        (0.3, vec![64]),
        (0.5, vec![16, 16]),
        (0.4, vec![12, 12, 12]),
    ]);
    let bias = draw.chance(0.5);
    let (activation, activation_text, sigma, slope) = activation(&mut draw);
    let logistic = draw.chance(0.2);
    let n_outputs = if draw.chance(0.15) { 2 } else { 1 };
    // As many samples as a wide network is usually given.
    let most = if hidden.iter().sum::<usize>() >= 32 { 30 } else { 20 };
    let (mut x, mut y) = samples(&mut draw, (data, most), n_outputs);
    if start == "rounded" && data != "sizes" && data != "sizes-orthogonal" {
        x.iter_mut().flatten().for_each(|v| *v = tenths(*v));
        y.iter_mut().flatten().for_each(|v| *v = tenths(*v));
    }
    if start == "on-kinks" || start == "spline" {
        // Eighths, so that pre-activations on a breakpoint are so exactly.
        x.iter_mut().flatten().for_each(|v| *v = (*v * 8.0).round() / 8.0);
    }
    if logistic {
        y.iter_mut().flatten().for_each(|v| *v = if *v > 0.0 { 1.0 } else { 0.0 });
    }
    let widths: Vec<usize> = [x[0].len()].into_iter().chain(hidden).chain([n_outputs]).collect();
    let net = Net { widths, bias, sigma, logistic, x, y };
    let theta0 = initial(&mut draw, start, &net, slope);
    let curvature = net.curvature(&theta0);
    let horizon = match start {
        "tiny" => draw.pick(&[20.0, 50.0, 100.0]),
        _ => draw.pick(&[1.0, 3.0, 3.0, 10.0, 20.0]),
    };
    // A second of an explicit method on the stiffest of them.
    let is_stiff = curvature * horizon > 3e4;
    let methods: &[&str] = if is_stiff { &["Auto", "EventByEvent", "Esdirk54"] } else { &METHODS };
    let first = if draw.chance(0.5) { "Auto" } else { draw.pick(methods) };
    let others: Vec<&str> = methods.iter().copied().filter(|m| *m != first).collect();
    let second = draw.pick(&others);
    let rtol = draw.pick(&[1e-6, 1e-10]);
    let is_long = draw.chance(0.25);
    let scale = theta0.iter().fold(1e-300_f64, |m, v| m.max(v.abs()));
    let breakpoints = net.sigma.breakpoints();
    let on_kink = |z: &f64| breakpoints.iter().any(|b| (z - b).abs() <= 1e-9 * scale.min(1.0));
    let starts_on_kink = net.pre_activations(&theta0).iter().flatten().flatten().any(on_kink);
    Problem {
        seed,
        data,
        start,
        activation,
        net,
        activation_text,
        theta0,
        horizon,
        methods: [first, second],
        rtol,
        is_long,
        starts_on_kink,
    }
}

fn tenths(v: f64) -> f64 {
    (10.0 * v).round() / 10.0
}

/// Kind, text, the same for descent, and where learned slopes start.
fn activation(draw: &mut Draw) -> (&'static str, String, Sigma, f64) {
    let kind = draw.weighted(&[(5.0, "relu"), (3.0, "leaky"), (1.5, "abs"), (1.0, "pieces"), (1.0, "prelu")]);
    match kind {
        "relu" => (kind, "Relu".to_owned(), Sigma::TwoSlopes(0.0, 1.0, 0.0), 0.0),
        "abs" => (kind, "Abs".to_owned(), Sigma::TwoSlopes(-1.0, 1.0, 0.0), 0.0),
        "leaky" => {
            let slope = draw.pick(&[1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.9]);
            (kind, format!("LeakyRelu({slope:?})"), Sigma::TwoSlopes(slope, 1.0, slope), 0.0)
        }
        "prelu" => {
            let slope = draw.pick(&[0.25, 0.1, 0.0]);
            (kind, format!("Prelu({slope:?})"), Sigma::Learned, slope)
        }
        _ => {
            let (breakpoints, pieces) = draw.pick(&[
                (vec![-1.0, 1.0], vec![vec![-1.0], vec![0.0, 1.0], vec![1.0]]),
                (vec![-0.5, 0.5], vec![vec![-0.4, 0.2], vec![0.0, 1.0], vec![0.25, 0.5]]),
                (vec![0.0, 0.5], vec![vec![0.0], vec![0.0, 1.0], vec![0.5]]),
                (vec![-0.25, 0.25], vec![vec![0.0, 0.1], vec![0.0, 0.0, 0.0, 1.6], vec![-0.225, 1.0]]),
            ]);
            let text = format!("PiecewisePolynomial(breakpoints: {breakpoints:?}, pieces: {pieces:?})");
            (kind, text, Sigma::Pieces(breakpoints, pieces), 0.0)
        }
    }
}

/// Inputs and targets.
fn samples(draw: &mut Draw, (kind, most): (&str, usize), n_outputs: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let x = inputs(draw, kind, most);
    let parity = |x: &[f64]| if x.iter().filter(|v| **v > 0.0).count().is_multiple_of(2) { 1.0 } else { -1.0 };
    let y = match kind {
        "xor" | "parity" => x.iter().map(|x| (0..n_outputs).map(|k| parity(&x[k..])).collect()).collect(),
        _ if draw.chance(0.3) => x.iter().map(|_| (0..n_outputs).map(|_| draw.pick(&[-1.0, 1.0])).collect()).collect(),
        _ => x.iter().map(|_| draw.normals(n_outputs)).collect(),
    };
    (x, y)
}

fn inputs(draw: &mut Draw, kind: &str, most: usize) -> Vec<Vec<f64>> {
    let corners = |n: usize, low: f64| -> Vec<Vec<f64>> {
        (0..1 << n).map(|c: usize| (0..n).map(|k| if c >> k & 1 == 1 { 1.0 } else { low }).collect()).collect()
    };
    match kind {
        "ball" => {
            let (n, dim) = (draw.whole(2, most), draw.whole(1, 5));
            ball(draw, n, dim)
        }
        "xor" => corners(2, draw.pick(&[-1.0, 0.0])),
        "parity" => corners(3, draw.pick(&[-1.0, 0.0])),
        "pairs" => {
            let (n, dim) = (draw.whole(1, 4), draw.whole(1, 3));
            let half: Vec<Vec<f64>> = (0..n).map(|_| draw.normals(dim)).collect();
            half.iter().cloned().chain(half.iter().map(|x| scaled(x, -1.0))).collect()
        }
        "ray" | "antipodal-rays" => {
            let direction = {
                let dim = draw.whole(1, 3);
                draw.normals(dim)
            };
            let n = draw.whole(2, 6);
            let sign = |draw: &mut Draw| if kind == "ray" || draw.chance(0.5) { 1.0 } else { -1.0 };
            (0..n)
                .map(|_| {
                    let c = sign(draw) * draw.uniform(0.2, 2.0);
                    scaled(&direction, c)
                })
                .collect()
        }
        "doubles" => {
            let (n, dim) = (draw.whole(1, 4), draw.whole(1, 3));
            let half: Vec<Vec<f64>> = (0..n).map(|_| draw.normals(dim)).collect();
            half.iter().cloned().chain(half.iter().map(|x| scaled(x, 2.0))).collect()
        }
        "one-hot" => {
            let n = draw.whole(2, 5);
            let equal = draw.chance(0.5);
            (0..n)
                .map(|k| {
                    let c = if equal { 1.0 } else { draw.uniform(0.5, 2.0) };
                    unit(n, k, c)
                })
                .collect()
        }
        "orthogonal" => {
            let n = draw.whole(2, 4);
            let basis = orthonormal(draw, n);
            basis
                .iter()
                .map(|x| {
                    let c = draw.uniform(0.5, 2.0);
                    scaled(x, c)
                })
                .collect()
        }
        "duplicates" => {
            let (n, dim) = (draw.whole(1, 4), draw.whole(1, 3));
            let mut x: Vec<Vec<f64>> = (0..n).map(|_| draw.normals(dim)).collect();
            for _ in 0..draw.whole(1, 4) {
                let again = draw.pick(&x);
                x.push(again);
            }
            x
        }
        "grid" => {
            let (low, high) = draw.pick(&[(0, 2), (-1, 1), (0, 1), (-1, 2)]);
            (low..=high).flat_map(|a| (low..=high).map(move |b| vec![f64::from(a), f64::from(b)])).collect()
        }
        "line" => {
            let reach = draw.whole(1, 4) as i32;
            let step = draw.pick(&[1.0, 0.5, 0.1]);
            (-reach..=reach).map(|k| vec![f64::from(k) * step]).collect()
        }
        "sizes" => {
            let (n, dim) = (draw.whole(3, 8), draw.whole(2, 3));
            let large = draw.pick(&[30.0, 1e3, 1e-3]);
            (0..n)
                .map(|k| {
                    let x = draw.normals(dim);
                    if k.is_multiple_of(2) { x } else { scaled(&x, large) }
                })
                .collect()
        }
        "sizes-orthogonal" => {
            let n = draw.whole(2, 4);
            let large = draw.pick(&[1e2, 1e3, 1e4]);
            let half = |draw: &mut Draw, first: bool| -> Vec<f64> {
                let x = draw.normals(2);
                if first { vec![x[0], x[1], 0.0, 0.0] } else { vec![0.0, 0.0, large * x[0], large * x[1]] }
            };
            (0..2 * n).map(|k| half(draw, k < n)).collect()
        }
        _ => unreachable!("{kind} is no kind of data"),
    }
}

fn ball(draw: &mut Draw, n: usize, dim: usize) -> Vec<Vec<f64>> {
    let mut point = || {
        loop {
            let x: Vec<f64> = (0..dim).map(|_| draw.uniform(-1.0, 1.0)).collect();
            if x.iter().map(|v| v * v).sum::<f64>() <= 1.0 {
                return x;
            }
        }
    };
    (0..n).map(|_| point()).collect()
}

fn scaled(x: &[f64], c: f64) -> Vec<f64> {
    x.iter().map(|v| c * v).collect()
}

fn unit(n: usize, at: usize, value: f64) -> Vec<f64> {
    (0..n).map(|k| if k == at { value } else { 0.0 }).collect()
}

/// Gram and Schmidt on normal vectors.
fn orthonormal(draw: &mut Draw, n: usize) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    while basis.len() < n {
        let mut v = draw.normals(n);
        for _ in 0..2 {
            for b in &basis {
                let along: f64 = v.iter().zip(b).map(|(v, b)| v * b).sum();
                v.iter_mut().zip(b).for_each(|(v, b)| *v -= along * b);
            }
        }
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        basis.push(scaled(&v, 1.0 / norm));
    }
    basis
}

/// Weights, biases and learned slope of a layer.
struct Block {
    n_in: usize,
    w: Vec<f64>,
    b: Vec<f64>,
    slope: Option<f64>,
}

fn initial(draw: &mut Draw, kind: &str, net: &Net, slope: f64) -> Vec<f64> {
    let last = net.widths.len() - 1;
    let mut blocks: Vec<Block> = (1..=last)
        .map(|l| {
            let (n_in, n_out) = (net.widths[l - 1], net.widths[l]);
            let bound = 1.0 / (n_in as f64).sqrt();
            let n_biases = if net.bias { n_out } else { 0 };
            let slope = (l < last && net.sigma == Sigma::Learned).then_some(slope);
            let entry = |draw: &mut Draw| match kind {
                "kaiming" | "on-kinks" | "zero-biases" => draw.uniform(-bound, bound),
                _ => draw.normal(),
            };
            let w = (0..n_in * n_out).map(|_| entry(draw)).collect();
            let b = (0..n_biases).map(|_| entry(draw)).collect();
            Block { n_in, w, b, slope }
        })
        .collect();
    let zero_biases = |blocks: &mut Vec<Block>| blocks.iter_mut().for_each(|block| block.b.fill(0.0));
    let scale = |blocks: &mut Vec<Block>, by: f64| {
        blocks.iter_mut().for_each(|block| block.w.iter_mut().chain(&mut block.b).for_each(|v| *v *= by));
    };
    match kind {
        "kaiming" => {}
        "normal" => scale(&mut blocks, draw.pick(&[0.3, 0.5, 1.0])),
        "tiny" => scale(&mut blocks, draw.pick(&[1e-3, 1e-4, 1e-6, 1e-8, 1e-9, 1e-12])),
        "zero-output" => {
            blocks[last - 1].w.fill(0.0);
            blocks[last - 1].b.fill(0.0);
        }
        "zero-biases" => zero_biases(&mut blocks),
        "zero-output-and-biases" => {
            zero_biases(&mut blocks);
            blocks[last - 1].w.fill(0.0);
        }
        "antisymmetric" => pair_units(&mut blocks, -1.0),
        "twins" => pair_units(&mut blocks, 1.0),
        "balanced" => {
            balance(&mut blocks);
            scale(&mut blocks, draw.pick(&[1.0, 0.1, 1e-3, 1e-6]));
        }
        "rounded" => blocks.iter_mut().for_each(|b| b.w.iter_mut().chain(&mut b.b).for_each(|v| *v = tenths(*v))),
        "on-kinks" => on_kinks(draw, &mut blocks, net),
        "spline" => {
            blocks[0].w.iter_mut().for_each(|v| *v = if *v > 0.0 { 1.0 } else { -1.0 });
            on_kinks(draw, &mut blocks, net);
            blocks[last - 1].w.fill(0.0);
            blocks[last - 1].b.fill(0.0);
        }
        _ => unreachable!("{kind} is no kind of start"),
    }
    blocks.iter().flat_map(|b| b.w.iter().chain(&b.b).copied().chain(b.slope)).collect()
}

/// Makes every second unit of each hidden layer a copy of the one before, with `sign` times its outgoing weights in the output layer.
fn pair_units(blocks: &mut [Block], sign: f64) {
    let last = blocks.len() - 1;
    for l in 0..last {
        let n_in = blocks[l].n_in;
        let n_out = blocks[l].w.len() / n_in;
        for u in (1..n_out).step_by(2) {
            for i in 0..n_in {
                blocks[l].w[u * n_in + i] = blocks[l].w[(u - 1) * n_in + i];
            }
            if !blocks[l].b.is_empty() {
                blocks[l].b[u] = blocks[l].b[u - 1];
            }
            let sign = if l + 1 == last { sign } else { 1.0 };
            let width = blocks[l + 1].n_in;
            for v in 0..blocks[l + 1].w.len() / width {
                blocks[l + 1].w[v * width + u] = sign * blocks[l + 1].w[v * width + u - 1];
            }
        }
    }
}

/// Scales outgoing weights of every hidden unit, from the first layer on, to the norm of what comes in.
fn balance(blocks: &mut [Block]) {
    for l in 0..blocks.len() - 1 {
        let n_in = blocks[l].n_in;
        for u in 0..blocks[l].w.len() / n_in {
            let bias = blocks[l].b.get(u).map_or(0.0, |b| b * b);
            let incoming = bias + blocks[l].w[u * n_in..(u + 1) * n_in].iter().map(|w| w * w).sum::<f64>();
            let width = blocks[l + 1].n_in;
            let outgoing: f64 = blocks[l + 1].w.iter().skip(u).step_by(width).map(|w| w * w).sum();
            let by = (incoming / outgoing).sqrt();
            blocks[l + 1].w.iter_mut().skip(u).step_by(width).for_each(|w| *w *= by);
        }
    }
}

/// Puts units of the first layer on a breakpoint of some sample: by their bias, or without one by a weight that is 0.
fn on_kinks(draw: &mut Draw, blocks: &mut [Block], net: &Net) {
    let n_in = blocks[0].n_in;
    let first = &mut blocks[0];
    first.w.iter_mut().for_each(|v| *v = (*v * 8.0).round() / 8.0);
    for u in 0..first.w.len() / n_in {
        let (x, breakpoint) = (draw.pick(&net.x), draw.pick(&net.sigma.breakpoints()));
        if first.b.is_empty() {
            first.w[u * n_in..(u + 1) * n_in].fill(0.0);
        } else if draw.chance(0.8) {
            let z: f64 = x.iter().zip(&first.w[u * n_in..]).map(|(x, w)| x * w).sum();
            first.b[u] = breakpoint - z;
        }
    }
}
