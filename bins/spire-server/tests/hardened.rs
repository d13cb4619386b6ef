//! The program as the linker leaves it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
#![cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]

#[path = "elf/mod.rs"]
mod elf;

#[test]
fn spi_01_001_the_servers_program_is_hardened() {
    elf::assert_hardened(env!("CARGO_BIN_EXE_spire-server"));
}
