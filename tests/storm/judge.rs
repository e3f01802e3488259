//! Runs a problem in several ways and says what is wrong.

use super::descent::{Care, Descended, descend, first_steps, reach};
use super::problems::Problem;
use crate::common::Kept;
use gradflow::ode::{EventKind, Side, StopReason};
use gradflow::scenario::{Folder, Scenario, Source};
use gradflow::simulate::{Simulated, simulate};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Wall time after which a run counts as failed.
const LONGEST: Duration = Duration::from_secs(60);

/// Where a flow at rest is carried to.
const LATE: f64 = 1e5;

/// With how many parameters descent is still affordable.
const MOST_PARAMETERS: usize = 200;

/// What is wrong with a problem.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: &'static str,
    pub text: String,
}

/// What is said of a problem.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub faults: Vec<Fault>,
    /// What is no fault: descent that has not converged, values beyond a branch point.
    pub notes: Vec<&'static str>,
    /// Descents that agreed or were looked at further.
    pub n_descents: usize,
    /// For whoever looks at a single problem.
    pub details: Vec<String>,
}

impl Verdict {
    fn fault(&mut self, kind: &'static str, text: String) {
        self.faults.push(Fault { kind, text });
    }
}

/// A run that has ended in whatever way.
struct Run {
    what: String,
    rtol: f64,
    horizon: f64,
    simulated: Simulated,
    kept: Kept,
}

impl Run {
    /// Time of the first branch point.
    fn branch(&self) -> Option<f64> {
        self.simulated.observed.branch_points.first().map(|b| b.t)
    }

    fn loss(&self) -> f64 {
        self.simulated.observed.loss_final
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what panics say, in place of printing it.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        PANIC.with(|kept| *kept.borrow_mut() = text);
    }));
}

/// Runs and judges a problem.
pub fn judge(problem: &Problem, care: Care) -> Verdict {
    let mut verdict = Verdict::default();
    let [first, second] = problem.methods;
    let ways = [(first, 1e-8), (second, 1e-8), (first, problem.rtol)];
    let runs: Vec<Run> =
        ways.iter().filter_map(|(method, rtol)| run(problem, method, *rtol, problem.horizon, &mut verdict)).collect();
    for run in &runs {
        identities(problem, run, &mut verdict);
    }
    if let [base, others @ ..] = &runs[..] {
        for other in others {
            compare(base, other, &mut verdict);
        }
        if problem.net.n_parameters() < MOST_PARAMETERS {
            against_descent(problem, base, care, &mut verdict);
        }
    }
    if problem.is_long && runs.len() == ways.len() {
        long(problem, &mut verdict);
    }
    verdict
}

fn run(problem: &Problem, method: &str, rtol: f64, horizon: f64, verdict: &mut Verdict) -> Option<Run> {
    let what = format!("{method} at {rtol:e} to {horizon}");
    let source = Source::new(format!("storm-{}.ron", problem.seed), problem.ron(method, rtol, horizon));
    let scenario = match Scenario::from_source(source, &Folder::Disk(PathBuf::new()), &[]) {
        Ok(scenario) => scenario,
        Err(error) => {
            verdict.fault("refused", format!("{what}: {error}"));
            return None;
        }
    };
    let start = Instant::now();
    let mut kept = Kept::default();
    let too_long = || start.elapsed() > LONGEST;
    let simulated =
        catch_unwind(AssertUnwindSafe(|| simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &too_long)));
    let Ok(simulated) = simulated else {
        verdict.fault("panic", format!("{what}: {}", PANIC.with(|text| text.borrow().clone())));
        return None;
    };
    let (outcome, seen) = (&simulated.outcome, &simulated.observed);
    let events = &seen.events;
    verdict.details.push(format!(
        "{what}: {} at t = {}, L = {:e}, {} crossings, {} entries, {} exits, {} grazes, branch points {:?}, {} steps, {:.2} s",
        outcome.reason,
        outcome.t,
        seen.loss_final,
        events.crossing,
        events.slide_enter,
        events.slide_exit,
        events.graze,
        seen.branch_points.iter().map(|b| (b.t, b.kind, b.margin)).collect::<Vec<_>>(),
        outcome.stats.steps,
        start.elapsed().as_secs_f64()
    ));
    // Carried on for long, a flow on a plateau may need more steps than there are: that it comes to rest is not known then.
    if horizon == LATE && matches!(outcome.reason, StopReason::StepLimit { .. }) {
        verdict.notes.push("not at rest in the steps allowed");
        return None;
    }
    if !outcome.reason.is_completion() {
        let kind = if too_long() { "slow" } else { "stopped" };
        verdict.fault(kind, format!("{what}: {} at t = {}", outcome.reason, outcome.t));
        return None;
    }
    Some(Run { what, rtol, horizon, simulated, kept })
}

/// Errors of the steps add up at most. That of one is about ‖e‖ ≤ rtol·‖θ‖ + atol·√P, where atol√P should be no more than rtol‖θ‖; it changes the loss by at
/// most ‖∇L‖‖e‖, and a conserved quantity of size ‖θ‖² by 2‖θ‖‖e‖, for each of its two sides.
/// The quadrature of ‖∇L‖² is as good as the steps, and nobody asks for a loss closer than rtol.
fn identities(problem: &Problem, run: &Run, verdict: &mut Verdict) {
    let seen = &run.simulated.observed;
    let report = &seen.identities;
    let norm = |theta: &[f64]| theta.iter().map(|v| v * v).sum::<f64>().sqrt();
    let (first, last) = (norm(&problem.theta0), norm(&run.simulated.outcome.y));
    let size = first.max(last);
    let n_steps = run.simulated.outcome.stats.steps as f64;
    // A stride is one row, but counts as the steps from event to event that it stands for.
    let share = (n_steps / run.kept.rows.len() as f64).max(1.0);
    let slopes = share * run.kept.rows.iter().map(|row| row.gradient_norm).sum::<f64>();
    let rounding = 8.0 * f64::EPSILON * n_steps;
    let most = run.rtol * (1.0 + 2.0 * size * slopes / seen.loss_initial) + rounding;
    let defect = report.energy_defect;
    verdict.details.push(format!("{}: energy defect {defect:e}, up to {most:e} is due", run.what));
    if seen.loss_initial > 0.0 && defect > most {
        verdict.fault("energy", format!("{}: defect {defect:e}, up to {most:e} is due", run.what));
    }
    if let Some(drift) = report.conservation_drift {
        // Relative to what they are in the beginning, in which learned slopes have no part.
        let initially = problem.net.length_of_weights(&problem.theta0);
        let largest = initially.max(problem.net.length_of_weights(&run.simulated.outcome.y));
        let most = (8.0 * run.rtol * n_steps + rounding) * (largest / initially).powi(2);
        verdict.details.push(format!("{}: drift {drift:e}, up to {most:e} is due", run.what));
        if drift > most {
            verdict.fault("conserved", format!("{}: drift {drift:e}, up to {most:e} is due", run.what));
        }
    }
    if !report.displacement_bound_ok {
        verdict.fault("displacement", format!("{}: ratio {}", run.what, report.displacement_worst_ratio));
    }
}

/// Kind, layer, unit, sample, breakpoint, and whether it goes up.
type Key = (&'static str, usize, usize, usize, u16, bool);

/// Times of every event; grazes change nothing and are left out.
fn by_key(run: &Run) -> BTreeMap<Key, Vec<f64>> {
    let mut events: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for event in &run.kept.events {
        let kind = match event.kind {
            EventKind::Crossing => "crossing",
            EventKind::SlideEnter => "slide entry",
            EventKind::SlideExit => "slide exit",
            EventKind::Graze => continue,
        };
        let (place, up) = (event.place, event.direction == Side::Above);
        events.entry((kind, place.layer, place.unit, place.sample, event.breakpoint, up)).or_default().push(event.t);
    }
    for start in &run.simulated.observed.start {
        let (kind, place) = (if start.side.is_some() { "start" } else { "start sliding" }, start.place);
        let key = (kind, place.layer, place.unit, place.sample, start.breakpoint, start.side == Some(Side::Above));
        events.entry(key).or_default().push(0.0);
    }
    events
}

/// Events of one run that the other lacks, before `until`; those close to `until` may fall on either side of it.
fn lacking(of: &BTreeMap<Key, Vec<f64>>, in_other: &BTreeMap<Key, Vec<f64>>, until: f64) -> Vec<(f64, Key)> {
    let mut found: Vec<(f64, Key)> = Vec::new();
    for (key, times) in of {
        let n_other = in_other.get(key).map_or(0, Vec::len);
        found.extend(times.iter().skip(n_other).filter(|t| **t < until).map(|t| (*t, *key)));
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

/// The same events up to the first branch point, and the same loss at the end where there is none.
fn compare(base: &Run, other: &Run, verdict: &mut Verdict) {
    /// Events this close to a horizon or branch point, relative to its time, may be on either side of it.
    const EDGE: f64 = 1e-3;
    let horizon = base.horizon.min(other.horizon);
    let branch = base.branch().into_iter().chain(other.branch()).fold(f64::INFINITY, f64::min);
    let until = horizon.min(branch) * (1.0 - EDGE);
    let (ours, theirs) = (by_key(base), by_key(other));
    let (more, less) = (lacking(&ours, &theirs, until), lacking(&theirs, &ours, until));
    if !more.is_empty() || !less.is_empty() {
        let list = |what: &str, list: &[(f64, Key)]| format!("only {what}: {:?}", &list[..list.len().min(12)]);
        verdict.details.extend([list(&base.what, &more), list(&other.what, &less)]);
        let first =
            |list: &[(f64, Key)]| list.first().map_or("none".to_owned(), |(t, key)| format!("{key:?} at t = {t}"));
        let total = |events: &BTreeMap<Key, Vec<f64>>| events.values().map(Vec::len).sum::<usize>();
        verdict.fault(
            "events",
            format!(
                "{} has {} events, {} of its own, first {}; {} has {}, {} of its own, first {}",
                base.what,
                total(&ours),
                more.len(),
                first(&more),
                other.what,
                total(&theirs),
                less.len(),
                first(&less)
            ),
        );
    }
    /// Losses may differ by this many tolerances of the larger of the loss and a ten-thousandth of the initial one.
    const SPREAD: f64 = 1e3;
    let room = SPREAD * base.rtol.max(other.rtol) * base.loss().max(1e-4 * base.simulated.observed.loss_initial);
    if branch > horizon && (base.loss() - other.loss()).abs() > room {
        verdict.fault(
            "losses",
            format!("{} ends with L = {:e}, {} with {:e}", base.what, base.loss(), other.what, other.loss()),
        );
    }
}

/// What is held against descent: the loss at a time, reached through a branch point or not.
struct Reached {
    horizon: f64,
    loss: f64,
    initial: f64,
    is_beyond: bool,
}

impl Reached {
    fn agrees(&self, descended: &Descended) -> bool {
        descended.has_converged(self.initial) && descended.agrees(self.loss, self.initial)
    }
}

/// The loss at the end, or at an earlier time as far as descent gets.
fn reached(problem: &Problem, base: &Run, care: Care, verdict: &mut Verdict) -> Option<(Reached, f64)> {
    let net = &problem.net;
    let initial = net.loss(&problem.theta0);
    let start = base.simulated.observed.loss_initial;
    if (initial - start).abs() > 1e-12 * initial.abs() {
        verdict.fault("loss at 0", format!("{}: {start:e}, by plain loops {initial:e}", base.what));
        return None;
    }
    let curvature = net.curvature(&problem.theta0).max(net.curvature(&base.simulated.outcome.y));
    let horizon = reach(net, curvature, care.work).min(base.horizon);
    let short;
    let run = if horizon < base.horizon {
        short = run(problem, problem.methods[0], 1e-8, horizon, verdict)?;
        &short
    } else {
        base
    };
    let is_beyond = run.branch().is_some_and(|t| t < horizon);
    Some((Reached { horizon, loss: run.loss(), initial, is_beyond }, first_steps(horizon, curvature)))
}

/// Holds a run against descent from its start; where they differ, from starts nearby, and with smaller steps, before it is called the program's fault.
fn against_descent(problem: &Problem, base: &Run, care: Care, verdict: &mut Verdict) {
    let Some((flow, n_first)) = reached(problem, base, care, verdict) else { return };
    let net = &problem.net;
    let mut tell = |name: &str, d: &Descended| {
        verdict.n_descents += 1;
        verdict.details.push(format!(
            "descent ({name}) to {}: {:e}, extrapolated {:e} ± {:e} with {} steps; flow {:e}",
            flow.horizon, d.loss, d.extrapolated, d.spread, d.n_steps, flow.loss
        ));
    };
    let Some(plain) = descend(net, &problem.theta0, flow.horizon, n_first, care) else {
        verdict.notes.push("descent diverges");
        return;
    };
    tell("as it is", &plain);
    if flow.agrees(&plain) {
        return;
    }
    let mut nearby = Vec::new();
    for theta in starts_nearby(problem) {
        let Some(found) = descend(net, &theta, flow.horizon, n_first, care) else { continue };
        tell("nearby", &found);
        if flow.agrees(&found) {
            verdict.notes.push(match (problem.starts_on_kink, flow.is_beyond) {
                (true, _) => "right by a start near a kink",
                (false, true) => "right by a branch",
                (false, false) => "right by a start nearby",
            });
            return;
        }
        nearby.push(found);
    }
    // Sixteen times as many steps.
    let finer = Care { work: 21.0 * care.work, target: 0.1 * care.target };
    let finer = descend(net, &problem.theta0, flow.horizon, plain.n_steps, finer).unwrap_or(plain);
    tell("finer", &finer);
    if !finer.has_converged(flow.initial) {
        verdict.notes.push("descent not converged");
    } else if flow.agrees(&finer) {
        verdict.notes.push("right at smaller steps");
    } else {
        differs(problem, &flow, &finer, &nearby, verdict);
    }
}

/// Starts close to that of a problem, relative to its largest parameter.
fn starts_nearby(problem: &Problem) -> Vec<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(problem.seed);
    let size = problem.theta0.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let size = if size > 0.0 { size } else { 1.0 };
    let mut near = |relative: f64| -> Vec<f64> {
        problem.theta0.iter().map(|v| v + relative * size * (2.0 * rng.random::<f64>() - 1.0)).collect()
    };
    [1e-9, 1e-9, 1e-7, 1e-7, 1e-5, 1e-5].map(&mut near).to_vec()
}

/// A value that differs. Where starts nearby part from each other there are several continuations, of which they happened to show others: then a branch
/// point has to be listed.
fn differs(problem: &Problem, flow: &Reached, finer: &Descended, nearby: &[Descended], verdict: &mut Verdict) {
    let parts = |a: &Descended, b: &Descended| (a.extrapolated - b.extrapolated).abs() > 2.0 * (a.spread + b.spread);
    let is_distinct = |a: &Descended| nearby.iter().any(|b| parts(a, b) && !b.agrees(a.extrapolated, flow.initial));
    let are_several = nearby.iter().filter(|d| is_distinct(d)).count() > 1;
    let kind = match (are_several, flow.is_beyond) {
        (true, true) => {
            verdict.notes.push("one of several continuations, beyond a branch point");
            return;
        }
        (true, false) => "one of several continuations, no branch point",
        (false, true) => "wrong value beyond a branch point",
        (false, false) => "wrong value",
    };
    let text = format!(
        "at t = {} L = {:e}, descent {:e} ± {:e} with {} steps ({:.2e} of it off){}",
        flow.horizon,
        flow.loss,
        finer.extrapolated,
        finer.spread,
        finer.n_steps,
        (flow.loss - finer.extrapolated) / finer.scale(flow.initial),
        if problem.starts_on_kink { ", starts on a kink" } else { "" },
    );
    verdict.fault(kind, text);
}

/// Long after rest: two methods see the same events, and none after the gradient has fallen to rounding.
fn long(problem: &Problem, verdict: &mut Verdict) {
    /// Of the largest ‖∇L‖: what is left is rounding, or nearly.
    const REST: f64 = 1e-11;
    let methods = ["Auto", if problem.seed.is_multiple_of(2) { "EventByEvent" } else { "Esdirk54" }];
    let runs: Vec<Run> = methods.iter().filter_map(|method| run(problem, method, 1e-8, LATE, verdict)).collect();
    for run in &runs {
        let largest = run.kept.rows.iter().map(|row| row.gradient_norm).fold(0.0, f64::max);
        let awake = run.kept.rows.iter().filter(|row| row.gradient_norm > REST * largest).map(|row| row.t);
        let rest = awake.fold(0.0, f64::max);
        // An event at the very end of being awake belongs to it.
        let late: Vec<f64> = run.kept.events.iter().map(|e| e.t).filter(|t| *t > rest * (1.0 + 1e-3)).collect();
        if let Some(t) = late.first().filter(|_| problem.horizon < rest || rest > 0.0) {
            verdict.fault("events at rest", format!("{}: {} after t = {rest}, first at t = {t}", run.what, late.len()));
        }
    }
    if let [one, other] = &runs[..] {
        compare(one, other, verdict);
    }
}
