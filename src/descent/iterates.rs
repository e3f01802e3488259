//! One run of gradient descent: θ_{k+1} = θ_k − η∇L(θ_k), with momentum and mini-batches on request.
//!
//! The gradient is that of the flow's own passes, in the pattern of the iterate. On a breakpoint, where it is not defined, the piece
//! above counts: σ′(b) is the slope from the right, unlike the 0 that most libraries take for ReLU at 0.

use crate::flow::FlowField;
use crate::ode::{Mode, NonFinite, PiecewiseField};
use crate::scenario::{DescentRun, Problem};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// The stream of the generator; data and starts use others.
const ORDER_STREAM: u64 = 4;

/// A run of gradient descent, at iterate k.
#[derive(Debug)]
pub struct Iterates {
    plan: DescentRun,
    field: FlowField,
    k: usize,
    theta: Vec<f64>,
    mode: Mode,
    /// −∇L(θ_k) over all samples.
    descent: Vec<f64>,
    velocity: Vec<f64>,
    loss: f64,
    batches: Option<MiniBatches>,
}

impl Iterates {
    /// Starts at θ₀ and evaluates there; `field` is the flow of the problem.
    ///
    /// # Errors
    /// When loss or gradient are not finite at θ₀.
    pub fn new(problem: &Problem, field: &FlowField, plan: DescentRun) -> Result<Self, NonFinite> {
        let dim = problem.theta0.len();
        let mut run = Self {
            plan,
            field: field.clone(),
            k: 0,
            theta: problem.theta0.clone(),
            mode: Mode::default(),
            descent: vec![0.0; dim],
            velocity: vec![0.0; dim],
            loss: 0.0,
            batches: (plan.batch > 0).then(|| MiniBatches::new(problem, field, plan)),
        };
        run.evaluate()?;
        Ok(run)
    }

    /// What it does.
    pub fn plan(&self) -> &DescentRun {
        &self.plan
    }

    /// k.
    pub fn k(&self) -> usize {
        self.k
    }

    /// θ_k.
    pub fn theta(&self) -> &[f64] {
        &self.theta
    }

    /// The piece of every switch at θ_k; none slides.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// L(θ_k) over all samples, also with mini-batches.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Outputs at θ_k on the distinct samples.
    pub fn outputs(&self) -> &[f64] {
        &self.field.forward().1.f
    }

    /// Flow time of iterate k.
    pub fn time(&self, k: usize) -> f64 {
        k as f64 * self.plan.time_step()
    }

    /// θ_k − s∇L(θ_k): Euler's polygon a time s behind iterate k.
    pub fn polygon(&self, s: f64) -> Vec<f64> {
        self.theta.iter().zip(&self.descent).map(|(x, d)| x + s * d).collect()
    }

    /// Makes one step and evaluates at its end.
    ///
    /// # Errors
    /// When loss or gradient are not finite there; θ is then that of the failed iterate.
    pub fn advance(&mut self) -> Result<(), NonFinite> {
        let Self { plan, theta, mode, descent, velocity, batches, .. } = self;
        let direction = match batches {
            Some(batches) => batches.descent(theta, mode)?,
            None => descent,
        };
        for ((x, v), d) in theta.iter_mut().zip(velocity).zip(direction) {
            *v = plan.momentum * *v + plan.step * *d;
            *x += *v;
        }
        self.k += 1;
        self.evaluate()
    }

    fn evaluate(&mut self) -> Result<(), NonFinite> {
        self.mode = self.field.mode_from_values(&self.theta);
        self.field.eval(&self.theta, &self.mode, &mut self.descent)?;
        self.loss = self.field.sample(&self.descent).loss;
        if self.loss.is_finite() { Ok(()) } else { Err(NonFinite { what: "the loss".into() }) }
    }
}

/// Mini-batches without replacement: every epoch visits all samples once, in a new order; the last one of an epoch may be smaller.
///
/// The gradient over a batch B is scaled by n/|B|, so that its mean is the gradient of the sum over all samples.
#[derive(Debug)]
struct MiniBatches {
    field: FlowField,
    rng: ChaCha8Rng,
    size: usize,
    order: Vec<usize>,
    next: usize,
    /// Distinct sample of each sample, and the targets of each in the order of outputs.
    distinct: Vec<usize>,
    targets: Vec<Vec<f64>>,
    descent: Vec<f64>,
}

impl MiniBatches {
    fn new(problem: &Problem, field: &FlowField, plan: DescentRun) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(ORDER_STREAM);
        let n_samples = problem.data.n_samples();
        let mut distinct = vec![0; n_samples];
        for (u, originals) in field.data().originals.iter().enumerate() {
            originals.iter().for_each(|&j| distinct[j] = u);
        }
        let order = problem.network.output_order();
        let row = |row: &[f64]| (0..row.len()).map(|k| row[order.map_or(k, |order| order[k])]).collect();
        let targets = problem.data.y().chunks_exact(problem.data.n_outputs()).map(row).collect();
        let (next, descent) = (n_samples, vec![0.0; problem.theta0.len()]);
        let order = (0..n_samples).collect();
        Self { field: field.clone(), rng, size: plan.batch, order, next, distinct, targets, descent }
    }

    /// −(n/|B|) Σ_{j ∈ B} ∇ℓ_j at θ for the next batch B.
    fn descent(&mut self, theta: &[f64], mode: &Mode) -> Result<&[f64], NonFinite> {
        let n_samples = self.order.len();
        if self.next == n_samples {
            self.next = 0;
            // Fisher–Yates.
            for k in (1..n_samples).rev() {
                self.order.swap(k, self.rng.random_range(0..=k));
            }
        }
        let batch = &self.order[self.next..(self.next + self.size).min(n_samples)];
        self.next += batch.len();
        let data = self.field.data();
        let m = data.n_outputs;
        let (mut y, mut count) = (data.y.clone(), vec![0.0; data.n_samples]);
        for &j in batch {
            let u = self.distinct[j];
            let mean = &mut y[u * m..(u + 1) * m];
            count[u] += 1.0;
            for (mean, target) in mean.iter_mut().zip(&self.targets[j]) {
                *mean = if count[u] == 1.0 { *target } else { *mean + (target - *mean) / count[u] };
            }
        }
        let scale = n_samples as f64 / batch.len() as f64;
        self.field.reweight(y, count.iter().map(|c| c * scale).collect());
        self.field.eval(theta, mode, &mut self.descent)?;
        Ok(&self.descent)
    }
}
