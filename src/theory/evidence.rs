//! What the claims are judged by: a run with everything it told.
//!
//! All fields are public so that a record can be altered and judged again. Next: the claims, one file each.

use super::row::Verdict;
use super::witness::Witness;
use crate::flow::FlowField;
use crate::ntk::bound::{RATIO_TOL, kept_to};
use crate::observe::{ConservedRow, EventRow, Level, Path, Row, Sink, StepRow};
use crate::ode::{NonFinite, PiecewiseField};
use crate::scenario::{Atol, Plan, Problem, SavePlan, Stop, Track};
use crate::simulate::{Simulated, Watch, norm_of, simulate, simulate_beside};
use crate::vector::norm;
use std::cell::OnceCell;
use std::io;

/// Lists of events do not depend on the tolerance up to this rtol.
const CLOSE: f64 = 1e-7;

/// rtol of runs that confirm looser ones.
const CLOSER: f64 = 1e-8;

/// A run, and all it told.
pub struct Evidence<'a> {
    /// What was simulated.
    pub problem: &'a Problem,
    /// How.
    pub plan: &'a Plan,
    /// Threads that further runs may use.
    pub n_threads: usize,
    /// Asked now and then by long claims.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Outcome and observations.
    pub run: Simulated,
    /// The trajectory.
    pub rows: Vec<Row>,
    /// The list of events.
    pub events: Vec<EventRow>,
    /// θ at the save times and at the end.
    pub saved: Vec<(f64, Vec<f64>)>,
    /// What the record does not have.
    pub witness: Witness,
    confirmation: OnceCell<Option<Witness>>,
}

impl<'a> Evidence<'a> {
    /// Runs the flow of `problem` as `plan` says; rows go to `sink` as well. If λ_min is followed, then at every event: several claims are
    /// about its values, or those of λ_max, at particular rows.
    pub fn gather(
        problem: &'a Problem,
        plan: &'a Plan,
        n_threads: usize,
        sink: &mut dyn Sink,
        interrupted: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let field = FlowField::with_loss(problem.network.clone(), &problem.data, problem.loss);
        let mut witness = Witness::new(field, problem.data.n_targets(), plan.track.is_on());
        let mut kept = Kept { sink, rows: Vec::new(), events: Vec::new(), saved: Vec::new() };
        let track = if plan.track.is_on() { Track::EveryEvent } else { Track::Off };
        let closely = Plan { track, ..plan.clone() };
        let run = simulate_beside(problem, &closely, n_threads, Watch { sink: &mut kept, interrupted }, &mut witness);
        let Kept { rows, events, saved, .. } = kept;
        let confirmation = OnceCell::new();
        Self { problem, plan, n_threads, interrupted, run, rows, events, saved, witness, confirmation }
    }

    /// The field of this flow.
    pub fn field(&self) -> FlowField {
        FlowField::with_loss(self.problem.network.clone(), &self.problem.data, self.problem.loss)
    }

    /// Another run, as `plan` says, to `horizon` with θ saved at `times`; its θs and what it showed.
    pub(super) fn another(
        &self,
        problem: &Problem,
        plan: &Plan,
        horizon: f64,
        times: Vec<f64>,
    ) -> (Simulated, Vec<(f64, Vec<f64>)>) {
        let plan = Plan { until: vec![Stop::Time(horizon)], save: SavePlan::Times(times), ..plan.clone() };
        let mut kept = Kept { sink: &mut (), rows: Vec::new(), events: Vec::new(), saved: Vec::new() };
        let run = simulate(problem, &plan, self.n_threads, &mut kept, self.interrupted);
        (run, kept.saved)
    }

    /// Time at the end of the run.
    pub fn t_end(&self) -> f64 {
        self.run.outcome.t
    }

    /// Why the claims about the squared error with P ≥ nM and distinct inputs do not apply; `None` when they do.
    pub fn beyond_theorem(&self) -> Option<String> {
        let (p, n) = (self.problem.network.n_parameters(), self.problem.data.n_targets());
        if let Some(reason) = self.problem.loss.beyond_theory() {
            Some(reason.to_owned())
        } else if p < n {
            Some(format!("it asks for P ≥ nM, and {p} < {n}"))
        } else if self.problem.data.merged().has_duplicates() {
            Some("some samples share an input, which it excludes".to_owned())
        } else {
            None
        }
    }

    /// Largest ‖r_t‖ / (e^{−rate·(t − t₀)}‖r_{t₀}‖) over the rows behind t₀, and what that says of such a decay. `None` without such rows.
    pub(super) fn decay_ratio(&self, rate: f64, t_start: f64) -> Option<(f64, Verdict)> {
        let first = self.rows.iter().position(|row| row.t >= t_start)?;
        let start = &self.rows[first];
        let room = kept_to(self.plan.rtol) * self.rows[0].residual_norm;
        // Times are sums of lengths, each rounded to the last digit.
        let rounding = rate * f64::EPSILON * self.rows.len() as f64;
        let mut worst: Option<(f64, Verdict)> = None;
        for row in self.rows[first..].iter().filter(|row| row.t > start.t) {
            let bound = (-rate * (row.t - start.t)).exp() * start.residual_norm;
            let ratio = if row.residual_norm == 0.0 { 0.0 } else { row.residual_norm / bound };
            let allowed = || self.run.observed.checked.around(bound * (rounding * row.t).exp());
            let here = if row.residual_norm <= bound * (1.0 + RATIO_TOL) + room {
                Verdict::Holds
            } else if row.residual_norm <= allowed() * (1.0 + RATIO_TOL) + room {
                Verdict::Unresolved
            } else {
                Verdict::Violated
            };
            let (largest, verdict) = worst.unwrap_or((0.0, Verdict::Holds));
            worst = Some((ratio.max(largest), worse(verdict, here)));
        }
        worst
    }

    /// Whether events of this run may be those of its tolerances and not of the flow.
    pub(super) fn is_loose(&self) -> bool {
        self.plan.rtol > CLOSE || self.run.observed.accuracy.level() != Level::Good
    }

    /// Whether steps may be so long that neither quadratures nor estimates of their errors mean anything: at loose tolerances explicit methods
    /// go to the limit of stability.
    pub(super) fn is_coarse(&self) -> bool {
        let size = norm(&self.run.outcome.y);
        norm_of(self.plan).relative_to(size, self.problem.theta0.len()) > CLOSE
    }

    /// The plan with tolerances that can be relied on from this start.
    pub(super) fn closer(&self) -> Plan {
        Plan { rtol: self.plan.rtol.min(CLOSER), atol: Atol::Auto, ..self.plan.clone() }
    }

    /// What a closer run over the same time stood on, where this one is loose: `Some(None)` where that did not come to its end. `None` where this
    /// run needs no second one.
    pub(super) fn confirmation(&self) -> Option<Option<&Witness>> {
        if !self.is_loose() {
            return None;
        }
        let seen = self.confirmation.get_or_init(|| {
            let mut witness = Witness::new(self.field(), self.problem.data.n_targets(), false);
            let plan = Plan {
                until: vec![Stop::Time(self.t_end())],
                track: Track::Off,
                save: SavePlan::Times(Vec::new()),
                ..self.closer()
            };
            let watch = Watch { sink: &mut (), interrupted: self.interrupted };
            let run = simulate_beside(self.problem, &plan, self.n_threads, watch, &mut witness);
            run.outcome.reason.is_completion().then_some(witness)
        });
        Some(seen.as_ref())
    }

    /// Why what a loose run shows cannot be relied on, where a closer one shows something else.
    pub(super) fn contradiction(&self, shows: impl Fn(&Witness) -> bool, what: &str) -> Option<String> {
        let rtol = self.plan.rtol;
        match self.confirmation()? {
            None => Some(format!("this run is loose, and a closer one, which has to confirm that {what}, did not end")),
            Some(closer) => (shows(closer) != shows(&self.witness)).then(|| {
                let (here, there) = if shows(closer) { ("not", "it is") } else { ("so", "it is not") };
                format!("at rtol {rtol:e} it is {here} that {what}, and in a closer run {there}")
            }),
        }
    }
}

/// The worse of two verdicts on a decay.
fn worse(a: Verdict, b: Verdict) -> Verdict {
    let rank = |verdict| match verdict {
        Verdict::Violated => 2,
        Verdict::Unresolved => 1,
        Verdict::Holds | Verdict::Vacuous | Verdict::DoesNotApply => 0,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// θ̇ and L at θ, pieces read off the values.
///
/// # Errors
/// When a value is not finite.
pub(super) fn evaluate(field: &mut FlowField, theta: &[f64]) -> Result<(Vec<f64>, f64), NonFinite> {
    let mode = field.mode_from_values(theta);
    let mut dy = vec![0.0; theta.len()];
    field.eval(theta, &mode, &mut dy)?;
    let loss = field.sample(&dy).loss;
    Ok((dy, loss))
}

/// ‖a − b‖.
pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// Keeps what it hands on.
struct Kept<'a> {
    sink: &'a mut dyn Sink,
    rows: Vec<Row>,
    events: Vec<EventRow>,
    saved: Vec<(f64, Vec<f64>)>,
}

impl Sink for Kept<'_> {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.rows.push(*row);
        self.sink.row(row)
    }

    fn event(&mut self, rows: &[EventRow]) -> io::Result<()> {
        self.events.extend_from_slice(rows);
        self.sink.event(rows)
    }

    fn theta(&mut self, t: f64, theta: &[f64]) -> io::Result<()> {
        self.saved.push((t, theta.to_vec()));
        self.sink.theta(t, theta)
    }

    fn step(&mut self, row: &StepRow) -> io::Result<()> {
        self.sink.step(row)
    }

    fn eigenvalues(&mut self, t: f64, eigenvalues: &[f64]) -> io::Result<()> {
        self.sink.eigenvalues(t, eigenvalues)
    }

    fn path(&mut self, path: &Path) -> io::Result<()> {
        self.sink.path(path)
    }

    fn conserved(&mut self, rows: &[ConservedRow]) -> io::Result<()> {
        self.sink.conserved(rows)
    }
}
