//! The flow next to a point, cut open at contacts: what a [`LocalModel`] consists of.

use super::field::{FlowField, hold};
use crate::net::{Backward, Forward, Held, KernelScratch, Probes, gradient_products, mirror, switch_gram};
use crate::ode::contact::LocalModel;
use crate::ode::{Contact, Link, Mode, Noise, NonFinite, PiecewiseField};
use crate::vector::all_finite;

/// Memory for local models.
#[derive(Debug, Clone, Default)]
pub struct ContactTools {
    forward: Forward,
    backward: Backward,
    held: Vec<Held>,
    output_seed: Vec<f64>,
    probes: Probes,
    scratch: KernelScratch,
    products: Vec<f64>,
}

impl FlowField {
    /// The local model at `y` of `contacts` (increasing), among them all that slide in `mode`; its noise is that measured last. `None` where several pre-activations are one
    /// switch.
    pub(super) fn local_model_at(
        &mut self,
        y: &[f64],
        mode: &Mode,
        contacts: &[Contact],
    ) -> Result<Option<LocalModel>, NonFinite> {
        if !self.switches().are_single() {
            return Ok(None);
        }
        let mut tools = std::mem::take(self.contact_tools());
        let made = self.make_local_model(&mut tools, y, mode, contacts);
        *self.contact_tools() = tools;
        made.map(Some)
    }

    fn make_local_model(
        &self,
        tools: &mut ContactTools,
        y: &[f64],
        mode: &Mode,
        contacts: &[Contact],
    ) -> Result<LocalModel, NonFinite> {
        let ContactTools { forward, backward, held, output_seed, probes, scratch, products } = tools;
        let batch = self.batch();
        hold(batch, self.switches(), y, contacts, held);
        batch.forward(y, mode.pieces(), held, forward);
        output_seed.resize(batch.n_outputs(), 0.0);
        self.loss().seed(self.data(), batch.network().n_outputs_per_part(), &forward.f, output_seed);
        batch.backpropagate(y, forward, output_seed, &[], backward);
        let places: Vec<usize> = contacts.iter().map(|c| c.switch).collect();
        probes.switches(batch, y, forward, &places);
        let c = contacts.len();
        let mut gram = vec![0.0; c * c];
        switch_gram(batch, forward, probes, scratch, &mut gram, c);
        mirror(&mut gram, c);
        gradient_products(batch, forward, backward, output_seed, probes, scratch, products);
        let mut links: Vec<Link> =
            probes.reads(batch).map(|(reader, source, weight)| Link { reader, source, weight }).collect();
        links.sort_by_key(|link| (link.reader, link.source));
        let rates: Vec<f64> = products.iter().map(|v| -v).collect();
        let mu: Vec<f64> = places.iter().map(|&j| backward.mu[j]).collect();
        if !all_finite(&gram) || !all_finite(&rates) || !all_finite(&mu) {
            return Err(NonFinite { what: "the gradient at switches that meet".into() });
        }
        let noise = self.noise().0;
        let of = |values: &[f64]| places.iter().map(|&j| values.get(j).copied().unwrap_or(0.0)).collect();
        let measured = Noise {
            field: noise.field,
            rates: of(&noise.rates),
            sensitivities: of(&noise.sensitivities),
            ..Noise::NONE
        };
        let slope = |contact: &Contact| self.one_sided_slopes_at(y, batch.layer_of(contact.switch), contact.breakpoint);
        let slopes = contacts.iter().map(slope).collect();
        Ok(LocalModel {
            contacts: contacts.to_vec(),
            gram,
            links,
            rates,
            mu,
            slopes,
            measured,
            ..LocalModel::default()
        })
    }
}
