//! A stride: one step that holds many events, at the cost of a few evaluations.
//!
//! The field is cut at the *active* switches: those that slide, and those that come to, or near, a breakpoint during the stride. Cut open
//! it is smooth, so three nodes of a collocation method carry it from the start to the end of the stride, whatever happens to the active
//! switches; and what happens to these follows from the nodes through the small system of [`reduced`], in which every event is located
//! and decided, slides included. Both are brought to agree by sweeps:
//!
//! 1. forward passes at the nodes show values; switches near a breakpoint join the active ones;
//! 2. backward passes give the coefficients of the reduced system, which is followed from event to event;
//! 3. the seeds of the active switches go back into the nodes as the quadratics with the same integrals ([`quadrature`]), and so do their
//!    outputs and, by a shift of the nodes, the kinks in θ: the quadrature then integrates jumps and kinks as if they were smooth.
//!
//! Where values at the nodes and in the reduced system disagree, a position correction makes the latter follow the former. A finished
//! stride is checked at a point that is no node: by the field's distance from its interpolant there, and by the values of the active
//! switches, which the correction cannot have adapted there.

mod crossing;
mod held;
mod quadrature;
mod reduced;

pub use reduced::Instant;

use super::cut::{CutField, START};
use super::field::NonFinite;
use super::mode::{Contact, Mode, Side};
use super::noise::Noise;
use super::norm::Weights;
use super::observer::EventKind;
use super::resolve::Workspace;
use crate::vector::{dot, vectorised};
use quadrature::{CHECK, NODES, Quadratic, RECORDED, at, integral, second_integral, through, weights, with_integrals};
use reduced::{Recorded, Reduced, Stuck, add_column};

/// The nodes after the first, and the one for the check.
const LATER: [usize; 2] = [1, 2];
const CHECKED: usize = 3;

/// A switch becomes active when it comes closer to a breakpoint than this part of its own way; in later sweeps only much closer.
const NEAR: [f64; 2] = [0.05, 0.015];

/// Sweeps after which a stride is given up, and the part of the tolerance that the last of them may still change.
const MOST_SWEEPS: usize = 8;
const SETTLED: f64 = 0.1;

/// Two sweeps together have to come closer by this factor, at least.
const CONTRACTION: f64 = 0.5;

/// Contraction believed of a sweep at most, however close it came.
const BELIEVED: f64 = 0.3;

/// Where a stride starts: the point of the field's last evaluation.
#[derive(Debug, Clone, Copy)]
pub struct StrideStart<'a> {
    /// State.
    pub y: &'a [f64],
    /// Field.
    pub dy: &'a [f64],
    /// Mode.
    pub mode: &'a Mode,
    /// Free switches that stand on a breakpoint.
    pub fresh: &'a [Contact],
    /// The tolerance.
    pub norm: Weights<'a>,
    /// The largest rate of any switch.
    pub largest_rate: f64,
}

/// A finished stride.
#[derive(Debug, Clone)]
pub struct Stride {
    /// State at the end.
    pub y: Vec<f64>,
    /// Mode at the end.
    pub mode: Mode,
    /// Events, with switches as positions in `active`.
    pub instants: Vec<Instant>,
    /// The active switches, increasing.
    pub active: Vec<usize>,
    /// Free active switches that are found beyond a boundary of their piece at the end, by no more than the error allows.
    pub beyond: Vec<Contact>,
    /// ∫‖θ̇‖² from the start to each event, and to the end.
    pub dissipated: (Vec<f64>, f64),
    /// Estimated error relative to the tolerance.
    pub error: f64,
}

/// Why a stride was given up.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenUp {
    /// The active switches could not be followed.
    Stuck,
    /// The sweeps do not converge.
    Diverges,
    /// A value is not finite.
    NonFinite,
}

impl From<NonFinite> for GivenUp {
    fn from(_: NonFinite) -> Self {
        Self::NonFinite
    }
}

impl From<Stuck> for GivenUp {
    fn from(stuck: Stuck) -> Self {
        if stuck == Stuck::NonFinite { Self::NonFinite } else { Self::Stuck }
    }
}

/// An active switch.
#[derive(Debug, Clone, Default)]
struct Active {
    switch: usize,
    /// Seeds at the nodes, with the integrals of the true ones.
    seeds: [f64; 3],
    /// Position corrections at the nodes after the first.
    drift: [f64; 2],
    /// What the last run found, `None` for a switch that has just joined.
    last: Option<Path>,
}

/// The path of an active switch in the last run.
#[derive(Debug, Clone, Copy, Default)]
struct Path {
    /// Values, slopes and outputs at the recorded abscissae.
    z: [f64; 3],
    slope: [f64; 3],
    output: [f64; 3],
    /// Outputs at the nodes with the integrals of the true ones, where the switch changed its mode.
    passed: [f64; 3],
    changed: bool,
    /// Shift of the nodes along its gradient, per stride.
    shift: [f64; 3],
    /// ∫ of the seed up to the check, less that of its quadratic.
    excess: f64,
}

/// Makes strides; keeps its memory.
#[derive(Debug, Default)]
pub struct Strider {
    active: Vec<Active>,
    list: Vec<usize>,
    reduced: Reduced,
    recorded: Vec<Recorded>,
    work: Workspace,
    /// θ at the later nodes, shifted; and the fields there.
    nodes: [Vec<f64>; 2],
    fields: [Vec<f64>; 3],
    end: Vec<f64>,
    scratch: Vec<f64>,
    rates: [Vec<f64>; 3],
    sensitivities: [Vec<f64>; 3],
    values: Vec<f64>,
    /// Field at the start of the stride before, and its length.
    before: Option<(Vec<f64>, f64)>,
    /// Evaluations of the field, and of rates of switches.
    pub n_evaluations: u64,
    /// Evaluations of rates of active switches.
    pub n_rates: u64,
}

impl Strider {
    /// Forgets the stride before.
    pub fn reset(&mut self) {
        self.before = None;
    }

    /// Attempts a stride of length `h`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn attempt(&mut self, cut: &mut dyn CutField, start: StrideStart<'_>, h: f64) -> Result<Stride, GivenUp> {
        self.begin(cut, start, h);
        let mut modes = [start.mode.clone(), start.mode.clone()];
        let mut convergence = Convergence::default();
        let mut check_end = Vec::new();
        for sweep in 0..MOST_SWEEPS {
            for (j, node) in LATER.into_iter().enumerate() {
                let passed = self.passed(j);
                cut.stand(node, &self.nodes[j], &modes[j], &passed)?;
            }
            let has_grown = self.grow(cut, start, sweep, &check_end);
            self.list.clear();
            self.list.extend(self.active.iter().map(|a| a.switch));
            cut.cut(&self.list);
            if has_grown || sweep == 0 {
                self.respond_at_start(cut);
            }
            self.set_coefficients(cut, h);
            let (instants, local, dissipated) = self.follow(cut, start)?;
            for (mode, record) in modes.iter_mut().zip(&self.recorded) {
                mode.clone_from(start.mode);
                write_modes(&self.list, &record.mode, mode);
            }
            let change = self.sweep_end(cut, start, h)?;
            let settled = convergence.settles(change);
            if !settled && convergence.fails() {
                return Err(GivenUp::Diverges);
            }
            check_end.clear();
            if settled {
                let mut mode = start.mode.clone();
                write_modes(&self.list, &local, &mut mode);
                let (beyond, missed) = self.beyond(cut, &mode)?;
                check_end = missed;
                if check_end.is_empty() {
                    let error = self.check(cut, start, h)?;
                    let dissipated = self.dissipation(h, &instants, dissipated);
                    self.before = Some((start.dy.to_vec(), h));
                    return Ok(Stride {
                        y: self.end.clone(),
                        mode,
                        instants,
                        active: self.list.clone(),
                        beyond,
                        dissipated,
                        error,
                    });
                }
            }
            self.shift_nodes(cut, start, h);
        }
        Err(GivenUp::Diverges)
    }

    /// The active switches to begin with, and a first guess of the nodes.
    fn begin(&mut self, cut: &dyn CutField, start: StrideStart<'_>, h: f64) {
        let Self { active, nodes, fields, end, before, reduced, .. } = self;
        active.clear();
        active.extend(
            start.mode.sliding().iter().chain(start.fresh).map(|c| Active { switch: c.switch, ..Active::default() }),
        );
        active.sort_by_key(|a| a.switch);
        active.dedup_by_key(|a| a.switch);
        reduced.lines.clear();
        reduced.lines.extend_from_slice(cut.lines());
        reduced.breakpoints.clear();
        reduced.breakpoints.extend_from_slice(cut.breakpoints());
        reduced.largest_rate = h * start.largest_rate;
        fields.iter_mut().chain([&mut self.scratch]).for_each(|f| f.resize(start.y.len(), 0.0));
        fields[0].copy_from_slice(start.dy);
        // θ₀ + c h f₀ + (c h)²/2·ḟ with ḟ from the stride before.
        for (node, x) in nodes.iter_mut().zip(&NODES[1..]) {
            let step = x * h;
            node.clear();
            node.extend(start.y.iter().zip(start.dy).map(|(y, f)| y + step * f));
            if let Some((field, h_before)) = before {
                let weight = 0.5 * step * step / *h_before;
                node.iter_mut().zip(start.dy).zip(&*field).for_each(|((n, f), g)| *n += weight * (f - g));
            }
        }
        end.clone_from(&nodes[1]);
    }

    /// Outputs that switches with changes of mode have at a later node.
    fn passed(&self, j: usize) -> Vec<(usize, f64)> {
        let changed = |a: &Active| a.last.filter(|p| p.changed).map(|p| (a.switch, p.passed[j]));
        self.active.iter().filter_map(changed).collect()
    }

    /// Takes in the switches that come near a breakpoint, and those listed; says whether there are any.
    fn grow(&mut self, cut: &dyn CutField, start: StrideStart<'_>, sweep: usize, listed: &[usize]) -> bool {
        let near = NEAR[usize::from(sweep > 0)];
        let (z0, z1, z2) = (cut.values(START), cut.values(LATER[0]), cut.values(LATER[1]));
        let n_before = self.active.len();
        let mut known = self.active.iter().map(|a| a.switch).peekable();
        let mut found: Vec<usize> = Vec::new();
        for (switch, ((&z0, &z1), &z2)) in z0.iter().zip(z1).zip(z2).enumerate() {
            if known.next_if_eq(&switch).is_some() {
                continue;
            }
            let way = (z1 - z0).abs().max((z2 - z0).abs());
            let q = through([z0, z1, z2]);
            // The quadratic's turning point, if it lies inside.
            let turn = if q[2] != 0.0 { (-0.5 * q[1] / q[2]).clamp(0.0, 1.0) } else { 0.0 };
            let z_turn = at(&q, turn);
            let (low, high) = (z0.min(z1).min(z2).min(z_turn), z0.max(z1).max(z2).max(z_turn));
            let piece = usize::from(start.mode.pieces()[switch]);
            let below = piece.checked_sub(1).is_some_and(|b| low - self.reduced.breakpoints[b] < near * way);
            let above = self.reduced.breakpoints.get(piece).is_some_and(|b| b - high < near * way);
            if below || above {
                found.push(switch);
            }
        }
        self.active.extend(found.iter().chain(listed).map(|&switch| Active { switch, ..Active::default() }));
        self.active.sort_by_key(|a| a.switch);
        self.active.dedup_by_key(|a| a.switch);
        self.active.len() > n_before
    }

    /// Seeds and response of the active switches at the start.
    fn respond_at_start(&mut self, cut: &mut dyn CutField) {
        cut.seeds(&self.list, &mut self.values);
        for (active, &seed) in self.active.iter_mut().zip(&self.values) {
            active.seeds[0] = seed;
            if active.last.is_none() {
                active.seeds = [seed; 3];
            }
        }
        let m = self.list.len();
        self.rates[0].resize(m, 0.0);
        self.sensitivities[0].resize(m, 0.0);
        cut.respond(START, &self.values, &mut self.rates[0], &mut self.sensitivities[0]);
        self.n_rates += 1;
    }

    /// The coefficients of the reduced system from responses at the nodes.
    fn set_coefficients(&mut self, cut: &mut dyn CutField, h: f64) {
        let m = self.list.len();
        let Self { active, reduced, rates, sensitivities, values, .. } = self;
        cut.couple(LATER[0], &mut reduced.gram, &mut reduced.links);
        reduced.groups.clear();
        reduced.groups.extend(self.list.iter().map(|&switch| cut.group(switch)));
        reduced.largest_mu.clear();
        reduced.largest_mu.extend(self.list.iter().map(|&switch| cut.largest_sensitivity(switch)));
        reduced.gram.iter_mut().for_each(|g| *g *= h);
        for node in LATER {
            values.clear();
            values.extend(active.iter().map(|a| a.seeds[node]));
            rates[node].resize(m, 0.0);
            sensitivities[node].resize(m, 0.0);
            cut.respond(node, values, &mut rates[node], &mut sensitivities[node]);
            self.n_rates += 1;
        }
        let mut zeta = vec![[0.0; 3]; m];
        let mut mu0 = vec![[0.0; 3]; m];
        // At every node ζ = v + ΓD̂ and μ⁰ = μ − MᵀD̂.
        for node in 0..3 {
            for c in 0..m {
                zeta[c][node] = h * rates[node][c];
                mu0[c][node] = sensitivities[node][c];
            }
            for link in &reduced.links {
                mu0[link.source][node] -= link.weight * active[link.reader].seeds[node];
            }
        }
        for (a, column) in active.iter().zip(reduced.gram.chunks_exact(m.max(1))) {
            add_column(column, a.seeds, &mut zeta);
        }
        set_noise(cut.noise(), h, active, reduced, &zeta, &mu0);
        reduced.zeta = zeta.into_iter().map(through).collect();
        reduced.mu0 = mu0.into_iter().map(through).collect();
        self.correct_positions(cut);
        let Self { active, reduced, .. } = self;
        // The derivative of the quadratic through 0 and the corrections at the later nodes.
        let drift = active.iter().map(|a| {
            let q = through([0.0, a.drift[0], a.drift[1]]);
            [q[1], 2.0 * q[2], 0.0]
        });
        reduced.drift = drift.collect();
    }

    /// What the active switches do at x in a forward pass at shifted nodes, less what they do in the last run and what the shift and the
    /// outputs put in explain; 0 for those that have just joined.
    fn disagreement(&self, values: &[f64], recorded: usize, shift_excess: impl Fn(&Path) -> f64) -> Vec<f64> {
        let m = self.active.len();
        let mut explained = vec![0.0; m];
        for (c, a) in self.active.iter().enumerate() {
            let shift = a.last.as_ref().map_or(0.0, &shift_excess);
            if shift != 0.0 {
                let column = &self.reduced.gram[c * m..(c + 1) * m];
                explained.iter_mut().zip(column).for_each(|(e, g)| *e -= g * shift);
            }
        }
        for link in &self.reduced.links {
            let output = self.active[link.source].last.map_or(0.0, |p| {
                if p.changed {
                    p.passed[recorded] - p.output[recorded]
                } else {
                    p.slope[recorded] * explained[link.source]
                }
            });
            explained[link.reader] += link.weight * output;
        }
        let found = self.active.iter().zip(&explained);
        found.map(|(a, e)| a.last.map_or(0.0, |p| values[a.switch] - p.z[recorded] - e)).collect()
    }

    /// Makes the reduced system follow the values at the nodes.
    fn correct_positions(&mut self, cut: &dyn CutField) {
        for (j, node) in LATER.into_iter().enumerate() {
            let d = self.disagreement(cut.values(node), j, |p| p.shift[j]);
            for (a, d) in self.active.iter_mut().zip(&d) {
                a.drift[j] += d;
            }
            for link in &self.reduced.links {
                let slope = self.active[link.source].last.map_or(0.0, |p| p.slope[j]);
                self.active[link.reader].drift[j] -= link.weight * slope * d[link.source];
            }
        }
    }

    /// Follows the active switches, and takes over what they do as quadratics.
    fn follow(&mut self, cut: &dyn CutField, start: StrideStart<'_>) -> Result<(Vec<Instant>, Mode, f64), GivenUp> {
        let Self { active, reduced, recorded, work, list, .. } = self;
        let values = cut.values(START);
        let mut mode = Mode::new(list.iter().map(|&s| start.mode.pieces()[s]).collect());
        let mut z: Vec<f64> = list.iter().map(|&s| values[s]).collect();
        let mut stand = |contact: &Contact| {
            let at = list.binary_search(&contact.switch).expect("sliding and fresh switches are active");
            z[at] = reduced.breakpoints[usize::from(contact.breakpoint)];
            at
        };
        start.fresh.iter().for_each(|c| {
            stand(c);
        });
        for contact in start.mode.sliding() {
            let switch = stand(contact);
            mode.hold(Contact { switch, breakpoint: contact.breakpoint });
        }
        let first: Vec<f64> = (0..list.len()).map(|c| reduced.output(&mode, c, z[c])).collect();
        let (instants, dissipated) = reduced.run(&mut z, &mut mode, &RECORDED, recorded, work)?;
        let check = weights(CHECK);
        let at_check = |v: [f64; 3]| at(&through(v), CHECK);
        for (c, a) in active.iter_mut().enumerate() {
            let mut path = Path::default();
            for (r, record) in recorded.iter().enumerate() {
                path.z[r] = record.z[c];
                path.slope[r] = reduced.slope(&record.mode, c);
                path.output[r] = reduced.output(&record.mode, c, record.z[c]);
            }
            let sums = [0, 1, 2].map(|r| recorded[r].integrals[c]);
            a.seeds = with_integrals(a.seeds[0], [sums[0][0], sums[1][0]]);
            let seed: Quadratic = through(a.seeds);
            // ∫ of the seed less its quadratic vanishes at the nodes, and its own integrals are what the nodes are shifted by.
            let rest = [0, 1].map(|r| sums[r][1] - second_integral(&seed, RECORDED[r]));
            path.shift = with_integrals(0.0, rest);
            path.shift = [path.shift[1], path.shift[2], at_check(path.shift)];
            let passed = with_integrals(first[c], [sums[0][2], sums[1][2]]);
            path.passed = [passed[1], passed[2], at_check(passed)];
            path.excess = sums[2][0] - check.iter().zip(&a.seeds).map(|(w, s)| w * s).sum::<f64>();
            a.last = Some(path);
        }
        for instant in &instants {
            for change in instant.changes.iter().filter(|c| c.kind != EventKind::Graze) {
                if let Some(path) = &mut active[change.contact.switch].last {
                    path.changed = true;
                }
            }
        }
        Ok((instants, mode, dissipated))
    }

    /// Fields at the nodes with the seeds just found, and the end that they lead to; returns how far that has moved, relative to the
    /// tolerance.
    fn sweep_end(&mut self, cut: &mut dyn CutField, start: StrideStart<'_>, h: f64) -> Result<f64, GivenUp> {
        let Self { active, fields, end, scratch, values, .. } = self;
        for node in LATER {
            values.clear();
            values.extend(active.iter().map(|a| a.seeds[node]));
            cut.field(node, values, &mut fields[node])?;
            self.n_evaluations += 1;
        }
        scratch.copy_from_slice(end);
        advance(start.y, h, 1.0, fields, end);
        scratch.iter_mut().zip(&*end).for_each(|(s, e)| *s -= e);
        Ok(start.norm.of(scratch, start.y, end))
    }

    /// The later nodes of the next sweep: the quadrature's, shifted to where they see the integrals of the kinks in θ.
    fn shift_nodes(&mut self, cut: &mut dyn CutField, start: StrideStart<'_>, h: f64) {
        for (j, node) in LATER.into_iter().enumerate() {
            let mut shifted = std::mem::take(&mut self.nodes[j]);
            self.shifted(cut, start, h, (node, j), &mut shifted);
            self.nodes[j] = shifted;
        }
    }

    /// The quadrature's state at a recorded abscissa, shifted along gradients at `node`.
    fn shifted(
        &mut self,
        cut: &mut dyn CutField,
        start: StrideStart<'_>,
        h: f64,
        (node, recorded): (usize, usize),
        out: &mut Vec<f64>,
    ) {
        let Self { active, fields, scratch, values, .. } = self;
        advance(start.y, h, RECORDED[recorded], fields, out);
        values.clear();
        values.extend(active.iter().map(|a| a.last.map_or(0.0, |p| p.shift[recorded])));
        if values.iter().any(|v| *v != 0.0) {
            cut.pull(node, values, scratch);
            self.n_evaluations += 1;
            out.iter_mut().zip(&*scratch).for_each(|(o, s)| *o -= h * s);
        }
    }

    /// Free switches beyond a boundary at the end: active ones, and others, whose events have been missed.
    fn beyond(&mut self, cut: &mut dyn CutField, mode: &Mode) -> Result<(Vec<Contact>, Vec<usize>), GivenUp> {
        cut.stand(LATER[1], &self.end, mode, &[])?;
        // When switches have been missed, the next guess of the nodes pulls from this one.
        cut.cut(&self.list);
        let breakpoints = cut.breakpoints();
        let (mut active, mut missed) = (Vec::new(), Vec::new());
        for (switch, &z) in cut.values(LATER[1]).iter().enumerate().filter(|(switch, _)| !mode.slides(*switch)) {
            let piece = usize::from(mode.pieces()[switch]);
            let below = piece.checked_sub(1).filter(|&b| z < breakpoints[b]);
            let Some(breakpoint) = below.or((breakpoints.get(piece)).is_some_and(|b| z > *b).then_some(piece)) else {
                continue;
            };
            if self.list.binary_search(&switch).is_ok() {
                active.push(Contact { switch, breakpoint: breakpoint as u16 });
            } else {
                missed.push(switch);
            }
        }
        Ok((active, missed))
    }

    /// Estimated error relative to the tolerance, from a point that is no node.
    fn check(&mut self, cut: &mut dyn CutField, start: StrideStart<'_>, h: f64) -> Result<f64, GivenUp> {
        let mut point = std::mem::take(&mut self.nodes[0]);
        self.shifted(cut, start, h, (LATER[0], 2), &mut point);
        let mut mode = start.mode.clone();
        write_modes(&self.list, &self.recorded[2].mode, &mut mode);
        cut.stand(CHECKED, &point, &mode, &self.passed(2))?;
        self.nodes[0] = point;
        cut.cut(&self.list);
        // The least displacements of θ that would explain the values found.
        let d = self.disagreement(cut.values(CHECKED), 2, |p| p.shift[2] - p.excess);
        let m = d.len();
        let squared: f64 = d.iter().enumerate().map(|(c, d)| d * d * h / self.reduced.gram[c * (m + 1)]).sum();
        let displacement = (squared / start.norm.squared(start.y)).sqrt();
        let Self { active, fields, end, scratch, values, .. } = self;
        values.clear();
        values.extend(active.iter().map(|a| at(&through(a.seeds), CHECK)));
        cut.field(CHECKED, values, scratch)?;
        self.n_evaluations += 1;
        let basis = [0, 1, 2].map(|k| {
            let mut v = [0.0; 3];
            v[k] = 1.0;
            at(&through(v), CHECK)
        });
        for (k, found) in scratch.iter_mut().enumerate() {
            *found = h * (*found - (basis[0] * fields[0][k] + basis[1] * fields[1][k] + basis[2] * fields[2][k]));
        }
        let defect = start.norm.of(scratch, start.y, end);
        Ok(if displacement.is_finite() { defect.max(displacement) } else { f64::INFINITY })
    }

    /// out = the state at an event of the stride of length `h` from `y` just finished: the quadrature's there, and along the gradients of the active
    /// switches at the closest node what the integrals of their seeds differ by from those of the quadratics.
    pub fn state_at(&mut self, cut: &mut dyn CutField, instant: &Instant, y: &[f64], h: f64, out: &mut Vec<f64>) {
        let Self { active, fields, scratch, values, .. } = self;
        advance(y, h, instant.x, fields, out);
        let w = weights(instant.x);
        values.clear();
        values.extend(active.iter().zip(&instant.seeds).map(|(a, sum)| sum - dot(&w, &a.seeds)));
        cut.pull(closest(instant.x), values, scratch);
        out.iter_mut().zip(&*scratch).for_each(|(o, s)| *o -= h * s);
    }

    /// ∫‖θ̇‖² up to each event and to the end, from the part that depends on the active switches.
    fn dissipation(&self, h: f64, instants: &[Instant], rest: f64) -> (Vec<f64>, f64) {
        let m = self.active.len();
        // ‖g‖² = ‖f‖² + 2D·ζ − D·ΓD at the nodes.
        let at_node = |node: usize| {
            let seeds = |c: usize| self.active[c].seeds[node];
            let mut sum = h * dot(&self.fields[node], &self.fields[node]);
            for c in 0..m {
                let column = &self.reduced.gram[c * m..(c + 1) * m];
                let product: f64 = column.iter().enumerate().map(|(d, g)| g * seeds(d)).sum();
                sum += seeds(c) * (2.0 * at(&self.reduced.zeta[c], NODES[node]) - product);
            }
            sum
        };
        let smooth = through([at_node(0), at_node(1), at_node(2)]);
        let upto = instants.iter().map(|i| integral(&smooth, i.x) + i.dissipated).collect();
        (upto, integral(&smooth, 1.0) + rest)
    }
}

/// How the changes from sweep to sweep fall.
#[derive(Debug, Default)]
struct Convergence {
    changes: Vec<f64>,
}

impl Convergence {
    /// Takes the next change; whether what is left after it is below the tolerance, by the worse of the last two contractions.
    fn settles(&mut self, change: f64) -> bool {
        self.changes.push(change);
        let ratios = self.changes.windows(2).rev().take(2).map(|pair| pair[1] / pair[0]);
        let contraction = ratios.fold(0.0, f64::max);
        self.changes.len() > 1 && change * contraction.min(BELIEVED) <= SETTLED
    }

    /// Whether two sweeps have come no closer.
    fn fails(&self) -> bool {
        let [.., before, _, last] = self.changes[..] else { return false };
        last.is_nan() || last > CONTRACTION * before
    }
}

/// Rounding of the reduced system: that of the field, and that of taking the seeds out of ζ and putting them in again.
fn set_noise(field: &Noise, h: f64, active: &[Active], reduced: &mut Reduced, zeta: &[Quadratic], mu0: &[Quadratic]) {
    let m = active.len();
    let unit = f64::EPSILON * (1.0 + (m as f64).sqrt());
    let largest = |values: &[f64; 3]| values.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    let Reduced { gram, links, noise, .. } = reduced;
    let Noise { rates, sensitivities, .. } = noise;
    rates.clear();
    rates.extend(zeta.iter().map(largest));
    for (a, column) in active.iter().zip(gram.chunks_exact(m.max(1))) {
        let seed = largest(&a.seeds);
        vectorised!(rates.iter_mut().zip(column).for_each(|(rate, g)| *rate += seed * g.abs()));
    }
    sensitivities.clear();
    sensitivities.extend(mu0.iter().map(largest));
    links.iter().for_each(|link| sensitivities[link.source] += link.weight.abs() * largest(&active[link.reader].seeds));
    for (c, a) in active.iter().enumerate() {
        rates[c] = unit * rates[c] + h * field.rates.get(a.switch).copied().unwrap_or(0.0);
        sensitivities[c] = unit * sensitivities[c] + field.sensitivities.get(a.switch).copied().unwrap_or(0.0);
    }
}

/// Writes the modes of the active switches into the mode of all.
fn write_modes(list: &[usize], local: &Mode, mode: &mut Mode) {
    for (c, &switch) in list.iter().enumerate() {
        let piece = local.pieces()[c];
        if local.slides(c) {
            mode.hold(Contact { switch, breakpoint: piece });
        } else {
            mode.place(Contact { switch, breakpoint: piece }, Side::Below);
        }
    }
}

/// The node that is closest to x.
fn closest(x: f64) -> usize {
    let distance = |node: &usize| (NODES[*node] - x).abs();
    (0..NODES.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("three nodes")
}

/// out = y + h·Σ weights(x)·fields.
fn advance(y: &[f64], h: f64, x: f64, fields: &[Vec<f64>; 3], out: &mut Vec<f64>) {
    let w = weights(x).map(|w| h * w);
    out.clear();
    let sum = fields[0].iter().zip(&fields[1]).zip(&fields[2]);
    out.extend(y.iter().zip(sum).map(|(y, ((a, b), c))| y + (w[0] * a + w[1] * b + w[2] * c)));
}
