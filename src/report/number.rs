//! Numbers for reading.

/// Five significant digits; `-` for what is not known.
pub fn significant(value: Option<f64>) -> String {
    let Some(x) = value.filter(|x| !x.is_nan()) else { return "-".to_owned() };
    let size = x.abs();
    if x == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e5).contains(&size) {
        let decimals = (4 - size.log10().floor() as i32).max(0) as usize;
        format!("{x:.decimals$}")
    } else {
        format!("{x:.4e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_five_significant_digits() {
        let shown = [0.0, 1.0, -0.012_345_67, 12_345.678, 1e5, 1e-8].map(|x| significant(Some(x)));
        assert_eq!(shown, ["0", "1.0000", "-0.012346", "12346", "1.0000e5", "1.0000e-8"]);
        assert_eq!(significant(None), "-");
    }
}
