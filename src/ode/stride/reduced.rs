//! The active switches of a stride by themselves: their values, outputs and seeds as functions of time, events included.
//!
//! With coefficients ζ (rates at zero seeds), μ⁰ (∂L/∂a at zero seeds), Γ = VVᵀ, links M, position corrections π′ and slopes S (0 while
//! sliding),
//!
//!   μ = μ⁰ + MᵀD,  D = Sμ, or a multiplier while sliding,  ż = ζ + π′ + M S ż − ΓD,  ż = 0 while sliding.
//!
//! ζ, μ⁰ and π′ are quadratics and a line in x, the part of the stride that has passed; Γ and M are constant. As long as no mode changes,
//! D and ż are quadratics, z is a cubic, and both follow exactly. All of this costs nothing that grows with the network.

use super::crossing::{first_negative, first_return};
use super::held::{Couplings, Held};
use super::quadrature::{Quadratic, at, integral, second_integral, shifted};
use crate::ode::contact::INSIDE;
use crate::ode::cut::Link;
use crate::ode::event::Exit;
use crate::ode::field::{NonFinite, OTHERS, SlideMargin};
use crate::ode::mode::{Contact, Mode, Side};
use crate::ode::noise::Noise;
use crate::ode::observer::{BranchKind, BranchPoint, Change};
use crate::ode::resolve::{ContactField, Meeting, Workspace, changes, resolve};
use crate::vector::vectorised;

/// Events closer together than this part of a stride are one event.
const SIMULTANEOUS: f64 = 1e-14;

/// Events in a row without time moving on after which a stride is given up.
const MOST_AT_ONCE: usize = 60;

/// Why the active switches could not be followed.
#[derive(Debug, Clone, PartialEq)]
pub enum Stuck {
    /// Modes could not be decided.
    Undecided,
    /// Surfaces that depend on each other have met.
    Coincident,
    /// Events without end at one instant.
    Chatter,
    /// A number that is not finite.
    NonFinite,
}

/// An event of a stride.
#[derive(Debug, Clone, PartialEq)]
pub struct Instant {
    /// Part of the stride that has passed.
    pub x: f64,
    /// Changes, with positions among the active switches for switches, and rates per stride.
    pub changes: Vec<Change>,
    /// Branch points, with positions for switches and x for times.
    pub branches: Vec<BranchPoint>,
    /// ∫ of what depends on the active switches in ‖θ̇‖²·h, up to here.
    pub dissipated: f64,
    /// ∫ D of all active switches up to here.
    pub seeds: Vec<f64>,
    /// Multipliers of the switches that slide just before.
    pub before: Vec<f64>,
    /// Those of the switches that slide just after.
    pub after: Vec<f64>,
}

/// Coefficients of the reduced system, and its solution in the mode tried last.
#[derive(Debug, Clone, Default)]
pub struct Reduced {
    /// Intercept and slope of every piece.
    pub lines: Vec<(f64, f64)>,
    /// The breakpoints.
    pub breakpoints: Vec<f64>,
    /// ζ per stride.
    pub zeta: Vec<Quadratic>,
    /// μ⁰.
    pub mu0: Vec<Quadratic>,
    /// π′ per stride.
    pub drift: Vec<Quadratic>,
    /// Γ per stride, column-major.
    pub gram: Vec<f64>,
    /// M.
    pub links: Vec<Link>,
    /// Groups, see [`CutField::group`](crate::ode::CutField::group).
    pub groups: Vec<Option<usize>>,
    x: f64,
    slope: Vec<f64>,
    /// D, μ and ż in the mode tried last.
    seeds: Vec<Quadratic>,
    mu: Vec<Quadratic>,
    rates: Vec<Quadratic>,
    /// Seeds without multipliers, and Γ times them.
    free: (Vec<Quadratic>, Vec<Quadratic>),
    held: Held,
    /// max |μ| of the layer of each switch at the start of the stride.
    pub largest_mu: Vec<f64>,
    /// The largest rate of any switch there, per stride.
    pub largest_rate: f64,
    /// Rounding of rates and of μ.
    pub noise: Noise,
}

/// What a stride needs to know of its active switches at one of the [`RECORDED`](super::quadrature::RECORDED) abscissae.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Values.
    pub z: Vec<f64>,
    /// Mode.
    pub mode: Mode,
    /// ∫ D, ∫∫ D and ∫ a up to there.
    pub integrals: Vec<[f64; 3]>,
}

impl Reduced {
    /// Number of active switches.
    pub fn len(&self) -> usize {
        self.zeta.len()
    }

    /// Output of a switch in `mode` at value z.
    pub fn output(&self, mode: &Mode, c: usize, z: f64) -> f64 {
        let (intercept, slope) = self.lines[usize::from(mode.pieces()[c])];
        if mode.slides(c) {
            intercept + slope * self.breakpoints[usize::from(mode.pieces()[c])]
        } else {
            intercept + slope * z
        }
    }

    /// Slope of a switch in `mode`, 0 while it slides.
    pub fn slope(&self, mode: &Mode, c: usize) -> f64 {
        if mode.slides(c) { 0.0 } else { self.lines[usize::from(mode.pieces()[c])].1 }
    }

    /// D, μ and ż in `mode`, as polynomials in x.
    fn solve(&mut self, mode: &Mode) {
        let m = self.len();
        let Self { lines, zeta, mu0, drift, gram, links, slope, seeds, mu, rates, free, held, .. } = self;
        slope.clear();
        slope.extend((0..m).map(|c| if mode.slides(c) { 0.0 } else { lines[usize::from(mode.pieces()[c])].1 }));
        // Seeds without multipliers, deepest switches first.
        mu.clone_from(mu0);
        send_back(links, slope, mu, seeds);
        let (known, products) = free;
        if known.len() != m {
            *known = vec![[0.0; 3]; m];
            *products = vec![[0.0; 3]; m];
        }
        for (c, (seed, known)) in seeds.iter().zip(known.iter_mut()).enumerate() {
            if seed != known {
                let change: Quadratic = std::array::from_fn(|k| seed[k] - known[k]);
                *known = *seed;
                add_column(&gram[c * m..(c + 1) * m], change, products);
            }
        }
        rates.clear();
        rates.extend(
            (0..m).map(|c| -> Quadratic { std::array::from_fn(|k| zeta[c][k] + drift[c][k] - products[c][k]) }),
        );
        send_on(links, slope, rates);
        let couplings = Couplings { gram, links, slope };
        held.update(couplings, mode);
        if !mode.sliding().is_empty() {
            held.hold(couplings, rates, seeds);
            // μ with the seeds as they are now.
            mu.clone_from(mu0);
            for link in &*links {
                (0..3).for_each(|k| mu[link.source][k] += link.weight * seeds[link.reader][k]);
            }
        }
    }

    /// Margin of a sliding contact below and above, as polynomials.
    fn margin(&self, contact: Contact) -> [Quadratic; 2] {
        let c = contact.switch;
        let (low, high) = self.one_sided(contact);
        let (delta, mu) = (&self.seeds[c], &self.mu[c]);
        [std::array::from_fn(|k| delta[k] - low * mu[k]), std::array::from_fn(|k| high * mu[k] - delta[k])]
    }

    fn one_sided(&self, contact: Contact) -> (f64, f64) {
        let piece = usize::from(contact.breakpoint);
        (self.lines[piece].1, self.lines[piece + 1].1)
    }

    /// The margins of a sliding contact at x.
    fn slide_margin(&self, contact: Contact) -> SlideMargin {
        let c = contact.switch;
        let (low, high) = self.one_sided(contact);
        let [below, above] = self.margin(contact).map(|q| at(&q, self.x));
        let (delta, mu) = (at(&self.seeds[c], self.x), at(&self.mu[c], self.x));
        let noise = (self.noise.rate(c), self.noise.sensitivity(c));
        let own = SlideMargin::of(delta, mu, (low, high), self.gram[c * (self.len() + 1)], noise);
        let scale = own.scale + low.abs().max(high.abs()) * OTHERS * self.largest_mu[c];
        SlideMargin { below, above, scale, ..own }
    }

    /// Follows the switches from x = 0 to 1, from values `z` in `mode`; `z` of a switch on a breakpoint is exactly that. Returns the events
    /// and ∫ of what depends on the active switches in ‖θ̇‖²·h.
    ///
    /// # Errors
    /// When modes cannot be decided, or events do not end.
    pub fn run(
        &mut self,
        z: &mut [f64],
        mode: &mut Mode,
        abscissae: &[f64],
        recorded: &mut Vec<Recorded>,
        work: &mut Workspace,
    ) -> Result<(Vec<Instant>, f64), Stuck> {
        let m = self.len();
        recorded.clear();
        recorded.resize_with(abscissae.len(), Recorded::default);
        recorded.iter_mut().for_each(|r| r.integrals.resize(m, [0.0; 3]));
        self.free.0.clear();
        self.held.begin(&self.groups);
        self.x = 0.0;
        self.solve(mode);
        let mut instants: Vec<Instant> = Vec::new();
        let (mut dissipated, mut at_once) = (0.0, 0);
        let mut seeds = vec![0.0; m];
        work.dy.resize(m, 0.0);
        work.rates.resize(m, 0.0);
        loop {
            if self.rates.iter().chain(&self.seeds).any(|q| !q.iter().all(|v| v.is_finite())) {
                return Err(Stuck::NonFinite);
            }
            let left = 1.0 - self.x;
            let (y, meeting) = self.next_event(z, mode, left);
            let x_end = if meeting.is_none() { 1.0 } else { (self.x + y).min(1.0) };
            self.record(z, mode, (self.x, x_end), abscissae, recorded);
            dissipated += self.dissipation(x_end);
            for (sum, seed) in seeds.iter_mut().zip(&self.seeds) {
                *sum += integral(&shifted(seed, self.x), x_end - self.x);
            }
            for (c, z) in z.iter_mut().enumerate().filter(|(c, _)| !mode.slides(*c)) {
                *z += integral(&shifted(&self.rates[c], self.x), x_end - self.x);
            }
            at_once = if x_end - self.x <= SIMULTANEOUS { at_once + 1 } else { 0 };
            self.x = x_end;
            let Some(mut meeting) = meeting else { return Ok((instants, dissipated)) };
            if at_once > MOST_AT_ONCE {
                return Err(Stuck::Chatter);
            }
            for hit in &meeting.hits {
                z[hit.switch] = self.breakpoints[usize::from(hit.breakpoint)];
            }
            meeting.resting = self.on_breakpoint(z, mode);
            meeting.resting.retain(|c| !meeting.hits.contains(c));
            if self.coincide(&meeting, mode) {
                return Err(Stuck::Coincident);
            }
            let before = (mode.clone(), self.rates.iter().map(|r| at(r, x_end)).collect::<Vec<_>>());
            let held_before = self.multipliers(mode);
            let mut branches = self.narrow_events(&meeting, &before.1);
            let touching: Vec<Contact> =
                meeting.hits.iter().chain(&meeting.resting).chain(mode.sliding()).copied().collect();
            let lost = resolve(self, z, mode, &meeting, work).map_err(|_| Stuck::Undecided)?;
            let branch = |contact| BranchPoint { t: x_end, contact, kind: BranchKind::LostAttraction, margin: 0.0 };
            branches.extend(lost.into_iter().map(branch));
            let changes = changes((&before.0, &before.1), (mode, &work.rates), touching.into_iter(), &meeting.hits);
            instants.push(Instant {
                x: x_end,
                changes,
                branches,
                dissipated,
                seeds: seeds.clone(),
                before: held_before,
                after: self.multipliers(mode),
            });
        }
    }

    /// Whether a switch that reaches its breakpoint does so together with one that it reads or is read by, or whose surface is the same.
    fn coincide(&self, meeting: &Meeting, mode: &Mode) -> bool {
        let m = self.len();
        let square = |c: usize| self.gram[c * (m + 1)];
        let same = |a: usize, b: usize| {
            let product = self.gram[a * m + b];
            product * product >= (1.0 - INSIDE) * square(a) * square(b)
        };
        let here = || meeting.hits.iter().chain(&meeting.resting).map(|contact| contact.switch);
        let linked = |a: usize, b: usize| {
            let readers = self.links.partition_point(|link| link.reader < a)..;
            self.links[readers].iter().take_while(|link| link.reader == a).any(|link| link.source == b)
        };
        meeting.hits.iter().map(|contact| contact.switch).any(|hit| {
            square(hit) <= 0.0
                || mode.sliding().iter().any(|slide| same(hit, slide.switch))
                || here().any(|other| other != hit && (same(hit, other) || linked(hit, other) || linked(other, hit)))
        })
    }

    /// Multipliers of the switches that slide in the mode tried last.
    fn multipliers(&self, mode: &Mode) -> Vec<f64> {
        mode.sliding().iter().map(|contact| at(&self.seeds[contact.switch], self.x)).collect()
    }

    /// ∫ of what depends on the active switches in ‖θ̇‖²·h, from x to `x_end`.
    fn dissipation(&self, x_end: f64) -> f64 {
        // ‖θ̇‖² = ‖g‖² − 2D·ζ + D·ΓD, and ΓD = ζ + π′ − ż + M S ż.
        let mut through = self.rates.clone();
        through.iter_mut().for_each(|r| *r = r.map(|v| -v));
        for link in &self.links {
            let (weight, rate) = (link.weight * self.slope[link.source], self.rates[link.source]);
            (0..3).for_each(|k| through[link.reader][k] += weight * rate[k]);
        }
        let mut product = [0.0; 5];
        for (c, seed) in self.seeds.iter().enumerate() {
            let other: Quadratic = std::array::from_fn(|k| self.drift[c][k] - self.zeta[c][k] + through[c][k]);
            for (i, s) in seed.iter().enumerate() {
                for (j, o) in other.iter().enumerate() {
                    product[i + j] += s * o;
                }
            }
        }
        let upto =
            |x: f64| product.iter().enumerate().map(|(k, p)| p * x.powi(k as i32 + 1) / (k + 1) as f64).sum::<f64>();
        upto(x_end) - upto(self.x)
    }

    /// Adds the stretch from x to `x_end` to the integrals, and notes values and modes at the abscissae inside it.
    fn record(&self, z: &[f64], mode: &Mode, (x, x_end): (f64, f64), abscissae: &[f64], recorded: &mut [Recorded]) {
        for (record, &abscissa) in recorded.iter_mut().zip(abscissae) {
            if abscissa < x || (abscissa == x && x > 0.0) {
                continue;
            }
            let y = x_end.min(abscissa) - x;
            let is_here = abscissa <= x_end;
            if is_here {
                record.mode.clone_from(mode);
                record.z.clear();
            }
            for (c, sums) in record.integrals.iter_mut().enumerate() {
                let (seed, rate) = (shifted(&self.seeds[c], x), shifted(&self.rates[c], x));
                let seed_integral = integral(&seed, y);
                sums[0] += seed_integral;
                // ∫∫ up to the abscissa: what has been summed up stays on for the rest of the way.
                sums[1] += second_integral(&seed, y) + (abscissa - x - y) * seed_integral;
                if mode.slides(c) {
                    sums[2] += y * self.output(mode, c, z[c]);
                } else {
                    let (intercept, slope) = self.lines[usize::from(mode.pieces()[c])];
                    sums[2] += y * (intercept + slope * z[c]) + slope * second_integral(&rate, y);
                }
                if is_here {
                    let moved = if mode.slides(c) { 0.0 } else { integral(&rate, y) };
                    record.z.push(z[c] + moved);
                }
            }
        }
    }

    /// The first instant in (x, x + left] at which modes are in question.
    fn next_event(&self, z: &[f64], mode: &Mode, left: f64) -> (f64, Option<Meeting>) {
        let mut soonest = left;
        let mut hits: Vec<(f64, Contact)> = Vec::new();
        let size = self.rates.iter().fold(0.0, |m: f64, r| m.max(at(r, self.x).abs()));
        for (c, &z) in z.iter().enumerate().filter(|(c, _)| !mode.slides(*c)) {
            let rate = shifted(&self.rates[c], self.x);
            let piece = usize::from(mode.pieces()[c]);
            for (breakpoint, side) in [(piece.wrapping_sub(1), 1.0), (piece, -1.0)] {
                let Some(b) = self.breakpoints.get(breakpoint) else { continue };
                let distance = side * (z - b);
                let f = [distance, side * rate[0], side * rate[1] / 2.0, side * rate[2] / 3.0];
                let reach = (soonest + SIMULTANEOUS).min(left);
                let found = if distance > 0.0 { first_negative(f, reach) } else { first_return(f, size, reach) };
                if let Some(y) = found {
                    hits.push((y, Contact { switch: c, breakpoint: breakpoint as u16 }));
                    soonest = soonest.min(y);
                }
            }
        }
        let mut exits: Vec<(f64, Exit)> = Vec::new();
        for &contact in mode.sliding() {
            let now = self.slide_margin(contact);
            for (margin, side) in self.margin(contact).iter().zip([Side::Below, Side::Above]) {
                let margin = shifted(margin, self.x);
                let reach = (soonest + SIMULTANEOUS).min(left);
                let tol = now.resolution.max(f64::MIN_POSITIVE);
                let f = [(margin[0] + tol).max(tol), margin[1], margin[2], 0.0];
                if let Some(y) = first_negative(f, reach) {
                    exits.push((y, Exit { contact, side, rate_scale: now.rate_scale() }));
                    soonest = soonest.min(y);
                }
            }
        }
        let now = soonest + SIMULTANEOUS;
        let meeting = Meeting {
            hits: hits.into_iter().filter(|(y, _)| *y <= now).map(|(_, c)| c).collect(),
            exits: exits.into_iter().filter(|(y, _)| *y <= now).map(|(_, e)| e).collect(),
            ..Meeting::default()
        };
        let is_none = meeting.hits.is_empty() && meeting.exits.is_empty();
        (soonest, (!is_none).then_some(meeting))
    }

    /// Free switches that stand on a breakpoint of their piece.
    pub fn on_breakpoint(&self, z: &[f64], mode: &Mode) -> Vec<Contact> {
        let mut found = Vec::new();
        for (c, z) in z.iter().enumerate().filter(|(c, _)| !mode.slides(*c)) {
            let piece = usize::from(mode.pieces()[c]);
            for breakpoint in [piece.wrapping_sub(1), piece] {
                if self.breakpoints.get(breakpoint) == Some(z) {
                    found.push(Contact { switch: c, breakpoint: breakpoint as u16 });
                }
            }
        }
        found
    }

    /// Exits and crossings beyond which the result hangs on the last digits, with the margin that they had.
    fn narrow_events(&self, meeting: &Meeting, rates: &[f64]) -> Vec<BranchPoint> {
        let branch = |contact, kind, margin| BranchPoint { t: self.x, contact, kind, margin };
        let exits = meeting.exits.iter().map(|&Exit { contact, side, .. }| {
            let [below, above] = self.margin(contact);
            let opposite = if side == Side::Below { above } else { below };
            let margin = at(&opposite, self.x).max(0.0) / self.slide_margin(contact).scale;
            branch(contact, BranchKind::NarrowExit, margin)
        });
        let largest = self.largest_rate;
        let crossings = meeting.hits.iter().filter_map(|&contact| {
            let (attraction, noise) = self.attraction(contact);
            let margin = (rates[contact.switch] / largest).powi(2);
            (attraction < -1e-9 * noise).then(|| branch(contact, BranchKind::NarrowCrossing, margin))
        });
        exits.chain(crossings).collect()
    }
}

/// D = S(μ⁰ + MᵀD) without multipliers, on top of μ⁰ in `mu`; deepest switches first.
fn send_back(links: &[Link], slope: &[f64], mu: &mut [Quadratic], seeds: &mut Vec<Quadratic>) {
    seeds.clear();
    seeds.resize(mu.len(), [0.0; 3]);
    let mut rest = links;
    for c in (0..mu.len()).rev() {
        seeds[c] = mu[c].map(|v| slope[c] * v);
        while let Some((link, head)) = rest.split_last().filter(|(link, _)| link.reader == c) {
            (0..3).for_each(|k| mu[link.source][k] += link.weight * seeds[c][k]);
            rest = head;
        }
    }
}

/// ż ← (I − MS)⁻¹ż.
fn send_on(links: &[Link], slope: &[f64], rates: &mut [Quadratic]) {
    for link in links {
        let weight = link.weight * slope[link.source];
        let from = rates[link.source];
        (0..3).for_each(|k| rates[link.reader][k] += weight * from[k]);
    }
}

/// to += column·q.
pub(super) fn add_column(column: &[f64], q: Quadratic, to: &mut [Quadratic]) {
    vectorised!(to.iter_mut().zip(column).for_each(|(t, g)| {
        t[0] += g * q[0];
        t[1] += g * q[1];
        t[2] += g * q[2];
    }));
}

impl ContactField for Reduced {
    fn enter(&mut self, _y: &[f64], mode: &Mode, dy: &mut [f64], rates: &mut [f64]) -> Result<(), NonFinite> {
        self.solve(mode);
        dy.iter_mut().zip(&self.rates).for_each(|(d, r)| *d = at(r, self.x));
        rates.copy_from_slice(dy);
        if rates.iter().all(|r| r.is_finite()) {
            Ok(())
        } else {
            Err(NonFinite { what: "a rate of the active switches".into() })
        }
    }

    fn margins_in(&mut self, mode: &Mode, out: &mut Vec<SlideMargin>) {
        out.clear();
        out.extend(mode.sliding().iter().map(|&contact| self.slide_margin(contact)));
    }

    fn attraction(&self, contact: Contact) -> (f64, f64) {
        let (low, high) = self.one_sided(contact);
        (
            (high - low) * at(&self.mu[contact.switch], self.x),
            (high - low).abs() * OTHERS * self.largest_mu[contact.switch],
        )
    }

    fn noise(&self) -> (&Noise, bool) {
        (&self.noise, true)
    }

    fn measure_noise(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ode::stride::quadrature::RECORDED;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    const BREAKPOINTS: [f64; 1] = [0.0];
    const LINES: [(f64, f64); 2] = [(0.0, 0.1), (0.0, 1.0)];

    /// Eight switches in three layers, those of a sample linked, with coefficients at random; the first three in two groups.
    fn system(seed: u64) -> (Reduced, Mode) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let m = 8;
        let groups: Vec<Option<usize>> = (0..m).map(|c| [5, 2, 5].get(c).copied()).collect();
        let mut random = || 2.0 * rng.random::<f64>() - 1.0;
        let mut rows: Vec<Vec<f64>> = (0..m).map(|_| (0..2 * m).map(|_| random()).collect()).collect();
        for (row, group) in rows.iter_mut().zip(&groups) {
            match group {
                Some(5) => row[m..].fill(0.0),
                Some(_) => row[..m].fill(0.0),
                None => {}
            }
        }
        let gram = (0..m * m).map(|k| rows[k / m].iter().zip(&rows[k % m]).map(|(a, b)| a * b).sum()).collect();
        let mut quadratics = || (0..m).map(|_| [random(), random(), random()]).collect::<Vec<Quadratic>>();
        let (zeta, mu0, mut drift) = (quadratics(), quadratics(), quadratics());
        drift.iter_mut().for_each(|d| *d = [1e-3 * d[0], 1e-3 * d[1], 0.0]);
        let link = |reader, source, weight| Link { reader, source, weight };
        let links = vec![
            link(3, 0, 0.7),
            link(4, 1, -0.4),
            link(6, 0, 0.3),
            link(6, 3, -0.8),
            link(7, 2, 0.5),
            link(7, 4, 0.9),
        ];
        let mut reduced = Reduced {
            lines: LINES.to_vec(),
            breakpoints: BREAKPOINTS.to_vec(),
            zeta,
            mu0,
            drift,
            gram,
            links,
            groups,
            largest_mu: vec![1.0; 8],
            ..Reduced::default()
        };
        reduced.held.begin(&reduced.groups);
        let mut mode = Mode::new((0..m).map(|c| (c % 2) as u16).collect());
        for switch in [1, 3, 6] {
            mode.hold(Contact { switch, breakpoint: 0 });
        }
        (reduced, mode)
    }

    /// The largest residual of the equations in the head of this file, term by term at x.
    fn residual(r: &Reduced, mode: &Mode, x: f64) -> f64 {
        let m = r.len();
        let value = |q: &[Quadratic], c: usize| at(&q[c], x);
        let mut worst = 0.0_f64;
        for c in 0..m {
            let back: f64 =
                r.links.iter().filter(|l| l.source == c).map(|l| l.weight * value(&r.seeds, l.reader)).sum();
            worst = worst.max((value(&r.mu, c) - value(&r.mu0, c) - back).abs());
            let on: f64 = r
                .links
                .iter()
                .filter(|l| l.reader == c)
                .map(|l| l.weight * r.slope(mode, l.source) * value(&r.rates, l.source))
                .sum();
            let pulled: f64 = (0..m).map(|d| r.gram[c * m + d] * value(&r.seeds, d)).sum();
            let rate = value(&r.zeta, c) + value(&r.drift, c) + on - pulled;
            worst = worst.max((value(&r.rates, c) - rate).abs());
            if mode.slides(c) {
                worst = worst.max(rate.abs());
            } else {
                worst = worst.max((value(&r.seeds, c) - r.slope(mode, c) * value(&r.mu, c)).abs());
            }
        }
        worst
    }

    #[test]
    fn the_solution_satisfies_its_equations_in_every_mode() {
        for seed in 0..20 {
            let (mut reduced, mut mode) = system(seed);
            let mut rng = ChaCha8Rng::seed_from_u64(1000 + seed);
            reduced.solve(&mode);
            // Often enough that inverses are made anew on the way.
            for step in 0..150 {
                for x in [0.0, 0.3, 1.0] {
                    let worst = residual(&reduced, &mode, x);
                    assert!(worst < 1e-10, "seed {seed}, step {step}, x {x}: {worst:e}");
                }
                // Columns and inverses of the mode before must not linger.
                for _ in 0..1 + step % 3 {
                    let contact = Contact { switch: rng.random_range(0..8), breakpoint: 0 };
                    match rng.random_range(0..4) {
                        0 => mode.place(contact, Side::Below),
                        1 => mode.place(contact, Side::Above),
                        _ => mode.hold(contact),
                    }
                }
                reduced.solve(&mode);
            }
        }
    }

    #[test]
    fn values_follow_their_rates_and_integrals_are_those_of_the_path() {
        let mut n_events = 0;
        for seed in 0..30 {
            let (mut reduced, _) = system(seed);
            let m = reduced.len();
            let start: Vec<f64> = (0..m).map(|c| if c % 2 == 0 { -0.4 } else { 0.4 }).collect();
            let mode = Mode::new((0..m).map(|c| (c % 2) as u16).collect());
            // The same run cut into pieces: what is recorded at the end of one agrees with a sum over small steps.
            let (mut z, mut end) = (start.clone(), mode.clone());
            let (mut recorded, mut work) = (Vec::new(), Workspace::default());
            let Ok((instants, _)) = reduced.run(&mut z, &mut end, &RECORDED, &mut recorded, &mut work) else {
                continue;
            };
            n_events += instants.len();
            let n = 20_000;
            let mut sums = vec![[0.0; 3]; m];
            let (mut position, mut modes) = (start.clone(), mode.clone());
            let mut next = instants.iter().peekable();
            for k in 0..n {
                let x = (k as f64 + 0.5) / n as f64;
                while let Some(instant) = next.next_if(|i| i.x <= x) {
                    instant.changes.iter().for_each(|change| change.apply(&mut modes));
                }
                reduced.x = x;
                reduced.solve(&modes);
                for c in 0..m {
                    let seed = at(&reduced.seeds[c], x) / n as f64;
                    position[c] += at(&reduced.rates[c], x) / n as f64;
                    sums[c][0] += seed;
                    sums[c][1] += (1.0 - x) * seed;
                    sums[c][2] += reduced.output(&modes, c, position[c]) / n as f64;
                }
            }
            assert_eq!(modes, end, "seed {seed}");
            for c in 0..m {
                assert!((position[c] - z[c]).abs() < 2e-3, "seed {seed}, {c}: {} {}", position[c], z[c]);
                for (naive, found) in sums[c].iter().zip(recorded[1].integrals[c]) {
                    assert!((naive - found).abs() < 2e-3, "seed {seed}, {c}: {sums:?} {:?}", recorded[1].integrals[c]);
                }
                let (low, high) = (
                    if end.pieces()[c] == 0 { f64::NEG_INFINITY } else { 0.0 },
                    if end.pieces()[c] == 0 { 0.0 } else { f64::INFINITY },
                );
                assert!(
                    end.slides(c) && z[c] == 0.0 || (low..=high).contains(&z[c]),
                    "seed {seed}: {} on the wrong side",
                    z[c]
                );
            }
        }
        assert!(n_events > 60, "{n_events} events");
    }
}
