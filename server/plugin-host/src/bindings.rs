//! What wasmtime's `bindgen!` makes of `wit/`: the world `all`, with every hook and every capability.
//!
//! No plugin implements that world: hooks are looked up one by one (`hooks.rs`), and a linker holds only the
//! capabilities that were granted (`grants.rs`).
#![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "all",
    imports: {
        default: trappable,
        // The only host function that waits for anything.
        "postern:plugin/message.[method]message.read-body": async | trappable,
    },
    exports: { default: async },
    with: {
        "postern:plugin/session.session": super::state::SessionHandle,
        "postern:plugin/envelope.envelope": super::state::EnvelopeHandle,
        "postern:plugin/message.message": super::state::MessageHandle,
    },
    require_store_data_send: true,
});
