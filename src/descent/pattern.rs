//! Where the patterns of gradient descent and of the flow differ, and kinks that descent jumps over while the flow slides along them.

use crate::flow::FlowField;
use crate::net::Place;
use crate::ode::{Contact, Mode};
use std::collections::BTreeMap;

/// A surface on whose two sides flow and descent are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differing {
    /// Hidden layer, unit and sample.
    pub place: Place,
    /// The flow's piece; of a sliding unit the one below its breakpoint.
    pub piece_flow: u16,
    /// Descent's piece.
    pub piece_descent: u16,
}

/// How often descent jumped over a kink while the flow slid along it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jumps {
    /// Hidden layer, unit and sample; of units that share a switch the first.
    pub place: Place,
    /// Breakpoint, from 0.
    pub breakpoint: u16,
    /// Iterates during which the flow slid there.
    pub n_iterates: u64,
    /// Those that were on another side than the iterate before.
    pub n_jumps: u64,
}

/// Breakpoints of one switch between the flow and a piece; 0 for a slide at an end of that piece.
fn between(flow: &Mode, switch: usize, piece: u16) -> u64 {
    let at = flow.pieces()[switch];
    if flow.slides(switch) && piece > at {
        return u64::from(piece - at - 1);
    }
    u64::from(piece.abs_diff(at))
}

/// Number of surfaces (unit × original sample × breakpoint) between the flow and an iterate. A sliding unit agrees with both sides of its
/// breakpoint.
pub fn disagreement(field: &FlowField, flow: &Mode, descent: &Mode) -> u64 {
    let of_switch = |(switch, &piece): (usize, &u16)| match between(flow, switch, piece) {
        0 => 0,
        n => n * field.places(switch).count() as u64,
    };
    descent.pieces().iter().enumerate().map(of_switch).sum()
}

/// The units on whose surfaces flow and iterate differ, in the order of switches.
pub fn differing(field: &FlowField, flow: &Mode, descent: &Mode) -> Vec<Differing> {
    let pieces = descent.pieces().iter().enumerate().filter(|&(switch, &piece)| between(flow, switch, piece) > 0);
    pieces
        .flat_map(|(switch, &piece_descent)| {
            let piece_flow = flow.pieces()[switch];
            field.places(switch).map(move |place| Differing { place, piece_flow, piece_descent })
        })
        .collect()
}

/// Counts jumps over kinks along which the flow slides.
#[derive(Debug, Clone, Default)]
pub struct JumpCounter {
    last: Option<Mode>,
    counts: BTreeMap<Contact, (u64, u64)>,
}

impl JumpCounter {
    /// Takes the next iterate, and the mode of the flow at its time.
    pub fn note(&mut self, flow: &Mode, descent: &Mode) {
        if let Some(last) = &self.last {
            for contact in flow.sliding() {
                let (n_iterates, n_jumps) = self.counts.entry(*contact).or_default();
                *n_iterates += 1;
                let is_above = |mode: &Mode| mode.pieces()[contact.switch] > contact.breakpoint;
                *n_jumps += u64::from(is_above(last) != is_above(descent));
            }
        }
        self.last = Some(descent.clone());
    }

    /// All slides that lasted for an iterate, those with most jumps first.
    pub fn report(&self, field: &FlowField) -> Vec<Jumps> {
        let jumps = |(contact, &(n_iterates, n_jumps)): (&Contact, &(u64, u64))| {
            let place = field.places(contact.switch).next()?;
            Some(Jumps { place, breakpoint: contact.breakpoint, n_iterates, n_jumps })
        };
        let mut all: Vec<Jumps> = self.counts.iter().filter_map(jumps).collect();
        all.sort_by_key(|j| std::cmp::Reverse(j.n_jumps));
        all
    }
}
