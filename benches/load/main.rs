//! A load generator that speaks SPIRE's APIs only, so that it drives our binaries and SPIRE's alike.
//!
//! `cargo run --release -p benches --bin load` prints the table of `benches/README.md`, and draws its two plots into
//! `benches/results/`. It builds nothing: the binaries are looked for beside itself, SPIRE's in the folder that
//! `SPIRE_BIN` names. What is compared is the CPU time of the process under test per operation; the subjects take
//! turns within one run.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "what measures asks for the time")]

mod deployment;
mod idle;
mod latency;
mod measure;
mod node;
mod plot;
mod process;
mod registry;
mod report;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use clap::Parser;

use crate::deployment::{Deployment, Subject};
use crate::measure::Turn;
use crate::plot::Line;
use crate::report::Report;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const TRUST_DOMAIN: &str = "example.org";
const OURS: &str = "ours";
const SPIRE: &str = "spire";
/// The node of the agent that is a process.
const AGENT_NODE: &str = "/agent";

#[derive(Parser)]
struct Options {
    /// Folder of our binaries; by default the one of this program
    #[arg(long)]
    ours: Option<PathBuf>,
    /// Folder of SPIRE's binaries
    #[arg(long, env = "SPIRE_BIN")]
    spire: Option<PathBuf>,
    /// How many entries the large registry holds; 0 leaves its rows out
    #[arg(long, default_value_t = 100_000)]
    entries: usize,
    /// How many entries the huge registry of ours holds; 0 leaves its rows out
    #[arg(long, default_value_t = 1_000_000)]
    huge: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Turns of each subject and row
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Samples of each latency, for SPIRE a tenth of them
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Folder that keeps large registries from run to run
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Folder for the plots and the table
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
    /// Folder with a README.md whose table is replaced, and that gets the plots too
    #[arg(long)]
    publish: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let beside = std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default();
    let mut subjects = vec![Subject { name: OURS, binaries: options.ours.clone().unwrap_or(beside) }];
    subjects.extend(options.spire.clone().map(|binaries| Subject { name: SPIRE, binaries }));
    let scratch = tempfile::tempdir()?;
    let mut run =
        Run { options, subjects, report: Report::default(), latencies: BTreeMap::new(), costs: BTreeMap::new() };
    run.sizes()?;
    run.small(scratch.path()).await?;
    if run.options.entries > 0 {
        run.large(scratch.path()).await?;
    }
    if run.options.huge > 0 {
        run.huge(scratch.path()).await?;
    }
    run.write()
}

/// One run: what it was asked for and what it found.
struct Run {
    options: Options,
    subjects: Vec<Subject>,
    report: Report,
    latencies: BTreeMap<&'static str, Vec<f64>>,
    /// Cost of a created entry, by subject and number of entries.
    costs: BTreeMap<&'static str, Vec<(f64, f64)>>,
}

impl Run {
    fn length(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    fn samples(&self, subject: &Subject) -> usize {
        if subject.name == OURS { self.options.samples } else { self.options.samples.div_ceil(10) }
    }

    fn sizes(&mut self) -> Result<(), Failure> {
        for subject in self.subjects.clone() {
            for (title, goal, path) in [
                ("stripped binary, server", "< 15 MiB", subject.server_binary()),
                ("stripped binary, agent", "< 12 MiB", subject.agent_binary()),
            ] {
                self.report.add(title, "MiB", goal, subject.name, &[stripped_mib(&path)?]);
            }
        }
        Ok(())
    }

    /// Rows on a registry that is empty but for what they need.
    async fn small(&mut self, scratch: &Path) -> Result<(), Failure> {
        let mut deployments = Vec::new();
        for subject in self.subjects.clone() {
            let folder = scratch.join(subject.name);
            let deployment = Deployment::start(&subject, &folder).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.report.add(
                "idle resident memory, server",
                "MiB",
                "< 15 MiB",
                subject.name,
                &[deployment.server.resident_mib()?],
            );
            deployments.push(deployment);
        }
        self.starts(scratch, "start to ready, server, empty", "≥ 2.5×").await?;

        self.turns(
            "MintX509SVID, admin socket",
            "≥ 4×",
            deployments.iter().map(|d| Ok((d, rows::mint_x509(d)?))).collect::<Result<_, Failure>>()?,
        )
        .await?;
        self.turns("MintJWTSVID, admin socket", "≥ 5×", deployments.iter().map(|d| (d, rows::mint_jwt(d))).collect())
            .await?;
        self.turns(
            "AttestAgent, join token, new TLS connection",
            "≥ 3.7×",
            deployments.iter().map(|d| (d, rows::attest(d))).collect(),
        )
        .await?;

        let mut nodes = Vec::new();
        for deployment in &deployments {
            nodes.push(prepare(deployment).await?);
        }
        let both = || deployments.iter().zip(&nodes);
        self.turns(
            "GetBundle over mTLS: what a call costs as such",
            "",
            both().map(|(d, n)| (d, rows::bundle(d, &n.small))).collect(),
        )
        .await?;
        let mut singles = Vec::new();
        let mut fifties = Vec::new();
        for (deployment, node) in both() {
            singles.push((
                deployment,
                rows::batch_x509(deployment, &node.large, node.ids.get(..1).unwrap_or_default()).await?,
            ));
            fifties.push((
                deployment,
                rows::batch_x509(deployment, &node.large, node.ids.get(..registry::BATCH).unwrap_or_default()).await?,
            ));
        }
        self.turns("BatchNewX509SVID over mTLS, 1 a call", "≥ 5×", singles).await?;
        self.turns("BatchNewX509SVID over mTLS, 50 a call", "≥ 4×", fifties).await?;
        self.turns(
            "NewJWTSVID over mTLS",
            "≥ 8×",
            both().map(|(d, n)| (d, rows::new_jwt(d, &n.large, n.ids.first().map_or("", String::as_str)))).collect(),
        )
        .await?;
        self.turns(
            "SyncAuthorizedEntries, nothing changed, 10 entries",
            "≥ 6×",
            both().map(|(d, n)| (d, rows::sync(d, &n.small))).collect(),
        )
        .await?;
        self.turns(
            "SyncAuthorizedEntries, nothing changed, 1,000 entries",
            "≥ 6×",
            both().map(|(d, n)| (d, rows::sync(d, &n.large))).collect(),
        )
        .await?;
        self.turns(
            "GetAuthorizedEntries, 10 entries",
            "≥ 7×",
            both().map(|(d, n)| (d, rows::authorized(d, &n.small))).collect(),
        )
        .await?;
        self.turns(
            "GetAuthorizedEntries, 1,000 entries",
            "≥ 4×",
            both().map(|(d, n)| (d, rows::authorized(d, &n.large))).collect(),
        )
        .await?;

        for deployment in &deployments {
            self.agent(deployment).await?;
            let load = idle::connected_agents(deployment, 100, Duration::from_secs(20)).await?;
            self.report.add(
                "server CPU, 100 agents connected and synced, empty registry",
                "% of a core",
                "< 0.5 %",
                deployment.subject.name,
                &[load.cpu],
            );
        }
        self.creates(&deployments, "BatchCreateEntry, 50 a call, empty", "≥ 10×", 0).await?;
        for deployment in deployments {
            deployment.server.stop()?;
        }
        self.database_calls(scratch).await
    }

    /// Counting costs time, so that servers that count are started for this alone.
    async fn database_calls(&mut self, scratch: &Path) -> Result<(), Failure> {
        for subject in self.subjects.clone() {
            let folder = scratch.join(format!("{}-metered", subject.name));
            let deployment = Deployment::start_metered(&subject, &folder).await?;
            let load = idle::connected_agents(&deployment, 100, Duration::from_secs(20)).await?;
            let calls = load.database_calls.ok_or("no metrics")?;
            let title = "calls of the database, 100 agents connected and synced";
            self.report.add(title, "a second", "none by an agent", subject.name, &[calls]);
            deployment.server.stop()?;
        }
        Ok(())
    }

    /// Rows of the agent and of latency on one registry.
    async fn agent(&mut self, deployment: &Deployment) -> Result<(), Failure> {
        let name = deployment.subject.name;
        let agent = deployment.agent("agent", AGENT_NODE).await?;
        self.report.add(
            "start to ready, agent, attested",
            "ms",
            "faster",
            name,
            &[agent.ready_after.as_secs_f64() * 1e3],
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.report.add("idle resident memory, agent", "MiB", "< 10 MiB", name, &[agent.process.resident_mib()?]);
        let samples = self.samples(&deployment.subject);
        let first = latency::first_entry(deployment, &agent, AGENT_NODE, samples.min(20)).await?;
        self.report.add("first entry of a workload → first SVID", "ms p99", "< 250 ms", name, &first);
        let ids = registry::create(deployment.admin(), vec![registry::own_workload(AGENT_NODE, "workload")]).await?;
        let client = agent.client()?;
        // SPIRE's servers sign X.509-SVIDs of an entry some seconds before JWT-SVIDs.
        latency::wait(Duration::from_secs(30), || async {
            Ok(client.fetch_x509_context().await.is_ok() && client.fetch_jwt_svids(&["bench"], None).await.is_ok())
        })
        .await?;
        let mut turn = rows::fetch_x509(&agent);
        for _ in 0..self.options.turns {
            let figure = turn(self.length()).await?;
            self.report.add_turn("Workload API, new connection → first X.509-SVID", "≥ 5×", name, figure);
        }
        drop(turn);
        let mut turn = rows::fetch_jwt(&agent)?;
        for _ in 0..self.options.turns {
            let figure = turn(self.length()).await?;
            self.report.add_turn("FetchJWTSVID, cached", "≥ 6×", name, figure);
        }
        drop(turn);
        let latencies = latency::on_open_stream(deployment, &agent, AGENT_NODE, samples).await?;
        self.report.add("entry create → SVID on an open stream, empty", "ms p99", "p99 < 250 ms", name, &latencies);
        self.latencies.entry(name).or_default().extend(latencies);
        let held = latency::held_streams(&agent, 1000).await?;
        self.report.add("agent holding 1,000 idle streams", "MiB", "< 35 MiB", name, &[held]);
        registry::delete(deployment.admin(), ids).await?;
        agent.process.stop()
    }

    /// Rows on a registry with many entries.
    async fn large(&mut self, scratch: &Path) -> Result<(), Failure> {
        let entries = self.options.entries;
        let keep = self.options.keep.clone().unwrap_or_else(|| scratch.to_owned());
        let mut deployments = Vec::new();
        for subject in self.subjects.clone() {
            let kept = keep.join(format!("{}-{entries}", subject.name));
            let folder = scratch.join(format!("{}-with-{entries}", subject.name));
            fill(&subject, &kept, entries).await?;
            copy(&kept, &folder)?;
            let deployment = Deployment::start(&subject, &folder).await?;
            let name = subject.name;
            self.report.add(
                "start to ready, server, 100,000 entries",
                "ms",
                "≥ 5×",
                name,
                &[deployment.ready_after.as_secs_f64() * 1e3],
            );
            tokio::time::sleep(Duration::from_secs(10)).await;
            self.report.add(
                "resident memory, server, 100,000 entries",
                "MiB",
                "< 80 MiB",
                name,
                &[deployment.server.resident_mib()?],
            );
            let load = idle::connected_agents(&deployment, 100, Duration::from_secs(20)).await?;
            self.report.add(
                "server CPU, 100 agents connected and synced, 100,000 entries",
                "% of a core",
                "< 0.5 %",
                name,
                &[load.cpu],
            );
            let agent = deployment.agent("agent", AGENT_NODE).await?;
            let latencies =
                latency::on_open_stream_from_nothing(&deployment, &agent, AGENT_NODE, self.samples(&subject)).await?;
            self.report.add(
                "entry create → SVID on an open stream, 100,000 entries",
                "ms p99",
                "p99 < 250 ms",
                name,
                &latencies,
            );
            agent.process.stop()?;
            deployments.push(deployment);
        }
        self.creates(&deployments, "BatchCreateEntry, 50 a call, 100,000 entries", "≥ 100×", entries).await?;
        for deployment in deployments {
            deployment.server.stop()?;
        }
        Ok(())
    }

    /// Start and memory with very many entries: ours alone.
    async fn huge(&mut self, scratch: &Path) -> Result<(), Failure> {
        let entries = self.options.huge;
        let Some(subject) = self.subjects.first().cloned() else { return Ok(()) };
        let keep = self.options.keep.clone().unwrap_or_else(|| scratch.to_owned());
        let kept = keep.join(format!("{}-{entries}", subject.name));
        let folder = scratch.join(format!("{}-with-{entries}", subject.name));
        fill(&subject, &kept, entries).await?;
        copy(&kept, &folder)?;
        let deployment = Deployment::start(&subject, &folder).await?;
        self.report.add(
            "start to ready, server, 1,000,000 entries",
            "ms",
            "< 4 s",
            OURS,
            &[deployment.ready_after.as_secs_f64() * 1e3],
        );
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.report.add(
            "resident memory, server, 1,000,000 entries",
            "MiB",
            "< 700 MiB",
            OURS,
            &[deployment.server.resident_mib()?],
        );
        deployment.server.stop()
    }

    /// Starts each subject's server anew, in turns.
    async fn starts(&mut self, scratch: &Path, title: &str, goal: &'static str) -> Result<(), Failure> {
        for turn in 0..self.options.turns {
            for subject in self.subjects.clone() {
                let deployment =
                    Deployment::start(&subject, &scratch.join(format!("start-{}-{turn}", subject.name))).await?;
                self.report.add(title, "ms", goal, subject.name, &[deployment.ready_after.as_secs_f64() * 1e3]);
                deployment.server.stop()?;
            }
        }
        Ok(())
    }

    /// Lets the subjects take turns at one row.
    async fn turns(
        &mut self,
        title: &str,
        goal: &'static str,
        mut rows: Vec<(&Deployment, Turn<'_>)>,
    ) -> Result<(), Failure> {
        for _ in 0..self.options.turns {
            for (deployment, turn) in &mut rows {
                let figure =
                    turn(self.length()).await.map_err(|err| format!("{title}, {}: {err}", deployment.subject.name))?;
                self.report.add_turn(title, goal, deployment.subject.name, figure);
            }
        }
        Ok(())
    }

    async fn creates(
        &mut self,
        deployments: &[Deployment],
        title: &str,
        goal: &'static str,
        there: usize,
    ) -> Result<(), Failure> {
        let next = Arc::new(AtomicUsize::new(there));
        for _ in 0..self.options.turns {
            for deployment in deployments {
                let figure = rows::create(deployment, &next)(self.length()).await?;
                let name = deployment.subject.name;
                self.report.add_turn(title, goal, name, figure);
                #[expect(clippy::cast_precision_loss, reason = "far fewer entries than 2^52")]
                self.costs.entry(name).or_default().push((there.max(1) as f64, figure.cpu_us));
            }
        }
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "the table is what the program is for")]
    fn write(&self) -> Result<(), Failure> {
        let names: Vec<_> = self.subjects.iter().map(|subject| subject.name).collect();
        let options = &self.options;
        let table = format!(
            "{}; `--entries {} --huge {} --turns {} --seconds {} --samples {}`.\n\n{}",
            machine(),
            options.entries,
            options.huge,
            options.turns,
            options.seconds,
            options.samples,
            self.report.markdown(&names)
        );
        let lines: Vec<_> = self
            .costs
            .iter()
            .map(|(name, points)| Line { name: (*name).to_owned(), color: plot::color(name), points: points.clone() })
            .collect();
        let costs = plot::logarithmic("Cost of one created entry", "entries already there", "µs of CPU", &lines);
        let latencies = plot::distribution(&self.latencies);
        std::fs::create_dir_all(&options.results)?;
        std::fs::write(options.results.join("table.md"), &table)?;
        for folder in [Some(&options.results), options.publish.as_ref()].into_iter().flatten() {
            std::fs::write(folder.join("cost.svg"), &costs)?;
            std::fs::write(folder.join("latency.svg"), &latencies)?;
        }
        println!("{table}");
        match &options.publish {
            Some(folder) => publish(&folder.join("README.md"), &table),
            None => Ok(()),
        }
    }
}

/// What the figures were taken on.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |it| it.1);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

/// Where in the page the table stands.
const BEGINS: &str = "<!-- what load writes begins -->\n";
const ENDS: &str = "<!-- what load writes ends -->";

fn publish(page: &Path, table: &str) -> Result<(), Failure> {
    let text = std::fs::read_to_string(page)?;
    let (before, rest) = text.split_once(BEGINS).ok_or("the page does not say where its table begins")?;
    let (_, after) = rest.split_once(ENDS).ok_or("the page does not say where its table ends")?;
    std::fs::write(page, format!("{before}{BEGINS}\n{table}\n{ENDS}{after}"))?;
    Ok(())
}

/// Nodes with 10 and 1,000 entries.
struct Nodes {
    small: node::Dialer,
    large: node::Dialer,
    /// Entries of the large one.
    ids: Vec<String>,
}

async fn prepare(deployment: &Deployment) -> Result<Nodes, Failure> {
    let small = node::join(deployment, "/small").await?;
    let large = node::join(deployment, "/large").await?;
    registry::create(deployment.admin(), (0..10).map(|number| registry::below("/small", number)).collect()).await?;
    let mut ids = Vec::new();
    for first in (0..1000).step_by(registry::BATCH) {
        let entries = (first..first + registry::BATCH).map(|number| registry::below("/large", number)).collect();
        ids.extend(registry::create(deployment.admin(), entries).await?);
    }
    // SPIRE's servers see new entries after their next reload.
    tokio::time::sleep(Duration::from_secs(11)).await;
    Ok(Nodes { small, large, ids })
}

/// Makes a registry with so many entries in a folder, unless an earlier run has.
async fn fill(subject: &Subject, folder: &Path, entries: usize) -> Result<(), Failure> {
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(());
    }
    let deployment = Deployment::start(subject, folder).await?;
    let mut running = tokio::task::JoinSet::new();
    for caller in 0..4 {
        let channel = deployment.admin();
        running.spawn(async move {
            let mut first = caller * registry::BATCH;
            while first < entries {
                registry::create(channel.clone(), (first..first + registry::BATCH).map(registry::filler).collect())
                    .await?;
                first += 4 * registry::BATCH;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(outcome) = running.join_next().await {
        outcome??;
    }
    deployment.server.stop()?;
    Ok(std::fs::write(complete, "")?)
}

/// Copies what a server has on disk: a run works on a copy, and leaves the registry as it was filled.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let data = to.join("data");
    std::fs::create_dir_all(&data)?;
    for file in std::fs::read_dir(from.join("data"))? {
        let file = file?;
        std::fs::copy(file.path(), data.join(file.file_name()))?;
    }
    Ok(())
}

/// Size without symbols, in MiB.
fn stripped_mib(path: &Path) -> Result<f64, Failure> {
    let copy = tempfile::NamedTempFile::new()?;
    std::fs::copy(path, copy.path()).map_err(|err| format!("{}: {err}", path.display()))?;
    std::process::Command::new("strip").arg(copy.path()).status()?;
    #[expect(clippy::cast_precision_loss, reason = "a file's size")]
    Ok(copy.path().metadata()?.len() as f64 / f64::from(1 << 20))
}
