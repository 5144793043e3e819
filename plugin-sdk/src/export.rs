//! `export_plugin!`: makes a component's exports of a type and the hooks it implements.

/// Exports a plugin: its type, then the hooks it implements. Only those are exported, so the server calls it nowhere
/// else. Outside of WebAssembly it exports nothing, and the type can be tested like any other.
///
/// ```
/// use postern_plugin_sdk::prelude::*;
///
/// struct Quiet;
///
/// impl Plugin for Quiet {
///     type Config = NoConfig;
///
///     fn init(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Rewrite for Quiet {
///     fn rewrite(&mut self, _: &Session, _: &Envelope, message: &Message) -> Result<()> {
///         message.remove_header("X-Mailer")?;
///         Ok(())
///     }
/// }
///
/// export_plugin!(Quiet: Rewrite);
/// ```
///
/// A hook that does not exist is an error that lists those that do, and so is one whose trait is not implemented:
///
/// ```compile_fail
/// # use postern_plugin_sdk::prelude::*;
/// # struct Quiet;
/// # impl Plugin for Quiet {
/// #     type Config = NoConfig;
/// #     fn init(_: NoConfig) -> Result<Self> { Ok(Self) }
/// # }
/// export_plugin!(Quiet: Rewriter);
/// ```
///
/// ```compile_fail,E0277
/// # use postern_plugin_sdk::prelude::*;
/// # struct Quiet;
/// # impl Plugin for Quiet {
/// #     type Config = NoConfig;
/// #     fn init(_: NoConfig) -> Result<Self> { Ok(Self) }
/// # }
/// export_plugin!(Quiet: Rewrite);
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ident: $($hook:ident),+ $(,)?) => {
        // Natively: the same checks, and no warnings about a plugin that nobody makes.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            $($crate::__check_hook!($hook, $plugin);)+
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
            $($crate::__export_hook!($hook);)+
        };
    };
    ($($other:tt)*) => {
        ::core::compile_error!("write `export_plugin!(Type: Hook, Hook, …)`");
    };
}

/// Is there a hook of this name, and does the plugin implement it?
#[doc(hidden)]
#[macro_export]
macro_rules! __check_hook {
    ($hook:ident, $plugin:ident) => { $crate::__check_hook!(@ $hook $hook, $plugin); };
    (@ Connect $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Auth $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Mail $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Rcpt $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Spam $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Rewrite $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ RewritePart $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Route $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Sign $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ DeliveryBefore $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Bounce $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Events $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ Http $($rest:tt)*) => { $crate::__check_hook!(! $($rest)*); };
    (@ $other:ident $($rest:tt)*) => { $crate::__no_such_hook!($other); };
    (! $hook:ident, $plugin:ident) => {
        {
            const fn implements<P: $crate::$hook>() {}
            implements::<$plugin>();
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __no_such_hook {
    ($other:ident) => {
        ::core::compile_error!(::core::concat!(
            "there is no hook `",
            ::core::stringify!($other),
            "`; there are: Connect, Auth, Mail, Rcpt, Spam, Rewrite, ",
            "RewritePart, Route, Sign, DeliveryBefore, Bounce, Events, Http"
        ));
    };
}

/// One hook's exports: the bindings' trait, by the method of `Instance` that has the same name.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (Connect) => { $crate::__export_hook!(connect, connect, export_connect, {
        fn connect(session: &Session) -> Verdict;
    }); };
    (Auth) => { $crate::__export_hook!(auth, auth, export_auth, {
        fn authenticate(session: &Session, credentials: &Credentials) -> AuthVerdict;
    }); };
    (Mail) => { $crate::__export_hook!(mail, mail, export_mail, {
        fn mail(session: &Session, envelope: &Envelope) -> Verdict;
    }); };
    (Rcpt) => { $crate::__export_hook!(rcpt, rcpt, export_rcpt, {
        fn rcpt(session: &Session, envelope: &Envelope, recipient: &Recipient) -> Verdict;
    }); };
    (Spam) => { $crate::__export_hook!(spam, spam, export_spam, {
        fn check(session: &Session, envelope: &Envelope, message: &Message) -> SpamVerdict;
    }); };
    (Rewrite) => { $crate::__export_hook!(rewrite, rewrite, export_rewrite, {
        fn rewrite(session: &Session, envelope: &Envelope, message: &Message) -> Nothing;
    }); };
    (Route) => { $crate::__export_hook!(route, route, export_route, {
        fn route(session: &Session, envelope: &Envelope, message: &Message, routing: &Routing) -> Nothing;
    }); };
    (Sign) => { $crate::__export_hook!(sign, sign, export_sign, {
        fn sign(delivery: &Delivery, signing: &Signing) -> Nothing;
    }); };
    (DeliveryBefore) => { $crate::__export_hook!(delivery_before, delivery_before, export_delivery_before, {
        fn before(delivery: &Delivery) -> Decision;
    }); };
    (Bounce) => { $crate::__export_hook!(bounce, bounce, export_bounce, {
        fn bounce(failures: &Failures) -> Nothing;
    }); };
    (Http) => { $crate::__export_hook!(http, http, export_http, {
        fn handle(request: &Request, response: &Response) -> Nothing;
    }); };
    (RewritePart) => {
        // Its function has the name of another hook's.
        const _: () = {
            use $crate::bindings::rewrite_part as hook;
            use $crate::instance_types::*;

            impl hook::exports::postern::plugin::rewrite_part::Guest for Exports {
                fn select(session: &Session, envelope: &Envelope, message: &Message, part: &Part) -> Answer<bool> {
                    INSTANCE.with(|instance| instance.select(session, envelope, message, part))
                }

                fn rewrite(session: &Session, envelope: &Envelope, message: &Message, part: &Part) -> Answer<()> {
                    INSTANCE.with(|instance| instance.rewrite_part(session, envelope, message, part))
                }
            }
            hook::export_rewrite_part!(Exports with_types_in $crate::bindings::rewrite_part);
        };
    };
    (Events) => {
        const _: () = {
            use $crate::instance_types::*;

            impl $crate::bindings::event::exports::postern::plugin::event::Guest for Exports {
                fn events(batch: ::std::vec::Vec<::std::string::String>) -> Answer<()> {
                    INSTANCE.with(|instance| instance.events(&batch))
                }
            }
            $crate::bindings::event::export_event!(Exports with_types_in $crate::bindings::event);
        };
    };
    ($module:ident, $interface:ident, $export:ident, {
        fn $function:ident($($argument:ident: &$type:ident),+) -> $answer:ident;
    }) => {
        const _: () = {
            use $crate::instance_types::*;

            impl $crate::bindings::$module::exports::postern::plugin::$interface::Guest for Exports {
                fn $function($($argument: &$type),+) -> Answer<$answer> {
                    INSTANCE.with(|instance| instance.$function($($argument),+))
                }
            }
            $crate::bindings::$module::$export!(Exports with_types_in $crate::bindings::$module);
        };
    };
    ($other:ident) => { $crate::__no_such_hook!($other); };
}
