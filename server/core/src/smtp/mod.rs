//! SMTP without I/O.
