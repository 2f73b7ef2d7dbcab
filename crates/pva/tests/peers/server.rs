//! What clients see of our server.
