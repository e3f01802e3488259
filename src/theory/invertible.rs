//! Lemma 2.1: the flow map is invertible almost everywhere.
//!
//! Without slides the flow is run back from Φ_T θ₀. Backwards errors grow like exp ∫λ_max(G), so that T is cut where that growth reaches
//! [`MOST_GROWTH`]. With slides the map is not invertible: all starts near θ₀ that enter the same slides arrive on the same surfaces.

use super::evidence::{Evidence, distance};
use super::reversed::Reversed;
use super::row::{Claim, ClaimRow, Verdict, count};
use crate::flow::FlowField;
use crate::ntk::ends;
use crate::ode::tableau::DOP853;
use crate::ode::{ExplicitRk, Observer, Options, Outcome, PiecewiseField, StepView, StopReason, WrmsNorm, integrate};
use crate::vector::max_abs;
use std::ops::ControlFlow;

const CLAIM: Claim =
    Claim { id: "invertible", title: "Lemma 2.1: the flow map is invertible; Φ₋ₜ(Φₜ θ₀) = θ₀" };

/// Growth of errors up to which the way back is followed.
const MOST_GROWTH: f64 = 1e5;

/// Tolerances of both ways.
const NORM: WrmsNorm = WrmsNorm { rtol: 1e-12, atol: 1e-14 };

/// Steps after which a way is given up.
const MOST_STEPS: u64 = 100_000;

/// Most products with ∇²L for its largest eigenvalue at a step, and how closely, relatively, that is wanted.
const PRODUCTS: usize = 40;
const ROUGH: f64 = 1e-2;

/// A tolerance above this part of the way travelled says nothing.
const COARSE: f64 = 0.01;

/// ‖Φ₋ₜ(Φₜ θ₀) − θ₀‖ against the errors of both ways, or the dimension that slides have lost.
pub(super) fn invertible(evidence: &Evidence) -> ClaimRow {
    if let Some(why) = evidence.contradiction(|witness| witness.most_sliding.is_some(), "units slide") {
        return CLAIM.row(Verdict::Unresolved, why);
    }
    if let Some(most) = &evidence.witness.most_sliding {
        let lost = evidence.witness.codimension(most);
        let meaning = format!(
            "the flow slid, so its map is not invertible: at t = {:.6} it has mapped a neighbourhood of θ₀ into an intersection of {}, and \
             lost at least {} of {}",
            most.t,
            count(most.switches.len(), "switching surface"),
            count(lost, "dimension"),
            evidence.problem.theta0.len()
        );
        return CLAIM.row(Verdict::Violated, meaning).measured(lost as f64, 0.0).shown_in("events.csv");
    }
    let Some((horizon, growth)) = horizon(evidence) else {
        return CLAIM.row(
            Verdict::Unresolved,
            "λ_max was not tracked, so that the growth of errors on the way back is unknown",
        );
    };
    round_trip(evidence, horizon, growth)
}

fn round_trip(evidence: &Evidence, horizon: f64, growth: f64) -> ClaimRow {
    let theta0 = &evidence.problem.theta0;
    let mut field = evidence.field();
    let there = run(&mut field, theta0, horizon);
    let back = run(&mut Reversed(field), &there.y, horizon);
    let figure = distance(&back.y, theta0);
    let travelled = distance(&there.y, theta0);
    // Each step adds an error of up to one tolerance, of which the way back makes `growth` at most.
    let size = max_abs(theta0).max(max_abs(&there.y));
    let per_step = (NORM.atol + NORM.rtol * size) * (theta0.len() as f64).sqrt();
    let made = per_step * (there.stats.steps + back.stats.steps) as f64;
    let tolerance = growth * made;
    let is_whole = horizon >= evidence.t_end();
    let how_far = if is_whole { "the whole run".to_owned() } else { format!("[0, {horizon:.6}]") };
    let finished = [&there, &back].iter().all(|way| way.reason.is_completion());
    let gone = |way: &Outcome| matches!(way.reason, StopReason::NonFinite { .. } | StopReason::StepTooSmall { .. });
    let misses = there.reason.is_completion() && (gone(&back) || finished && figure > tolerance);
    // Before something is said to be forgotten, all that lets errors grow is looked at.
    let whole = if misses && tolerance <= COARSE * travelled { whole_growth(evidence, horizon) } else { growth };
    let (verdict, meaning) = if misses && whole * made > COARSE * travelled {
        let meaning = format!(
            "over {how_far} errors grow by up to {whole:.1e}, with all of ∇²L and not G alone, too much against the {travelled:.3e} travelled"
        );
        (Verdict::Unresolved, meaning)
    } else if there.reason.is_completion() && gone(&back) {
        // Amplified errors are far from that: the flow has been where it cannot be told when it came.
        let meaning =
            format!("back from the end of {how_far} the flow runs away and does not return to θ₀: {}", back.reason);
        (Verdict::Violated, meaning)
    } else if !finished {
        let stopped = if there.reason.is_completion() { &back } else { &there };
        (Verdict::Unresolved, format!("on the way over {how_far} and back: {}", stopped.reason))
    } else if tolerance > COARSE * travelled {
        let meaning =
            format!("over {how_far} errors grow by {growth:.1e}, too much against the {travelled:.3e} travelled");
        (Verdict::Unresolved, meaning)
    } else {
        let verdict = if figure <= tolerance { Verdict::Holds } else { Verdict::Violated };
        if verdict == Verdict::Violated {
            let meaning = format!(
                "over {how_far} and back the flow misses θ₀ by {figure:.2e}, more than errors amplified {growth:.1e} times explain: something \
                 on the way, such as a unit that dies on its kink, was forgotten"
            );
            return CLAIM.row(verdict, meaning).measured(figure, tolerance).shown_in("events.csv");
        }
        let rest = if is_whole { "" } else { "; behind that the way back amplifies errors too much to follow" };
        let meaning = format!(
            "over {how_far} and back the flow misses θ₀ by {figure:.2e} after travelling {travelled:.3e}, with errors amplified up to \
             {growth:.1e} times{rest}"
        );
        (verdict, meaning)
    };
    // Where the way back breaks off has no meaning.
    let figure = if finished { figure } else { f64::NAN };
    CLAIM.row(verdict, meaning).measured(figure, tolerance).shown_in("theta.npy")
}

/// Growth of errors on the way back by all of ∇²L and not by its Gauss–Newton part alone: on a plateau the rest is what counts.
fn whole_growth(evidence: &Evidence, horizon: f64) -> f64 {
    let mut curvature = Curvature { field: evidence.field(), exponent: 0.0, rate: 0.0 };
    watched(&mut evidence.field(), &evidence.problem.theta0, horizon, &mut curvature);
    curvature.exponent.exp()
}

/// Adds up the largest eigenvalue of ∇²L along a run.
struct Curvature {
    field: FlowField,
    exponent: f64,
    /// At the end of the last step.
    rate: f64,
}

impl Observer<FlowField> for Curvature {
    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        let Self { field, exponent, rate } = self;
        let (mode, mut dy) = (step.end.mode, vec![0.0; step.end.y.len()]);
        let here = field.eval(step.end.y, mode, &mut dy).ok().and_then(|()| {
            let product = |v: &[f64]| {
                let mut out = vec![0.0; v.len()];
                field.hessian_product(mode, v, &mut out);
                out
            };
            ends(&dy, (ROUGH, 1.0), PRODUCTS, product)
        });
        let here = here.map_or(f64::INFINITY, |(_, high)| high.value.max(0.0));
        *exponent += step.length * here.max(*rate);
        *rate = here;
        ControlFlow::Continue(())
    }
}

fn run<F: PiecewiseField>(field: &mut F, from: &[f64], horizon: f64) -> Outcome {
    watched(field, from, horizon, &mut ())
}

fn watched<F: PiecewiseField>(field: &mut F, from: &[f64], horizon: f64, observer: &mut dyn Observer<F>) -> Outcome {
    let options =
        Options { t_end: horizon, norm: NORM, max_steps: MOST_STEPS, fixed_step: None, retake: true, strides: false };
    let mut stepper = ExplicitRk::new(&DOP853, from.len());
    integrate(field, &mut stepper, from, &options, &mut [], observer)
}

/// How far errors stay below [`MOST_GROWTH`] on the way back, and their growth there.
fn horizon(evidence: &Evidence) -> Option<(f64, f64)> {
    let most = MOST_GROWTH.ln();
    let (mut exponent, mut t_before, mut rate_before) = (0.0, 0.0, evidence.rows.first()?.lambda_max?);
    for row in &evidence.rows[1..] {
        let rate = row.lambda_max?;
        // Between rows the larger of both ends bounds a monotone λ_max.
        let rate_here = rate.max(rate_before);
        let added = rate_here * (row.t - t_before);
        if exponent + added > most {
            return Some((t_before + (most - exponent) / rate_here, MOST_GROWTH));
        }
        exponent += added;
        (t_before, rate_before) = (row.t, rate);
    }
    Some((evidence.t_end(), exponent.exp()))
}
