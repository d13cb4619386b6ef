//! An answered write survives `kill -9`, and the log has no hole: a child writes and says what was answered, and is
//! killed in the middle of it, again and again, on the same database.
//!
//! Not under the usual harness, because the program starts itself anew as the child.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use spiffe_core::{SpiffeId, Timestamp};
use spire_datastore::{Changes, Created, Entries as _, Log as _, Revision, SqliteStore};
use spire_types::{EntryId, RegistrationEntry};

/// How often the child is killed.
const ROUNDS: u64 = 100;
/// How many of the child's tasks write at a time, so that commits hold several writes.
const WRITERS: u64 = 8;
/// Says that the arguments after it are the child's.
const CHILD: &str = "write-until-killed";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, CHILD, path, round] => runtime.block_on(write_until_killed(Path::new(path), round)),
        [_, .., "--list"] => println!("answered_writes_survive_kill_9: test"),
        _ => runtime.block_on(answered_writes_survive_kill_9()),
    }
}

async fn write_until_killed(path: &Path, round: &str) {
    let store = SqliteStore::open(path).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let (store, round) = (store.clone(), round.to_owned());
        tokio::spawn(async move {
            for number in 0_u64.. {
                write(&store, &format!("{round}-{writer}-{number}")).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

async fn write(store: &SqliteStore, name: &str) {
    let id = SpiffeId::parse(&format!("spiffe://example.org/{name}")).unwrap();
    let parent = SpiffeId::parse("spiffe://example.org/node").unwrap();
    let selectors = vec![format!("unix:user:{name}").parse().unwrap(), "unix:uid:1".parse().unwrap()];
    let entry = RegistrationEntry::new(id, parent, selectors);
    let created = store.create_entry(entry, EntryId::parse(name).unwrap(), Timestamp::from_unix(0)).await.unwrap();
    let Created::New(_, revision) = created else { panic!("{name} is there already") };
    // One write of the whole line: nothing that was answered stays behind in a buffer.
    std::io::stdout().lock().write_all(format!("{} {name}\n", revision.0).as_bytes()).unwrap();
}

async fn answered_writes_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut answered: BTreeSet<String> = BTreeSet::new();
    for round in 0..ROUNDS {
        let survivors = kill_one_child(&path, round, Duration::from_micros(rng.next_u64() % 30_000));
        answered.extend(survivors);
        check(&path, &answered).await;
    }
    println!("{} answered writes survived {ROUNDS} kills", answered.len());
}

/// Starts a child, kills it some time after its first answer, and returns what it said was answered.
fn kill_one_child(path: &Path, round: u64, after: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([CHILD, path.to_str().unwrap(), &round.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    // The pipe still holds whatever was said before the end.
    std::iter::once(first).chain(lines.map(Result::unwrap)).collect()
}

/// Each answered write is there, and the revisions are those of the entries, one each.
async fn check(path: &Path, answered: &BTreeSet<String>) {
    let store = SqliteStore::open(path).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let stored: BTreeSet<&str> =
        snapshot.entries.iter().filter_map(|entry| entry.id.as_ref()).map(EntryId::as_str).collect();
    for line in answered {
        let (revision, name) = line.split_once(' ').unwrap();
        assert!(stored.contains(name), "{name} was answered and is lost");
        assert!(revision.parse::<u64>().unwrap() <= snapshot.revision.0);
    }
    let revisions: BTreeSet<&str> = answered.iter().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    assert_eq!(revisions.len(), answered.len(), "a revision was given twice");
    assert_eq!(snapshot.revision, Revision(stored.len() as u64), "the log has a hole, or a write is not in it");
    let since = Revision(snapshot.revision.0.saturating_sub(1000));
    match store.changes_since(since).await.unwrap() {
        Changes::Since(newest, changes) => {
            assert_eq!((newest, changes.len() as u64), (snapshot.revision, newest.0 - since.0));
        }
        other => panic!("{other:?}"),
    }
}
