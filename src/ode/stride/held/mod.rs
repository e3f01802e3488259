//! The sliding switches of the reduced system: the equations of their multipliers, and the inverse of these.
//!
//! A multiplier of 1 at switch c is a seed there and, through the slopes on the way, at the switches below: its *lift*. Its *column* is minus
//! what this does to the rates of all switches. The multipliers solve A δ = ż⁰, where A has the columns' rows of the sliding switches.
//!
//! Most kinks belong to the first layer, where those of different units have nothing to do with each other: A is block-diagonal there, with
//! blocks of a few rows. Each block has its own inverse, and what is left for the others is the Schur complement S = A₂₂ − A₂₁A₁₁⁻¹A₁₂.
//!
//! From one event to the next little changes: a switch joins or leaves, a few columns change because a slope below them does. Inverses are
//! bordered, reduced, and changed by outer products, never made anew for that.

mod group;
mod inverse;

use super::quadrature::Quadratic;
use crate::cholesky::Cholesky;
use crate::ode::cut::Link;
use crate::ode::mode::Mode;
use crate::vector::{dot, vectorised};
use group::Group;
use inverse::Inverse;

/// A pivot below this part of its diagonal entry is rounding.
const SINGULAR: f64 = 1e-12;

/// Changes of the inverses after which they are made anew, and changes at once for which that is cheaper.
const MOST_CHANGES: usize = 200;
const MOST_AT_ONCE: usize = 12;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Held {
    groups: Vec<Group>,
    /// Group of each of the first switches; those after them have none.
    group_of: Vec<usize>,
    /// Sliding switches without a group, in no special order.
    slots: Vec<usize>,
    /// For each slot the lift and the column.
    lifts: Vec<Vec<(usize, f64)>>,
    columns: Vec<Vec<f64>>,
    /// S⁻¹, by slots.
    schur: Inverse,
    is_held: Vec<bool>,
    /// Slopes of all switches that the above belong to.
    slope: Vec<f64>,
    n_changes: usize,
    touched: Vec<bool>,
    factor: Cholesky,
    scratch: Scratch,
}

#[derive(Debug, Clone, Default)]
struct Scratch {
    /// Zeros, for all switches.
    zeros: Vec<f64>,
    coupling: Vec<f64>,
    solved: Vec<f64>,
    outer: Vec<f64>,
    /// Of the switches with a group.
    grouped: [Vec<f64>; 3],
    right: [Vec<f64>; 3],
    multipliers: Vec<Quadratic>,
    /// Change of the seeds of all switches.
    lifted: [Vec<f64>; 3],
    moved: Vec<Quadratic>,
}

/// Coefficients that the columns are made of.
#[derive(Debug, Clone, Copy)]
pub struct Couplings<'a> {
    /// Γ, column-major.
    pub gram: &'a [f64],
    /// Links by increasing reader.
    pub links: &'a [Link],
    /// Slopes of all switches, 0 while sliding.
    pub slope: &'a [f64],
}

impl Held {
    /// Forgets everything, and takes over the groups of the switches, as [`CutField::group`](crate::ode::CutField::group) has them.
    pub fn begin(&mut self, groups: &[Option<usize>]) {
        let m = groups.len();
        self.groups.clear();
        self.group_of.clear();
        let mut known = std::collections::HashMap::new();
        for (c, label) in groups.iter().map_while(|g| *g).enumerate() {
            let group = *known.entry(label).or_insert(self.groups.len());
            if group == self.groups.len() {
                self.groups.push(Group::default());
            }
            self.groups[group].members.push(c);
            self.group_of.push(group);
        }
        self.slots.clear();
        self.schur.clear();
        for flags in [&mut self.is_held, &mut self.touched] {
            flags.clear();
            flags.resize(m, false);
        }
        self.slope.clear();
        self.slope.resize(m, 0.0);
        self.scratch.zeros.clear();
        self.scratch.zeros.resize(m, 0.0);
    }

    /// Brings everything to `mode`.
    pub fn update(&mut self, couplings: Couplings<'_>, mode: &Mode) {
        self.touch(couplings);
        let leaves = |c: &usize| self.is_held[*c] && (self.touched[*c] || !mode.slides(*c));
        let leaving: Vec<usize> = (0..self.is_held.len()).rev().filter(leaves).collect();
        let n_held = self.slots.len() + self.groups.iter().map(|group| group.slides.len()).sum::<usize>();
        let n_stay = n_held - leaving.len();
        let n_changes = leaving.len() + mode.sliding().len() - n_stay;
        self.n_changes += n_changes;
        let anew = n_changes > MOST_AT_ONCE.max(n_held / 8) || self.n_changes > MOST_CHANGES;
        let mut is_regular = !anew;
        let n_grouped = self.group_of.len();
        for c in leaving {
            self.is_held[c] = false;
            is_regular = if c < n_grouped { self.leave_group(c, is_regular) } else { self.leave_slot(c, is_regular) };
        }
        self.refresh_rows(couplings);
        for c in mode.sliding().iter().map(|contact| contact.switch) {
            if self.is_held[c] {
                continue;
            }
            self.is_held[c] = true;
            is_regular = if c < n_grouped {
                is_regular && self.border_group(couplings, c) || self.note_in_group(c)
            } else {
                self.add_column(couplings, c);
                is_regular && self.border_schur()
            };
        }
        if !is_regular {
            self.invert(couplings);
        }
    }

    /// Marks the switches that lie above a source whose slope has changed.
    fn touch(&mut self, Couplings { links, slope, .. }: Couplings<'_>) {
        self.touched.fill(false);
        for link in links {
            if self.touched[link.source] || self.slope[link.source] != slope[link.source] {
                self.touched[link.reader] = true;
            }
        }
        self.slope.copy_from_slice(slope);
    }

    /// Takes a switch out of its group, and out of the inverses if they are still that; says whether they are.
    fn leave_group(&mut self, c: usize, is_regular: bool) -> bool {
        let Self { groups, group_of, columns, slots, schur, scratch, .. } = self;
        let group = &mut groups[group_of[c]];
        let k = group.place(c);
        let mut stays = is_regular;
        if stays {
            // S grows by qqᵀ/β with β and q = A₂₁·(its column of A₁₁⁻¹).
            let own = group.inverse.row(k);
            group.couple_to(&columns[..slots.len()], own, &mut scratch.coupling);
            let pivot = own[k];
            schur.times(&scratch.coupling, &mut scratch.outer);
            schur.add_outer(&scratch.outer, -1.0 / (pivot + dot(&scratch.coupling, &scratch.outer)));
            stays = group.inverse.reduce(k);
        }
        group.slides.swap_remove(k);
        stays
    }

    /// Takes a switch without a group away in the same way.
    fn leave_slot(&mut self, c: usize, is_regular: bool) -> bool {
        let slot = self.slots.iter().position(|&switch| switch == c).expect("a switch that slides");
        self.slots.swap_remove(slot);
        self.lifts.swap(slot, self.slots.len());
        self.columns.swap(slot, self.slots.len());
        is_regular && self.schur.reduce(slot)
    }

    /// Brings the rows of touched switches up to date in the columns that stay.
    fn refresh_rows(&mut self, Couplings { gram, links, slope }: Couplings<'_>) {
        let m = slope.len();
        let mut rest = links;
        while let Some(first) = rest.first() {
            let reader = first.reader;
            let (own, later) = rest.split_at(rest.partition_point(|link| link.reader == reader));
            rest = later;
            if !self.touched[reader] {
                continue;
            }
            for (column, lift) in self.columns.iter_mut().zip(&self.lifts).take(self.slots.len()) {
                let direct: f64 = lift.iter().map(|&(c, weight)| weight * gram[c * m + reader]).sum();
                let read: f64 = own.iter().map(|l| l.weight * slope[l.source] * column[l.source]).sum();
                column[reader] = direct + read;
            }
        }
    }

    /// Takes a switch into its group and into the inverses; says whether that is possible, and does nothing when it is not.
    fn border_group(&mut self, Couplings { gram, slope, .. }: Couplings<'_>, c: usize) -> bool {
        let Self { groups, group_of, columns, slots, schur, scratch, .. } = self;
        let Scratch { coupling, solved, outer, .. } = scratch;
        let group = &mut groups[group_of[c]];
        let own = &gram[c * slope.len()..(c + 1) * slope.len()];
        coupling.clear();
        coupling.extend(group.slides.iter().map(|&other| own[other]));
        group.inverse.times(coupling, solved);
        let pivot = own[c] - dot(coupling, solved);
        // S shrinks by qqᵀ/pivot.
        group.couple_to(&columns[..slots.len()], solved, coupling);
        coupling.iter_mut().zip(&*columns).for_each(|(q, column)| *q = column[c] - *q);
        schur.times(coupling, outer);
        let whole = pivot - dot(coupling, outer);
        if !(pivot > SINGULAR * own[c] && whole > SINGULAR * own[c]) {
            return false;
        }
        schur.add_outer(outer, 1.0 / whole);
        group.inverse.border(solved, pivot);
        group.slides.push(c);
        true
    }

    /// Notes that a switch of a group slides without taking it into the inverses, which is what is returned.
    fn note_in_group(&mut self, c: usize) -> bool {
        self.groups[self.group_of[c]].slides.push(c);
        false
    }

    /// A slot for a switch without a group, with its lift and column.
    fn add_column(&mut self, Couplings { gram, links, slope }: Couplings<'_>, switch: usize) {
        let (m, slot) = (slope.len(), self.slots.len());
        if self.lifts.len() == slot {
            self.lifts.push(Vec::new());
            self.columns.push(Vec::new());
        }
        self.slots.push(switch);
        let (lift, column) = (&mut self.lifts[slot], &mut self.columns[slot]);
        lift_of(switch, links, slope, &mut self.scratch.zeros, lift);
        column.clear();
        column.resize(m, 0.0);
        for &(c, weight) in &*lift {
            let from = &gram[c * m..(c + 1) * m];
            vectorised!(column.iter_mut().zip(from).for_each(|(t, g)| *t += weight * g));
        }
        for link in links {
            column[link.reader] += link.weight * slope[link.source] * column[link.source];
        }
    }

    /// Takes the last slot into the inverse; says whether that is possible.
    fn border_schur(&mut self) -> bool {
        let Self { groups, group_of, slots, columns, schur, scratch, .. } = self;
        let (n, n_grouped) = (slots.len() - 1, group_of.len());
        let own = &columns[n];
        let Scratch { coupling, solved, grouped: [solved_in_groups, ..], .. } = scratch;
        solve_in_groups(groups, &own[..n_grouped], solved_in_groups);
        coupling.clear();
        vectorised!(for (other, &switch) in columns[..n].iter().zip(&*slots) {
            coupling.push(own[switch] - dot(&other[..n_grouped], solved_in_groups));
        });
        schur.times(coupling, solved);
        let diagonal = own[slots[n]];
        let pivot = diagonal - dot(&own[..n_grouped], solved_in_groups) - dot(coupling, solved);
        if pivot.is_nan() || pivot <= SINGULAR * diagonal {
            return false;
        }
        schur.border(solved, pivot);
        true
    }

    /// All inverses from Γ and the columns.
    fn invert(&mut self, Couplings { gram, slope, .. }: Couplings<'_>) {
        self.n_changes = 0;
        let m = slope.len();
        let Self { groups, group_of, slots, columns, schur, factor, scratch, .. } = self;
        for group in &mut *groups {
            let Group { slides, inverse, .. } = group;
            inverse.make(slides.len(), factor, |matrix, stride| {
                for (target, &c) in matrix.chunks_exact_mut(stride).zip(&*slides) {
                    target.iter_mut().zip(&*slides).for_each(|(t, &d)| *t = gram[c * m + d]);
                }
            });
        }
        let (n, n_grouped) = (slots.len(), group_of.len());
        let columns = &columns[..n];
        let mut complement = vec![0.0; n * n];
        for (s, own) in columns.iter().enumerate() {
            let solved = &mut scratch.grouped[0];
            solve_in_groups(groups, &own[..n_grouped], solved);
            let target = &mut complement[s * n..(s + 1) * n];
            vectorised!(for ((t, other), &switch) in target.iter_mut().zip(columns).zip(&*slots).skip(s) {
                *t = own[switch] - dot(&other[..n_grouped], solved);
            });
        }
        schur.make(n, factor, |matrix, stride| {
            for (target, from) in matrix.chunks_exact_mut(stride).zip(complement.chunks_exact(n)) {
                target[..n].copy_from_slice(from);
            }
        });
    }

    /// The multipliers that bring the given rates of the sliding switches to zero; rates and seeds with them.
    pub fn hold(&mut self, couplings: Couplings<'_>, rates: &mut [Quadratic], seeds: &mut [Quadratic]) {
        self.multipliers(rates);
        let Self { groups, group_of, is_held, scratch: Scratch { lifted, moved, .. }, .. } = self;
        for (c, seed) in seeds.iter_mut().enumerate() {
            (0..3).for_each(|k| seed[k] += lifted[k][c]);
        }
        let (m, n_grouped) = (rates.len(), group_of.len());
        let [a, b, c] = &*lifted;
        moved.clear();
        moved.resize(m, [0.0; 3]);
        vectorised!({
            for group in &*groups {
                for &free in group.members.iter().filter(|&&member| !is_held[member]) {
                    let row = &couplings.gram[free * m..(free + 1) * m];
                    let others = &row[n_grouped..];
                    let mut sum =
                        [dot(others, &a[n_grouped..]), dot(others, &b[n_grouped..]), dot(others, &c[n_grouped..])];
                    for &other in &group.members {
                        (0..3).for_each(|k| sum[k] += row[other] * lifted[k][other]);
                    }
                    moved[free] = sum;
                }
            }
            for free in (n_grouped..m).filter(|&free| !is_held[free]) {
                let row = &couplings.gram[free * m..(free + 1) * m];
                moved[free] = [dot(row, a), dot(row, b), dot(row, c)];
            }
        });
        for link in couplings.links {
            let weight = link.weight * couplings.slope[link.source];
            let from = moved[link.source];
            (0..3).for_each(|k| moved[link.reader][k] += weight * from[k]);
        }
        for ((rate, moved), is_held) in rates.iter_mut().zip(&*moved).zip(&*is_held) {
            *rate = if *is_held { [0.0; 3] } else { std::array::from_fn(|k| rate[k] - moved[k]) };
        }
    }

    /// The multipliers for the given rates, and what they do to the seeds of all switches.
    fn multipliers(&mut self, rates: &[Quadratic]) {
        let Self { groups, group_of, slots, lifts, columns, schur, scratch, .. } = self;
        let Scratch { grouped, right, multipliers, lifted, solved, .. } = scratch;
        let (n, n_grouped) = (slots.len(), group_of.len());
        // A₁₁⁻¹ż₁, then S δ₂ = ż₂ − A₂₁(A₁₁⁻¹ż₁), then δ₁ = A₁₁⁻¹(ż₁ − A₁₂δ₂).
        for (k, lifted) in lifted.iter_mut().enumerate() {
            lifted.clear();
            lifted.extend(rates.iter().map(|r| r[k]));
            solve_in_groups(groups, &lifted[..n_grouped], &mut grouped[k]);
            right[k].clear();
        }
        let [a, b, c] = &*grouped;
        vectorised!(for (column, &switch) in columns[..n].iter().zip(&*slots) {
            let column = &column[..n_grouped];
            for (k, coupled) in [dot(column, a), dot(column, b), dot(column, c)].into_iter().enumerate() {
                right[k].push(rates[switch][k] - coupled);
            }
        });
        schur.times_each(right, multipliers);
        let [a, b, c] = lifted;
        vectorised!(for (column, delta) in columns[..n].iter().zip(&*multipliers) {
            let targets = a[..n_grouped].iter_mut().zip(&mut b[..n_grouped]).zip(&mut c[..n_grouped]);
            for (((a, b), c), v) in targets.zip(&column[..n_grouped]) {
                *a -= delta[0] * v;
                *b -= delta[1] * v;
                *c -= delta[2] * v;
            }
        });
        for (k, lifted) in lifted.iter_mut().enumerate() {
            solve_in_groups(groups, &lifted[..n_grouped], solved);
            lifted[..n_grouped].copy_from_slice(solved);
            lifted[n_grouped..].fill(0.0);
            for (lift, delta) in lifts.iter().zip(&*multipliers) {
                lift.iter().for_each(|&(c, weight)| lifted[c] += weight * delta[k]);
            }
        }
    }
}

/// out = A₁₁⁻¹v; zero for switches that do not slide.
fn solve_in_groups(groups: &[Group], v: &[f64], out: &mut Vec<f64>) {
    out.clear();
    out.resize(v.len(), 0.0);
    vectorised!(groups.iter().for_each(|group| group.solve(v, out)));
}

/// What a seed of 1 at `switch` makes of all seeds; `scratch` holds zeros.
fn lift_of(switch: usize, links: &[Link], slope: &[f64], scratch: &mut [f64], lift: &mut Vec<(usize, f64)>) {
    lift.clear();
    lift.push((switch, 1.0));
    scratch[switch] = 1.0;
    // By decreasing reader: what a switch gets is complete when its turn comes.
    let reached = links.partition_point(|link| link.reader <= switch);
    for link in links[..reached].iter().rev() {
        let passed = scratch[link.reader] * link.weight * slope[link.source];
        if passed != 0.0 {
            if scratch[link.source] == 0.0 {
                lift.push((link.source, 0.0));
            }
            scratch[link.source] += passed;
        }
    }
    lift.iter_mut().for_each(|(c, weight)| *weight = std::mem::take(&mut scratch[*c]));
}
