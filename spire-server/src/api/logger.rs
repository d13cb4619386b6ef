//! The log level, at run time.

use spire_api::proto::logger::logger_server::Logger;
use spire_api::proto::logger::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use spire_api::proto::types;
use spire_runtime::{LogLevel, Logging};
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(crate) struct LoggerService(Logging);

impl LoggerService {
    /// Changes the level of `logging`.
    pub(crate) fn new(logging: Logging) -> Self {
        Self(logging)
    }

    fn answer(&self) -> Response<types::Logger> {
        Response::new(types::Logger {
            current_level: to_proto(self.0.level()).into(),
            launch_level: to_proto(self.0.launch_level()).into(),
        })
    }
}

#[tonic::async_trait]
impl Logger for LoggerService {
    async fn get_logger(&self, _: Request<GetLoggerRequest>) -> Result<Response<types::Logger>, Status> {
        tracing::info!("GetLogger Called");
        Ok(self.answer())
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let level = from_proto(request.get_ref().new_level)?;
        tracing::info!(new_log_level = level.as_str(), "SetLogLevel Called");
        self.0.set_level(level);
        Ok(self.answer())
    }

    async fn reset_log_level(&self, _: Request<ResetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let level = self.0.launch_level();
        tracing::info!(launch_log_level = level.as_str(), "ResetLogLevel Called");
        self.0.set_level(level);
        Ok(self.answer())
    }
}

fn from_proto(wire: i32) -> Result<LogLevel, Status> {
    Ok(match types::LogLevel::try_from(wire) {
        Ok(types::LogLevel::Panic) => LogLevel::Panic,
        Ok(types::LogLevel::Fatal) => LogLevel::Fatal,
        Ok(types::LogLevel::Error) => LogLevel::Error,
        Ok(types::LogLevel::Warn) => LogLevel::Warn,
        Ok(types::LogLevel::Info) => LogLevel::Info,
        Ok(types::LogLevel::Debug) => LogLevel::Debug,
        Ok(types::LogLevel::Trace) => LogLevel::Trace,
        Ok(types::LogLevel::Unspecified) => {
            return Err(Status::invalid_argument("newLevel value cannot be LogLevel_UNSPECIFIED"));
        }
        Err(_) => return Err(Status::invalid_argument("unsupported log level")),
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spire_runtime::{LogFormat, SystemClock};
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn the_level_changes_and_goes_back_to_that_of_the_launch() {
        let logging = Logging::open(LogLevel::Info, LogFormat::Text, None, Arc::new(SystemClock)).unwrap();
        let service = LoggerService::new(logging.clone());
        let levels =
            |answer: Response<types::Logger>| (answer.get_ref().current_level(), answer.get_ref().launch_level());
        let set = |new_level| service.set_log_level(Request::new(SetLogLevelRequest { new_level }));

        let answer = set(types::LogLevel::Debug.into()).await.unwrap();
        assert_eq!(levels(answer), (types::LogLevel::Debug, types::LogLevel::Info));
        assert_eq!(logging.level(), LogLevel::Debug);
        for (level, message) in [
            (0, "newLevel value cannot be LogLevel_UNSPECIFIED"),
            (8, "unsupported log level"),
            (-1, "unsupported log level"),
        ] {
            let refused = set(level).await.unwrap_err();
            assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, message));
        }
        let answer = service.get_logger(Request::new(GetLoggerRequest {})).await.unwrap();
        assert_eq!(levels(answer), (types::LogLevel::Debug, types::LogLevel::Info));
        let answer = service.reset_log_level(Request::new(ResetLogLevelRequest {})).await.unwrap();
        assert_eq!(levels(answer), (types::LogLevel::Info, types::LogLevel::Info));
    }
}
