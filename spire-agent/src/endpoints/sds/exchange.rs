//! When a stream is to be answered.

use std::sync::Arc;

use spire_api::proto::envoy::core::Node;
use spire_api::proto::envoy::discovery::DiscoveryRequest;
use workload_api::X509Context;

/// State of one stream: what was asked last, what there is to answer with, and what was sent.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    context: Option<Arc<X509Context>>,
    request: Option<DiscoveryRequest>,
    node: Option<Node>,
    nonce: Option<String>,
    version: u64,
}

impl Exchange {
    /// Takes a request; true when it is to be answered. A reply to the last response asks for nothing but by other
    /// names; one to an earlier response is ignored.
    pub(super) fn request(&mut self, mut request: DiscoveryRequest) -> bool {
        if let Some(error) = &request.error_detail {
            tracing::error!(resource_names = ?request.resource_names, err = %error.message,
                "Envoy reported errors applying secrets");
        }
        if let Some(nonce) = &self.nonce {
            if *nonce != request.response_nonce {
                tracing::warn!(nonce = %request.response_nonce, expect = %nonce,
                    "Received unexpected nonce; ignoring request");
                return false;
            }
            if request.version_info != self.version() {
                tracing::error!(version_info = %request.version_info, expect = %self.version(),
                    "Client rejected expected version and rolled back");
            }
            if request.node.is_none() {
                request.node = self.node.clone();
            }
        }
        let changed =
            self.request.as_ref().is_none_or(|last| other_names(&last.resource_names, &request.resource_names));
        self.request = Some(request);
        changed && self.context.is_some()
    }

    /// Takes new identities; true when they are to be sent. The same again is not.
    pub(super) fn update(&mut self, context: Arc<X509Context>) -> bool {
        if self.context.as_ref().is_some_and(|last| last.same_as(&context)) {
            return false;
        }
        self.context = Some(context);
        self.version += 1;
        self.request.is_some()
    }

    /// What is to be answered, and with what.
    pub(super) fn pending(&self) -> Option<(&DiscoveryRequest, &X509Context)> {
        self.request.as_ref().zip(self.context.as_deref())
    }

    /// How many states there have been.
    pub(super) fn version(&self) -> String {
        self.version.to_string()
    }

    /// A response went out.
    pub(super) fn sent(&mut self, nonce: String) {
        self.nonce = Some(nonce);
        if let Some(node) = self.request.as_ref().and_then(|request| request.node.clone()) {
            self.node = Some(node);
        }
    }
}

fn other_names(last: &[String], next: &[String]) -> bool {
    last.len() != next.len() || next.iter().any(|name| !last.contains(name))
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;
    use workload_api::Identity;

    use super::*;

    fn context(authority: &TestAuthority) -> Arc<X509Context> {
        Arc::new(X509Context {
            identities: vec![Identity::new(authority.svid("/web"))],
            bundles: Arc::new(authority.bundles()),
        })
    }

    fn request(names: &[&str], version: &str, nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            version_info: version.into(),
            response_nonce: nonce.into(),
            ..DiscoveryRequest::default()
        }
    }

    #[test]
    fn whichever_comes_second_of_request_and_identities_is_answered() {
        let authority = TestAuthority::new("example.org");
        let mut exchange = Exchange::default();
        assert!(!exchange.request(request(&[], "", "")));
        assert!(exchange.update(context(&authority)));
        let mut exchange = Exchange::default();
        assert!(!exchange.update(context(&authority)));
        assert!(exchange.request(request(&[], "", "")));
        assert_eq!(exchange.version(), "1");
    }

    #[test]
    fn an_acknowledgement_and_a_rejection_are_not_answered_and_other_names_are() {
        let authority = TestAuthority::new("example.org");
        let mut exchange = Exchange::default();
        exchange.update(context(&authority));
        assert!(exchange.request(request(&["a"], "", "")));
        exchange.sent("n1".into());
        assert!(!exchange.request(request(&["a"], "1", "n1")));
        assert!(!exchange.request(request(&["a"], "", "n1")));
        assert!(!exchange.request(request(&["b"], "1", "n0")), "stale");
        assert!(exchange.request(request(&["b"], "1", "n1")));
        assert!(exchange.request(request(&["b", "c"], "1", "n1")));
        assert_eq!(exchange.version(), "1");
    }

    #[test]
    fn each_change_counts_and_the_same_again_does_not() {
        let authority = TestAuthority::new("example.org");
        let mut exchange = Exchange::default();
        exchange.request(request(&[], "", ""));
        let first = context(&authority);
        assert!(exchange.update(Arc::clone(&first)));
        assert!(!exchange.update(first));
        assert!(exchange.update(context(&authority)));
        assert_eq!(exchange.version(), "2");
    }

    #[test]
    fn a_node_is_remembered() {
        let authority = TestAuthority::new("example.org");
        let mut exchange = Exchange::default();
        exchange.update(context(&authority));
        let node = Some(Node { id: "envoy".into(), ..Node::default() });
        exchange.request(DiscoveryRequest { node: node.clone(), ..request(&["a"], "", "") });
        exchange.sent("n1".into());
        exchange.request(request(&["b"], "1", "n1"));
        assert_eq!(exchange.pending().unwrap().0.node, node);
    }
}
