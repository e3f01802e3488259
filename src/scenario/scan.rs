//! Where each key path of a RON text stands.
//!
//! A tolerant scanner of RON's *shape*: brackets, keys, commas, comments, strings. It neither interprets values nor
//! knows what a scenario is; `ron` does the former and [`super::spec`] the latter. Names of enum variants are not part
//! of a path: in `data: Ball(samples: 40)` the 40 stands at `data.samples`.

use std::ops::Range;

/// A value of the text with everything inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Bytes of the value, with the variant name and the brackets.
    pub span: Range<usize>,
    /// Name of the variant or struct, empty when there is none.
    pub name: String,
    /// Byte of the closing bracket, for values that have one.
    pub close: Option<usize>,
    /// Fields and elements in order.
    pub children: Vec<Child>,
}

/// A field or an element of a [`Node`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Name of a field; `None` for an element of a list or tuple.
    pub key: Option<String>,
    /// Bytes from the key (or the value) up to and including the comma behind it, if there is one.
    pub entry: Range<usize>,
    /// The value.
    pub node: Node,
}

/// The shape of the text is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanError {
    /// Byte at which the fault was noticed.
    pub at: usize,
    /// What was expected there.
    pub expected: String,
}

/// One step of a key path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field.
    Key(String),
    /// An element, from 0.
    Index(usize),
}

/// Splits `flow.until[0]` into steps; `None` when it is not a path.
pub fn parse_path(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !is_identifier(key) {
            return None;
        }
        steps.push(Step::Key(key.to_owned()));
        while !rest.is_empty() {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        }
    }
    Some(steps)
}

/// Scans a whole text, which must hold exactly one value.
///
/// # Errors
/// At the first place where the shape breaks.
pub fn scan(text: &str) -> Result<Node, ScanError> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.skip_blank()?;
    while scanner.rest().starts_with("#!") {
        scanner.skip_attribute()?;
    }
    let node = scanner.value()?;
    scanner.skip_blank()?;
    if scanner.at < text.len() {
        return Err(scanner.error("the end of the text"));
    }
    Ok(node)
}

impl Node {
    /// The child with this name or at this position.
    pub fn child(&self, step: &Step) -> Option<&Child> {
        match step {
            Step::Key(key) => self.children.iter().find(|c| c.key.as_ref() == Some(key)),
            Step::Index(index) => self.children.get(*index),
        }
    }

    /// The node at `path`, or the deepest one on the way to it, and how many steps were found.
    pub fn nearest(&self, path: &[Step]) -> (&Node, usize) {
        let mut node = self;
        for (depth, step) in path.iter().enumerate() {
            match node.child(step) {
                Some(child) => node = &child.node,
                None => return (node, depth),
            }
        }
        (node, path.len())
    }

    /// Bytes that a message about this value points to: its name, else all of it.
    pub fn head(&self) -> Range<usize> {
        if self.name.is_empty() { self.span.clone() } else { self.span.start..self.span.start + self.name.len() }
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, expected: impl Into<String>) -> ScanError {
        ScanError { at: self.at, expected: expected.into() }
    }

    /// Advances past white space and comments.
    fn skip_blank(&mut self) -> Result<(), ScanError> {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            let rest = self.rest();
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.skip_block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Block comments nest in RON.
    fn skip_block_comment(&mut self) -> Result<(), ScanError> {
        let mut depth = 0usize;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else if let Some(c) = rest.chars().next() {
                self.at += c.len_utf8();
            } else {
                return Err(self.error("`*/` to close the comment"));
            }
        }
    }

    fn skip_attribute(&mut self) -> Result<(), ScanError> {
        let length = self.rest().find(']').ok_or_else(|| self.error("`]` to close the attribute"))?;
        self.at += length + 1;
        self.skip_blank()
    }

    fn value(&mut self) -> Result<Node, ScanError> {
        let start = self.at;
        match self.peek() {
            Some('(' | '[' | '{') => self.bracketed(start, String::new()),
            Some('"') => self.string(start),
            Some('r') if is_raw_string(self.rest()) => self.raw_string(start),
            Some('\'') => self.character(start),
            Some(c) if is_scalar(c) => {
                let rest = self.rest();
                self.at += rest.find(|c| !is_scalar(c)).unwrap_or(rest.len());
                let word = &self.text[start..self.at];
                let end = self.at;
                if is_identifier(word) {
                    self.skip_blank()?;
                    if self.peek() == Some('(') {
                        return self.bracketed(start, word.to_owned());
                    }
                    self.at = end;
                }
                Ok(self.leaf(start))
            }
            _ => Err(self.error("a value")),
        }
    }

    fn leaf(&self, start: usize) -> Node {
        Node { span: start..self.at, name: String::new(), close: None, children: Vec::new() }
    }

    fn bracketed(&mut self, start: usize, name: String) -> Result<Node, ScanError> {
        let open = self.at;
        let closing = match self.peek() {
            Some('(') => ')',
            Some('[') => ']',
            _ => '}',
        };
        self.at += 1;
        let mut children = Vec::new();
        loop {
            self.skip_blank()?;
            match self.peek() {
                Some(c) if c == closing => break,
                None => return Err(self.never_closed(open, closing)),
                Some(_) => {}
            }
            let mut child = self.entry()?;
            self.skip_blank()?;
            match self.peek() {
                Some(',') => self.at += 1,
                Some(c) if c == closing => {}
                None => return Err(self.never_closed(open, closing)),
                _ => return Err(self.error(format!("`,` or `{closing}`"))),
            }
            if self.text[..self.at].ends_with(',') {
                child.entry.end = self.at;
            }
            children.push(child);
        }
        let close = self.at;
        self.at += 1;
        Ok(Node { span: start..self.at, name, close: Some(close), children })
    }

    fn never_closed(&self, open: usize, closing: char) -> ScanError {
        let line = 1 + self.text[..open].matches('\n').count();
        self.error(format!("`{closing}` to close the `{}` of line {line}", &self.text[open..=open]))
    }

    /// `key: value` or `value`; the keys of a map may be any value.
    fn entry(&mut self) -> Result<Child, ScanError> {
        let start = self.at;
        let first = self.value()?;
        let end = self.at;
        self.skip_blank()?;
        if self.peek() != Some(':') {
            self.at = end;
            return Ok(Child { key: None, entry: start..end, node: first });
        }
        self.at += 1;
        self.skip_blank()?;
        let node = self.value()?;
        let key = self.text[start..end].trim_start_matches("r#").to_owned();
        Ok(Child { key: Some(key), entry: start..self.at, node })
    }

    fn string(&mut self, start: usize) -> Result<Node, ScanError> {
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.at += offset + 1;
                    return Ok(self.leaf(start));
                }
                _ => {}
            }
        }
        Err(self.error("a closing `\"` for the string that starts here"))
    }

    fn raw_string(&mut self, start: usize) -> Result<Node, ScanError> {
        let hashes = self.rest()[1..].chars().take_while(|&c| c == '#').count();
        let body = self.at + hashes + 2;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = self.text[body..].find(&end).ok_or_else(|| self.error(format!("`{end}` to close the string")))?;
        self.at = body + length + end.len();
        Ok(self.leaf(start))
    }

    fn character(&mut self, start: usize) -> Result<Node, ScanError> {
        let rest = &self.rest()[1..];
        let from = if rest.starts_with('\\') { 2 } else { 1 };
        let close = rest.char_indices().skip(from).find(|&(_, c)| c == '\'');
        let (length, _) = close.ok_or_else(|| self.error("a closing `'`"))?;
        self.at += length + 2;
        Ok(self.leaf(start))
    }
}

fn is_raw_string(rest: &str) -> bool {
    rest[1..].trim_start_matches('#').starts_with('"')
}

fn is_scalar(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.' | '#')
}

fn is_identifier(word: &str) -> bool {
    word.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && word.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, path: &str) -> Option<String> {
        let steps = parse_path(path).expect("the path is well formed");
        let tree = scan(text).expect("the text is well formed");
        let (node, found) = tree.nearest(&steps);
        (found == steps.len()).then(|| text[node.span.clone()].to_owned())
    }

    #[test]
    fn key_paths_lead_to_values_through_variants_lists_comments_and_strings() {
        let text = r##"// a: 1
            (a: 1, /* b: ( /* nested */ */ b: Ball(c: [1, [2e-3, 4]], d: "x, (\"", e: r#"")"#, f: '(',), g: Unit, h: V (-1))"##;
        for (path, value) in [
            ("a", Some("1")),
            ("b.c[1]", Some("[2e-3, 4]")),
            ("b.c[1][0]", Some("2e-3")),
            ("b.d", Some(r#""x, (\"""#)),
            ("b.e", Some(r##"r#"")"#"##)),
            ("b.f", Some("'('")),
            ("g", Some("Unit")),
            ("h", Some("V (-1)")),
            ("h[0]", Some("-1")),
            ("b.z", None),
            ("b.c[2]", None),
        ] {
            assert_eq!(at(text, path).as_deref(), value, "{path}");
        }
    }

    #[test]
    fn a_broken_shape_is_noticed_where_it_breaks() {
        for (text, at, expected) in [
            ("(a: 1 b: 2)", 6, "`,` or `)`"),
            ("(a: [1, 2", 9, "`]` to close the `[` of line 1"),
            ("(a: )", 4, "a value"),
            ("(a: \"x)", 4, "a closing `\"` for the string that starts here"),
            ("(a: 1))", 6, "the end of the text"),
            ("", 0, "a value"),
        ] {
            assert_eq!(scan(text), Err(ScanError { at, expected: expected.to_owned() }), "{text}");
        }
    }

    #[test]
    fn a_path_needs_names_and_indices() {
        assert_eq!(parse_path("a.b[2]"), Some(vec![Step::Key("a".into()), Step::Key("b".into()), Step::Index(2)]));
        for wrong in ["", ".", "a.", "a[x]", "a[1", "[1]", "a b", "1a"] {
            assert_eq!(parse_path(wrong), None, "{wrong}");
        }
    }
}
