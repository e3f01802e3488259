//! What happens at a boundary: which side each touching switch takes, or whether it slides.
//!
//! At an instant where a set A of switches stands on breakpoints, a mode for all of them is sought in which every free one moves
//! away from its breakpoint into its own side (or rests) and every sliding one is pushed back from both sides. For kinks that
//! attract this is a box-constrained complementarity problem with a positive definite matrix, hence uniquely solvable, and
//! principal pivoting finds it: worst violation first, least index after many pivots (Murty 1974), which cannot cycle.

use super::event::Exit;
use super::field::{NonFinite, PiecewiseField, SlideMargin};
use super::mode::{Contact, Mode, Side};
use super::noise::Noise;
use super::observer::{Change, EventKind};

/// A switch that was just released, where margin and rate are both zero up to the error of locating the exit, may have a rate of this
/// size, relative to what the rates of both sides differ by, into its breakpoint before it counts as pushed back.
pub const RELEASED_RATE_TOL: f64 = 1e-9;

/// An attraction below this part of its scale is none: the kink cannot hold.
const NO_ATTRACTION: f64 = 1e-12;

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
    /// Slides that end.
    pub exits: Vec<Exit>,
    /// Contacts made to slide whatever their margins say, because their excursions are below resolution.
    pub forced: Vec<Contact>,
}

/// What a decision asks of a field. Calls but `enter` refer to the point and mode entered last.
pub trait ContactField {
    /// Evaluates at `y` in `mode`: the field, and the rates of all switches.
    ///
    /// # Errors
    /// When a value on the way is not finite.
    fn enter(&mut self, y: &[f64], mode: &Mode, dy: &mut [f64], rates: &mut [f64]) -> Result<(), NonFinite>;

    /// Margins of the sliding contacts, in the order of [`Mode::sliding`].
    fn margins_in(&mut self, mode: &Mode, out: &mut Vec<SlideMargin>);

    /// As [`PiecewiseField::attraction`].
    fn attraction(&self, contact: Contact) -> (f64, f64);

    /// As [`PiecewiseField::noise`].
    fn noise(&self) -> (&Noise, bool);

    /// As [`PiecewiseField::measure_noise`].
    fn measure_noise(&mut self);
}

impl<F: PiecewiseField> ContactField for F {
    fn enter(&mut self, y: &[f64], mode: &Mode, dy: &mut [f64], rates: &mut [f64]) -> Result<(), NonFinite> {
        self.eval(y, mode, dy)?;
        self.rates(dy, rates);
        Ok(())
    }

    fn margins_in(&mut self, _mode: &Mode, out: &mut Vec<SlideMargin>) {
        self.margins(out);
    }

    fn attraction(&self, contact: Contact) -> (f64, f64) {
        PiecewiseField::attraction(self, contact)
    }

    fn noise(&self) -> (&Noise, bool) {
        PiecewiseField::noise(self)
    }

    fn measure_noise(&mut self) {
        PiecewiseField::measure_noise(self);
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
    meeting.exits.iter().for_each(|exit| mode.place(exit.contact, exit.side));
    meeting.forced.iter().for_each(|&contact| mode.hold(contact));
    // Free switches whose sides are up for decision; sliding ones are in the mode.
    let mut free: Vec<Contact> = meeting.hits.iter().chain(&meeting.resting).copied().collect();
    free.extend(meeting.exits.iter().map(|exit| exit.contact));
    let mut released: Vec<(Contact, f64)> = meeting.exits.iter().map(|exit| (exit.contact, exit.rate_scale)).collect();
    // Contacts that nothing holds on one side are let go there, once.
    let mut eased: Vec<Contact> = Vec::new();
    let mut repelled = Vec::new();
    let n_contacts = free.len() + mode.sliding().len();
    for pivot in 0..20 * n_contacts + 100 {
        field.enter(y, mode, &mut work.dy, &mut work.rates)?;
        work.n_evaluations += 1;
        field.margins_in(mode, &mut work.margins);
        if is_in_doubt(field, mode, &free, work) {
            field.measure_noise();
            field.margins_in(mode, &mut work.margins);
        }
        let noise = field.noise().0;
        let violated = |contact: Contact, side: Side| {
            let located =
                released.iter().find(|(c, _)| *c == contact).map_or(0.0, |(_, scale)| RELEASED_RATE_TOL * scale);
            let inward = -side.sign() * work.rates[contact.switch];
            (inward > noise.rate(contact.switch).max(located)).then_some(inward)
        };
        let pushed_back =
            free.iter().filter_map(|&c| mode.side(c).and_then(|s| violated(c, s)).map(|size| (c, size, Action::Hold)));
        let let_go = mode.sliding().iter().zip(&work.margins).filter_map(|(&c, m)| {
            let lets_go = (m.is_over() || m.is_slack() && !eased.contains(&c)) && !meeting.forced.contains(&c);
            let repels = m.below < -m.resolution && m.above < -m.resolution;
            let action = Action::Release { side: m.exit(), repels, rate_scale: m.rate_scale(), slack: !m.is_over() };
            lets_go.then(|| (c, -m.relative(), action))
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
                let (attraction, scale) = field.attraction(contact);
                match mode.side(contact) {
                    Some(side) if attraction <= -NO_ATTRACTION * scale => mode.place(contact, side.opposite()),
                    _ => mode.hold(contact),
                }
                released.retain(|(c, _)| *c != contact);
            }
            Some((contact, _, Action::Release { side, repels, rate_scale, slack })) => {
                if repels {
                    repelled.push(contact);
                }
                if slack {
                    eased.push(contact);
                    released.push((contact, rate_scale));
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

/// Whether something is taken for zero by a noise that was measured elsewhere.
fn is_in_doubt<F: ContactField>(field: &F, mode: &Mode, free: &[Contact], work: &Workspace) -> bool {
    let (noise, is_current) = field.noise();
    if is_current {
        return false;
    }
    let rate = |c: &Contact| {
        let inward = mode.side(*c).map_or(0.0, |side| -side.sign() * work.rates[c.switch]);
        inward > 0.0 && inward <= noise.rate(c.switch)
    };
    free.iter().any(rate) || work.margins.iter().any(|m| m.least() < 0.0 && !m.is_over())
}

#[derive(Clone, Copy)]
enum Action {
    Hold,
    Release { side: Side, repels: bool, rate_scale: f64, slack: bool },
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
            let (from, to) = (before.0.side_told(contact), after.0.side_told(contact));
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
