//! Corollary 3.2.1: the count of parameters, and the theorem's condition P ≥ nM.

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};

const CLAIM: Claim = Claim { id: "over-parametrised", title: "Cor. 3.2.1: P ≥ nM, as the theorem asks" };

/// P/nM against 1, with P as a formula.
pub(super) fn over_parametrised(evidence: &Evidence) -> ClaimRow {
    let network = &evidence.problem.network;
    let (p, n) = (network.n_parameters(), evidence.problem.data.n_targets());
    let (symbols, formula) = (network.symbols(), network.formula());
    let verdict = if p >= n { Verdict::Holds } else { Verdict::DoesNotApply };
    let consequence = if p >= n { "" } else { "; without this the theorem promises nothing" };
    let meaning = format!("P = {symbols} = {formula} = {p} against nM = {n}{consequence}");
    CLAIM.row(verdict, meaning).measured(p as f64 / n as f64, 1.0)
}
