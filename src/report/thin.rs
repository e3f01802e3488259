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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Direction, EventWord};

    fn event(k: usize) -> EventRecord {
        EventRecord {
            index: k as u64,
            t: k as f64,
            kind: EventWord::ALL[(k * k + k / 7) % 4],
            layer: 1 + k % 2,
            unit: (k * 31) % 64,
            sample: (k * 17) % 200,
            breakpoint: 0,
            direction: Direction::Up,
            rate_before: 1.0,
            rate_after: 1.0,
            lambda_min_before: None,
            lambda_min_after: None,
            loss: 1.0,
            sliding: 0,
        }
    }

    #[test]
    fn marks_of_a_raster_are_few_and_stand_for_all_events() {
        for n in [0, 1, MOST_MARKS, MOST_MARKS + 1, 100_000] {
            let events: Vec<EventRecord> = (0..n).map(event).collect();
            let rows = crate::report::slides::raster_rows(&events);
            let row_of: HashMap<Surface, usize> = rows.iter().enumerate().map(|(k, s)| (*s, k)).collect();
            let (kept, most) = marks(&events, &row_of);
            assert!(kept.len() <= MOST_MARKS && kept.windows(2).all(|pair| pair[0] < pair[1]), "{n}: {}", kept.len());
            assert!(kept.len() * most >= n, "{n}: {} marks for up to {most} each", kept.len());
            for kind in EventWord::ALL {
                let has = |all: &mut dyn Iterator<Item = EventWord>| all.any(|k| k == kind);
                let (all, drawn) = (&mut events.iter().map(|e| e.kind), &mut kept.iter().map(|&k| events[k].kind));
                assert_eq!(has(all), has(drawn), "{n}: {kind}");
            }
        }
    }

    #[test]
    fn extremes_and_both_sides_of_events_survive_thinning() {
        let row = |k: usize| TrajectoryRecord {
            t: (k / 2) as f64,
            side: if k % 2 == 0 { LimitSide::Before } else { LimitSide::After },
            loss: 1.0,
            residual_norm: 1.0,
            gradient_norm: 1.0,
            lambda_min: Some(if k == 77_777 { -5.0 } else { (k % 97) as f64 }),
            lambda_max: None,
            bound: None,
            integral_bound: None,
            rayleigh: None,
            step: k as u64,
            sliding: 0,
        };
        let rows_in: Vec<TrajectoryRecord> = (0..200_000).map(row).collect();
        let kept = rows(&rows_in, &[|r| r.lambda_min]);
        assert!(kept.len() <= 2 * MOST_ROWS, "{}", kept.len());
        assert!(kept.contains(&77_777) && kept.contains(&77_776), "the lowest row and its other side");
        assert!(kept.contains(&0) && kept.contains(&199_999));
        assert_eq!(rows(&rows_in[..100], &[]).len(), 100);
        assert_eq!(evenly(10, 4), [0, 3, 6, 9]);
    }
}
