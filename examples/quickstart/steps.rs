//! Steps: what is run is shown, with its result.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Processes;
use crate::programs::Programs;
use crate::site::Site;
use crate::{GLANCE, Result};

/// How long a server or an agent may take until it is healthy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Runs commands in the scenario's directory.
pub(crate) struct Steps<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) directory: &'a Path,
}

impl Steps<'_> {
    #[expect(clippy::unused_self, reason = "reads as one of the steps")]
    pub(crate) fn title(&self, text: &str) {
        say(&format!("\n# {text}"));
    }

    /// Starts a program that goes on, with its output in the site's folder.
    pub(crate) fn start(
        &self,
        processes: &mut Processes,
        site: &Site,
        role: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<()> {
        self.start_with(None, processes, site, role, program, arguments)
    }

    /// The same, with something in its environment.
    pub(crate) fn start_with(
        &self,
        environment: Option<(&str, &str)>,
        processes: &mut Processes,
        site: &Site,
        role: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<()> {
        let shown = environment.map_or_else(|| program.to_owned(), |(name, value)| format!("{name}={value} {program}"));
        show(site, &shown, arguments, " &");
        let log = self.directory.join(site.file(&format!("{role}.log")));
        let mut command = self.invocation(program, arguments);
        command.envs(environment);
        processes.start(format!("{program} of {}", site.name), command, log)?;
        Ok(())
    }

    /// Starts a program that is installed on this machine, with its output in the folder `web`.
    pub(crate) fn start_tool(&self, processes: &mut Processes, program: &str, arguments: &[&str]) -> Result<()> {
        let quoted = arguments.iter().map(|word| if word.is_empty() { "\"\"" } else { word });
        say(&format!("web> {program} {} &", quoted.collect::<Vec<_>>().join(" ")));
        let mut command = Command::new(program);
        // Pebble waits up to fifteen seconds before it looks, to be more like the real ones.
        command.args(arguments).current_dir(self.directory).env("PEBBLE_VA_NOSLEEP", "1");
        let log = self.directory.join(format!("web/{program}.log"));
        processes.start(program.to_owned(), command, log)?;
        Ok(())
    }

    /// Starts a workload, with the address of its agent in the environment. Answers its process id.
    pub(crate) fn start_workload(
        &self,
        processes: &mut Processes,
        site: &Site,
        program: &str,
        arguments: &[&str],
    ) -> Result<u32> {
        say(&format!("{}> {} &", site.name, self.workload_line(site, program, arguments)));
        let mut command = self.invocation(program, arguments);
        command.env(workload_api::ENDPOINT_SOCKET_VARIABLE, self.workload_api(site));
        processes.start(program.to_owned(), command, self.directory.join(site.file(&format!("{program}.log"))))
    }

    /// How a workload can be started by hand, from anywhere.
    pub(crate) fn workload_line(&self, site: &Site, program: &str, arguments: &[&str]) -> String {
        let (variable, path) = (workload_api::ENDPOINT_SOCKET_VARIABLE, self.programs.path(program));
        format!("{variable}={} {} {}", self.workload_api(site), path.display(), arguments.join(" "))
    }

    fn workload_api(&self, site: &Site) -> String {
        format!("unix://{}", self.directory.join(site.agent_socket()).display())
    }

    /// Runs a command to its end, and answers what it printed.
    pub(crate) async fn command(&self, site: &Site, program: &str, arguments: &[&str]) -> Result<String> {
        show(site, program, arguments, "");
        self.unshown_command(program, arguments).await
    }

    /// The same, where what is shown is not what is run to the letter.
    pub(crate) async fn command_as(
        &self,
        site: &Site,
        shown: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<String> {
        say(&format!("{}> {shown}", site.name));
        self.unshown_command(program, arguments).await
    }

    async fn unshown_command(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let printed = self.output(program, arguments).await?;
        printed.lines().for_each(|line| say(&format!("    {line}")));
        Ok(printed)
    }

    /// Runs a command to its end, and writes what it printed to a file.
    pub(crate) async fn command_into(&self, site: &Site, program: &str, arguments: &[&str], file: &str) -> Result<()> {
        show(site, program, arguments, &format!(" > {file}"));
        let printed = self.output(program, arguments).await?;
        fs::write(self.directory.join(file), &printed)?;
        say(&format!("    {} bytes", printed.len()));
        Ok(())
    }

    /// Asks until the answer is good.
    pub(crate) async fn until_healthy(
        &self,
        processes: &mut Processes,
        site: &Site,
        program: &str,
        socket: &str,
    ) -> Result<()> {
        self.until_done(processes, site, program, &["healthcheck", "-socketPath", socket], PATIENCE).await
    }

    /// Runs a command until it succeeds, a process has ended or patience has.
    pub(crate) async fn until_done(
        &self,
        processes: &mut Processes,
        site: &Site,
        program: &str,
        arguments: &[&str],
        patience: Duration,
    ) -> Result<()> {
        show(site, program, arguments, "");
        let printed = self.until_granted(processes, program, arguments, patience).await?;
        say(&format!("    {}", printed.trim_end()));
        Ok(())
    }

    /// The same without showing it; answers what it printed.
    pub(crate) async fn until_granted(
        &self,
        processes: &mut Processes,
        program: &str,
        arguments: &[&str],
        patience: Duration,
    ) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            processes.all_alive()?;
            match self.output(program, arguments).await {
                Ok(printed) => return Ok(printed),
                Err(err) if Instant::now() > deadline => return Err(format!("{err}\n{}", processes.tails()).into()),
                Err(_) => tokio::time::sleep(GLANCE).await,
            }
        }
    }

    async fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .invocation(program, arguments)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|err| format!("failed to run {program}: {err}"))?;
        let (printed, told) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(printed);
        }
        let command = format!("{program} {}", arguments.join(" "));
        Err(format!("`{command}` failed ({}): {}{}", output.status, printed.trim_end(), told.trim_end()).into())
    }

    fn invocation(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.path(program));
        command.args(arguments).current_dir(self.directory);
        command
    }
}

fn show(site: &Site, program: &str, arguments: &[&str], redirection: &str) {
    say(&format!("{}> {program} {}{redirection}", site.name, arguments.join(" ")));
}

/// Nobody may be listening any more, which is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "a program for people")]
pub(crate) fn complain(err: &dyn Error) {
    eprintln!("quickstart: {err}");
}
