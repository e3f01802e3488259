//! The loop: attempt → judge → locate → commit → tell.
//!
//! A step is integrated in one mode, frozen for the whole attempt. The earliest boundary met inside it cuts it short; there the
//! modes of all switches concerned are decided, and integration goes on in the new mode from the very same point. This is
//! the construction of the flow in Lemma 2.1 of Jakhmola (arXiv:2509.23887), with Filippov sliding where a boundary attracts
//! from both sides.

mod attempt;
mod branches;
mod commit;
mod decide;
mod dense;
mod locate;
mod start;
mod stride;
mod unfold;

use super::controller::StepController;
use super::event::{End, Found, Scratch};
use super::field::PiecewiseField;
use super::mode::{Contact, Mode};
use super::norm::{Floors, WrmsNorm};
use super::observer::{Observer, Point};
use super::outcome::{Rest, Stats, StopReason};
use super::resolve::Workspace;
use super::stepper::Stepper;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Resolution of event times in parts of a step.
const X_TOL: f64 = 1e-13;
/// Events closer together than this, relative to t, are one event.
const SIMULTANEOUS: f64 = 1e-12;
/// Part of the real stability interval that steps of explicit methods use.
pub const STABILITY_SHARE: f64 = 0.855;
/// Steps reach at most this many predicted times to the next crossing.
const PREDICTION_REACH: f64 = 1.05;
/// After so many steps in a row that were to reach a crossing and met none, they reach twice as far with each, until the next event: a switch
/// may come closer and closer to its breakpoint for ever.
const OVERDUE: u32 = 3;
/// Steps between estimates of the decay rate.
const DECAY_INTERVAL: u64 = 5;
/// Rounds of the loop between measurements of rounding noise; it is also measured where something is taken for noise.
const NOISE_INTERVAL: u64 = 32;
/// Attempts in which t may move by less than its resolution each. Far out a fast phase can be shorter than t resolves, and takes hundreds.
const MOST_UNMOVED: u64 = 20_000;
/// Zero-length events of one switch after which it is made to slide for one step, and after which the run stops.
const ZERO_LENGTH_LIMITS: (u32, u32) = (4, 40);
/// Events of one switch within a relative time of 1e-8 after which the run stops.
const CHATTER_LIMIT: u32 = 400;
/// Relative margins below this, or below this multiple of rtol, make an event a branch point worth listing.
const BRANCH_MARGIN: (f64, f64) = (1e-5, 1e3);
/// Halvings of a step that passes a boundary it does not show before the run stops.
const MOST_HALVINGS: u32 = 40;
/// A switch on the wrong side by more than this, relative to its scale, means that an event was missed.
const WRONG_SIDE: f64 = 1e-9;
/// Contacts of which a local model is made, whose matrix has a column for each, at most.
const MOST_LOCAL: usize = 4096;
/// What depends on slides may be this many times as far off its breakpoint as they have drifted: their gradients differ by as much.
const DRIFTING: f64 = 10.0;
/// So often a first step is halved because its dense output takes back what was decided at the start.
const MOST_TURNS: u32 = 8;
/// A step taken anew ends this part of it behind the event: there the interpolant joins the method's own end to second order.
const RETAKE_SLACK: f64 = 1e-3;
/// A step taken anew may meet something earlier than what it was shortened for, and is shortened again so often.
const MOST_RETAKES: u32 = 3;

/// What to integrate to, and how closely.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Time horizon; may be infinite when a stop rule ends the run.
    pub t_end: f64,
    /// Tolerances of the error norm.
    pub norm: WrmsNorm,
    /// Limit on attempts, accepted and rejected.
    pub max_steps: u64,
    /// Steps of this length without error control (cut short at events), for measuring orders.
    pub fixed_step: Option<f64>,
    /// Takes a step that an event cuts short once more, ending just behind the event. The state at the event then has the accuracy of
    /// the method and not that of its interpolant over the longer step; each event costs one more attempt. Methods for stiff flows do so in any case,
    /// but for steps of fixed length.
    pub retake: bool,
    /// Takes strides, steps that hold many events, where the field allows it and they pay; with `fixed_step` wherever it allows it.
    pub strides: bool,
}

/// A reason to stop other than the horizon; located like an event.
pub trait StopRule<F> {
    /// Name for the record.
    fn name(&self) -> &'static str;

    /// Positive as long as the run goes on; continuous between events. The field was last evaluated at the point in question.
    fn margin(&mut self, field: &F, dy: &[f64]) -> f64;

    /// Whether the margin never rises along the flow, so that its sign at the end of a stride says whether it was zero inside.
    fn never_rises(&self) -> bool {
        false
    }
}

/// How an integration ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Why it ended.
    pub reason: StopReason,
    /// Final time.
    pub t: f64,
    /// Final state.
    pub y: Vec<f64>,
    /// Final mode.
    pub mode: Mode,
    /// Counters.
    pub stats: Stats,
    /// From when on the flow has been at rest, if it is.
    pub rest: Option<Rest>,
}

/// Integrates `field` from `y` at t = 0.
pub fn integrate<F: PiecewiseField, S: Stepper<F> + ?Sized>(
    field: &mut F,
    stepper: &mut S,
    y: &[f64],
    options: &Options,
    rules: &mut [Box<dyn StopRule<F>>],
    observer: &mut dyn Observer<F>,
) -> Outcome {
    Integration::new(field, stepper, y, options, rules, observer).run()
}

/// State of a run. Mode and sliding set are part of it and are never re-derived from signs.
struct Integration<'a, F: PiecewiseField, S: Stepper<F> + ?Sized> {
    field: &'a mut F,
    stepper: &'a mut S,
    options: &'a Options,
    rules: &'a mut [Box<dyn StopRule<F>>],
    observer: &'a mut dyn Observer<F>,
    controller: StepController,
    t: f64,
    y: Vec<f64>,
    dy: Vec<f64>,
    mode: Mode,
    /// The mode before the meeting decided last.
    undecided: Mode,
    start: End,
    end: End,
    /// Contacts on their breakpoint right now, just placed on a side.
    fresh: Vec<Contact>,
    /// Contacts held for one step whatever their margins say.
    forced: Vec<Contact>,
    /// Steps in a row that passed something they did not show.
    n_missed: u32,
    decay: Option<f64>,
    /// ‖dy‖ where the step begins.
    speed: f64,
    /// About ∫‖dy‖² so far, for methods that control its error.
    dissipated: f64,
    /// Floors of the weights of the error norm.
    floors: Floors,
    /// Length of the last accepted attempt, and whether an event cut it short.
    last_attempt: (f64, bool),
    /// Its error, relative to the tolerance.
    last_error: f64,
    /// Steps in a row that ended where a crossing was predicted, and met none; from [`OVERDUE`] on all since the last event.
    n_overdue: u32,
    /// Rounds of the loop.
    n_rounds: u64,
    rest: Option<Rest>,
    /// Time and attempts up to which t has moved by more than its resolution an attempt.
    moved: (f64, u64),
    repeats: HashMap<usize, Repeats>,
    y_cut: Vec<f64>,
    dy_cut: Vec<f64>,
    pace: stride::Pace,
    /// Whether `work.rates` are those at the event just located, in the old mode.
    has_rates: bool,
    work: Workspace,
    scratch: Scratch,
    /// Mode and rates just before the event being committed.
    before: Before,
    stats: Stats,
}

/// What an event is compared with.
#[derive(Debug, Default)]
struct Before {
    mode: Mode,
    rates: Vec<f64>,
}

/// Recent events of one switch, for the chatter guard.
#[derive(Debug, Clone, Copy)]
struct Repeats {
    since: f64,
    count: u32,
    zero_length: u32,
}

/// A free switch found beyond a boundary of its piece.
#[derive(Debug, Clone, Copy)]
struct Missed {
    contact: Contact,
    /// Relative to the switch's scale, negative.
    distance: f64,
}

/// What cuts a step short.
enum Cut {
    /// The step has passed something that it did not show, and is not taken.
    Missed(Missed),
    Nothing,
    Event(Found),
    Rule {
        x: f64,
        name: &'static str,
    },
}

impl<'a, F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'a, F, S> {
    fn new(
        field: &'a mut F,
        stepper: &'a mut S,
        y: &[f64],
        options: &'a Options,
        rules: &'a mut [Box<dyn StopRule<F>>],
        observer: &'a mut dyn Observer<F>,
    ) -> Self {
        let (dim, n_switches) = (field.dim(), field.n_switches());
        let end = End { values: vec![0.0; n_switches], rates: vec![0.0; n_switches], margins: Vec::new() };
        let work = Workspace { dy: vec![0.0; dim], rates: vec![0.0; n_switches], ..Workspace::default() };
        let controller = StepController::new(0.0, stepper.error_exponent());
        Self {
            controller,
            t: 0.0,
            y: y.to_vec(),
            dy: vec![0.0; dim],
            mode: Mode::default(),
            undecided: Mode::default(),
            start: end.clone(),
            end,
            fresh: Vec::new(),
            forced: Vec::new(),
            n_missed: 0,
            decay: None,
            speed: 0.0,
            dissipated: 0.0,
            floors: Floors::default(),
            last_attempt: (0.0, false),
            last_error: 1.0,
            n_overdue: 0,
            n_rounds: 0,
            rest: None,
            moved: (0.0, 0),
            repeats: HashMap::new(),
            y_cut: vec![0.0; dim],
            dy_cut: vec![0.0; dim],
            pace: stride::Pace::default(),
            has_rates: false,
            work,
            scratch: Scratch::default(),
            before: Before::default(),
            stats: Stats::default(),
            field,
            stepper,
            options,
            rules,
            observer,
        }
    }

    fn run(mut self) -> Outcome {
        let reason = match self.begin() {
            ControlFlow::Break(reason) => reason,
            ControlFlow::Continue(()) => loop {
                if let ControlFlow::Break(reason) = self.advance() {
                    break reason;
                }
            },
        };
        self.stats = self.stats.with(self.stepper.work());
        let Self { field, observer, t, y, dy, mode, stats, rest, .. } = self;
        observer.end(&Point { t, y: &y, dy: &dy, mode: &mode, field, stats: &stats }, &reason);
        Outcome { reason, t, y, mode, stats, rest }
    }

    /// One step of the run, with the event that may end it.
    fn advance(&mut self) -> ControlFlow<StopReason> {
        self.check_limits()?;
        if self.stride()? {
            return ControlFlow::Continue(());
        }
        let h = self.attempt()?;
        let (h, cut) = self.locate(h)?;
        if let Cut::Missed(missed) = cut {
            return self.halve(h, missed);
        }
        if let Cut::Event(found) = &cut
            && let Some(contact) = self.turns_back(found, h)
        {
            return self.halve(h, Missed { contact, distance: 0.0 });
        }
        let told = self.commit_step(h, &cut);
        if let Cut::Rule { name, .. } = cut {
            return ControlFlow::Break(StopReason::Rule { name });
        }
        if let Cut::Event(found) = cut {
            self.commit_event(found, h)?;
        }
        if told.is_break() { ControlFlow::Break(StopReason::Interrupted) } else { ControlFlow::Continue(()) }
    }

    /// The end of a whole step of length `h`; the horizon exactly, where it is that to rounding.
    fn time_after(&self, h: f64) -> f64 {
        let reaches_horizon = self.t + h >= self.options.t_end * (1.0 - f64::EPSILON);
        if reaches_horizon { self.options.t_end } else { self.t + h }
    }

    fn met_rule(&mut self) -> Option<&'static str> {
        let Self { rules, field, dy, .. } = self;
        rules.iter_mut().find_map(|rule| (rule.margin(field, dy) <= 0.0).then(|| rule.name()))
    }

    fn evaluate_here(&mut self) -> ControlFlow<StopReason> {
        self.stats.evaluations += 1;
        match self.field.eval(&self.y, &self.mode, &mut self.dy) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(StopReason::NonFinite { what: error.what }),
        }
    }
}
