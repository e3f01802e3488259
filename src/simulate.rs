//! One call that runs a scenario: problem and plan in, rows to a sink, outcome and observations out.
//!
//! The integrator itself is [`crate::ode::integrate()`]; what is watched is in [`crate::observe`].

use crate::flow::{Block, FlowField};
use crate::ntk::Cadence;
use crate::observe::{Accuracy, Audit, Monitor, Observed, Sink};
use crate::ode::tableau::{BOGACKI_SHAMPINE_32, DOP853, DORMAND_PRINCE_54, TSIT5};
use crate::ode::{
    Auto, Chebyshev, DiffsolMethod, DiffsolStepper, Esdirk, ExplicitRk, Observer, Options, Outcome, PiecewiseField,
    STABILITY_SHARE, StepView, Stepper, StiffMethod, StopRule, StrideView, WrmsNorm, deferred, integrate,
};
use crate::scenario::{Atol, Method, Plan, Problem, Stop, Track};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::ops::ControlFlow;

/// Largest number of targets for which `Auto` uses an implicit method, whose steps factorise a matrix of that size; with more it uses a stabilised one.
const LARGEST_FACTOR: usize = 1000;

/// A finished run.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// How the integration ended, and its counters.
    pub outcome: Outcome,
    /// What was seen on the way.
    pub observed: Observed,
    /// The method that was used.
    pub method: String,
    /// End times of all accepted steps.
    pub step_times: Vec<f64>,
}

/// What an audit found.
#[derive(Debug, Clone)]
pub struct AuditReport {
    /// Times at which every surface was checked again.
    pub n_checked: u64,
    /// Those of them inside strides.
    pub n_in_strides: u64,
    /// Times at which some surface was on the wrong side of its mode, by more than the tolerances allow.
    pub n_missed: u64,
    /// Largest distance beyond a boundary, relative to the scale of the switch.
    pub deepest: f64,
    /// Where the second run, on which the audit rode along, ended: it is the first one again.
    pub repeated: Outcome,
}

impl Simulated {
    /// How far the run can be trusted, with what an audit of it found.
    pub fn accuracy(&self, plan: &Plan, audit: &AuditReport) -> Accuracy {
        self.observed.accuracy.clone().with_audit(audit.n_checked, audit.n_missed, plan.rtol)
    }
}

/// Runs the flow of `problem` as `plan` says. Rows go to `sink`; `interrupted` is asked after every step.
///
/// With `n_threads` > 1 and the NTK tracked, everything that only watches works on a second thread; the results are the same bit for
/// bit.
///
/// A numerical stop is an outcome, not an error: [`Outcome::reason`] says how the run ended.
pub fn simulate(
    problem: &Problem,
    plan: &Plan,
    n_threads: usize,
    sink: &mut dyn Sink,
    interrupted: &(dyn Fn() -> bool + Sync),
) -> Simulated {
    simulate_beside(problem, plan, n_threads, Watch { sink, interrupted }, &mut ())
}

/// Where the rows of a run go, and who may end it.
pub struct Watch<'a> {
    /// Takes the rows.
    pub sink: &'a mut dyn Sink,
    /// Asked after every step.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// The same with one more observer, which works on the thread of the integration.
pub fn simulate_beside(
    problem: &Problem,
    plan: &Plan,
    n_threads: usize,
    watch: Watch<'_>,
    beside: &mut dyn Observer<FlowField>,
) -> Simulated {
    let mut field = field_of(problem, plan);
    let save_times = (0..).map_while(|k| plan.save.time(k));
    let n_targets = problem.data.n_targets();
    let mut monitor = Monitor::new(&field, n_targets, cadence(plan.track), plan.rtol, Box::new(save_times), watch.sink)
        .tolerating(norm_of(plan))
        .interruptible(watch.interrupted);
    if plan.track == Track::Estimate {
        monitor = monitor.estimating(&field, n_targets);
    }
    let mut steps = StepTimes::default();
    let options = options(plan);
    let mut stepper = stepper(plan.method, options.norm, &mut field);
    let dim = field.dim();
    let mut run = |watcher: &mut dyn Observer<FlowField>| {
        let mut observers: Vec<&mut dyn Observer<FlowField>> = vec![watcher, &mut steps, &mut *beside];
        let mut rules = stop_rules(&plan.until);
        integrate(&mut field, stepper.as_mut(), &problem.theta0, &options, &mut rules, &mut observers)
    };
    let outcome =
        if n_threads > 1 && plan.track.is_on() { deferred(dim, &mut monitor, run) } else { run(&mut monitor) };
    Simulated { outcome, observed: monitor.finish(), method: method_name(plan, stepper.name()), step_times: steps.0 }
}

/// What is said of the method.
fn method_name(plan: &Plan, stepper: &str) -> String {
    if plan.method == Method::EventByEvent { format!("{stepper}, event by event") } else { stepper.to_owned() }
}

/// Repeats a run, which it does not alter, and checks every surface at `n_times` random times on its dense output: half of them uniform in time, half
/// uniform over the steps, so that the crowded beginning is looked at as closely as the long tail.
pub fn audit(problem: &Problem, plan: &Plan, first: &Simulated, n_times: usize) -> AuditReport {
    let mut rng = ChaCha8Rng::seed_from_u64(problem.seed);
    // A stream of its own: data and initial parameters use others.
    rng.set_stream(u64::MAX);
    let steps = &first.step_times;
    let mut times: Vec<f64> = (0..n_times)
        .map(|k| {
            if k % 2 == 0 || steps.is_empty() {
                return rng.random::<f64>() * first.outcome.t;
            }
            let step = rng.random_range(0..steps.len());
            let start = if step == 0 { 0.0 } else { steps[step - 1] };
            start + rng.random::<f64>() * (steps[step] - start)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let mut field = field_of(problem, plan);
    let mut audit = Audit::new(&field, norm_of(plan), times);
    let options = options(plan);
    let mut stepper = stepper(plan.method, options.norm, &mut field);
    let mut rules = stop_rules(&plan.until);
    let repeated = integrate(&mut field, stepper.as_mut(), &problem.theta0, &options, &mut rules, &mut audit);
    let Audit { n_checked, n_in_strides, n_missed, deepest, .. } = audit;
    AuditReport { n_checked, n_in_strides, n_missed, deepest, repeated }
}

fn cadence(track: Track) -> Option<Cadence> {
    match track {
        Track::Adaptive => Some(Cadence::Adaptive),
        Track::EveryEvent => Some(Cadence::EveryEvent),
        Track::Estimate | Track::Off => None,
    }
}

/// The field of a run, with scales where the tolerances of `plan` are to follow them.
pub fn field_of(problem: &Problem, plan: &Plan) -> FlowField {
    let field = FlowField::with_loss(problem.network.clone(), &problem.data, problem.loss);
    match plan.atol {
        Atol::Auto => field.scaled(),
        Atol::Number(_) => field,
    }
}

/// The tolerances of a plan, for that field.
pub fn norm_of(plan: &Plan) -> WrmsNorm {
    WrmsNorm { rtol: plan.rtol, atol: plan.atol.number() }
}

/// The blocks of parameters for which the number given as absolute tolerance is more than rtol times their scale at the start: their relative
/// errors may be larger than rtol allows. None where the tolerance is [`Atol::Auto`], or the start is not finite. Costs an evaluation.
pub fn coarse_blocks(problem: &Problem, plan: &Plan) -> Vec<Block> {
    let Atol::Number(atol) = plan.atol else { return Vec::new() };
    let mut field = FlowField::with_loss(problem.network.clone(), &problem.data, problem.loss);
    let mut blocks = field.block_scales(&problem.theta0).unwrap_or_default();
    // A block without any scale has nothing to be exact about yet.
    blocks.retain(|block| block.scale > 0.0 && atol > plan.rtol * block.scale);
    blocks
}

fn options(plan: &Plan) -> Options {
    Options {
        t_end: plan.horizon().unwrap_or(f64::INFINITY),
        norm: norm_of(plan),
        max_steps: plan.max_steps as u64,
        fixed_step: None,
        retake: false,
        strides: plan.method == Method::Auto,
    }
}

/// The stepper of a method, for tolerances; with [`Method::Auto`] that of the steps between strides.
pub fn stepper(method: Method, norm: WrmsNorm, field: &mut FlowField) -> Box<dyn Stepper<FlowField>> {
    let dim = field.dim();
    let can_factorise = field.batch().n_outputs() <= LARGEST_FACTOR;
    let linearised = "a gradient flow offers its Gauss–Newton linearisation";
    let mut diffsol = |method| -> Box<dyn Stepper<FlowField>> {
        Box::new(DiffsolStepper::new(method, field, norm).expect(linearised))
    };
    match method {
        Method::BogackiShampine32 => Box::new(ExplicitRk::new(&BOGACKI_SHAMPINE_32, dim)),
        Method::Auto | Method::EventByEvent => {
            let stiff = if can_factorise {
                StiffMethod::Implicit(Box::new(Esdirk::new(field, norm).expect(linearised)))
            } else {
                StiffMethod::Stabilised(Box::new(Chebyshev::rkc2(dim, norm.rtol)))
            };
            let (low, high) = (ExplicitRk::new(&BOGACKI_SHAMPINE_32, dim), ExplicitRk::new(&TSIT5, dim));
            Box::new(Auto::new::<FlowField>(low, high, stiff, STABILITY_SHARE))
        }
        Method::Tsit5 => Box::new(ExplicitRk::new(&TSIT5, dim)),
        Method::DormandPrince54 => Box::new(ExplicitRk::new(&DORMAND_PRINCE_54, dim)),
        Method::Dop853 => Box::new(ExplicitRk::new(&DOP853, dim)),
        Method::Esdirk54 => Box::new(Esdirk::new(field, norm).expect(linearised)),
        Method::Rkc2 => Box::new(Chebyshev::rkc2(dim, norm.rtol)),
        Method::Rock4 => Box::new(Chebyshev::rock4(dim, norm.rtol)),
        Method::DiffsolTsit45 => diffsol(DiffsolMethod::Tsit45),
        Method::DiffsolEsdirk34 => diffsol(DiffsolMethod::Esdirk34),
        Method::DiffsolTrBdf2 => diffsol(DiffsolMethod::TrBdf2),
    }
}

/// The stop criteria of a plan other than its horizon, as rules that are located like events.
pub fn stop_rules(until: &[Stop]) -> Vec<Box<dyn StopRule<FlowField>>> {
    let rule = |stop: &Stop| -> Option<Box<dyn StopRule<FlowField>>> {
        match *stop {
            Stop::Time(_) => None,
            Stop::Loss(target) => Some(Box::new(LossRule { name: "loss", factor: None, target: Some(target) })),
            Stop::LossRatio(ratio) => {
                Some(Box::new(LossRule { name: "loss ratio", factor: Some(ratio), target: None }))
            }
            Stop::GradientNorm(target) => Some(Box::new(GradientRule { target })),
        }
    };
    until.iter().filter_map(rule).collect()
}

/// Stops when the loss has fallen to a value, or to a fraction of its start.
struct LossRule {
    name: &'static str,
    factor: Option<f64>,
    target: Option<f64>,
}

impl StopRule<FlowField> for LossRule {
    fn name(&self) -> &'static str {
        self.name
    }

    fn margin(&mut self, field: &FlowField, dy: &[f64]) -> f64 {
        let loss = field.sample(dy).loss;
        let factor = self.factor.unwrap_or(1.0);
        // The first call is at the start of the run.
        loss - *self.target.get_or_insert(factor * loss)
    }

    fn never_rises(&self) -> bool {
        true
    }
}

struct GradientRule {
    target: f64,
}

impl StopRule<FlowField> for GradientRule {
    fn name(&self) -> &'static str {
        "gradient norm"
    }

    fn margin(&mut self, field: &FlowField, dy: &[f64]) -> f64 {
        field.sample(dy).gradient_norm - self.target
    }
}

#[derive(Default)]
struct StepTimes(Vec<f64>);

impl<F: PiecewiseField> Observer<F> for StepTimes {
    fn step(&mut self, step: &StepView<'_, F>) -> ControlFlow<()> {
        self.0.push(step.end.t);
        ControlFlow::Continue(())
    }

    fn needs_states(&self, _t_start: f64, _t_end: f64) -> bool {
        false
    }

    fn stride(&mut self, stride: &StrideView<'_, F>) -> ControlFlow<()> {
        self.0.push(stride.end.t);
        ControlFlow::Continue(())
    }
}
