//! Flags as Go's `flag` package reads them, on top of clap's definitions.
//!
//! A flag has one dash or two, its value follows as the next word or after `=`, parsing stops at the first word that
//! is no flag, the last of several values wins unless the flag is a list, and what is left over is ignored. The words
//! are rewritten to `--name=value` here, then read by clap.

use std::error::Error as _;
use std::fmt::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::go;

/// Why the words of a command are not its flags.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct FlagError(String);

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the flags of a command.
pub(crate) fn parse(definition: &Command, words: &[String]) -> Result<ArgMatches, FlagError> {
    let words = rewrite(definition, words)?;
    definition.clone().try_get_matches_from(words).map_err(|err| {
        let text = |kind| match err.get(kind) {
            Some(ContextValue::String(text)) => text.as_str(),
            _ => "",
        };
        if err.kind() != ErrorKind::ValueValidation && err.kind() != ErrorKind::InvalidValue {
            return FlagError(err.to_string());
        }
        // clap names the flag together with its placeholder: `--ttl <int>`.
        let flag = text(ContextKind::InvalidArg).split([' ', '=']).next().unwrap_or_default().trim_start_matches('-');
        let reason = err.source().map_or_else(|| "parse error".to_owned(), ToString::to_string);
        FlagError(format!("invalid value {:?} for flag -{flag}: {reason}", text(ContextKind::InvalidValue)))
    })
}

fn rewrite(definition: &Command, words: &[String]) -> Result<Vec<String>, FlagError> {
    let mut rewritten: Vec<String> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else { break };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            break;
        }
        if flag.starts_with(['-', '=']) {
            return Err(FlagError(format!("bad flag syntax: {word}")));
        }
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let Some(arg) = definition.get_arguments().find(|arg| arg.get_long() == Some(name)) else {
            return Err(FlagError(format!("flag provided but not defined: -{name}")));
        };
        let prefix = format!("--{name}");
        match arg.get_action() {
            ArgAction::SetTrue => {
                let set = go::parse_bool(value.unwrap_or("true")).ok_or_else(|| {
                    FlagError(format!("invalid boolean value {:?} for -{name}: parse error", value.unwrap_or_default()))
                })?;
                rewritten.retain(|word| *word != prefix);
                rewritten.extend(set.then_some(prefix));
            }
            action => {
                let value = match value {
                    Some(value) => value,
                    None => words.next().ok_or_else(|| FlagError(format!("flag needs an argument: -{name}")))?,
                };
                let prefix = format!("{prefix}=");
                let earlier = rewritten.iter().rev().find_map(|word| word.strip_prefix(&prefix));
                if let Some(earlier) = earlier.filter(|earlier| name == ONCE && !earlier.eq_ignore_ascii_case(value)) {
                    let why = format!("the output format has already been set to {earlier:?}");
                    return Err(FlagError(format!("invalid value {value:?} for flag -{name}: {why}")));
                }
                if !matches!(action, ArgAction::Append) {
                    rewritten.retain(|word| !word.starts_with(&prefix));
                }
                rewritten.push(format!("{prefix}{value}"));
            }
        }
    }
    Ok(rewritten)
}

/// The flag whose last value does not win: different ones contradict each other.
const ONCE: &str = "output";

/// The listing of a command's flags, as Go prints it.
pub(crate) fn usage(name: &str, definition: &Command) -> String {
    let mut args: Vec<&Arg> = definition.get_arguments().collect();
    args.sort_by_key(|arg| arg.get_long());
    let mut text = format!("Usage of {name}:\n");
    for arg in args {
        let _ = write!(text, "  -{}", arg.get_long().unwrap_or_default());
        if !matches!(arg.get_action(), ArgAction::SetTrue) {
            let kind = arg.get_value_names().and_then(|names| names.first());
            let _ = write!(text, " {}", kind.map_or("value", |kind| kind.as_str()));
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = write!(text, "\n    \t{help}");
        let is_text = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "string"));
        match arg.get_default_values().first().map(|value| value.to_string_lossy()).as_deref() {
            None | Some("" | "0" | "0s" | "false") => {}
            Some(default) if is_text => {
                let _ = write!(text, " (default {default:?})");
            }
            Some(default) if !matches!(arg.get_action(), ArgAction::SetTrue) => {
                let _ = write!(text, " (default {default})");
            }
            Some(_) => {}
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    #[derive(Args, Debug, Default, Eq, PartialEq)]
    struct Flags {
        /// A text
        #[arg(long = "path", value_name = "string", default_value = "/a")]
        path: String,
        /// A number
        #[arg(long = "ttl", value_name = "int", default_value = "600", value_parser = go::parse_int)]
        ttl: i64,
        /// A list
        #[arg(long = "dns", value_name = "value")]
        dns: Vec<String>,
        /// A switch
        #[arg(long = "admin")]
        admin: bool,
    }

    fn definition() -> Command {
        Flags::augment_args(crate::command::bare("test"))
    }

    fn read(words: &str) -> Result<Flags, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let matches = parse(&definition(), &words).map_err(|err| err.to_string())?;
        Ok(Flags::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let defaults = || Flags { path: "/a".into(), ttl: 600, dns: vec![], admin: false };
        assert_eq!(read(""), Ok(defaults()));
        assert_eq!(read("-path /b --ttl=5"), Ok(Flags { path: "/b".into(), ttl: 5, ..defaults() }));
        assert_eq!(read("-path=a=b -admin"), Ok(Flags { path: "a=b".into(), admin: true, ..defaults() }));
        assert_eq!(
            read("-dns a -dns b -admin=1 -admin=false"),
            Ok(Flags { dns: vec!["a".into(), "b".into()], ..defaults() })
        );
        assert_eq!(read("-ttl 1 -ttl 2"), Ok(Flags { ttl: 2, ..defaults() }));
        assert_eq!(read("-path -admin"), Ok(Flags { path: "-admin".into(), ..defaults() }));
        assert_eq!(read("-ttl 1 word -ttl 2"), Ok(Flags { ttl: 1, ..defaults() }));
        assert_eq!(read("-- -ttl 2"), Ok(defaults()));
        assert_eq!(read("-ttl -5"), Ok(Flags { ttl: -5, ..defaults() }));
    }

    #[test]
    fn errors_are_worded_as_in_go() {
        for (words, error) in [
            ("-x", "flag provided but not defined: -x"),
            ("--ttl abc", "invalid value \"abc\" for flag -ttl: parse error"),
            ("-ttl", "flag needs an argument: -ttl"),
            ("-admin=maybe", "invalid boolean value \"maybe\" for -admin: parse error"),
            ("---ttl 5", "bad flag syntax: ---ttl"),
            ("-=5", "bad flag syntax: -=5"),
        ] {
            assert_eq!(read(words), Err(error.to_owned()), "{words}");
        }
    }

    #[test]
    fn usage_is_sorted_and_shows_defaults() {
        assert_eq!(
            usage("test", &definition()),
            "Usage of test:\n  -admin\n    \tA switch\n  -dns value\n    \tA list\n  -path string\n    \tA text (default \"/a\")\n  -ttl int\n    \tA number (default 600)\n"
        );
    }
}
