//! Lemma 2.1: the flow is put together from pieces, each begun where the one before was left.
//!
//! The record is replayed: from the pieces of θ₀, every event must start in the piece that the events before it have led to, and at every
//! saved θ each pre-activation, computed anew, must lie in the piece that they say. An event that was missed shows in both.

use super::evidence::{Evidence, evaluate};
use super::row::{Claim, ClaimRow, Verdict, count};
use crate::flow::FlowField;
use crate::net::{Backward, Place};
use crate::observe::EventRow;
use crate::ode::{EventKind, PiecewiseField, Side, StopReason};
use crate::simulate::norm_of;
use crate::vector::norm;
use std::collections::HashMap;

const CLAIM: Claim = Claim {
    id: "pieces",
    title: "Lemma 2.1: the flow exists and is solved piece by piece, restarted at each exit point",
};

/// A pre-activation this far outside its piece, relative to its layer's largest, is in another piece; at least, and in units of rtol.
const OUTSIDE: (f64, f64) = (1e-8, 1e3);

/// Where a unit is according to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    In(u16),
    /// Sliding on this breakpoint.
    On(u16),
}

/// Number of events and of saved pre-activations that do not fit the record; 0 is what holds.
pub(super) fn pieces(evidence: &Evidence) -> ClaimRow {
    let counts = evidence.run.observed.events;
    let n_saved = evidence.saved.len();
    let Some(Misfits { n: misfits, first, n_beyond_errors }) = replay(evidence) else {
        return CLAIM.row(Verdict::Unresolved, "the network's values at a saved θ are not finite");
    };
    let explained = n_beyond_errors == 0;
    let n_restarts = counts.crossing + counts.slide_enter + counts.slide_exit;
    let kinds = format!(
        "{} ({}, {}, {}; {})",
        count(n_restarts as usize, "restart"),
        count(counts.crossing as usize, "crossing"),
        count(counts.slide_enter as usize, "slide entry"),
        count(counts.slide_exit as usize, "slide exit"),
        count(counts.graze as usize, "graze")
    );
    let row = match (first, &evidence.run.outcome.reason) {
        (Some(first), _) if explained => {
            let meaning = format!("{first}, by no more than the error of the run at that time explains");
            CLAIM.row(Verdict::Unresolved, meaning)
        }
        (Some(first), _) => CLAIM.row(Verdict::Violated, format!("the record does not fit together: {first}")),
        (None, StopReason::Chatter { .. } | StopReason::Undecided { .. } | StopReason::MissedEvent { .. }) => {
            let meaning = format!("after {kinds} no continuation was found: {}", evidence.run.outcome.reason);
            CLAIM.row(Verdict::Unresolved, meaning)
        }
        (None, _) => {
            let meaning =
                format!("{kinds}; each of them, and all units at {} of θ, fit", count(n_saved, "saved value"));
            CLAIM.row(Verdict::Holds, meaning)
        }
    };
    row.measured(misfits as f64, 0.0).shown_in("events.csv")
}

/// The misfits; `None` when a value is not finite.
fn replay(evidence: &Evidence) -> Option<Misfits> {
    let mut field = evidence.field();
    let units = units(&field);
    let index: HashMap<Place, usize> = units.iter().enumerate().map(|(k, (place, _))| (*place, k)).collect();
    let mode = field.mode_from_values(&evidence.problem.theta0);
    let piece = |place: usize| mode.pieces()[field.switches().switch_of(place)];
    let mut states: Vec<State> = units.iter().map(|(_, place)| State::In(piece(*place))).collect();
    for start in &evidence.run.observed.start {
        states[*index.get(&start.place)?] = match start.side {
            Some(Side::Below) => State::In(start.breakpoint),
            Some(Side::Above) => State::In(start.breakpoint + 1),
            None => State::On(start.breakpoint),
        };
    }
    let mut misfits = Misfits::default();
    let mut next = evidence.events.iter().peekable();
    for (t, theta) in &evidence.saved {
        while let Some(event) = next.next_if(|event| event.t <= *t) {
            let Some(&at) = index.get(&event.place) else {
                misfits.note(false, || format!("an event at t = {} names a unit that is not there", event.t));
                continue;
            };
            let (expected, after) = transition(event);
            if states[at] != expected {
                misfits.note(false, || {
                    format!(
                        "the {} at t = {} starts from another piece than the events before it left",
                        word(event),
                        event.t
                    )
                });
            }
            states[at] = after;
        }
        let (dy, _) = evaluate(&mut field, theta).ok()?;
        // How far θ goes while t takes its last digit.
        let further = norm(&dy) * 4.0 * f64::EPSILON * t;
        judge(evidence, &field, &units, &states, (*t, further), &mut misfits);
    }
    Some(misfits)
}

/// All units with their pre-activations.
fn units(field: &FlowField) -> Vec<(Place, usize)> {
    let batch = field.batch();
    let of = |place: usize| {
        let (layer, unit, sample) = batch.locate(place);
        let originals = field.data().originals[sample].iter();
        originals.map(move |&sample| (batch.network().place(layer, unit, sample), place)).collect::<Vec<_>>()
    };
    (0..batch.n_switches()).flat_map(of).collect()
}

/// Where a unit must be before an event, and where it is afterwards.
fn transition(event: &EventRow) -> (State, State) {
    let b = event.breakpoint;
    let (below, above) = (State::In(b), State::In(b + 1));
    let (from, to) = if event.direction == Side::Above { (below, above) } else { (above, below) };
    match event.kind {
        EventKind::Crossing => (from, to),
        EventKind::SlideEnter => (from, State::On(b)),
        EventKind::SlideExit => (State::On(b), to),
        // The side touched from inside, which it stays off.
        EventKind::Graze => (from, from),
    }
}

fn word(event: &EventRow) -> &'static str {
    match event.kind {
        EventKind::Crossing => "crossing",
        EventKind::SlideEnter => "slide entry",
        EventKind::SlideExit => "slide exit",
        EventKind::Graze => "graze",
    }
}

/// Compares pre-activations at a saved θ with the pieces that the record says.
fn judge(
    evidence: &Evidence,
    field: &FlowField,
    units: &[(Place, usize)],
    states: &[State],
    (t, further): (f64, f64),
    misfits: &mut Misfits,
) {
    let z = &field.forward().1.z;
    let breakpoints = evidence.problem.network.activation().breakpoints();
    let part = OUTSIDE.0.max(OUTSIDE.1 * evidence.plan.rtol);
    for ((place, k), state) in units.iter().zip(states) {
        let value = z[*k];
        let room = |at: f64| part * (field.scale(field.switches().switch_of(*k)) + at.abs());
        let at = |b: u16| breakpoints[usize::from(b)];
        let fits = match *state {
            State::On(b) => (value - at(b)).abs() <= room(at(b)),
            State::In(piece) => {
                let is_above = piece == 0 || value >= at(piece - 1) - room(at(piece - 1));
                let is_below = usize::from(piece) == breakpoints.len() || value <= at(piece) + room(at(piece));
                is_above && is_below
            }
        };
        if !fits {
            let Place { layer, unit, sample } = *place;
            let distance = match *state {
                State::On(b) => (value - at(b)).abs(),
                State::In(piece) => {
                    let below = if piece == 0 { f64::NEG_INFINITY } else { at(piece - 1) - value };
                    let above = breakpoints.get(usize::from(piece)).map_or(f64::NEG_INFINITY, |b| value - b);
                    below.max(above)
                }
            };
            let gradient = gradient(field, *k);
            let error = norm_of(evidence.plan).largest_change(&gradient, field.forward().0);
            let is_explained = distance <= error + norm(&gradient) * further;
            misfits.note(is_explained, || {
                format!(
                    "layer {layer}, unit {unit}, sample {sample} has z = {value:e} at t = {t}, outside the piece that its \
                     events lead to"
                )
            });
        }
    }
}

#[derive(Debug, Default)]
struct Misfits {
    n: usize,
    first: Option<String>,
    /// Those that the error of the run does not explain.
    n_beyond_errors: usize,
}

/// ∇z of a pre-activation where the field stands.
fn gradient(field: &FlowField, place: usize) -> Vec<f64> {
    let (batch, (theta, forward)) = (field.batch(), field.forward());
    let zeros = vec![0.0; batch.n_outputs()];
    let mut gradient = vec![0.0; theta.len()];
    batch.backward(theta, forward, &zeros, &[(place, 1.0)], &mut Backward::default(), &mut gradient);
    gradient
}

impl Misfits {
    fn note(&mut self, is_explained: bool, text: impl FnOnce() -> String) {
        self.n += 1;
        self.n_beyond_errors += usize::from(!is_explained);
        self.first.get_or_insert_with(text);
    }
}
