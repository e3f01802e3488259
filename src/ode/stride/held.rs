//! The sliding switches of the reduced system: what each multiplier does to all rates, and the inverse of their equations.
//!
//! From one event to the next little changes: a switch joins or leaves, a few columns change because a slope below them does. Columns are kept, and
//! the inverse is bordered or reduced by one row at a time, at K² operations each instead of K³.

use super::quadrature::Quadratic;
use crate::cholesky::Cholesky;
use crate::ode::cut::Link;
use crate::ode::mode::Mode;
use crate::vector::{dot, vectorised};

/// A pivot below this part of its diagonal entry is rounding.
const SINGULAR: f64 = 1e-12;

/// Changes of the inverse after which it is made anew, and changes at once for which that is cheaper.
const MOST_CHANGES: usize = 200;
const MOST_AT_ONCE: usize = 12;

/// No slot.
const NONE: usize = usize::MAX;

/// See the module. Every sliding switch has a slot; the order of slots means nothing.
#[derive(Debug, Clone, Default)]
pub struct Held {
    slots: Vec<usize>,
    slot_of: Vec<usize>,
    /// For each slot, what a multiplier of 1 changes among the seeds.
    lifts: Vec<Vec<(usize, f64)>>,
    /// For each slot, minus what it changes among the rates.
    columns: Vec<Vec<f64>>,
    /// The inverse of the columns' rows that belong to slots; symmetric.
    inverse: Vec<Vec<f64>>,
    /// Slopes of all switches that the above belong to.
    slope: Vec<f64>,
    n_changes: usize,
    touched: Vec<bool>,
    scratch: Vec<f64>,
    border: Vec<f64>,
    factor: Cholesky,
    right: [Vec<f64>; 3],
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
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.slope.clear();
    }

    /// Switches in the order of their slots.
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// Brings columns and inverse to `mode`.
    pub fn update(&mut self, couplings: Couplings<'_>, mode: &Mode) {
        let m = couplings.slope.len();
        if self.slope.len() != m {
            self.slots.clear();
            self.slot_of.clear();
            self.slot_of.resize(m, NONE);
            self.slope.clear();
            self.slope.extend_from_slice(couplings.slope);
            self.scratch.clear();
            self.scratch.resize(m, 0.0);
        }
        self.touch(couplings);
        let gone = |switch: &usize| self.touched[*switch] || !mode.slides(*switch);
        let n_gone = self.slots.iter().filter(|s| gone(s)).count();
        let n_new = mode.sliding().len() - (self.slots.len() - n_gone);
        self.n_changes += n_gone + n_new;
        let anew = n_gone + n_new > MOST_AT_ONCE.max(self.slots.len() / 8) || self.n_changes > MOST_CHANGES;
        let mut is_regular = !anew;
        for slot in (0..self.slots.len()).rev() {
            if self.touched[self.slots[slot]] || !mode.slides(self.slots[slot]) {
                is_regular = self.remove(slot, is_regular);
            }
        }
        self.refresh_rows(couplings);
        for contact in mode.sliding() {
            if self.slot_of[contact.switch] == NONE {
                self.add_column(couplings, contact.switch);
                is_regular = is_regular && self.border_inverse();
            }
        }
        if !is_regular {
            self.invert();
        }
    }

    /// Marks the switches that lie above a source whose slope has changed.
    fn touch(&mut self, Couplings { links, slope, .. }: Couplings<'_>) {
        self.touched.clear();
        self.touched.resize(slope.len(), false);
        for link in links {
            if self.touched[link.source] || self.slope[link.source] != slope[link.source] {
                self.touched[link.reader] = true;
            }
        }
        self.slope.copy_from_slice(slope);
    }

    /// Takes a slot away, and its row and column out of the inverse if that is still one; says whether it is.
    fn remove(&mut self, slot: usize, is_regular: bool) -> bool {
        let last = self.slots.len() - 1;
        self.slot_of[self.slots[slot]] = NONE;
        let mut stays = is_regular;
        if stays {
            let own = std::mem::take(&mut self.inverse[slot]);
            let pivot = own[slot];
            stays = pivot > 0.0 && pivot.is_finite();
            vectorised!(for (j, column) in self.inverse[..=last].iter_mut().enumerate().filter(|(j, _)| *j != slot) {
                let factor = own[j] / pivot;
                column.iter_mut().zip(&own).for_each(|(x, o)| *x -= factor * o);
            });
            self.inverse[slot] = own;
            self.inverse.swap(slot, last);
            self.inverse[..last].iter_mut().for_each(|column| {
                column.swap_remove(slot);
            });
        }
        self.slots.swap_remove(slot);
        self.lifts.swap(slot, last);
        self.columns.swap(slot, last);
        if slot < last {
            self.slot_of[self.slots[slot]] = slot;
        }
        stays
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

    /// A slot for `switch`, with its lift and column.
    fn add_column(&mut self, Couplings { gram, links, slope }: Couplings<'_>, switch: usize) {
        let (m, slot) = (slope.len(), self.slots.len());
        if self.lifts.len() == slot {
            self.lifts.push(Vec::new());
            self.columns.push(Vec::new());
        }
        self.slots.push(switch);
        self.slot_of[switch] = slot;
        let (lift, column) = (&mut self.lifts[slot], &mut self.columns[slot]);
        lift_of(switch, links, slope, &mut self.scratch, lift);
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
    fn border_inverse(&mut self) -> bool {
        let n = self.slots.len() - 1;
        let Self { slots, columns, inverse, border, right, .. } = self;
        let column = &columns[n];
        let coupling = &mut right[0];
        coupling.clear();
        coupling.extend(slots[..n].iter().map(|&s| column[s]));
        border.resize(n, 0.0);
        vectorised!(for (b, row) in border.iter_mut().zip(&inverse[..n]) {
            *b = dot(&row[..n], coupling);
        });
        let diagonal = column[slots[n]];
        let pivot = diagonal - dot(border, coupling);
        if pivot.is_nan() || pivot <= SINGULAR * diagonal {
            return false;
        }
        if inverse.len() == n {
            inverse.push(Vec::new());
        }
        vectorised!(for (row, b) in inverse[..n].iter_mut().zip(&*border) {
            let factor = b / pivot;
            row.truncate(n);
            row.iter_mut().zip(&*border).for_each(|(x, b)| *x += factor * b);
            row.push(-factor);
        });
        let own = &mut inverse[n];
        own.clear();
        own.extend(border.iter().map(|b| -b / pivot));
        own.push(1.0 / pivot);
        true
    }

    /// The inverse from the columns alone.
    fn invert(&mut self) {
        self.n_changes = 0;
        let n = self.slots.len();
        if n == 0 {
            return;
        }
        let Self { slots, columns, inverse, factor, .. } = self;
        factor.factor_or_ridge(n, &[], |matrix, stride| {
            for (target, column) in matrix.chunks_exact_mut(stride).zip(&columns[..n]) {
                target.iter_mut().zip(&*slots).for_each(|(t, &s)| *t = column[s]);
            }
        });
        let mut whole = vec![0.0; n * n];
        (0..n).for_each(|j| whole[j * (n + 1)] = 1.0);
        if factor.size() == n {
            factor.solve_columns(&mut whole);
        } else {
            whole.fill(f64::NAN);
        }
        inverse.resize_with(inverse.len().max(n), Vec::new);
        for (row, from) in inverse.iter_mut().zip(whole.chunks_exact(n)) {
            row.clear();
            row.extend_from_slice(from);
        }
    }

    /// The multipliers that bring the given rates of the sliding switches to zero; rates and seeds with them.
    pub fn hold(&mut self, rates: &mut [Quadratic], seeds: &mut [Quadratic]) {
        let n = self.slots.len();
        let Self { slots, columns, inverse, lifts, right, .. } = self;
        for (k, right) in right.iter_mut().enumerate() {
            right.clear();
            right.extend(slots.iter().map(|&s| rates[s][k]));
        }
        let mut multipliers = vec![[0.0; 3]; n];
        vectorised!(for (delta, row) in multipliers.iter_mut().zip(&*inverse) {
            *delta = [dot(row, &right[0]), dot(row, &right[1]), dot(row, &right[2])];
        });
        for (delta, lift) in multipliers.iter().zip(&*lifts) {
            for &(c, weight) in lift {
                (0..3).for_each(|k| seeds[c][k] += weight * delta[k]);
            }
        }
        for moved in &mut *right {
            moved.clear();
            moved.resize(rates.len(), 0.0);
        }
        let [r0, r1, r2] = right;
        vectorised!({
            let mut blocks = columns[..n].chunks_exact(4);
            let mut weights = multipliers.chunks_exact(4);
            // Four columns at a time, each of them read once.
            for (block, weights) in blocks.by_ref().zip(weights.by_ref()) {
                let ([a, b, c, d], [wa, wb, wc, wd]) = (block, weights) else { continue };
                let sources = a.iter().zip(b).zip(c).zip(d);
                let targets = r0.iter_mut().zip(r1.iter_mut()).zip(r2.iter_mut());
                for (((r0, r1), r2), (((a, b), c), d)) in targets.zip(sources) {
                    *r0 += (wa[0] * a + wb[0] * b) + (wc[0] * c + wd[0] * d);
                    *r1 += (wa[1] * a + wb[1] * b) + (wc[1] * c + wd[1] * d);
                    *r2 += (wa[2] * a + wb[2] * b) + (wc[2] * c + wd[2] * d);
                }
            }
            for (column, w) in blocks.remainder().iter().zip(weights.remainder()) {
                let targets = r0.iter_mut().zip(r1.iter_mut()).zip(r2.iter_mut());
                for (((r0, r1), r2), c) in targets.zip(column) {
                    *r0 += w[0] * c;
                    *r1 += w[1] * c;
                    *r2 += w[2] * c;
                }
            }
        });
        for (k, moved) in self.right.iter().enumerate() {
            rates.iter_mut().zip(moved).for_each(|(rate, m)| rate[k] -= m);
        }
        self.slots.iter().for_each(|&s| rates[s] = [0.0; 3]);
    }
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
