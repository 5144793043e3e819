//! What wit-bindgen makes of `../wit`. Plugins use the wrappers of the other modules; only `export_plugin!` reaches in
//! here.
//!
//! Each hook has a world of its own, so that a plugin's component exports the hooks it implements and no stubs. All of
//! them share the types of one world of imports.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub mod imports {
    wit_bindgen::generate!({ path: "../wit", world: "sdk-imports" });
}

/// The bindings of one hook: module, world, name of its export macro, and the interfaces that its functions name.
macro_rules! hook {
    ($module:ident, $world:tt, $export:tt, [$($interface:tt = $imported:ident),*]) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                with: { $($interface: crate::bindings::imports::postern::plugin::$imported),* },
            });
        }
    };
}

hook!(lifecycle, "sdk-lifecycle", "export_lifecycle", []);
hook!(
    connect,
    "sdk-connect",
    "export_connect",
    ["postern:plugin/types@0.1.0" = types, "postern:plugin/session@0.1.0" = session]
);
hook!(
    auth,
    "sdk-auth",
    "export_auth",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/session@0.1.0" = session,
        "postern:plugin/credentials@0.1.0" = credentials
    ]
);
hook!(
    mail,
    "sdk-mail",
    "export_mail",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/session@0.1.0" = session,
        "postern:plugin/envelope@0.1.0" = envelope
    ]
);
hook!(
    rcpt,
    "sdk-rcpt",
    "export_rcpt",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/session@0.1.0" = session,
        "postern:plugin/envelope@0.1.0" = envelope
    ]
);
hook!(
    spam,
    "sdk-spam",
    "export_spam",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/session@0.1.0" = session,
        "postern:plugin/envelope@0.1.0" = envelope,
        "postern:plugin/message@0.1.0" = message
    ]
);
hook!(
    rewrite,
    "sdk-rewrite",
    "export_rewrite",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/session@0.1.0" = session,
        "postern:plugin/envelope@0.1.0" = envelope,
        "postern:plugin/message@0.1.0" = message
    ]
);
hook!(
    rewrite_part,
    "sdk-rewrite-part",
    "export_rewrite_part",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/session@0.1.0" = session,
        "postern:plugin/envelope@0.1.0" = envelope,
        "postern:plugin/message@0.1.0" = message
    ]
);
hook!(
    route,
    "sdk-route",
    "export_route",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/session@0.1.0" = session,
        "postern:plugin/envelope@0.1.0" = envelope,
        "postern:plugin/message@0.1.0" = message,
        "postern:plugin/routing@0.1.0" = routing
    ]
);
hook!(
    sign,
    "sdk-sign",
    "export_sign",
    [
        "postern:plugin/types@0.1.0" = types,
        "postern:plugin/delivery@0.1.0" = delivery,
        "postern:plugin/signing@0.1.0" = signing
    ]
);
hook!(
    delivery_before,
    "sdk-delivery-before",
    "export_delivery_before",
    ["postern:plugin/types@0.1.0" = types, "postern:plugin/delivery@0.1.0" = delivery]
);
hook!(
    bounce,
    "sdk-bounce",
    "export_bounce",
    ["postern:plugin/types@0.1.0" = types, "postern:plugin/failures@0.1.0" = failures]
);
hook!(event, "sdk-event", "export_event", []);
hook!(
    http,
    "sdk-http",
    "export_http",
    ["postern:plugin/types@0.1.0" = types, "postern:plugin/exchange@0.1.0" = exchange]
);
