//! What the linker has made of a program, by its ELF headers.

const DYNAMIC: u16 = 3;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const DT_FLAGS: u64 = 30;
const DF_BIND_NOW: u64 = 8;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NOW: u64 = 1;
const DF_1_PIE: u64 = 0x0800_0000;

/// A program wherever the kernel puts it, whose tables are read-only before it begins, and whose stack is not run.
pub(crate) fn assert_hardened(path: &str) {
    let elf = std::fs::read(path).unwrap();
    let u16_at = |at: usize| u16::from_le_bytes(elf[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap());
    let place = |at: usize| usize::try_from(u64_at(at)).unwrap();
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "64 bits, little-endian");
    assert_eq!(u16_at(16), DYNAMIC, "position-independent");

    let headers = (0..u16_at(56)).map(|number| place(32) + usize::from(number) * usize::from(u16_at(54)));
    let find = |kind: u32| headers.clone().find(|header| u32_at(*header) == kind);
    assert!(find(PT_GNU_RELRO).is_some(), "read-only relocations");
    let stack = find(PT_GNU_STACK).expect("a word on the stack");
    assert_eq!(u32_at(stack + 4) & 1, 0, "the stack cannot be run");

    let dynamic = find(PT_DYNAMIC).expect("a dynamic section");
    let (begin, length) = (place(dynamic + 8), place(dynamic + 32));
    let value = |tag: u64| {
        let entries = (begin..begin + length).step_by(16);
        entries.map(|at| (u64_at(at), u64_at(at + 8))).find(|(found, _)| *found == tag).map_or(0, |(_, value)| value)
    };
    assert_ne!(value(DT_FLAGS_1) & DF_1_PIE, 0, "a program, and no library");
    assert!(value(DT_FLAGS) & DF_BIND_NOW != 0 || value(DT_FLAGS_1) & DF_1_NOW != 0, "bound before it begins");
}
