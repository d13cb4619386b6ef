//! Finds the command that the words name, and says what there is when they name none.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write as _};
use std::pin::Pin;

use clap::{ArgMatches, Args};

use crate::error::Error;
use crate::flags;
use crate::terminal::Terminal;

/// What a command does with its flags.
pub(crate) trait Action: Args + Sized {
    /// The words that call it.
    const NAME: &'static str;
    /// One line about it.
    const SYNOPSIS: &'static str;

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error>;
}

type Run = for<'a> fn(ArgMatches, &'a mut Terminal) -> Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// A command, as the table of commands lists it.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    synopsis: &'static str,
    /// What its usage calls it.
    usage: &'static str,
    define: fn() -> clap::Command,
    /// `None` for what only the binary can do.
    run: Option<Run>,
    /// Whether the help of the program speaks of it.
    listed: bool,
}

impl Command {
    pub(crate) fn of<A: Action>() -> Self {
        Self {
            name: A::NAME,
            synopsis: A::SYNOPSIS,
            usage: A::NAME,
            define: || A::augment_args(bare(A::NAME)),
            listed: true,
            run: Some(|matches, terminal| {
                Box::pin(async move {
                    let action = A::from_arg_matches(&matches).map_err(|err| Error::refused(err.to_string()))?;
                    action.run(terminal).await
                })
            }),
        }
    }

    /// One that the binary carries out itself, given its flags.
    pub(crate) fn left_to_binary<F: Args>(name: &'static str, synopsis: &'static str) -> Self {
        Self { name, synopsis, usage: name, define: || F::augment_args(bare("run")), run: None, listed: true }
    }

    /// The same command under another name in its own usage.
    pub(crate) fn called(self, usage: &'static str) -> Self {
        Self { usage, ..self }
    }

    /// The same command for those who know it from of old.
    pub(crate) fn unlisted(self) -> Self {
        Self { listed: false, ..self }
    }

    /// Panics when clap finds fault with the definition.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        (self.define)().debug_assert();
    }

    fn usage(&self) -> String {
        flags::usage(self.usage, &(self.define)())
    }

    fn words(&self) -> Vec<&'static str> {
        self.name.split(' ').collect()
    }
}

/// A definition without flags of its own.
pub(crate) fn bare(name: &'static str) -> clap::Command {
    clap::Command::new(name).no_binary_name(true).disable_help_flag(true).disable_version_flag(true)
}

/// The table of a program's commands.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) commands: Vec<Command>,
    /// Before the text of an error that ends a command.
    pub(crate) error_prefix: fn(&Command) -> &'static str,
}

/// What became of the words.
pub(crate) enum Called {
    Exit(u8),
    /// The binary's own command, by name.
    Binary(&'static str, ArgMatches),
}

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const NO_SUCH_COMMAND: u8 = 127;

impl Program {
    /// Carries out what the words say, to the exit code.
    pub(crate) async fn call(&self, words: &[String], terminal: &mut Terminal) -> Called {
        // A terminal that is gone leaves nobody to tell.
        self.try_call(words, terminal).await.unwrap_or(Called::Exit(FAILURE))
    }

    async fn try_call(&self, words: &[String], terminal: &mut Terminal) -> io::Result<Called> {
        let before_stop = words.iter().take_while(|word| *word != "--");
        let wants_help = before_stop.clone().any(|word| matches!(word.as_str(), "-h" | "-help" | "--help"));
        let start = words.iter().position(|word| !word.starts_with('-') && !word.is_empty()).unwrap_or(words.len());
        let (before, words) = words.split_at_checked(start).unwrap_or((words, &[]));
        if before.iter().any(|word| matches!(word.as_str(), "-v" | "-version" | "--version")) {
            writeln!(terminal.stderr, "{}", self.version)?;
            return Ok(Called::Exit(SUCCESS));
        }
        let found = self.find(words);
        if wants_help {
            match found {
                Found::Leaf(command, _) => writeln!(terminal.stderr, "{}flag: help requested", command.usage())?,
                Found::Group(path) => terminal.stderr.write_all(self.group_help(&path).as_bytes())?,
                Found::Nothing => terminal.stderr.write_all(self.help().as_bytes())?,
            }
            return Ok(Called::Exit(SUCCESS));
        }
        if before.iter().any(|word| word.starts_with('-')) && !matches!(found, Found::Nothing) {
            terminal.stderr.write_all(
                b"Invalid flags before the subcommand. If these flags are for\nthe subcommand, please put them after the subcommand.\n\n",
            )?;
            if let Found::Leaf(command, _) = found {
                writeln!(terminal.stderr, "{}flag: help requested", command.usage())?;
            }
            return Ok(Called::Exit(FAILURE));
        }
        match found {
            Found::Leaf(command, flags) => self.run(command, flags, terminal).await,
            Found::Group(path) => {
                terminal.stderr.write_all(self.group_help(&path).as_bytes())?;
                Ok(Called::Exit(FAILURE))
            }
            Found::Nothing => {
                terminal.stderr.write_all(self.help().as_bytes())?;
                Ok(Called::Exit(NO_SUCH_COMMAND))
            }
        }
    }

    async fn run(&self, command: &Command, flags: &[String], terminal: &mut Terminal) -> io::Result<Called> {
        let definition = (command.define)();
        let matches = match flags::parse(&definition, flags) {
            Ok(matches) => matches,
            Err(err) => {
                write!(terminal.stderr, "{err}\n{}", command.usage())?;
                return Ok(Called::Exit(FAILURE));
            }
        };
        let Some(run) = command.run else { return Ok(Called::Binary(command.name, matches)) };
        let outcome = run(matches, terminal).await;
        terminal.stdout.flush()?;
        if let Err(err) = outcome {
            writeln!(terminal.stderr, "{}{err}", (self.error_prefix)(command))?;
            terminal.stderr.flush()?;
            return Ok(Called::Exit(FAILURE));
        }
        Ok(Called::Exit(SUCCESS))
    }

    /// The command with the longest name that the words begin with.
    fn find<'w>(&self, words: &'w [String]) -> Found<'_, 'w> {
        let starts = |name: &[&str]| {
            words.len() >= name.len() && name.iter().zip(words).all(|(expected, word)| expected == word)
        };
        let leaf = self.commands.iter().filter(|command| starts(&command.words())).max_by_key(|c| c.words().len());
        if let Some(command) = leaf {
            return Found::Leaf(command, words.get(command.words().len()..).unwrap_or_default());
        }
        let path: Vec<&str> = (1..=words.len())
            .rev()
            .filter_map(|length| words.get(..length))
            .find(|prefix| self.commands.iter().any(|command| is_prefix(prefix, &command.words())))
            .map(|prefix| prefix.iter().map(String::as_str).collect())
            .unwrap_or_default();
        if path.is_empty() { Found::Nothing } else { Found::Group(path.join(" ")) }
    }

    fn help(&self) -> String {
        let listing = self.listing("");
        format!("Usage: {} [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n{listing}\n", self.name)
    }

    fn group_help(&self, path: &str) -> String {
        let listing = self.listing(&format!("{path} "));
        format!("This command is accessed by using one of the subcommands below.\n\nSubcommands:\n{listing}")
    }

    /// The words that may follow `prefix`, with what is known of each.
    fn listing(&self, prefix: &str) -> String {
        let mut next: BTreeMap<&str, &str> = BTreeMap::new();
        for command in self.commands.iter().filter(|command| command.listed || !prefix.is_empty()) {
            let Some(rest) = command.name.strip_prefix(prefix) else { continue };
            match rest.split_once(' ') {
                None => {
                    next.insert(rest, command.synopsis);
                }
                Some((group, _)) => {
                    next.entry(group).or_default();
                }
            }
        }
        let width = next.keys().map(|name| name.len()).max().unwrap_or_default();
        next.iter().map(|(name, synopsis)| format!("    {name:width$}    {synopsis}\n")).collect()
    }
}

enum Found<'p, 'w> {
    Leaf(&'p Command, &'w [String]),
    Group(String),
    Nothing,
}

fn is_prefix(prefix: &[String], words: &[&str]) -> bool {
    prefix.len() < words.len() && prefix.iter().zip(words).all(|(a, b)| a == b)
}
