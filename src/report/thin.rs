//! Fewer rows for a picture, never for the files.

use crate::record::{EventRecord, LimitSide, TrajectoryRecord};
use crate::report::slides::Surface;
use std::collections::HashMap;

/// Rows of a trajectory that are drawn one by one.
const MOST_ROWS: usize = 6000;

/// Marks of a raster that are drawn one by one.
const MOST_MARKS: usize = 4000;

/// Indices of the rows to draw: all of them, or of each block the first, the last, and those with extreme values of `columns`.
pub fn rows(trajectory: &[TrajectoryRecord], columns: &[fn(&TrajectoryRecord) -> Option<f64>]) -> Vec<usize> {
    let n = trajectory.len();
    if n <= MOST_ROWS {
        return (0..n).collect();
    }
    let n_blocks = MOST_ROWS / (2 + 2 * columns.len());
    let mut kept = Vec::new();
    for block in 0..n_blocks {
        let range = block * n / n_blocks..(block + 1) * n / n_blocks;
        kept.extend([range.start, range.end - 1]);
        for column in columns {
            let known = || range.clone().filter_map(|k| Some((k, column(&trajectory[k])?)));
            kept.extend(known().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(k, _)| k));
            kept.extend(known().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(k, _)| k));
        }
    }
    // The other side of an event that is kept is kept as well, so that jumps stay jumps.
    for k in kept.clone() {
        match trajectory[k].side {
            LimitSide::Before if k + 1 < n => kept.push(k + 1),
            LimitSide::After if k > 0 => kept.push(k - 1),
            _ => {}
        }
    }
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Indices of evenly spread points, the last among them.
pub fn evenly(n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    (0..most).map(|k| k * (n - 1) / (most - 1)).collect()
}

/// Marks of the raster: for each block of consecutive events, one mark per group of neighbouring rows and kind. Returns indices of the
/// events drawn and the largest number of events that one of them stands for.
pub fn marks(events: &[EventRecord], row_of: &HashMap<Surface, usize>) -> (Vec<usize>, usize) {
    let n = events.len();
    if n <= MOST_MARKS {
        return ((0..n).collect(), 1);
    }
    let n_rows = row_of.len().max(1);
    // Groups of rows and blocks of time in about equal numbers; four kinds at most in each cell.
    let mut n_groups = n_rows.min(60);
    loop {
        let block = n.div_ceil(MOST_MARKS * 2 / n_groups.max(1));
        let mut kept = Vec::new();
        let mut largest = 0;
        for start in (0..n).step_by(block) {
            let mut seen: HashMap<(usize, u8), usize> = HashMap::new();
            for (k, event) in events.iter().enumerate().take((start + block).min(n)).skip(start) {
                let row = row_of.get(&Surface::of(event)).copied().unwrap_or(0);
                let count = seen.entry((row * n_groups / n_rows, event.kind as u8)).or_insert(0);
                if *count == 0 {
                    kept.push(k);
                }
                *count += 1;
            }
            largest = largest.max(seen.values().copied().max().unwrap_or(0));
        }
        if kept.len() <= MOST_MARKS || n_groups <= 4 {
            return (kept, largest);
        }
        n_groups = n_groups * 3 / 4;
    }
}
