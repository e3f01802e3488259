//! How far a run can be trusted, in one word with its reasons: whether it reached what its tolerances promise.
//!
//! Judged by what owes nothing to the claims that are made of a run: the identities of the flow, rounding against the rates that decide events,
//! atol against the size of the start, an audit if there was one. The thresholds are derived in `docs/mathematics.md`, section 8.

use super::identities::IdentityReport;
use crate::ode::{StopReason, WrmsNorm};

/// An identity that is off by more than this part of its size leaves no digit.
const NO_DIGIT: f64 = 0.1;

/// How far a run can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It reached what its tolerances promise.
    Good,
    /// It did not; the reasons say why, and what to set.
    Doubtful,
    /// Not a digit of it can be relied on.
    Broken,
}

impl Level {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Broken => "broken",
        }
    }
}

/// Why a run is not good.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// What it makes of the run.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to set.
    pub hint: String,
}

/// How far a run can be trusted, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Accuracy {
    /// What was looked at, with figures.
    pub basis: String,
    /// Empty for a good run; the worst come first.
    pub reasons: Vec<Reason>,
}

/// What a run is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Grounds<'a> {
    /// How well the identities hold.
    pub identities: &'a IdentityReport,
    /// The tolerances.
    pub norm: WrmsNorm,
    /// Largest parameter of each layer at the start.
    pub layers: &'a [f64],
    /// Largest relative rounding noise of the gradient at an event, where it is known.
    pub noise_at_events: f64,
    /// Contacts held for one step against their margins.
    pub n_regularised: u64,
    /// Why the run ended; `None` as long as it has not.
    pub reason: Option<&'a StopReason>,
}

impl Accuracy {
    /// The judgement without an audit.
    pub fn judge(grounds: &Grounds) -> Self {
        let Grounds { identities, norm, layers, noise_at_events, n_regularised, reason } = *grounds;
        // More than half of the digits asked for may not be lost, however many steps there are.
        let half = norm.rtol.sqrt();
        let tighter = format!("flow.rtol={:.0e}", 1e-2 * norm.rtol);
        let mut reasons = Vec::new();
        let mut note = |level, text: String, hint: &str| reasons.push(Reason { level, text, hint: hint.to_owned() });

        let smallest = layers.iter().copied().filter(|scale| *scale > 0.0).fold(f64::INFINITY, f64::min);
        let is_coarse = smallest.is_finite() && norm.atol > half * smallest;
        let finer = format!("flow.atol={:.0e}", norm.rtol * smallest.min(1.0));
        // A large atol shows in the identities as well; then it is the reason.
        let cause = if norm.atol > norm.rtol * smallest { &finer } else { &tighter };

        let energy = identities.energy_defect;
        let promised = identities.allowed.energy_by_rtol.min(half);
        if !energy.is_finite() || energy > NO_DIGIT {
            note(Level::Broken, format!("the energy is off by {energy:.1e} of L(0)"), cause);
        } else if energy > promised {
            let text = format!("the energy is off by {energy:.1e} of L(0), where rtol promises {promised:.1e}");
            note(Level::Doubtful, text, cause);
        }
        let drift = identities.drift_of_terms;
        if !drift.is_finite() || drift > NO_DIGIT {
            note(Level::Broken, format!("a conserved quantity drifts by {drift:.1e} of its terms"), cause);
        } else if drift > half || identities.drift_excess > 1.0 {
            let promised = half.min(drift / identities.drift_excess);
            let text =
                format!("a conserved quantity drifts by {drift:.1e} of its terms, where rtol promises {promised:.1e}");
            note(Level::Doubtful, text, cause);
        }
        if !identities.displacement_bound_ok && identities.displacement_excess > identities.allowed.path {
            let text = "θ went further than the energy that was lost allows".to_owned();
            note(Level::Broken, text, cause);
        }
        if is_coarse {
            let part = norm.atol / smallest;
            let text = format!("atol {:.0e} is {part:.1e} of the largest parameter of a layer at the start", norm.atol);
            note(Level::Doubtful, text, &finer);
        }
        if noise_at_events > half {
            let text = format!("rounding was up to {noise_at_events:.1e} of the gradient when events were decided");
            note(Level::Doubtful, text, "flow.until so that the run ends before the flow rests");
        }
        if n_regularised > 0 {
            let text = format!(
                "regularised: {n_regularised} times a contact that chattered was held for a step against its margins"
            );
            note(Level::Doubtful, text, "another seed, or a start moved a little");
        }
        if let Some(StopReason::MissedEvent { .. }) = reason {
            note(Level::Broken, "an event was missed".to_owned(), &tighter);
        }
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.level));
        let conserved = match identities.conservation_drift {
            Some(_) => format!(", conserved quantities to {drift:.1e} of their terms"),
            None => String::new(),
        };
        Self { basis: format!("energy to {energy:.1e} of L(0){conserved}"), reasons }
    }

    /// With what an audit found.
    pub fn with_audit(mut self, n_checked: u64, n_missed: u64, rtol: f64) -> Self {
        if n_missed == 0 {
            self.basis += &format!(", no event missed at {n_checked} times");
        } else {
            let text = format!("the audit finds events missed at {n_missed} of {n_checked} times");
            let reason = Reason { level: Level::Doubtful, text, hint: format!("flow.rtol={:.0e}", 1e-2 * rtol) };
            self.reasons.push(reason);
        }
        self
    }

    /// The worst of all reasons.
    pub fn level(&self) -> Level {
        self.reasons.iter().map(|reason| reason.level).max().unwrap_or(Level::Good)
    }

    /// What was found, in a sentence.
    pub fn reason(&self) -> String {
        if self.reasons.is_empty() {
            return self.basis.clone();
        }
        self.reasons.iter().map(|reason| reason.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// What to set; `None` for a good run.
    pub fn hint(&self) -> Option<String> {
        let mut hints: Vec<&str> = self.reasons.iter().map(|reason| reason.hint.as_str()).collect();
        hints.dedup();
        (!hints.is_empty()).then(|| hints.join(", or "))
    }
}
