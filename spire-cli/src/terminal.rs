//! What a command sees of the process that it runs in.

use std::fmt;
use std::io::{self, Read, Write};

use spiffe_core::Timestamp;

/// Streams, environment and time of a command.
pub struct Terminal {
    /// Read by the commands that take a file called `-`, or no file.
    pub stdin: Box<dyn Read + Send>,
    /// Results, and nothing else: scripts read them.
    pub stdout: Box<dyn Write + Send>,
    /// Errors, usage and versions.
    pub stderr: Box<dyn Write + Send>,
    /// Looks up a variable of the environment.
    pub environment: Environment,
    /// When the command began.
    pub now: Timestamp,
}

/// Looks up a variable of the environment.
pub type Environment = Box<dyn Fn(&str) -> Option<String> + Send>;

impl Terminal {
    /// The terminal of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where a command line meets its environment")]
    pub fn of_process(now: Timestamp) -> Self {
        Self {
            stdin: Box::new(io::stdin()),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            environment: Box::new(|name| std::env::var(name).ok()),
            now,
        }
    }

    /// A variable of the environment; an empty one counts as unset.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// Everything that is left on standard input.
    pub(crate) fn read_stdin(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stdin.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("now", &self.now).finish_non_exhaustive()
    }
}
