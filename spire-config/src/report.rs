//! All that is wrong with a configuration, told at once.

use std::cell::RefCell;

use crate::{Error, Problem};

/// Collects problems while a configuration is decoded.
#[derive(Debug, Default)]
pub struct Report {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    /// Without problems.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that makes the configuration unusable.
    pub fn error(&self, problem: Problem) {
        self.errors.borrow_mut().push(problem);
    }

    /// A flag whose value cannot be used.
    pub fn flag(&self, flag: &str, message: impl Into<String>) {
        let file = "command line".to_owned();
        self.error(Problem { file, position: None, path: flag.to_owned(), message: message.into() });
    }

    /// Something that an operator should know.
    pub fn warning(&self, problem: Problem) {
        self.warnings.borrow_mut().push(problem);
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
}

/// File by file, as in each; what has no place in it stays in the order in which it was found, in front.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.file.clone(), problem.position));
    problems
}
