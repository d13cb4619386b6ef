use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::testing;

fn id(name: &str) -> KeyId {
    KeyId::new(name).unwrap()
}

#[tokio::test]
async fn it_passes_the_suite() {
    let directory = tempfile::tempdir().unwrap();
    testing::suite(&DiskKeyManager::open(directory.path().join("keys.json")).await.unwrap()).await;
}

#[tokio::test]
async fn keys_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("made/below");
    let first = DiskKeyManager::open_in(&keys).await.unwrap();
    let made = first.generate_key(&id("agent-svid-A"), KeyType::EcP256).await.unwrap();
    drop(first);
    let second = DiskKeyManager::open_in(&keys).await.unwrap();
    let found = second.get_key(&id("agent-svid-A")).await.unwrap().unwrap();
    assert_eq!(found.public_key(), made.public_key());
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn the_file_is_spires_and_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let manager = DiskKeyManager::open(&path).await.unwrap();
    manager.generate_key(&id("b"), KeyType::EcP384).await.unwrap();
    manager.generate_key(&id("a"), KeyType::EcP256).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\n\t\"keys\": {\n\t\t\"a\": \"MI"), "{text:.30}");
    assert!(text.ends_with("\"\n\t}\n}"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["keys.json"], "nothing is left beside it");
}

#[tokio::test]
async fn a_crashed_write_is_swept_up_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    fs::write(beside(&path), "half").unwrap();
    let manager = DiskKeyManager::open(&path).await.unwrap();
    manager.generate_key(&id("a"), KeyType::EcP256).await.unwrap();
    assert!(!beside(&path).exists());
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_old_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let manager = DiskKeyManager::open(&path).await.unwrap();
    let old = manager.generate_key(&id("a"), KeyType::EcP256).await.unwrap();
    // A directory in the way of the file that is written beside.
    fs::create_dir_all(beside(&path).join("x")).unwrap();
    assert!(matches!(manager.generate_key(&id("a"), KeyType::EcP256).await, Err(Error::Io { .. })));
    let kept = manager.get_key(&id("a")).await.unwrap().unwrap();
    assert_eq!(kept.public_key(), old.public_key());
    let reopened = DiskKeyManager::open(&path).await.unwrap().get_key(&id("a")).await.unwrap().unwrap();
    assert_eq!(reopened.public_key(), old.public_key());
}

#[tokio::test]
async fn damaged_files_are_refused_without_showing_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    for (text, expected) in [
        ("", "is malformed: no JSON of keys at line 1"),
        ("{\"keys\":{\"a\":7}}", "is malformed: no JSON of keys"),
        ("{\"keys\":{\"a\":\"!secret!\"}}", "key \"a\" is no base64"),
        ("{\"keys\":{\"a\":\"c2VjcmV0\"}}", "key \"a\" in"),
        ("{\"keys\":{\"\":\"c2VjcmV0\"}}", "key id of 0 bytes"),
    ] {
        fs::write(&path, text).unwrap();
        let message = DiskKeyManager::open(&path).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("secret") && !message.contains("c2Vj"), "{message}");
    }
    fs::write(&path, "{\"keys\":{},\"added later\":1}").unwrap();
    assert!(DiskKeyManager::open(&path).await.unwrap().keys().await.unwrap().is_empty());
}

/// Written by a SPIRE 1.15.3 server, which is gone.
const OF_SPIRE: &str = include_str!("spire-1.15.3.keys.json");

#[tokio::test]
async fn the_file_of_a_spire_server_is_read_and_written_back_to_the_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    fs::write(&path, OF_SPIRE).unwrap();
    let manager = DiskKeyManager::open(&path).await.unwrap();
    for name in ["x509-CA-A", "JWT-Signer-A"] {
        let signer = manager.get_key(&id(name)).await.unwrap().unwrap();
        assert_eq!(signer.public_key().key_type(), Some(KeyType::EcP256));
    }
    write(&path, &read(&path).unwrap()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), OF_SPIRE);
}
