//! θ̇ = −∇L(θ), L = Σ_j ℓ(f(x_j), y_j), as a [`PiecewiseField`].
//!
//! One switch per hidden unit and (distinct) sample: its pre-activation, with the activation's breakpoints; units whose pre-activations
//! coincide for every θ share one ([`Switches`]). Sliding units are held by [`SlideSystem`]; their effective slopes δ/μ lie between the
//! one-sided slopes while the slide lasts.

use super::contact::ContactTools;
use super::cut::CutNetwork;
use super::gram::GramAhead;
use super::largest::Largest;
use super::linearise::LowRank;
use super::noise::{At, NoiseMeter};
use super::scales::{Block, Scales, blocks};
use super::sliding::{SlideSystem, TangentBuffers};
use super::switches::Switches;
use crate::data::{Data, MergedData};
use crate::loss::Loss;
use crate::net::{Backward, Batch, Bends, Forward, Held, Network, Place, SecondOrder};
use crate::ode::contact::LocalModel;
use crate::ode::field::OTHERS;
use crate::ode::{
    Contact, CutField, Linearisation, Mode, Noise, NonFinite, PiecewiseField, Side, SlideMargin, Snapshot,
};
use crate::vector::{all_finite, norm};
use std::sync::Arc;

/// Power iterations on the first call for a decay rate, and on later (warm) ones.
const POWER_ITERATIONS: (usize, usize) = (20, 1);

/// A rate of which less than this part is left behind a kink has come to nothing: a dead unit has no rate at all.
const NOTHING_LEFT: f64 = 1e-9;

/// What is not finite when a projection is not.
const PROJECTION: &str = "the projection onto the sliding surfaces";

/// The gradient flow of a network on data.
#[derive(Debug, Clone)]
pub struct FlowField {
    batch: Arc<Batch>,
    data: Arc<MergedData>,
    switches: Arc<Switches>,
    loss: Loss,
    theta: Vec<f64>,
    contacts: Vec<Contact>,
    /// Pieces of all pre-activations, where some share a switch; and values of the switches in that case.
    pieces: Vec<u16>,
    values: Vec<f64>,
    held: Vec<Held>,
    forward: Forward,
    backward: Backward,
    residual_seed: Vec<f64>,
    slide: SlideSystem,
    /// (switch, δ) of the sliding units.
    delta: Vec<(usize, f64)>,
    rates_held: Vec<f64>,
    /// Distances of contacts from their breakpoints.
    offsets: Vec<f64>,
    buffers: TangentBuffers,
    projection: (SlideSystem, Forward, Vec<Held>),
    value_scratch: [Vec<f64>; 3],
    noise: Noise,
    noise_meter: NoiseMeter,
    contact_tools: ContactTools,
    /// *(last)* The mode, where others are attached to what slides.
    joined: Option<Mode>,
    /// Whether the last projection was onto surfaces that are independent of each other.
    is_regular: bool,
    /// Whether the noise is that of the last evaluation.
    noise_is_current: bool,
    largest_z: Largest,
    largest_mu: Largest,
    power: PowerIteration,
    /// Finds the scales of parameters, where they are asked for.
    scales: Option<Scales>,
    low_rank: LowRank,
    cut: Option<Box<CutNetwork>>,
    bends: Bends,
    second: SecondOrder,
    /// The lower triangle of G, of a prepared snapshot.
    gram_ahead: Option<Vec<f64>>,
}

/// The power iteration for the decay rate.
#[derive(Debug, Clone, Default)]
struct PowerIteration {
    /// Where it stands, length nM.
    vector: Vec<f64>,
    /// An output seed, and its gradient.
    seed: Vec<f64>,
    direction: Vec<f64>,
}

/// Scalars at one point of the flow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowSample {
    /// L(θ), over all original samples.
    pub loss: f64,
    /// ‖F − y‖ over all original samples.
    pub residual_norm: f64,
    /// ‖θ̇‖.
    pub gradient_norm: f64,
}

impl FlowField {
    /// The flow of the squared error of `network` on `data`; samples with identical inputs are merged.
    ///
    /// Sets faer's global parallelism to sequential: at these sizes threads lose, and one order of summation keeps runs
    /// reproducible bit by bit.
    pub fn new(network: Network, data: &Data) -> Self {
        Self::with_loss(network, data, Loss::SquaredError)
    }

    /// The same for another loss, whose targets have been checked.
    pub fn with_loss(network: Network, data: &Data, loss: Loss) -> Self {
        faer::set_global_parallelism(faer::Par::Seq);
        let mut merged = data.merged();
        if let Some(order) = network.output_order() {
            let rows = merged.y.chunks_exact(merged.n_outputs);
            merged.y = rows.flat_map(|row| order.iter().map(|&k| row[k])).collect();
        }
        let batch = Batch::new(network, merged.x.clone());
        let switches = Switches::new(&batch);
        Self::with(Arc::new(batch), Arc::new(merged), Arc::new(switches), loss)
    }

    fn with(batch: Arc<Batch>, data: Arc<MergedData>, switches: Arc<Switches>, loss: Loss) -> Self {
        let n_hidden = batch.network().n_hidden();
        Self {
            theta: Vec::new(),
            contacts: Vec::new(),
            pieces: Vec::new(),
            values: Vec::new(),
            switches,
            held: Vec::new(),
            forward: Forward::default(),
            backward: Backward::default(),
            residual_seed: vec![0.0; batch.n_outputs()],
            slide: SlideSystem::default(),
            delta: Vec::new(),
            rates_held: Vec::new(),
            offsets: Vec::new(),
            buffers: TangentBuffers::default(),
            projection: (SlideSystem::default(), Forward::default(), Vec::new()),
            value_scratch: Default::default(),
            noise: Noise::default(),
            noise_meter: NoiseMeter::default(),
            contact_tools: ContactTools::default(),
            joined: None,
            is_regular: true,
            noise_is_current: false,
            loss,
            largest_z: Largest::new(n_hidden),
            largest_mu: Largest::new(n_hidden),
            power: PowerIteration::default(),
            scales: None,
            low_rank: LowRank::default(),
            cut: None,
            bends: Bends::default(),
            second: SecondOrder::default(),
            gram_ahead: None,
            batch,
            data,
        }
    }

    /// The same with tolerances that scale with the state: errors of a parameter count against its [scale](PiecewiseField::scales).
    pub fn scaled(mut self) -> Self {
        self.scales = Some(Scales::new(&self.batch, &self.data, self.loss));
        self
    }

    /// The scales of all blocks of parameters at `theta`; costs an evaluation there.
    ///
    /// # Errors
    /// When the field is not finite there.
    pub fn block_scales(&mut self, theta: &[f64]) -> Result<Vec<Block>, NonFinite> {
        let (mode, mut dy) = (self.mode_from_values(theta), vec![0.0; theta.len()]);
        self.eval(theta, &mode, &mut dy)?;
        let mut scales = Vec::new();
        Scales::new(&self.batch, &self.data, self.loss).find(&self.batch, theta, &self.forward, &mut scales);
        Ok(blocks(self.batch.network().layers(), &scales))
    }

    /// Network and distinct inputs.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Which pre-activations share a switch.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The merged data.
    pub fn data(&self) -> &MergedData {
        &self.data
    }

    /// *(last)* θ, and the forward pass in which sliding units are held.
    pub fn forward(&self) -> (&[f64], &Forward) {
        (&self.theta, &self.forward)
    }

    /// *(last)* Loss, residual and gradient norm; `dy` is the field there.
    pub fn sample(&self, dy: &[f64]) -> FlowSample {
        let loss = self.loss_of(&self.forward.f);
        let residual_norm = self.loss.residual_norm(&self.data, loss, &self.residual_seed);
        FlowSample { loss, residual_norm, gradient_norm: norm(dy) }
    }

    /// L at `theta` in `mode`, from a forward pass alone.
    pub fn loss_at(&mut self, theta: &[f64], mode: &Mode) -> f64 {
        self.outputs_at(theta, mode).0
    }

    /// L and the outputs on the distinct samples at `theta` in `mode`, from a forward pass alone.
    pub fn outputs_at(&mut self, theta: &[f64], mode: &Mode) -> (f64, &[f64]) {
        let (_, forward, held) = &mut self.projection;
        hold(&self.batch, &self.switches, theta, mode.sliding(), held);
        self.batch.forward(theta, self.switches.pieces(mode, &mut self.pieces), held, forward);
        let loss = self.loss_of(&self.projection.1.f);
        (loss, &self.projection.1.f)
    }

    /// *(last)* out = the second derivative of L along `direction`, in `mode`, which has to be that of the last evaluation.
    ///
    /// With all pieces frozen it is exact: ∇²L of the smooth continuation. While units slide it is the second derivative of L on the
    /// intersection of their surfaces, P(∇²L₀ + Σ δ_e ∇²z_e)P with P the projector on its tangent space, which is how θ̇ changes along
    /// tangent directions. Both vectors have length P; costs about two gradients, and two projections while units slide.
    pub fn hessian_product(&mut self, mode: &Mode, direction: &[f64], out: &mut [f64]) {
        let part = self.batch.network().n_outputs_per_part();
        let Self {
            batch,
            data,
            switches,
            loss,
            theta,
            pieces,
            held,
            forward,
            backward,
            residual_seed,
            slide,
            buffers,
            bends,
            second,
            ..
        } = self;
        let mut tangent = direction.to_vec();
        slide.project_tangent(batch, theta, forward, &mut tangent, buffers);
        batch.bends(switches.pieces(mode, pieces), held, forward, bends);
        batch.second_order_tangent(theta, forward, &tangent, second);
        let mut seed_rate = second.df.clone();
        loss.apply_root(data, part, &forward.f, &mut seed_rate);
        loss.apply_root_transposed(data, part, &forward.f, &mut seed_rate);
        let gradient = (&*backward, &residual_seed[..]);
        batch.second_order(theta, forward, bends, gradient, &tangent, &seed_rate, second, out);
        slide.project_tangent(batch, theta, forward, out, buffers);
    }

    /// Replaces targets and multiplicities of the distinct samples, in the order of the network's outputs: the gradient over a part of
    /// the data is that of the same field with other weights.
    pub fn reweight(&mut self, y: Vec<f64>, weight: Vec<f64>) {
        self.data = Arc::new(MergedData { y, weight, ..(*self.data).clone() });
    }

    /// Units on original samples that a switch stands for.
    pub fn places(&self, switch: usize) -> impl Iterator<Item = Place> {
        self.switches.members(switch).iter().flat_map(move |&member| {
            let (layer, unit, sample) = self.batch.locate(member);
            self.data.originals[sample].iter().map(move |&sample| self.batch.network().place(layer, unit, sample))
        })
    }

    fn loss_of(&self, f: &[f64]) -> f64 {
        self.loss.value(&self.data, self.batch.network().n_outputs_per_part(), f) + self.loss.excess(&self.data)
    }

    /// The loss.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// *(last)* Residual F − y over all original samples, in their order.
    pub fn residual(&self, targets: &[f64]) -> Vec<f64> {
        let m = self.data.n_outputs;
        let order = self.batch.network().output_order();
        let mut residual = vec![0.0; targets.len()];
        for (u, originals) in self.data.originals.iter().enumerate() {
            for &j in originals {
                for k in 0..m {
                    let target = j * m + order.map_or(k, |order| order[k]);
                    residual[target] = self.forward.f[u * m + k] - targets[target];
                }
            }
        }
        residual
    }

    /// *(last)* σ′ of all switches, with effective slopes s* = δ/μ in place of 0 at sliding units, as the Gram matrix G_s needs them.
    pub fn effective_slopes(&self, out: &mut Vec<f64>) {
        out.clone_from(&self.forward.slope);
        for (contact, &(first, delta)) in self.contacts.iter().zip(&self.delta) {
            let layer = self.batch.layer_of(first);
            let (low, high) = self.one_sided_slopes(layer, contact.breakpoint);
            let s = delta / self.mu(contact.switch);
            // μ = 0 means that no slope changes anything upstream; any admissible one does.
            let s = if s.is_finite() { s.clamp(low.min(high), low.max(high)) } else { 0.5 * (low + high) };
            self.switches.members(contact.switch).iter().for_each(|&j| out[j] = s);
        }
    }

    /// The lower triangle of G, where a snapshot has been prepared.
    pub(super) fn gram_ahead(&self) -> Option<&[f64]> {
        self.gram_ahead.as_deref()
    }

    /// The first part of an evaluation: outputs and their seeds, with sliding units held.
    fn pass_forward(&mut self, y: &[f64], mode: &Mode) {
        self.joined = (!mode.attached().is_empty() && !mode.sliding().is_empty()).then(|| mode.clone());
        let part = self.batch.network().n_outputs_per_part();
        self.theta.clear();
        self.theta.extend_from_slice(y);
        self.contacts.clear();
        self.contacts.extend_from_slice(mode.sliding());
        hold(&self.batch, &self.switches, y, mode.sliding(), &mut self.held);
        self.batch.forward(y, self.switches.pieces(mode, &mut self.pieces), &self.held, &mut self.forward);
        if !self.switches.are_single() {
            self.values.resize(self.switches.len(), 0.0);
            self.switches.gather(&self.forward.z, &mut self.values);
        }
        self.loss.seed(&self.data, part, &self.forward.f, &mut self.residual_seed);
    }

    /// The last part: the field from the backward pass.
    fn finish_eval(&mut self, dy: &mut [f64]) -> Result<(), NonFinite> {
        let batch = &*self.batch;
        batch.gradient_times(-1.0, &self.forward, &self.residual_seed, &self.backward, dy);
        self.largest_z.forget();
        self.largest_mu.forget();
        self.noise_is_current = false;
        if !all_finite(&self.forward.f) {
            return Err(NonFinite { what: "the network output".into() });
        }
        if !all_finite(dy) {
            return Err(NonFinite { what: "the gradient".into() });
        }
        Ok(())
    }

    /// *(last)* Margins of slides that others are attached to, from the local model.
    fn join_margins(&mut self, margins: &mut Vec<SlideMargin>) {
        let Some(mode) = self.joined.take() else { return };
        let contacts = mode.contacts_with(mode.attached());
        let theta = std::mem::take(&mut self.theta);
        // What is not finite has no margins either.
        if let Ok(Some(model)) = self.local_model_at(&theta, &mode, &contacts) {
            *margins = model.joint_margins(&local_mode(&mode, &contacts), margins);
        }
        self.theta = theta;
        self.joined = Some(mode);
    }

    pub(super) fn contact_tools(&mut self) -> &mut ContactTools {
        &mut self.contact_tools
    }

    /// *(last)* ∂L/∂a of a switch: the sum over its members.
    fn mu(&self, switch: usize) -> f64 {
        self.switches.members(switch).iter().map(|&j| self.backward.mu[j]).sum()
    }

    /// *(last)* max |z| over a hidden layer (from 1).
    fn largest_z(&self, layer: usize) -> f64 {
        self.largest_z.of(layer, &self.forward.z[self.batch.layer_range(layer)])
    }

    /// *(last)* max |μ| over a hidden layer (from 1).
    fn largest_mu(&self, layer: usize) -> f64 {
        self.largest_mu.of(layer, &self.backward.mu[self.batch.layer_range(layer)])
    }

    fn layer_of(&self, switch: usize) -> usize {
        self.batch.layer_of(self.switches.first(switch))
    }

    fn one_sided_slopes(&self, layer: usize, breakpoint: u16) -> (f64, f64) {
        self.one_sided_slopes_at(&self.theta, layer, breakpoint)
    }

    /// Slopes of a hidden layer's activation on both sides of a breakpoint.
    pub(super) fn one_sided_slopes_at(&self, theta: &[f64], layer: usize, breakpoint: u16) -> (f64, f64) {
        let at = self.batch.network().activation().breakpoints()[usize::from(breakpoint)];
        let slope = |piece| self.batch.activation_at(theta, layer, piece, at).1;
        (slope(breakpoint), slope(breakpoint + 1))
    }
}

/// A mode at its contacts alone, with places among them for switches.
fn local_mode(mode: &Mode, contacts: &[Contact]) -> Mode {
    let pieces = contacts.iter().map(|&c| u16::from(mode.side(c) == Some(Side::Above))).collect();
    let mut local = Mode::new(pieces);
    let sliding = (0..contacts.len()).filter(|&e| mode.side(contacts[e]).is_none());
    sliding.for_each(|switch| local.hold(Contact { switch, breakpoint: 0 }));
    let place = |contact: &Contact| contacts.binary_search(contact).ok();
    let attached = mode.attached().iter().filter_map(place).map(|switch| Contact { switch, breakpoint: 0 });
    local.attach(attached.collect(), Vec::new());
    local
}

/// The units of `contacts` as held units with their constant outputs, sorted.
pub(super) fn hold(batch: &Batch, switches: &Switches, theta: &[f64], contacts: &[Contact], held: &mut Vec<Held>) {
    let breakpoints = batch.network().activation().breakpoints();
    held.clear();
    for c in contacts {
        let at = breakpoints[usize::from(c.breakpoint)];
        let layer = batch.layer_of(switches.first(c.switch));
        let output = batch.activation_at(theta, layer, c.breakpoint, at).0;
        held.extend(switches.members(c.switch).iter().map(|&index| Held { index, output }));
    }
    if !switches.are_single() {
        held.sort_unstable_by_key(|h| h.index);
    }
}

impl Snapshot for FlowField {
    type Tools = GramAhead;

    fn snapshot(&self) -> Self {
        let mut kept = Self::with(self.batch.clone(), self.data.clone(), self.switches.clone(), self.loss);
        self.snapshot_into(&mut kept);
        kept
    }

    fn snapshot_into(&self, kept: &mut Self) {
        kept.theta.clone_from(&self.theta);
        kept.contacts.clone_from(&self.contacts);
        kept.forward.copy(&self.forward);
        kept.backward.mu.clone_from(&self.backward.mu);
        kept.residual_seed.clone_from(&self.residual_seed);
        kept.delta.clone_from(&self.delta);
        kept.largest_z.forget();
        kept.largest_mu.forget();
        kept.values.clone_from(&self.values);
        kept.gram_ahead = None;
    }

    /// Makes the lower triangle of the Gram matrix.
    fn prepare(&mut self, tools: &mut GramAhead, room: usize) -> usize {
        let size = self.batch.n_outputs().pow(2);
        if size > room || self.gram_ahead.is_some() {
            return 0;
        }
        self.gram_ahead = Some(tools.make(self));
        size
    }

    fn give_back(&mut self, tools: &mut GramAhead) -> usize {
        self.gram_ahead.take().map_or(0, |lower| {
            let size = lower.len();
            tools.take_back(lower);
            size
        })
    }
}

impl PiecewiseField for FlowField {
    fn dim(&self) -> usize {
        self.batch.network().n_parameters()
    }

    fn n_switches(&self) -> usize {
        self.switches.len()
    }

    fn breakpoints(&self, _switch: usize) -> &[f64] {
        self.batch.network().activation().breakpoints()
    }

    fn common_breakpoints(&self) -> Option<&[f64]> {
        Some(self.batch.network().activation().breakpoints())
    }

    fn mode_from_values(&mut self, y: &[f64]) -> Mode {
        self.largest_z.forget();
        let pieces = self.batch.read_pieces(y, &mut self.forward);
        Mode::new((0..self.switches.len()).map(|switch| pieces[self.switches.first(switch)]).collect())
    }

    fn eval(&mut self, y: &[f64], mode: &Mode, dy: &mut [f64]) -> Result<(), NonFinite> {
        self.pass_forward(y, mode);
        self.delta.clear();
        let batch = &*self.batch;
        batch.backpropagate(y, &self.forward, &self.residual_seed, &[], &mut self.backward);
        if !mode.sliding().is_empty() {
            self.slide.assemble(batch, y, &self.forward, self.switches.firsts(mode.sliding()));
            self.slide.rates_of_gradient(
                batch,
                &self.forward,
                &self.backward,
                &self.residual_seed,
                &mut self.rates_held,
            );
            self.slide.solve_for_rates(|e| self.rates_held[e], &mut self.delta);
            self.slide.inject(batch, &mut self.backward);
        } else {
            self.slide.clear();
        }
        self.finish_eval(dy)
    }

    fn eval_held(&mut self, y: &[f64], mode: &Mode, multipliers: &[f64], dy: &mut [f64]) -> Result<(), NonFinite> {
        self.pass_forward(y, mode);
        self.slide.clear();
        self.delta.clear();
        self.delta.extend(self.switches.firsts(mode.sliding()).zip(multipliers.iter().copied()));
        self.batch.backpropagate(y, &self.forward, &self.residual_seed, &self.delta, &mut self.backward);
        self.finish_eval(dy)
    }

    fn values(&self) -> &[f64] {
        if self.switches.are_single() { &self.forward.z } else { &self.values }
    }

    fn rates(&mut self, direction: &[f64], rates: &mut [f64]) {
        self.buffers.resize(&self.batch, direction.len());
        let TangentBuffers { dz, df, scratch, .. } = &mut self.buffers;
        if self.switches.are_single() {
            self.batch.tangent(&self.theta, &self.forward, direction, rates, df, scratch);
        } else {
            self.batch.tangent(&self.theta, &self.forward, direction, dz, df, scratch);
            self.switches.gather(dz, rates);
        }
    }

    fn margins(&mut self, out: &mut Vec<SlideMargin>) {
        out.clear();
        for (e, (contact, &(first, delta))) in self.contacts.iter().zip(&self.delta).enumerate() {
            let layer = self.batch.layer_of(first);
            let (low, high) = self.one_sided_slopes(layer, contact.breakpoint);
            let mu = self.mu(contact.switch);
            let noise = (self.noise.rate(contact.switch), self.noise.sensitivity(contact.switch));
            let own = SlideMargin::of(delta, mu, (low, high), self.slide.square(e), noise);
            let scale = own.scale + low.abs().max(high.abs()) * OTHERS * self.largest_mu(layer);
            out.push(SlideMargin { scale, ..own });
        }
        self.join_margins(out);
    }

    fn attraction(&self, contact: Contact) -> (f64, f64) {
        let layer = self.layer_of(contact.switch);
        let (low, high) = self.one_sided_slopes(layer, contact.breakpoint);
        let mu = self.mu(contact.switch);
        ((high - low) * mu, (high - low).abs() * OTHERS * self.largest_mu(layer))
    }

    fn measure_noise(&mut self) {
        let Self { batch, data, loss, theta, forward, delta, noise, noise_meter, switches, .. } = self;
        let at = At { batch, data, loss: *loss, theta, forward, delta };
        noise_meter.measure(at, noise);
        if !switches.are_single() {
            switches.gather_own(&mut noise.values);
            switches.gather_own(&mut noise.rates);
            switches.sum_own(&mut noise.sensitivities);
        }
        self.noise_is_current = true;
    }

    fn noise(&self) -> (&Noise, bool) {
        (&self.noise, self.noise_is_current)
    }

    fn scale(&self, switch: usize) -> f64 {
        self.largest_z(self.layer_of(switch))
    }

    fn largest_scale(&self) -> f64 {
        (1..=self.batch.network().n_hidden()).map(|layer| self.largest_z(layer)).fold(0.0, f64::max)
    }

    fn scales(&mut self, out: &mut Vec<f64>) {
        match &mut self.scales {
            Some(scales) => scales.find(&self.batch, &self.theta, &self.forward, out),
            None => out.clear(),
        }
    }

    fn value_at(&mut self, y: &[f64], mode: &Mode, switch: usize) -> f64 {
        let (_, _, held) = &mut self.projection;
        hold(&self.batch, &self.switches, y, mode.sliding(), held);
        let pieces = self.switches.pieces(mode, &mut self.pieces);
        self.batch.value_at(y, pieces, held, self.switches.first(switch), &mut self.value_scratch)
    }

    fn project(&mut self, y: &mut [f64], mode: &Mode, contacts: &[Contact]) -> Result<(), NonFinite> {
        let Self { batch, switches, pieces, projection: (system, forward, held), buffers, .. } = self;
        hold(batch, switches, y, contacts, held);
        batch.forward(y, switches.pieces(mode, pieces), held, forward);
        system.assemble(batch, y, forward, switches.firsts(contacts));
        let breakpoints = batch.network().activation().breakpoints();
        // Each contact's distance from its breakpoint plays the part of a rate that has to vanish.
        let offset =
            |e: usize| forward.z[switches.first(contacts[e].switch)] - breakpoints[usize::from(contacts[e].breakpoint)];
        buffers.resize(batch, y.len());
        let TangentBuffers { grad, zeros, backward, seeds, .. } = buffers;
        system.solve_for_rates(offset, seeds);
        batch.backward(y, forward, zeros, seeds, backward, grad);
        if !all_finite(grad) {
            return Err(NonFinite { what: PROJECTION.into() });
        }
        y.iter_mut().zip(&*grad).for_each(|(y, g)| *y += g);
        Ok(())
    }

    fn project_last(&mut self, y: &mut [f64], mode: &Mode, hits: &[Contact]) -> Result<(), NonFinite> {
        debug_assert!(*y == self.theta[..], "the point of the last evaluation");
        let Self { batch, switches, forward, slide, buffers, offsets, contacts, .. } = self;
        let breakpoints = batch.network().activation().breakpoints();
        let offset = |c: &Contact| forward.z[switches.first(c.switch)] - breakpoints[usize::from(c.breakpoint)];
        offsets.clear();
        offsets.extend(mode.sliding().iter().chain(hits).map(offset));
        let is_assembled = contacts == mode.sliding() && slide.switches().len() == contacts.len();
        self.is_regular = true;
        if is_assembled && slide.step_onto(batch, forward, switches.firsts(hits), offsets, buffers, y) {
            return if all_finite(y) { Ok(()) } else { Err(NonFinite { what: PROJECTION.into() }) };
        }
        self.is_regular = hits.is_empty() && self.slide.is_regular();
        self.project(y, mode, &mode.contacts_with(hits))
    }

    fn meets_regularly(&self) -> bool {
        self.is_regular
    }

    fn slides_regularly(&self) -> bool {
        self.contacts.is_empty() || self.slide.is_regular()
    }

    fn local_model(&mut self, y: &[f64], mode: &Mode, contacts: &[Contact]) -> Result<Option<LocalModel>, NonFinite> {
        self.local_model_at(y, mode, contacts)
    }

    fn is_pushed_back(&self, hit: Contact, rate: f64) -> bool {
        // On its way through, the slope that the unit passes on jumps, and with it the rate by −(jump of the slope)·μ times what ∇z has off
        // the span of the sliding ones: exactly so if nothing else happens then, and nothing slides above it on its own samples.
        let (attraction, noise) = self.attraction(hit);
        let off_sliding = self.slide.square_off_sliding(self.switches.first(hit.switch));
        // A rate that comes to nothing on the other side is not pushed back from there.
        let room = self.noise.rate(hit.switch) + NOTHING_LEFT * rate.abs();
        attraction > noise && off_sliding.is_some_and(|square| attraction * square > rate.abs() + room)
    }

    fn decay_rate(&mut self, _mode: &Mode) -> Option<f64> {
        let part = self.batch.network().n_outputs_per_part();
        let Self { batch, data, loss, theta, forward, slide, buffers, power, .. } = self;
        let PowerIteration { vector, seed, direction } = power;
        let n_iterations = if vector.len() == batch.n_outputs() {
            POWER_ITERATIONS.1
        } else {
            // Deterministic and without any symmetry that an eigenvector could be orthogonal to.
            vector.clear();
            vector.extend((0..batch.n_outputs()).map(|k| 1.0 + (k as f64 * 0.618_033_988_75).fract()));
            POWER_ITERATIONS.0
        };
        buffers.resize(batch, theta.len());
        direction.resize(theta.len(), 0.0);
        let mut rate = 0.0;
        for _ in 0..n_iterations {
            let length = norm(vector);
            seed.clear();
            seed.extend(vector.iter().map(|v| v / length));
            loss.apply_root_transposed(data, part, &forward.f, seed);
            batch.backward(theta, forward, seed, &[], &mut buffers.backward, direction);
            slide.project_tangent(batch, theta, forward, direction, buffers);
            batch.tangent(theta, forward, direction, &mut buffers.dz, &mut buffers.df, &mut buffers.scratch);
            vector.copy_from_slice(&buffers.df);
            loss.apply_root(data, part, &forward.f, vector);
            rate = norm(vector);
            if rate == 0.0 {
                vector.clear();
                return Some(0.0);
            }
        }
        Some(rate)
    }

    fn linearisation(&mut self) -> Option<&mut dyn Linearisation> {
        self.low_rank.attach(
            &self.batch,
            &self.data,
            &self.switches,
            self.loss,
            self.batch.network().n_outputs_per_part(),
        );
        Some(&mut self.low_rank)
    }

    fn cut(&mut self) -> Option<&mut dyn CutField> {
        if self.cut.is_none() {
            self.cut = CutNetwork::new(&self.batch, &self.switches, &self.data, self.loss).map(Box::new);
        }
        let cut = self.cut.as_mut()?;
        cut.begin(&self.data, &self.theta, &self.forward, &self.backward, &self.residual_seed, &self.noise);
        Some(&mut **cut)
    }

    fn cut_again(&mut self) -> Option<&mut dyn CutField> {
        self.cut.as_deref_mut().map(|cut| cut as &mut dyn CutField)
    }
}
