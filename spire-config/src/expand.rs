//! `-expandEnv`: variables in the text of a file, by the rules of Go's `os.Expand`.

/// What variables are called by name; `None` for one that is not set.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces `$NAME` and `${NAME}` by what `lookup` says, by nothing where it knows no such name.
///
/// `$$` is one dollar sign; a dollar sign before a character that begins no name stays; `${` without a name in it is
/// dropped, with its brace where there is one.
pub fn expand_env(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, width) = name_of(after);
        match name {
            Some("$") => expanded.push('$'),
            Some(name) => expanded.push_str(&lookup(name).unwrap_or_default()),
            None if width == 0 => expanded.push('$'),
            None => {}
        }
        rest = after.get(width..).unwrap_or_default();
    }
    expanded.push_str(rest);
    expanded
}

/// The name that `text`, which follows a dollar sign, begins with, and how many bytes it takes. No name and no bytes: the
/// dollar sign stays.
fn name_of(text: &str) -> (Option<&str>, usize) {
    let special = |c: char| matches!(c, '*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9');
    if let Some(braced) = text.strip_prefix('{') {
        let first = braced.chars().next();
        if first.is_some_and(special) && braced.get(1..2) == Some("}") {
            return (braced.get(..1), 3);
        }
        return match braced.find('}') {
            // "${}" is dropped.
            Some(0) => (None, 2),
            Some(end) => (braced.get(..end), end + 2),
            // Without an end the brace is dropped alone.
            None => (None, 1),
        };
    }
    match text.chars().next() {
        Some(first) if special(first) => (text.get(..1), 1),
        _ => {
            let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
            if end == 0 { (None, 0) } else { (text.get(..end), end) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        expand_env(text, |name| match name {
            "HOME" => Some("/root".into()),
            "H" => Some("(H)".into()),
            "*" => Some("all".into()),
            "1" => Some("one".into()),
            _ => None,
        })
    }

    #[test]
    fn names_are_replaced_as_go_replaces_them() {
        for (text, expected) in [
            ("", ""),
            ("$HOME", "/root"),
            ("${HOME}/x", "/root/x"),
            ("a$H-b", "a(H)-b"),
            ("$UNSET.", "."),
            ("a$$b", "a$b"),
            ("${*}$*", "allall"),
            ("$1x", "onex"),
            ("cost: $ 5", "cost: $ 5"),
            ("$", "$"),
            ("${}", ""),
            ("${HOME", "HOME"),
            ("päth/$HOME/é", "päth//root/é"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }
}
