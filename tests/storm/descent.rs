//! Gradient descent with tiny steps as plain loops, which shares nothing with the program: the judge of values.
//!
//! Where a pre-activation is exactly on a breakpoint its slope is the one that PyTorch takes: that of the piece below, and 0 for |z|.

/// An activation, as far as descent has to know it.
#[derive(Debug, Clone, PartialEq)]
pub enum Sigma {
    /// Slopes below and above 0, and at 0.
    TwoSlopes(f64, f64, f64),
    /// max(z, 0) + a·min(z, 0) with the slope a learned, one per hidden layer.
    Learned,
    /// Straight or curved pieces, low order first.
    Pieces(Vec<f64>, Vec<Vec<f64>>),
}

impl Sigma {
    fn eval(&self, z: f64, learned: f64) -> (f64, f64) {
        match self {
            Self::TwoSlopes(below, above, at) => {
                let slope = if z > 0.0 {
                    *above
                } else if z < 0.0 {
                    *below
                } else {
                    *at
                };
                (slope * z, slope)
            }
            Self::Learned => {
                let slope = if z > 0.0 { 1.0 } else { learned };
                (slope * z, slope)
            }
            Self::Pieces(breakpoints, pieces) => {
                let piece = &pieces[breakpoints.iter().filter(|b| z > **b).count()];
                let value = piece.iter().enumerate().map(|(k, c)| c * z.powi(k as i32)).sum();
                let slope = piece.iter().enumerate().skip(1).map(|(k, c)| k as f64 * c * z.powi(k as i32 - 1)).sum();
                (value, slope)
            }
        }
    }

    pub fn breakpoints(&self) -> Vec<f64> {
        match self {
            Self::TwoSlopes(..) | Self::Learned => vec![0.0],
            Self::Pieces(breakpoints, _) => breakpoints.clone(),
        }
    }
}

/// A dense network on data.
#[derive(Debug, Clone)]
pub struct Net {
    /// Inputs, hidden layers, outputs.
    pub widths: Vec<usize>,
    pub bias: bool,
    pub sigma: Sigma,
    pub logistic: bool,
    pub x: Vec<Vec<f64>>,
    pub y: Vec<Vec<f64>>,
}

/// Where the parameters of a layer stand.
struct Layer {
    w: usize,
    b: Option<usize>,
    slope: Option<usize>,
}

impl Net {
    fn layers(&self) -> Vec<Layer> {
        let mut at = 0;
        let mut take = |n: usize| {
            at += n;
            at - n
        };
        let last = self.widths.len() - 1;
        (1..=last)
            .map(|l| Layer {
                w: take(self.widths[l] * self.widths[l - 1]),
                b: self.bias.then(|| take(self.widths[l])),
                slope: (l < last && self.sigma == Sigma::Learned).then(|| take(1)),
            })
            .collect()
    }

    /// Length of the weights and biases alone, without learned slopes.
    pub fn length_of_weights(&self, theta: &[f64]) -> f64 {
        let slopes: Vec<usize> = self.layers().iter().filter_map(|layer| layer.slope).collect();
        let kept = theta.iter().enumerate().filter(|(at, _)| !slopes.contains(at));
        kept.map(|(_, v)| v * v).sum::<f64>().sqrt()
    }

    /// P.
    pub fn n_parameters(&self) -> usize {
        let pairs = self.widths.windows(2).map(|w| w[1] * (w[0] + usize::from(self.bias))).sum::<usize>();
        pairs + if self.sigma == Sigma::Learned { self.widths.len() - 2 } else { 0 }
    }

    /// Pre-activations of the hidden layers on every sample.
    pub fn pre_activations(&self, theta: &[f64]) -> Vec<Vec<Vec<f64>>> {
        let mut work = Work::new(self);
        self.x
            .iter()
            .map(|x| {
                self.forward(theta, x, &mut work);
                let hidden = work.z.len() - 1;
                work.z[..hidden].to_vec()
            })
            .collect()
    }

    fn forward(&self, theta: &[f64], x: &[f64], work: &mut Work) {
        let last = work.layers.len() - 1;
        work.a[0].copy_from_slice(x);
        for l in 0..=last {
            let layer = &work.layers[l];
            let (before, behind) = work.a.split_at_mut(l + 1);
            let input = &before[l];
            for u in 0..self.widths[l + 1] {
                let mut z = layer.b.map_or(0.0, |b| theta[b + u]);
                for (i, a) in input.iter().enumerate() {
                    z += theta[layer.w + u * input.len() + i] * a;
                }
                work.z[l][u] = z;
                let learned = layer.slope.map_or(0.0, |at| theta[at]);
                let (value, slope) = if l == last { (z, 1.0) } else { self.sigma.eval(z, learned) };
                behind[0][u] = value;
                work.slope[l][u] = slope;
            }
        }
    }

    fn loss_of(&self, f: f64, y: f64) -> (f64, f64) {
        if !self.logistic {
            return (0.5 * (f - y) * (f - y), f - y);
        }
        // y log(1 + e^{−f}) + (1 − y) log(1 + e^f).
        let e = (-f.abs()).exp();
        let (up, down) = (f.max(0.0) + e.ln_1p(), (-f).max(0.0) + e.ln_1p());
        let p = if f >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
        (y * down + (1.0 - y) * up, p - y)
    }

    /// L and ∇L.
    fn gradient(&self, theta: &[f64], work: &mut Work) -> f64 {
        let last = work.layers.len() - 1;
        work.gradient.fill(0.0);
        let mut loss = 0.0;
        for (x, y) in self.x.iter().zip(&self.y) {
            self.forward(theta, x, work);
            for (k, y) in y.iter().enumerate() {
                let (value, seed) = self.loss_of(work.z[last][k], *y);
                loss += value;
                work.seed[last][k] = seed;
            }
            for l in (0..=last).rev() {
                let layer = &work.layers[l];
                let (below, here) = work.seed.split_at_mut(l);
                let seed = &here[0];
                let input = &work.a[l];
                for (u, seed) in seed.iter().enumerate() {
                    if let Some(b) = layer.b {
                        work.gradient[b + u] += seed;
                    }
                    for (i, a) in input.iter().enumerate() {
                        work.gradient[layer.w + u * input.len() + i] += seed * a;
                    }
                }
                if l == 0 {
                    continue;
                }
                for i in 0..input.len() {
                    let back: f64 =
                        seed.iter().enumerate().map(|(u, s)| s * theta[layer.w + u * input.len() + i]).sum();
                    let z = work.z[l - 1][i];
                    if let (Some(at), true) = (work.layers[l - 1].slope, z < 0.0) {
                        work.gradient[at] += back * z;
                    }
                    below[l - 1][i] = back * work.slope[l - 1][i];
                }
            }
        }
        loss
    }

    /// L(θ).
    pub fn loss(&self, theta: &[f64]) -> f64 {
        self.gradient(theta, &mut Work::new(self))
    }

    /// Σ‖∇f_jk‖², which bounds the largest eigenvalue of the Gauss–Newton matrix, at θ; at least Σ(1 + ‖x‖²), what it would be with weights of size 1.
    pub fn curvature(&self, theta: &[f64]) -> f64 {
        let mut work = Work::new(self);
        let single = |x: &Vec<f64>, k: usize| {
            let mut y = vec![0.0; self.widths[self.widths.len() - 1]];
            y[k] = 1.0;
            Self { x: vec![x.clone()], y: vec![y], logistic: false, ..self.clone() }
        };
        let mut sum = 0.0;
        for x in &self.x {
            for k in 0..self.widths[self.widths.len() - 1] {
                // The gradient of ½‖f − y‖² where y is off by one in f_k alone.
                let mut net = single(x, k);
                net.forward(theta, x, &mut work);
                let last = work.z.len() - 1;
                net.y[0] = work.z[last].clone();
                net.y[0][k] -= 1.0;
                net.gradient(theta, &mut work);
                sum += work.gradient.iter().map(|g| g * g).sum::<f64>();
            }
        }
        let least: f64 = self.x.iter().map(|x| 1.0 + x.iter().map(|v| v * v).sum::<f64>()).sum();
        sum.max(least)
    }

    /// Multiplications of a step, about: forwards, backwards, and for the gradient.
    pub fn work(&self) -> f64 {
        3.0 * (self.x.len() * self.n_parameters()) as f64
    }

    /// θ after descent to time `t` in `n_steps` equal steps; `None` where it diverges.
    fn descend(&self, theta: &[f64], t: f64, n_steps: usize) -> Option<Vec<f64>> {
        let mut work = Work::new(self);
        let mut theta = theta.to_vec();
        let step = t / n_steps as f64;
        for _ in 0..n_steps {
            self.gradient(&theta, &mut work);
            theta.iter_mut().zip(&work.gradient).for_each(|(t, g)| *t -= step * g);
        }
        theta.iter().all(|v| v.is_finite()).then_some(theta)
    }
}

struct Work {
    layers: Vec<Layer>,
    /// Activations, from the inputs on; pre-activations, slopes and seeds of the layers behind them.
    a: Vec<Vec<f64>>,
    z: Vec<Vec<f64>>,
    slope: Vec<Vec<f64>>,
    seed: Vec<Vec<f64>>,
    gradient: Vec<f64>,
}

impl Work {
    fn new(net: &Net) -> Self {
        let zeros = |widths: &[usize]| widths.iter().map(|w| vec![0.0; *w]).collect::<Vec<_>>();
        Self {
            layers: net.layers(),
            a: zeros(&net.widths),
            z: zeros(&net.widths[1..]),
            slope: zeros(&net.widths[1..]),
            seed: zeros(&net.widths[1..]),
            gradient: vec![0.0; net.n_parameters()],
        }
    }
}

/// What descent says of the loss at a time.
#[derive(Debug, Clone, Copy)]
pub struct Descended {
    /// The loss with the smaller step.
    pub loss: f64,
    /// Extrapolated from the last two step sizes, its error taken to be proportional to the step.
    pub extrapolated: f64,
    /// How far step sizes are apart.
    pub spread: f64,
    /// Steps of the finest.
    pub n_steps: f64,
}

impl Descended {
    /// From three sizes of steps, each a quarter of the one before. An error proportional to the step falls to a quarter each time, and leaves a third of the
    /// last difference; one that falls more slowly, as where contacts are met by chance, leaves more. Two differences count, so that a single one that
    /// is small by accident does not.
    fn new([a, b, c]: [f64; 3], n_steps: f64) -> Self {
        const SLOWEST: f64 = 0.9;
        let (before, last) = (b - a, c - b);
        let ratio = (last / before).abs().clamp(0.25, SLOWEST);
        let ratio = if ratio.is_nan() { 0.25 } else { ratio };
        let spread = (last.abs() * ratio / (1.0 - ratio)).max(last.abs()).max(0.25 * before.abs());
        Self { loss: c, extrapolated: c + last / 3.0, spread, n_steps }
    }

    /// Whether a loss agrees: with what was extrapolated or with the finest, within twice the spread of step sizes and a relative 1e-5 of the loss, or of a
    /// ten-thousandth of the initial one: runs at rtol 1e-8 are a thousand times closer.
    pub fn agrees(&self, loss: f64, initial: f64) -> bool {
        let room = 2.0 * self.spread + 1e-5 * self.scale(initial);
        (loss - self.extrapolated).abs() <= room || (loss - self.loss).abs() <= room
    }

    /// What a difference of losses is measured by.
    pub fn scale(&self, initial: f64) -> f64 {
        self.extrapolated.abs().max(1e-4 * initial)
    }

    /// Whether step sizes agree to three per cent.
    pub fn has_converged(&self, initial: f64) -> bool {
        self.spread <= 0.03 * self.scale(initial)
    }
}

/// Steps of the first size, in units of one over the curvature.
const FIRST: f64 = 0.03;

/// How far descent with three step sizes, quarters of each other, gets with so much work where the curvature is `curvature`.
pub fn reach(net: &Net, curvature: f64, work: f64) -> f64 {
    const THREE: f64 = 1.0 + 4.0 + 16.0;
    FIRST / curvature * (work / (THREE * net.work())).floor().max(64.0)
}

/// The first number of steps to time `t`.
pub fn first_steps(t: f64, curvature: f64) -> f64 {
    (t * curvature / FIRST).ceil().clamp(64.0, 1e12)
}

/// Descends to time `t` in `n_steps` steps and in four times as many until three sizes agree to `target` of the loss or the work is done; `None` where it
/// diverges with all of them.
pub fn descend(net: &Net, theta: &[f64], t: f64, mut n_steps: f64, care: Care) -> Option<Descended> {
    let initial = net.loss(theta);
    let mut left = care.work;
    let mut losses: Vec<f64> = Vec::new();
    let mut best = None;
    loop {
        left -= n_steps * net.work();
        if left < 0.0 && losses.len() >= 3 || left < -care.work {
            return best;
        }
        match net.descend(theta, t, n_steps as usize) {
            Some(end) => losses.push(net.loss(&end)),
            // Too long a step for this loss.
            None => losses.clear(),
        }
        if let [.., a, b, c] = losses[..] {
            let found = Descended::new([a, b, c], n_steps);
            best = Some(found);
            if found.spread <= care.target * found.scale(initial) {
                return best;
            }
        }
        n_steps *= 4.0;
    }
}

/// How thoroughly descent is done.
#[derive(Debug, Clone, Copy)]
pub struct Care {
    /// Multiplications for each start.
    pub work: f64,
    /// Relative difference of step sizes at which it may end.
    pub target: f64,
}
