//! What the commands on the Workload API have in common: the socket, the header, the deadline.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use workload_api::client::MAX_RESPONSE_LENGTH;
use workload_api::proto::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use workload_api::server::SECURITY_HEADER;

use crate::error::Error;
use crate::socket::WorkloadSocket;
use crate::terminal::Terminal;

pub(super) type Client = SpiffeWorkloadApiClient<InterceptedService<Channel, AddHeader>>;
type AddHeader = fn(Request<()>) -> Result<Request<()>, Status>;

pub(super) fn client(socket: &WorkloadSocket, terminal: &Terminal) -> Result<Client, Error> {
    let channel = InterceptedService::new(socket.open(terminal)?, add_header as AddHeader);
    Ok(Client::new(channel).max_decoding_message_size(MAX_RESPONSE_LENGTH))
}

fn add_header(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert(SECURITY_HEADER, MetadataValue::from_static("true"));
    Ok(request)
}

/// How long each call may take.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Timeout {
    /// How long to wait for an answer
    #[arg(long = "timeout", value_name = "value", default_value = "5s", value_parser = crate::go::parse_duration)]
    timeout: Duration,
}

impl Timeout {
    /// Waits for a call; a limit of nothing is none.
    pub(super) async fn wait<T>(self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Error> {
        if self.timeout.is_zero() {
            return Ok(call.await?);
        }
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Status::deadline_exceeded("context deadline exceeded").into()),
        }
    }

    /// Waits for a call, for its answer alone.
    pub(super) async fn answer<T>(self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
        Ok(self.wait(call).await?.into_inner())
    }
}
