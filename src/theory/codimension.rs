//! Theorem B.1: almost no flow line meets a set of codimension 2 or more, such as two switching surfaces at once.

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};
use super::witness::Witness;

const CLAIM: Claim =
    Claim { id: "codimension-2", title: "Thm B.1: the flow never stands on two switching surfaces at once" };

/// The largest codimension of what the flow stood on; 1 is what holds.
pub(super) fn codimension(evidence: &Evidence) -> ClaimRow {
    let witness = &evidence.witness;
    let gap = match witness.smallest_gap {
        Some(gap) => format!("the smallest time between hits of two units is {gap:.3e}"),
        None => "no two units hit a boundary".to_owned(),
    };
    if evidence.problem.network.activation().breakpoints().is_empty() {
        return CLAIM.row(Verdict::DoesNotApply, "the activation has no boundaries");
    }
    let met = witness.most_met.as_ref();
    let largest = met.map_or(0, |stand| witness.codimension(stand));
    let (n_free, first) = witness.free_meetings;
    let meets = |witness: &Witness| {
        witness.free_meetings.0 > 0 || witness.most_met.as_ref().is_some_and(|stand| witness.codimension(stand) > 1)
    };
    if let Some(why) = evidence.contradiction(meets, "the flow stands on two surfaces at once") {
        return CLAIM.row(Verdict::Unresolved, why).measured(largest as f64, 1.0);
    }
    if let (Some(t), None, true) = (witness.blurred, first, largest > 1 && witness.most_sliding.is_none()) {
        let meaning = format!("several units reach boundaries within what t = {t:.6} can tell; {gap}");
        return CLAIM.row(Verdict::Unresolved, meaning).measured(largest as f64, 1.0);
    }
    let (verdict, meaning) = match (met, first) {
        (_, Some(t)) => {
            let meaning = format!(
                "free units reach boundaries together {n_free} times within the resolution of time, first at t = {t:.6}; {gap}"
            );
            (Verdict::Violated, meaning)
        }
        (Some(stand), None) if largest > 1 => {
            let n_sliding = witness.most_sliding.as_ref().map_or(0, |most| most.switches.len());
            let meaning = format!(
                "sliding makes the exception, up to {n_sliding} units at once: at t = {:.6} the flow is on {} surfaces; free units never meet: \
                 {gap}",
                stand.t,
                stand.switches.len()
            );
            (Verdict::Violated, meaning)
        }
        _ => (Verdict::Holds, gap),
    };
    CLAIM.row(verdict, meaning).measured(largest as f64, 1.0).shown_in("events.csv")
}
