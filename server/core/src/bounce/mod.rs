//! Reading failures: which reply means what for the message. The whole failure policy is one table.
