//! Keeps docs/ARCHITECTURE.md true: every path it names exists, every crate has its line, and it stays readable.

use std::path::Path;

/// A page that is longer is not read.
const MAX_LINES: usize = 200;
const PAGE: &str = "docs/ARCHITECTURE.md";

/// Checks the page against the working tree below `root`.
///
/// # Errors
/// One line for each thing that is wrong.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(root.join(PAGE)).map_err(|err| format!("failed to read {PAGE}: {err}"))?;
    let mut wrong = problems(&text, |path| root.join(path).exists());
    for name in crate::check_layers::library_crates() {
        if !text.contains(&format!("`{name}`")) && !text.contains(&format!("`{name}/`")) {
            wrong.push(format!("{PAGE}: says nothing of the crate {name}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn problems(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        wrong.push(format!("{PAGE}: {lines} lines, at most {MAX_LINES}"));
    }
    for (number, line) in text.lines().enumerate() {
        // Odd pieces between backquotes are code.
        for code in line.split('`').skip(1).step_by(2) {
            if looks_like_a_path(code) && !exists(code) {
                wrong.push(format!("{PAGE}:{}: {code} does not exist", number + 1));
            }
        }
    }
    wrong
}

fn looks_like_a_path(code: &str) -> bool {
    let named = code.ends_with('/')
        || [".rs", ".md", ".sql", ".proto", ".toml", ".json"].iter().any(|extension| code.ends_with(extension));
    named && code.contains('/') && !code.starts_with('/') && !code.contains([' ', '*', '<', '{', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_exist_is_found_with_its_line() {
        let wrong = problems("# Title\nsee `spire-ca/src/mint.rs` and `cargo test`\n", |_| false);
        assert_eq!(wrong, ["docs/ARCHITECTURE.md:2: spire-ca/src/mint.rs does not exist"]);
    }

    #[test]
    fn addresses_globs_and_words_are_no_paths() {
        let text = "`/spire/server`, `spiffe://td/a.md`, `src/*.rs`, `entry.rs`, `conf/{a,b}.rs`";
        assert!(problems(text, |_| false).is_empty());
    }

    #[test]
    fn a_page_too_long_to_read_is_refused() {
        assert_eq!(problems(&"line\n".repeat(201), |_| true).len(), 1);
    }
}
