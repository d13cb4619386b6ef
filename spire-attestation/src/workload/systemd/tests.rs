use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::*;

#[tokio::test]
async fn a_process_is_told_by_its_unit() {
    let dir = tempfile::tempdir().unwrap();
    let attestor = SystemdAttestor::on_bus(bus(&dir.path().join("bus")));
    for _ in 0..2 {
        let selectors = attestor.attest(&Workload::new(42, Arc::new(|| true))).await.unwrap();
        let selectors: Vec<_> = selectors.iter().map(ToString::to_string).collect();
        assert_eq!(selectors, ["systemd:id:web.service", "systemd:fragment_path:/etc/systemd/web.service"]);
    }
}

#[tokio::test]
async fn a_process_without_unit_is_an_error_and_the_next_caller_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let attestor = SystemdAttestor::on_bus(bus(&dir.path().join("bus")));
    let error = attestor.attest(&Workload::new(7, Arc::new(|| true))).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to get unit by process 7: "), "{error}");
    attestor.attest(&Workload::new(42, Arc::new(|| true))).await.unwrap();
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let attestor = SystemdAttestor::on_bus(format!("unix:path={}", dir.path().join("bus").display()));
    let error = attestor.attest(&Workload::new(42, Arc::new(|| true))).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to open dbus connection: "), "{error}");
}

#[tokio::test]
async fn a_caller_who_has_gone_is_not_asked_for() {
    let gone = Workload::new(42, Arc::new(|| false));
    let error = SystemdAttestor::on_bus("unix:path=/nowhere".into()).attest(&gone).await.unwrap_err();
    assert!(matches!(error, Error::Process(_)), "{error}");
}

/// A bus with systemd on it, which knows process 42.
fn bus(path: &Path) -> String {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    format!("unix:path={}", path.display())
}

async fn serve(stream: UnixStream) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let answer = match line.trim_start_matches('\0').split_whitespace().next() {
            Some("AUTH") => "OK 0123456789abcdef0123456789abcdef\r\n",
            Some("BEGIN") => break,
            _ => "ERROR\r\n",
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        line.clear();
    }
    let mut head = [0; 16];
    while stream.read_exact(&mut head).await.is_ok() {
        assert_eq!(head[0], b'l');
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (body, serial, fields) = (number(4) as usize, number(8), number(12) as usize);
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        stream.read_exact(&mut rest).await.unwrap();
        let says = |text: &str| rest.windows(text.len()).any(|window| window == text.as_bytes());
        let answer = if says("Hello") {
            reply(serial, "s", &string(":1.1"))
        } else if says("GetUnitByPID") && rest.ends_with(&42u32.to_le_bytes()) {
            reply(serial, "o", &string("/org/freedesktop/systemd1/unit/web_2eservice"))
        } else if says("FragmentPath") {
            reply(serial, "v", &[b"\x01s\0\0".as_slice(), &string("/etc/systemd/web.service")].concat())
        } else if says("Get\0") {
            reply(serial, "v", &[b"\x01s\0\0".as_slice(), &string("web.service")].concat())
        } else if says("GetUnitByPID") {
            error(serial, "org.freedesktop.systemd1.NoUnitForPID")
        } else {
            continue;
        };
        stream.write_all(&answer).await.unwrap();
    }
}

/// A length, the text and a zero.
fn string(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes(), b"\0"].concat()
}

fn reply(serial: u32, signature: &str, body: &[u8]) -> Vec<u8> {
    let signature = [&[8, 1, b'g', 0, u8::try_from(signature.len()).unwrap()], signature.as_bytes(), b"\0"].concat();
    message(2, serial, &signature, body)
}

fn error(serial: u32, name: &str) -> Vec<u8> {
    message(3, serial, &[&[4, 1, b's', 0], string(name).as_slice()].concat(), &[])
}

/// An answer to the call of that serial number, with one more header field.
fn message(kind: u8, serial: u32, field: &[u8], body: &[u8]) -> Vec<u8> {
    let answered = [&[5, 1, b'u', 0], &serial.to_le_bytes()[..]].concat();
    let fields = [answered.as_slice(), field].concat();
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut message =
        [&[b'l', kind, 1, 1][..], &number(body.len()), &1u32.to_le_bytes(), &number(fields.len())].concat();
    message.extend(fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(body);
    message
}
