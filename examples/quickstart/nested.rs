//! Servers of one trust domain, one above the others: the steps of SPIRE's tutorial on nesting, as processes.
//!
//! A server below another is a workload of an agent of the upper one. Here that is root's agent, which recognises the
//! two by their programs: each runs a copy of its own.

use std::fs;

use tokio::time::Instant;

use crate::process::Processes;
use crate::site::Site;
use crate::steps::{PATIENCE, Steps, say};
use crate::{Result, config, start_agent};

const AUDIENCE: &str = "nested-test";

/// Root, `nestedA` and `nestedB`, each with an agent, and a token of each of the two shown at the other's agent.
pub(crate) async fn scenario(steps: &Steps<'_>, processes: &mut Processes) -> Result<()> {
    let begin = Instant::now();
    let [root, nested_a, nested_b] = Site::nested()?;
    let user = format!("unix:uid:{}", rustix::process::getuid().as_raw());

    steps.title("Start root's server, and an agent of it");
    start_server(steps, processes, &root, None, "spire-server").await?;
    start_agent(steps, processes, &root).await?;
    steps.until_healthy(processes, &root, "spire-agent", &root.agent_socket()).await?;

    steps.title("Register the servers that root signs for, and start them");
    for site in [&nested_a, &nested_b] {
        let program = own_program(steps, site)?;
        register(steps, &root, site.name, &format!("unix:path:{program}"), &["-downstream"]).await?;
        start_server(steps, processes, site, Some(&root), &program).await?;
    }

    steps.title("Start their agents");
    for site in [&nested_a, &nested_b] {
        start_agent(steps, processes, site).await?;
    }
    for site in [&nested_a, &nested_b] {
        steps.until_healthy(processes, site, "spire-agent", &site.agent_socket()).await?;
    }

    steps.title("Register a workload at each");
    for site in [&nested_a, &nested_b] {
        register(steps, site, &format!("{}/workload", site.name), &user, &[]).await?;
    }

    steps.title("A token of one is valid at the other's agent: every server knows the JWT keys of all");
    for (issuer, verifier) in [(&nested_a, &nested_b), (&nested_b, &nested_a)] {
        show_token(steps, processes, issuer, verifier).await?;
    }
    say(&format!("\nAll was shown after {:.1} s.", begin.elapsed().as_secs_f32()));
    Ok(())
}

async fn start_server(
    steps: &Steps<'_>,
    processes: &mut Processes,
    site: &Site,
    upstream: Option<&Site>,
    program: &str,
) -> Result<()> {
    fs::create_dir_all(steps.directory.join(site.name))?;
    let file = site.file("server.conf");
    fs::write(steps.directory.join(&file), config::nested_server(site, upstream))?;
    steps.start(processes, site, "server", program, &["run", "-config", &file])?;
    steps.until_healthy(processes, site, "spire-server", &site.server_socket()).await
}

/// A copy of the server's program, whose path tells this server from others.
fn own_program(steps: &Steps<'_>, site: &Site) -> Result<String> {
    let directory = steps.directory.join(site.name);
    fs::create_dir(&directory)?;
    let path = directory.canonicalize()?.join("spire-server");
    fs::copy(steps.programs.path("spire-server"), &path)?;
    Ok(path.display().to_string())
}

async fn register(steps: &Steps<'_>, site: &Site, path: &str, selector: &str, more: &[&str]) -> Result<()> {
    let (parent, id) = (site.host_id(), format!("spiffe://{}/{path}", site.trust_domain));
    let socket = site.server_socket();
    let create = ["entry", "create", "-parentID", &parent, "-spiffeID", &id, "-selector", selector];
    let arguments = [&create[..], more, &["-socketPath", &socket]];
    steps.command(site, "spire-server", &arguments.concat()).await?;
    Ok(())
}

/// A server's first JWT key signs when the others have had the time to learn it: until then there is no token.
async fn show_token(steps: &Steps<'_>, processes: &mut Processes, issuer: &Site, verifier: &Site) -> Result<()> {
    let (from, to) = (issuer.agent_socket(), verifier.agent_socket());
    let fetch = ["api", "fetch", "jwt", "-audience", AUDIENCE, "-socketPath", &from];
    say(&format!("{}> token=$(spire-agent {} | sed -n '2p')", issuer.name, fetch.join(" ")));
    let printed = steps.until_granted(processes, "spire-agent", &fetch, PATIENCE).await?;
    let token = printed.lines().nth(1).ok_or_else(|| format!("spire-agent printed no token: {printed}"))?.trim();
    let validate = ["api", "validate", "jwt", "-audience", AUDIENCE, "-svid", token, "-socketPath", &to];
    let shown = validate.map(|word| if word == token { "\"${token}\"" } else { word }).join(" ");
    steps.command_as(verifier, &format!("spire-agent {shown}"), "spire-agent", &validate).await?;
    Ok(())
}
