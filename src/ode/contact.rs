//! Contacts that are not generic: surfaces that coincide, depend on each other or vanish, met at one instant.
//!
//! Cut open at all contacts, the flow close to a point is that of a few numbers: with V_e = ∇z_e and g₀ the gradient without contacts,
//! Γ = VVᵀ, M_ef = ∂z_e/∂a_f and μ⁰ = ∂L/∂a, a piecewise linear loss ℓ decides everything to first order ([`LocalModel`]). Where all kinks stand
//! on one point, it is the order in which they are met that decides, and rounding would choose it. Here each kink is moved by a small
//! amount of its own that never changes, so that coinciding kinks lie side by side and are met one after the other ([`settle`]), from
//! just past all of them, where a step of descent lands. Kinks side by side may hold up what coinciding ones let pass: ways out are looked at as if they
//! still coincided. At most as many slide at a time as there are independent surfaces, so that multipliers stay unique; others are attached.

use super::cut::Link;
use super::event::Exit;
use super::field::{LOCATED, NonFinite, OTHERS, SlideMargin};
use super::mode::{Contact, Mode, Side};
use super::noise::{Noise, TRUSTED};
use super::resolve::{ContactField, Meeting, RELEASED_RATE_TOL, ResolveError, Workspace, resolve};
use crate::cholesky::Cholesky;
use crate::vector::dot;

/// A gradient with less than this part of its square off the span of others is inside it: a thousand times what rounding leaves of it.
pub const INSIDE: f64 = 1e-12;

/// The flow next to a point, cut open at contacts. Vectors are in the order of the contacts.
#[derive(Debug, Clone, Default)]
pub struct LocalModel {
    /// The contacts, increasing, so that each reads only earlier ones.
    pub contacts: Vec<Contact>,
    /// Γ, both triangles.
    pub gram: Vec<f64>,
    /// M by increasing reader.
    pub links: Vec<Link>,
    /// Rates −Vg₀ without any seed.
    pub rates: Vec<f64>,
    /// μ⁰.
    pub mu: Vec<f64>,
    /// Slopes below and above each kink.
    pub slopes: Vec<(f64, f64)>,
    /// Noise of `rates` and `mu`.
    pub measured: Noise,
    /// What was solved last.
    pub solution: Solution,
}

/// Rates, seeds and sensitivities in one mode.
#[derive(Debug, Clone, Default)]
pub struct Solution {
    slope: Vec<f64>,
    seeds: Vec<f64>,
    mu: Vec<f64>,
    rates: Vec<f64>,
    noise: Noise,
    factor: Cholesky,
    lifts: Vec<Vec<f64>>,
}

impl LocalModel {
    fn len(&self) -> usize {
        self.contacts.len()
    }

    fn square(&self, e: usize) -> f64 {
        self.gram[e * (self.len() + 1)]
    }

    fn column(&self, e: usize) -> &[f64] {
        &self.gram[e * self.len()..(e + 1) * self.len()]
    }

    /// Solves for the seeds that hold what slides in `mode`, whose switches are places among the contacts.
    fn solve(&mut self, mode: &Mode) {
        let mut solution = std::mem::take(&mut self.solution);
        let Solution { slope, seeds, mu, rates, noise, factor, lifts } = &mut solution;
        let c = self.len();
        slope.clear();
        slope.extend(self.slopes.iter().enumerate().map(|(e, &(low, high))| match mode.pieces()[e] {
            _ if mode.slides(e) => 0.0,
            0 => low,
            _ => high,
        }));
        mu.clone_from(&self.mu);
        self.send_back(slope, mu, seeds);
        let held = places(mode.sliding());
        // D = D⁰ + Σ δ_e l_e with l_e what a seed of 1 at e makes of all seeds.
        lifts.clear();
        lifts.extend(held.iter().map(|&e| self.lift(slope, e)));
        let pulled: Vec<Vec<f64>> = lifts.iter().map(|lift| self.pull(lift)).collect();
        let free: Vec<f64> = self.pull(seeds).iter().zip(&self.rates).map(|(pulled, rate)| rate - pulled).collect();
        let mut delta: Vec<f64> = lifts.iter().map(|lift| dot(lift, &free)).collect();
        factor.factor_or_ridge(held.len(), &[], |matrix, stride| {
            for (j, column) in pulled.iter().enumerate() {
                (j..held.len()).for_each(|i| matrix[j * stride + i] = dot(&lifts[i], column));
            }
        });
        if factor.size() == held.len() && !held.is_empty() {
            factor.solve(&mut delta);
        }
        for (delta, lift) in delta.iter().zip(&*lifts) {
            seeds.iter_mut().zip(lift).for_each(|(s, l)| *s += delta * l);
        }
        mu.clone_from(&self.mu);
        self.links.iter().for_each(|link| mu[link.source] += link.weight * seeds[link.reader]);
        rates.clear();
        rates.extend(self.pull(seeds).iter().zip(&self.rates).map(|(pulled, rate)| rate - pulled));
        self.send_on(slope, rates);
        held.iter().for_each(|&e| rates[e] = 0.0);
        let unit = f64::EPSILON * (1.0 + (c as f64).sqrt());
        noise.rates.clear();
        noise.rates.extend((0..c).map(|e| {
            let sum: f64 = self.column(e).iter().zip(&*seeds).map(|(g, s)| (g * s).abs()).sum();
            unit * (self.rates[e].abs() + sum) + self.measured.rates[e]
        }));
        // Noise passes through links as rates do.
        for link in &self.links {
            let passed = (link.weight * slope[link.source]).abs() * noise.rates[link.source];
            noise.rates[link.reader] += passed;
        }
        noise.sensitivities.clone_from(&self.measured.sensitivities);
        self.solution = solution;
    }

    /// D = Sμ on top of μ⁰ in `mu`, from the last contact to the first.
    fn send_back(&self, slope: &[f64], mu: &mut [f64], seeds: &mut Vec<f64>) {
        seeds.clear();
        seeds.resize(mu.len(), 0.0);
        let mut rest = &self.links[..];
        for c in (0..mu.len()).rev() {
            seeds[c] = slope[c] * mu[c];
            while let Some((link, head)) = rest.split_last().filter(|(link, _)| link.reader == c) {
                mu[link.source] += link.weight * seeds[c];
                rest = head;
            }
        }
    }

    fn lift(&self, slope: &[f64], e: usize) -> Vec<f64> {
        let mut lift = vec![0.0; self.len()];
        lift[e] = 1.0;
        let reached = self.links.partition_point(|link| link.reader <= e);
        for link in self.links[..reached].iter().rev() {
            lift[link.source] += lift[link.reader] * link.weight * slope[link.source];
        }
        lift
    }

    /// Γ·seeds.
    fn pull(&self, seeds: &[f64]) -> Vec<f64> {
        (0..self.len()).map(|e| dot(self.column(e), seeds)).collect()
    }

    /// ż ← (I − MS)⁻¹ż.
    fn send_on(&self, slope: &[f64], rates: &mut [f64]) {
        for link in &self.links {
            rates[link.reader] += link.weight * slope[link.source] * rates[link.source];
        }
    }

    /// Contacts whose gradients have something in common, directly or by way of others.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for e in 0..self.len() {
            let from = self.links.partition_point(|link| link.reader < e);
            let read = self.links[from..].iter().take_while(|link| link.reader == e);
            let sources: Vec<usize> = read.map(|link| link.source).collect();
            let is_near =
                |group: &Vec<usize>| group.iter().any(|other| self.depends_on(e, *other) || sources.contains(other));
            let (with, mut without): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_near);
            let mut group = with.concat();
            group.push(e);
            group.sort_unstable();
            without.push(group);
            groups = without;
        }
        groups
    }

    /// The model of a group that nothing else has to do with.
    fn part(&self, group: &[usize]) -> Self {
        let of = |values: &[f64]| group.iter().map(|&e| values[e]).collect::<Vec<f64>>();
        let place = |e: usize| group.binary_search(&e).ok();
        let link = |l: &Link| Some(Link { reader: place(l.reader)?, source: place(l.source)?, ..*l });
        Self {
            contacts: group.iter().map(|&e| self.contacts[e]).collect(),
            gram: group.iter().flat_map(|&e| of(self.column(e))).collect(),
            links: self.links.iter().filter_map(link).collect(),
            rates: of(&self.rates),
            mu: of(&self.mu),
            slopes: group.iter().map(|&e| self.slopes[e]).collect(),
            measured: Noise {
                rates: of(&self.measured.rates),
                sensitivities: of(&self.measured.sensitivities),
                ..Noise::NONE
            },
            solution: Solution::default(),
        }
    }

    /// By how much the loss falls faster in the mode solved last than it would without the contacts: DᵀΓD − 2D·(−Vg₀).
    fn gain(&self) -> f64 {
        let seeds = &self.solution.seeds;
        dot(seeds, &self.pull(seeds)) - 2.0 * dot(seeds, &self.rates)
    }

    /// Decides contacts group by group; see [`settle`]. Where nothing has come to a group, as at the start of a run, it goes the way on which the loss falls fastest of those
    /// found from a few sides. Says as well which contact goes elsewhere from where a step of descent may land.
    ///
    /// # Errors
    /// Those of [`settle`], and where a group is too large for it.
    pub fn settle(&self, arrival: Arrival<'_>) -> Result<(Settled, Option<usize>), ResolveError> {
        let mut settled = Settled { sides: arrival.sides.to_vec(), attached: Vec::new(), idle: Vec::new() };
        let mut other = None;
        for group in self.groups() {
            if group.len() > MOST_TOGETHER {
                return Err(ResolveError::Undecided);
            }
            let mut model = self.part(&group);
            let sides: Vec<Option<Side>> = group.iter().map(|&e| arrival.sides[e]).collect();
            let rates: Vec<f64> = group.iter().map(|&e| arrival.rates[e]).collect();
            let hits: Vec<bool> = group.iter().map(|&e| arrival.hits[e]).collect();
            let local = |exit: &Exit| {
                let switch = group.binary_search(&exit.contact.switch).ok()?;
                Some(Exit { contact: Contact { switch, ..exit.contact }, ..*exit })
            };
            let exits: Vec<Exit> = arrival.exits.iter().filter_map(local).collect();
            let of_group = Arrival { sides: &sides, rates: &rates, exits: &exits, hits: &hits, is_start: false };
            let mut found = settle(&mut model, of_group, &mut Workspace::default())?;
            let is_start = exits.is_empty() && !hits.contains(&true) && sides.iter().all(Option::is_some);
            if is_start && arrival.is_start && group.len() <= MOST_COMPARED {
                let noise = model.solution.noise.rates.iter().fold(0.0, |most: f64, noise| most.max(*noise));
                let trials = (0..OTHER_STARTS).filter_map(|k| model.settled_from(|e| is_above(e as u64, k)));
                for (trial, way) in trials.collect::<Vec<_>>() {
                    let room = noise * trial.solution.seeds.iter().map(|s| s.abs()).sum::<f64>();
                    if trial.gain() > model.gain() + room {
                        (model, found) = (trial, way);
                    }
                }
            }
            other = other.or_else(|| model.lands_elsewhere(of_group).map(|e| group[e]));
            group.iter().zip(&found.sides).for_each(|(&e, side)| settled.sides[e] = *side);
            settled.attached.extend(found.attached.iter().map(|&e| group[e]));
            settled.idle.extend(found.idle.iter().map(|&e| group[e]));
        }
        Ok((settled, other))
    }

    /// Contacts that move, their rates and the noise of these, where nothing has come to them and the decision begins from these sides.
    pub fn other_rates(&self, trial: u64) -> Option<Vec<(usize, f64, f64)>> {
        let (model, settled) = self.settled_from(|e| is_above(e as u64, trial))?;
        let Solution { rates, noise, .. } = &model.solution;
        let of = |e: usize| (e, rates[e], noise.rate(e));
        Some((0..self.len()).filter(|e| !settled.idle.contains(e)).map(of).collect())
    }

    /// What is decided there.
    fn settled_from(&self, is_above: impl Fn(usize) -> bool) -> Option<(Self, Settled)> {
        let mut model = self.clone();
        let (zeros, hits) = (vec![0.0; self.len()], vec![false; self.len()]);
        let side = |e| Some(if is_above(e) { Side::Above } else { Side::Below });
        let sides: Vec<Option<Side>> = (0..self.len()).map(side).collect();
        let arrival = Arrival { sides: &sides, rates: &zeros, exits: &[], hits: &hits, is_start: false };
        let settled = settle(&mut model, arrival, &mut Workspace::default()).ok()?;
        Some((model, settled))
    }

    /// The same flow where the contacts that are `passing` are cut no more: they pass on what they do on their side, and no longer count.
    fn beyond(&self, passing: &[Option<Side>]) -> Self {
        let c = self.len();
        let mut model = Self { solution: Solution::default(), ..self.clone() };
        if passing.iter().all(Option::is_none) {
            return model;
        }
        let slope = |e: usize| passing[e].map_or(0.0, |side| self.slope_on(e, side));
        // ζ = T(Vd + Ma′) with T = (I − MS)⁻¹ over the passing ones. Links come by increasing reader, so that sources are done.
        let mut rows = vec![vec![0.0; c]; c];
        for link in &self.links {
            let factor = link.weight * slope(link.source);
            if passing[link.source].is_none() {
                rows[link.reader][link.source] += link.weight;
            } else if factor != 0.0 {
                let (before, from) = rows.split_at_mut(link.reader);
                from[0].iter_mut().zip(&before[link.source]).for_each(|(to, v)| *to += factor * v);
                (0..c).for_each(|k| model.gram[link.reader * c + k] += factor * model.gram[link.source * c + k]);
                model.rates[link.reader] += factor * model.rates[link.source];
                model.measured.rates[link.reader] += factor.abs() * model.measured.rates[link.source];
            }
        }
        for link in self.links.iter().filter(|link| passing[link.source].is_some()) {
            let factor = link.weight * slope(link.source);
            (0..c).for_each(|k| model.gram[k * c + link.reader] += factor * model.gram[k * c + link.source]);
        }
        for f in (0..c).filter(|&f| passing[f].is_some()) {
            let seed = slope(f) * self.mu[f];
            (0..c).for_each(|e| model.rates[e] -= model.gram[e * c + f] * seed);
            model.mu.iter_mut().zip(&rows[f]).for_each(|(mu, weight)| *mu += seed * weight);
        }
        (0..c).filter(|&f| passing[f].is_some()).for_each(|f| (model.mu[f], model.slopes[f]) = (0.0, (0.0, 0.0)));
        model.links.clear();
        for (reader, row) in rows.iter().enumerate() {
            let cut = row.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
            model.links.extend(cut.map(|(source, &weight)| Link { reader, source, weight }));
        }
        model
    }

    /// After [`settle`]: the first contact that goes elsewhere where a step of descent lands on one side of what slid, by as much as it is pushed back
    /// there, and not on it.
    fn lands_elsewhere(&self, arrival: Arrival<'_>) -> Option<usize> {
        let (c, has_slid) = (self.len(), arrival.sides.contains(&None));
        if !has_slid || !arrival.exits.is_empty() || !arrival.hits.contains(&true) || c > MOST_COMPARED {
            return None;
        }
        let mut before = self.clone();
        let mode = arrival.mode();
        before.solve(&mode);
        let mut margins = Vec::new();
        before.margins_in(&mode, &mut margins);
        // Past the other surfaces as it goes on, or not yet.
        let ways = [Side::Below, Side::Above].into_iter().flat_map(|side| [(side, 1.0), (side, 0.0)]);
        ways.into_iter().find_map(|(side, past)| {
            let (mut sides, mut hits) = (arrival.sides.to_vec(), arrival.hits.to_vec());
            let mut rates: Vec<f64> = arrival.rates.iter().map(|rate| past * rate).collect();
            for (contact, margin) in mode.sliding().iter().zip(&margins) {
                let e = contact.switch;
                (sides[e], hits[e]) = (Some(side), true);
                rates[e] = margin.square * if side == Side::Below { margin.below } else { margin.above };
            }
            let mut other = self.clone();
            let arrival = Arrival { sides: &sides, rates: &rates, exits: &[], hits: &hits, is_start: false };
            let settled = settle(&mut other, arrival, &mut Workspace::default()).ok()?;
            let (here, there) = (&self.solution, &other.solution);
            let differs =
                |&e: &usize| !settled.idle.contains(&e) && (here.rates[e] - there.rates[e]).abs() > here.noise.rate(e);
            (0..c).find(differs)
        })
    }

    /// What of the square of each contact's gradient is off the span of those of `others`, at most: independent ones among these are found in
    /// their order. Returns them as well.
    fn off_span(&self, others: &[usize]) -> (Vec<f64>, Vec<usize>) {
        let mut left: Vec<f64> = (0..self.len()).map(|e| self.square(e)).collect();
        let mut rows: Vec<Vec<f64>> = Vec::new();
        let mut chosen = Vec::new();
        for &p in others {
            if left[p] <= INSIDE * self.square(p) {
                continue;
            }
            let root = left[p].sqrt();
            let row: Vec<f64> = (0..self.len())
                .map(|e| (self.column(p)[e] - rows.iter().map(|r| r[p] * r[e]).sum::<f64>()) / root)
                .collect();
            left.iter_mut().zip(&row).for_each(|(l, r)| *l = (*l - r * r).max(0.0));
            rows.push(row);
            chosen.push(p);
        }
        (left, chosen)
    }

    /// Contacts that cannot leave their breakpoint as long as those of `held` do not: their gradients lie in the span of theirs, or they read
    /// nothing but such contacts. `held` ones are not among them.
    fn dependent(&self, held: &[usize]) -> Vec<usize> {
        let (left, _) = self.off_span(held);
        let mut depends: Vec<bool> = (0..self.len()).map(|e| held.contains(&e)).collect();
        for e in 0..self.len() {
            let sources = || self.links.iter().filter(|link| link.reader == e).map(|link| link.source);
            depends[e] |= if self.square(e) > 0.0 {
                left[e] <= INSIDE * self.square(e)
            } else {
                sources().any(|f| depends[f]) && sources().all(|f| depends[f])
            };
        }
        (0..self.len()).filter(|e| depends[*e] && !held.contains(e)).collect()
    }

    /// What a contact passes on.
    fn slope(&self, mode: &Mode, e: usize) -> f64 {
        mode.side(place(e)).map_or(0.0, |side| self.slope_on(e, side))
    }

    fn slope_on(&self, e: usize, side: Side) -> f64 {
        match side {
            Side::Below => self.slopes[e].0,
            Side::Above => self.slopes[e].1,
        }
    }

    /// Whether the gradients of two contacts have anything in common.
    fn depends_on(&self, e: usize, other: usize) -> bool {
        let product = self.column(e)[other];
        product * product > INSIDE * self.square(e) * self.square(other)
    }

    /// Whether a contact that depends on nothing else reads this one.
    fn is_read(&self, e: usize) -> bool {
        self.links.iter().any(|link| link.source == e && self.square(link.reader) == 0.0)
    }

    /// Directions off the surfaces of independent contacts `held`, along which one of these leaves, downwards and then upwards, for each of them; and
    /// then those along which two of them leave while an attached third one stays.
    fn ways_out(&self, held: &[usize], attached: &[usize], passing: &[bool]) -> Vec<WayOut> {
        let mut ways = Vec::new();
        let mut values = vec![0.0; held.len()];
        for at in 0..held.len() {
            for sign in [-1.0, 1.0] {
                values[at] = sign;
                ways.push(self.way_out(held, &values, passing));
                values[at] = 0.0;
            }
        }
        for &f in attached.iter().filter(|&&f| self.square(f) > 0.0) {
            let part = |at: usize, values: &mut [f64]| {
                values[at] = 1.0;
                let along = combine(self, held, values)[f];
                values[at] = 0.0;
                along
            };
            let parts: Vec<f64> = (0..held.len()).map(|at| part(at, &mut values)).collect();
            let size = |at: usize| (parts[at].abs() * self.square(held[at]).sqrt()) / self.square(f).sqrt();
            let on: Vec<usize> = (0..held.len()).filter(|&at| size(at) > INSIDE.sqrt()).collect();
            for (k, &i) in on.iter().enumerate() {
                for &j in &on[k + 1..] {
                    for sign in [-1.0, 1.0] {
                        (values[i], values[j]) = (sign * parts[j] / parts[i].abs(), -sign * parts[i].signum());
                        ways.push(self.way_out(held, &values, passing));
                        (values[i], values[j]) = (0.0, 0.0);
                    }
                }
            }
        }
        ways
    }

    /// Leaves the surfaces of independent contacts so that these take the given values. Contacts that are `passing` are on their way and stay on
    /// their side.
    fn way_out(&self, held: &[usize], values: &[f64], passing: &[bool]) -> WayOut {
        let c = self.len();
        let mut zeta = vec![0.0; c];
        held.iter().zip(values).for_each(|(&e, v)| zeta[e] = *v);
        let passed = |zeta: f64, e: usize| zeta * if zeta < 0.0 { self.slopes[e].0 } else { self.slopes[e].1 };
        let is_held = |e: usize| held.contains(&e);
        let (mut own, mut weights) = (values.to_vec(), Vec::new());
        // Links and gradients in turn: what a held one has from others it does not need from its own gradient.
        for _ in 0..2 {
            weights = solve_for(self, held, &own);
            let along: Vec<f64> =
                (0..c).map(|e| held.iter().zip(&weights).map(|(&p, w)| self.column(p)[e] * w).sum()).collect();
            let mut rest = &self.links[..];
            for e in 0..c {
                let n = rest.partition_point(|link| link.reader == e);
                let linked: f64 = rest[..n].iter().map(|l| l.weight * passed(zeta[l.source], l.source)).sum();
                rest = &rest[n..];
                match held.iter().position(|&h| h == e) {
                    Some(at) => own[at] = values[at] - linked,
                    None => zeta[e] = along[e] + linked,
                }
            }
        }
        let (mut slope, mut size, mut noise) = (0.0, 0.0, 0.0);
        let mut add = |term: f64, rounding: f64| {
            slope += term;
            size += term.abs();
            noise += rounding.abs();
        };
        for (&e, w) in held.iter().zip(&weights) {
            add(-self.rates[e] * w, self.measured.rates[e] * w);
        }
        let step = largest_step(self, held, values);
        for (e, zeta) in zeta.iter_mut().enumerate() {
            // What rounding leaves of a zero is not passed on.
            if is_held(e) || zeta.abs() > INSIDE.sqrt() * self.square(e).sqrt() * step {
                let a = passed(*zeta, e);
                add(self.mu[e] * a, self.measured.sensitivities[e] * a);
            } else {
                *zeta = 0.0;
            }
        }
        // What is passing goes on by itself.
        zeta.iter_mut().zip(passing).filter(|(_, passing)| **passing).for_each(|(zeta, _)| *zeta = 0.0);
        WayOut { zeta, slope, size, resolution: (TRUSTED * noise).max(LOCATED * size) }
    }

    /// Margins of the sliding contacts of a mode in which others are attached: the slope of the loss on the way out, that of all ways out on which a
    /// contact has its side. They hold for what slides as a whole.
    pub fn joint_margins(&self, mode: &Mode, own: &[SlideMargin]) -> Vec<SlideMargin> {
        let (held, attached) = (places(mode.sliding()), places(mode.attached()));
        let ways = self.ways_out(&held, &attached, &vec![false; self.len()]);
        let mut joint = own.to_vec();
        for (at, margin) in joint.iter_mut().enumerate() {
            let (below, above) = (&ways[2 * at], &ways[2 * at + 1]);
            (margin.below, margin.above) = (below.slope, above.slope);
            margin.resolution = margin.resolution.max(below.resolution).max(above.resolution);
            for way in ways[2 * held.len()..].iter().filter(|way| way.slope < -way.resolution) {
                let step = way.zeta[held[at]];
                match step {
                    s if s < 0.0 => margin.below = margin.below.min(way.slope / s.abs()),
                    s if s > 0.0 => margin.above = margin.above.min(way.slope / s),
                    _ => {}
                }
            }
        }
        joint
    }
}

/// A direction in which sliding contacts leave together with what depends on them.
#[derive(Debug, Clone)]
struct WayOut {
    /// Rates of all contacts.
    zeta: Vec<f64>,
    /// Slope of the loss.
    slope: f64,
    /// Size of its terms.
    size: f64,
    /// Below this it is zero.
    resolution: f64,
}

impl WayOut {
    /// Goes far out on it; what stands still on the way stays what it was.
    fn take(&self, mode: &mut Mode, distance: &mut [f64]) {
        for (e, (&zeta, distance)) in self.zeta.iter().zip(distance).enumerate().filter(|(_, (zeta, _))| **zeta != 0.0)
        {
            mode.place(place(e), if zeta < 0.0 { Side::Below } else { Side::Above });
            *distance = FAR * zeta;
        }
    }
}

fn largest_step(model: &LocalModel, held: &[usize], values: &[f64]) -> f64 {
    held.iter().zip(values).map(|(&e, v)| v.abs() / model.square(e).sqrt()).fold(0.0, f64::max)
}

impl ContactField for LocalModel {
    fn enter(&mut self, _y: &[f64], mode: &Mode, dy: &mut [f64], rates: &mut [f64]) -> Result<(), NonFinite> {
        self.solve(mode);
        dy.copy_from_slice(&self.solution.rates);
        rates.copy_from_slice(&self.solution.rates);
        if rates.iter().all(|r| r.is_finite()) {
            Ok(())
        } else {
            Err(NonFinite { what: "a rate of the switches that meet".into() })
        }
    }

    fn margins_in(&mut self, mode: &Mode, out: &mut Vec<SlideMargin>) {
        let Solution { seeds, mu, noise, .. } = &self.solution;
        let largest = mu.iter().fold(0.0, |largest: f64, m| largest.max(m.abs()));
        out.clear();
        for e in mode.sliding().iter().map(|contact| contact.switch) {
            let (low, high) = self.slopes[e];
            let noise = (noise.rate(e), noise.sensitivity(e));
            let own = SlideMargin::of(seeds[e], mu[e], (low, high), self.square(e), noise);
            let scale = own.scale.max(OTHERS * low.abs().max(high.abs()) * largest);
            out.push(SlideMargin { scale, ..own });
        }
    }

    fn attraction(&self, contact: Contact) -> (f64, f64) {
        let (low, high) = self.slopes[contact.switch];
        let mu = self.solution.mu[contact.switch];
        ((high - low) * mu, (high - low).abs() * mu.abs())
    }

    fn noise(&self) -> (&Noise, bool) {
        (&self.solution.noise, true)
    }

    fn measure_noise(&mut self) {}
}

/// What is known of a meeting before it is decided: modes and rates in the order of the contacts.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Where each contact was: a side, or `None` for one that slides.
    pub sides: &'a [Option<Side>],
    /// Rates with which they have come.
    pub rates: &'a [f64],
    /// Slides that end, with places for switches.
    pub exits: &'a [Exit],
    /// Which contacts have reached their breakpoint; they start far beyond it.
    pub hits: &'a [bool],
    /// Whether this is the start of a run, to which nothing has come.
    pub is_start: bool,
}

impl Arrival<'_> {
    /// The mode in which the contacts have come.
    fn mode(&self) -> Mode {
        let mut mode = Mode::new(self.sides.iter().map(|side| u16::from(*side == Some(Side::Above))).collect());
        (0..self.sides.len()).filter(|&e| self.sides[e].is_none()).for_each(|e| mode.hold(place(e)));
        mode
    }
}

/// With how many contacts a group is decided together: the work grows like the cube of their number.
pub const MOST_TOGETHER: usize = 1024;

/// Sides from which the decision at a start is tried again.
pub const OTHER_STARTS: u64 = 8;

/// A side for each contact and trial, as good as thrown (the finaliser of SplitMix64).
fn is_above(contact: u64, trial: u64) -> bool {
    let mut x = (contact << 8 | trial).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31) & 1 == 1
}

/// What becomes of contacts.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Side of each, `None` where it slides.
    pub sides: Vec<Option<Side>>,
    /// Places of free ones that cannot leave their breakpoint as long as the others slide.
    pub attached: Vec<usize>,
    /// Those among them that have no gradient of their own.
    pub idle: Vec<usize>,
}

/// With how many contacts several ways on are compared: from other sides at a start, and from where slides may land.
pub const MOST_COMPARED: usize = 64;

/// Distance at which contacts start, in distances between the kinks that coincided.
const FAR: f64 = 1e3;

/// Follows the contacts from just past all kinks, which is where a step of descent takes them, each kink moved by its own small distance. Where
/// that ends among the kinks although the loss falls on a way out (kinks that repel may lie side by side with others that attract, and two that let
/// pass leave a place between them where nothing moves: neither is there where they coincide), it goes on from far out on that way.
///
/// # Errors
/// When one of the generic contacts cannot be decided, or there is no end of them.
pub fn settle(model: &mut LocalModel, arrival: Arrival<'_>, work: &mut Workspace) -> Result<Settled, ResolveError> {
    let c = model.len();
    work.dy.resize(c, 0.0);
    work.rates.resize(c, 0.0);
    let mut mode = arrival.mode();
    let mut distance = distances(model, &arrival, &mut mode);
    let ease = leave(model, arrival.exits, &mut mode, &mut distance);
    for _ in 0..4 + 2 * c {
        follow(model, &mut mode, &mut distance, &ease, work)?;
        let Some(way) = way_on(model, &mut mode, &distance, work) else {
            return Ok(conclude(model, mode, &arrival, work));
        };
        way.take(&mut mode, &mut distance);
    }
    Err(ResolveError::Undecided)
}

/// Which of the contacts that stay where they are are held: of those that depend on each other the first ones, so that it is the same however they came; the others have
/// the side they had.
fn conclude(model: &mut LocalModel, mut mode: Mode, arrival: &Arrival<'_>, work: &Workspace) -> Settled {
    let moves = |e: usize| !mode.slides(e) && work.rates[e].abs() > model.solution.noise.rate(e);
    let passing: Vec<Option<Side>> = (0..model.len()).map(|e| mode.side(place(e)).filter(|_| moves(e))).collect();
    let left = model.beyond(&passing);
    let has_gradient = |e: &usize| left.square(*e) > 0.0;
    let held = places(mode.sliding());
    let rests = |e: &usize| passing[*e].is_none();
    // What reads nothing but others is held by holding these, if they stand still as well.
    let mut is_read = vec![false; left.len()];
    for e in (0..left.len()).rev().filter(|e| !has_gradient(e)) {
        let is_source = held.contains(&e) || is_read[e];
        left.links.iter().filter(|link| is_source && link.reader == e).for_each(|link| is_read[link.source] = true);
    }
    let stands = |&e: &usize| mode.slides(e) || is_read[e] && rests(&e);
    let mut independent: Vec<usize> = (0..left.len()).filter(stands).filter(has_gradient).collect();
    let goes_on: Vec<bool> = passing.iter().map(Option::is_some).collect();
    let falls = |way: WayOut| way.slope < -way.resolution;
    if independent.iter().any(|e| !mode.slides(*e)) {
        let (_, basis) = left.off_span(&independent);
        if left.ways_out(&basis, &left.dependent(&basis), &goes_on).into_iter().any(falls) {
            independent.retain(|e| mode.slides(*e));
        }
    }
    let mut attached = left.dependent(&independent);
    attached.retain(rests);
    if !attached.is_empty() {
        let mut staying = independent;
        staying.extend(attached.iter().copied().filter(has_gradient));
        staying.sort_unstable();
        let (_, mut basis) = left.off_span(&staying);
        // What nothing keeps from moving is held, whether it has a gradient of its own or not.
        basis.extend(held.iter().copied().filter(|e| !has_gradient(e) && !attached.contains(e)));
        let others = staying.iter().chain(&attached).copied().filter(|e| !basis.contains(e));
        others.for_each(|e| mode.place(place(e), arrival.sides[e].unwrap_or(Side::Below)));
        basis.iter().for_each(|&e| mode.hold(place(e)));
        attached = left.dependent(&basis);
        attached.retain(rests);
        model.solve(&mode);
    }
    let idle = attached.iter().copied().filter(|e| !has_gradient(e)).collect();
    Settled { sides: (0..model.len()).map(|e| mode.side(place(e))).collect(), attached, idle }
}

/// The steepest way out of what has come to stay among the kinks and depends on each other; where there is none it is held.
fn way_on(model: &LocalModel, mode: &mut Mode, distance: &[f64], work: &Workspace) -> Option<WayOut> {
    let noise = &model.solution.noise;
    let stays = |e: usize| {
        let is_among = distance[e].abs() <= 0.1 * FAR * model.square(e).sqrt();
        mode.slides(e) || is_among && work.rates[e].abs() <= noise.rate(e)
    };
    let passing: Vec<Option<Side>> = (0..model.len()).map(|e| mode.side(place(e)).filter(|_| !stays(e))).collect();
    let left = model.beyond(&passing);
    let mut order: Vec<usize> = (0..model.len()).filter(|&e| left.square(e) > 0.0 && stays(e)).collect();
    order.sort_by_key(|&e| (!mode.slides(e), e));
    let (_, mut basis) = left.off_span(&order);
    // A free contact on which nothing else depends is where it belongs.
    let others: Vec<usize> = order.iter().copied().filter(|e| !basis.contains(e)).collect();
    basis.retain(|&b| mode.slides(b) || others.iter().any(|&o| left.depends_on(o, b)) || left.is_read(b));
    basis.sort_unstable();
    let mut attached = left.dependent(&basis);
    attached.retain(|&e| passing[e].is_none());
    if attached.is_empty() {
        return None;
    }
    let falls = |way: &WayOut| way.slope < -way.resolution;
    let steepness = |way: &WayOut| way.slope / way.size;
    let goes_on: Vec<bool> = passing.iter().map(Option::is_some).collect();
    let ways = left.ways_out(&basis, &attached, &goes_on);
    let steepest = ways.iter().filter(|way| falls(way)).min_by(|a, b| steepness(a).total_cmp(&steepness(b)));
    // Nothing is held that one side does not push back at all: it is attached to that side, as a single slide is let go.
    let slack = || ways.iter().find(|way| way.slope <= way.resolution / TRUSTED);
    let way = steepest.or_else(slack).cloned();
    if way.is_none() {
        basis.iter().for_each(|&e| mode.hold(place(e)));
    }
    way
}

/// Takes slides that end out to where they leave to, with what depends on them. Returns the rates below which a contact rests there: its rate begins at zero.
fn leave(model: &LocalModel, exits: &[Exit], mode: &mut Mode, distance: &mut [f64]) -> Vec<f64> {
    let mut ease = vec![0.0; model.len()];
    if exits.is_empty() {
        return ease;
    }
    let held = places(mode.sliding());
    let mut values = vec![0.0; held.len()];
    let mut rate_scale = 0.0_f64;
    for exit in exits {
        if let Ok(at) = held.binary_search(&exit.contact.switch) {
            let square = model.square(exit.contact.switch);
            values[at] = exit.side.sign() * square.sqrt();
            rate_scale = rate_scale.max(exit.rate_scale / square.sqrt());
        }
    }
    let attached = model.dependent(&held);
    let passes = |e: &usize| !held.contains(e) && !attached.contains(e);
    let passing: Vec<Option<Side>> = (0..model.len()).map(|e| mode.side(place(e)).filter(|_| passes(&e))).collect();
    let goes_on: Vec<bool> = passing.iter().map(Option::is_some).collect();
    let way = model.beyond(&passing).way_out(&held, &values, &goes_on);
    way.take(mode, distance);
    ease.iter_mut().zip(&way.zeta).for_each(|(ease, zeta)| *ease = RELEASED_RATE_TOL * rate_scale * zeta.abs());
    ease
}

fn place(switch: usize) -> Contact {
    Contact { switch, breakpoint: 0 }
}

fn places(contacts: &[Contact]) -> Vec<usize> {
    contacts.iter().map(|contact| contact.switch).collect()
}

/// Follows the contacts until nothing changes any more.
fn follow(
    model: &mut LocalModel,
    mode: &mut Mode,
    distance: &mut [f64],
    ease: &[f64],
    work: &mut Workspace,
) -> Result<(), ResolveError> {
    let c = model.len();
    let mut meeting = Meeting::default();
    for _ in 0..200 + 50 * c {
        meeting.resting = (0..c).filter(|&e| !mode.slides(e) && distance[e] == 0.0).map(place).collect();
        meeting.resting.retain(|contact| !meeting.hits.contains(contact));
        resolve(model, &[], mode, &meeting, work)?;
        let noise = &model.solution.noise;
        let soonest = (0..c).filter(|&e| !mode.slides(e) && distance[e] != 0.0).filter_map(|e| {
            let inward = -distance[e].signum() * work.rates[e];
            (inward > noise.rate(e).max(ease[e])).then(|| (distance[e].abs() / inward, e))
        });
        let Some((t, hit)) = soonest.min_by(|a, b| a.0.total_cmp(&b.0)) else { return Ok(()) };
        for (e, distance) in distance.iter_mut().enumerate() {
            if mode.slides(e) {
                *distance = 0.0;
                continue;
            }
            let rate = work.rates[e];
            // Rounding moves nothing: what stands on its kink would be found on the wrong side later.
            let moved = if rate.abs() > noise.rate(e) { *distance + t * rate } else { *distance };
            // Nothing passes its kink unseen.
            *distance = if moved * *distance < 0.0 { 0.0 } else { moved };
        }
        distance[hit] = 0.0;
        meeting = Meeting { hits: vec![place(hit)], ..Meeting::default() };
    }
    Err(ResolveError::Undecided)
}

/// Distances of the contacts from their own kinks in the beginning, and their sides: zero for those that slide, far on the other side for those that have come,
/// and for all others what the coincidence with these leaves to choose.
fn distances(model: &LocalModel, arrival: &Arrival<'_>, mode: &mut Mode) -> Vec<f64> {
    let c = model.len();
    let shift: Vec<f64> = (0..c).map(|e| of_its_own(model.contacts[e]) * model.square(e).sqrt()).collect();
    let fastest = (0..c)
        .filter(|&e| arrival.hits[e] && model.square(e) > 0.0)
        .map(|e| arrival.rates[e].abs() / model.square(e).sqrt())
        .fold(0.0, f64::max);
    let time = if fastest > 0.0 { FAR / fastest } else { 0.0 };
    for (e, side) in arrival.sides.iter().enumerate().filter(|(e, _)| arrival.hits[*e]) {
        side.iter().for_each(|side| mode.place(place(e), side.opposite()));
    }
    // Where each contact is to be, relative to the kinks as they stood.
    let target = |e: usize| match arrival.sides[e] {
        None => shift[e],
        Some(side) if arrival.hits[e] => shift[e] - side.sign() * (arrival.rates[e] * time).abs(),
        Some(side) => shift[e] + side.sign() * model.square(e).sqrt(),
    };
    let rank = |e: &usize| (!mode.slides(*e), !arrival.hits[*e], *e);
    let mut order: Vec<usize> = (0..c).filter(|&e| model.square(e) > 0.0).collect();
    order.sort_by_key(rank);
    let (_, chosen) = model.off_span(&order);
    let is_chosen: Vec<bool> = (0..c).map(|e| chosen.contains(&e)).collect();
    let mut zeta: Vec<f64> = (0..c).map(|e| if is_chosen[e] { target(e) } else { 0.0 }).collect();
    // What links pass on depends on the dependent ones, and these on what is chosen: two rounds settle both.
    for _ in 0..2 {
        let linked: Vec<f64> = {
            let mut linked = vec![0.0; c];
            for link in &model.links {
                linked[link.reader] +=
                    link.weight * model.slope(mode, link.source) * (zeta[link.source] - shift[link.source]);
            }
            linked
        };
        let own: Vec<f64> = chosen.iter().map(|&e| zeta[e] - linked[e]).collect();
        let combined = combine(model, &chosen, &own);
        for e in (0..c).filter(|&e| !is_chosen[e]) {
            zeta[e] = combined[e] + linked[e];
        }
    }
    let mut size: Vec<f64> = (0..c).map(|e| model.square(e).sqrt()).collect();
    for link in &model.links {
        if model.square(link.reader) == 0.0 {
            let (low, high) = model.slopes[link.source];
            size[link.reader] += link.weight.abs() * low.abs().max(high.abs()) * size[link.source];
        }
    }
    let mut distance = vec![0.0; c];
    for e in (0..c).filter(|&e| arrival.sides[e].is_some()) {
        let d = zeta[e] - if model.square(e) == 0.0 { 0.0 } else { shift[e] };
        let is_far = d.abs() > 0.1 * FAR * size[e];
        if is_chosen[e] || is_far {
            distance[e] = d;
            mode.place(place(e), if d < 0.0 { Side::Below } else { Side::Above });
            continue;
        }
        // On the side it is known to be on: the shifts decide only where that leaves a choice. A switch that depends on nothing but others stays in
        // its piece as long as these leave it where it is.
        let side = arrival.sides[e].map_or(0.0, Side::sign);
        let d = if model.square(e) == 0.0 { d + side * 0.1 * size[e] } else { d };
        distance[e] = if d * side > 0.0 { d } else { side * f64::MIN_POSITIVE.sqrt() };
        mode.place(place(e), if side < 0.0 { Side::Below } else { Side::Above });
    }
    distance
}

/// Values that all contacts take where the independent ones among them take those given, as far as gradients go.
fn combine(model: &LocalModel, chosen: &[usize], values: &[f64]) -> Vec<f64> {
    let weights = solve_for(model, chosen, values);
    let value = |e: usize| chosen.iter().zip(&weights).map(|(&p, w)| model.column(p)[e] * w).sum();
    (0..model.len()).map(value).collect()
}

/// The combination of the gradients of independent contacts along which they take the given values.
fn solve_for(model: &LocalModel, chosen: &[usize], values: &[f64]) -> Vec<f64> {
    let mut factor = Cholesky::default();
    factor.factor_or_ridge(chosen.len(), &[], |matrix, stride| {
        for (j, &p) in chosen.iter().enumerate() {
            (j..chosen.len()).for_each(|i| matrix[j * stride + i] = model.column(p)[chosen[i]]);
        }
    });
    let mut weights = values.to_vec();
    if factor.size() == chosen.len() && !chosen.is_empty() {
        factor.solve(&mut weights);
    }
    weights
}

/// A number of size ¼ to 1 that belongs to a contact for ever: the fractional parts of multiples of the golden ratio.
fn of_its_own(contact: Contact) -> f64 {
    let part =
        (contact.switch as f64 * 0.618_033_988_749_895 + f64::from(contact.breakpoint) * 0.414_213_562_373_095).fract();
    if part < 0.5 { -1.0 + 1.5 * part } else { -0.5 + 1.5 * part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    /// Contacts of one layer with gradients `rows`, some of them on one surface, and their slopes and sensitivities at random.
    struct Drawn {
        model: LocalModel,
        rows: Vec<Vec<f64>>,
        gradient: Vec<f64>,
    }

    fn drawn(seed: u64, n_contacts: usize, dim: usize, attracting: bool) -> Drawn {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut random = || 2.0 * rng.random::<f64>() - 1.0;
        let mut rows: Vec<Vec<f64>> = Vec::new();
        for e in 0..n_contacts {
            // Every other one is a multiple of the one before, in either direction.
            let row = if e % 2 == 1 {
                let factor = 2.0 * random();
                rows[e - 1].iter().map(|v| factor * v).collect()
            } else {
                (0..dim).map(|_| random()).collect()
            };
            rows.push(row);
        }
        let gradient: Vec<f64> = (0..dim).map(|_| random()).collect();
        let mu: Vec<f64> = (0..n_contacts).map(|_| if attracting { random().abs() } else { random() }).collect();
        let gram = (0..n_contacts * n_contacts).map(|k| dot(&rows[k / n_contacts], &rows[k % n_contacts])).collect();
        let model = LocalModel {
            contacts: (0..n_contacts).map(|switch| Contact { switch, breakpoint: 0 }).collect(),
            gram,
            rates: rows.iter().map(|row| -dot(row, &gradient)).collect(),
            mu,
            slopes: vec![(0.1, 1.0); n_contacts],
            measured: Noise { rates: vec![0.0; n_contacts], sensitivities: vec![0.0; n_contacts], ..Noise::NONE },
            ..LocalModel::default()
        };
        Drawn { model, rows, gradient }
    }

    impl Drawn {
        fn zeta(&self, d: &[f64]) -> Vec<f64> {
            self.rows.iter().map(|row| dot(row, d)).collect()
        }

        /// Rates of the contacts after many small steps of descent on ℓ from where they come from.
        fn descent(&self, from: &[f64]) -> Vec<f64> {
            let (step, n) = (1e-3, 20_000);
            let mut d: Vec<f64> = from.iter().map(|v| step * v).collect();
            for _ in 0..n {
                let mut g = self.gradient.clone();
                for (e, zeta) in self.zeta(&d).iter().enumerate() {
                    let (low, high) = self.model.slopes[e];
                    let seed = self.model.mu[e] * if *zeta < 0.0 { low } else { high };
                    g.iter_mut().zip(&self.rows[e]).for_each(|(g, v)| *g += seed * v);
                }
                d.iter_mut().zip(&g).for_each(|(d, g)| *d -= step * g);
            }
            self.zeta(&d).iter().map(|z| z / (step * f64::from(n))).collect()
        }

        fn settled(&mut self, from: &[f64]) -> (Settled, Vec<f64>) {
            let come = self.zeta(from);
            let sides: Vec<Option<Side>> =
                come.iter().map(|rate| Some(if *rate > 0.0 { Side::Below } else { Side::Above })).collect();
            let hits = vec![true; come.len()];
            let arrival = Arrival { sides: &sides, rates: &come, exits: &[], hits: &hits, is_start: false };
            let settled = settle(&mut self.model, arrival, &mut Workspace::default()).expect("decided");
            (settled, self.model.solution.rates.clone())
        }
    }

    #[test]
    fn coinciding_kinks_that_attract_go_where_descent_goes() {
        let mut n_held = 0;
        for seed in 0..200 {
            let mut drawn = drawn(seed, 2 + 2 * (seed as usize % 3), 3, true);
            let from: Vec<f64> = drawn.gradient.iter().map(|g| -g).collect();
            let expected = drawn.descent(&from);
            let (settled, rates) = drawn.settled(&from);
            for (e, (rate, expected)) in rates.iter().zip(&expected).enumerate() {
                assert!((rate - expected).abs() < 2e-3, "seed {seed}, contact {e}: {rate} against {expected}");
            }
            n_held += usize::from(!settled.attached.is_empty());
        }
        assert!(n_held > 30, "{n_held} slides on coinciding kinks");
    }

    #[test]
    fn what_is_settled_is_consistent_and_falls_on_no_way_out() {
        for seed in 0..300 {
            let mut drawn = drawn(1000 + seed, 2 + 2 * (seed as usize % 2), 3, false);
            let from: Vec<f64> = drawn.gradient.iter().map(|g| -g).collect();
            let (settled, rates) = drawn.settled(&from);
            let model = &mut drawn.model;
            let mut mode = Mode::new(settled.sides.iter().map(|s| u16::from(*s == Some(Side::Above))).collect());
            let held: Vec<usize> = (0..model.len()).filter(|&e| settled.sides[e].is_none()).collect();
            held.iter().for_each(|&e| mode.hold(place(e)));
            mode.attach(settled.attached.iter().map(|&e| place(e)).collect(), Vec::new());
            for (e, side) in settled.sides.iter().enumerate() {
                let Some(side) = side else { continue };
                let outward = side.sign() * rates[e];
                assert!(outward >= -1e-12, "seed {seed}: contact {e} on side {side:?} moves at {}", rates[e]);
                assert!(
                    outward > 1e-12 || settled.attached.contains(&e),
                    "seed {seed}: contact {e} stands still and is not attached"
                );
            }
            let mut own = Vec::new();
            model.margins_in(&mode, &mut own);
            let passes = |e: &usize| !settled.attached.contains(e);
            let passing: Vec<Option<Side>> =
                (0..model.len()).map(|e| settled.sides[e].filter(|_| passes(&e))).collect();
            for margin in model.beyond(&passing).joint_margins(&mode, &own) {
                assert!(margin.least() >= -1e-12, "seed {seed}: {margin:?}");
            }
        }
    }

    #[test]
    fn margins_of_independent_slides_are_slopes_of_their_ways_out() {
        for seed in 0..100 {
            let mut drawn = drawn(seed, 4, 3, true);
            // One of each pair alone.
            let held = [0, 2];
            let mut mode = Mode::new(vec![0; 4]);
            held.iter().for_each(|&e| mode.hold(place(e)));
            drawn.model.slopes[1] = (0.5, 0.5);
            drawn.model.slopes[3] = (0.5, 0.5);
            drawn.model.solve(&mode);
            let mut own = Vec::new();
            drawn.model.margins_in(&mode, &mut own);
            for (own, joint) in own.iter().zip(drawn.model.joint_margins(&mode, &own)) {
                for (a, b) in [(own.below, joint.below), (own.above, joint.above)] {
                    assert!((a - b).abs() < 1e-12 * (1.0 + a.abs()), "seed {seed}: {a} {b}");
                }
            }
        }
    }
}
