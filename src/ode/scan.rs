//! Scans over all switches at once, where all have the same breakpoints.
//!
//! Most switches are far from every breakpoint and stay there. These plain loops over arrays find the few others, which are then
//! judged one by one; what they pass over cannot matter by the arguments given.

use super::event::End;
use crate::vector::vectorised;

/// Marks every switch that a step of length `h` may have taken across a breakpoint, or close to one and back. The others keep their
/// sign relative to each breakpoint, do not turn around, and are farther from it than they move: three times what the Bézier
/// coefficients of their cubic add to their values.
pub fn mark_passing(breakpoints: &[f64], start: &End, end: &End, h: f64, marks: &mut Vec<u8>) {
    marks.clear();
    marks.resize(end.values.len(), 0);
    vectorised!({
        let rates = start.rates.iter().zip(&end.rates);
        let values = start.values.iter().zip(&end.values);
        for &b in breakpoints {
            for ((mark, (&z0, &z1)), (&r0, &r1)) in marks.iter_mut().zip(values.clone()).zip(rates.clone()) {
                let nearest = (z0 - b).abs().min((z1 - b).abs());
                let clear = (nearest > h * (r0.abs() + r1.abs())) & ((z0 - b) * (z1 - b) > 0.0) & (r0 * r1 >= 0.0);
                *mark |= u8::from(!clear);
            }
        }
    });
}

/// Marks every switch that is within `near` of a breakpoint, reaches one within `time`, or is not on the side of one that it was on at
/// `before`.
pub fn mark_near(
    breakpoints: &[f64],
    before: &[f64],
    (values, rates): (&[f64], &[f64]),
    (near, time): (f64, f64),
    marks: &mut Vec<u8>,
) {
    marks.clear();
    marks.resize(values.len(), 0);
    vectorised!({
        for &b in breakpoints {
            let values = before.iter().zip(values);
            for ((mark, (&z0, &z)), &rate) in marks.iter_mut().zip(values).zip(rates) {
                let clear = ((z - b).abs() > near.max(rate.abs() * time)) & ((z0 - b) * (z - b) > 0.0);
                *mark |= u8::from(!clear);
            }
        }
    });
}

/// Marks every switch that is beyond a boundary of its piece, and perhaps sliding ones.
pub fn mark_beyond(breakpoints: &[f64], pieces: &[u16], values: &[f64], marks: &mut Vec<u8>) {
    marks.clear();
    marks.resize(values.len(), 0);
    vectorised!({
        for (k, &b) in breakpoints.iter().enumerate() {
            for ((mark, &z), &piece) in marks.iter_mut().zip(values).zip(pieces) {
                let is_above = usize::from(piece) > k;
                *mark |= u8::from((is_above & (z < b)) | (!is_above & (z > b)));
            }
        }
    });
}

/// Time until each switch reaches a breakpoint at its present rate, ∞ where it approaches none.
pub fn crossing_times(breakpoints: &[f64], values: &[f64], rates: &[f64], times: &mut Vec<f64>) {
    times.clear();
    times.resize(values.len(), f64::INFINITY);
    vectorised!({
        for &b in breakpoints {
            for ((time, &z), &rate) in times.iter_mut().zip(values).zip(rates) {
                let reaching = if (z - b) * rate < 0.0 { (z - b).abs() / rate.abs() } else { f64::INFINITY };
                *time = time.min(reaching);
            }
        }
    });
}

/// The marked switches.
pub fn marked(marks: &[u8]) -> impl Iterator<Item = usize> + '_ {
    marks.iter().enumerate().filter(|(_, mark)| **mark != 0).map(|(switch, _)| switch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(values: &[f64], rates: &[f64]) -> End {
        End { values: values.to_vec(), rates: rates.to_vec(), margins: Vec::new() }
    }

    #[test]
    fn what_crosses_turns_or_is_near_is_marked_and_nothing_else() {
        //              far    crosses 1  turns   near 0 for its motion   non-finite
        let values_0 = [0.5, 0.9, 3.0, 0.05, f64::NAN];
        let values_1 = [0.51, 1.1, 3.0, 0.04, 1.0];
        let (rates_0, rates_1) = ([0.1, 2.0, -0.1, -0.4, 0.0], [0.1, 2.0, 0.1, -0.3, 0.0]);
        let mut marks = Vec::new();
        mark_passing(&[0.0, 1.0], &end(&values_0, &rates_0), &end(&values_1, &rates_1), 0.1, &mut marks);
        assert_eq!(marked(&marks).collect::<Vec<_>>(), [1, 2, 3, 4]);
        mark_passing(&[], &end(&values_0, &rates_0), &end(&values_1, &rates_1), 0.1, &mut marks);
        assert_eq!(marked(&marks).count(), 0);

        mark_near(&[0.0, 1.0], &values_0[..4], (&values_1[..4], &rates_1), (1e-9, 0.2), &mut marks);
        assert_eq!(marked(&marks).collect::<Vec<_>>(), [1, 3]);

        mark_beyond(&[0.0, 1.0], &[1, 1, 1, 2, 0, 0], &[0.5, -0.1, 1.1, 0.9, 0.1, -1.0], &mut marks);
        assert_eq!(marked(&marks).collect::<Vec<_>>(), [1, 2, 3, 4]);
        mark_beyond(&[0.0], &[0, 1, 1], &[0.0, 0.0, f64::NAN], &mut marks);
        assert_eq!(marked(&marks).count(), 0);

        let mut times = Vec::new();
        crossing_times(&[0.0, 1.0], &[0.5, 0.5, 1.0, -1.0], &[0.1, -0.2, -0.5, -1.0], &mut times);
        assert_eq!(times, [5.0, 2.5, 2.0, f64::INFINITY]);
    }
}
