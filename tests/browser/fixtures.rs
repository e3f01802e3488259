//! Run directories for tests of pages.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A folder that goes with the test.
pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Runs the program with success and gives its output.
#[track_caller]
pub fn gradflow(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gradflow"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the program can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// `compared`, a run with files of a comparison beside it, and `side-by-side.html` of it and another run.
pub fn with_comparison(folder: &Path) {
    let arguments =
        ["--step", "0.1", "--step", "0.05", "--horizon", "4", "--out", "compared", "--quiet", "--no-report"];
    gradflow(folder, &[&["compare", "sliding-1d"], &arguments[..]].concat());
    gradflow(folder, &["run", "one-neuron", "--out", "other", "--quiet"]);
    let compared = folder.join("compared");
    write(
        &compared.join("verify.json"),
        r#"{"schema": 1, "scenario": "sliding-1d", "rows": [
            {"claim": "Theorem 3.1", "title": "the bound", "figure": 0.93, "tolerance": 1e-6, "verdict": "holds", "meaning": "‖r‖ stays below"},
            {"claim": "Lemma 3.2", "title": "G > 0", "figure": null, "tolerance": null, "verdict": "vacuous", "meaning": "λ₀ = 0"}]}"#,
    );
    gradflow(folder, &["report", "compared"]);
    gradflow(folder, &["report", "compared", "other"]);
}

/// `run`, a run directory with 100 000 events and as many rows, made up.
pub fn hundred_thousand_events(folder: &Path) {
    gradflow(folder, &["run", "sliding-1d", "--out", "run", "--quiet", "--no-report"]);
    let run = folder.join("run");
    let mut events = "index,t,kind,layer,unit,sample,breakpoint,direction,rate_before,rate_after,lambda_min_before,\
        lambda_min_after,loss,sliding\n"
        .to_owned();
    let mut rows = "t,side,loss,residual_norm,gradient_norm,lambda_min,lambda_max,bound,integral_bound,rayleigh,step,\
        sliding\n"
        .to_owned();
    // A linear congruential generator is random enough for this.
    let mut state = 12_345_u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for k in 0..100_000_u32 {
        let t = 4.0 * ((f64::from(k) + 1.0) / 100_000.0).powi(2);
        let loss = (-t).exp();
        let kind = ["crossing", "slide_enter", "slide_exit", "graze"][draw(4) as usize];
        let (layer, unit, sample) = (1 + draw(2), draw(64), draw(200));
        let (before, after) = (draw(1_000_003) as f64 / 7e5 - 0.7, draw(1_000_033) as f64 / 7e5 - 0.7);
        let lambda = 0.01 + draw(1_000_003) as f64 / 1e8;
        let _ = writeln!(
            events,
            "{k},{t},{kind},{layer},{unit},{sample},0,up,{before},{after},{lambda},{},{loss},{}",
            lambda * 1.001,
            draw(40)
        );
        for side in ["before", "after"] {
            let _ = writeln!(rows, "{t},{side},{loss},{},{},{lambda},3.5,1,1,0.5,{k},7", loss.sqrt(), loss / 3.0);
        }
    }
    write(&run.join("events.csv"), &events);
    write(&run.join("trajectory.csv"), &rows);
}

/// `sweep`, a sweep of three cells: two finished, one of them without its record any more, and one under way.
pub fn with_sweep(folder: &Path) {
    let sweep = folder.join("sweep");
    fs::create_dir_all(sweep.join("cells")).expect("a folder can be made");
    gradflow(folder, &["run", "sliding-1d", "--out", "sweep/cells/00001", "--quiet", "--no-report"]);
    let header = "cell,network.hidden,seed,status,stop_reason,parameters,targets,parameters_per_target,lambda_min_0,lambda0,\
        bound_verdict,integral_verdict,decay_rate,loss_initial,loss_final,loss_at_0.1,events,sliding_share,wall_seconds";
    let rows = [
        "1,[1],0,completed,horizon,4,2,2,0.2,0.11,holds,holds,0.7,3.3,0.022,3,2,0.1,0.01",
        "2,[2],0,completed,horizon,7,2,3.5,0.3,0.21,vacuous,holds,0.9,3.3,0.012,3,4,0.1,0.01",
        "3,[3],0,running,,10,2,5,,,,,,,,,,,",
    ];
    write(&sweep.join("sweep.csv"), &format!("{header}\n{}\n", rows.join("\n")));
    write(&sweep.join("plan.ron"), "()\n");
}
