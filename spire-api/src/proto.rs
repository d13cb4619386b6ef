//! The generated messages and services, by SPIRE's packages.
//!
//! | here | package |
//! |---|---|
//! | [`types`] | `spire.api.types` |
//! | [`agent`], [`bundle`], [`debug`], [`entry`], [`localauthority`], [`logger`], [`svid`], [`trustdomain`] | `spire.api.server.*.v1` |
//! | [`agent_debug`] | `spire.agent.debug.v1` (without `api`, unlike all others) |
//! | [`agent_logger`], [`delegated_identity`] | `spire.api.agent.*.v1` |
//! | [`ext_registry`] | `spire.ext.registry.v1`, which is beyond SPIRE |
//! | [`envoy`] | `envoy.*.v3`, as much as secret discovery needs |

pub use packages::spire::agent::debug::v1 as agent_debug;
pub use packages::spire::api::agent::delegatedidentity::v1 as delegated_identity;
pub use packages::spire::api::agent::logger::v1 as agent_logger;
pub use packages::spire::api::server::agent::v1 as agent;
pub use packages::spire::api::server::bundle::v1 as bundle;
pub use packages::spire::api::server::debug::v1 as debug;
pub use packages::spire::api::server::entry::v1 as entry;
pub use packages::spire::api::server::localauthority::v1 as localauthority;
pub use packages::spire::api::server::logger::v1 as logger;
pub use packages::spire::api::server::svid::v1 as svid;
pub use packages::spire::api::server::trustdomain::v1 as trustdomain;
pub use packages::spire::api::types;
pub use packages::spire::ext::registry::v1 as ext_registry;

/// Envoy's secret discovery.
pub mod envoy {
    pub use super::packages::envoy::config::core::v3 as core;
    pub use super::packages::envoy::extensions::transport_sockets::tls::v3 as tls;
    pub use super::packages::envoy::service::discovery::v3 as discovery;
    pub use super::packages::envoy::service::secret::v3 as secret;
    pub use super::packages::google::rpc;

    /// These definitions as an encoded `FileDescriptorSet`, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!("gen/envoy_descriptors.bin");
}

/// SPIRE's definitions as an encoded `FileDescriptorSet`, for reflection and for tests that enumerate methods.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");

/// The nesting that generated code expects of its packages.
#[allow(clippy::all, missing_docs, unused_qualifications, unreachable_pub, reason = "generated code")]
#[allow(clippy::pedantic, clippy::missing_errors_doc, clippy::indexing_slicing, reason = "generated code")]
#[allow(clippy::allow_attributes_without_reason, clippy::wildcard_imports, reason = "generated code")]
#[allow(clippy::needless_pass_by_value, clippy::semicolon_if_nothing_returned, reason = "generated code")]
mod packages {
    pub mod envoy {
        pub mod config {
            pub mod core {
                pub mod v3 {
                    include!("gen/envoy.config.core.v3.rs");
                }
            }
        }
        pub mod extensions {
            pub mod transport_sockets {
                pub mod tls {
                    pub mod v3 {
                        include!("gen/envoy.extensions.transport_sockets.tls.v3.rs");
                    }
                }
            }
        }
        pub mod service {
            pub mod discovery {
                pub mod v3 {
                    include!("gen/envoy.service.discovery.v3.rs");
                }
            }
            pub mod secret {
                pub mod v3 {
                    include!("gen/envoy.service.secret.v3.rs");
                }
            }
        }
    }
    pub mod google {
        pub mod rpc {
            include!("gen/google.rpc.rs");
        }
    }
    pub mod spire {
        pub mod ext {
            pub mod registry {
                pub mod v1 {
                    include!("gen/spire.ext.registry.v1.rs");
                }
            }
        }
        pub mod agent {
            pub mod debug {
                pub mod v1 {
                    include!("gen/spire.agent.debug.v1.rs");
                }
            }
        }
        pub mod api {
            pub mod types {
                include!("gen/spire.api.types.rs");
            }
            pub mod agent {
                pub mod delegatedidentity {
                    pub mod v1 {
                        include!("gen/spire.api.agent.delegatedidentity.v1.rs");
                    }
                }
                pub mod logger {
                    pub mod v1 {
                        include!("gen/spire.api.agent.logger.v1.rs");
                    }
                }
            }
            pub mod server {
                pub mod agent {
                    pub mod v1 {
                        include!("gen/spire.api.server.agent.v1.rs");
                    }
                }
                pub mod bundle {
                    pub mod v1 {
                        include!("gen/spire.api.server.bundle.v1.rs");
                    }
                }
                pub mod debug {
                    pub mod v1 {
                        include!("gen/spire.api.server.debug.v1.rs");
                    }
                }
                pub mod entry {
                    pub mod v1 {
                        pub use crate::authorized_entries::{
                            GetAuthorizedEntriesResponse, SyncAuthorizedEntriesResponse,
                        };

                        include!("gen/spire.api.server.entry.v1.rs");
                    }
                }
                pub mod localauthority {
                    pub mod v1 {
                        include!("gen/spire.api.server.localauthority.v1.rs");
                    }
                }
                pub mod logger {
                    pub mod v1 {
                        include!("gen/spire.api.server.logger.v1.rs");
                    }
                }
                pub mod svid {
                    pub mod v1 {
                        include!("gen/spire.api.server.svid.v1.rs");
                    }
                }
                pub mod trustdomain {
                    pub mod v1 {
                        include!("gen/spire.api.server.trustdomain.v1.rs");
                    }
                }
            }
        }
    }
}
