//! The entries an agent may get: whole, or what has changed since it last asked.
