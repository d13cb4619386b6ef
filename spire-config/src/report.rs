//! All that is wrong with a configuration, told at once.

use std::cell::RefCell;

use crate::document::Position;
use crate::{Error, Problem};

/// Collects problems while a configuration is decoded.
#[derive(Debug)]
pub struct Report {
    file: String,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    /// Without problems, for the file with this name.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), errors: RefCell::default(), warnings: RefCell::default() }
    }

    /// Something that makes the configuration unusable.
    pub fn error(&self, position: Option<Position>, path: impl Into<String>, message: impl Into<String>) {
        self.errors.borrow_mut().push(self.problem(position, path.into(), message.into()));
    }

    /// Something that an operator should know.
    pub fn warning(&self, position: Option<Position>, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.borrow_mut().push(self.problem(position, path.into(), message.into()));
    }

    /// What was decoded with the warnings, when there is no error; `None` only with one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all errors.
    pub fn finish<T>(self, decoded: Option<T>) -> Result<(T, Vec<Problem>), Error> {
        let mut errors = self.errors.into_inner();
        match decoded {
            Some(decoded) if errors.is_empty() => Ok((decoded, in_order(self.warnings.into_inner()))),
            _ => {
                errors = in_order(errors);
                Err(Error::Invalid(errors))
            }
        }
    }

    fn problem(&self, position: Option<Position>, path: String, message: String) -> Problem {
        Problem { file: self.file.clone(), position, path, message }
    }
}

/// As in the file; what has no place in it stays in the order in which it was found, in front.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.position);
    problems
}
