//! `summary.json`: one object that says what ran, how it ended, and what was found.
//!
//! What is not known yet while the run is under way is null, and so is what is not finite: JSON has no word for it.

use super::error::RecordError;
use super::table::Direction;
use super::{file, json};
use crate::scenario::{Atol, Plan, Problem};
use crate::simulate::coarse_blocks;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the record's types.
pub const SCHEMA: u64 = 1;

/// The content of `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
    /// Whether the run is under way, did what was asked for, or stopped early.
    pub status: Status,
    /// Why it ended, in one snake-case word such as `horizon` or `step_limit`.
    pub stop_reason: Option<String>,
    /// The same as a sentence.
    pub stop_message: Option<String>,
    /// Time reached.
    pub t_end: Option<f64>,
    /// P.
    pub parameters: usize,
    /// nM.
    pub targets: usize,
    /// Number of switching surfaces.
    pub surfaces: usize,
    /// Name of the loss.
    pub loss: String,
    /// Tolerances of the error control.
    pub tolerances: Tolerances,
    /// How far the run can be trusted; null in older records, and before the end.
    #[serde(default)]
    pub accuracy: Option<AccuracySummary>,
    /// From when on the flow was at rest; null where it was not, and in older records.
    #[serde(default)]
    pub rest: Option<RestSummary>,
    /// L(θ_0).
    pub loss_initial: Option<f64>,
    /// L at the end.
    pub loss_final: Option<f64>,
    /// ‖r_0‖.
    pub residual_initial: Option<f64>,
    /// ‖r‖ at the end.
    pub residual_final: Option<f64>,
    /// λ₀; null when the spectrum was not tracked.
    pub lambda0: Option<LambdaSummary>,
    /// Where λ_min was measured; null when the spectrum was not tracked.
    #[serde(default)]
    pub tracking: Option<TrackingSummary>,
    /// Estimates of both ends of the spectrum, in the order of time, where these were asked for instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub estimates: Vec<EstimateSummary>,
    /// Verdicts on the bounds.
    pub bound: Option<BoundSummary>,
    /// Counts of events.
    pub events: Option<EventSummary>,
    /// What the run cost.
    pub work: Option<WorkSummary>,
    /// How well the identities of the flow hold.
    pub identities: Option<IdentitySummary>,
    /// Units that started on a breakpoint.
    pub start: Vec<StartSummary>,
    /// Instants beyond which the result depends on the last digits, or on a choice.
    pub branch_points: Vec<BranchSummary>,
    /// The audit; null unless asked for.
    pub audit: Option<AuditSummary>,
    /// Seconds of wall time.
    pub wall_seconds: Option<f64>,
}

/// Both ends of the spectrum of G at an instant, estimated without G.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EstimateSummary {
    /// Time.
    pub t: f64,
    /// λ_min is at most this.
    pub lambda_min_at_most: Option<f64>,
    /// Some eigenvalue, which may be another one, is within this of it.
    pub residual: Option<f64>,
    /// λ_max, probably; it is at least this.
    pub lambda_max: Option<f64>,
    /// Products with G that this took.
    pub products: u64,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Under way, or killed.
    Running,
    /// It did what was asked for.
    Completed,
    /// It stopped early; the record is good up to `t_end`.
    Stopped,
}

/// Tolerances of the error control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// Relative.
    pub rtol: f64,
    /// Absolute: a number, or `Auto`.
    pub atol: Atol,
    /// Blocks of parameters for which that number is more than rtol times their scale at the start.
    #[serde(default)]
    pub coarse_for: Vec<CoarseBlock>,
}

impl Tolerances {
    /// Those of a plan.
    pub fn of(problem: &Problem, plan: &Plan) -> Self {
        let coarse = coarse_blocks(problem, plan).into_iter();
        let coarse_for =
            coarse.map(|b| CoarseBlock { layer: b.layer, block: b.kind.to_owned(), scale: b.scale }).collect();
        Self { rtol: plan.rtol, atol: plan.atol, coarse_for }
    }

    /// What to say where the absolute tolerance is too coarse for a block, and what to do about it.
    pub fn warning(&self) -> Option<(String, String)> {
        let finest = self.coarse_for.iter().map(|b| b.scale).fold(f64::INFINITY, f64::min);
        let places: Vec<String> =
            self.coarse_for.iter().map(|b| format!("layer {} {} ({:.1e})", b.layer, b.block, b.scale)).collect();
        let text = format!(
            "flow.atol = {} is more than flow.rtol times the scale of {}: relative errors there may exceed flow.rtol",
            self.atol,
            places.join(", ")
        );
        let hint = format!("leave flow.atol out, or set it to Auto or below {:.1e}", self.rtol * finest);
        (!places.is_empty()).then_some((text, hint))
    }
}

/// A block of parameters for which the absolute tolerance is too coarse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoarseBlock {
    /// Layer, from 1.
    pub layer: usize,
    /// `weights`, `biases` or `slope`.
    pub block: String,
    /// Its scale at the start.
    pub scale: f64,
}

/// Whether a run reached what its tolerances promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccuracySummary {
    /// `good`, `doubtful` or `broken`.
    pub verdict: String,
    /// What was found, in words.
    pub reason: String,
    /// What to set; null for a good run.
    pub hint: Option<String>,
}

impl AccuracySummary {
    /// Reason and hint in a line.
    pub fn text(&self) -> String {
        let hint = self.hint.as_ref().map_or(String::new(), |hint| format!(" (set {hint})"));
        format!("{}{hint}", self.reason)
    }
}

/// λ₀, the minimum of λ_min over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LambdaSummary {
    /// λ₀ ≥ 0.
    pub value: Option<f64>,
    /// Where it is attained.
    pub t: f64,
    /// `smooth`, `before` or `after` an event.
    pub side: String,
    /// It is known up to about this, as far as this run's own G is concerned.
    pub resolution: Option<f64>,
    /// λ₀ of the flow is known up to about this: the resolution and what the errors of the run do to it; null in older records.
    #[serde(default)]
    pub known_to: Option<f64>,
    /// Whether it is positive beyond doubt.
    pub resolved: bool,
    /// Numerical rank of G there, of nM.
    pub rank: usize,
    /// Whether `rank` is that of a spectrum; else it is a bound, since λ_min = 0 was known without one.
    #[serde(default = "always")]
    pub rank_is_measured: bool,
    /// Whether the spectrum has a clear gap at that rank.
    pub rank_is_clear: bool,
    /// Why it is zero by structure: `too_few_parameters`, `duplicate_inputs` or null.
    pub structural_zero: Option<String>,
}

/// Ranks of older records.
fn always() -> bool {
    true
}

impl LambdaSummary {
    /// The rank in words, of `targets` (nM).
    pub fn rank_of(&self, targets: usize) -> String {
        let word = if self.rank_is_measured { "rank" } else { "rank at most" };
        format!("{word} {} of {targets}", self.rank)
    }
}

/// Where λ_min was measured along a run: at the ends of steps and on both sides of events, or at some of them. Between these the record rests on
/// estimates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackingSummary {
    /// `adaptive` or `every-event`.
    pub cadence: String,
    /// At how many of them λ_min was measured.
    pub measured: u64,
    /// At how many it was left out.
    pub skipped: u64,
    /// Certified lower bound on λ_min at all that were left out, at least λ₀; null when none was.
    pub skipped_above: Option<f64>,
    /// ∫λ_min over the run may be higher by this than the value in the integral bound, because of those left out.
    pub integral_room: Option<f64>,
}

/// Verdicts: `holds`, `violated`, `vacuous` or `unresolved`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoundSummary {
    /// On ‖r_t‖ ≤ e^{−λ₀t}‖r_0‖.
    pub verdict: String,
    /// Largest quotient of the two sides over t > 0.
    pub worst_ratio: Option<f64>,
    /// Where.
    pub worst_t: Option<f64>,
    /// The reason in words.
    pub reason: String,
    /// On ‖r_t‖ ≤ exp(−∫λ_min)‖r_0‖.
    pub integral_verdict: String,
    /// Largest quotient of the two sides over t > 0.
    pub integral_worst_ratio: Option<f64>,
    /// The reason in words.
    pub integral_reason: String,
}

impl BoundSummary {
    /// Whether either bound is violated.
    pub fn is_violated(&self) -> bool {
        self.verdict == "violated" || self.integral_verdict == "violated"
    }
}

/// Counts of events, on original samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventSummary {
    /// Crossings.
    pub crossing: u64,
    /// Slide entries.
    pub slide_enter: u64,
    /// Slide exits.
    pub slide_exit: u64,
    /// Grazes.
    pub graze: u64,
    /// Instants at which more than one switch changed.
    pub simultaneous: u64,
    /// Largest number of units sliding at once.
    pub max_sliding: u64,
    /// Smallest time between two instants.
    pub smallest_gap: Option<f64>,
}

impl EventSummary {
    /// Changes of all kinds.
    pub fn total(&self) -> u64 {
        self.crossing + self.slide_enter + self.slide_exit + self.graze
    }
}

/// Counters; each equals the number of calls made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkSummary {
    /// Accepted steps, those cut short at events included; a stride counts as the steps from event to event that it stands for.
    pub steps: u64,
    /// Strides, which hold any number of events.
    #[serde(default)]
    pub strides: u64,
    /// Rejected attempts.
    pub rejected: u64,
    /// Evaluations of the gradient over all samples.
    pub gradient_evaluations: u64,
    /// Evaluations of all switching rates: one Jacobian–vector product over all samples each. Decay estimates are apart.
    pub jvp_evaluations: u64,
    /// Evaluations of one switching value, on one sample.
    pub single_value_evaluations: u64,
    /// Estimates of the decay rate, about one gradient each.
    pub decay_estimates: u64,
    /// Linearisations of the flow, by implicit methods.
    #[serde(default)]
    pub linearisations: u64,
    /// Solves with one, a Jacobian–vector and a vector–Jacobian product each.
    #[serde(default)]
    pub linear_solves: u64,
    /// Changes between an explicit and an implicit method.
    #[serde(default)]
    pub method_switches: u64,
    /// Gram matrices formed.
    pub gram_evaluations: u64,
    /// Eigenvalue or singular value decompositions.
    pub eigen_solves: u64,
    /// The method.
    pub method: String,
}

/// Identities of every exact gradient flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdentitySummary {
    /// Largest |L(0) − L(t) − ∫‖∇L‖²| / L(0).
    pub energy_defect: Option<f64>,
    /// Whether ‖w_in‖² + b² − ‖w_out‖² is conserved for some hidden channel.
    pub conserved: bool,
    /// For how many.
    #[serde(default)]
    pub n_conserved: usize,
    /// Why for none: what in the architecture or the activation forbids such a law.
    #[serde(default)]
    pub none_conserved_because: Option<String>,
    /// Largest relative change of those; null where nothing is conserved.
    pub conservation_drift: Option<f64>,
    /// The same relative to the size of their terms, at that time or at the start, whichever is larger: it says how exact the run is where weights
    /// grow from a tiny start.
    #[serde(default)]
    pub drift_of_terms: Option<f64>,
    /// Whether ‖θ(t) − θ_0‖² ≤ t·(L(0) − L(t)) held throughout.
    pub displacement_bound_ok: bool,
    /// Largest quotient of the two sides.
    pub displacement_worst_ratio: Option<f64>,
    /// ‖θ − θ_0‖ at the end.
    pub displacement: Option<f64>,
}

impl IdentitySummary {
    /// The drift to tell, and what it is relative to: records of earlier versions know only that from the start.
    pub fn drift(&self) -> (Option<f64>, &'static str) {
        match self.drift_of_terms {
            Some(drift) => (Some(drift), "of their terms"),
            None => (self.conservation_drift, "of the largest at the start"),
        }
    }
}

/// A unit that started on a breakpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartSummary {
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit, from 0.
    pub unit: usize,
    /// Sample, from 0.
    pub sample: usize,
    /// Breakpoint, from 0.
    pub breakpoint: usize,
    /// Where it goes; null when it slides.
    pub direction: Option<Direction>,
}

/// A branch point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BranchSummary {
    /// Time.
    pub t: f64,
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit, from 0.
    pub unit: usize,
    /// Sample, from 0.
    pub sample: usize,
    /// Breakpoint, from 0.
    pub breakpoint: usize,
    /// `repelling_start`, `lost_attraction`, `narrow_exit`, `near_miss`, `narrow_crossing`, `several_ways` or `regularised`.
    pub kind: String,
    /// Relative distance from the other continuation; 0 when both solve the equations.
    pub margin: Option<f64>,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditSummary {
    /// Times at which every surface was checked again.
    pub checked: u64,
    /// Times at which some surface was on the wrong side.
    pub missed: u64,
    /// Largest distance beyond a boundary, relative to the scale of the switch.
    pub deepest: Option<f64>,
}

impl Summary {
    /// Replaces `summary.json` in a folder at one stroke: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), RecordError> {
        json::write(folder, file::SUMMARY, self)
    }

    /// Reads `summary.json` of a folder.
    ///
    /// # Errors
    /// [`RecordError::NotARun`] when there is none, [`RecordError::Schema`], [`RecordError::Malformed`], [`RecordError::Io`].
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(file::SUMMARY);
        let not_a_run = |reason| RecordError::NotARun { path: folder.to_path_buf(), reason };
        if !folder.exists() {
            return Err(not_a_run("there is no such folder"));
        }
        if !path.is_file() {
            return Err(not_a_run("it has no summary.json"));
        }
        let text = json::text(&path)?;
        let value: serde_json::Value = json::parse(&path, &text)?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            None => Err(not_a_run("its summary.json has no `schema`")),
            Some(SCHEMA) => json::parse(&path, &text),
            Some(found) => Err(RecordError::Schema { path, expected: SCHEMA, found }),
        }
    }
}

/// A flow at rest: ∇L is nothing but rounding, and stays so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RestSummary {
    /// From when on.
    pub t: f64,
    /// ‖∇L‖ there.
    pub gradient_norm: f64,
    /// Its rounding noise.
    pub noise: f64,
}

impl RestSummary {
    /// In words.
    pub fn text(&self) -> String {
        format!(
            "at rest from t = {} on: ‖∇L‖ = {:.1e}, of which {:.1e} is rounding",
            self.t, self.gradient_norm, self.noise
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back_as_they_were_written() {
        // The first of these is one unit in the last place off with serde_json's fast reader.
        for x in [0.009_955_296_589_342_487, 2.583_239_481_872_156, 1e-300, f64::MIN_POSITIVE, 0.1 + 0.2] {
            let tolerances = Tolerances { rtol: x, atol: Atol::Number(-x), coarse_for: Vec::new() };
            let text = serde_json::to_string(&tolerances).expect("numbers can be written");
            assert_eq!(serde_json::from_str::<Tolerances>(&text).expect("and read"), tolerances, "{text}");
        }
    }

    #[test]
    fn a_summary_from_before_samples_were_left_out_can_be_read() {
        let text = r#"{"schema": 1, "scenario": "s", "seed": 0, "version": "0.1.0", "status": "running", "stop_reason": null,
            "stop_message": null, "t_end": null, "parameters": 1, "targets": 1, "surfaces": 1, "loss": "squared error",
            "tolerances": {"rtol": 1e-8, "atol": 1e-10}, "loss_initial": null, "loss_final": null, "residual_initial": null,
            "residual_final": null, "lambda0": null, "bound": null, "events": null, "work": null, "identities": null, "start": [],
            "branch_points": [], "audit": null, "wall_seconds": null}"#;
        let summary: Summary = serde_json::from_str(text).expect("it can be read");
        assert_eq!((summary.lambda0, summary.tracking), (None, None));
    }

    #[test]
    fn work_without_the_counters_of_implicit_methods_can_be_read() {
        let text = r#"{"steps": 9, "rejected": 1, "gradient_evaluations": 60, "jvp_evaluations": 9, "single_value_evaluations": 4,
            "decay_estimates": 2, "gram_evaluations": 10, "eigen_solves": 10, "method": "Tsit5"}"#;
        let work: WorkSummary = serde_json::from_str(text).expect("it can be read");
        assert_eq!((work.steps, work.linearisations, work.linear_solves, work.method_switches), (9, 0, 0, 0));
    }
}
