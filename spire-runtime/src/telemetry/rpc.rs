//! What calls of an API are counted as.

/// The key of a method, given by its full name: `/spire.api.server.agent.v1.Agent/AttestAgent` is
/// `rpc.agent.v1.agent.attest_agent`.
#[must_use]
pub fn rpc_key(full_method: &str) -> Vec<String> {
    let (service, method) = full_method.trim_start_matches('/').split_once('/').unwrap_or_default();
    let short: Option<&[&str]> = match service {
        "grpc.health.v1.Health" => Some(&["health"]),
        "spire.api.server.logger.v1.Logger" | "spire.api.agent.logger.v1.Logger" => Some(&["logger"]),
        "spire.api.agent.debug.v1.Debug" => Some(&["debug"]),
        "spire.api.agent.delegatedidentity.v1.DelegatedIdentity" => Some(&["delegated_identity"]),
        "SpiffeWorkloadAPI" => Some(&["workload_api"]),
        "envoy.service.secret.v3.SecretDiscoveryService" => Some(&["sds", "v3"]),
        _ => None,
    };
    let service = match short {
        Some(short) => short.iter().map(|part| (*part).to_owned()).collect(),
        None => service.trim_start_matches("spire.api.server.").split('.').map(snake_case).collect::<Vec<_>>(),
    };
    let method = snake_case(method);
    std::iter::once("rpc".to_owned()).chain(service).chain([method]).collect()
}

/// SPIRE's own rule: an upper-case letter inside the word that has a lower-case neighbour begins a part.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 8);
    for (at, letter) in letters.iter().enumerate() {
        let lower = |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(|c| c.is_lowercase());
        let is_inside = at != 0 && at + 1 != letters.len();
        if letter.is_uppercase()
            && is_inside
            && (lower(at.checked_sub(1)) || lower(Some(at + 1)))
            && !snake.ends_with('_')
        {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_spires_keys() {
        for (method, key) in [
            ("/spire.api.server.agent.v1.Agent/AttestAgent", "rpc.agent.v1.agent.attest_agent"),
            ("/spire.api.server.svid.v1.SVID/BatchNewX509SVID", "rpc.svid.v1.svid.batch_new_x509svid"),
            ("/spire.api.server.svid.v1.SVID/MintX509SVID", "rpc.svid.v1.svid.mint_x509svid"),
            ("/spire.api.server.svid.v1.SVID/NewJWTSVID", "rpc.svid.v1.svid.new_jwtsvid"),
            (
                "/spire.api.server.trustdomain.v1.TrustDomain/RefreshBundle",
                "rpc.trustdomain.v1.trust_domain.refresh_bundle",
            ),
            (
                "/spire.api.server.localauthority.v1.LocalAuthority/GetX509AuthorityState",
                "rpc.localauthority.v1.local_authority.get_x509_authority_state",
            ),
            ("/spire.api.server.logger.v1.Logger/GetLogger", "rpc.logger.get_logger"),
            ("/grpc.health.v1.Health/Check", "rpc.health.check"),
            ("/SpiffeWorkloadAPI/FetchX509SVID", "rpc.workload_api.fetch_x509svid"),
            ("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", "rpc.sds.v3.stream_secrets"),
        ] {
            assert_eq!(rpc_key(method).join("."), key);
        }
    }
}
