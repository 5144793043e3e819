//! What wasmtime's `bindgen!` makes of `wit/`: every capability, and every hook that this version calls.
//!
//! No plugin implements that world: hooks are looked up one by one (`hooks.rs`), and a linker holds only the
//! capabilities that were granted (`grants.rs`).
#![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: r#"
        package postern:host;

        world called {
            import postern:plugin/session@0.1.0;
            import postern:plugin/envelope@0.1.0;
            import postern:plugin/message@0.1.0;
            import postern:plugin/credentials@0.1.0;
            import postern:plugin/routing@0.1.0;
            import postern:plugin/delivery@0.1.0;
            import postern:plugin/failures@0.1.0;
            import postern:plugin/exchange@0.1.0;
            import postern:plugin/log@0.1.0;
            import postern:plugin/config@0.1.0;
            import postern:plugin/metrics@0.1.0;
            import postern:plugin/http-client@0.1.0;
            import postern:plugin/kv@0.1.0;
            import postern:plugin/dns@0.1.0;
            import postern:plugin/clock@0.1.0;
            import postern:plugin/random@0.1.0;
            import postern:plugin/secrets@0.1.0;

            export postern:plugin/lifecycle@0.1.0;
            export postern:plugin/connect@0.1.0;
            export postern:plugin/auth@0.1.0;
            export postern:plugin/mail@0.1.0;
            export postern:plugin/rcpt@0.1.0;
            export postern:plugin/spam@0.1.0;
            export postern:plugin/rewrite@0.1.0;
            export postern:plugin/rewrite-part@0.1.0;
            export postern:plugin/route@0.1.0;
            export postern:plugin/delivery-before@0.1.0;
            export postern:plugin/bounce@0.1.0;
            export postern:plugin/event@0.1.0;
            export postern:plugin/http@0.1.0;
        }
    "#,
    world: "postern:host/called",
    imports: {
        default: trappable,
        // The host functions that wait for something.
        "postern:plugin/message.[method]message.read-body": async | trappable,
        "postern:plugin/message.[method]message.parts": async | trappable,
        "postern:plugin/message.[method]part.read": async | trappable,
        "postern:plugin/message.[method]part.text": async | trappable,
        "postern:plugin/message.[method]part.write": async | trappable,
        "postern:plugin/message.[method]part.set-text": async | trappable,
        "postern:plugin/message.[method]part.append": async | trappable,
        "postern:plugin/message.[method]part.append-text": async | trappable,
        "postern:plugin/delivery.[method]delivery.header": async | trappable,
        "postern:plugin/http-client.[method]request.body-part": async | trappable,
        "postern:plugin/http-client.[method]response.read": async | trappable,
        "postern:plugin/http-client.[method]response.body": async | trappable,
        "postern:plugin/http-client.send": async | trappable,
        "postern:plugin/kv.get": async | trappable,
        "postern:plugin/kv.set": async | trappable,
        "postern:plugin/kv.set-new": async | trappable,
        "postern:plugin/kv.delete": async | trappable,
        "postern:plugin/kv.keys": async | trappable,
        "postern:plugin/kv.increment": async | trappable,
        "postern:plugin/kv.counter": async | trappable,
        "postern:plugin/dns.lookup": async | trappable,
    },
    exports: { default: async },
    with: {
        "postern:plugin/session.session": super::state::SessionHandle,
        "postern:plugin/credentials.credentials": super::state::CredentialsHandle,
        "postern:plugin/envelope.envelope": super::state::EnvelopeHandle,
        "postern:plugin/envelope.recipient": super::state::RecipientHandle,
        "postern:plugin/message.message": super::state::MessageHandle,
        "postern:plugin/message.part": super::state::PartHandle,
        "postern:plugin/routing.routing": super::state::RoutingHandle,
        "postern:plugin/delivery.delivery": super::state::DeliveryHandle,
        "postern:plugin/failures.failures": super::state::FailuresHandle,
        "postern:plugin/exchange.request": super::state::RequestHandle,
        "postern:plugin/exchange.response": super::state::ResponseHandle,
        "postern:plugin/http-client.request": super::capabilities::HttpRequest,
        "postern:plugin/http-client.response": super::services::Incoming,
    },
    require_store_data_send: true,
});
