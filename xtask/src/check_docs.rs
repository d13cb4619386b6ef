//! The pages, compared with the tree: what they name exists, and the map stays readable.

use std::fs;
use std::path::{Path, PathBuf};

/// The map says something of every library crate, and is not read when it is longer.
const MAP: &str = "docs/ARCHITECTURE.md";
const MAX_LINES: usize = 200;
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

/// Paths in backquotes are meant from the workspace's folder, targets of links from the page's.
fn problems(page: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if page == MAP && lines > MAX_LINES {
        wrong.push(format!("{page}: {lines} lines, at most {MAX_LINES}"));
    }
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    for (number, line) in text.lines().enumerate() {
        // Odd pieces between backquotes are code.
        let named = line.split('`').skip(1).step_by(2).filter(|code| looks_like_a_path(code)).map(PathBuf::from);
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
    fn addresses_globs_and_words_are_no_paths() {
        let text = "`/spire/server`, `spiffe://td/a.md`, `src/*.rs`, `entry.rs`, `conf/{a,b}.rs`";
        assert!(problems(MAP, text, |_| false).is_empty());
    }

    #[test]
    fn a_page_too_long_to_read_is_refused() {
        assert_eq!(problems(MAP, &"line\n".repeat(201), |_| true).len(), 1);
    }
}
