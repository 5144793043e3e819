//! The capability `wasi` of builds with that feature: WASI 0.2 with nothing in it, for languages whose runtime can't do
//! without. There are clocks and random numbers; no files, environment, arguments or network, standard input is at its
//! end, and what is written to standard output goes nowhere.

use crate::state::GuestState;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// The WASI of one instance. Its handles live as long as the instance: runtimes keep those of standard streams.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
}

/// Handles that a guest may hold at once.
const MAX_HANDLES: usize = 1000;

impl Default for Wasi {
    fn default() -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let mut builder = WasiCtxBuilder::new();
        // Names are not looked up either.
        builder.allow_ip_name_lookup(false).allow_tcp(false).allow_udp(false);
        Self { context: builder.build(), table }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi.context, table: &mut self.wasi.table }
    }
}
