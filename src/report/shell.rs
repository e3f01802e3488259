//! Arguments of commands that people copy from a page.

/// The argument as a POSIX shell reads it back: bare where that is safe, else in single quotes.
pub fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn nothing_is_left_for_the_shell_to_expand() {
        assert_eq!(quoted("runs/a-1/scenario.ron"), "runs/a-1/scenario.ron");
        assert_eq!(quoted("a b$(c)'d"), "'a b$(c)'\\''d'");
        assert_eq!(quoted(""), "''");
    }
}
