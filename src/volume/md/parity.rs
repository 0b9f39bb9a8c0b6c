//! The arithmetic of raid5 and raid6: sums over the field of 256 elements with the polynomial x^8 + x^4 + x^3 + x^2 + 1 and the
//! generator 2. Source: H. Peter Anvin, "The mathematics of RAID-6".

/// Products of one factor with every byte.
pub(super) struct Factor([u8; 256]);

impl Factor {
    pub(super) fn new(factor: u8) -> Self {
        let mut products = [0; 256];
        for (byte, product) in (0..=255).zip(&mut products) {
            *product = multiply(factor, byte);
        }
        Self(products)
    }

    fn times(&self, byte: u8) -> u8 {
        self.0.get(usize::from(byte)).copied().unwrap_or(0)
    }

    /// Multiplies each byte of `bytes`.
    pub(super) fn scale(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.times(*byte);
        }
    }

    /// Adds the product with each byte of `other` to `sum`.
    pub(super) fn add_scaled(&self, sum: &mut [u8], other: &[u8]) {
        for (sum, &byte) in sum.iter_mut().zip(other) {
            *sum ^= self.times(byte);
        }
    }
}

/// Adds `other` to `sum`.
pub(super) fn add(sum: &mut [u8], other: &[u8]) {
    for (sum, &byte) in sum.iter_mut().zip(other) {
        *sum ^= byte;
    }
}

fn multiply(mut left: u8, mut right: u8) -> u8 {
    let mut product = 0;
    while right != 0 {
        if right & 1 == 1 {
            product ^= left;
        }
        left = left << 1 ^ if left & 0x80 == 0 { 0 } else { 0x1d };
        right >>= 1;
    }
    product
}

/// The generator to a power.
pub(super) fn power(exponent: usize) -> u8 {
    (0..exponent % 255).fold(1, |power, _| multiply(power, 2))
}

/// What `byte` times gives 1; 0 for 0, which has none.
pub(super) fn inverse(byte: u8) -> u8 {
    // The multiplicative group has 255 elements, so the 254th power is the inverse.
    (0..254).fold(1, |power, _| multiply(power, byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_but_zero_has_an_inverse_and_is_a_power_of_the_generator() {
        let mut seen = [false; 256];
        for exponent in 0..255 {
            let byte = power(exponent);
            assert_eq!(multiply(byte, inverse(byte)), 1, "{byte}");
            assert!(!std::mem::replace(&mut seen[usize::from(byte)], true), "{byte} comes twice");
        }
        assert_eq!((power(8), power(255)), (0x1d, 1), "by the polynomial");
        assert_eq!(inverse(0), 0);
    }

    #[test]
    fn factors_are_distributive() {
        let factor = Factor::new(0x8e);
        let mut sum = [3, 7, 255];
        add(&mut sum, &[1, 2, 3]);
        factor.scale(&mut sum);
        let mut other = [0; 3];
        factor.add_scaled(&mut other, &[3, 7, 255]);
        factor.add_scaled(&mut other, &[1, 2, 3]);
        assert_eq!(sum, other);
        assert_eq!(factor.times(2), 1, "0x8e is a half");
    }
}
