//! The configuration files, as the tutorial has them.

use crate::site::Site;
use crate::web::{self, Web};

/// `server.conf` of a site that federates with another: by `https_spiffe`, but for the broker's endpoint where that is
/// certified in the Web PKI.
pub(crate) fn server(site: &Site, other: &Site, web: Option<&Web>) -> String {
    let Site { name, trust_domain, server_port, bundle_port, .. } = site;
    let (other_domain, other_port) = (other.trust_domain, other.bundle_port);
    let served = web.filter(|_| site.is_broker()).map_or_else(|| "\"https_spiffe\" {}".to_owned(), Web::profile);
    let (other_host, fetched) = if web.is_some() && other.is_broker() {
        (web::NAME, "\"https_web\" {}".to_owned())
    } else {
        let id = format!("spiffe://{other_domain}/spire/server");
        ("127.0.0.1", format!("\"https_spiffe\" {{\n                endpoint_spiffe_id = \"{id}\"\n            }}"))
    };
    format!(
        r#"server {{
    bind_address = "127.0.0.1"
    bind_port = "{server_port}"
    socket_path = "{name}/server.sock"
    trust_domain = "{trust_domain}"
    data_dir = "{name}/server"
    log_level = "INFO"
    default_x509_svid_ttl = "1h"
    ca_subject = {{
        country = ["US"],
        organization = ["SPIFFE"],
        common_name = "",
    }}

    federation {{
        bundle_endpoint {{
            address = "127.0.0.1"
            port = {bundle_port}
            profile {served}
        }}
        federates_with "{other_domain}" {{
            bundle_endpoint_url = "https://{other_host}:{other_port}"
            bundle_endpoint_profile {fetched}
        }}
    }}
}}

plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "sqlite3"
            connection_string = "{name}/server/datastore.sqlite3"
        }}
    }}

    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}

    KeyManager "disk" {{
        plugin_data {{
            keys_path = "{name}/server/keys.json"
        }}
    }}
}}
"#
    )
}

/// `server.conf` of a site that is signed by another, or by nobody.
pub(crate) fn nested_server(site: &Site, upstream: Option<&Site>) -> String {
    let Site { name, trust_domain, server_port, .. } = site;
    let upstream_authority = upstream.map_or_else(String::new, |upstream| {
        let (port, socket) = (upstream.server_port, upstream.agent_socket());
        format!(
            r#"
    UpstreamAuthority "spire" {{
        plugin_data = {{
            server_address = "127.0.0.1"
            server_port = {port}
            workload_api_socket = "{socket}"
        }}
    }}
"#
        )
    });
    format!(
        r#"server {{
    bind_address = "127.0.0.1"
    bind_port = "{server_port}"
    socket_path = "{name}/server.sock"
    trust_domain = "{trust_domain}"
    data_dir = "{name}/server"
    log_level = "INFO"
    ca_ttl = "24h"
}}

plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "sqlite3"
            connection_string = "{name}/server/datastore.sqlite3"
        }}
    }}

    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}

    KeyManager "memory" {{
        plugin_data {{}}
    }}
{upstream_authority}}}
"#
    )
}

/// `agent.conf` of a site. It asks its server for changes each second; the default would be five.
pub(crate) fn agent(site: &Site) -> String {
    let Site { name, trust_domain, server_port, .. } = site;
    format!(
        r#"agent {{
    data_dir = "{name}/agent"
    log_level = "INFO"
    server_address = "127.0.0.1"
    server_port = "{server_port}"
    socket_path = "{name}/agent.sock"
    trust_bundle_path = "{name}/bundle.pem"
    trust_domain = "{trust_domain}"
    experimental {{
        sync_interval = "1s"
    }}
}}

plugins {{
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}

    KeyManager "memory" {{
        plugin_data {{}}
    }}

    WorkloadAttestor "unix" {{
        plugin_data {{
            discover_workload_path = true
        }}
    }}
}}
"#
    )
}
