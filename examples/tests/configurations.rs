//! The configuration files that the README starts with.

#[test]
fn the_servers_file_is_read_without_a_remark() {
    use spire_server::config::file::{Overrides, parse};

    let (_, problems) = parse("server.conf", include_str!("../conf/server.conf"), &Overrides::default()).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn the_agents_file_is_read_without_a_remark() {
    use spire_agent::config::file::{Overrides, parse};

    let overrides = Overrides { join_token: Some("token".into()), ..Overrides::default() };
    let (_, problems) = parse("agent.conf", include_str!("../conf/agent.conf"), &overrides).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
}
