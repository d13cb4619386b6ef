//! What the server is up to, for who debugs it.
