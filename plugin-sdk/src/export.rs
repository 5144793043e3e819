//! `export_plugin!`: makes a component's exports of a type and the hooks it implements.

/// Exports a plugin: its type, then the hooks it implements. Only those are exported, so the server calls it nowhere
/// else. Outside of WebAssembly it exports nothing, and the type can be tested like any other.
///
/// ```text
/// export_plugin!(HeaderRewrite: Rewrite);
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ident: $($hook:ident),+ $(,)?) => {
        // Natively: the same checks, and no warnings about a plugin that nobody makes.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            $({
                const fn implements<P: $crate::$hook>() {}
                implements::<$plugin>();
            })+
            let _ = <$plugin as $crate::Plugin>::init;
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exports;

            ::std::thread_local! {
                static INSTANCE: $crate::Instance<$plugin> = const { $crate::Instance::new() };
            }

            // Name and version, for the log and the authorship of changes.
            const ABOUT: &str = ::core::concat!(
                ::core::env!("CARGO_PKG_NAME"), "@", ::core::env!("CARGO_PKG_VERSION")
            );
            #[used]
            #[unsafe(link_section = "postern:plugin")]
            static ABOUT_SECTION: [u8; ABOUT.len()] = *ABOUT.as_bytes().first_chunk().expect("its own length");

            impl $crate::bindings::lifecycle::exports::postern::plugin::lifecycle::Guest for Exports {
                fn init(config_json: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                    INSTANCE.with(|instance| instance.init(&config_json))
                }
            }
            $crate::bindings::lifecycle::export_lifecycle!(Exports with_types_in $crate::bindings::lifecycle);
            $($crate::__export_hook!($hook, $plugin);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (Rewrite, $plugin:ident) => {
        impl $crate::bindings::rewrite::exports::postern::plugin::rewrite::Guest for Exports {
            fn rewrite(
                session: &$crate::bindings::imports::postern::plugin::session::Session,
                envelope: &$crate::bindings::imports::postern::plugin::envelope::Envelope,
                message: &$crate::bindings::imports::postern::plugin::message::Message,
            ) -> ::core::result::Result<(), ::std::string::String> {
                INSTANCE.with(|instance| instance.rewrite(session, envelope, message))
            }
        }
        $crate::bindings::rewrite::export_rewrite!(Exports with_types_in $crate::bindings::rewrite);
    };
    ($other:ident, $plugin:ident) => {
        ::core::compile_error!(::core::concat!("there is no hook `", ::core::stringify!($other), "`; there is: Rewrite"));
    };
}
