//! `spire.api.agent.logger.v1.Logger`: the process's log level, while it runs.

use spire_api::proto::agent_logger::logger_server::{Logger, LoggerServer};
use spire_api::proto::agent_logger::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use spire_api::proto::types;
use spire_runtime::{LogLevel, Logging};
use tonic::{Request, Response, Status};

/// The service for a tonic router.
pub(super) fn logger_service(logging: Logging) -> LoggerServer<LoggerService> {
    LoggerServer::new(LoggerService { logging })
}

/// The RPCs.
#[derive(Debug)]
pub(super) struct LoggerService {
    logging: Logging,
}

#[tonic::async_trait]
impl Logger for LoggerService {
    async fn get_logger(&self, _: Request<GetLoggerRequest>) -> Result<Response<types::Logger>, Status> {
        Ok(self.told())
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let level = match types::LogLevel::try_from(request.get_ref().new_level) {
            Ok(types::LogLevel::Unspecified) => {
                return Err(Status::invalid_argument("newLevel value cannot be LogLevel_UNSPECIFIED"));
            }
            Ok(level) => from_proto(level),
            Err(_) => return Err(Status::invalid_argument("unsupported log level")),
        };
        tracing::info!(new_level = level.as_str(), "SetLogLevel called");
        self.logging.set_level(level);
        Ok(self.told())
    }

    async fn reset_log_level(&self, _: Request<ResetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        tracing::info!(launch_level = self.logging.launch_level().as_str(), "ResetLogLevel called");
        self.logging.set_level(self.logging.launch_level());
        Ok(self.told())
    }
}

impl LoggerService {
    fn told(&self) -> Response<types::Logger> {
        Response::new(types::Logger {
            current_level: to_proto(self.logging.level()).into(),
            launch_level: to_proto(self.logging.launch_level()).into(),
        })
    }
}

fn to_proto(level: LogLevel) -> types::LogLevel {
    match level {
        LogLevel::Panic => types::LogLevel::Panic,
        LogLevel::Fatal => types::LogLevel::Fatal,
        LogLevel::Error => types::LogLevel::Error,
        LogLevel::Warn => types::LogLevel::Warn,
        LogLevel::Info => types::LogLevel::Info,
        LogLevel::Debug => types::LogLevel::Debug,
        LogLevel::Trace => types::LogLevel::Trace,
    }
}

fn from_proto(level: types::LogLevel) -> LogLevel {
    match level {
        types::LogLevel::Panic => LogLevel::Panic,
        types::LogLevel::Fatal => LogLevel::Fatal,
        types::LogLevel::Error => LogLevel::Error,
        types::LogLevel::Warn => LogLevel::Warn,
        types::LogLevel::Unspecified | types::LogLevel::Info => LogLevel::Info,
        types::LogLevel::Debug => LogLevel::Debug,
        types::LogLevel::Trace => LogLevel::Trace,
    }
}
