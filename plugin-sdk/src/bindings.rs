//! What wit-bindgen makes of `../wit`. Plugins use the wrappers of the other modules; only `export_plugin!` reaches in
//! here.
//!
//! Each hook has a world of its own, so that a plugin's component exports the hooks it implements and no stubs.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub mod imports {
    wit_bindgen::generate!({ path: "../wit", world: "sdk-imports" });
}

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit",
        world: "sdk-lifecycle",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
    });
}

pub mod rewrite {
    wit_bindgen::generate!({
        path: "../wit",
        world: "sdk-rewrite",
        pub_export_macro: true,
        export_macro_name: "export_rewrite",
        with: {
            "postern:plugin/types@0.1.0": crate::bindings::imports::postern::plugin::types,
            "postern:plugin/session@0.1.0": crate::bindings::imports::postern::plugin::session,
            "postern:plugin/envelope@0.1.0": crate::bindings::imports::postern::plugin::envelope,
            "postern:plugin/message@0.1.0": crate::bindings::imports::postern::plugin::message,
        },
    });
}
