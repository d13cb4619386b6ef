//! Whether the page shows quotes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process::Processes;
use crate::{GLANCE, Result};

/// How long the programs may take to get their identities and to meet.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the page's data says that the quotes service answers.
pub(crate) async fn until_live(page: SocketAddr, processes: &mut Processes) -> Result<()> {
    let asking = async {
        loop {
            processes.all_alive()?;
            match data(page).await {
                Ok(data) if data.contains(r#""available":true"#) => return Ok(()),
                _ => tokio::time::sleep(GLANCE).await,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("the page shows no quotes after {PATIENCE:?}\n{}", processes.tails()).into()),
    }
}

async fn data(page: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(page).await?;
    stream.write_all(b"GET /quotes.json HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
