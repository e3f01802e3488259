//! Finds the switches that leave their piece within a step, and the slides that end in it.
//!
//! All surfaces are tested at once from values and rates at both ends of the step: a cubic Hermite interpolant per surface shows
//! sign changes and double crossings inside the step. The few candidates are then followed on the exact switching value.

use super::field::{NonFinite, PiecewiseField, SlideMargin};
use super::mode::{Contact, Mode, Side};
use super::root::{Bracket, cubic_minimum, cubic_root_estimate, first_outside, shrink};
use super::scan::{mark_beyond, mark_near, mark_passing, marked};

/// Rounding floor of a switching value relative to its scale.
pub const VALUE_FLOOR: f64 = 2e-14;

/// A Hermite minimum below this part of the distances involved is checked on the exact value.
const DIP_CHECK: f64 = 0.05;

/// Margins below this part of their resolution vanish together with one that has been located.
const LETTING_GO: f64 = 0.1;

/// Candidates whose estimated root lies this much (in parts of the step) behind the earliest located one are not located.
const ESTIMATE_SLACK: f64 = 0.02;

/// Switching values and rates at one end of a step.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// Values of all switches.
    pub values: Vec<f64>,
    /// Rates of all switches.
    pub rates: Vec<f64>,
    /// Margins of the sliding contacts.
    pub margins: Vec<SlideMargin>,
}

/// Distance of a switch from a breakpoint, measured into its own side.
#[derive(Debug, Clone, Copy)]
pub struct Boundary {
    /// The breakpoint.
    pub contact: Contact,
    /// The side the switch is on.
    pub side: Side,
    /// The breakpoint's value.
    pub at: f64,
}

impl Boundary {
    /// Distance for a switching value.
    pub fn distance(&self, value: f64) -> f64 {
        self.side.sign() * (value - self.at)
    }
}

/// Calls `see` with the at most two breakpoints that bound the piece of a free switch. These scans run over all switches in every
/// step, hence a plain function instead of an iterator chain.
#[inline]
pub fn visit_boundaries<F: PiecewiseField>(field: &F, mode: &Mode, switch: usize, mut see: impl FnMut(Boundary)) {
    if mode.slides(switch) {
        return;
    }
    let (breakpoints, piece) = (field.breakpoints(switch), mode.pieces()[switch]);
    if let Some(breakpoint) = piece.checked_sub(1) {
        let at = breakpoints[usize::from(breakpoint)];
        see(Boundary { contact: Contact { switch, breakpoint }, side: Side::Above, at });
    }
    if let Some(&at) = breakpoints.get(usize::from(piece)) {
        see(Boundary { contact: Contact { switch, breakpoint: piece }, side: Side::Below, at });
    }
}

/// Calls `see` with every boundary of its piece that a free switch with one of these values is beyond, and with its distance, which is
/// negative.
pub fn visit_beyond<F: PiecewiseField>(
    field: &F,
    mode: &Mode,
    values: &[f64],
    scratch: &mut Scratch,
    mut see: impl FnMut(Boundary, f64),
) {
    let mut judge = |switch: usize| {
        visit_boundaries(field, mode, switch, |b| {
            let distance = b.distance(values[switch]);
            if distance < 0.0 {
                see(b, distance);
            }
        });
    };
    match field.common_breakpoints() {
        Some(breakpoints) => {
            mark_beyond(breakpoints, mode.pieces(), values, &mut scratch.marks);
            marked(&scratch.marks).for_each(judge);
        }
        None => (0..values.len()).for_each(&mut judge),
    }
}

/// The boundary of a free switch at the breakpoint of `contact`, if it is one.
pub fn boundary_at<F: PiecewiseField>(field: &F, mode: &Mode, contact: Contact) -> Option<Boundary> {
    let mut found = None;
    visit_boundaries(field, mode, contact.switch, |b| {
        if b.contact == contact {
            found = Some(b);
        }
    });
    found
}

/// Rounding floor of the distance to a boundary.
pub fn floor<F: PiecewiseField>(field: &F, boundary: &Boundary) -> f64 {
    let switch = boundary.contact.switch;
    (VALUE_FLOOR * (field.scale(switch) + boundary.at.abs())).max(field.noise().0.value(switch))
}

/// A boundary that is left within the step.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    boundary: Boundary,
    /// The step's start lies on the breakpoint itself.
    fresh: bool,
    estimate: f64,
    /// A place in the step where the boundary has been passed.
    outside: f64,
}

/// A closest approach to a breakpoint inside a step without passing it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Approach {
    /// Where.
    pub contact: Contact,
    /// Part of the step.
    pub x: f64,
    /// Distance left, relative to the scale of the switch.
    pub distance: f64,
}

/// The earliest event of a step.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Part of the step at which it happens, in [0, 1].
    pub x: f64,
    /// Free switches that reach a breakpoint there.
    pub hits: Vec<Contact>,
    /// Slides that end there.
    pub exits: Vec<Exit>,
}

/// The end of a slide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exit {
    /// What slid.
    pub contact: Contact,
    /// The side it leaves to.
    pub side: Side,
    /// Rates that the two sides differ by: what its rate is compared with, which begins at zero.
    pub rate_scale: f64,
}

/// Memory that location uses again from step to step.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// What the last scan found; see [`Located::suspect`].
    suspicions: Vec<Suspicious>,
    /// Closest approaches inside the step; see [`Located::earliest`].
    pub approaches: Vec<Approach>,
    /// Margins of the sliding contacts at a place inside the step.
    pub margins: Vec<SlideMargin>,
    /// Switches marked in a scan.
    pub marks: Vec<u8>,
    candidates: Vec<Candidate>,
    /// Margins while an exit is located: at the last place, and at the last one behind the exit; and which slides end.
    exit_margins: [Vec<SlideMargin>; 2],
    ending: Vec<usize>,
    /// An event that came to nothing, whose lists the next one takes over.
    pub spare: Found,
}

/// One attempted step, as event location sees it.
pub struct Located<'a, F> {
    /// The field.
    pub field: &'a mut F,
    /// The frozen mode.
    pub mode: &'a Mode,
    /// Length of the step.
    pub h: f64,
    /// Start of the step; `fresh` contacts start exactly on their breakpoint.
    pub start: &'a End,
    /// End of the step.
    pub end: &'a End,
    /// Contacts that are on their breakpoint at the start, freshly placed.
    pub fresh: &'a [Contact],
    /// Contacts whose margins are ignored during this step.
    pub forced: &'a [Contact],
    /// Closest approaches below this, relative to the scale of the switch, are looked at and reported.
    pub narrow: f64,
    /// Resolution of x.
    pub x_tol: f64,
    /// Dense output.
    pub dense: &'a dyn Fn(f64, &mut [f64]),
    /// Scratch of length dim.
    pub y: &'a mut [f64],
    /// Scratch of length dim.
    pub dy: &'a mut [f64],
    /// Other scratch.
    pub scratch: &'a mut Scratch,
    /// Where the field was last evaluated, if that was in this step.
    pub evaluated_at: Option<f64>,
    /// Field evaluations made here.
    pub n_evaluations: u64,
    /// Single switching values computed here.
    pub n_single_values: u64,
}

impl<F: PiecewiseField> Located<'_, F> {
    /// The earliest event, if any, among the boundaries that [`suspect`](Self::suspect) has found; closest approaches are added to the
    /// scratch.
    pub fn earliest(&mut self) -> Option<Found> {
        let mut candidates = std::mem::take(&mut self.scratch.candidates);
        candidates.clear();
        // Each becomes one or the other; room for both means that neither list grows in a step without an event.
        candidates.reserve(self.scratch.suspicions.len());
        self.scratch.approaches.reserve(self.scratch.suspicions.len());
        for k in 0..self.scratch.suspicions.len() {
            let Suspicious { boundary, fresh, suspicion } = self.scratch.suspicions[k];
            match suspicion {
                Suspicion::Left { estimate } => {
                    candidates.push(Candidate { boundary, fresh, estimate, outside: 1.0 });
                }
                Suspicion::Dip { x } => {
                    let (x, distance) = self.follow_dip(&boundary, x);
                    let scale = self.field.scale(boundary.contact.switch) + boundary.at.abs();
                    if distance < -floor(self.field, &boundary) {
                        candidates.push(Candidate { boundary, fresh, estimate: x, outside: x });
                    } else {
                        let (contact, distance) = (boundary.contact, distance.max(0.0) / scale);
                        self.scratch.approaches.push(Approach { contact, x, distance });
                    }
                }
            }
        }
        candidates.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let mut first: Option<(f64, Contact)> = None;
        for candidate in &candidates {
            let best = first.map_or(1.0, |(x, _)| x);
            if candidate.estimate > best + ESTIMATE_SLACK {
                break;
            }
            let x = self.locate(candidate);
            if first.is_none() || x < best {
                first = Some((x, candidate.boundary.contact));
            }
        }
        self.scratch.candidates = candidates;
        let (x, contact) = first?;
        let mut hits = std::mem::take(&mut self.scratch.spare.hits);
        hits.clear();
        hits.push(contact);
        Some(Found { x, hits, exits: Vec::new() })
    }

    /// Puts `y` at part `x` of the step and the field's last evaluation there, unless that is where it is.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn stand_at(&mut self, x: f64) -> Result<(), NonFinite> {
        (self.dense)(x, self.y);
        if self.evaluated_at == Some(x) {
            return Ok(());
        }
        self.evaluated_at = None;
        self.n_evaluations += 1;
        self.field.eval(self.y, self.mode, self.dy)?;
        self.evaluated_at = Some(x);
        Ok(())
    }

    /// The instant in (0, x_high] at which the first slide lets go, given margins at `x_high`; `None` when none does.
    /// The field's last evaluation is mostly there. Only slides that have let go by `x_high` are asked where they did: one that is held by
    /// nothing all along would hide where another one ends.
    pub fn earliest_exit(&mut self, x_high: f64, margins_high: &[SlideMargin]) -> Option<Found> {
        let mut ending = std::mem::take(&mut self.scratch.ending);
        ending.clear();
        ending.extend(self.judged(margins_high).filter(|(_, _, m)| m.is_over()).map(|(at, _, _)| at));
        if ending.is_empty() {
            self.scratch.ending = ending;
            return None;
        }
        let [mut margins, mut at_outside] = std::mem::take(&mut self.scratch.exit_margins);
        at_outside.clear();
        at_outside.extend_from_slice(margins_high);
        let worst_of =
            |margins: &[SlideMargin]| ending.iter().map(|&e| margins[e].relative()).fold(f64::INFINITY, f64::min);
        let start = worst_of(&self.start.margins);
        let mut bracket = Bracket { inside: (0.0, start), outside: (x_high, worst_of(margins_high)) };
        let mut evaluate = |this: &mut Self, x: f64| {
            // A non-finite value inside an accepted step cannot be: treat it as outside, so that the step is cut before it.
            if this.stand_at(x).is_err() {
                return f64::MIN;
            }
            this.field.margins(&mut margins);
            let worst = worst_of(&margins);
            if worst < 0.0 {
                at_outside.clone_from(&margins);
            }
            worst
        };
        if start <= 0.0 {
            // Sliding began, or was left, right at its limit: look for a place where it is firm.
            let mut x = x_high;
            let firm = (0..20).find_map(|_| {
                x *= 0.25;
                let value = evaluate(self, x);
                if value <= 0.0 {
                    bracket.outside = (x, value);
                }
                (value > 0.0).then_some((x, value))
            });
            bracket.inside = firm.unwrap_or((0.0, 0.0));
            if firm.is_none() {
                bracket.outside.0 = 0.0;
            }
        }
        let x_tol = self.x_tol;
        let x = first_outside(bracket, x_tol, |x| evaluate(self, x));
        let exits = self.letting_go(&at_outside);
        self.scratch.exit_margins = [margins, at_outside];
        self.scratch.ending = ending;
        Some(Found { x, hits: Vec::new(), exits })
    }

    /// Locates the boundary of `contact`, known to be passed at `x_high`.
    pub fn locate_before(&mut self, contact: Contact, x_high: f64) -> Option<f64> {
        let boundary = boundary_at(self.field, self.mode, contact)?;
        let fresh = self.fresh.contains(&contact);
        Some(self.locate(&Candidate { boundary, fresh, estimate: x_high, outside: x_high }))
    }

    /// Adds to `hits` all free switches that reach a breakpoint at the field's last point within `same_time`; returns one that has passed
    /// its breakpoint earlier than that, if any.
    pub fn gather(&mut self, rates: &[f64], same_time: f64, hits: &mut Vec<Contact>) -> Option<Contact> {
        let mut overtaken = None;
        let mut marks = std::mem::take(&mut self.scratch.marks);
        let values = self.field.values();
        let mut judge = |j: usize| {
            let (value, rate) = (values[j], rates[j]);
            visit_boundaries(&*self.field, self.mode, j, |b| {
                let distance = b.distance(value);
                let approach = -b.side.sign() * rate;
                // Most switches are far away; only the others are worth their rounding floor.
                if distance > (approach * same_time).max(0.0) && distance > 1e-9 * (self.field.scale(j) + b.at.abs()) {
                    return;
                }
                let slack = (approach * same_time).max(2.0 * floor(&*self.field, &b));
                if hits.contains(&b.contact) || self.mode.attached().contains(&b.contact) {
                    return;
                }
                if distance < -slack {
                    overtaken = Some(b.contact);
                } else if approach > 0.0 && (approach * same_time >= distance || distance < 0.0) {
                    hits.push(b.contact);
                }
            });
        };
        match self.field.common_breakpoints() {
            Some(breakpoints) => {
                let largest = breakpoints.iter().fold(0.0, |largest: f64, b| largest.max(b.abs()));
                let near = 1e-9 * (self.field.largest_scale() + largest);
                mark_near(breakpoints, &self.start.values, (values, rates), (near, same_time), &mut marks);
                // On which side of its breakpoint a fresh contact started is rounding.
                self.fresh.iter().for_each(|contact| marks[contact.switch] = 1);
                marked(&marks).for_each(&mut judge);
            }
            None => (0..values.len()).for_each(&mut judge),
        }
        self.scratch.marks = marks;
        overtaken
    }

    /// Whether the ends of the step leave open that a slide ends inside it.
    pub fn slides_in_question(&self) -> bool {
        self.judged(&self.end.margins).any(|(_, _, m)| m.is_over()) || self.margins_may_dip()
    }

    /// A margin that is small compared with its own change over the step could have been negative inside it.
    pub fn margins_may_dip(&self) -> bool {
        self.judged(&self.start.margins).any(|(at, _, a)| {
            let b = &self.end.margins[at];
            let may_dip = |p: f64, q: f64| q >= 0.0 && p.min(q) < (p - q).abs() && p > a.resolution;
            may_dip(a.below, b.below) || may_dip(a.above, b.above)
        })
    }

    /// Slides whose margins count, with their place among all.
    fn judged<'m>(&'m self, margins: &'m [SlideMargin]) -> impl Iterator<Item = (usize, Contact, &'m SlideMargin)> {
        let pairs = self.mode.sliding().iter().zip(margins).enumerate();
        pairs.filter(|(_, (c, _))| !self.forced.contains(c)).map(|(at, (c, m))| (at, *c, m))
    }

    /// The sliding contacts that let go where `margins` were read, at the end of a slide located to the resolution of time: the worst
    /// one, and those that cannot be told from it. Margins of one sample often vanish together, with its residual.
    fn letting_go(&mut self, margins: &[SlideMargin]) -> Vec<Exit> {
        let mut exits = std::mem::take(&mut self.scratch.spare.exits);
        exits.clear();
        let worst = self.judged(margins).map(|(_, _, m)| m).fold(None, |worst: Option<&SlideMargin>, m| match worst {
            Some(worst) if worst.relative() <= m.relative() => Some(worst),
            _ => Some(m),
        });
        // Far smaller than the worst it has only just begun to cross zero, unless both are rounding.
        let clear = worst.filter(|m| m.is_over()).map(|m| 0.1 * m.relative());
        let lets_go = |m: &SlideMargin| clear.map_or(m.least() <= LETTING_GO * m.resolution, |c| m.relative() <= c);
        let all = self.judged(margins).filter(|(_, _, m)| lets_go(m));
        exits.extend(all.map(|(_, contact, m)| Exit { contact, side: m.exit(), rate_scale: m.rate_scale() }));
        exits
    }

    /// Finds the boundaries that the cubic through both ends of the step does not clear, and says whether there are any. None, and no
    /// slide in question, means no event.
    pub fn suspect(&mut self) -> bool {
        let mut found = std::mem::take(&mut self.scratch.suspicions);
        let mut marks = std::mem::take(&mut self.scratch.marks);
        found.clear();
        let mut judge = |switch: usize| {
            let (rate_0, rate_1) = (self.start.rates[switch], self.end.rates[switch]);
            // Three times what the Bézier coefficients add to the values at most.
            let reach = self.h * (rate_0.abs() + rate_1.abs());
            let turns = rate_0 * rate_1 < 0.0;
            visit_boundaries(&*self.field, self.mode, switch, |boundary| {
                let nearest =
                    boundary.distance(self.start.values[switch]).min(boundary.distance(self.end.values[switch]));
                if nearest > reach && !turns {
                    return;
                }
                let sign = boundary.side.sign();
                let fresh = !self.fresh.is_empty() && self.fresh.contains(&boundary.contact);
                let g0 = if fresh { 0.0 } else { boundary.distance(self.start.values[switch]).max(0.0) };
                let g1 = boundary.distance(self.end.values[switch]);
                let (d0, d1) = (sign * rate_0 * self.h, sign * rate_1 * self.h);
                // Most switches are far away compared with their motion and do not turn around: nothing else is asked of them.
                let lowest = (g0 + d0 / 3.0).min(g1 - d1 / 3.0).min(g1);
                let spread = g0.max(g1).max(g0 + d0 / 3.0).max(g1 - d1 / 3.0);
                if lowest > DIP_CHECK * spread && (d0 >= 0.0 || d1 <= 0.0) {
                    return;
                }
                // What an attached one seems to do is rounding.
                if fresh && self.mode.attached().contains(&boundary.contact) {
                    return;
                }
                if let Some(suspicion) = self.suspicion(&boundary, fresh, (g0, g1), (d0, d1)) {
                    found.push(Suspicious { boundary, fresh, suspicion });
                }
            });
        };
        match self.field.common_breakpoints() {
            Some(breakpoints) => {
                mark_passing(breakpoints, self.start, self.end, self.h, &mut marks);
                marked(&marks).for_each(&mut judge);
            }
            None => (0..self.end.values.len()).for_each(&mut judge),
        }
        let any = !found.is_empty();
        (self.scratch.suspicions, self.scratch.marks) = (found, marks);
        any
    }

    /// Judges a boundary from its distances and their slopes (per unit x) at both ends of the step.
    fn suspicion(&self, boundary: &Boundary, fresh: bool, g: (f64, f64), d: (f64, f64)) -> Option<Suspicion> {
        // Bézier coefficients: while all are positive the cubic cannot reach zero.
        let (c0, c1) = (g.0 + d.0 / 3.0, g.1 - d.1 / 3.0);
        let lowest = c0.min(c1).min(g.1);
        let spread = g.0.max(g.1).max(c0).max(c1);
        // Far from the breakpoint compared with its own motion, and not turning back close to it either.
        let is_turning = d.0 < 0.0 && d.1 > 0.0;
        let scale = || self.field.scale(boundary.contact.switch) + boundary.at.abs();
        let is_near = |distance: f64| is_turning && distance < self.narrow * scale();
        if lowest > DIP_CHECK * spread && !is_near(lowest) {
            return None;
        }
        let floor = floor(&*self.field, boundary);
        if g.1 < -floor || (g.1 < 0.0 && d.1 < -floor) {
            return Some(Suspicion::Left { estimate: cubic_root_estimate(g, d) });
        }
        let (x, minimum) = cubic_minimum(g, d)?;
        // A switch that has just left its breakpoint has its minimum there.
        let is_start = fresh && x < DIP_CHECK && minimum > -floor;
        let is_close = minimum < DIP_CHECK * spread || is_near(minimum);
        (!is_start && is_close).then_some(Suspicion::Dip { x })
    }

    /// Minimises the exact distance near `x`; stops early once it is negative.
    fn follow_dip(&mut self, boundary: &Boundary, x: f64) -> (f64, f64) {
        let floor = floor(self.field, boundary);
        let mut width = 0.1_f64;
        let mut best = (x, self.distance_at(boundary, x));
        for _ in 0..12 {
            if best.1 < -floor {
                break;
            }
            let (left, right) = ((best.0 - width).max(0.0), (best.0 + width).min(1.0));
            let (g_left, g_right) = (self.distance_at(boundary, left), self.distance_at(boundary, right));
            // The parabola through three points; when it has no interior minimum the smaller end is the better centre.
            let (p, q) = ((best.0 - left) * (best.1 - g_right), (best.0 - right) * (best.1 - g_left));
            let numerator = (best.0 - left) * p - (best.0 - right) * q;
            let vertex = best.0 - 0.5 * numerator / (p - q);
            let mut next =
                [(left, g_left), (right, g_right)].into_iter().fold(best, |b, c| if c.1 < b.1 { c } else { b });
            if vertex.is_finite() && vertex > left && vertex < right && vertex != best.0 {
                let g = self.distance_at(boundary, vertex);
                if g < next.1 {
                    next = (vertex, g);
                }
            }
            if (next.1 - best.1).abs() <= floor && width < 0.03 {
                best = next;
                break;
            }
            best = next;
            width *= 0.3;
        }
        best
    }

    fn distance_at(&mut self, boundary: &Boundary, x: f64) -> f64 {
        (self.dense)(x, self.y);
        self.n_single_values += 1;
        boundary.distance(self.field.value_at(self.y, self.mode, boundary.contact.switch))
    }

    fn locate(&mut self, candidate: &Candidate) -> f64 {
        let boundary = &candidate.boundary;
        let at_outside = self.distance_at(boundary, candidate.outside);
        if at_outside >= 0.0 {
            // Passed by less than rounding: the place where that was seen is the root.
            return candidate.outside;
        }
        let at_start = self.distance_at(boundary, 0.0);
        let mut inside = Some((0.0, at_start));
        let mut outside = (candidate.outside, at_outside);
        let mut offset = 0.0;
        if candidate.fresh {
            // On its breakpoint at the start up to rounding, which is taken out; an excursion has to be found before its end can be.
            offset = at_start;
            let mut x = candidate.outside;
            inside = (0..20).find_map(|k| {
                x *= if k == 0 { 0.5 } else { 0.25 };
                let value = self.distance_at(boundary, x) - offset;
                if value <= 0.0 {
                    outside = (x, value);
                }
                (value > 0.0).then_some((x, value))
            });
        }
        let Some(inside) = inside.filter(|(_, value)| *value > 0.0) else { return 0.0 };
        let mut bracket = Bracket { inside, outside };
        if candidate.estimate > bracket.inside.0 && candidate.estimate < bracket.outside.0 {
            let value = self.distance_at(boundary, candidate.estimate) - offset;
            if value >= 0.0 {
                bracket.inside = (candidate.estimate, value);
            } else {
                bracket.outside = (candidate.estimate, value);
            }
        }
        let x_tol = self.x_tol;
        shrink(bracket, x_tol, |x| self.distance_at(boundary, x) - offset).best()
    }
}

/// A boundary that may be left inside a step, judged from the step's ends alone.
#[derive(Debug, Clone, Copy)]
pub struct Suspicious {
    boundary: Boundary,
    /// The step's start lies on the breakpoint itself.
    fresh: bool,
    suspicion: Suspicion,
}

/// What the ends of a step say about a boundary.
#[derive(Debug, Clone, Copy)]
enum Suspicion {
    /// It has been passed at the end.
    Left {
        /// Hermite estimate of the root.
        estimate: f64,
    },
    /// It is approached, perhaps passed twice, inside.
    Dip {
        /// Hermite estimate of the closest approach.
        x: f64,
    },
}
