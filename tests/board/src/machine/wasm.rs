//! WebAssembly: text and exit status by imported functions (`run.mjs`).

#[link(wasm_import_module = "board")]
unsafe extern "C" {
    #[link_name = "write"]
    fn write_bytes(text: *const u8, len: usize);
    /// Ends the program.
    #[link_name = "exit"]
    pub(crate) safe fn exit(status: u32) -> !;
}

/// Writes text.
pub(crate) fn write(text: &str) {
    // SAFETY: the bytes of a string, which are read alone.
    unsafe { write_bytes(text.as_ptr(), text.len()) };
}

#[unsafe(no_mangle)]
extern "C" fn _start() {
    crate::run()
}
