//! The pages, compared with the tree: what they name exists, and the map stays readable.

use std::fs;
use std::path::{Path, PathBuf};

/// The map says something of every library crate, and is not read when it is longer.
const MAP: &str = "docs/ARCHITECTURE.md";
const MAX_LINES: usize = 200;
/// Names tests, and nothing else with an underscore.
const TESTS: &str = "docs/SECURITY-TESTS.md";
/// Where pages lie.
const FOLDERS: &[&str] = &["", "docs", "docs/adr", "conformance", "benches"];

/// Checks the pages against the working tree below `root`.
///
/// # Errors
/// One line for each thing that is wrong.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    for page in pages(root)? {
        let text = fs::read_to_string(root.join(&page)).map_err(|err| format!("failed to read {page}: {err}"))?;
        wrong.extend(problems(&page, &text, |path| root.join(path).exists()));
        if page == MAP {
            wrong.extend(crates_missing_in(&text));
        }
        if page == TESTS {
            wrong.extend(unknown_functions(&text, &sources(root)?));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn pages(root: &Path) -> Result<Vec<String>, String> {
    let mut pages = vec![MAP.to_owned()];
    for folder in FOLDERS {
        let files = fs::read_dir(root.join(folder)).map_err(|err| format!("failed to read {folder}: {err}"))?;
        let names = files.flatten().map(|file| Path::new(folder).join(file.file_name()));
        pages.extend(names.filter(|name| name.extension().is_some_and(|end| end == "md")).filter_map(text_of));
    }
    pages.sort();
    pages.dedup();
    Ok(pages)
}

fn text_of(path: PathBuf) -> Option<String> {
    path.into_os_string().into_string().ok()
}

fn crates_missing_in(map: &str) -> Vec<String> {
    crate::check_layers::library_crates()
        .filter(|name| !map.contains(&format!("`{name}`")) && !map.contains(&format!("`{name}/`")))
        .map(|name| format!("{MAP}: says nothing of the crate {name}"))
        .collect()
}

/// The text of all Rust files below `folder`, but for what is built or hidden.
fn sources(folder: &Path) -> Result<String, String> {
    let mut text = String::new();
    for file in fs::read_dir(folder).map_err(|err| format!("failed to read {}: {err}", folder.display()))?.flatten() {
        let (path, name) = (file.path(), file.file_name());
        let skipped = name.as_encoded_bytes().starts_with(b".") || name == "target" || name == "gen";
        if path.is_dir() && !skipped {
            text.push_str(&sources(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&fs::read_to_string(&path).map_err(|err| format!("{}: {err}", path.display()))?);
        }
    }
    Ok(text)
}

fn unknown_functions(page: &str, sources: &str) -> Vec<String> {
    let words = page.split('`').skip(1).step_by(2);
    let names = words
        .filter(|word| word.contains('_') && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()));
    names
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .map(|name| format!("{TESTS}: there is no test {name}"))
        .collect()
}

/// Paths in backquotes are meant from the workspace's folder or the page's, targets of links from the page's.
fn problems(page: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if page == MAP && lines > MAX_LINES {
        wrong.push(format!("{page}: {lines} lines, at most {MAX_LINES}"));
    }
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    for (number, line) in text.lines().enumerate() {
        // Odd pieces between backquotes are code.
        let named = line.split('`').skip(1).step_by(2).filter(|code| looks_like_a_path(code));
        let named = named.filter(|path| !exists(&folder.join(path))).map(PathBuf::from);
        let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let linked = links.filter(|link| !link.is_empty() && !link.contains(':')).map(|link| folder.join(link));
        let missing = named.chain(linked).filter(|path| !exists(path));
        wrong.extend(missing.map(|path| format!("{page}:{}: {} does not exist", number + 1, path.display())));
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
        let wrong = problems(MAP, "# Title\nsee `spire-ca/src/mint.rs` and `cargo test`\n", |_| false);
        assert_eq!(wrong, ["docs/ARCHITECTURE.md:2: spire-ca/src/mint.rs does not exist"]);
    }

    #[test]
    fn links_are_followed_from_their_page() {
        let text = "[map](ARCHITECTURE.md#where) [site](https://spiffe.io) [below](#here) ![picture](page.png)";
        let wrong = problems("docs/a.md", text, |path| path == Path::new("docs/ARCHITECTURE.md"));
        assert_eq!(wrong, ["docs/a.md:1: docs/page.png does not exist"]);
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        let wrong = unknown_functions("`a_test`, `gone_test`, `docs/a_b.md`, `word`", "async fn a_test() {}");
        assert_eq!(wrong, ["docs/SECURITY-TESTS.md: there is no test gone_test"]);
    }

    #[test]
    fn addresses_globs_and_words_are_no_paths() {
        let text = "`/spire/server`, `spiffe://td/a.md`, `src/*.rs`, `entry.rs`, `conf/{a,b}.rs`";
        assert!(problems(MAP, text, |_| false).is_empty());
    }

    #[test]
    fn a_page_too_long_to_read_is_refused() {
        assert_eq!(problems(MAP, &"line\n".repeat(201), |_| true).len(), 1);
    }
}
