//! The program, started as scripts start it.

use assert_cmd::Command;
use std::path::Path;
use std::process::Output;

/// Runs the program in `folder`.
pub fn gradflow(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("gradflow").expect("the program is built");
    command.current_dir(folder).args(arguments).output().expect("it can be started")
}

/// Runs with success and gives stdout.
#[track_caller]
pub fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = gradflow(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs with success, checks that stderr is empty, and gives stdout.
#[track_caller]
pub fn silently(folder: &Path, arguments: &[&str]) -> String {
    let output = gradflow(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs with failure, checks that stdout is empty, and gives stderr.
#[track_caller]
pub fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = gradflow(folder, arguments);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    stderr
}
