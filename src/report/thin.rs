//! Fewer rows for a picture, never for the files.

use crate::record::{EventRecord, LimitSide, TrajectoryRecord};
use crate::report::slides::Surface;
use std::collections::HashMap;

/// Rows of a trajectory that are drawn one by one.
const MOST_ROWS: usize = 4000;

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
/// events drawn, increasing, and the largest number of events that one of them stands for.
pub fn marks(events: &[EventRecord], row_of: &HashMap<Surface, usize>) -> (Vec<usize>, usize) {
    let n = events.len();
    if n <= MOST_MARKS {
        return ((0..n).collect(), 1);
    }
    let rows: Vec<usize> = events.iter().map(|e| row_of.get(&Surface::of(e)).copied().unwrap_or(0)).collect();
    let (mut n_blocks, mut n_groups) = (200, 60);
    loop {
        // The event of a cell that is drawn is an arbitrary but fixed one: always the first would draw stripes.
        let mut cells: HashMap<(usize, usize, u8), (u32, usize, usize)> = HashMap::new();
        for (k, event) in events.iter().enumerate() {
            let cell = (k * n_blocks / n, rows[k] * n_groups / row_of.len().max(1), event.kind as u8);
            let rank = (k as u32).wrapping_mul(2_654_435_761);
            let (least, drawn, count) = cells.entry(cell).or_insert((rank, k, 0));
            if rank < *least {
                (*least, *drawn) = (rank, k);
            }
            *count += 1;
        }
        if cells.len() <= MOST_MARKS {
            let mut kept: Vec<usize> = cells.values().map(|(_, drawn, _)| *drawn).collect();
            kept.sort_unstable();
            return (kept, cells.values().map(|(_, _, count)| *count).max().unwrap_or(1));
        }
        // In the end a few cells are left, fewer than there may be marks.
        (n_blocks, n_groups) = ((n_blocks * 4 / 5).max(10), (n_groups * 4 / 5).max(10));
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
                let there = events.iter().any(|e| e.kind == kind);
                let drawn = kept.iter().any(|&k| events[k].kind == kind);
                assert_eq!(there, drawn, "{n}: {kind}");
            }
        }
    }

    #[test]
    fn extremes_and_both_sides_of_events_survive_thinning() {
        let row = |k: usize| TrajectoryRecord {
            t: (k / 2) as f64,
            side: if k.is_multiple_of(2) { LimitSide::Before } else { LimitSide::After },
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
