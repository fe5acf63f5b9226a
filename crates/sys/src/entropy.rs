//! Random octets from the kernel.

#![expect(unsafe_code, reason = "getrandom takes a raw buffer")]

use std::io;

/// Fills `out` from the kernel's generator, waiting for it to be seeded at boot.
///
/// # Errors
///
/// What `getrandom` answers on kernels that lack it or filter it.
pub fn fill(out: &mut [u8]) -> io::Result<()> {
    let mut rest = out;
    while !rest.is_empty() {
        // SAFETY: pointer and length describe the live, writable slice `rest`.
        let got = unsafe { nix::libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => rest = rest.get_mut(got..).unwrap_or_default(),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// `N` random octets.
///
/// # Errors
///
/// As [`fill`].
pub fn array<const N: usize>() -> io::Result<[u8; N]> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(array::<32>().unwrap(), array::<32>().unwrap());
    }
}
