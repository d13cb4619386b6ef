//! The `systemd` attestor: which unit the process belongs to, as systemd tells over the system bus.
//!
//! Selectors: `id` (the unit's name) and `fragment_path` (its file). A process without a unit, and a bus or systemd that
//! does not answer, are errors.

use async_trait::async_trait;
use spire_types::Selector;
use tokio::sync::Mutex;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Proxy};

use super::{Workload, WorkloadAttestor};
use crate::{Error, SystemdError};

/// The method's name in configurations, and the type of its selectors.
pub const NAME: &str = "systemd";

/// Attests processes by their unit. There is nothing to configure.
#[derive(Debug, Default)]
pub struct SystemdAttestor {
    /// Where the bus is; `None` for the system's (`DBUS_SYSTEM_BUS_ADDRESS` may name it).
    address: Option<String>,
    /// Kept from call to call.
    connection: Mutex<Option<Connection>>,
}

impl SystemdAttestor {
    /// An attestor that asks on the system bus, once it has to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An attestor that asks on another bus: `unix:path=/run/some/socket`.
    #[must_use]
    pub fn on_bus(address: String) -> Self {
        Self { address: Some(address), ..Self::default() }
    }

    async fn connection(&self) -> Result<Connection, SystemdError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let connecting = match &self.address {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::system(),
        };
        let connection = connecting.build().await.map_err(|err| SystemdError::Connect(err.to_string()))?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    /// The next call connects anew.
    async fn forget(&self) {
        self.connection.lock().await.take();
    }
}

#[async_trait]
impl WorkloadAttestor for SystemdAttestor {
    fn name(&self) -> &str {
        NAME
    }

    async fn attest(&self, workload: &Workload) -> Result<Vec<Selector>, Error> {
        workload.check()?;
        let connection = self.connection().await?;
        let unit = unit_of(&connection, workload.pid()).await;
        // Whether the bus is still there does not matter: to connect again is cheap, and failures are rare.
        if unit.is_err() {
            self.forget().await;
        }
        let unit = unit?;
        workload.check()?;
        let values = [format!("id:{}", unit.id), format!("fragment_path:{}", unit.fragment_path)];
        Ok(values.into_iter().map(|value| Selector { kind: NAME.into(), value }).collect())
    }
}

struct Unit {
    id: String,
    fragment_path: String,
}

async fn unit_of(connection: &Connection, pid: u32) -> Result<Unit, SystemdError> {
    let failed = |err: zbus::Error| SystemdError::Unit { pid, reason: err.to_string() };
    let manager = Proxy::new(connection, SYSTEMD, MANAGER_PATH, MANAGER).await.map_err(failed)?;
    let path: OwnedObjectPath = manager.call("GetUnitByPID", &(pid,)).await.map_err(failed)?;
    Ok(Unit {
        id: property(connection, &path, "Id").await?,
        fragment_path: property(connection, &path, "FragmentPath").await?,
    })
}

async fn property(
    connection: &Connection,
    unit: &OwnedObjectPath,
    property: &'static str,
) -> Result<String, SystemdError> {
    let failed = |reason: String| SystemdError::Property { property, unit: unit.to_string(), reason };
    // Asked each time: what is kept of a unit may be of one that has gone.
    let properties = Proxy::new(connection, SYSTEMD, unit.clone(), "org.freedesktop.DBus.Properties")
        .await
        .map_err(|err| failed(err.to_string()))?;
    let value: OwnedVariant =
        properties.call("Get", &(UNIT, property)).await.map_err(|err: zbus::Error| failed(err.to_string()))?;
    String::try_from(value).map_err(|err| failed(err.to_string()))
}

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";

#[cfg(test)]
mod tests;
