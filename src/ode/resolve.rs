//! What happens at a boundary: which side each touching switch takes, or whether it slides.
//!
//! At an instant where a set A of switches stands on breakpoints, a mode for all of them is sought in which every free one moves
//! away from its breakpoint into its own side (or rests) and every sliding one is pushed back from both sides. For kinks that
//! attract this is a box-constrained complementarity problem with a positive definite matrix, hence uniquely solvable, and
//! principal pivoting finds it: worst violation first, least index after many pivots (Murty 1974), which cannot cycle.

use super::field::{NonFinite, PiecewiseField, SlideMargin};
use super::mode::{Contact, Mode, Side};
use super::observer::{Change, EventKind};
use crate::vector::{max_abs, vectorised};

/// A sliding margin below −this (relative to its scale) ends the slide.
pub const MARGIN_TOL: f64 = 1e-12;

/// A free switch may have a rate of this size (relative to the largest rate) into its breakpoint before it counts as pushed back.
const RATE_TOL: f64 = 1e-13;

/// The same for a switch that was just released, where margin and rate are both zero up to the error of locating the exit.
const RELEASED_RATE_TOL: f64 = 1e-9;

/// Margins and rates are trusted down to this multiple of the field's relative noise.
pub const NOISE_SAFETY: f64 = 8.0;

/// Why no mode was decided.
#[derive(Debug)]
pub enum ResolveError {
    /// A value was not finite.
    NonFinite(NonFinite),
    /// The search did not end.
    Undecided,
}

impl From<NonFinite> for ResolveError {
    fn from(error: NonFinite) -> Self {
        Self::NonFinite(error)
    }
}

/// What meets at one instant.
#[derive(Debug, Clone, Default)]
pub struct Meeting {
    /// Free switches that reached a breakpoint.
    pub hits: Vec<Contact>,
    /// Those of them that are expected to be pushed back from the other side: where the search begins with them. Any will do where
    /// all kinks attract and no two surfaces coincide, because there is one mode only then.
    pub expected: Vec<Contact>,
    /// Free switches that stand on a breakpoint without having reached it now (left a moment ago, or at the start of a run).
    pub resting: Vec<Contact>,
    /// Sliding contacts whose slide ends, with the side they leave to.
    pub exits: Vec<(Contact, Side)>,
    /// Contacts made to slide whatever their margins say, because their excursions are below resolution.
    pub forced: Vec<Contact>,
}

/// What a decision asks of a field. Calls but `enter` refer to the point and mode entered last.
pub trait ContactField {
    /// Evaluates at `y` in `mode`: the field, the rates of all switches, and the margins of the sliding contacts.
    ///
    /// # Errors
    /// When a value on the way is not finite.
    fn enter(
        &mut self,
        y: &[f64],
        mode: &Mode,
        dy: &mut [f64],
        rates: &mut [f64],
        margins: &mut Vec<SlideMargin>,
    ) -> Result<(), NonFinite>;

    /// As [`PiecewiseField::attraction`].
    fn attraction(&self, contact: Contact) -> (f64, f64);

    /// As [`PiecewiseField::relative_noise`].
    fn relative_noise(&self) -> f64;

    /// As [`PiecewiseField::rate_scale`].
    fn rate_scale(&self) -> f64;
}

impl<F: PiecewiseField> ContactField for F {
    fn enter(
        &mut self,
        y: &[f64],
        mode: &Mode,
        dy: &mut [f64],
        rates: &mut [f64],
        margins: &mut Vec<SlideMargin>,
    ) -> Result<(), NonFinite> {
        self.eval(y, mode, dy)?;
        self.rates(dy, rates);
        self.margins(margins);
        Ok(())
    }

    fn attraction(&self, contact: Contact) -> (f64, f64) {
        PiecewiseField::attraction(self, contact)
    }

    fn relative_noise(&self) -> f64 {
        PiecewiseField::relative_noise(self)
    }

    fn rate_scale(&self) -> f64 {
        PiecewiseField::rate_scale(self)
    }
}

/// Finds consistent modes; on success the field's last evaluation is at `y` in the new mode, whose field and rates are in `dy`, `rates`.
///
/// Returns contacts that lost their attraction: both sides pushed away and the stronger push was followed.
///
/// # Errors
/// When a value is not finite or the search does not end.
pub fn resolve<F: ContactField>(
    field: &mut F,
    y: &[f64],
    mode: &mut Mode,
    meeting: &Meeting,
    work: &mut Workspace,
) -> Result<Vec<Contact>, ResolveError> {
    for &hit in &meeting.hits {
        match mode.side(hit) {
            Some(_) if meeting.expected.contains(&hit) => mode.hold(hit),
            Some(side) => mode.place(hit, side.opposite()),
            None => {}
        }
    }
    meeting.exits.iter().for_each(|&(contact, side)| mode.place(contact, side));
    meeting.forced.iter().for_each(|&contact| mode.hold(contact));
    // Free switches whose sides are up for decision; sliding ones are in the mode.
    let mut free: Vec<Contact> = meeting.hits.iter().chain(&meeting.resting).copied().collect();
    free.extend(meeting.exits.iter().map(|(contact, _)| contact));
    let mut released: Vec<Contact> = meeting.exits.iter().map(|(contact, _)| *contact).collect();
    let mut repelled = Vec::new();
    let n_contacts = free.len() + mode.sliding().len();
    for pivot in 0..20 * n_contacts + 100 {
        field.enter(y, mode, &mut work.dy, &mut work.rates, &mut work.margins)?;
        work.n_evaluations += 1;
        let largest_rate = vectorised!(max_abs(&work.rates)).max(field.rate_scale());
        // Close to an equilibrium all of this is a small difference of large numbers.
        let noise = NOISE_SAFETY * field.relative_noise();
        let margin_tol = MARGIN_TOL.max(noise);
        let violated = |contact: Contact, side: Side| {
            let tol = noise.max(if released.contains(&contact) { RELEASED_RATE_TOL } else { RATE_TOL });
            let inward = -side.sign() * work.rates[contact.switch];
            (inward > tol * largest_rate).then(|| inward / largest_rate)
        };
        let pushed_back =
            free.iter().filter_map(|&c| mode.side(c).and_then(|s| violated(c, s)).map(|size| (c, size, Action::Hold)));
        let let_go = mode.sliding().iter().zip(&work.margins).filter_map(|(&c, m)| {
            let side = if m.below < m.above { Side::Below } else { Side::Above };
            let lets_go = m.least() < -margin_tol * m.scale && !meeting.forced.contains(&c);
            let repels = m.below < 0.0 && m.above < 0.0;
            lets_go.then(|| (c, -m.least() / m.scale, Action::Release { side, repels }))
        });
        let late = pivot > 3 * n_contacts + 10;
        // Free switches are settled before sliding ones are released: a release judged with a wrong side elsewhere is often undone.
        let worst = |best: Option<(Contact, f64, Action)>, next: (Contact, f64, Action)| match best {
            None => Some(next),
            Some(best) if late => Some(if next.0 < best.0 { next } else { best }),
            Some(best) => Some(if next.1 > best.1 { next } else { best }),
        };
        let mut choice = pushed_back.fold(None, worst);
        if late || choice.is_none() {
            choice = let_go.fold(choice, worst);
        }
        match choice {
            None => return Ok(repelled),
            Some((contact, _, Action::Hold)) => {
                // A kink that does not attract cannot hold: the switch goes through to its other side.
                let (attraction, noise) = field.attraction(contact);
                match mode.side(contact) {
                    Some(side) if attraction <= -MARGIN_TOL * noise => mode.place(contact, side.opposite()),
                    _ => mode.hold(contact),
                }
                released.retain(|c| *c != contact);
            }
            Some((contact, _, Action::Release { side, repels })) => {
                if repels {
                    repelled.push(contact);
                }
                mode.place(contact, side);
                if !free.contains(&contact) {
                    free.push(contact);
                }
            }
        }
    }
    Err(ResolveError::Undecided)
}

#[derive(Clone, Copy)]
enum Action {
    Hold,
    Release { side: Side, repels: bool },
}

/// Buffers that [`resolve`] works in and leaves its results in.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    /// Field in the mode tried last.
    pub dy: Vec<f64>,
    /// Rates of all switches there.
    pub rates: Vec<f64>,
    /// Margins of sliding contacts there.
    pub margins: Vec<SlideMargin>,
    /// Evaluations made.
    pub n_evaluations: u64,
    /// Times until switches reach their breakpoints.
    pub times: Vec<f64>,
}

/// The changes between two modes at the contacts of an event; `touched` are reported as grazes when nothing changed there.
pub fn changes(
    before: (&Mode, &[f64]),
    after: (&Mode, &[f64]),
    contacts: impl Iterator<Item = Contact>,
    touched: &[Contact],
) -> Vec<Change> {
    let mut list: Vec<Change> = contacts
        .filter_map(|contact| {
            let (from, to) = (before.0.side(contact), after.0.side(contact));
            let (kind, towards) = match (from, to) {
                (Some(a), Some(b)) if a != b => (EventKind::Crossing, b),
                (Some(a), None) => (EventKind::SlideEnter, a.opposite()),
                (None, Some(b)) => (EventKind::SlideExit, b),
                (Some(a), Some(_)) if touched.contains(&contact) => (EventKind::Graze, a.opposite()),
                _ => return None,
            };
            let rate = |side: Option<Side>, rates: &[f64]| side.map_or(0.0, |_| rates[contact.switch]);
            Some(Change { kind, contact, towards, rate_before: rate(from, before.1), rate_after: rate(to, after.1) })
        })
        .collect();
    list.sort_by_key(|c| c.contact);
    list.dedup_by_key(|c| c.contact);
    list
}
