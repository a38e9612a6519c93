//! Registers of six bits, the lowest first.

use super::REGISTERS;

const BITS: usize = 6;
const VALUE_MAX: u8 = (1 << BITS) - 1;

/// The byte in which a register begins, and how far into it.
fn place(index: usize) -> (usize, usize) {
    (index * BITS / 8, index * BITS % 8)
}

/// The two bytes a register may lie in; behind the last byte there is nothing.
fn pair(registers: &[u8], at: usize) -> u16 {
    let byte = |at: usize| registers.get(at).copied().unwrap_or(0);
    u16::from_le_bytes([byte(at), byte(at + 1)])
}

/// The bytes with one register raised, where they belong and how many there are; `None` when it is not lower.
pub(super) fn raised(registers: &[u8], index: usize, count: u8) -> Option<(usize, [u8; 2], usize)> {
    let (at, shift) = place(index);
    let before = pair(registers, at);
    if (before >> shift) as u8 & VALUE_MAX >= count {
        return None;
    }
    let after = before & !(u16::from(VALUE_MAX) << shift) | u16::from(count) << shift;
    // A register that ends in its first byte leaves the second alone.
    Some((at, after.to_le_bytes(), if shift + BITS > 8 { 2 } else { 1 }))
}

/// All of them: three bytes are four registers.
pub(super) fn iter(registers: &[u8]) -> impl Iterator<Item = u8> {
    registers.chunks_exact(3).flat_map(|bytes| {
        let four = bytes.iter().rev().fold(0u32, |all, byte| all << 8 | u32::from(*byte));
        [0, 1, 2, 3].map(|i| (four >> (i * BITS)) as u8 & VALUE_MAX)
    })
}

/// Appends registers.
pub(super) fn push_all(bytes: &mut Vec<u8>, all: &[u8; REGISTERS]) {
    for four in all.chunks_exact(4) {
        let bits = four.iter().rev().fold(0u32, |bits, value| bits << BITS | u32::from(value & VALUE_MAX));
        let [first, second, third, _] = bits.to_le_bytes();
        bytes.extend_from_slice(&[first, second, third]);
    }
}
