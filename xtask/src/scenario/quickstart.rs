//! The README's first command, as a process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{PATIENCE, eventually, say, signal};

/// It runs, and its page is there.
pub(super) struct Quickstart {
    child: Child,
    /// Where its temporary files are.
    directory: PathBuf,
    /// `ADDRESS:PORT`
    pub(super) page: String,
    pub(super) took: String,
    pub(super) service_pid: String,
    pub(super) restart_line: String,
}

impl Quickstart {
    /// Starts it, and waits until it says where the page is.
    pub(super) fn start(root: &Path, debug: bool, flags: &[&str]) -> Result<Self, String> {
        let directory = std::env::temp_dir().join(format!("scenario-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|err| format!("{}: {err}", directory.display()))?;
        let mut command = Command::new(env!("CARGO"));
        command.arg("run").args((!debug).then_some("--release")).args(["--bin", "quickstart", "--", "--port", "0"]);
        command.args(flags).current_dir(root).env("TMPDIR", &directory).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|err| format!("failed to run cargo: {err}"))?;
        let output = child.stdout.take().ok_or("cargo has no output")?;
        let [mut page, mut took, mut service_pid, mut restart_line] = [const { String::new() }; 4];
        let wanted = [
            ("    http://", &mut page),
            ("The page was there ", &mut took),
            ("Stop the quotes service and see what the page says: kill ", &mut service_pid),
            ("Start it again: ", &mut restart_line),
        ];
        let mut wanted = Vec::from(wanted);
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            say(&format!("    {line}"));
            wanted.retain_mut(|(prefix, value)| match line.strip_prefix(*prefix) {
                Some(rest) => {
                    rest.clone_into(value);
                    false
                }
                None => true,
            });
            if wanted.is_empty() {
                break;
            }
        }
        if !wanted.is_empty() {
            let status = child.wait().map_err(|err| err.to_string())?;
            return Err(format!("quickstart ended before it had a page: {status}"));
        }
        std::thread::spawn(move || lines.for_each(|line| say(&format!("    {line}"))));
        let page = page.trim_end_matches("/quotes").to_owned();
        let took = took.trim_end_matches(". Open").to_owned();
        Ok(Self { child, directory, page, took, service_pid, restart_line })
    }

    /// Ctrl-C, after which it ends well and leaves nothing.
    pub(super) fn interrupt(&mut self) -> Result<(), String> {
        signal(&self.child.id().to_string(), "INT")?;
        let mut status = None;
        eventually(PATIENCE, "quickstart to end", || {
            status = self.child.try_wait().map_err(|err| err.to_string())?;
            Ok(status.is_some())
        })?;
        if status.is_none_or(|status| !status.success()) {
            return Err(format!("quickstart ended with {status:?}"));
        }
        let left = processes_in(&self.directory)?;
        if !left.is_empty() {
            return Err(format!("processes are left: {}", left.join(", ")));
        }
        let files = fs::read_dir(&self.directory).map_err(|err| format!("{}: {err}", self.directory.display()))?;
        match files.count() {
            0 => Ok(()),
            _ => Err(format!("files are left in {}", self.directory.display())),
        }
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // After a failure it still runs: it is asked to end, so that it ends what it has started.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = signal(&self.child.id().to_string(), "INT");
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The processes whose working directory lies below `directory`: whatever quickstart starts has it there.
fn processes_in(directory: &Path) -> Result<Vec<String>, String> {
    let processes = fs::read_dir("/proc").map_err(|err| format!("/proc: {err}"))?;
    Ok(processes
        .flatten()
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory)))
        .map(|process| process.file_name().display().to_string())
        .collect())
}
