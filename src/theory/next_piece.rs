//! Lemma 2.1, as printed: at a boundary the flow goes on in the next piece. Where both sides push back it cannot; it slides.

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict, count};
use crate::net::Place;
use crate::ode::EventKind;

const CLAIM: Claim = Claim { id: "next-piece", title: "Lemma 2.1: at a boundary the flow continues in the next piece" };

/// Share of hits after which neither piece could carry the flow on; 0 is what holds.
pub(super) fn next_piece(evidence: &Evidence) -> ClaimRow {
    let slides_at_start = evidence.run.observed.start.iter().filter(|start| start.side.is_none());
    let n_start = slides_at_start.clone().count();
    let of = |kind| evidence.events.iter().filter(move |event| event.kind == kind);
    let (n_slid, n_crossed) = (of(EventKind::SlideEnter).count() + n_start, of(EventKind::Crossing).count());
    if n_slid + n_crossed == 0 {
        let why = if evidence.problem.network.activation().breakpoints().is_empty() {
            "the activation has no boundaries"
        } else {
            "no boundary was met"
        };
        return CLAIM.row(Verdict::DoesNotApply, why);
    }
    let share = n_slid as f64 / (n_slid + n_crossed) as f64;
    let first_at_start = slides_at_start.map(|start| (0.0, start.place)).next();
    let first = first_at_start.or_else(|| of(EventKind::SlideEnter).map(|event| (event.t, event.place)).next());
    let hits = count(n_slid + n_crossed, "boundary hit");
    if let Some(why) = evidence.contradiction(|witness| witness.most_sliding.is_some(), "units slide") {
        return CLAIM.row(Verdict::Unresolved, why).measured(share, 0.0);
    }
    match first {
        None => {
            let meaning = format!("the flow crossed at each of {hits}");
            CLAIM.row(Verdict::Holds, meaning)
        }
        Some((t, Place { layer, unit, sample })) => {
            let meaning = format!(
                "at {n_slid} of {hits} both pieces push back and the flow slides along the boundary, first at t = {t:.6} (layer \
                 {layer}, unit {unit}, sample {sample})"
            );
            CLAIM.row(Verdict::Violated, meaning)
        }
    }
    .measured(share, 0.0)
    .shown_in("events.csv")
}
