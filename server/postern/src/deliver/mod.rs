//! Connections to next hops: takes messages, returns outcomes. It never touches the spool and decides no policy; what
//! a failure means is `postern_core::bounce`'s.
