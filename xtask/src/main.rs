//! Chores of this workspace: `cargo run -p xtask -- VERB`.

mod check_docs;
mod check_layers;
mod generate;
mod scenario;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run -p xtask -- VERB

  gen             write the code that is generated from our .proto files
  check-gen       fail when that code is stale
  check-layers    fail when a crate depends on one that it may not
  check-docs      fail when docs/ARCHITECTURE.md names what does not exist
  library-crates  print the library crates, a line each
  scenario        run the quickstart from end to end, in a browser where there is one
                  [--debug] [--https-web] [--grpc] [--screenshot FILE]
";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]
fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("gen") => generate::run(root),
        Some("check-gen") => generate::check(root),
        Some("check-layers") => check_layers::run(),
        Some("check-docs") => check_docs::run(root),
        Some("library-crates") => {
            check_layers::library_crates().for_each(|name| println!("{name}"));
            Ok(())
        }
        Some("scenario") => scenario::run(root, &arguments),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}
