//! Which mode goes on from a meeting: one contact after the other where surfaces are independent, together where they are not, and by a
//! look ahead where the first derivatives say nothing.

use super::{Integration, MOST_LOCAL};
use crate::ode::contact::{Arrival, MOST_COMPARED, MOST_TOGETHER, Settled};
use crate::ode::event::Exit;
use crate::ode::field::{NonFinite, PiecewiseField};
use crate::ode::mode::{Contact, Mode, Side};
use crate::ode::observer::{BranchKind, BranchPoint};
use crate::ode::outcome::StopReason;
use crate::ode::resolve::{Meeting, ResolveError, resolve};
use crate::ode::stepper::Stepper;
use crate::vector::norm;
use std::ops::ControlFlow;

/// How many such steps the look takes: what begins to move with the third power of time is seen after the second.
const MOST_AHEAD: usize = 3;
/// How far ahead the look goes, in parts of ‖y‖: the root of what rounding leaves of a second difference is smaller.
const AHEAD: f64 = 1e-5;

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    /// Decides a meeting at the present point, the surfaces of which it is on; contacts have come with `rates`. Returns those that lost their attraction.
    pub(super) fn decide(&mut self, meeting: &Meeting, rates: &[f64]) -> ControlFlow<StopReason, Vec<Contact>> {
        let decided = self.decide_modes(meeting, rates)?;
        // What slid and was let go at a margin of zero is as open as what has come.
        let let_go = self.undecided.sliding().iter().filter(|c| !meeting.exits.iter().any(|exit| exit.contact == **c));
        let open = meeting.hits.iter().chain(let_go).filter(|c| self.is_open(&self.mode, **c)).copied().collect();
        self.look_ahead(open, decided.is_none(), false)?;
        ControlFlow::Continue(decided.unwrap_or_default())
    }

    /// The same at the start of a run, to which nothing has come: what stands on a breakpoint is there by choice.
    pub(super) fn decide_start(&mut self, meeting: &Meeting) -> ControlFlow<StopReason> {
        let decided = self.decide_modes(meeting, &vec![0.0; self.field.n_switches()])?;
        let open = meeting.resting.iter().filter(|c| self.is_open(&self.mode, **c)).copied().collect();
        self.look_ahead(open, decided.is_none(), true)
    }

    /// By the first derivatives: one after the other where that will do, else together, of which nothing is returned.
    fn decide_modes(&mut self, meeting: &Meeting, rates: &[f64]) -> ControlFlow<StopReason, Option<Vec<Contact>>> {
        self.undecided.clone_from(&self.mode);
        // Where nothing has come, several ways on are compared.
        let is_compared = self.stats.steps == 0 && (2..=MOST_COMPARED).contains(&meeting.resting.len());
        let are_too_many = self.stats.steps == 0 && meeting.resting.len() > MOST_TOGETHER;
        let is_generic =
            self.mode.attached().is_empty() && self.field.meets_regularly() && !is_compared && !are_too_many;
        let generic = if is_generic { self.decide_generic(meeting) } else { Err(ResolveError::Undecided) };
        // What has come and stands still does so because others hold it.
        let rests = |c: &Contact| self.is_open(&self.mode, *c);
        let are_held = generic.is_ok() && !self.mode.sliding().is_empty() && meeting.hits.iter().any(rests);
        match generic {
            Ok(repelled) if !are_held => ControlFlow::Continue(Some(repelled)),
            Ok(_) => {
                self.mode.clone_from(&self.undecided);
                self.decide_jointly(meeting, rates, false)?;
                ControlFlow::Continue(None)
            }
            Err(ResolveError::NonFinite(error)) => ControlFlow::Break(StopReason::NonFinite { what: error.what }),
            Err(ResolveError::Undecided) => {
                self.mode.clone_from(&self.undecided);
                self.decide_jointly(meeting, rates, is_generic)?;
                ControlFlow::Continue(None)
            }
        }
    }

    /// One contact after the other.
    pub(super) fn decide_generic(&mut self, meeting: &Meeting) -> Result<Vec<Contact>, ResolveError> {
        let repelled = self.resolve_here(meeting)?;
        if self.field.slides_regularly() { Ok(repelled) } else { Err(ResolveError::Undecided) }
    }

    fn resolve_here(&mut self, meeting: &Meeting) -> Result<Vec<Contact>, ResolveError> {
        let n_before = self.work.n_evaluations;
        let result = resolve(self.field, &self.y, &mut self.mode, meeting, &mut self.work);
        self.stats.evaluations += self.work.n_evaluations - n_before;
        self.stats.rate_evaluations += self.work.n_evaluations - n_before;
        result
    }

    /// All contacts at once, from their local model. `was_tried` says that one after the other has failed.
    fn decide_jointly(&mut self, meeting: &Meeting, rates: &[f64], was_tried: bool) -> ControlFlow<StopReason> {
        let mut contacts = self.mode.contacts_with(&meeting.hits);
        contacts.extend(self.mode.attached().iter().chain(&meeting.resting).chain(&meeting.forced));
        contacts.sort_unstable();
        contacts.dedup();
        let undecided = StopReason::Undecided { n_contacts: contacts.len() };
        if !self.field.noise().1 {
            self.field.measure_noise();
        }
        let made =
            if contacts.len() > MOST_LOCAL { Ok(None) } else { self.field.local_model(&self.y, &self.mode, &contacts) };
        let model = match made {
            Ok(model) => model,
            Err(error) => return ControlFlow::Break(StopReason::NonFinite { what: error.what }),
        };
        self.stats.evaluations += 1;
        let sides: Vec<Option<Side>> = contacts.iter().map(|&c| self.mode.side(c)).collect();
        let place = |contact: &Contact| contacts.binary_search(contact).ok();
        let local = |exit: &Exit| {
            place(&exit.contact).map(|switch| Exit { contact: Contact { switch, breakpoint: 0 }, ..*exit })
        };
        let exits: Vec<Exit> = meeting.exits.iter().filter_map(local).collect();
        let hits: Vec<bool> = contacts.iter().map(|c| meeting.hits.contains(c)).collect();
        let come: Vec<f64> = contacts.iter().map(|c| rates[c.switch]).collect();
        let is_start = self.stats.steps == 0;
        let arrival = Arrival { sides: &sides, rates: &come, exits: &exits, hits: &hits, is_start };
        match model.map(|model| model.settle(arrival)) {
            Some(Ok((settled, other))) => {
                adopt(&mut self.mode, &contacts, &settled);
                if let Some(contact) = other.map(|place| contacts[place]) {
                    let kind = BranchKind::SeveralWays;
                    self.observer.branch_point(&BranchPoint { t: self.t, contact, kind, margin: 0.0 });
                }
                meeting.forced.iter().for_each(|&contact| self.mode.hold(contact));
            }
            Some(Err(ResolveError::NonFinite(error))) => {
                return ControlFlow::Break(StopReason::NonFinite { what: error.what });
            }
            // A field without a local model, or too many changes: what goes one after the other is the best there is.
            None | Some(Err(ResolveError::Undecided)) => {
                if is_start && self.stays_on_one_side(&contacts) {
                    return ControlFlow::Continue(());
                }
                if was_tried {
                    return ControlFlow::Break(undecided);
                }
                self.mode.attach(Vec::new(), Vec::new());
                return match self.resolve_here(meeting) {
                    Ok(_) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(undecided),
                };
            }
        }
        self.enter_mode()
    }

    /// Where too many contacts meet at a start to be decided together: all of them below their breakpoints, or all above, if that is consistent. Below is
    /// where descent has units whose pre-activations are zero, with the slope 0 at the breakpoint. Lists the start as one of several ways on.
    fn stays_on_one_side(&mut self, contacts: &[Contact]) -> bool {
        for side in [Side::Below, Side::Above] {
            let mut mode = self.mode.clone();
            mode.attach(Vec::new(), Vec::new());
            contacts.iter().for_each(|&contact| mode.place(contact, side));
            let y = std::mem::take(&mut self.y);
            let entered = self.enter(&y, &mode);
            self.y = y;
            let (noise, rates) = (self.field.noise().0, &self.work.rates);
            let stays = |c: &Contact| side.sign() * rates[c.switch] >= -noise.rate(c.switch);
            if entered.is_ok() && contacts.iter().all(stays) {
                self.mode = mode;
                let (contact, kind) = (contacts[0], BranchKind::RepellingStart);
                self.observer.branch_point(&BranchPoint { t: self.t, contact, kind, margin: 0.0 });
                return true;
            }
        }
        false
    }

    /// Decides contacts that have come to stand still from their local model at another point; says whether that was possible.
    fn settle_at(&mut self, y: &[f64], mode: &mut Mode, open: &[Contact]) -> bool {
        let mut contacts = mode.contacts_with(mode.attached());
        contacts.extend(open);
        contacts.sort_unstable();
        contacts.dedup();
        let Ok(Some(model)) = self.field.local_model(y, mode, &contacts) else { return false };
        self.stats.evaluations += 1;
        let sides: Vec<Option<Side>> = contacts.iter().map(|&c| mode.side(c)).collect();
        let (rates, hits) = (vec![0.0; contacts.len()], vec![false; contacts.len()]);
        let is_start = self.stats.steps == 0;
        let arrival = Arrival { sides: &sides, rates: &rates, exits: &[], hits: &hits, is_start };
        let Ok((settled, _)) = model.settle(arrival) else { return false };
        adopt(mode, &contacts, &settled);
        true
    }

    /// Evaluates at the present point in the present mode.
    fn enter_mode(&mut self) -> ControlFlow<StopReason> {
        let (y, mode) = (std::mem::take(&mut self.y), std::mem::take(&mut self.mode));
        let entered = self.enter(&y, &mode);
        (self.y, self.mode) = (y, mode);
        match entered {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(StopReason::NonFinite { what: error.what }),
        }
    }

    /// Field, rates and margins at a point in a mode.
    fn enter(&mut self, y: &[f64], mode: &Mode) -> Result<(), NonFinite> {
        let Self { field, work, stats, .. } = self;
        stats.evaluations += 1;
        stats.rate_evaluations += 1;
        field.eval(y, mode, &mut work.dy)?;
        field.rates(&work.dy, &mut work.rates);
        field.margins(&mut work.margins);
        Ok(())
    }

    /// Contacts that have come to stand still are decided by what they do a little later, on the way that the flow takes: their rates may be zero for this
    /// instant alone, and where their jump is zero as well, nothing else tells.
    fn look_ahead(&mut self, mut open: Vec<Contact>, jointly: bool, is_start: bool) -> ControlFlow<StopReason> {
        if open.is_empty() {
            return ControlFlow::Continue(());
        }
        let speed = norm(&self.work.dy);
        if speed == 0.0 {
            return ControlFlow::Continue(());
        }
        // No further than the residuals stay what they are, nearly.
        let decay = self.field.decay_rate(&self.mode).filter(|decay| *decay > 0.0);
        let step = AHEAD * (norm(&self.y) / speed).min(decay.map_or(f64::INFINITY, |decay| 1.0 / decay));
        let (mut ahead, mut mode) = (self.y.clone(), self.mode.clone());
        for _ in 0..MOST_AHEAD {
            ahead.iter_mut().zip(&self.work.dy).for_each(|(y, d)| *y += step * d);
            let all = mode.contacts_with(&open);
            let is_decided = self.field.project(&mut ahead, &mode, &all).is_ok()
                && self.decide_at(&ahead, &mut mode, &open, jointly);
            if !is_decided || self.enter(&ahead, &mode).is_err() {
                break;
            }
            self.mode.clone_from(&mode);
            if is_start {
                let rates = self.work.rates.clone();
                self.report_other_ways(&ahead, &open, &rates);
                self.work.rates = rates;
            }
            open.retain(|c| self.is_open(&mode, *c));
            if open.is_empty() {
                break;
            }
        }
        self.enter_mode()
    }

    /// Whether nothing is known of a contact where the field was entered last.
    fn is_open(&self, mode: &Mode, contact: Contact) -> bool {
        let noise = self.field.noise().0.rate(contact.switch);
        !mode.attached().contains(&contact)
            && !mode.slides(contact.switch)
            && self.work.rates[contact.switch].abs() <= noise
    }

    /// Decides contacts that have come to stand still at another point; says whether that was possible.
    fn decide_at(&mut self, y: &[f64], mode: &mut Mode, open: &[Contact], jointly: bool) -> bool {
        if jointly {
            return self.settle_at(y, mode, open);
        }
        let meeting = Meeting { resting: open.to_vec(), ..Meeting::default() };
        let n_before = self.work.n_evaluations;
        let is_decided =
            resolve(self.field, y, mode, &meeting, &mut self.work).is_ok() && self.field.slides_regularly();
        self.stats.evaluations += self.work.n_evaluations - n_before;
        self.stats.rate_evaluations += self.work.n_evaluations - n_before;
        is_decided
    }
}

/// Puts contacts where they were decided to be.
fn adopt(mode: &mut Mode, contacts: &[Contact], settled: &Settled) {
    for (&contact, side) in contacts.iter().zip(&settled.sides) {
        match side {
            Some(side) => mode.place(contact, *side),
            None => mode.hold(contact),
        }
    }
    let of = |places: &[usize]| places.iter().map(|&place| contacts[place]).collect();
    mode.attach(of(&settled.attached), of(&settled.idle));
}
