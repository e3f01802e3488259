//! How an integration ended, and what it cost.

use super::mode::Contact;
use super::stepper::Work;
use std::fmt;

/// Why an integration ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StopReason {
    /// The time horizon was reached.
    Horizon,
    /// A stop rule was met; it was located like an event.
    Rule {
        /// Name of the rule.
        name: &'static str,
    },
    /// The field has fallen to its rounding: the flow rests here, no later stop rule can be met, and there is no horizon to go to.
    Stationary,
    /// An observer asked to stop, for instance because of Ctrl-C.
    Interrupted,
    /// The limit on steps was reached: raise `max_steps`, or the tolerance.
    StepLimit {
        /// The limit.
        max_steps: u64,
    },
    /// Steps stayed below the resolution of t, thousands of them, or fell below the range of f64: the flow is too violent here, or what error control
    /// sees is rounding, as where atol = 0 meets a zero.
    StepTooSmall {
        /// The step it asked for.
        h: f64,
    },
    /// A non-finite value, however short the step: the flow has left the range of f64.
    NonFinite {
        /// What became non-finite.
        what: String,
    },
    /// One switch had events again and again without time moving on: its continuation is not resolved in f64.
    Chatter {
        /// The switch and its breakpoint.
        contact: Contact,
    },
    /// A switch was found beyond a boundary of its piece after an event; the record before it cannot be trusted at this tolerance.
    MissedEvent {
        /// The switch and its breakpoint.
        contact: Contact,
        /// How far beyond, relative to the switch's scale (negative).
        distance: f64,
    },
    /// No consistent set of modes was found at an event: several surfaces meet in a way that the complementarity search does not solve.
    Undecided {
        /// How many surfaces met.
        n_contacts: usize,
    },
}

/// The flow at rest: its field is nothing but rounding, and stays so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rest {
    /// From when on.
    pub t: f64,
    /// ‖ẏ‖ there.
    pub field: f64,
    /// Its rounding noise.
    pub noise: f64,
}

impl StopReason {
    /// Whether the run did what was asked for.
    pub fn is_completion(&self) -> bool {
        matches!(self, Self::Horizon | Self::Rule { .. } | Self::Stationary)
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Horizon => write!(f, "reached the time horizon"),
            Self::Rule { name } => write!(f, "reached the {name} target"),
            Self::Stationary => write!(f, "the gradient vanished to rounding: the flow rests from here on"),
            Self::Interrupted => write!(f, "interrupted"),
            Self::StepLimit { max_steps } => write!(f, "took the allowed {max_steps} steps"),
            Self::StepTooSmall { h } => {
                write!(f, "the step size fell to {h:e}, below the resolution of time")
            }
            Self::NonFinite { what } => write!(f, "{what} became non-finite"),
            Self::Chatter { contact } => {
                write!(f, "switch {} chatters at breakpoint {}", contact.switch, contact.breakpoint)
            }
            Self::MissedEvent { contact, distance } => write!(
                f,
                "switch {} was found {distance:e} beyond breakpoint {}: an event was missed",
                contact.switch, contact.breakpoint
            ),
            Self::Undecided { n_contacts } => {
                write!(f, "no consistent continuation found where {n_contacts} switching surfaces meet")
            }
        }
    }
}

/// Counters of one integration; each equals the number of calls made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted steps, those cut short at events included. A stride counts as the steps from event to event that it stands for.
    pub steps: u64,
    /// Strides: steps that hold any number of events.
    pub strides: u64,
    /// Rejected attempts.
    pub rejected: u64,
    /// Evaluations of the field; in strides, the combinations of gradients that shift its nodes among them. Those that only show states
    /// inside a stride to observers are not.
    pub evaluations: u64,
    /// Evaluations of all switching rates (one Jacobian–vector product each); in strides, of rates and sensitivities at a node.
    pub rate_evaluations: u64,
    /// Evaluations of a single switching value.
    pub single_values: u64,
    /// Estimates of the decay rate.
    pub decay_estimates: u64,
    /// Linearisations of the field.
    pub linearisations: u64,
    /// Solves with a factorised I − sA, and products with A, which cost as much.
    pub solves: u64,
    /// Changes of method.
    pub method_switches: u64,
    /// Accepted steps whose length the stability of the method limited.
    pub limited_by_stability: u64,
    /// Accepted steps that were kept short ahead of a predicted crossing.
    pub limited_by_crossing: u64,
    /// Contacts held for one step against their margins, because their excursions are below the resolution of time.
    pub regularised: u64,
}

impl Stats {
    /// With the work of a stepper added.
    pub(super) fn with(mut self, work: Work) -> Self {
        self.evaluations += work.evaluations;
        self.linearisations += work.linearisations;
        self.solves += work.solves;
        self.method_switches += work.switches;
        self
    }
}
